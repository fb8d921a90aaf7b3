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
use super::checkpoint::{self, Position};
use super::data::{self, Sorted, stream};
use super::extractor::{self, Extractor};
use super::options::{Contrastive, Preset, Setup};
use super::spoil::{picture, spoil};
use super::standardise::FLOOR;
use super::{Images, Observer, Others, Phase, Progress, TrainError, pooled_flow};
use crate::backbones::Backbone;
use crate::executor::{Device, DeviceFault, Executor};
use crate::image::{ImageError, ImageView, Preprocess, rotate_nearest, view_d4};
use crate::kernels::triplet::Rows;
use crate::model::ViewKind;
use crate::params::Params;
use crate::place::OwnedProgram;
use crate::plan::{BLOCK, Region};
use crate::rng::Rng;
use crate::synth::{Kind, Picture, Synth};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Share of open triplets below which an epoch has nothing left to learn, and after how many such epochs training ends.
const IDLE: f64 = 0.01;
const PATIENCE: u64 = 3;
/// Multiples of their first spread beyond which features of good parts are of no use, and how many images are looked at.
const LEAST_SPREAD: f64 = 0.05;
const MOST_SPREAD: f64 = 20.0;
const WATCHED: usize = 64;
/// Draws of a synthetic anomaly until it changes a pixel inside a region of interest.
const TRIES: u32 = 8;

/// What came out.
pub(super) struct Adapted<'r> {
    pub backbone: Backbone,
    /// The state at the end, which checkpoints of what follows begin with.
    pub checkpoint: Vec<u8>,
    /// What a checkpoint holds besides: the state of what follows.
    pub rest: Option<&'r [u8]>,
    pub about: Vec<(String, String)>,
}

/// Adapts `backbone`, or takes up where `resume` left off.
pub(super) fn adapt<'r>(
    images: &dyn Images,
    others: &Others<'_>,
    backbone: &Backbone,
    setup: &Setup,
    contrastive: Contrastive,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&'r [u8]>,
) -> Result<Adapted<'r>, TrainError> {
    let real = others.defects.map_or(0, Images::len);
    // Says at once whether this backbone can be adapted.
    backbone.adaptable()?;
    let mut plain = Params::new();
    let reader = pooled_flow::features_program(setup, backbone, &mut plain)?;
    let packed = plain.pack();
    let mut extractor = Extractor::new(&reader, &packed, setup, backbone, device)?;
    let sorted = data::sort_out(images, others, setup, &mut extractor, observer)?;
    let batch = Batch::new(sorted.train.len(), real);
    let Programs { before, stems, train, features, mut params } = Programs::new(setup, backbone, batch)?;

    let floats = |region| train.program().blocks(region) as usize * BLOCK;
    let (trainable, state) = (floats(Region::Grads), floats(Region::State));
    let executor = device.executor(&params.pack(), trainable, state)?;
    let mut fit = Fit {
        setup,
        images,
        others,
        sorted: &sorted,
        extractor,
        executor,
        batch,
        programs: [&before, &train, &features],
        stems,
        synth: Synth::new(setup.seed, &[Kind::CutPaste, Kind::Scar, Kind::Perlin]),
        preprocess: extractor::preprocess(setup, backbone),
        lengths: (trainable, state),
        learning_rate: contrastive.learning_rate,
        epochs: contrastive.epochs as usize,
        scratch: vec![0.0; 2 * batch.len()],
        observer,
    };
    let first_spread = fit.spread()?;

    let digest = setup.digest(backbone, sorted.digest);
    let own = checkpoint::len(trainable, state);
    let mut at = Position::start(digest);
    at.best = 0.0;
    let mut rest = None;
    if let Some(bytes) = resume {
        let (mine, after) = bytes.split_at_checked(own).unwrap_or((bytes, &[]));
        let (mut params, mut state) = (vec![0.0; trainable], vec![0.0; state]);
        at = checkpoint::read(mine, digest, &mut params, &mut state)?;
        fit.restore(&params, &state)?;
        rest = (!after.is_empty()).then_some(after);
    }
    let mut last = fit.executor.is_volatile().then(|| fit.snapshot(&at)).transpose()?;
    while (at.epoch as usize) < fit.epochs && at.stopped == 0 {
        let mut after = at;
        match fit.epoch(&mut after, first_spread) {
            Ok(()) => at = after,
            Err(TrainError::Device(error)) if error.fault == DeviceFault::Lost => {
                let Some(last) = &last else { return Err(error.into()) };
                let (mut params, mut state) = (vec![0.0; trainable], vec![0.0; state]);
                fit.executor.recover()?;
                at = checkpoint::read(last, digest, &mut params, &mut state)?;
                fit.restore(&params, &state)?;
                fit.observer.note(&format!("{error}; training goes on from the end of epoch {}", at.epoch));
                continue;
            }
            Err(error) => return Err(error),
        }
        let wanted = fit.observer.wants_checkpoint();
        if wanted || last.is_some() {
            let snapshot = fit.snapshot(&at)?;
            if wanted {
                fit.observer.checkpoint(&snapshot);
            }
            last = last.is_some().then_some(snapshot);
        }
    }
    if at.stopped != 0 {
        fit.observer.note(&format!(
            "the backbone is adapted after epoch {}: for {PATIENCE} epochs fewer than 1 % of the triplets had anything left to learn",
            at.epoch
        ));
    }
    let checkpoint = fit.snapshot(&at)?;
    let mut trained = params.pack();
    fit.executor.read(Region::Params, &mut trained[..trainable])?;
    if trained[..trainable].iter().any(|p| !p.is_finite()) {
        return Err(TrainError::NotFinite { step: at.steps, epoch: at.epoch as usize });
    }
    let spread = fit.spread()? / first_spread;
    params.unpack(&trained);
    let about = [
        ("adapted_epochs", at.epoch.to_string()),
        ("adapted_loss", format!("{:.4}", at.last_loss)),
        ("adapted_spread", format!("{spread:.3}")),
        ("adapted_learning_rate", contrastive.learning_rate.to_string()),
        ("defects", real.to_string()),
    ];
    Ok(Adapted {
        backbone: backbone.with_params(&params, PREFIX),
        checkpoint,
        rest,
        about: about.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
    })
}

