//! Trains a flow on features: shuffled batches, Adam, held-out scores after each epoch.
//!
//! Batches are drawn from a counter (seed, epoch), so any step can be repeated. Without a fixed number of epochs
//! training stops once the median score of held-out parts exceeds 1.3 times that of training parts (cdnf §10): from
//! there on the flow memorises. It stops at the last epoch, never at one that some test liked best.

use super::checkpoint::{self, Position};
use super::data::{Data, Extractor, stream};
use super::options::Setup;
use super::{Images, Observer, Phase, Progress, TrainError};
use crate::backbones::Backbone;
use crate::executor::{Device, Executor};
use crate::image::rotate_nearest;
use crate::params::Params;
use crate::place::OwnedProgram;
use crate::plan::{BLOCK, Region};
use crate::rng::Rng;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Views in a batch: 24 images of 4 views in the paper.
const BATCH: usize = 96;
/// Most epochs where held-out parts decide.
const MAX_EPOCHS: usize = 60;
/// Epochs where there are neither held-out parts nor a fixed number.
const DEFAULT_EPOCHS: usize = 20;
/// Ratio of medians at which training stops.
const OVERFIT: f64 = 1.3;
/// Training parts whose median is compared.
const WATCHED: usize = 256;

/// The programs that training needs.
#[derive(Clone, Copy)]
pub(super) struct FlowPrograms<'p> {
    /// Features to loss, and a step.
    pub train: &'p OwnedProgram,
    /// Features to score.
    pub latent: &'p OwnedProgram,
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

