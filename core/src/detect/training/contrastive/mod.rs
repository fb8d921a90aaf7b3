//! CDNF's first phase: adapts the backbone to parts, so that good and bad ones lie apart before a flow sees them.
//!
//! One network sees normal images and anomalies (siamese: the weights are shared); the layers behind
//! `Adaptation::from` train, those before run image by image. Embeddings z are what the flow will see: the taps pooled at all
//! scales. Anomalies are made up afresh in each epoch (`synth`: CutPaste with a photometric change, scars, Perlin blobs of
//! textures), half of them are real ones where some are given; all images are turned as the flow's views are. Mixtures
//! `τ·z_i + (1 − τ)·z_j` of anomalies, fewer than half as many, are further anomalies, of a real and a made-up one where both
//! exist. The loss is the triplet loss of `op/triplet.rs`, σ = m = ½.
//!
//! That loss alone also draws good parts together, those that it sees: others stay where they were, and score higher than they
//! should. So to each good part's loss is added how far its features have moved, `mean(((z − z⁰)/(sd + 1e-3))²)`, z⁰ being those of
//! the network as it came and sd their deviation over the batch's good parts: good parts stay, anomalies go. The publication
//! compares the outputs of a classifier instead and has no such term; neither has `Preset::Paper`. `benches/RESULTS.md` has both.
//!
//! It ends early once under 1 % of the triplets have been open for three epochs, and fails where the network has made all good
//! parts alike (a twentieth of the spread of their features) or blown them up (twenty times): then no density can be fitted.
//! Everything random comes from (seed, epoch, index), so a resumed training gives the same bytes.

mod programs;

use self::programs::{Batch, MARGIN, PREFIX, Programs, SIGMA};
use super::objective::{Loss, Memory, Now, Objective, Verdict};
use super::run::{Run, Trainee};
use crate::backbones::Backbone;
use crate::detect::choices::{Contrastive, Preset};
use crate::detect::error::{Result, TrainError};
use crate::detect::features::extractor::{self, Extractor};
use crate::detect::features::held_out::{self, Split};
use crate::detect::features::standardise::FLOOR;
use crate::detect::features::stream;
use crate::detect::images::{self, Images};
use crate::detect::job::Job;
use crate::detect::observer::{Observer, Phase, Progress};
use crate::detect::spoil::{picture, spoil};
use crate::executor::Executor;
use crate::image::{Preprocess, rotate_nearest, view_d4};
use crate::kernels::triplet::Rows;
use crate::model::ViewKind;
use crate::place::OwnedProgram;
use crate::rng::Rng;
use crate::synth::{Kind, Picture, Synth};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Share of open triplets below which an epoch has nothing left to learn, and after how many such epochs training ends.
const IDLE: f64 = 0.01;
const PATIENCE: f64 = 3.0;
/// Multiples of their first spread beyond which features of good parts are of no use, and how many images are looked at.
const LEAST_SPREAD: f64 = 0.05;
const MOST_SPREAD: f64 = 20.0;
const WATCHED: usize = 64;
/// Draws of a synthetic anomaly until it changes a pixel inside a region of interest.
const TRIES: u32 = 8;

/// Where [`Memory`] adds up the shares of open triplets of an epoch, and counts the idle epochs before it.
const OPEN: usize = 0;
const IDLE_EPOCHS: usize = 1;

/// A backbone that was adapted.
pub struct Adapted<'r> {
    pub backbone: Backbone,
    /// The state at the end, which checkpoints of what follows begin with.
    pub checkpoint: Vec<u8>,
    /// What a checkpoint holds besides: the state of what follows.
    pub rest: Option<&'r [u8]>,
    pub about: Vec<(String, String)>,
}