/// An adaptation on its way.
struct Fit<'f, 'e> {
    setup: &'f Setup,
    images: &'f dyn Images,
    others: &'f Others<'f>,
    sorted: &'f Sorted,
    extractor: Extractor<'e>,
    executor: Box<dyn Executor + 'f>,
    batch: Batch,
    /// Before, training step, features.
    programs: [&'f OwnedProgram; 3],
    stems: &'static [&'static str],
    synth: Synth,
    preprocess: Preprocess,
    lengths: (usize, usize),
    learning_rate: f32,
    epochs: usize,
    scratch: Vec<f32>,
    observer: &'f mut dyn Observer,
}

impl Fit<'_, '_> {
    fn snapshot(&mut self, at: &Position) -> Result<Vec<u8>, TrainError> {
        let (mut params, mut state) = (vec![0.0; self.lengths.0], vec![0.0; self.lengths.1]);
        self.executor.read(Region::Params, &mut params)?;
        self.executor.read(Region::State, &mut state)?;
        Ok(checkpoint::write(at, &params, &state))
    }

    fn restore(&mut self, params: &[f32], state: &[f32]) -> Result<(), TrainError> {
        self.executor.write(Region::Params, params)?;
        Ok(self.executor.write(Region::State, state)?)
    }

    /// Runs the rest of an epoch, then asks whether there is anything left to learn, and whether features still differ.
    fn epoch(&mut self, at: &mut Position, first_spread: f64) -> Result<(), TrainError> {
        let mut order = self.sorted.train.clone();
        Rng::new(self.setup.seed, at.epoch, stream::CONTRAST_SHUFFLE).shuffle(&mut order);
        while (at.batch as usize) < self.batch.count {
            let (done, total) = (at.epoch as usize * self.batch.count, self.epochs * self.batch.count);
            let progress = Progress {
                phase: Phase::Adapt,
                done: done + at.batch as usize,
                total,
                epoch: at.epoch as usize,
                epochs: self.epochs,
                loss: Some(at.last_loss).filter(|l| l.is_finite()),
                held_out: None,
            };
            if let ControlFlow::Break(()) = self.observer.progress(&progress) {
                let snapshot = self.snapshot(at)?;
                self.observer.checkpoint(&snapshot);
                return Err(TrainError::Cancelled);
            }
            self.step(at, &order)?;
        }
        let batches = self.batch.count as f64;
        at.last_loss = at.loss_sum / batches;
        at.stale = if at.best / batches < IDLE { at.stale + 1 } else { 0 };
        at.stopped = u64::from(at.stale >= PATIENCE);
        (at.epoch, at.batch, at.loss_sum, at.loss_count, at.best) = (at.epoch + 1, 0, 0.0, 0, 0.0);
        let spread = self.spread()? / first_spread;
        if !(LEAST_SPREAD..=MOST_SPREAD).contains(&spread) {
            return Err(TrainError::Broken { epoch: at.epoch as usize, spread });
        }
        Ok(())
    }

