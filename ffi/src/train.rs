//! Training: images of good parts in, a model out.
//!
//! A trainer keeps copies of the images, because training reads each of them several times. The progress callback is called
//! by an observer of the core; the checkpoint file is removed once training has succeeded.

use crate::device;
use crate::failure::{Failure, Message, fail};
use crate::guard::{Caller, Handle, Versioned, choice, enter};
use crate::image::adflow_image;
use crate::log::{adflow_log_level, log};
use crate::model::adflow_model;
use crate::status::adflow_status;
use crate::train_options::adflow_train_options;
use crate::training_images;
use adflow_core::backbones::Backbone;
use adflow_core::cpu::Cpu;
use adflow_core::detect::{self, AnomalySources, Observer, Progress, TrainError, TrainOptions};
use adflow_core::executor::Device;
use adflow_core::image::Image;
use adflow_core::model::OwnedModel;
use adflow_core::threads::Threads;
use adflow_vulkan::VulkanDevice;
use core::ffi::{c_char, c_void};
use core::mem::offset_of;
use core::ops::ControlFlow;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Mutex;

/// Progress of a training, as passed to `adflow_progress_fn`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_progress {
    /// Size of this struct in the library, in bytes; later fields are not there.
    pub struct_size: u32,
    /// What training is doing, one of `adflow_phase`.
    pub phase: u32,
    /// Units of work (images or steps) done in this phase.
    pub done: u64,
    /// Units of work in this phase; an upper limit if training may stop early.
    pub total: u64,
    /// Number of epochs finished.
    pub epoch: u32,
    /// Largest number of epochs there will be; 0 if the method does not train in epochs.
    pub epochs: u32,
    /// Mean loss of the last finished epoch, in nats per dimension; NaN before the first has finished.
    pub loss: f64,
    /// Median score of held-out parts divided by that of training parts, after the last finished epoch; NaN if unknown.
    pub held_out: f64,
    /// A remark for the user, valid only during the call; NULL if there is none.
    pub note: *const c_char,
}

// SAFETY: as above.
unsafe impl Versioned for adflow_progress {
    const NAME: &'static str = "adflow_progress";
    const LEAST: usize = offset_of!(adflow_progress, phase);
}

/// Receives the progress of a training, often, on the thread that called `adflow_trainer_run`. Returns 0 to
/// continue, any other value to cancel.
///
/// It must return normally: no exception and no longjmp may leave it. It may call adflow, but not with the running trainer.
pub type adflow_progress_fn =
    Option<unsafe extern "C" fn(progress: *const adflow_progress, user_data: *mut c_void) -> i32>;

/// Collects images of good parts and trains a model from them. Only one thread at a time may use a trainer.
pub struct adflow_trainer {
    state: Mutex<State>,
    error: Mutex<Message>,
}

impl Handle for adflow_trainer {
    const NAME: &'static str = "adflow_trainer";

    fn error(&self) -> &Mutex<Message> {
        &self.error
    }
}

struct State {
    options: TrainOptions,
    backbone: Backbone,
    threads: u32,
    checkpoint: Option<PathBuf>,
    resume: bool,
    gpu: Option<VulkanDevice>,
    images: Vec<(String, Image)>,
    /// Images of defective parts.
    defects: Vec<(String, Image)>,
}

impl State {
    fn new(c: &Caller, options: &adflow_train_options) -> Result<State, Failure> {
        let path = |name, text: *const c_char| if text.is_null() { Ok(None) } else { c.path(name, text).map(Some) };
        let read = options.read(c)?;
        let checkpoint = path("options.checkpoint", options.checkpoint)?.map(PathBuf::from);
        if options.resume != 0 && checkpoint.is_none() {
            return Err(fail!(Argument, "options.resume needs the path of a checkpoint"));
        }
        let backbone = match path("options.backbone", options.backbone)? {
            None => Backbone::builtin(),
            Some(path) => Backbone::open(path).map_err(|error| fail!(Weights, "{}: {error}", path.display()))?,
        };
        let gpu = device::open(c, options.device, 0)?;
        let (threads, resume) = (options.threads, options.resume != 0);
        Ok(State { options: read, backbone, threads, checkpoint, resume, gpu, images: Vec::new(), defects: Vec::new() })
    }

