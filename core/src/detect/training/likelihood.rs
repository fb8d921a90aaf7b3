//! Features of good parts become likelier: how a flow is trained (maximum likelihood), and when held-out parts end it.

use super::batches::{Batches, FeatureInput, RandomViews};
use super::objective::{Loss, Memory, Now, Objective, Verdict};
use super::run::{Run, Trainee};
use crate::detect::error::Result;
use crate::detect::method::{Fitted, Fitting};
use crate::detect::observer::Phase;
use crate::executor::{Executor, Prepared};
use crate::place::OwnedProgram;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Most epochs where held-out parts decide.
const MAX_EPOCHS: usize = 60;
/// Epochs where there are neither held-out parts nor a fixed number.
const DEFAULT_EPOCHS: usize = 20;
/// Ratio of medians at which training stops.
const OVERFIT: f64 = 1.3;
/// Training parts whose median is compared.
const WATCHED: usize = 256;
/// Epochs without a better likelihood after which training stops.
const PATIENCE: f64 = 2.0;

/// When held-out parts end a training.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Once their median score exceeds 1.3 times that of training parts (cdnf §10): from there on the flow memorises. The
    /// program `latent` has an output `score`.
    ScoreRatio,
    /// Once their likelihood has not been better for two epochs. The program `latent` has an output `nll`.
    Likelihood,
}

/// The programs of a flow, and how they are run.
#[derive(Clone, Copy)]
pub struct FlowPrograms<'p> {
    /// Features to loss, and a step.
    pub train: &'p OwnedProgram,
    /// Features to score or likelihood.
    pub latent: &'p OwnedProgram,
    pub inputs: &'p [FeatureInput],
    /// Views of good parts in a batch.
    pub batch: usize,
    pub stop: Stop,
}

/// Maximum likelihood on features of good parts.
pub struct Likelihood<'l, 'e> {
    pub programs: FlowPrograms<'l>,
    pub batches: Batches<'l, 'e>,
    pub learning_rate: f32,
    /// Training parts whose scores are compared with held-out ones.
    watched: Vec<usize>,
}

/// Where [`Memory`] keeps the best held-out likelihood and the epochs since then.
const BEST: usize = 0;
const STALE: usize = 1;
/// What of it other objectives may use for themselves.
pub const FREE: core::ops::Range<usize> = 2..8;

impl<'l, 'e> Likelihood<'l, 'e> {
    pub fn new(programs: FlowPrograms<'l>, batches: Batches<'l, 'e>, learning_rate: f32) -> Self {
        let watched = batches.data.train.iter().copied().take(WATCHED).collect();
        Likelihood { programs, batches, learning_rate, watched }
    }

    /// Prepares a step for `copies` times the batch's samples and fills the first of them.
    pub fn prepare(&mut self, now: Now, copies: usize, executor: &mut dyn Executor) -> Result<(Prepared, Vec<usize>)> {
        let images = self.batches.images_of(now.batch);
        let samples = copies * images.len() * self.batches.data.views;
        let program = executor.prepare(self.programs.train.program(), samples)?;
        self.batches.fill(&images, now.epoch, now.step, executor, program)?;
        Ok((program, images))
    }

    /// Runs a step whose inputs are filled.
    pub fn run(&self, now: Now, images: usize, executor: &mut dyn Executor, program: Prepared) -> Result<Loss> {
        executor.input(program, "control").copy_from_slice(&[self.learning_rate, (now.step + 1) as f32]);
        executor.run(program)?;
        let mean = executor.output(program, "loss").first().map_or(f64::NAN, |l| f64::from(*l));
        Ok(Loss { mean, weight: images as u64 })
    }

    fn median_score(&self, executor: &mut dyn Executor, images: &[usize]) -> Result<f64> {
        let mut scores = self.batches.evaluate(executor, self.programs.latent, images, "score")?;
        scores.sort_unstable_by(f64::total_cmp);
        Ok(scores.get(scores.len() / 2).copied().unwrap_or(f64::NAN))
    }
}

