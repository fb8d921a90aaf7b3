//! Sessions: a model with threads and memory of its own, scoring one image at a time without allocating.

use crate::device;
use crate::guard::{Caller, Handle, Versioned};
use crate::image::{MapTarget, Part, adflow_image, adflow_map};
use crate::log::{adflow_log_level, log};
use crate::memory::{Buffer, adflow_allocator};
use crate::model::{adflow_model, adflow_threshold};
use crate::status::{self, Failure, Message, adflow_status, fail};
use adflow_core::image::{ImageView, Plane, Region};
use adflow_core::inspector::{AnomalyMap, Inspector};
use adflow_core::model::OwnedModel;
use adflow_core::score::{ScoreError, ScorerOptions};
use adflow_core::threshold::Verdict;
use core::ffi::c_char;
use core::mem::offset_of;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// How a session is made. Zero in a field means the default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_session_options {
    /// sizeof(adflow_session_options).
    pub struct_size: u32,
    /// Threads that work on one image, the caller included. 0: one per processor. The score does not depend on it.
    pub threads: u32,
    /// Widest image in pixels; decides the memory of preprocessing, 20 bytes a pixel. 0: 16384.
    pub max_width: u32,
    /// Not 0: maps will not be asked for, which saves memory.
    pub no_map: u32,
    /// Where programs run: "auto" (a graphics card if there is one), "cpu", "vulkan", "vulkan:N" or "vulkan:NAME". NULL: the
    /// CPU. A GPU's score differs from the CPU's in the last digits. A GPU that is lost is opened again once, then the CPU
    /// takes over.
    pub device: *const c_char,
    /// Not 0: a GPU that can keeps intermediate values in 16 bits, which is faster; scores differ by a few hundredths.
    pub half_precision: u32,
    /// Not 0: images come with regions of their own, `adflow_session_score_within`; takes about 8 bytes a pixel of the
    /// model's input.
    pub regions: u32,
    /// Where the session's memory comes from, except some hundred bytes, its threads and what a GPU's driver takes. NULL:
    /// malloc.
    pub allocator: *const adflow_allocator,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number.
unsafe impl Versioned for adflow_session_options {
    const NAME: &'static str = "adflow_session_options";
    const LEAST: usize = offset_of!(adflow_session_options, threads);
}

/// What became of an image. The caller sets `struct_size`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_result {
    /// sizeof(adflow_result).
    pub struct_size: u32,
    /// One of `adflow_verdict`.
    pub verdict: u32,
    /// The anomaly score: larger is stranger.
    pub score: f32,
    /// The threshold: scores above it are defective. NaN if there is none.
    pub reject: f32,
}

// SAFETY: as above.
unsafe impl Versioned for adflow_result {
    const NAME: &'static str = "adflow_result";
    const LEAST: usize = offset_of!(adflow_result, reject);
}

/// A model bound to threads and memory.
///
/// One thread at a time may use a session; different sessions, of one model or several, run at the same time.
pub struct adflow_session {
    inspector: Mutex<Inspector<Buffer>>,
    error: Mutex<Message>,
}

impl Handle for adflow_session {
    const NAME: &'static str = "adflow_session";

    fn error(&self) -> &Mutex<Message> {
        &self.error
    }
}

/// What the options say of the scorer.
fn scorer_options(options: &adflow_session_options) -> ScorerOptions {
    let defaults = ScorerOptions::new();
    let max_width = if options.max_width == 0 { defaults.max_width } else { options.max_width };
    defaults.with_max_width(max_width).with_map(options.no_map == 0).with_regions(options.regions != 0)
}

/// Floats that a session takes from its allocator, with that many threads or on a GPU.
fn floats(model: &OwnedModel, options: &ScorerOptions, threads: Option<usize>) -> Result<usize, ScoreError> {
    match threads {
        None => Inspector::memory_len_on_device(&model.model(), options),
        Some(threads) => Inspector::memory_len(&model.model(), options, threads),
    }
}

fn open(c: &Caller, model: OwnedModel, options: &adflow_session_options) -> Result<Inspector<Buffer>, Failure> {
    let (threads, scorer) = (crate::train::thread_count(options.threads)?, scorer_options(options));
    let mut builder = Inspector::builder().threads(threads).options(scorer);
    let gpu = device::open(c, options.device, options.half_precision)?;
    if let Some(gpu) = &gpu {
        let executor = gpu.open_executor(model.model().params(), 0, 0).map_err(|e| fail!(Device, "{e}"))?;
        builder = builder.executor(Box::new(executor));
    }
    let floats = floats(&model, &scorer, gpu.is_none().then_some(threads))?;
    let memory = Buffer::new(c, floats, options.allocator)?;
    let inspector = builder.build_in(model, memory)?;
    log(adflow_log_level::Info, format_args!("session: {inspector:?}, {} bytes", floats as u64 * 4));
    Ok(inspector)
}

