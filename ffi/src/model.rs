//! Models: opened, asked, given another threshold, saved.
//!
//! A handle holds a counted reference to validated bytes that never change. Another threshold is another set of bytes,
//! put in the place of the first; sessions keep those they were made with.

use crate::guard::{Caller, Handle, Versioned};
use crate::log::{adflow_log_level, log};
use crate::status::{self, Failure, Message, adflow_status, fail};
use adflow_core::file::write_atomic;
use adflow_core::model::{ModelError, OpenError, OwnedModel};
use adflow_core::threshold::Threshold;
use core::ffi::{CStr, c_char, c_void};
use core::mem::offset_of;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError, RwLock};

/// Facts about a model. The caller sets `struct_size`; texts belong to the model and live as long as it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_model_info {
    /// sizeof(adflow_model_info).
    pub struct_size: u32,
    /// Side of the square that images are resized to, or of a tile where the model has tiles, in pixels.
    pub input_size: u32,
    /// Channels the model reads: 1 or 3. Grey and colour images fit both.
    pub channels: u32,
    /// Views of an image that a score is averaged over.
    pub views: u32,
    /// Columns of the model's own map; 0 if it makes none.
    pub map_width: u32,
    /// Rows of the model's own map.
    pub map_height: u32,
    /// Colour scale of maps: the median pixel of good parts that training has set aside.
    pub map_typical: f32,
    /// Colour scale of maps: their highest pixel.
    pub map_limit: f32,
    /// Bytes of parameters.
    pub param_bytes: u64,
    /// Bytes of the model file.
    pub file_bytes: u64,
    /// Method: "cdnf", "differnet", "csflow", "fastflow", "ssnf", "posflow", "padim" or "gauss".
    pub method: *const c_char,
    /// Name of the backbone.
    pub backbone: *const c_char,
    /// Width that images are resized to; `input_size` without tiles.
    pub canvas_width: u32,
    /// Height that images are resized to; `input_size` without tiles.
    pub canvas_height: u32,
    /// Tiles that such an image is cut into, each a run of the same plan; 1 without tiles.
    pub tiles: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number or a pointer.
unsafe impl Versioned for adflow_model_info {
    const NAME: &'static str = "adflow_model_info";
    const LEAST: usize = offset_of!(adflow_model_info, input_size);
}

/// A limit on the score, and what it promises about good parts.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_threshold {
    /// sizeof(adflow_threshold).
    pub struct_size: u32,
    /// Scores above this are defective.
    pub reject: f32,
    /// Not 0: scores above `accept` and not above `reject` are unsure.
    pub grey_zone: u32,
    /// See `grey_zone`; not above `reject`.
    pub accept: f32,
    /// Held-out good parts behind the threshold; 0 for one set by hand.
    pub held_out: u32,
    /// At most this share of good parts is rejected, 0..1, ...
    pub false_reject: f64,
    /// ... with this confidence, 0..1. 0 for a threshold set by hand, which promises nothing.
    pub confidence: f64,
}

// SAFETY: as above.
unsafe impl Versioned for adflow_threshold {
    const NAME: &'static str = "adflow_threshold";
    const LEAST: usize = offset_of!(adflow_threshold, grey_zone);
}

impl adflow_threshold {
    /// A threshold of the caller's; `None` for NULL.
    pub(crate) fn read(c: &Caller, threshold: *const adflow_threshold) -> Result<Option<Threshold>, Failure> {
        if threshold.is_null() {
            return Ok(None);
        }
        let t = c.read("threshold", threshold)?;
        let accept = (t.grey_zone != 0).then_some(t.accept);
        if !t.reject.is_finite() || accept.is_some_and(|a| !(a.is_finite() && a <= t.reject)) {
            let (reject, accept) = (t.reject, t.accept);
            return Err(fail!(
                Argument,
                "threshold: reject is {reject} and accept {accept}; they must be finite, accept not above reject"
            ));
        }
        let share = 0.0..=1.0;
        if !share.contains(&t.false_reject) || !share.contains(&t.confidence) {
            return Err(fail!(Argument, "threshold: false_reject and confidence must lie in 0..1"));
        }
        let false_reject = if t.confidence == 0.0 { 1.0 } else { t.false_reject };
        Ok(Some(Threshold { reject: t.reject, accept, false_reject, confidence: t.confidence, held_out: t.held_out }))
    }

    fn of(t: &Threshold) -> adflow_threshold {
        adflow_threshold {
            reject: t.reject,
            grey_zone: u32::from(t.accept.is_some()),
            accept: t.accept.unwrap_or(0.0),
            held_out: t.held_out,
            false_reject: t.false_reject,
            confidence: t.confidence,
            ..adflow_threshold::new()
        }
    }
}