impl Objective for Likelihood<'_, '_> {
    fn start(&self) -> Memory {
        let mut memory = [f64::NAN; 8];
        (memory[BEST], memory[STALE]) = (f64::INFINITY, 0.0);
        memory
    }

    fn batches(&self) -> usize {
        self.batches.count()
    }

    fn begin(&mut self, epoch: u64) {
        self.batches.shuffle(epoch);
    }

    fn step(&mut self, now: Now, _: &mut Memory, executor: &mut dyn Executor) -> Result<Loss> {
        let (program, images) = self.prepare(now, 1, executor)?;
        self.run(now, images.len(), executor, program)
    }

    /// Looks at held-out parts. A value that is no number stops as well.
    fn end(&mut self, _: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Verdict> {
        let held_out = &self.batches.data.held_out;
        if held_out.is_empty() {
            return Ok(Verdict::default());
        }
        match self.programs.stop {
            Stop::ScoreRatio => {
                let ratio = self.median_score(executor, held_out)? / self.median_score(executor, &self.watched)?;
                Ok(Verdict { stop: ratio > OVERFIT || ratio.is_nan(), held_out: Some(ratio) })
            }
            Stop::Likelihood => {
                let nll = self.batches.evaluate(executor, self.programs.latent, held_out, "nll")?;
                let mean = nll.iter().sum::<f64>() / nll.len() as f64;
                (memory[BEST], memory[STALE]) =
                    if mean < memory[BEST] { (mean, 0.0) } else { (memory[BEST], memory[STALE] + 1.0) };
                Ok(Verdict { stop: memory[STALE] >= PATIENCE || mean.is_nan(), held_out: None })
            }
        }
    }

    fn reason(&self) -> String {
        match self.programs.stop {
            Stop::ScoreRatio => format!("held-out parts score {OVERFIT} times higher than training parts"),
            Stop::Likelihood => format!("held-out parts have not become likelier for {PATIENCE} epochs"),
        }
    }
}

/// Trains a flow on the features of a fitting; `wrap` makes the objective out of maximum likelihood. The trained values are in
/// `fitting.params` afterwards.
pub fn fit<'o, 'e>(
    fitting: &'o mut Fitting<'_, 'e>,
    programs: FlowPrograms<'o>,
    resume: Option<&[u8]>,
    wrap: impl FnOnce(Likelihood<'o, 'e>) -> Box<dyn Objective + 'o>,
) -> Result<Fitted> {
    let (job, data) = (fitting.job, &*fitting.data);
    let setup = job.setup;
    let mut trainee = Trainee::new(job.device, &fitting.params.pack(), programs.train)?;
    let may_stop = setup.epochs.is_none() && !data.held_out.is_empty();
    let (_, fill) = job.backbone.normalisation();
    let random = setup.random_rotations.then_some(RandomViews {
        images: job.images,
        extractor: &mut *fitting.extractor,
        fill,
        size: setup.size as usize,
    });
    let batches = Batches::new(data, programs.inputs, programs.batch, setup.seed, random);
    let mut objective = wrap(Likelihood::new(programs, batches, setup.learning_rate));
    let run = Run {
        phase: Phase::Train,
        epochs: setup.epochs.unwrap_or(if may_stop { MAX_EPOCHS } else { DEFAULT_EPOCHS }),
        may_stop,
        digest: setup.digest(job.backbone, data.digest),
        observer: &mut *fitting.observer,
    };
    let finished = run.train(&mut *objective, &mut trainee, resume)?;
    let mut packed = fitting.params.pack();
    packed[..finished.params.len()].copy_from_slice(&finished.params);
    fitting.params.unpack(&packed);
    let about = [("epochs", finished.epochs.to_string()), ("learning_rate", setup.learning_rate.to_string())];
    Ok(Fitted {
        epochs: finished.epochs,
        loss: Some(finished.loss),
        programs: Vec::new(),
        about: about.map(|(key, value)| (key.to_string(), value)).to_vec(),
    })
}