    /// One step of the optimiser. `Position::best` adds up the shares of open triplets of an epoch.
    fn step(&mut self, at: &mut Position, order: &[usize]) -> Result<(), TrainError> {
        let batch = self.batch;
        let [before, train, _] = self.programs;
        let step = self.executor.prepare(train.program(), batch.len())?;
        // The step's inputs may share memory with the other program, so they are filled when all is there.
        let rows = |fit: &mut Self, name: &str| vec![0.0; fit.executor.input(step, name).len()];
        let mut stems: Vec<Vec<f32>> = self.stems.iter().map(|name| rows(self, name)).collect();
        let (mut origin, mut weight) = (rows(self, "minus_origin"), rows(self, "weight"));
        let len = origin.len() / batch.len();
        let mut view = vec![0.0; self.extractor.base().len()];
        for slot in 0..batch.len() {
            self.image(at, order, slot, &mut view)?;
            let prepared = self.executor.prepare(before.program(), 1)?;
            self.executor.input(prepared, "image").copy_from_slice(&view);
            self.executor.run(prepared)?;
            origin[slot * len..][..len].copy_from_slice(self.executor.output(prepared, "origin"));
            for (rows, name) in stems.iter_mut().zip(self.stems) {
                let row = if *name == "image" { &view } else { self.executor.output(prepared, name) };
                rows[slot * row.len()..][..row.len()].copy_from_slice(row);
            }
        }
        if self.setup.preset != Preset::Paper {
            let good = &mut weight[..batch.normal * len];
            one_over_deviations(len, &origin[..good.len()], good);
        }
        origin.iter_mut().for_each(|v| *v = -*v);
        let (pairs, roles) = self.pairs(at);
        for (name, rows) in self.stems.iter().zip(&stems) {
            self.executor.input(step, name).copy_from_slice(rows);
        }
        self.executor.input(step, "minus_origin").copy_from_slice(&origin);
        self.executor.input(step, "weight").copy_from_slice(&weight);
        self.executor.input(step, "pair").copy_from_slice(&pairs);
        self.executor.input(step, "role").copy_from_slice(&roles);
        at.steps += 1;
        self.executor.input(step, "control").copy_from_slice(&[self.learning_rate, at.steps as f32]);
        self.executor.run(step)?;
        let loss = self.executor.output(step, "loss").first().map_or(f64::NAN, |l| f64::from(*l));
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step: at.steps, epoch: at.epoch as usize + 1 });
        }
        let rows = Rows {
            samples: batch.len(),
            batch: batch.len(),
            sigma: SIGMA,
            margin: MARGIN,
            p: self.executor.output(step, "p"),
            q: self.executor.output(step, "q"),
            role: &roles,
        };
        at.best += rows.active(&mut self.scratch);
        at.loss_sum += loss;
        at.loss_count += 1;
        at.batch += 1;
        Ok(())
    }

    /// Which anomalies are mixed with which, and what samples are. Fewer than half as many mixtures as anomalies.
    fn pairs(&self, at: &Position) -> (Vec<f32>, Vec<f32>) {
        let Batch { normal, made, real, .. } = self.batch;
        let n = self.batch.len();
        let (mut pairs, mut roles) = (vec![0.0; 2 * n], vec![0.0; 2 * n]);
        for i in 0..n {
            pairs[2 * i..][..2].copy_from_slice(&[i as f32, 1.0]);
            roles[2 * i] = if i < normal { 1.0 } else { -1.0 };
        }
        let mut rng = Rng::new(self.setup.seed, at.steps, stream::CONTRAST_MIX);
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
    fn image(&mut self, at: &Position, order: &[usize], slot: usize, view: &mut [f32]) -> Result<(), TrainError> {
        let Batch { normal, made, .. } = self.batch;
        let index = at.batch as usize * self.batch.len() + slot;
        let mut rng = Rng::at(self.setup.seed, at.epoch, stream::CONTRAST_IMAGE, 64 * index as u64);
        let (size, fill) = (self.setup.size as usize, self.preprocess.shift);
        let (symmetric, quarter) = (self.setup.view_kind == ViewKind::Symmetries, rng.below(4) as usize);
        let degrees = f64::from(rng.range(-180.0..180.0));
        let mut turn = |from: &[f32]| match symmetric {
            true => view_d4(quarter, 3, size, from, view),
            false => rotate_nearest(size, size, degrees, &fill, from, view),
        };
        let good = &self.sorted.train;
        match self.others.defects {
            Some(defects) if slot >= normal + made => {
                let which = rng.below(defects.len() as u32) as usize;
                self.extractor.load(defects, which)?;
                turn(self.extractor.base());
            }
            _ if slot >= normal => {
                let base = good[rng.below(good.len() as u32) as usize];
                self.extractor.load(self.images, base)?;
                turn(&self.spoil(at.epoch, index as u32)?);
            }
            _ => {
                // The last batch is filled up from the first.
                let which = order[(at.batch as usize * normal + slot) % order.len()];
                self.extractor.load(self.images, which)?;
                turn(self.extractor.base());
            }
        }
        Ok(())
    }

    /// The image read last with a synthetic anomaly.
    fn spoil(&mut self, epoch: u64, index: u32) -> Result<Vec<f32>, TrainError> {
        let mut planes = self.extractor.base().to_vec();
        let good = picture(&self.preprocess, &planes)?;
        for attempt in 0..TRIES {
            // Attempts beyond the first are numbered apart from other images.
            let draw = self.synth.draw(epoch, index | attempt << 28);
            let texture = self.others.textures.and_then(|t| draw.texture(t.len()).map(|i| (t, i)));
            let texture = texture.map(|(textures, i)| photograph(textures, i, self.setup.size)).transpose()?;
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
    fn spread(&mut self) -> Result<f64, TrainError> {
        let [_, _, features] = self.programs;
        let count = self.sorted.train.len().min(WATCHED);
        let (mut sum, mut squares, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..count {
            // Spread over all of them, as neighbours may show one part.
            self.extractor.load(self.images, self.sorted.train[n * self.sorted.train.len() / count])?;
            let prepared = self.executor.prepare(features.program(), 1)?;
            self.executor.input(prepared, "image").copy_from_slice(self.extractor.base());
            self.executor.run(prepared)?;
            let row = self.executor.output(prepared, "features");
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
fn photograph(textures: &dyn Images, index: usize, size: u32) -> Result<Picture, TrainError> {
    let mut picture = Err(ImageError::Options("no image was handed over"));
    let read = textures.with(index, &mut |view: &ImageView<'_>| picture = Picture::from_view(view, size));
    read.map_err(|error| TrainError::Image { name: textures.name(index), error })?;
    picture.map_err(|error| TrainError::image(textures.name(index), &error))
}

/// Puts the state of this phase in front of the checkpoints of the next.
pub(super) struct Behind<'o> {
    pub observer: &'o mut dyn Observer,
    pub first: &'o [u8],
}

impl Observer for Behind<'_> {
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
