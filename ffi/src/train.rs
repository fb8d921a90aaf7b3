//! Training: images of good parts in, a model out.
//!
//! A trainer keeps copies of the images, because training reads each of them several times. The callback is the core's
//! observer; a checkpoint is a file beside the model that is gone once training has ended well.

use crate::device;
use crate::guard::{Caller, Handle, Versioned};
use crate::image::{Part, adflow_image, adflow_samples};
use crate::log::{adflow_log_level, log};
use crate::model::adflow_model;
use crate::session::enter;
use crate::status::{self, Failure, Message, adflow_status, fail};
use crate::training_images::{Image, Stored};
use adflow_core::backbones::Backbone;
use adflow_core::cpu::Cpu;
use adflow_core::detect::{
    self, Canvas, Contrastive, MapLevels, Method, Observer, Others, Phase, Pooling, Preset, Progress, TrainError,
    TrainOptions,
};
use adflow_core::executor::Device;
use adflow_core::image::Roi;
use adflow_core::model::OwnedModel;
use adflow_core::threads::Threads;
use adflow_vulkan::VulkanDevice;
use core::ffi::{c_char, c_void};
use core::mem::offset_of;
use core::ops::ControlFlow;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A detection method.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_method {
    /// `ADFLOW_METHOD_PADIM`.
    Default = 0,
    /// Continuous dense flow on pooled features of several scales.
    Cdnf = 1,
    /// RealNVP/Glow flow on pooled features of several scales.
    Differnet = 2,
    /// A Gaussian at each position of a feature map.
    Padim = 3,
    /// One Gaussian over pooled features: trains in seconds.
    Gauss = 4,
    /// A flow over feature maps, conditioned on the position.
    Posflow = 5,
    /// FastFlow: 2D flows over feature maps.
    Fastflow = 6,
    /// CS-Flow: one flow over feature maps at three scales.
    Csflow = 7,
    /// SSNF: 2D flows over feature maps, trained against synthetic anomalies.
    Ssnf = 8,
}

impl adflow_method {
    fn new(number: u32) -> Result<adflow_method, Failure> {
        let all = [
            Self::Default,
            Self::Cdnf,
            Self::Differnet,
            Self::Padim,
            Self::Gauss,
            Self::Posflow,
            Self::Fastflow,
            Self::Csflow,
            Self::Ssnf,
        ];
        let known = all.get(number as usize).copied();
        known.ok_or_else(|| fail!(Argument, "options.method is {number}, which is not one of adflow_method"))
    }
}

/// A set of defaults for training.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_preset {
    /// `ADFLOW_PRESET_FAST`.
    Default = 0,
    /// A fixed list of exact views, features computed once: minutes on two cores.
    Fast = 1,
    /// The papers' literal settings.
    Paper = 2,
}

impl adflow_preset {
    fn new(number: u32) -> Result<adflow_preset, Failure> {
        let known = [Self::Default, Self::Fast, Self::Paper].get(number as usize).copied();
        known.ok_or_else(|| fail!(Argument, "options.preset is {number}, which is not one of adflow_preset"))
    }
}

/// How flows on several grids make one map.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_map_levels {
    /// Product for CS-Flow, sum for the others.
    Default = 0,
    /// High where every grid is.
    Product = 1,
    /// High where any grid is.
    Sum = 2,
    /// The finest grid alone.
    Finest = 3,
}

impl adflow_map_levels {
    fn new(number: u32) -> Result<adflow_map_levels, Failure> {
        let known = [Self::Default, Self::Product, Self::Sum, Self::Finest].get(number as usize).copied();
        known.ok_or_else(|| fail!(Argument, "options.map_levels is {number}, which is not one of adflow_map_levels"))
    }
}

/// What methods that describe an image by one vector keep of a map.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_pooling {
    /// `ADFLOW_POOLING_MEAN`.
    Default = 0,
    /// The mean of each channel.
    Mean = 1,
    /// Mean and deviation of each channel.
    Statistics = 2,
}

impl adflow_pooling {
    fn new(number: u32) -> Result<adflow_pooling, Failure> {
        let known = [Self::Default, Self::Mean, Self::Statistics].get(number as usize).copied();
        known.ok_or_else(|| fail!(Argument, "options.pooling is {number}, which is not one of adflow_pooling"))
    }
}

