//! Detectors: from good images to a model file.
//!
//! One file per method says what is fitted and which programs the model holds; `data.rs` reads the images and sets good
//! parts aside, `fit_flow.rs` trains flows, `calibrate.rs` measures the finished detector on the parts set aside. All of
//! it is driven by [`train()`]. Same images, options and seed give the same file, whatever the number of threads and
//! however often training was interrupted.

mod calibrate;
mod checkpoint;
mod contrast;
mod data;
mod extractor;
mod fit_flow;
mod gauss;
mod grid;
mod map_flow;
mod options;
mod padim;
mod pooled_flow;
mod spoil;
mod ssnf;
mod standardise;
mod synthetic;

pub use crate::backbones::Pooling;
pub use options::{Canvas, Contrastive, MapLevels, Method, Preset, TrainOptions};

use crate::backbones::{self, Backbone};
use crate::executor::{Device, DeviceError};
use crate::flows;
use crate::graph::GraphError;
use crate::image::{ImageError, ImageView};
use crate::model::ModelError;
use crate::params::ParamError;
use crate::plan::PlanError;
use crate::score::ScoreError;
use crate::session::SessionError;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

/// Training images, by number. May be asked for the same image several times, in any order.
pub trait Images {
    /// How many there are.
    fn len(&self) -> usize;

    /// Name of an image, for messages.
    fn name(&self, index: usize) -> String;

    /// Hands a view of the decoded image to `f`; an error says why it cannot.
    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String>;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What training is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Reading images and computing features.
    Features,
    /// Fitting the model.
    Train,
    /// Scoring the parts that were set aside.
    Calibrate,
    /// Adapting the backbone, before features are computed.
    Adapt,
}

/// How far training is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Units done in this phase (images, or steps of all epochs).
    pub done: usize,
    /// Units in this phase; an upper limit where training may stop early.
    pub total: usize,
    /// Epochs finished.
    pub epoch: usize,
    /// Most epochs there will be.
    pub epochs: usize,
    /// Mean loss of the last finished epoch, nats per dimension.
    pub loss: Option<f64>,
    /// Median score of held-out good parts over that of training parts, after the last finished epoch.
    pub held_out: Option<f64>,
}

/// Who watches a training.
pub trait Observer {
    /// Called often; `Break` cancels: a checkpoint is handed over and [`train()`] returns [`TrainError::Cancelled`].
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()>;

    /// Asked after each epoch; `true` gets a checkpoint. Making one takes a copy of parameters and moments.
    fn wants_checkpoint(&mut self) -> bool {
        false
    }

    /// A state from which training can be resumed, to be stored by the observer.
    fn checkpoint(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Something worth telling the user.
    fn note(&mut self, text: &str) {
        let _ = text;
    }
}

/// Images beside those of good parts, for methods that learn from such.
#[derive(Clone, Copy, Default)]
pub struct Others<'o> {
    /// Images of defective parts.
    pub defects: Option<&'o dyn Images>,
    /// Pictures of whatever surfaces, for synthetic anomalies; without them textures are made up.
    pub textures: Option<&'o dyn Images>,
}

