//! Trains a flow on features: shuffled batches, Adam, held-out parts after each epoch.
//!
//! Batches and noise are drawn from a counter (seed, epoch), so any step can be repeated. Without a fixed number of epochs
//! held-out parts say when to stop ([`Stop`]). The model is that of the last epoch, never of one that some test liked best.

use super::checkpoint::{self, Position};
use super::data::{Data, stream};
use super::extractor::Extractor;
use super::options::Setup;
use super::ssnf;
use super::synthetic::Synthetic;
use super::{Images, Observer, Phase, Progress, TrainError};
use crate::backbones::Backbone;
use crate::executor::{Device, DeviceFault, Executor};
use crate::image::rotate_nearest;
use crate::params::Params;
use crate::place::OwnedProgram;
use crate::plan::{BLOCK, Region};
use crate::rng::Rng;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Most epochs where held-out parts decide.
const MAX_EPOCHS: usize = 60;
/// Epochs where there are neither held-out parts nor a fixed number.
const DEFAULT_EPOCHS: usize = 20;
/// Ratio of medians at which training stops.
const OVERFIT: f64 = 1.3;
/// Training parts whose median is compared.
const WATCHED: usize = 256;

/// Epochs without a better likelihood after which training stops.
const PATIENCE: u64 = 2;

/// When held-out parts end a training.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// Once their median score exceeds 1.3 times that of training parts (cdnf §10): from there on the flow memorises. The
    /// program `latent` has an output `score`.
    ScoreRatio,
    /// Once their likelihood has not been better for two epochs. The program `latent` has an output `nll`.
    Likelihood,
}

/// A part of the features that is an input of the programs.
#[derive(Clone, Debug)]
pub(super) struct FlowInput {
    pub name: String,
    /// First value in a row of features.
    pub first: usize,
    pub len: usize,
    /// Deviation of the noise that training adds through an input `noise.` + name; without such an input where it is 0.
    pub noise: f32,
}

/// The programs that training needs, and how it runs them.
#[derive(Clone, Copy)]
pub(super) struct FlowPrograms<'p> {
    /// Features to loss, and a step.
    pub train: &'p OwnedProgram,
    /// Features to score or likelihood.
    pub latent: &'p OwnedProgram,
    pub inputs: &'p [FlowInput],
    /// Views of good parts in a batch.
    pub batch: usize,
    pub stop: Stop,
    /// Anomalies, as many as good parts in each batch; the program `train` is then one of `ssnf.rs`.
    pub synthetic: Option<&'p Synthetic>,
}

/// What came out.
pub(super) struct Fitted {
    pub epochs: usize,
    pub loss: f64,
}

/// The flow on a device, with its programs ready.
struct Run<'p> {
    executor: Box<dyn Executor + 'p>,
    programs: FlowPrograms<'p>,
    trainable: usize,
    state: usize,
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

impl Run<'_> {
    fn snapshot(&mut self, at: &Position) -> Result<Snapshot, TrainError> {
        let (mut params, mut state) = (vec![0.0; self.trainable], vec![0.0; self.state]);
        self.executor.read(Region::Params, &mut params)?;
        self.executor.read(Region::State, &mut state)?;
        Ok(Snapshot { at: *at, params, state })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), TrainError> {
        self.executor.write(Region::Params, &snapshot.params)?;
        Ok(self.executor.write(Region::State, &snapshot.state)?)
    }
}

/// Random views of training images, made afresh in each epoch (preset `paper`).
struct RandomViews<'v, 'e> {
    images: &'v dyn Images,
    extractor: &'v mut Extractor<'e>,
    seed: u64,
    fill: [f32; 3],
    size: usize,
}

