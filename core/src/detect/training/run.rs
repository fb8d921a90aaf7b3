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

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::objective::{Loss, Memory};
    use super::*;
    use crate::cpu::Cpu;
    use crate::graph::{Graph, TensorId};
    use crate::op::{Adam, Add, BatchMean, Linear, Scale, SquareSum};
    use crate::params::Params;
    use crate::place::{Reuse, place};
    use crate::shape::Shape;
    use crate::threads::Threads;
    use std::string::{String, ToString};

    const EPOCHS: usize = 150;
    const BATCHES: usize = 10;

    /// Two players: a follows `1 + b/2`, b follows a. They meet at 2. Each has an optimiser of its own; the rate of a falls as a
    /// cosine.
    struct Players<'p> {
        programs: [&'p OwnedProgram; 2],
    }

    fn player(params: &Params, own: &str, factor: f32) -> OwnedProgram {
        let mut g = Graph::new();
        let (one, shift) = (g.input("one", Shape::vector(1)), g.input("shift", Shape::vector(1)));
        let value = |g: &mut Graph, name: &str| -> TensorId {
            let (w, b) = (g.param(params, &format!("{name}.w")).unwrap(), g.param(params, "zero").unwrap());
            g.emit(&format!("{name}.value"), Linear::dense(crate::kernels::Activation::None), &[one, w, b]).unwrap()
        };
        let (a, b) = (value(&mut g, own), value(&mut g, if own == "a" { "b" } else { "a" }));
        let b = g.emit("other", Scale { factor: -factor }, &[b]).unwrap();
        let difference = g.emit("difference", Add {}, &[a, b]).unwrap();
        let off = g.emit("off", Add {}, &[difference, shift]).unwrap();
        let square = SquareSum { scale: 1.0, per_position: false, root: false };
        let square = g.emit("square", square, &[off]).unwrap();
        let loss = g.emit("loss", BatchMean {}, &[square]).unwrap();
        g.output("loss", loss);
        let adam = Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, clip: 0.0 };
        g.train_part(loss, params, &format!("{own}."), adam).unwrap();
        place(own, &g, &params.layout(), Reuse::Share).unwrap()
    }

    impl Objective for Players<'_> {
        fn start(&self) -> Memory {
            [0.0; 8]
        }

        fn batches(&self) -> usize {
            BATCHES
        }

        fn begin(&mut self, _: u64) {}

        fn step(&mut self, now: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Loss, TrainError> {
            let falling = 0.5 + 0.5 * libm::cosf(core::f32::consts::PI * now.step as f32 / now.steps as f32);
            let mut mean = 0.0;
            for (program, (rate, shift)) in self.programs.iter().zip([(0.05 * falling, -1.0), (0.05, 0.0)]) {
                let step = executor.prepare(program.program(), 1)?;
                executor.input(step, "one").fill(1.0);
                executor.input(step, "shift").fill(shift);
                executor.input(step, "control").copy_from_slice(&[rate, (now.step + 1) as f32]);
                executor.run(step)?;
                mean += f64::from(executor.output(step, "loss")[0]);
            }
            memory[0] += 1.0;
            Ok(Loss { mean, weight: 1 })
        }

        fn end(&mut self, now: Now, memory: &mut Memory, _: &mut dyn Executor) -> Result<Verdict, TrainError> {
            assert_eq!(memory[0] as u64, now.step, "what is remembered survives an interruption");
            Ok(Verdict::default())
        }

        fn reason(&self) -> String {
            "they have met".to_string()
        }
    }

    /// Cancels at a step and keeps the checkpoint.
    struct Stopping(usize, Vec<u8>);

    impl Observer for Stopping {
        fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
            if progress.done == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn checkpoint(&mut self, bytes: &[u8]) {
            self.1 = bytes.to_vec();
        }
    }

    #[test]
    fn an_objective_may_have_several_optimisers_and_a_schedule() {
        let mut params = Params::new();
        params.add("a.w", Shape([1, 1, 1, 1]), true, vec![5.0]).unwrap();
        params.add("zero", Shape::vector(1), false, vec![0.0]).unwrap();
        params.add("b.w", Shape([1, 1, 1, 1]), true, vec![-3.0]).unwrap();
        let (a, b) = (player(&params, "a", 0.5), player(&params, "b", 1.0));
        let threads = Threads::serial();
        let cpu = Cpu::detect(&threads);
        let train = |observer: &mut dyn Observer, resume: Option<&[u8]>| {
            let mut trainee = Trainee::new(&cpu, &params.pack(), &a).unwrap();
            let run = Run { phase: Phase::Train, epochs: EPOCHS, may_stop: false, digest: 7, observer };
            run.train(&mut Players { programs: [&a, &b] }, &mut trainee, resume)
        };
        let whole = train(&mut (), None).unwrap();
        let mut met = params.clone();
        let mut packed = params.pack();
        packed[..whole.params.len()].copy_from_slice(&whole.params);
        met.unpack(&packed);
        for name in ["a.w", "b.w"] {
            let value = met.get(name).unwrap().data[0];
            assert!((value - 2.0).abs() < 0.02, "{name} is {value}");
        }
        for at in [0, 3, BATCHES, 4 * BATCHES + 7] {
            let mut stopping = Stopping(at, Vec::new());
            assert_eq!(train(&mut stopping, None).err(), Some(TrainError::Cancelled));
            let resumed = train(&mut (), Some(&stopping.1)).unwrap();
            assert!(resumed.checkpoint == whole.checkpoint, "interrupted at step {at}");
        }
    }

    #[test]
    fn an_optimiser_trains_its_part_alone() {
        let mut params = Params::new();
        for (name, trainable) in [("a.1", true), ("frozen", false), ("a.2", true), ("b.1", true), ("a.3", true)] {
            params.add(name, Shape::vector(20), trainable, vec![0.0; 20]).unwrap();
        }
        // Two blocks each; a frozen one lies behind them all.
        assert_eq!(params.trainable_part("b."), Some(4..6));
        assert_eq!(params.trainable_part("a."), None, "b.1 lies between");
        assert_eq!(params.trainable_part(""), Some(0..8));
        assert_eq!(params.trainable_part("frozen"), None);
    }
}