/// An observer that watches nothing.
pub struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _progress: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Why training ended without a model.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainError {
    /// The observer asked for it.
    Cancelled,
    /// There are too few images.
    TooFewImages {
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// An image cannot be read or is not valid.
    Image {
        /// Its name.
        name: String,
        /// Why.
        error: String,
    },
    /// All training images give the same features (for example all-black images): there is nothing to learn.
    NoVariation,
    /// An option is out of range or does not fit.
    Options(String),
    /// The checkpoint cannot be used.
    Checkpoint(String),
    /// The loss, or a parameter, is no longer a number.
    NotFinite {
        /// After which step of the optimiser, counted from 1 over all epochs.
        step: u64,
        /// In which epoch, counted from 1.
        epoch: usize,
    },
    /// The backbone, being adapted, no longer tells good parts apart, or tells nothing else.
    Broken {
        /// After which epoch, counted from 1.
        epoch: usize,
        /// The spread of their features as a multiple of what it was.
        spread: f64,
    },
    /// The device failed.
    Device(DeviceError),
    /// Something that should have fitted did not.
    Internal(String),
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrainError::Cancelled => f.write_str("training was cancelled"),
            TrainError::TooFewImages { found, needed } => {
                write!(f, "training needs at least {needed} images of good parts, found {found}")
            }
            TrainError::Image { name, error } => write!(f, "{name}: {error}"),
            TrainError::NoVariation => {
                f.write_str("all training images look the same to the backbone (all black?): there is nothing to learn")
            }
            TrainError::Options(text) => f.write_str(text),
            TrainError::Checkpoint(text) => write!(f, "the checkpoint cannot be used: {text}"),
            TrainError::NotFinite { step, epoch } => {
                write!(f, "the loss is no longer a number at step {step}, epoch {epoch}; try a lower learning rate")
            }
            TrainError::Broken { epoch, spread } => {
                let how = if *spread > 1.0 { "blown their differences up" } else { "made them all alike" };
                write!(
                    f,
                    "after epoch {epoch} features of good parts differ {spread:.2e} times as much as they did: adapting the backbone has {how}; try a lower learning rate or fewer epochs"
                )
            }
            TrainError::Device(error) => write!(f, "{error}"),
            TrainError::Internal(text) => write!(f, "internal error: {text}"),
        }
    }
}

impl core::error::Error for TrainError {}

macro_rules! internal {
    ($($error:ty),*) => {
        $(impl From<$error> for TrainError {
            fn from(error: $error) -> TrainError { TrainError::Internal(error.to_string()) }
        })*
    };
}
internal!(GraphError, ParamError, PlanError, SessionError, ModelError, ScoreError, flows::FlowError);

impl From<DeviceError> for TrainError {
    fn from(error: DeviceError) -> TrainError {
        TrainError::Device(error)
    }
}

impl From<backbones::BuildError> for TrainError {
    fn from(error: backbones::BuildError) -> TrainError {
        // Sizes and taps come from the options.
        TrainError::Options(error.to_string())
    }
}

impl TrainError {
    fn image(name: String, error: &ImageError) -> TrainError {
        TrainError::Image { name, error: error.to_string() }
    }
}

/// A finished training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model file.
    pub model: Vec<u8>,
    /// Epochs that were run; 0 for methods fitted in closed form.
    pub epochs: usize,
    /// Mean loss of the last epoch, nats per dimension.
    pub final_loss: Option<f64>,
    /// Scores of the good parts that were set aside, ascending.
    pub held_out_scores: Vec<f32>,
}

