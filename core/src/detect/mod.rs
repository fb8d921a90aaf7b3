//! Detectors: from good images to a model file.
//!
//! [`train()`] reads images of good parts, fits a [`Method`] to their features and returns a model with a threshold, ready for
//! [`Scorer`](crate::score::Scorer). Same images, options and seed give the same file, whatever the number of threads and
//! however often training was interrupted.
//!
//! A method is one file in `methods/`: what it is called, what it can, and how it models normality. Everything else is shared:
//! `features/` turns images into what is modelled, `density/` has models that several methods use, `training/` is the one
//! loop with what it can minimise, `pipeline.rs` runs them in order, `calibrate.rs` measures the finished detector on
//! parts that were set aside, `options.rs` checks what users choose.

mod anomalies;
mod calibrate;
mod choices;
mod density;
mod emit;
mod error;
mod features;
mod images;
mod job;
mod method;
mod methods;
mod observer;
mod options;
mod pipeline;
mod setup;
mod spoil;
mod trained;
mod training;

pub use choices::*;
pub use error::TrainError;
pub use images::{AnomalySources, Images};
pub use method::Method;
pub use observer::{Observer, Phase, Progress};
pub use options::TrainOptions;
pub use trained::Trained;

use crate::backbones::Backbone;
use crate::executor::Device;
use alloc::string::ToString;

/// Trains a detector on images of good parts, on a device: `Cpu`, or a GPU by `adflow-vulkan`.
///
/// `resume` is a state handed to [`Observer::checkpoint`] by an earlier training on the same images with the same
/// options; the result is the same file as without the interruption.
///
/// ```
/// # let (good, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::backbones::Backbone;
/// use adflow::cpu::Cpu;
/// use adflow::detect::{Method, TrainOptions, train};
/// use adflow::threads::Threads;
///
/// let options = TrainOptions { method: Method::GAUSS, size: Some(64), ..TrainOptions::default() };
/// let threads = Threads::all();
/// let trained = train(&good, &Backbone::builtin(), &options, &Cpu::detect(&threads), &mut (), None)?;
/// assert!(!trained.model.is_empty());
/// # Ok::<(), adflow::detect::TrainError>(())
/// ```
///
/// # Errors
/// [`TrainError`]: what is wrong with an option, an image, the checkpoint or the device.
pub fn train(
    images: &dyn Images,
    backbone: &Backbone,
    options: &TrainOptions,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Trained, TrainError> {
    train_with(images, AnomalySources::default(), backbone, options, device, observer, resume)
}

/// Trains a detector like [`train()`], with images of defective parts or of textures, which a contrastive phase
/// ([`TrainOptions::contrastive`]) learns from.
///
/// # Errors
/// [`TrainError`]: what is wrong with an option, an image, the checkpoint or the device.
pub fn train_with(
    images: &dyn Images,
    anomalies: AnomalySources<'_>,
    backbone: &Backbone,
    options: &TrainOptions,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Trained, TrainError> {
    let native = if options.canvas == Some(Canvas::Native) && !images.is_empty() {
        Some(images::read(images, 0, &mut |view| Ok((view.width(), view.height())))?)
    } else {
        None
    };
    let setup = options.resolve(backbone, native)?;
    let anomalies = anomalies.non_empty();
    if setup.contrastive.is_none() && !anomalies.is_empty() {
        let text = "defects and textures are of use to a contrastive phase only, which was not asked for";
        return Err(TrainError::Options(text.to_string()));
    }
    if images.len() < pipeline::MIN_IMAGES {
        return Err(TrainError::TooFewImages { found: images.len(), needed: pipeline::MIN_IMAGES });
    }
    let colour = features::extractor::have_colour(images, &setup)?;
    let job = job::Job { images, anomalies, backbone, setup: &setup, colour, device };
    pipeline::run(options.method.0.detector, &job, observer, resume)
}