/// How a model is trained. Zero (NULL) in a field means the default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_train_options {
    /// sizeof(adflow_train_options).
    pub struct_size: u32,
    /// One of `adflow_method`.
    pub method: u32,
    /// One of `adflow_preset`.
    pub preset: u32,
    /// Side of the square that images are resized to, 32 to 2048 pixels. 0: the method's.
    pub size: u32,
    /// Epochs over the images. 0: until good parts that were set aside score no better.
    pub epochs: u32,
    /// Views of an image that a score is averaged over, 1 to 256. 0: the preset's.
    pub views: u32,
    /// Threads, the caller included. 0: one per processor. The model does not depend on it.
    pub threads: u32,
    /// Not 0: the model makes no maps.
    pub no_map: u32,
    /// Seed of everything random: same images, options and seed give the same bytes.
    pub seed: u64,
    /// Share of good parts that may be rejected, 0 to 1. 0: 0.01.
    pub false_reject: f64,
    /// Confidence of that promise, 0 to 1. 0: 0.95.
    pub confidence: f64,
    /// Share of images set aside to find the threshold, up to 0.5. 0: 0.1. Negative: none, and no threshold.
    pub held_out: f64,
    /// Step size of the optimiser. 0: the method's.
    pub learning_rate: f32,
    /// Not 0: go on from the file `checkpoint` if there is one.
    pub resume: u32,
    /// Path of a safetensors file with a backbone's weights. NULL: the backbone that needs no file.
    pub backbone: *const c_char,
    /// Path of a file that keeps the state of training after each epoch; removed when training has ended well. NULL: none.
    pub checkpoint: *const c_char,
    /// Where programs run: "auto" (a graphics card if there is one), "cpu", "vulkan", "vulkan:N" or "vulkan:NAME". NULL: the
    /// CPU. The model's bytes depend on it, in the last digits of its numbers.
    pub device: *const c_char,
    /// Where to look: a mask in which every channel of a pixel to inspect is at least half of white, stretched to each
    /// image. The model keeps it; pixels outside change neither the model nor a score. If its own `region` is set, that is
    /// taken and its pixels are not looked at. NULL: everywhere.
    pub region: *const adflow_image,
    /// With `canvas_height`: images are resized to this width and cut into overlapping tiles of `size` pixels (0: 512), which
    /// share one plan, so that large images are scored at full resolution in little memory. Methods `padim`, `posflow`,
    /// `fastflow`, `csflow`. 0: no tiles, the whole image becomes one square.
    pub canvas_width: u32,
    /// Height that images are resized to; 0 exactly if `canvas_width` is.
    pub canvas_height: u32,
    /// Border of a tile that is there only to be seen, in pixels; a multiple of the backbone's stride. 0: an eighth of a
    /// tile, at least 64.
    pub margin: u32,
    /// One of `adflow_map_levels`; for methods with flows on several grids.
    pub map_levels: u32,
    /// Most epochs of a contrastive phase, which adapts the backbone to the parts before the flow is trained: method `Cdnf`
    /// only, and not with the backbone that needs no file. 0: none.
    pub contrastive_epochs: u32,
    /// Step size of that phase. 0: 0.0001.
    pub contrastive_rate: f32,
    /// One of `adflow_pooling`; for methods `Cdnf`, `Differnet` and `Gauss`. The backbone that needs no file has means only.
    pub pooling: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number or a pointer.
unsafe impl Versioned for adflow_train_options {
    const NAME: &'static str = "adflow_train_options";
    const LEAST: usize = offset_of!(adflow_train_options, method);
}

/// What training is doing.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_phase {
    /// Reading images and computing features.
    Features = 0,
    /// Fitting the model.
    Train = 1,
    /// Scoring the parts that were set aside.
    Calibrate = 2,
    /// Adapting the backbone, before features are computed.
    Adapt = 3,
}

/// How far training is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_progress {
    /// Bytes of this struct that this library has filled in.
    pub struct_size: u32,
    /// One of `adflow_phase`.
    pub phase: u32,
    /// Units (images, steps) of this phase that are done.
    pub done: u64,
    /// Units of this phase; an upper limit where training may stop early.
    pub total: u64,
    /// Epochs finished.
    pub epoch: u32,
    /// Most epochs there will be; 0 if the method has none.
    pub epochs: u32,
    /// Mean loss of the last epoch, nats per dimension; NaN before the first.
    pub loss: f64,
    /// Median score of the parts set aside over that of training parts; NaN if unknown.
    pub held_out: f64,
    /// A remark for the user, else NULL; lives during the call.
    pub note: *const c_char,
}

// SAFETY: as above.
unsafe impl Versioned for adflow_progress {
    const NAME: &'static str = "adflow_progress";
    const LEAST: usize = offset_of!(adflow_progress, phase);
}

/// Called often during training, on the thread that called `adflow_trainer_run`; not 0 cancels.
///
/// It must return: no exception and no longjmp may leave it. It may call adflow, but not with the running trainer.
pub type adflow_progress_fn =
    Option<unsafe extern "C" fn(progress: *const adflow_progress, user_data: *mut c_void) -> i32>;

