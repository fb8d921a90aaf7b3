//! Watching a training: progress, checkpoints, notes.

use super::error::{Result, TrainError};
use crate::choice;
use core::ops::ControlFlow;

choice! {
    /// What training is doing.
    pub enum Phase: "phase" {
        /// Reading images and computing features.
        Features("features") = 0,
        /// Fitting the model.
        Train("train") = 1,
        /// Scoring the parts that were set aside.
        Calibrate("calibrate") = 2,
        /// Adapting the backbone, before features are computed.
        Adapt("adapt") = 3,
    }
}

/// How far training is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Current phase.
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

/// Who watches a training. `()` watches nothing.
///
/// ```
/// # let (good, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::backbones::Backbone;
/// use adflow::cpu::Cpu;
/// use adflow::detect::{Observer, Progress, TrainError, TrainOptions, train};
/// use adflow::threads::Threads;
/// use std::ops::ControlFlow;
///
/// /// Gives up after so many calls.
/// struct Impatient(u32);
///
/// impl Observer for Impatient {
///     fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
///         println!("{:?}: {} of {}", progress.phase, progress.done, progress.total);
///         self.0 -= 1;
///         if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
///     }
/// }
/// let (options, threads) = (TrainOptions { size: Some(64), ..TrainOptions::default() }, Threads::all());
/// let trained = train(&good, &Backbone::builtin(), &options, &Cpu::detect(&threads), &mut Impatient(5), None);
/// assert_eq!(trained.err(), Some(TrainError::Cancelled));
/// ```
pub trait Observer {
    /// Called often; `Break` cancels: a checkpoint is handed over and [`train()`](super::train()) returns
    /// [`TrainError::Cancelled`].
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

impl Observer for () {
    fn progress(&mut self, _progress: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Reports units of work that have no epochs; an error when the observer cancels.
pub(super) fn report(observer: &mut dyn Observer, phase: Phase, done: usize, total: usize) -> Result<()> {
    let progress = Progress { phase, done, total, epoch: 0, epochs: 0, loss: None, held_out: None };
    match observer.progress(&progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Cancelled),
    }
}