/// The object behind a handle, or `Busy`. An object that saw a panic holds only scratch and goes on.
pub(crate) fn enter<'h, T>(lock: &'h Mutex<T>, name: &str) -> Result<MutexGuard<'h, T>, Failure> {
    match lock.try_lock() {
        Ok(state) => Ok(state),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(fail!(Busy, "another thread or a callback is using the {name}")),
    }
}

impl From<ScoreError> for Failure {
    fn from(error: ScoreError) -> Failure {
        match error {
            ScoreError::Image(_) | ScoreError::TooWide { .. } => fail!(Image, "{error}"),
            ScoreError::Region(_) => fail!(Argument, "{error}"),
            ScoreError::NoMap => fail!(NoMap, "{error}"),
            ScoreError::Device(_) => fail!(Device, "{error}"),
            ScoreError::TimedOut => fail!(TimedOut, "{error}"),
            ScoreError::TooLarge => fail!(OutOfMemory, "{error}"),
            ScoreError::Memory { .. } | ScoreError::MapLength { .. } => fail!(Internal, "internal error: {error}"),
        }
    }
}

/// Makes a session of a model, with threads and memory of its own. `options` may be NULL: all defaults.
///
/// The session keeps what it needs of the model, with the threshold it has now; model and sessions may be freed in any
/// order. Free it with `adflow_session_free`. Errors: NULL, ARGUMENT, OUT_OF_MEMORY, DEVICE. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_new(
    model: *const adflow_model,
    options: *const adflow_session_options,
    session: *mut *mut adflow_session,
) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?;
        let options = c.read_or_default("options", options)?;
        let out = c.out("session", session)?;
        let inspector = Mutex::new(open(c, model.shared(), &options)?);
        out.write(Caller::lend(adflow_session { inspector, error: Mutex::new(Message::new()) }));
        Ok(())
    })
}

/// Bytes that a session of these options will take from its allocator, as far as the CPU's memory goes. `options` may be
/// NULL: all defaults.
///
/// A GPU that `device` names is not opened. Errors: NULL, ARGUMENT, OUT_OF_MEMORY if they cannot be addressed. Thread class:
/// reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_memory(
    model: *const adflow_model,
    options: *const adflow_session_options,
    bytes: *mut u64,
) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?.shared();
        let options = c.read_or_default("options", options)?;
        let out = c.out("bytes", bytes)?;
        let on_cpu = options.device.is_null() || c.text("options.device", options.device)? == "cpu";
        let threads = crate::train::thread_count(options.threads)?;
        let floats = floats(&model, &scorer_options(&options), on_cpu.then_some(threads))?;
        out.write(floats as u64 * 4);
        Ok(())
    })
}

/// Scores an image, and if `map` is not NULL writes how strange each pixel is into the caller's memory.
///
/// Allocates nothing on the CPU. Score, map and verdict are those of the command line for the same pixels, bit for bit. With
/// `image->region` it is a part of the image that is scored, as `adflow_session_score_within` says. On failure map and result
/// are untouched; they may not overlap the image or each other. Errors: NULL, ARGUMENT, IMAGE, NO_MAP, BUSY, DEVICE,
/// TIMED_OUT. Thread class: local to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_score(
    session: *mut adflow_session,
    image: *const adflow_image,
    map: *const adflow_map,
    result: *mut adflow_result,
) -> adflow_status {
    guarded!(|c| { score(c, session, image, None, map, result) })
}