    fn run(&self, watch: &mut Watch<'_>) -> Result<OwnedModel, Failure> {
        let resume = match &self.checkpoint {
            Some(path) if self.resume && path.exists() => {
                Some(std::fs::read(path).map_err(|error| fail!(Io, "{}: {error}", path.display()))?)
            }
            _ => None,
        };
        let threads = Threads::new(device::thread_count(self.threads)?);
        let anomalies = AnomalySources { defects: Some(&self.defects), textures: None };
        let cpu = Cpu::detect(&threads);
        let device: &dyn Device = self.gpu.as_ref().map_or(&cpu, |gpu| gpu);
        let trained = detect::train_with(
            &self.images,
            anomalies,
            &self.backbone,
            &self.options,
            device,
            watch,
            resume.as_deref(),
        );
        let trained = match (trained, watch.broken.take()) {
            (_, Some(error)) => return Err(fail!(Io, "{error}")),
            (Err(error), None) => return Err(error.into()),
            (Ok(trained), None) => trained,
        };
        let model =
            OwnedModel::from_bytes(&trained.model).map_err(|error| fail!(Internal, "internal error: {error}"))?;
        if let Some(path) = &self.checkpoint {
            // It may never have been written; one that stays does no harm.
            let _ = std::fs::remove_file(path);
        }
        Ok(model)
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Failure {
        match error {
            TrainError::Cancelled => fail!(Cancelled, "{error}"),
            TrainError::TooFewImages { .. } => fail!(TooFewImages, "{error}"),
            TrainError::Image { .. } => fail!(Image, "{error}"),
            TrainError::NoVariation | TrainError::NotFinite { .. } | TrainError::Broken { .. } => {
                fail!(Training, "{error}")
            }
            TrainError::Options(_) => fail!(Argument, "{error}"),
            TrainError::Checkpoint(_) => fail!(Checkpoint, "{error}"),
            TrainError::Device(_) => fail!(Device, "{error}"),
            TrainError::Internal(_) => fail!(Internal, "{error}"),
        }
    }
}

/// Passes a training's progress to the C callback and writes its checkpoints.
struct Watch<'t> {
    callback: adflow_progress_fn,
    user_data: *mut c_void,
    checkpoint: Option<&'t PathBuf>,
    last: adflow_progress,
    cancelled: bool,
    /// Why the checkpoint could not be written.
    broken: Option<String>,
}

impl Watch<'_> {
    fn call(&mut self, progress: adflow_progress) {
        if let Some(callback) = self.callback {
            // SAFETY: the caller promises a function of this type; both pointers are valid during the call.
            self.cancelled |= unsafe { callback(&progress, self.user_data) } != 0;
        }
    }
}

impl Observer for Watch<'_> {
    fn progress(&mut self, p: &Progress) -> ControlFlow<()> {
        self.last = adflow_progress {
            phase: p.phase.number(),
            done: p.done as u64,
            total: p.total as u64,
            epoch: p.epoch as u32,
            epochs: p.epochs as u32,
            loss: p.loss.unwrap_or(f64::NAN),
            held_out: p.held_out.unwrap_or(f64::NAN),
            ..adflow_progress::new()
        };
        self.call(self.last);
        if self.cancelled || self.broken.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn wants_checkpoint(&mut self) -> bool {
        self.checkpoint.is_some()
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        if let Some(path) = self.checkpoint
            && let Err(error) = adflow_core::file::write_atomic(path, bytes)
        {
            self.broken = Some(format!("{}: {error}", path.display()));
        }
    }

    fn note(&mut self, text: &str) {
        log(adflow_log_level::Warning, format_args!("training: {text}"));
        if let Ok(text) = CString::new(text) {
            self.call(adflow_progress { note: text.as_ptr(), ..self.last });
        }
    }
}

/// Makes a trainer. `options` may be NULL for all defaults.
///
/// Free the trainer with `adflow_trainer_free`. Errors: NULL, ARGUMENT, IMAGE, WEIGHTS, DEVICE. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_new(
    options: *const adflow_train_options,
    trainer: *mut *mut adflow_trainer,
) -> adflow_status {
    guarded!(|c| {
        let options = c.read_or_default("options", options)?;
        let out = c.out("trainer", trainer)?;
        let state = State::new(c, &options)?;
        out.write(Caller::lend(adflow_trainer { state: Mutex::new(state), error: Mutex::new(Message::new()) }));
        Ok(())
    })
}