/// Images of good parts, and what is to be made of them. One thread at a time may use a trainer.
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
    images: Vec<Image>,
    /// Of defective parts.
    defects: Vec<Image>,
}

/// What an options struct means by a number of threads; 0 is one per processor.
pub(crate) fn thread_count(count: u32) -> Result<usize, Failure> {
    match count {
        0 => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
        1..=1024 => Ok(count as usize),
        _ => Err(fail!(Argument, "{count} threads; at most 1024")),
    }
}

/// A pool of that many threads.
pub(crate) fn threads(count: u32) -> Result<Threads, Failure> {
    thread_count(count).map(Threads::new)
}

impl State {
    fn new(c: &Caller, options: &adflow_train_options) -> Result<State, Failure> {
        let path = |name, text: *const c_char| if text.is_null() { Ok(None) } else { c.path(name, text).map(Some) };
        let given = |number: u32| (number != 0).then_some(number);
        let or = |number: f64, default: f64| if number == 0.0 { default } else { number };
        let defaults = TrainOptions::default();
        let method = match adflow_method::new(options.method)? {
            adflow_method::Default => defaults.method,
            adflow_method::Cdnf => Method::Cdnf,
            adflow_method::Differnet => Method::DifferNet,
            adflow_method::Csflow => Method::CsFlow,
            adflow_method::Fastflow => Method::FastFlow,
            adflow_method::Ssnf => Method::Ssnf,
            adflow_method::Posflow => Method::PosFlow,
            adflow_method::Padim => Method::Padim,
            adflow_method::Gauss => Method::Gauss,
        };
        let preset = match adflow_preset::new(options.preset)? {
            adflow_preset::Default => defaults.preset,
            adflow_preset::Fast => Preset::Fast,
            adflow_preset::Paper => Preset::Paper,
        };
        let map_levels = match adflow_map_levels::new(options.map_levels)? {
            adflow_map_levels::Default => None,
            adflow_map_levels::Product => Some(MapLevels::Product),
            adflow_map_levels::Sum => Some(MapLevels::Sum),
            adflow_map_levels::Finest => Some(MapLevels::Finest),
        };
        let pooling = match adflow_pooling::new(options.pooling)? {
            adflow_pooling::Default => defaults.pooling,
            adflow_pooling::Mean => Pooling::Mean,
            adflow_pooling::Statistics => Pooling::Statistics,
        };
        let checkpoint = path("options.checkpoint", options.checkpoint)?.map(PathBuf::from);
        if options.resume != 0 && checkpoint.is_none() {
            return Err(fail!(Argument, "options.resume needs the path of a checkpoint"));
        }
        let backbone = match path("options.backbone", options.backbone)? {
            None => Backbone::builtin(),
            Some(path) => Backbone::open(path).map_err(|error| fail!(Weights, "{}: {error}", path.display()))?,
        };
        let gpu = device::open(c, options.device, 0)?;
        let roi = match options.region.is_null() {
            true => None,
            false => {
                let image = c.read("options.region", options.region)?;
                let roi = match Part::of(c, &image)? {
                    Some(part) => Roi::from_region(&part.region()),
                    None => Roi::from_mask(&image.view(c)?),
                };
                Some(roi.ok_or_else(|| fail!(Argument, "options.region: no pixel is inside"))?)
            }
        };
        let canvas = match (options.canvas_width, options.canvas_height) {
            (0, 0) => None,
            (0, _) | (_, 0) => return Err(fail!(Argument, "options.canvas_width, canvas_height: one of them is 0")),
            (width, height) => Some(Canvas::Pixels(width, height)),
        };
        let contrastive = given(options.contrastive_epochs).map(|epochs| {
            let rate = Some(options.contrastive_rate).filter(|rate| *rate != 0.0);
            Contrastive { epochs, learning_rate: rate.unwrap_or(Contrastive::default().learning_rate) }
        });
        let (threads, resume) = (options.threads, options.resume != 0);
        let options = TrainOptions {
            method,
            preset,
            size: given(options.size),
            canvas,
            margin: given(options.margin),
            epochs: given(options.epochs),
            views: given(options.views),
            false_reject: or(options.false_reject, defaults.false_reject),
            confidence: or(options.confidence, defaults.confidence),
            held_out: or(options.held_out, defaults.held_out).max(0.0),
            seed: options.seed,
            learning_rate: (options.learning_rate != 0.0).then_some(options.learning_rate),
            map: options.no_map == 0,
            map_levels,
            pooling,
            contrastive,
            roi,
        };
        Ok(State { options, backbone, threads, checkpoint, resume, gpu, images: Vec::new(), defects: Vec::new() })
    }

