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
use crate::cpu::Cpu;
use crate::image::rotate_nearest;
use crate::params::Params;
use crate::place::OwnedProgram;
use crate::plan::{BLOCK, Region};
use crate::rng::Rng;
use crate::session::{Memory, ParamsMemory, Session, Sizes};
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

/// Memory of the sessions, allocated once.
struct Buffers {
    params: Vec<f32>,
    grads: Vec<f32>,
    state: Vec<f32>,
    work: Vec<f32>,
    io: Vec<f32>,
    fixed: Vec<f32>,
    scratch: Vec<f32>,
}

impl Buffers {
    fn open<'b>(
        &'b mut self,
        program: &'b OwnedProgram,
        batch: usize,
        cpu: Cpu<'b>,
    ) -> Result<Session<'b>, TrainError> {
        let memory = Memory {
            params: ParamsMemory::Exclusive(&mut self.params),
            grads: &mut self.grads,
            state: &mut self.state,
            work: &mut self.work,
            io: &mut self.io,
            fixed: &mut self.fixed,
            scratch: &mut self.scratch,
        };
        Ok(Session::new(program.program(), batch, cpu, memory)?)
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
fn median_score(
    buffers: &mut Buffers,
    program: &OwnedProgram,
    data: &Data,
    images: &[usize],
    cpu: Cpu<'_>,
) -> Result<f64, TrainError> {
    let mut scores = Vec::new();
    for chunk in images.chunks((BATCH / data.views).max(1)) {
        let mut session = buffers.open(program, chunk.len() * data.views, cpu)?;
        if let Some(features) = session.input("features") {
            for (row, (image, view)) in features
                .chunks_exact_mut(data.len)
                .zip(chunk.iter().flat_map(|&i| (0..data.views).map(move |v| (i, v))))
            {
                row.copy_from_slice(data.row(image, view));
            }
        }
        session.run();
        let out = session.output("score").unwrap_or(&[]);
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
    programs: &FlowPrograms<'_>,
    extractor: &mut Extractor<'_>,
    cpu: Cpu<'_>,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Fitted, TrainError> {
    let views = data.views;
    let per_batch = (BATCH / views).max(1).min(data.train.len());
    let workers = cpu.threads().count();
    let (train, latent) = (programs.train.program(), programs.latent.program());
    let mut sizes = Sizes::of(&train, per_batch * views, workers)?.max(Sizes::of(
        &latent,
        (BATCH / views).max(1) * views,
        workers,
    )?);
    // Smaller last batches may need other panels.
    let rest = data.train.len() % per_batch;
    if rest > 0 {
        sizes = sizes.max(Sizes::of(&train, rest * views, workers)?);
    }
    let mut buffers = Buffers {
        params: params.pack(),
        grads: vec![0.0; sizes.grads],
        state: vec![0.0; sizes.state],
        work: vec![0.0; sizes.work],
        io: vec![0.0; sizes.io],
        fixed: vec![0.0; sizes.fixed],
        scratch: vec![0.0; sizes.scratch],
    };
    let trainable = train.blocks(Region::Grads) as usize * BLOCK;
    let digest = setup.digest(backbone, data.digest);
    let mut at = match resume {
        Some(bytes) => checkpoint::read(bytes, digest, &mut buffers.params[..trainable], &mut buffers.state)?,
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
    if watch
        && at.epoch > 0
        && at.batch == 0
        && stops(&mut buffers, programs.latent, data, &watched, cpu, &mut progress)?
    {
        // The checkpoint was made after the last epoch.
        at.epoch = epochs as u64;
    }
    while (at.epoch as usize) < epochs {
        let mut order = data.train.clone();
        Rng::new(setup.seed, at.epoch, stream::SHUFFLE).shuffle(&mut order);
        for chunk in order.chunks(per_batch).skip(at.batch as usize) {
            progress.done = at.epoch as usize * batches + at.batch as usize;
            if let ControlFlow::Break(()) = observer.progress(&progress) {
                observer.checkpoint(&checkpoint::write(&at, &buffers.params[..trainable], &buffers.state));
                return Err(TrainError::Cancelled);
            }
            let mut session = buffers.open(programs.train, chunk.len() * views, cpu)?;
            let features = session.input("features").unwrap_or(&mut []);
            for (rows, &image) in features.chunks_exact_mut(views * data.len).zip(chunk) {
                match &mut random {
                    Some(random) => random.rows(image, at.epoch, views, rows)?,
                    None => rows.copy_from_slice(&data.features[image * views * data.len..][..views * data.len]),
                }
            }
            at.steps += 1;
            if let Some(control) = session.input("control") {
                control.copy_from_slice(&[setup.learning_rate, at.steps as f32]);
            }
            session.run();
            let loss = f64::from(session.output("loss").map_or(f32::NAN, |l| l[0]));
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
        let stop =
            !data.held_out.is_empty() && stops(&mut buffers, programs.latent, data, &watched, cpu, &mut progress)?;
        if observer.wants_checkpoint() {
            observer.checkpoint(&checkpoint::write(&at, &buffers.params[..trainable], &buffers.state));
        }
        if watch && stop {
            observer.note(&format!(
                "stopped after epoch {}: held-out parts score {OVERFIT} times higher than training parts",
                at.epoch
            ));
            break;
        }
    }
    params.unpack(&buffers.params);
    if buffers.params[..trainable].iter().any(|p| !p.is_finite()) {
        return Err(TrainError::NotFinite { epoch: progress.epoch });
    }
    Ok(Fitted { epochs: progress.epoch, loss: at.last_loss })
}

/// Compares held-out with training parts and says whether the flow has begun to memorise.
fn stops(
    buffers: &mut Buffers,
    latent: &OwnedProgram,
    data: &Data,
    watched: &[usize],
    cpu: Cpu<'_>,
    progress: &mut Progress,
) -> Result<bool, TrainError> {
    let held_out = median_score(buffers, latent, data, &data.held_out, cpu)?;
    let ratio = held_out / median_score(buffers, latent, data, watched, cpu)?;
    progress.held_out = Some(ratio);
    // A ratio that is no number stops as well.
    Ok(ratio > OVERFIT || ratio.is_nan())
}