/// Adds a copy of an image to one of the trainer's lists; an image without a name is called `what` and its number.
fn add(
    c: &Caller,
    trainer: *mut adflow_trainer,
    image: *const adflow_image,
    name: *const c_char,
    what: &str,
    list: fn(&mut State) -> &mut Vec<(String, Image)>,
) -> Result<(), Failure> {
    let trainer = c.get("trainer", trainer)?;
    let described = c.read("image", image)?;
    if !described.region.is_null() {
        return Err(fail!(Argument, "image.region must be NULL for training; set options.region instead"));
    }
    let view = described.view(c)?;
    let mut state = enter(&trainer.state, "trainer")?;
    let list = list(&mut state);
    let name = match name.is_null() {
        true => format!("{what} {}", list.len()),
        false => c.text("name", name)?.to_string(),
    };
    list.push(training_images::copy(name, choice(described.samples, "image.samples")?, &view)?);
    Ok(())
}

/// Adds a copy of an image of a good part. Messages refer to it by `name`, UTF-8, or by its number if `name` is NULL.
///
/// `image->region` must be NULL. On failure nothing is added. Errors: NULL, ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread
/// class: local to the trainer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_add_image(
    trainer: *mut adflow_trainer,
    image: *const adflow_image,
    name: *const c_char,
) -> adflow_status {
    guarded!(|c| { add(c, trainer, image, name, "image", |state| &mut state.images) })
}

/// Adds a copy of an image of a defective part, for training with `contrastive_epochs`. Messages refer to it by `name`,
/// UTF-8, or by its number if `name` is NULL.
///
/// Do not test the model on this image or on other images of the same part. `image->region` must be NULL. On failure nothing
/// is added. Errors: NULL, ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread class: local to the trainer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_add_defect(
    trainer: *mut adflow_trainer,
    image: *const adflow_image,
    name: *const c_char,
) -> adflow_status {
    guarded!(|c| { add(c, trainer, image, name, "defect", |state| &mut state.defects) })
}

/// Trains a model on the images added so far. `progress` may be NULL; it is passed `user_data`.
///
/// The trainer keeps its images and can run again, for example to resume a cancelled training. Free the model with
/// `adflow_model_free`. Errors: NULL, BUSY, CANCELLED, TOO_FEW_IMAGES, TRAINING, IMAGE, ARGUMENT, CHECKPOINT, IO, DEVICE.
/// Thread class: local to the trainer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_run(
    trainer: *mut adflow_trainer,
    progress: adflow_progress_fn,
    user_data: *mut c_void,
    model: *mut *mut adflow_model,
) -> adflow_status {
    guarded!(|c| {
        let trainer = c.get("trainer", trainer)?;
        let out = c.out("model", model)?;
        let state = enter(&trainer.state, "trainer")?;
        let last = adflow_progress { loss: f64::NAN, held_out: f64::NAN, ..adflow_progress::new() };
        let mut watch = Watch {
            callback: progress,
            user_data,
            checkpoint: state.checkpoint.as_ref(),
            last,
            cancelled: false,
            broken: None,
        };
        let trained = state.run(&mut watch)?;
        out.write(Caller::lend(adflow_model::new(trained)));
        Ok(())
    })
}

/// Copies the message of the last call on this trainer that failed, on any thread; "" if none has failed. BUSY does not count
/// as a failure here.
///
/// `buffer`, `capacity` and `length` are as for `adflow_last_error_copy`. Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_error_copy(
    trainer: *const adflow_trainer,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| { c.copy_error(c.get("trainer", trainer)?, buffer, capacity, length) })
}

/// Frees a trainer and its images; NULL does nothing.
///
/// No other thread may be using the trainer. Do not call this from the progress callback of the same trainer. Thread class:
/// local to the trainer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_free(trainer: *mut adflow_trainer) {
    guarded!(|c| { c.release(trainer) });
}