/// Adapts the backbone of a job, or takes up where `resume` left off.
pub fn adapt<'r>(
    job: &Job<'_>,
    reader: &OwnedProgram,
    packed: &[f32],
    options: Contrastive,
    observer: &mut dyn Observer,
    resume: Option<&'r [u8]>,
) -> Result<Adapted<'r>> {
    let Job { setup, backbone, .. } = *job;
    let real = job.anomalies.defects.map_or(0, Images::len);
    let mut extractor = Extractor::new(reader, packed, setup, backbone, job.device)?;
    let split = held_out::split(job, &mut extractor, observer)?;
    let batch = Batch::new(split.train.len(), real);
    let Programs { before, stems, train, features, mut params } = Programs::new(job, batch)?;

    let mut trainee = Trainee::new(job.device, &params.pack(), &train)?;
    let mut objective = Triplets {
        job,
        split: &split,
        extractor,
        batch,
        before: &before,
        train: &train,
        features: &features,
        stems,
        synth: Synth::new(setup.seed, &[Kind::CutPaste, Kind::Scar, Kind::Perlin]),
        preprocess: extractor::preprocess(setup, backbone),
        learning_rate: options.learning_rate,
        scratch: vec![0.0; 2 * batch.len()],
        order: Vec::new(),
        first_spread: 1.0,
    };
    objective.first_spread = objective.spread(&mut *trainee.executor)?;
    let own = trainee.checkpoint_len();
    let (mine, rest) = match resume {
        Some(bytes) => {
            let (mine, rest) = bytes.split_at_checked(own).unwrap_or((bytes, &[]));
            (Some(mine), Some(rest).filter(|rest| !rest.is_empty()))
        }
        None => (None, None),
    };
    let run = Run {
        phase: Phase::Adapt,
        epochs: options.epochs as usize,
        may_stop: true,
        digest: setup.digest(backbone, split.digest),
        observer,
    };
    let finished = run.train(&mut objective, &mut trainee, mine)?;
    let spread = objective.spread(&mut *trainee.executor)? / objective.first_spread;
    let mut trained = params.pack();
    trained[..finished.params.len()].copy_from_slice(&finished.params);
    params.unpack(&trained);
    let about = [
        ("adapted_epochs", finished.epochs.to_string()),
        ("adapted_loss", format!("{:.4}", finished.loss)),
        ("adapted_spread", format!("{spread:.3}")),
        ("adapted_learning_rate", options.learning_rate.to_string()),
        ("defects", real.to_string()),
    ];
    Ok(Adapted {
        backbone: backbone.with_params(&params, PREFIX),
        checkpoint: finished.checkpoint,
        rest,
        about: about.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
    })
}

/// The triplet loss over good parts and anomalies.
struct Triplets<'f, 'e> {
    job: &'f Job<'f>,
    split: &'f Split,
    extractor: Extractor<'e>,
    batch: Batch,
    /// Image to the features of the network as it came, and to what trains.
    before: &'f OwnedProgram,
    /// A training step.
    train: &'f OwnedProgram,
    /// Image to the features that the flow will see.
    features: &'f OwnedProgram,
    stems: &'static [&'static str],
    synth: Synth,
    preprocess: Preprocess,
    learning_rate: f32,
    scratch: Vec<f32>,
    /// Good parts in the order of this epoch.
    order: Vec<usize>,
    first_spread: f64,
}

impl Objective for Triplets<'_, '_> {
    fn start(&self) -> Memory {
        [0.0; 8]
    }

    fn batches(&self) -> usize {
        self.batch.count
    }

    fn begin(&mut self, epoch: u64) {
        self.order.clone_from(&self.split.train);
        Rng::new(self.job.setup.seed, epoch, stream::CONTRAST_SHUFFLE).shuffle(&mut self.order);
    }

