//! What a training loop is told to minimise.

use crate::detect::error::Result;
use crate::executor::Executor;
use alloc::string::String;

/// Numbers that an objective remembers between steps and in checkpoints.
pub type Memory = [f64; 8];

/// Where a training is when a step begins.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Epochs finished.
    pub epoch: u64,
    /// Batches done in this epoch.
    pub batch: u64,
    /// Steps done so far.
    pub step: u64,
    /// Steps in all, at most.
    pub steps: u64,
}

/// Loss of a step.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Mean over the samples.
    pub mean: f64,
    /// What it counts in the mean over an epoch.
    pub weight: u64,
}

/// What an objective says after an epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    /// Whether nothing is left to learn.
    pub stop: bool,
    /// Median score of held-out good parts over that of training parts, where it was measured.
    pub held_out: Option<f64>,
}

/// What is minimised, with programs and state of its own. Everything random is drawn from the seed and [`Now`], so that a
/// step can be repeated. An objective may run several programs a step, each with an optimiser and a rate of its own.
pub trait Objective {
    /// What is remembered before the first step.
    fn start(&self) -> Memory;

    /// Steps in an epoch, at least 1.
    fn batches(&self) -> usize;

    /// Begins an epoch, for the first time or, after an interruption, again.
    fn begin(&mut self, epoch: u64);

    /// Fills the inputs and runs one step. A loss that is not finite ends the training.
    fn step(&mut self, now: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Loss>;

    /// Looks at an epoch that has ended; `now` is where the next one begins.
    fn end(&mut self, now: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Verdict>;

    /// Why [`Verdict::stop`] was said, as a clause for the user.
    fn reason(&self) -> String;
}