/// A trained detector: immutable but for its threshold, and shared by any number of sessions and threads.
pub struct adflow_model {
    shared: RwLock<OwnedModel>,
    about: Vec<(CString, CString)>,
    error: Mutex<Message>,
}

impl Handle for adflow_model {
    const NAME: &'static str = "adflow_model";

    fn error(&self) -> &Mutex<Message> {
        &self.error
    }
}

impl adflow_model {
    pub(crate) fn new(model: OwnedModel) -> adflow_model {
        let text = |s: &str| CString::new(s.replace('\0', " ")).unwrap_or_default();
        let about = model.model().about().map(|(key, value)| (text(key), text(value))).collect();
        adflow_model { shared: RwLock::new(model), about, error: Mutex::new(Message::new()) }
    }

    /// The model as it is now.
    pub(crate) fn shared(&self) -> OwnedModel {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn about(&self, key: &str) -> Option<&CStr> {
        self.about.iter().find(|(k, _)| k.to_bytes() == key.as_bytes()).map(|(_, value)| value.as_c_str())
    }
}

fn invalid(error: ModelError) -> Failure {
    fail!(Model, "{error}")
}

/// Opens a model file and validates it.
///
/// Free the model with `adflow_model_free`. Errors: NULL, IO, MODEL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_open(path: *const c_char, model: *mut *mut adflow_model) -> adflow_status {
    guarded!(|c| {
        let path = c.path("path", path)?;
        let out = c.out("model", model)?;
        let opened = OwnedModel::open(path).map_err(|error| match error {
            OpenError::Io { .. } => fail!(Io, "{error}"),
            OpenError::Model { .. } => fail!(Model, "{error}"),
        })?;
        log(adflow_log_level::Info, format_args!("opened {}", path.display()));
        out.write(Caller::lend(adflow_model::new(opened)));
        Ok(())
    })
}

/// Reads a model from the bytes of a model file, which are copied and validated.
///
/// Free the model with `adflow_model_free`; the bytes stay the caller's. Errors: NULL, MODEL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_from_memory(
    bytes: *const c_void,
    length: usize,
    model: *mut *mut adflow_model,
) -> adflow_status {
    guarded!(|c| {
        let bytes = c.slice("bytes", bytes.cast::<u8>(), length)?;
        let out = c.out("model", model)?;
        let parsed = OwnedModel::from_bytes(bytes).map_err(invalid)?;
        out.write(Caller::lend(adflow_model::new(parsed)));
        Ok(())
    })
}

/// Facts about a model; set `info->struct_size` before.
///
/// Errors: NULL, ARGUMENT. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_get_info(
    model: *const adflow_model,
    info: *mut adflow_model_info,
) -> adflow_status {
    guarded!(|c| {
        let handle = c.get("model", model)?;
        let out = c.out_struct("info", info)?;
        let shared = handle.shared();
        let m = shared.model();
        let ((map_width, map_height), (map_typical, map_limit)) = (m.map_size(), m.map_scale());
        let (canvas_width, canvas_height) = m.canvas();
        let text = |key| handle.about(key).unwrap_or(c"unknown").as_ptr();
        out.write(adflow_model_info {
            input_size: m.input_size(),
            channels: m.channels(),
            views: m.views(),
            map_width,
            map_height,
            map_typical,
            map_limit,
            param_bytes: m.params_bytes() as u64,
            file_bytes: m.bytes().len() as u64,
            method: text("method"),
            backbone: text("backbone"),
            canvas_width,
            canvas_height,
            tiles: m.tiles().map_or(1, |tiles| tiles.tiling().count() as u32),
            ..adflow_model_info::new()
        });
        Ok(())
    })
}

/// How the model was made: the value of a key such as "method", "seed" or "data_digest".
///
/// `value` belongs to the model and lives as long as it. Errors: NULL, NOT_FOUND. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_about(
    model: *const adflow_model,
    key: *const c_char,
    value: *mut *const c_char,
) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?;
        let key = c.text("key", key)?;
        let out = c.out("value", value)?;
        let found = model.about(key).ok_or_else(|| fail!(NotFound, "the model says nothing about \"{key}\""))?;
        out.write(found.as_ptr());
        Ok(())
    })
}

/// All that `adflow_model_about` knows, one pair for each index from 0; NOT_FOUND past the last.
///
/// `key` and `value` belong to the model and live as long as it. Errors: NULL, NOT_FOUND. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_about_at(
    model: *const adflow_model,
    index: usize,
    key: *mut *const c_char,
    value: *mut *const c_char,
) -> adflow_status {
    guarded!(|c| {
        let about = &c.get("model", model)?.about;
        let (key, value) = (c.out("key", key)?, c.out("value", value)?);
        let pair = about.get(index).ok_or_else(|| fail!(NotFound, "the model has {} keys", about.len()))?;
        key.write(pair.0.as_ptr());
        value.write(pair.1.as_ptr());
        Ok(())
    })
}