    fn run(&self, watch: &mut Watch<'_>) -> Result<OwnedModel, Failure> {
        let resume = match &self.checkpoint {
            Some(path) if self.resume && path.exists() => {
                Some(std::fs::read(path).map_err(|error| fail!(Io, "{}: {error}", path.display()))?)
            }
            _ => None,
        };
        let threads = threads(self.threads)?;
        let (images, defects) = (Stored(&self.images), Stored(&self.defects));
        let others = Others { defects: Some(&defects), textures: None };
        let cpu = Cpu::detect(&threads);
        let device: &dyn Device = self.gpu.as_ref().map_or(&cpu, |gpu| gpu);
        let trained =
            detect::train_with(&images, &others, &self.backbone, &self.options, device, watch, resume.as_deref());
        let trained = match (trained, watch.broken.take()) {
            (_, Some(error)) => return Err(fail!(Io, "{error}")),
            (Err(error), None) => return Err(error.into()),
            (Ok(trained), None) => trained,
        };
        let model =
            OwnedModel::from_bytes(&trained.model).map_err(|error| fail!(Internal, "internal error: {error}"))?;
        if let Some(path) = &self.checkpoint {
            // It may never have been written, and if it stays it is only of no use.
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

/// The observer of a training from C.
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
        let phase = match p.phase {
            Phase::Features => adflow_phase::Features,
            Phase::Train => adflow_phase::Train,
            Phase::Calibrate => adflow_phase::Calibrate,
            Phase::Adapt => adflow_phase::Adapt,
        };
        self.last = adflow_progress {
            phase: phase as u32,
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

/// Makes a trainer. `options` may be NULL: all defaults.
///
/// Free it with `adflow_trainer_free`. Errors: NULL, ARGUMENT, WEIGHTS. Thread class: reentrant.
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

/// Adds a copy of an image of a good part. `name` is used in messages; NULL: its number.
///
/// On failure the trainer is as it was. Errors: NULL, ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread class: local to the
/// trainer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_add_image(
    trainer: *mut adflow_trainer,
    image: *const adflow_image,
    name: *const c_char,
) -> adflow_status {
    guarded!(|c| {
        let trainer = c.get("trainer", trainer)?;
        let described = c.read("image", image)?;
        if !described.region.is_null() {
            return Err(fail!(Argument, "image.region: what is trained on is said by options.region"));
        }
        let view = described.view(c)?;
        let mut state = enter(&trainer.state, "trainer")?;
        let name = match name.is_null() {
            true => format!("image {}", state.images.len()),
            false => c.text("name", name)?.to_string(),
        };
        state.images.push(Image::copy(name, adflow_samples::new(described.samples)?, &view)?);
        Ok(())
    })
}

/// Adds a copy of an image of a defective part, for a contrastive phase. `name` is used in messages; NULL: its number.
///
/// Never measure the model with it, nor with other images of that part. On failure the trainer is as it was. Errors: NULL,
/// ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread class: local to the trainer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_add_defect(
    trainer: *mut adflow_trainer,
    image: *const adflow_image,
    name: *const c_char,
) -> adflow_status {
    guarded!(|c| {
        let trainer = c.get("trainer", trainer)?;
        let described = c.read("image", image)?;
        if !described.region.is_null() {
            return Err(fail!(Argument, "image.region: what is trained on is said by options.region"));
        }
        let view = described.view(c)?;
        let mut state = enter(&trainer.state, "trainer")?;
        let name = match name.is_null() {
            true => format!("defect {}", state.defects.len()),
            false => c.text("name", name)?.to_string(),
        };
        state.defects.push(Image::copy(name, adflow_samples::new(described.samples)?, &view)?);
        Ok(())
    })
}

/// Trains a model on the images added so far. `progress` may be NULL; `user_data` is handed to it.
///
/// The images stay; the trainer can run again, for example with `resume`. Free the model with `adflow_model_free`.
/// Errors: NULL, BUSY, CANCELLED, TOO_FEW_IMAGES, TRAINING, IMAGE, ARGUMENT, CHECKPOINT, IO. Thread class: local to the
/// trainer.
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

/// Copies the message of the last call on this trainer that failed, whatever the thread, as `adflow_last_error_copy` does; ""
/// before the first. BUSY is not noted.
///
/// Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_error_copy(
    trainer: *const adflow_trainer,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| {
        let message = *c.get("trainer", trainer)?.error().lock().unwrap_or_else(PoisonError::into_inner);
        status::copy(c, &message, buffer, capacity, length)
    })
}

/// Frees a trainer and its images; NULL is fine.
///
/// No thread may be using it, and no callback of its own. Thread class: local to the trainer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_trainer_free(trainer: *mut adflow_trainer) {
    guarded!(|c| { c.release(trainer) });
}