/// Trains a detector on images of good parts, on a device: `Cpu`, or a GPU by `adflow-vulkan`.
///
/// `resume` is a state handed to [`Observer::checkpoint`] by an earlier training on the same images with the same
/// options; the result is the same file as without the interruption.
///
/// ```
/// use adflow::backbones::Backbone;
/// use adflow::cpu::Cpu;
/// use adflow::detect::{Images, Method, Silent, TrainOptions, train};
/// use adflow::image::ImageView;
/// use adflow::threads::Threads;
///
/// struct Camera(Vec<Vec<u8>>); // 40×30 grey images
/// impl Images for Camera {
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///     fn name(&self, index: usize) -> String {
///         format!("frame {index}")
///     }
///     fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
///         f(&ImageView::grey_u8(40, 30, &self.0[index]).map_err(|e| e.to_string())?);
///         Ok(())
///     }
/// }
/// let good = Camera((0..12u32).map(|i| (0..1200u32).map(|p| (p * (i + 3) % 251) as u8).collect()).collect());
/// let options = TrainOptions { method: Method::Gauss, size: Some(64), ..TrainOptions::default() };
/// let threads = Threads::all();
/// let trained = train(&good, &Backbone::builtin(), &options, &Cpu::detect(&threads), &mut Silent, None)?;
/// assert!(!trained.model.is_empty());
/// # Ok::<(), adflow::detect::TrainError>(())
/// ```
pub fn train(
    images: &dyn Images,
    backbone: &Backbone,
    options: &TrainOptions,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Trained, TrainError> {
    train_with(images, &Others::default(), backbone, options, device, observer, resume)
}

/// The same with images of defective parts or of textures, which a contrastive phase ([`TrainOptions::contrastive`]) learns from.
/// None of the defects may be measured with later, nor other images of the same parts.
pub fn train_with(
    images: &dyn Images,
    others: &Others<'_>,
    backbone: &Backbone,
    options: &TrainOptions,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Trained, TrainError> {
    let others = Others {
        defects: others.defects.filter(|d| !d.is_empty()),
        textures: others.textures.filter(|t| !t.is_empty()),
    };
    let native = if options.canvas == Some(Canvas::Native) && !images.is_empty() {
        let mut size = None;
        let read = images.with(0, &mut |view| size = Some((view.width(), view.height())));
        read.map_err(|error| TrainError::Image { name: images.name(0), error })?;
        size
    } else {
        None
    };
    let setup = options.resolve(backbone, native)?;
    if setup.contrastive.is_none() && (others.defects.is_some() || others.textures.is_some()) {
        let text = "defects and textures are of use to a contrastive phase only, which was not asked for";
        return Err(TrainError::Options(text.to_string()));
    }
    if images.len() < setup.min_images() {
        return Err(TrainError::TooFewImages { found: images.len(), needed: setup.min_images() });
    }
    let draft = match setup.method {
        Method::Cdnf | Method::DifferNet => match setup.contrastive {
            None => pooled_flow::fit(images, backbone, &setup, device, observer, resume)?,
            Some(contrastive) => {
                let adapted =
                    contrast::adapt(images, &others, backbone, &setup, contrastive, device, observer, resume)?;
                let mut behind = contrast::Behind { observer, first: &adapted.checkpoint };
                let (backbone, rest) = (&adapted.backbone, adapted.rest);
                let mut draft = pooled_flow::fit(images, backbone, &setup, device, &mut behind, rest)?;
                draft.about.extend(adapted.about);
                draft
            }
        },
        Method::Gauss => gauss::fit(images, backbone, &setup, device, observer)?,
        Method::PosFlow | Method::FastFlow | Method::Ssnf | Method::CsFlow => {
            map_flow::fit(images, backbone, &setup, device, observer, resume)?
        }
        Method::Padim => padim::fit(images, backbone, &setup, device, observer)?,
    };
    calibrate::finish(images, backbone, &setup, draft, device, observer)
}

/// A fitted detector before calibration.
struct Draft {
    params: crate::params::Params,
    programs: Vec<crate::place::OwnedProgram>,
    map: calibrate::MapPlan,
    /// With tiles: positions of the canvas whose mean is the score, the largest; 0: the highest tile's score.
    tiles_top: u32,
    held_out: Vec<usize>,
    epochs: usize,
    final_loss: Option<f64>,
    about: Vec<(String, String)>,
}

/// Reports progress; `Err` when cancelled.
fn report(observer: &mut dyn Observer, phase: Phase, done: usize, total: usize) -> Result<(), TrainError> {
    let progress = Progress { phase, done, total, epoch: 0, epochs: 0, loss: None, held_out: None };
    match observer.progress(&progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Cancelled),
    }
}

/// `key=value` lines that every model carries.
fn about(setup: &options::Setup, backbone: &Backbone, data_digest: u64, images: usize) -> Vec<(String, String)> {
    let mut about: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: String| about.push((key.to_string(), value));
    add("method", setup.method.as_str().to_string());
    add("backbone", backbone.name().to_string());
    add("backbone_digest", format!("{:016x}", backbone.digest()));
    add("preset", setup.preset.as_str().to_string());
    add("seed", setup.seed.to_string());
    add("size", setup.size.to_string());
    if let Some(tiling) = &setup.tiling {
        let (width, height) = tiling.canvas();
        add("canvas", format!("{width}x{height}"));
        add("margin", tiling.margin().to_string());
    }
    if setup.method.pools() {
        add("pooling", setup.pooling.as_str().to_string());
    }
    add("images", images.to_string());
    add("data_digest", format!("{data_digest:016x}"));
    if let Some(roi) = &setup.roi {
        add("roi", format!("{:.4}", roi.bits().share()));
    }
    add("adflow", crate::VERSION.to_string());
    about
}
