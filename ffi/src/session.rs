//! Sessions: a model with its own threads and memory, which scores one image at a time without allocating.

use crate::device;
use crate::failure::{Failure, Message, fail};
use crate::guard::{Caller, Handle, Versioned, enter};
use crate::image::{MapTarget, Part, adflow_image, adflow_map};
use crate::log::{adflow_log_level, log};
use crate::memory::{Buffer, adflow_allocator};
use crate::model::{adflow_model, adflow_threshold};
use crate::status::adflow_status;
use adflow_core::image::{ImageView, Plane, Region};
use adflow_core::inspector::{AnomalyMap, Inspector};
use adflow_core::model::OwnedModel;
use adflow_core::score::{ScoreError, ScorerOptions};
use adflow_core::threshold::Verdict;
use core::ffi::c_char;
use core::mem::offset_of;
use std::sync::Mutex;
use std::time::Duration;

/// Options of a session. Zero (NULL) in a field means its default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_session_options {
    /// sizeof(adflow_session_options).
    pub struct_size: u32,
    /// Threads that score one image, including the calling thread, up to 1024. 0: one per processor. Scores do not depend on
    /// it.
    pub threads: u32,
    /// Width of the widest image to be scored, in pixels; each pixel costs 20 bytes of memory. 0: 16384.
    pub max_width: u32,
    /// Not 0: no maps can be requested from the session, which saves memory.
    pub no_map: u32,
    /// Where the model runs: "auto" (a graphics card if there is one, otherwise the CPU), "cpu", "vulkan" (the best Vulkan
    /// device), "vulkan:N" (number N of `adflow_device_info`) or "vulkan:NAME" (a UUID or part of a name). NULL: the CPU.
    /// Scores of a GPU differ from those of the CPU in the last digits. If a GPU is lost it is reopened once; after that the CPU
    /// takes over.
    pub device: *const c_char,
    /// Not 0: a GPU that supports it keeps intermediate values in 16 bits, which is faster; scores change by a few hundredths.
    pub half_precision: u32,
    /// Not 0: images may have regions (`adflow_image.region`, `adflow_session_score_within`); costs about 8 bytes of memory for
    /// each pixel of the model's input.
    pub regions: u32,
    /// Allocator for the working memory of the session, `adflow_session_memory` bytes. Handles, threads and GPU drivers allocate
    /// a little on their own. NULL: malloc.
    pub allocator: *const adflow_allocator,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number.
unsafe impl Versioned for adflow_session_options {
    const NAME: &'static str = "adflow_session_options";
    const LEAST: usize = offset_of!(adflow_session_options, threads);
}

/// Result of scoring an image. Set `struct_size` before the call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_result {
    /// sizeof(adflow_result).
    pub struct_size: u32,
    /// Verdict on the part, one of `adflow_verdict`.
    pub verdict: u32,
    /// Anomaly score: the larger, the more anomalous. Its scale depends on the model.
    pub score: f32,
    /// Threshold of the session: a part with a score above it is defective. NaN if there is none.
    pub reject: f32,
}

// SAFETY: as above.
unsafe impl Versioned for adflow_result {
    const NAME: &'static str = "adflow_result";
    const LEAST: usize = offset_of!(adflow_result, reject);
}

/// A model with its own threads and working memory, ready to score images.
///
/// Only one thread at a time may use a session; different sessions, of one model or several, can score at the same time.
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

/// The part of the options that concerns the scorer.
fn scorer_options(options: &adflow_session_options) -> ScorerOptions {
    let defaults = ScorerOptions::new();
    let max_width = if options.max_width == 0 { defaults.max_width } else { options.max_width };
    defaults.with_max_width(max_width).with_map(options.no_map == 0).with_regions(options.regions != 0)
}

/// Working memory of a session in floats: with that many threads, or on a GPU for `None`.
fn floats(model: &OwnedModel, options: &ScorerOptions, threads: Option<usize>) -> Result<usize, ScoreError> {
    match threads {
        None => Inspector::memory_len_on_device(&model.model(), options),
        Some(threads) => Inspector::memory_len(&model.model(), options, threads),
    }
}

