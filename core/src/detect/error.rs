//! Why a training ends without a model.

use crate::backbones::BuildError;
use crate::executor::DeviceError;
use crate::flows::FlowError;
use crate::graph::GraphError;
use crate::image::ImageError;
use crate::model::ModelError;
use crate::params::ParamError;
use crate::plan::PlanError;
use crate::score::ScoreError;
use crate::session::SessionError;
use alloc::string::{String, ToString};
use core::error::Error;
use core::fmt;

/// Result of what can end a training.
pub(super) type Result<T, E = TrainError> = core::result::Result<T, E>;

/// Why a training ended without a model.
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
        /// Name of the image.
        name: String,
        /// What is wrong with it.
        error: String,
    },
    /// All training images give the same features (for example all-black images): there is nothing to learn.
    NoVariation,
    /// An option is out of range, or two options contradict each other.
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
    /// Adapting the backbone collapsed or exploded the feature spread of good parts.
    Broken {
        /// After which epoch, counted from 1.
        epoch: usize,
        /// Spread of the features of good parts, as a multiple of what it was before.
        spread: f64,
    },
    /// The device failed.
    Device(DeviceError),
    /// Something that should have fitted did not: a fault of the library.
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
                let how = if *spread > 1.0 { "exploded" } else { "collapsed" };
                write!(
                    f,
                    "adapting the backbone {how} the feature spread of good parts ({spread:.2e} times what it was) in \
                     epoch {epoch}; try a lower learning rate or fewer epochs"
                )
            }
            TrainError::Device(error) => error.fmt(f),
            TrainError::Internal(text) => write!(f, "internal error: {text}"),
        }
    }
}

impl Error for TrainError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TrainError::Device(error) => Some(error),
            _ => None,
        }
    }
}

macro_rules! internal {
    ($($error:ty),*) => {
        $(impl From<$error> for TrainError {
            fn from(error: $error) -> TrainError { TrainError::Internal(error.to_string()) }
        })*
    };
}
internal!(GraphError, ParamError, PlanError, SessionError, ModelError, ScoreError, FlowError);

impl From<DeviceError> for TrainError {
    fn from(error: DeviceError) -> TrainError {
        TrainError::Device(error)
    }
}

impl From<BuildError> for TrainError {
    fn from(error: BuildError) -> TrainError {
        // Sizes and taps come from the options.
        TrainError::Options(error.to_string())
    }
}

impl TrainError {
    /// An image that the library cannot use.
    pub(super) fn image(name: String, error: &ImageError) -> TrainError {
        TrainError::Image { name, error: error.to_string() }
    }
}