/// The model's threshold; set `threshold->struct_size` before.
///
/// Errors: NULL, ARGUMENT, NOT_FOUND if the model has none. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_get_threshold(
    model: *const adflow_model,
    threshold: *mut adflow_threshold,
) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?;
        let out = c.out_struct("threshold", threshold)?;
        let found = model.shared().model().threshold();
        out.write(adflow_threshold::of(&found.ok_or_else(|| fail!(NotFound, "the model has no threshold"))?));
        Ok(())
    })
}

/// Gives the model another threshold, or none if NULL. Sessions made before keep the one they have.
///
/// Errors: NULL, ARGUMENT. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_set_threshold(
    model: *mut adflow_model,
    threshold: *const adflow_threshold,
) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?;
        let threshold = adflow_threshold::read(c, threshold)?;
        let mut shared = model.shared.write().unwrap_or_else(PoisonError::into_inner);
        let changed = shared.with_threshold(threshold.as_ref());
        *shared = changed.map_err(|error| fail!(Argument, "threshold: {error}"))?;
        Ok(())
    })
}

/// A threshold from the scores of the good parts that training has set aside, for other rates; the model stays as it is.
///
/// At most the share `false_reject` of good parts is rejected, with `confidence`; with too few parts for that, the largest
/// score is taken and the confidence is what it really is. `unsure` above `false_reject` adds a grey zone: at most that
/// share of good parts is unsure or rejected; 0 adds none. Set `threshold->struct_size` before.
///
/// Errors: NULL, ARGUMENT, NOT_FOUND if nothing was set aside. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_calibrate(
    model: *const adflow_model,
    false_reject: f64,
    confidence: f64,
    unsure: f64,
    threshold: *mut adflow_threshold,
) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?;
        let out = c.out_struct("threshold", threshold)?;
        let inside = |p: f64| p > 0.0 && p < 1.0;
        if !inside(false_reject) || !inside(confidence) || !(unsure == 0.0 || inside(unsure)) {
            return Err(fail!(Argument, "rates and confidence must lie between 0 and 1"));
        }
        let shared = model.shared();
        let scores = shared.model().held_out_scores();
        let calibrated = Threshold::from_held_out(scores, false_reject, confidence);
        let calibrated = match unsure {
            0.0 => calibrated,
            _ => calibrated.and_then(|t| t.with_grey_zone(scores, unsure)),
        };
        out.write(adflow_threshold::of(
            &calibrated.ok_or_else(|| fail!(NotFound, "the model has no scores of held-out good parts"))?,
        ));
        Ok(())
    })
}

/// Writes the model to a file, whole or not at all.
///
/// Errors: NULL, IO. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_save(model: *const adflow_model, path: *const c_char) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?;
        let path = c.path("path", path)?;
        write_atomic(path, model.shared().bytes()).map_err(|error| fail!(Io, "{}: {error}", path.display()))
    })
}

/// Copies the bytes of the model file to `buffer`; `length` gets their number.
///
/// If `capacity` is too small (`buffer` may be NULL if it is 0) only `length` is written, and the status is
/// BUFFER_TOO_SMALL. Errors: NULL, BUFFER_TOO_SMALL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_to_memory(
    model: *const adflow_model,
    buffer: *mut c_void,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| {
        let model = c.get("model", model)?;
        let to = c.slice_mut("buffer", buffer.cast::<u8>(), capacity)?;
        let out = c.out("length", length)?;
        let shared = model.shared();
        let bytes = shared.bytes();
        out.write(bytes.len());
        match to.get_mut(..bytes.len()) {
            Some(to) => to.copy_from_slice(bytes),
            None => return Err(fail!(BufferTooSmall, "the model has {} bytes, the buffer {capacity}", bytes.len())),
        }
        Ok(())
    })
}

/// Copies the message of the last call on this model that failed, whatever the thread, as `adflow_last_error_copy` does; ""
/// before the first. BUSY is not noted.
///
/// Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_error_copy(
    model: *const adflow_model,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| {
        let message = *c.get("model", model)?.error().lock().unwrap_or_else(PoisonError::into_inner);
        status::copy(c, &message, buffer, capacity, length)
    })
}

/// Frees a model; NULL is fine. Its sessions live on.
///
/// No thread may be using it, and texts from it are gone. Thread class: local to the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_free(model: *mut adflow_model) {
    guarded!(|c| { c.release(model) });
}