fn open(c: &Caller, model: OwnedModel, options: &adflow_session_options) -> Result<Inspector<Buffer>, Failure> {
    let (threads, scorer) = (device::thread_count(options.threads)?, scorer_options(options));
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

/// Makes a session of a model. `options` may be NULL for all defaults.
///
/// The session keeps what it needs of the model, with the model's present threshold, so both may be freed in any order. Free
/// the session with `adflow_session_free`. Errors: NULL, ARGUMENT, OUT_OF_MEMORY, DEVICE. Thread class: reentrant.
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

/// Writes the number of bytes that a session with these options takes from its allocator to `bytes`. `options` may be NULL
/// for all defaults.
///
/// Memory of a GPU is not counted, and a GPU that `options->device` names is not opened. Errors: NULL, ARGUMENT,
/// OUT_OF_MEMORY if the memory could not be addressed. Thread class: reentrant.
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
        let threads = device::thread_count(options.threads)?;
        let floats = floats(&model, &scorer_options(&options), on_cpu.then_some(threads))?;
        out.write(floats as u64 * 4);
        Ok(())
    })
}

/// Scores an image. If `map` is not NULL, also writes the anomaly map. Set `result->struct_size` before the call.
///
/// If `image->region` is set, only that part of the image is scored, as `adflow_session_score_within` does. Nothing is
/// allocated on the CPU. For the same pixels, the command line gives the same score, map and verdict, bit for bit. `map` and
/// `result` must not overlap the image or each other; on failure they are left as they were. Errors: NULL, ARGUMENT, IMAGE,
/// NO_MAP, BUSY, DEVICE, TIMED_OUT. Thread class: local to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_score(
    session: *mut adflow_session,
    image: *const adflow_image,
    map: *const adflow_map,
    result: *mut adflow_result,
) -> adflow_status {
    guarded!(|c| { score(c, session, image, None, map, result) })
}

/// Scores a part of an image, as `adflow_session_score` does for the whole: the pixels at which every channel of `region`, a
/// mask image of the same size, is at least half of white. NULL: the whole image.
///
/// If the model was trained with a region of interest, only pixels inside both count. Pixels outside do not change a bit of
/// score or map, and the map is 0 there. The session must have been made with `regions`. A model that was trained without
/// a region may find the edge of the region anomalous, so let the edge run through the background. Set `result->struct_size`
/// before the call.
///
/// Errors: NULL, ARGUMENT (also if no pixel of the region is left at the model's resolution), IMAGE, NO_MAP, BUSY, DEVICE,
/// TIMED_OUT. Thread class: local to the session.
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
            return Err(fail!(Argument, "region: the mask of a region cannot have a region itself"));
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
        (Some(_), Some(_)) => return Err(fail!(Argument, "both region and image.region are set")),
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

/// Replaces the threshold of this session only. NULL removes it: verdicts are then NONE.
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

/// Limits the time of each later call of this session to `microseconds`, up to 2^31 - 1. 0: no limit, the default.
///
/// A call that would take longer returns TIMED_OUT within a millisecond of the limit and leaves map and result as they were;
/// the session stays usable. The time is checked between steps of the work on the CPU. A GPU finishes the work it was given,
/// and once the map is computed it is written to the end, so such a call can take longer. Errors: NULL, ARGUMENT, BUSY. Thread
/// class: local to the session.
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

/// Copies the message of the last call on this session that failed, on any thread; "" if none has failed. BUSY does not count
/// as a failure here.
///
/// `buffer`, `capacity` and `length` are as for `adflow_last_error_copy`. Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_error_copy(
    session: *const adflow_session,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| { c.copy_error(c.get("session", session)?, buffer, capacity, length) })
}

/// Frees a session, its threads and its memory; NULL does nothing.
///
/// No other thread may be using the session. Thread class: local to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_session_free(session: *mut adflow_session) {
    guarded!(|c| { c.release(session) });
}