impl RandomViews<'_, '_> {
    fn rows(&mut self, image: usize, epoch: u64, views: usize, out: &mut [f32]) -> Result<(), TrainError> {
        self.extractor.load(self.images, image)?;
        let mut rng = Rng::at(self.seed, epoch, stream::ROTATION, image as u64 * 64);
        for row in out.chunks_exact_mut(self.extractor.len).take(views) {
            let degrees = f64::from(rng.range(-180.0..180.0));
            let (size, fill) = (self.size, self.fill);
            self.extractor.features(&mut |base, view| rotate_nearest(size, size, degrees, &fill, base, view), row)?;
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Means over the views of each image of an output of program `latent`.
    fn evaluate(&mut self, data: &Data, images: &[usize], output: &str) -> Result<Vec<f64>, TrainError> {
        let mut values = Vec::new();
        for chunk in images.chunks((self.programs.batch / data.views).max(1)) {
            let latent = self.executor.prepare(self.programs.latent.program(), chunk.len() * data.views)?;
            for input in self.programs.inputs {
                let rows = self.executor.input(latent, &input.name).chunks_exact_mut(input.len);
                for (row, (image, view)) in rows.zip(chunk.iter().flat_map(|&i| (0..data.views).map(move |v| (i, v)))) {
                    row.copy_from_slice(&data.row(image, view)[input.first..][..input.len]);
                }
            }
            self.executor.run(latent)?;
            let out = self.executor.output(latent, output);
            values.extend(
                out.chunks_exact(data.views).map(|v| v.iter().map(|&s| f64::from(s)).sum::<f64>() / v.len() as f64),
            );
        }
        Ok(values)
    }

    /// Median score of images.
    fn median_score(&mut self, data: &Data, images: &[usize]) -> Result<f64, TrainError> {
        let mut scores = self.evaluate(data, images, "score")?;
        scores.sort_unstable_by(f64::total_cmp);
        Ok(scores.get(scores.len() / 2).copied().unwrap_or(f64::NAN))
    }
}

pub(super) fn fit(
    images: &dyn Images,
    backbone: &Backbone,
    setup: &Setup,
    data: &Data,
    params: &mut Params,
    programs: FlowPrograms<'_>,
    extractor: &mut Extractor<'_>,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Fitted, TrainError> {
    let views = data.views;
    let per_batch = (programs.batch / views).max(1).min(data.train.len());
    let train = programs.train.program();
    let floats = |region| train.blocks(region) as usize * BLOCK;
    let (trainable, state) = (floats(Region::Grads), floats(Region::State));
    let executor = device.executor(&params.pack(), trainable, state)?;
    let mut run = Run { executor, programs, trainable, state };
    let digest = setup.digest(backbone, data.digest);
    let mut at = match resume {
        Some(bytes) => {
            let (mut params, mut state) = (vec![0.0; trainable], vec![0.0; state]);
            let at = checkpoint::read(bytes, digest, &mut params, &mut state)?;
            run.restore(&Snapshot { at, params, state })?;
            at
        }
        None => Position::start(digest),
    };
    let watch = setup.epochs.is_none() && !data.held_out.is_empty();
    let epochs = setup.epochs.unwrap_or(if watch { MAX_EPOCHS } else { DEFAULT_EPOCHS });
    let batches = data.train.len().div_ceil(per_batch);
    let progress = Progress {
        phase: Phase::Train,
        done: 0,
        total: epochs * batches,
        epoch: at.epoch as usize,
        epochs,
        loss: Some(at.last_loss).filter(|l| l.is_finite()),
        held_out: None,
    };
    let (_, fill) = backbone.normalisation();
    let random = setup.random_rotations.then_some(RandomViews {
        images,
        extractor,
        seed: setup.seed,
        fill,
        size: setup.size as usize,
    });
    let watched: Vec<usize> = data.train.iter().copied().take(WATCHED).collect();
    let mut fit = Fit { setup, data, run, random, watched, per_batch, batches, progress, observer };
    // What a lost device takes with it is one epoch at most.
    let mut last = if fit.run.executor.is_volatile() { Some(fit.run.snapshot(&at)?) } else { None };
    while (at.epoch as usize) < epochs && !(watch && at.stopped != 0) {
        let mut after = at;
        match fit.epoch(&mut after, &mut last) {
            Ok(()) => at = after,
            Err(TrainError::Device(error)) if error.fault == DeviceFault::Lost => {
                let Some(last) = &last else { return Err(error.into()) };
                fit.run.executor.recover()?;
                fit.run.restore(last)?;
                at = last.at;
                fit.observer.note(&format!("{error}; training goes on from the end of epoch {}", at.epoch));
            }
            Err(error) => return Err(error),
        }
    }
    if watch && at.stopped != 0 {
        let why = match programs.stop {
            Stop::ScoreRatio => format!("held-out parts score {OVERFIT} times higher than training parts"),
            Stop::Likelihood => format!("held-out parts have not become likelier for {PATIENCE} epochs"),
        };
        fit.observer.note(&format!("stopped after epoch {}: {why}", at.epoch));
    }
    let Fit { mut run, progress, .. } = fit;
    let mut trained = params.pack();
    run.executor.read(Region::Params, &mut trained[..trainable])?;
    params.unpack(&trained);
    if trained[..trainable].iter().any(|p| !p.is_finite()) {
        return Err(TrainError::NotFinite { step: at.steps, epoch: progress.epoch });
    }
    Ok(Fitted { epochs: progress.epoch, loss: at.last_loss })
}

/// A training on its way.
struct Fit<'f, 'e> {
    setup: &'f Setup,
    data: &'f Data,
    run: Run<'f>,
    random: Option<RandomViews<'f, 'e>>,
    /// Training parts whose scores are compared with held-out ones.
    watched: Vec<usize>,
    /// Images in a batch.
    per_batch: usize,
    /// Batches in an epoch.
    batches: usize,
    progress: Progress,
    observer: &'f mut dyn Observer,
}

impl Fit<'_, '_> {
    /// Runs the rest of an epoch and asks held-out parts whether to stop. `last` is kept at the newest state where there is
    /// one.
    fn epoch(&mut self, at: &mut Position, last: &mut Option<Snapshot>) -> Result<(), TrainError> {
        let mut order = self.data.train.clone();
        Rng::new(self.setup.seed, at.epoch, stream::SHUFFLE).shuffle(&mut order);
        for chunk in order.chunks(self.per_batch).skip(at.batch as usize) {
            self.progress.done = at.epoch as usize * self.batches + at.batch as usize;
            if let ControlFlow::Break(()) = self.observer.progress(&self.progress) {
                // Should the device fail just now, the state before this epoch is better than none.
                let snapshot = match (self.run.snapshot(at), last.take()) {
                    (Ok(snapshot), _) | (Err(_), Some(snapshot)) => snapshot,
                    (Err(error), None) => return Err(error),
                };
                self.observer.checkpoint(&snapshot.bytes());
                return Err(TrainError::Cancelled);
            }
            self.step(at, chunk)?;
        }
        at.last_loss = at.loss_sum / at.loss_count.max(1) as f64;
        (at.epoch, at.batch, at.loss_sum, at.loss_count) = (at.epoch + 1, 0, 0.0, 0);
        self.progress.epoch = at.epoch as usize;
        self.progress.loss = Some(at.last_loss);
        self.progress.done = at.epoch as usize * self.batches;
        if !self.data.held_out.is_empty() {
            self.watch(at)?;
        }
        let wanted = self.observer.wants_checkpoint();
        if wanted || last.is_some() {
            let snapshot = self.run.snapshot(at)?;
            if wanted {
                self.observer.checkpoint(&snapshot.bytes());
            }
            *last = last.is_some().then_some(snapshot);
        }
        Ok(())
    }

    /// One step of the optimiser on some images.
    fn step(&mut self, at: &mut Position, images: &[usize]) -> Result<(), TrainError> {
        let (views, len, lambda) = (self.data.views, self.data.len, self.lambda(at.steps));
        let executor = &mut self.run.executor;
        let programs = self.run.programs;
        let (data, inputs, epoch) = (self.data, programs.inputs, at.epoch);
        let spoilt = programs.synthetic.map(|synthetic| ssnf::Batch { synthetic, data, images, inputs, epoch });
        let samples = images.len() * views * if spoilt.is_some() { 2 } else { 1 };
        let step = executor.prepare(programs.train.program(), samples)?;
        for (number, input) in programs.inputs.iter().enumerate() {
            let inputs = executor.input(step, &input.name).chunks_exact_mut(views * input.len);
            for (rows, &image) in inputs.zip(images) {
                match &mut self.random {
                    Some(random) => random.rows(image, at.epoch, views, rows)?,
                    None => {
                        let from = self.data.features[image * views * len..][..views * len].chunks_exact(len);
                        for (row, from) in rows.chunks_exact_mut(input.len).zip(from) {
                            row.copy_from_slice(&from[input.first..][..input.len]);
                        }
                    }
                }
            }
            if input.noise > 0.0 {
                // Uniform numbers of that deviation do as well as normal ones, and are cheaper.
                let half = input.noise * libm::sqrtf(3.0);
                let mut rng = Rng::new(self.setup.seed, at.steps, stream::NOISE + number as u32);
                let noise = executor.input(step, &format!("noise.{}", input.name));
                noise.iter_mut().for_each(|v| *v = rng.range(-half..half));
            }
        }
        if let Some(spoilt) = &spoilt {
            spoilt.fill(&at.baselines, lambda, &mut **executor, step);
        }
        at.steps += 1;
        executor.input(step, "control").copy_from_slice(&[self.setup.learning_rate, at.steps as f32]);
        executor.run(step)?;
        let loss = executor.output(step, "loss").first().map_or(f64::NAN, |l| f64::from(*l));
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step: at.steps, epoch: at.epoch as usize + 1 });
        }
        if let Some(spoilt) = &spoilt {
            spoilt.follow(&mut at.baselines, &**executor, step);
        }
        at.loss_sum += loss * images.len() as f64;
        at.loss_count += images.len() as u64;
        at.batch += 1;
        Ok(())
    }

    /// What an anomaly weighs in a step, counted from 0, where there are any.
    fn lambda(&self, step: u64) -> f32 {
        ssnf::lambda(step, self.progress.total as u64)
    }

    /// Looks at held-out parts and notes in `at` whether to stop. A value that is no number stops as well.
    fn watch(&mut self, at: &mut Position) -> Result<(), TrainError> {
        let stop = match self.run.programs.stop {
            Stop::ScoreRatio => {
                let held_out = self.run.median_score(self.data, &self.data.held_out)?;
                let ratio = held_out / self.run.median_score(self.data, &self.watched)?;
                self.progress.held_out = Some(ratio);
                ratio > OVERFIT || ratio.is_nan()
            }
            // Until anomalies count, good parts have it too easy.
            Stop::Likelihood
                if self.run.programs.synthetic.is_some() && self.lambda(at.steps.saturating_sub(1)) == 0.0 =>
            {
                false
            }
            Stop::Likelihood => {
                let nll = self.run.evaluate(self.data, &self.data.held_out, "nll")?;
                let mean = nll.iter().sum::<f64>() / nll.len() as f64;
                (at.best, at.stale) = if mean < at.best { (mean, 0) } else { (at.best, at.stale + 1) };
                at.stale >= PATIENCE || mean.is_nan()
            }
        };
        at.stopped = u64::from(stop);
        Ok(())
    }
}