/// `adflow_session_score` of a part of the image: where every channel of `region`, an image of the same size, is at least
/// half of white, and the model's own region of interest allows. NULL is the whole image.
///
/// No pixel outside changes a bit of score or map; outside the map is 0. The session must have been made with `regions`.
/// A part of the image that a model without a region of interest never saw cut off has an edge which it may find strange;
/// cut along the background. Errors: NULL, ARGUMENT (also for a region in which nothing is left at the model's resolution),
/// IMAGE, NO_MAP, BUSY, DEVICE, TIMED_OUT. Thread class: local to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_score_within(
    session: *mut adflow_session,
    image: *const adflow_image,
    region: *const adflow_image,
    map: *const adflow_map,
    result: *mut adflow_result,
) -> adflow_status {
    guarded!(|c| {
        let region = if region.is_null() { None } else { Some(c.read("region", region)?) };
        if region.is_some_and(|region| !region.region.is_null()) {
            return Err(fail!(Argument, "region: a region has no region of its own"));
        }
        let region = region.as_ref().map(|region| region.view(c)).transpose()?;
        score(c, session, image, region, map, result)
    })
}

fn score(
    c: &Caller,
    session: *mut adflow_session,
    image: *const adflow_image,
    region: Option<ImageView<'_>>,
    map: *const adflow_map,
    result: *mut adflow_result,
) -> Result<(), Failure> {
    let session = c.get("session", session)?;
    let described = c.read("image", image)?;
    let (image, part) = (described.view(c)?, Part::of(c, &described)?);
    let region = match (&region, &part) {
        (None, None) => None,
        (Some(mask), None) => Some(Region::Mask(mask)),
        (None, Some(part)) => Some(part.region()),
        (Some(_), Some(_)) => return Err(fail!(Argument, "there is a region, and image.region too")),
    };
    let map = MapTarget::new(c, map)?;
    let out = c.out_struct("result", result)?;
    let mut inspector = enter(&session.inspector, "session")?;
    let inspection = match (&region, map) {
        (None, None) => inspector.inspect(&image)?,
        (Some(region), None) => inspector.inspect_within(&image, region)?,
        (None, Some(target)) => {
            let (inspection, map) = inspector.inspect_with_map(&image)?;
            target.write(&plane(&map))?;
            inspection
        }
        (Some(region), Some(target)) => {
            let (inspection, map) = inspector.inspect_within_with_map(&image, region)?;
            target.write(&plane(&map))?;
            inspection
        }
    };
    let reject = inspector.threshold().map_or(f32::NAN, |t| t.reject);
    // No verdict is ADFLOW_VERDICT_NONE.
    let (verdict, score) = (inspection.verdict.map_or(0, Verdict::number), inspection.score);
    out.write(adflow_result { verdict, score, reject, ..adflow_result::new() });
    Ok(())
}

fn plane<'m>(map: &AnomalyMap<'m>) -> Plane<'m> {
    Plane::new(map.width() as usize, map.height() as usize, map.values())
}

/// Changes the threshold of this session only; NULL removes it, so that verdicts are NONE.
///
/// Errors: NULL, ARGUMENT, BUSY. Thread class: local to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_set_threshold(
    session: *mut adflow_session,
    threshold: *const adflow_threshold,
) -> adflow_status {
    guarded!(|c| {
        let session = c.get("session", session)?;
        let threshold = adflow_threshold::read(c, threshold)?;
        enter(&session.inspector, "session")?.set_threshold(threshold);
        Ok(())
    })
}

/// How long each later call of this session may take, in microseconds up to 2^31 - 1; 0: as long as it needs.
///
/// A call that is not done by then returns TIMED_OUT within a millisecond and leaves map and result untouched; the session
/// goes on. The clock is looked at between the parts of the work on the CPU; a map that is done is written to the end,
/// and a GPU finishes what it was given. Errors: NULL, ARGUMENT, BUSY. Thread class: local to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_set_deadline(session: *mut adflow_session, microseconds: u32) -> adflow_status {
    guarded!(|c| {
        let session = c.get("session", session)?;
        if i32::try_from(microseconds).is_err() {
            return Err(fail!(Argument, "a deadline of {microseconds} microseconds is beyond 2^31 - 1"));
        }
        let limit = (microseconds != 0).then(|| Duration::from_micros(microseconds.into()));
        enter(&session.inspector, "session")?.set_time_limit(limit);
        Ok(())
    })
}

/// Copies the message of the last call on this session that failed, whatever the thread, as `adflow_last_error_copy` does; ""
/// before the first. BUSY is not noted.
///
/// Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_error_copy(
    session: *const adflow_session,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| {
        let message = *c.get("session", session)?.error().lock().unwrap_or_else(PoisonError::into_inner);
        status::copy(c, &message, buffer, capacity, length)
    })
}

/// Ends a session, its threads and its memory; NULL is fine.
///
/// No thread may be using it. Thread class: local to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_free(session: *mut adflow_session) {
    guarded!(|c| { c.release(session) });
}
