//! Models: opening, describing, changing the threshold, saving.
//!
//! A handle holds a counted reference to validated bytes that never change. Setting a threshold replaces them by new bytes;
//! sessions keep the bytes that they were made with.

use crate::failure::{Failure, Message, fail};
use crate::guard::{Caller, Handle, Versioned};
use crate::log::{adflow_log_level, log};
use crate::status::adflow_status;
use adflow_core::calibration::Calibration;
use adflow_core::file::write_atomic;
use adflow_core::model::{ModelError, OpenError, OwnedModel};
use adflow_core::threshold::Threshold;
use core::ffi::{CStr, c_char, c_void};
use core::mem::offset_of;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError, RwLock};

/// Properties of a model. Set `struct_size` before the call; the texts belong to the model and are valid until it is freed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_model_info {
    /// sizeof(adflow_model_info).
    pub struct_size: u32,
    /// Side of the square that images are resized to, in pixels; for a model with tiles, the side of a tile.
    pub input_size: u32,
    /// Channels that the model uses: 1 or 3. Both grey and colour images are accepted and converted.
    pub channels: u32,
    /// Number of flipped or rotated views of an image that the score is averaged over.
    pub views: u32,
    /// Width of the map that the model computes, before it is resized for the caller; 0 if the model makes no maps.
    pub map_width: u32,
    /// Height of the map that the model computes; 0 if the model makes no maps.
    pub map_height: u32,
    /// Colour scale of maps, lower end: the median map value on held-out good parts.
    pub map_typical: f32,
    /// Colour scale of maps, upper end: the highest map value on held-out good parts.
    pub map_limit: f32,
    /// Size of the model's parameters, in bytes.
    pub param_bytes: u64,
    /// Size of the model file, in bytes.
    pub file_bytes: u64,
    /// Name of the method, as `adflow train --method` takes it: "padim", "patchcore", "fastflow" and so on.
    pub method: *const c_char,
    /// Name of the backbone, for example "builtin".
    pub backbone: *const c_char,
    /// Width that images are resized to, in pixels; `input_size` for a model without tiles.
    pub canvas_width: u32,
    /// Height that images are resized to, in pixels; `input_size` for a model without tiles.
    pub canvas_height: u32,
    /// Number of tiles that an image is cut into, each scored separately; 1 for a model without tiles.
    pub tiles: u32,
    /// Reserved; always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number or a pointer.
unsafe impl Versioned for adflow_model_info {
    const NAME: &'static str = "adflow_model_info";
    const LEAST: usize = offset_of!(adflow_model_info, input_size);
}

/// The score above which a part is rejected, and the false-reject rate that goes with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_threshold {
    /// sizeof(adflow_threshold).
    pub struct_size: u32,
    /// Parts with a score above this are defective.
    pub reject: f32,
    /// Not 0: parts with a score above `accept`, up to `reject`, are unsure. 0: `accept` is ignored.
    pub grey_zone: u32,
    /// Lower end of the grey zone, at most `reject`; only used if `grey_zone` is not 0.
    pub accept: f32,
    /// Number of held-out good parts that the threshold was computed from; 0 for one set by hand.
    pub held_out: u32,
    /// Share of good parts that is rejected at most, 0 to 1.
    pub false_reject: f64,
    /// Confidence with which `false_reject` holds, 0 to 1; 0 for a threshold set by hand, which guarantees no rate.
    pub confidence: f64,
}

// SAFETY: as above.
unsafe impl Versioned for adflow_threshold {
    const NAME: &'static str = "adflow_threshold";
    const LEAST: usize = offset_of!(adflow_threshold, grey_zone);
}

impl adflow_threshold {
    /// Checks a threshold of the caller; `None` for NULL.
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
                "threshold: reject is {reject} and accept {accept}; both must be finite, and accept at most reject"
            ));
        }
        let share = 0.0..=1.0;
        if !share.contains(&t.false_reject) || !share.contains(&t.confidence) {
            return Err(fail!(Argument, "threshold: false_reject and confidence must lie between 0 and 1"));
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

/// A trained detector. Any number of sessions and threads may share it; only its threshold can be changed.
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

    /// The model with its present threshold.
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

/// Opens and validates a model file.
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

/// Opens and validates a model from the `length` bytes of a model file, which are copied.
///
/// Free the model with `adflow_model_free`. Errors: NULL, MODEL. Thread class: reentrant.
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

/// Writes the properties of a model to `info`. Set `info->struct_size` before the call.
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

/// Looks up how the model was made: `value` receives the text for a key such as "method", "seed" or "data_digest".
///
/// The text belongs to the model and is valid until the model is freed. Errors: NULL, ARGUMENT, NOT_FOUND if the model has no
/// such key. Thread class: reentrant.
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
        let found = model.about(key).ok_or_else(|| fail!(NotFound, "the model has no key \"{key}\""))?;
        out.write(found.as_ptr());
        Ok(())
    })
}

/// Lists what `adflow_model_about` can look up: writes the key and the value with number `index`, counted from 0.
///
/// Both texts belong to the model and are valid until it is freed. Errors: NULL, NOT_FOUND if `index` is past the last key.
/// Thread class: reentrant.
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

/// Writes the model's threshold to `threshold`. Set `threshold->struct_size` before the call.
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

/// Replaces the model's threshold; NULL removes it. Sessions that already exist keep the threshold they have.
///
/// `false_reject`, `confidence` and `held_out` are kept where the model's own scores of good parts confirm them, as after
/// `adflow_model_calibrate`; otherwise the threshold counts as set by hand and promises nothing.
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

/// Computes a threshold for other rates from the scores of the held-out good parts that the model stores. The model is not
/// changed: pass the result to `adflow_model_set_threshold`.
///
/// At most the share `false_reject` of good parts is rejected, with probability `confidence`; both lie between 0 and 1. If the
/// held-out parts are too few for that, `threshold` is their largest score and states the confidence actually reached. A
/// share `unsure` above `false_reject` adds a grey zone: at most that share of good parts is unsure or rejected; 0 adds
/// none. Set `threshold->struct_size` before the call.
///
/// Errors: NULL, ARGUMENT, NOT_FOUND if the model stores no scores of held-out parts. Thread class: reentrant.
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
        let good = Calibration::new(scores, &[]);
        let calibrated = good.and_then(|good| {
            let limit = good.threshold(false_reject, confidence)?;
            if unsure == 0.0 { Some(limit) } else { good.with_grey_zone(limit, unsure) }
        });
        out.write(adflow_threshold::of(
            &calibrated.ok_or_else(|| fail!(NotFound, "the model has no scores of held-out good parts"))?,
        ));
        Ok(())
    })
}

/// Writes the model to a file. The file is replaced in one step: if writing fails, it is left as it was.
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

/// Writes the model to memory: copies the bytes of the model file to `buffer`, of `capacity` bytes, and their number to
/// `length`.
///
/// If `capacity` is too small, only `length` is written. `buffer` may be NULL if `capacity` is 0. Errors: NULL,
/// BUFFER_TOO_SMALL. Thread class: reentrant.
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

/// Copies the message of the last call on this model that failed, on any thread; "" if none has failed.
///
/// `buffer`, `capacity` and `length` are as for `adflow_last_error_copy`. Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_error_copy(
    model: *const adflow_model,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| { c.copy_error(c.get("model", model)?, buffer, capacity, length) })
}

/// Frees a model; NULL does nothing. Sessions of the model stay valid; texts that belong to it do not.
///
/// No other thread may be using the model. Thread class: local to the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_model_free(model: *mut adflow_model) {
    guarded!(|c| { c.release(model) });
}