impl Run<'_> {
    fn checkpoint(&mut self, at: &Position) -> Result<Vec<u8>, TrainError> {
        let (mut params, mut state) = (vec![0.0; self.trainable], vec![0.0; self.state]);
        self.executor.read(Region::Params, &mut params)?;
        self.executor.read(Region::State, &mut state)?;
        Ok(checkpoint::write(at, &params, &state))
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

/// Median score of images, each the mean over its views.
fn median_score(run: &mut Run<'_>, data: &Data, images: &[usize]) -> Result<f64, TrainError> {
    let mut scores = Vec::new();
    for chunk in images.chunks((BATCH / data.views).max(1)) {
        let latent = run.executor.prepare(run.programs.latent.program(), chunk.len() * data.views)?;
        let rows = run.executor.input(latent, "features").chunks_exact_mut(data.len);
        for (row, (image, view)) in rows.zip(chunk.iter().flat_map(|&i| (0..data.views).map(move |v| (i, v)))) {
            row.copy_from_slice(data.row(image, view));
        }
        run.executor.run(latent)?;
        let out = run.executor.output(latent, "score");
        scores.extend(
            out.chunks_exact(data.views).map(|v| v.iter().map(|&s| f64::from(s)).sum::<f64>() / v.len() as f64),
        );
    }
    scores.sort_unstable_by(f64::total_cmp);
    Ok(scores.get(scores.len() / 2).copied().unwrap_or(f64::NAN))
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
    let per_batch = (BATCH / views).max(1).min(data.train.len());
    let train = programs.train.program();
    let floats = |region| train.blocks(region) as usize * BLOCK;
    let (trainable, state) = (floats(Region::Grads), floats(Region::State));
    let executor = device.executor(&params.pack(), trainable, state)?;
    let mut run = Run { executor, programs, trainable, state };
    let digest = setup.digest(backbone, data.digest);
    let mut at = match resume {
        Some(bytes) => {
            let (mut params, mut moments) = (vec![0.0; trainable], vec![0.0; state]);
            let at = checkpoint::read(bytes, digest, &mut params, &mut moments)?;
            run.executor.write(Region::Params, &params)?;
            run.executor.write(Region::State, &moments)?;
            at
        }
        None => Position::start(digest),
    };
    let watch = setup.epochs.is_none() && !data.held_out.is_empty();
    let epochs = setup.epochs.unwrap_or(if watch { MAX_EPOCHS } else { DEFAULT_EPOCHS });
    let batches = data.train.len().div_ceil(per_batch);
    let mut progress = Progress {
        phase: Phase::Train,
        done: 0,
        total: epochs * batches,
        epoch: at.epoch as usize,
        epochs,
        loss: Some(at.last_loss).filter(|l| l.is_finite()),
        held_out: None,
    };
    let (_, fill) = backbone.normalisation();
    let mut random = setup.random_rotations.then_some(RandomViews {
        images,
        extractor,
        seed: setup.seed,
        fill,
        size: setup.size as usize,
    });
    let watched: Vec<usize> = data.train.iter().copied().take(WATCHED).collect();
    if watch && at.epoch > 0 && at.batch == 0 && stops(&mut run, data, &watched, &mut progress)? {
        // The checkpoint was made after the last epoch.
        at.epoch = epochs as u64;
    }
    while (at.epoch as usize) < epochs {
        let mut order = data.train.clone();
        Rng::new(setup.seed, at.epoch, stream::SHUFFLE).shuffle(&mut order);
        for chunk in order.chunks(per_batch).skip(at.batch as usize) {
            progress.done = at.epoch as usize * batches + at.batch as usize;
            if let ControlFlow::Break(()) = observer.progress(&progress) {
                observer.checkpoint(&run.checkpoint(&at)?);
                return Err(TrainError::Cancelled);
            }
            let step = run.executor.prepare(train, chunk.len() * views)?;
            let features = run.executor.input(step, "features");
            for (rows, &image) in features.chunks_exact_mut(views * data.len).zip(chunk) {
                match &mut random {
                    Some(random) => random.rows(image, at.epoch, views, rows)?,
                    None => rows.copy_from_slice(&data.features[image * views * data.len..][..views * data.len]),
                }
            }
            at.steps += 1;
            run.executor.input(step, "control").copy_from_slice(&[setup.learning_rate, at.steps as f32]);
            run.executor.run(step)?;
            let loss = run.executor.output(step, "loss").first().map_or(f64::NAN, |l| f64::from(*l));
            if !loss.is_finite() {
                return Err(TrainError::NotFinite { epoch: at.epoch as usize + 1 });
            }
            at.loss_sum += loss * chunk.len() as f64;
            at.loss_count += chunk.len() as u64;
            at.batch += 1;
        }
        at.last_loss = at.loss_sum / at.loss_count.max(1) as f64;
        (at.epoch, at.batch, at.loss_sum, at.loss_count) = (at.epoch + 1, 0, 0.0, 0);
        progress.epoch = at.epoch as usize;
        progress.loss = Some(at.last_loss);
        progress.done = at.epoch as usize * batches;
        let stop = !data.held_out.is_empty() && stops(&mut run, data, &watched, &mut progress)?;
        if observer.wants_checkpoint() {
            observer.checkpoint(&run.checkpoint(&at)?);
        }
        if watch && stop {
            observer.note(&format!(
                "stopped after epoch {}: held-out parts score {OVERFIT} times higher than training parts",
                at.epoch
            ));
            break;
        }
    }
    let mut trained = params.pack();
    run.executor.read(Region::Params, &mut trained[..trainable])?;
    params.unpack(&trained);
    if trained[..trainable].iter().any(|p| !p.is_finite()) {
        return Err(TrainError::NotFinite { epoch: progress.epoch });
    }
    Ok(Fitted { epochs: progress.epoch, loss: at.last_loss })
}

/// Compares held-out with training parts and says whether the flow has begun to memorise.
fn stops(run: &mut Run<'_>, data: &Data, watched: &[usize], progress: &mut Progress) -> Result<bool, TrainError> {
    let held_out = median_score(run, data, &data.held_out)?;
    let ratio = held_out / median_score(run, data, watched)?;
    progress.held_out = Some(ratio);
    // A ratio that is no number stops as well.
    Ok(ratio > OVERFIT || ratio.is_nan())
}