    fn step(&mut self, now: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Loss> {
        let batch = self.batch;
        let step = executor.prepare(self.train.program(), batch.len())?;
        // The step's inputs may share memory with the other program, so they are filled when all is there.
        let rows = |executor: &mut dyn Executor, name: &str| vec![0.0; executor.input(step, name).len()];
        let mut stems: Vec<Vec<f32>> = self.stems.iter().map(|name| rows(executor, name)).collect();
        let (mut origin, mut weight) = (rows(executor, "minus_origin"), rows(executor, "weight"));
        let len = origin.len() / batch.len();
        let mut view = vec![0.0; self.extractor.base().len()];
        for slot in 0..batch.len() {
            self.image(now, slot, &mut view)?;
            let prepared = executor.prepare(self.before.program(), 1)?;
            executor.input(prepared, "image").copy_from_slice(&view);
            executor.run(prepared)?;
            origin[slot * len..][..len].copy_from_slice(executor.output(prepared, "origin"));
            for (rows, name) in stems.iter_mut().zip(self.stems) {
                let row = if *name == "image" { &view } else { executor.output(prepared, name) };
                rows[slot * row.len()..][..row.len()].copy_from_slice(row);
            }
        }
        if self.job.setup.preset != Preset::Paper {
            let good = &mut weight[..batch.normal * len];
            one_over_deviations(len, &origin[..good.len()], good);
        }
        origin.iter_mut().for_each(|v| *v = -*v);
        let (pairs, roles) = self.pairs(now.step);
        for (name, rows) in self.stems.iter().zip(&stems) {
            executor.input(step, name).copy_from_slice(rows);
        }
        executor.input(step, "minus_origin").copy_from_slice(&origin);
        executor.input(step, "weight").copy_from_slice(&weight);
        executor.input(step, "pair").copy_from_slice(&pairs);
        executor.input(step, "role").copy_from_slice(&roles);
        executor.input(step, "control").copy_from_slice(&[self.learning_rate, (now.step + 1) as f32]);
        executor.run(step)?;
        let mean = executor.output(step, "loss").first().map_or(f64::NAN, |l| f64::from(*l));
        let rows = Rows {
            samples: batch.len(),
            batch: batch.len(),
            sigma: SIGMA,
            margin: MARGIN,
            p: executor.output(step, "p"),
            q: executor.output(step, "q"),
            role: &roles,
        };
        memory[OPEN] += rows.active(&mut self.scratch);
        Ok(Loss { mean, weight: 1 })
    }

    /// Asks whether there is anything left to learn, and whether features still differ.
    fn end(&mut self, now: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Verdict> {
        let open = memory[OPEN] / self.batch.count as f64;
        memory[OPEN] = 0.0;
        memory[IDLE_EPOCHS] = if open < IDLE { memory[IDLE_EPOCHS] + 1.0 } else { 0.0 };
        let spread = self.spread(executor)? / self.first_spread;
        if !(LEAST_SPREAD..=MOST_SPREAD).contains(&spread) {
            return Err(TrainError::Broken { epoch: now.epoch as usize, spread });
        }
        Ok(Verdict { stop: memory[IDLE_EPOCHS] >= PATIENCE, held_out: None })
    }

    fn reason(&self) -> String {
        format!("for {PATIENCE} epochs fewer than 1 % of the triplets had anything left to learn")
    }
}

impl Triplets<'_, '_> {
    /// Which anomalies are mixed with which, and what samples are. Fewer than half as many mixtures as anomalies.
    fn pairs(&self, step: u64) -> (Vec<f32>, Vec<f32>) {
        let Batch { normal, made, real, .. } = self.batch;
        let n = self.batch.len();
        let (mut pairs, mut roles) = (vec![0.0; 2 * n], vec![0.0; 2 * n]);
        for i in 0..n {
            pairs[2 * i..][..2].copy_from_slice(&[i as f32, 1.0]);
            roles[2 * i] = if i < normal { 1.0 } else { -1.0 };
        }
        let mut rng = Rng::new(self.job.setup.seed, step, stream::CONTRAST_MIX);
        let mut firsts: Vec<usize> = (normal..normal + if real > 0 { made } else { n - normal }).collect();
        rng.shuffle(&mut firsts);
        for &i in firsts.iter().take((self.batch.anomalies() - 1) / 2) {
            let k = if real > 0 {
                normal + made + rng.below(real as u32) as usize
            } else {
                // Any of the others.
                let k = normal + rng.below(made as u32 - 1) as usize;
                if k >= i { k + 1 } else { k }
            };
            pairs[2 * i..][..2].copy_from_slice(&[k as f32, rng.f32()]);
            roles[2 * i + 1] = 1.0;
        }
        (pairs, roles)
    }

    /// Image number `slot` of a batch, turned at random: by right angles, or where the flow's views are rotations, by any.
    fn image(&mut self, now: Now, slot: usize, view: &mut [f32]) -> Result<()> {
        let Batch { normal, made, .. } = self.batch;
        let index = now.batch as usize * self.batch.len() + slot;
        let mut rng = Rng::at(self.job.setup.seed, now.epoch, stream::CONTRAST_IMAGE, 64 * index as u64);
        let (size, fill) = (self.job.setup.size as usize, self.preprocess.shift);
        let (symmetric, quarter) = (self.job.setup.view_kind == ViewKind::Symmetries, rng.below(4) as usize);
        let degrees = f64::from(rng.range(-180.0..180.0));
        let mut turn = |from: &[f32]| match symmetric {
            true => view_d4(quarter, 3, size, from, view),
            false => rotate_nearest(size, size, degrees, &fill, from, view),
        };
        let good = &self.split.train;
        match self.job.anomalies.defects {
            Some(defects) if slot >= normal + made => {
                let which = rng.below(defects.len() as u32) as usize;
                self.extractor.load(defects, which)?;
                turn(self.extractor.base());
            }
            _ if slot >= normal => {
                let base = good[rng.below(good.len() as u32) as usize];
                self.extractor.load(self.job.images, base)?;
                turn(&self.spoil(now.epoch, index as u32)?);
            }
            _ => {
                // The last batch is filled up from the first.
                let which = self.order[(now.batch as usize * normal + slot) % self.order.len()];
                self.extractor.load(self.job.images, which)?;
                turn(self.extractor.base());
            }
        }
        Ok(())
    }

    /// The image read last with a synthetic anomaly.
    fn spoil(&mut self, epoch: u64, index: u32) -> Result<Vec<f32>> {
        let mut planes = self.extractor.base().to_vec();
        let good = picture(&self.preprocess, &planes)?;
        for attempt in 0..TRIES {
            // Attempts beyond the first are numbered apart from other images.
            let draw = self.synth.draw(epoch, index | attempt << 28);
            let texture = self.job.anomalies.textures.and_then(|t| draw.texture(t.len()).map(|i| (t, i)));
            let texture = texture.map(|(textures, i)| photograph(textures, i, self.job.setup.size)).transpose()?;
            let mut anomaly = self.synth.make(&draw, &good, &good, texture.as_ref());
            spoil(&self.preprocess, self.extractor.kept(), &good, &anomaly.image, &mut planes, &mut anomaly.mask);
            if anomaly.mask.contains(&1.0) {
                return Ok(planes);
            }
            planes.copy_from_slice(self.extractor.base());
        }
        let text = "the region of interest is too small for synthetic anomalies to lie in it";
        Err(TrainError::Options(text.to_string()))
    }

    /// Mean over dimensions of the deviation of features over good parts.
    fn spread(&mut self, executor: &mut dyn Executor) -> Result<f64> {
        let features = self.features;
        let count = self.split.train.len().min(WATCHED);
        let (mut sum, mut squares, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..count {
            // Spread over all of them, as neighbours may show one part.
            self.extractor.load(self.job.images, self.split.train[n * self.split.train.len() / count])?;
            let prepared = executor.prepare(features.program(), 1)?;
            executor.input(prepared, "image").copy_from_slice(self.extractor.base());
            executor.run(prepared)?;
            let row = executor.output(prepared, "features");
            if n == 0 {
                // Counted from the first one, so that images that are all the same have no spread at all.
                first = row.to_vec();
                sum.resize(row.len(), 0.0);
                squares.resize(row.len(), 0.0);
            }
            for (at, (v, first)) in row.iter().zip(&first).enumerate() {
                let v = f64::from(v - first);
                sum[at] += v;
                squares[at] += v * v;
            }
        }
        let n = count as f64;
        let deviations = sum.iter().zip(&squares).map(|(s, q)| libm::sqrt((q / n - (s / n) * (s / n)).max(0.0)));
        let mean = deviations.sum::<f64>() / sum.len().max(1) as f64;
        if mean > 0.0 { Ok(mean) } else { Err(TrainError::NoVariation) }
    }
}

/// For each of `rows` of `len` features one over their deviation over all rows.
fn one_over_deviations(len: usize, rows: &[f32], weights: &mut [f32]) {
    let count = (rows.len() / len) as f64;
    for c in 0..len {
        let column = || rows.iter().skip(c).step_by(len).map(|v| f64::from(*v));
        let mean = column().sum::<f64>() / count;
        let variance = column().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
        let weight = (1.0 / (libm::sqrt(variance) + FLOOR)) as f32;
        weights.iter_mut().skip(c).step_by(len).for_each(|w| *w = weight);
    }
}

/// A texture of a user.
fn photograph(textures: &dyn Images, index: usize, size: u32) -> Result<Picture> {
    images::read(textures, index, &mut |view| {
        Picture::from_view(view, size).map_err(|error| TrainError::image(textures.name(index), &error))
    })
}

/// Puts the state of this phase in front of the checkpoints of the next.
pub struct CheckpointsBehind<'o> {
    pub observer: &'o mut dyn Observer,
    pub first: &'o [u8],
}

impl Observer for CheckpointsBehind<'_> {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.observer.progress(progress)
    }

    fn wants_checkpoint(&mut self) -> bool {
        self.observer.wants_checkpoint()
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        self.observer.checkpoint(&[self.first, bytes].concat());
    }

    fn note(&mut self, text: &str) {
        self.observer.note(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_one_over_deviations() {
        // Two features of four rows: deviations 2 and 0.
        let rows = [1.0, 5.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0];
        let mut weights = [0.0; 8];
        one_over_deviations(2, &rows, &mut weights);
        for pair in weights.chunks(2) {
            assert_eq!(pair, [1.0 / 2.001, 1000.0]);
        }
    }
}
