//! The training loop: epochs of steps, progress, checkpoints, and what happens when a device is lost.
//!
//! The model is that of the last epoch, never of one that some test liked best.

use super::checkpoint::{self, Position};
use super::objective::{Now, Objective, Verdict};
use crate::detect::error::{Result, TrainError};
use crate::detect::observer::{Observer, Phase, Progress};
use crate::executor::{Device, DeviceFault, Executor};
use crate::place::OwnedProgram;
use crate::plan::{BLOCK, Region};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Parameters on a device, and how many floats of them train.
pub struct Trainee<'d> {
    pub executor: Box<dyn Executor + 'd>,
    trainable: usize,
    /// Moments of the optimisers.
    state: usize,
}

impl<'d> Trainee<'d> {
    /// Puts packed parameters on a device; `train` is the program whose optimiser has the most state.
    pub fn new(device: &'d dyn Device, params: &[f32], train: &OwnedProgram) -> Result<Trainee<'d>> {
        let floats = |region| train.program().blocks(region) as usize * BLOCK;
        let (trainable, state) = (floats(Region::Grads), floats(Region::State));
        Ok(Trainee { executor: device.executor(params, trainable, state)?, trainable, state })
    }

    /// Bytes of a checkpoint.
    pub fn checkpoint_len(&self) -> usize {
        checkpoint::len(self.trainable, self.state)
    }

    fn snapshot(&mut self, at: &Position) -> Result<Snapshot> {
        let (mut params, mut state) = (vec![0.0; self.trainable], vec![0.0; self.state]);
        self.executor.read(Region::Params, &mut params)?;
        self.executor.read(Region::State, &mut state)?;
        Ok(Snapshot { at: *at, params, state })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.executor.write(Region::Params, &snapshot.params)?;
        Ok(self.executor.write(Region::State, &snapshot.state)?)
    }

    fn read_checkpoint(&self, bytes: &[u8], digest: u64) -> Result<Snapshot> {
        let (mut params, mut state) = (vec![0.0; self.trainable], vec![0.0; self.state]);
        let at = checkpoint::read(bytes, digest, &mut params, &mut state)?;
        Ok(Snapshot { at, params, state })
    }
}

/// A training as it was: what a checkpoint holds.
struct Snapshot {
    at: Position,
    params: Vec<f32>,
    state: Vec<f32>,
}

impl Snapshot {
    fn bytes(&self) -> Vec<u8> {
        checkpoint::write(&self.at, &self.params, &self.state)
    }
}

/// How a training came out.
pub struct Finished {
    pub epochs: usize,
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// Trained parameters, packed, all finite.
    pub params: Vec<f32>,
    /// The state at the end.
    pub checkpoint: Vec<u8>,
}

/// How a training goes.
pub struct Run<'r> {
    pub phase: Phase,
    /// Most epochs.
    pub epochs: usize,
    /// Whether the objective may end it before that.
    pub may_stop: bool,
    /// Digest of everything that decides the result.
    pub digest: u64,
    pub observer: &'r mut dyn Observer,
}

impl Run<'_> {
    /// Trains to the end, from the beginning or from a checkpoint.
    pub fn train(
        self,
        objective: &mut dyn Objective,
        trainee: &mut Trainee<'_>,
        resume: Option<&[u8]>,
    ) -> Result<Finished> {
        let mut at = Position::start(self.digest, objective.start());
        if let Some(bytes) = resume {
            let snapshot = trainee.read_checkpoint(bytes, self.digest)?;
            trainee.restore(&snapshot)?;
            at = snapshot.at;
        }
        let batches = objective.batches();
        let progress = Progress {
            phase: self.phase,
            done: 0,
            total: self.epochs * batches,
            epoch: at.epoch as usize,
            epochs: self.epochs,
            loss: Some(at.last_loss).filter(|l| l.is_finite()),
            held_out: None,
        };
        // What a lost device takes with it is one epoch at most.
        let last = trainee.executor.is_volatile().then(|| trainee.snapshot(&at)).transpose()?;
        let mut epochs = Epochs { objective, trainee, batches, progress, last, observer: self.observer };
        while (at.epoch as usize) < self.epochs && !(self.may_stop && at.stopped != 0) {
            let mut after = at;
            match epochs.next(&mut after) {
                Ok(()) => at = after,
                Err(TrainError::Device(error)) if error.fault == DeviceFault::Lost => {
                    let Some(last) = &epochs.last else { return Err(error.into()) };
                    epochs.trainee.executor.recover()?;
                    epochs.trainee.restore(last)?;
                    at = last.at;
                    let text = format!("{error}; training goes on from the end of epoch {}", at.epoch);
                    epochs.observer.note(&text);
                }
                Err(error) => return Err(error),
            }
        }
        let Epochs { objective, trainee, progress, observer, .. } = epochs;
        if self.may_stop && at.stopped != 0 {
            observer.note(&format!("stopped after epoch {}: {}", at.epoch, objective.reason()));
        }
        let end = trainee.snapshot(&at)?;
        if end.params.iter().any(|p| !p.is_finite()) {
            return Err(TrainError::NotFinite { step: at.steps, epoch: progress.epoch });
        }
        let checkpoint = end.bytes();
        Ok(Finished { epochs: progress.epoch, loss: at.last_loss, params: end.params, checkpoint })
    }
}

/// A training on its way.
struct Epochs<'e, 't, 'd> {
    objective: &'e mut dyn Objective,
    trainee: &'t mut Trainee<'d>,
    /// Steps in an epoch.
    batches: usize,
    progress: Progress,
    /// The newest state that a lost device would not take with it, where there is such a danger.
    last: Option<Snapshot>,
    observer: &'e mut dyn Observer,
}

impl Epochs<'_, '_, '_> {
    fn now(&self, at: &Position) -> Now {
        Now { epoch: at.epoch, batch: at.batch, step: at.steps, steps: self.progress.total as u64 }
    }

    /// Runs the rest of an epoch, asks the objective what it thinks, and hands over a checkpoint.
    fn next(&mut self, at: &mut Position) -> Result<()> {
        self.objective.begin(at.epoch);
        while (at.batch as usize) < self.batches {
            self.progress.done = at.epoch as usize * self.batches + at.batch as usize;
            if let ControlFlow::Break(()) = self.observer.progress(&self.progress) {
                // Should the device fail just now, the state before this epoch is better than none.
                let snapshot = match (self.trainee.snapshot(at), self.last.take()) {
                    (Ok(snapshot), _) | (Err(_), Some(snapshot)) => snapshot,
                    (Err(error), None) => return Err(error),
                };
                self.observer.checkpoint(&snapshot.bytes());
                return Err(TrainError::Cancelled);
            }
            let now = self.now(at);
            let loss = self.objective.step(now, &mut at.memory, &mut *self.trainee.executor)?;
            at.steps += 1;
            if !loss.mean.is_finite() {
                return Err(TrainError::NotFinite { step: at.steps, epoch: at.epoch as usize + 1 });
            }
            at.loss_sum += loss.mean * loss.weight as f64;
            at.loss_count += loss.weight;
            at.batch += 1;
        }
        at.last_loss = at.loss_sum / at.loss_count.max(1) as f64;
        (at.epoch, at.batch, at.loss_sum, at.loss_count) = (at.epoch + 1, 0, 0.0, 0);
        self.progress.epoch = at.epoch as usize;
        self.progress.loss = Some(at.last_loss);
        self.progress.done = at.epoch as usize * self.batches;
        let now = self.now(at);
        let Verdict { stop, held_out } = self.objective.end(now, &mut at.memory, &mut *self.trainee.executor)?;
        at.stopped = u64::from(stop);
        self.progress.held_out = held_out;
        let wanted = self.observer.wants_checkpoint();
        if wanted || self.last.is_some() {
            let snapshot = self.trainee.snapshot(at)?;
            if wanted {
                self.observer.checkpoint(&snapshot.bytes());
            }
            self.last = self.last.is_some().then_some(snapshot);
        }
        Ok(())
    }
}
