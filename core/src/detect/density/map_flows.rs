//! Flows on feature maps: how latents become a score, a map, and a likelihood to train by.
//!
//! The energy of a position is the mean of z² over channels: the base density only, because the log-determinant made scores
//! worse wherever it was tried (cdnf eq 12 and FastFlow leave it out as well; FastFlow's exp(−½·energy) is left out too, it is 0
//! for whatever is far off). The levels' energies are brought to the finest grid and joined: the map. Training ends when parts
//! that were set aside, whole groups of near-duplicates, stop becoming likelier.

use crate::detect::choices::MapLevels;
use crate::detect::emit::Emit;
use crate::detect::error::{Result, TrainError};
use crate::detect::features::grid;
use crate::detect::method::{Feature, FeatureRow, Fitted, Fitting, Scored};
use crate::detect::setup::Setup;
use crate::detect::training::batches::FeatureInput;
use crate::detect::training::likelihood::{self, FlowPrograms, Likelihood, Stop};
use crate::detect::training::objective::Objective;
use crate::graph::TensorId;
use crate::op::{Adam, Add, BatchMean, FlowNll, Interpolation, Multiply, Resize, Scale, SquareSum, TopMean};
use crate::place::OwnedProgram;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Adam as most flows on maps are trained.
pub const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-5, clip: 0.0 };
/// Images in a batch.
pub const BATCH: usize = 16;
/// Share of the finest grid whose mean energy is the score, the largest ones.
pub const TOP: f64 = 0.01;

/// Name of a level, in features and parameters.
pub fn name(level: usize) -> String {
    format!("level{level}")
}

/// A seed of its own for the maps of one model.
pub fn seed(setup: &Setup, level: usize) -> u64 {
    setup.seed.wrapping_add((level as u64) << 32)
}

/// Emits the maps of taps, one list of taps a level; those of a level are joined on one grid, and `each` makes its feature.
pub fn levels(
    e: &mut Emit<'_>,
    image: TensorId,
    levels: &[Vec<&'static str>],
    mut each: impl FnMut(&mut Emit<'_>, usize, TensorId) -> Result<TensorId>,
) -> Result<Vec<Feature>> {
    let mut taps: Vec<&str> = levels.iter().flatten().copied().collect();
    taps.sort_unstable();
    taps.dedup();
    let maps = e.backbone(image, &taps)?;
    let mut out = Vec::new();
    for (i, level) in levels.iter().enumerate() {
        let find = |tap: &&'static str| taps.iter().zip(&maps).find(|(t, _)| *t == tap).map(|(t, m)| (*t, *m));
        let own: Vec<(&str, TensorId)> = level.iter().filter_map(find).collect();
        let joined = grid::join(e, &name(i), &own)?;
        out.push(Feature { name: name(i), tensor: each(e, i, joined.features)?, place: Some(joined.place) });
    }
    Ok(out)
}

/// Emits the map of each level's tap.
pub fn tap_levels(e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
    let taps: Vec<_> = e.job.backbone.roles().levels.iter().map(|&tap| vec![tap]).collect();
    levels(e, image, &taps, |_, _, x| Ok(x))
}

/// Latents of all levels, and their log-determinants: one a level, or one for all.
#[derive(Default)]
pub struct Latents {
    pub zs: Vec<TensorId>,
    pub js: Vec<TensorId>,
}

impl Latents {
    /// Adds latent and log-determinant of a level.
    pub fn push(&mut self, (z, j): (TensorId, TensorId)) {
        self.zs.push(z);
        self.js.push(j);
    }
}

/// Sum of tensors of one type.
fn sum(e: &mut Emit<'_>, name: &str, terms: &[TensorId]) -> Result<TensorId> {
    let (&first, rest) = terms.split_first().ok_or_else(|| TrainError::Internal("no levels".to_string()))?;
    let mut total = first;
    for (i, term) in rest.iter().enumerate() {
        total = e.op(&format!("{name}{i}"), Add {}, &[total, *term])?;
    }
    Ok(total)
}

/// Half the mean of z² over all levels' latents.
pub fn half_mean_square(e: &mut Emit<'_>, zs: &[TensorId]) -> Result<TensorId> {
    let dims: usize = zs.iter().map(|z| e.g.shape(*z).len()).sum();
    let mut terms = Vec::new();
    for (i, z) in zs.iter().enumerate() {
        let half = SquareSum { scale: 0.5 / dims as f32, per_position: false, root: false };
        terms.push(e.op(&format!("{}.half", name(i)), half, &[*z])?);
    }
    sum(e, "half", &terms)
}

/// Negative log-likelihood of each sample, nats per dimension: `(½‖z‖² − J)/D`, of one flow over all levels or summed over the
/// levels' own flows, which share nothing.
fn likelihood(e: &mut Emit<'_>, latents: &Latents) -> Result<TensorId> {
    if latents.js.len() < latents.zs.len() {
        let dims: usize = latents.zs.iter().map(|z| e.g.shape(*z).len()).sum();
        let half = half_mean_square(e, &latents.zs)?;
        let j = e.op("volume", Scale { factor: -1.0 / dims as f32 }, &[latents.js[0]])?;
        return e.op("likelihood", Add {}, &[half, j]);
    }
    let mut terms = Vec::new();
    for (i, (z, j)) in latents.zs.iter().zip(&latents.js).enumerate() {
        terms.push(e.op(&format!("{}.nll", name(i)), FlowNll {}, &[*z, *j])?);
    }
    sum(e, "likelihood", &terms)
}

/// Emits the map: energies on the finest grid, joined.
pub fn energies(e: &mut Emit<'_>, zs: &[TensorId]) -> Result<TensorId> {
    let side = zs.first().map_or(0, |z| e.g.shape(*z).h());
    let mut map: Option<TensorId> = None;
    for (i, z) in zs.iter().enumerate() {
        let scale = 1.0 / e.g.shape(*z).c() as f32;
        let energy = SquareSum { scale, per_position: true, root: false };
        let mut energy = e.op(&format!("{}.energy", name(i)), energy, &[*z])?;
        if e.g.shape(energy).h() != side {
            let resize = Resize { h: side, w: side, mode: Interpolation::Bilinear };
            energy = e.op(&format!("{}.fine", name(i)), resize, &[energy])?;
        }
        map = Some(match (map, e.job.setup.map_levels) {
            (None, _) => energy,
            (Some(other), MapLevels::Product) => e.op(&format!("{}.map", name(i)), Multiply {}, &[other, energy])?,
            (Some(other), MapLevels::Sum) => e.op(&format!("{}.map", name(i)), Add {}, &[other, energy])?,
            (Some(finest), MapLevels::Finest) => finest,
        });
    }
    map.ok_or_else(|| TrainError::Internal("no levels".to_string()))
}

/// Score and map of latents: the map's largest energies.
pub fn score(e: &mut Emit<'_>, zs: &[TensorId]) -> Result<Scored> {
    let map = energies(e, zs)?;
    let top = grid::positions(TOP, e.job.setup, e.g.shape(map).h());
    Ok(Scored { score: e.op("score", TopMean { k: top }, &[map])?, map: Some(map), top })
}

/// Emits the loss of each sample.
pub type Loss = fn(&mut Emit<'_>, &[TensorId]) -> Result<TensorId>;

/// How flows on maps are trained.
pub struct MapTraining {
    pub adam: Adam,
    /// Images in a batch.
    pub batch: usize,
    /// Deviation of the noise on the features.
    pub noise: f32,
    /// Emits latents of the levels' features; with noise where the last argument says so.
    pub latents: fn(&mut Emit<'_>, &[TensorId], bool) -> Result<Latents>,
    /// Emits the loss of each sample out of the levels' features, where it is not the negative log-likelihood.
    pub loss: Option<Loss>,
}

impl MapTraining {
    fn program(&self, name: &str, step: bool, fitting: &mut Fitting<'_, '_>) -> Result<OwnedProgram> {
        let features = fitting.features;
        fitting.program(name, |e| {
            let xs: Vec<TensorId> = features.iter().map(|f| e.g.input(&f.name, f.shape)).collect();
            let loss = match self.loss {
                Some(loss) if step => loss(e, &xs)?,
                _ => {
                    let latents = (self.latents)(e, &xs, step)?;
                    let nll = likelihood(e, &latents)?;
                    e.g.output("nll", nll);
                    nll
                }
            };
            if step {
                let loss = e.op("loss", BatchMean {}, &[loss])?;
                e.g.output("loss", loss);
                e.g.train(loss, e.params, self.adam)?;
            }
            Ok(())
        })
    }

    /// Trains by maximum likelihood until held-out parts stop becoming likelier.
    pub fn fit(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted> {
        self.fit_with(fitting, resume, &(), |likelihood, ()| Box::new(likelihood))
    }

    /// Trains likewise with an objective that `wrap` makes out of maximum likelihood and `context`.
    pub fn fit_with<'e, C: ?Sized>(
        &self,
        fitting: &mut Fitting<'_, 'e>,
        resume: Option<&[u8]>,
        context: &C,
        wrap: impl for<'l> FnOnce(Likelihood<'l, 'e>, &'l C) -> Box<dyn Objective + 'l>,
    ) -> Result<Fitted> {
        let train = self.program("train", true, fitting)?;
        let latent = self.program("latent", false, fitting)?;
        let input = |f: &FeatureRow| FeatureInput {
            name: f.name.clone(),
            first: f.first,
            len: f.shape.len(),
            noise: self.noise,
        };
        let inputs: Vec<FeatureInput> = fitting.features.iter().map(input).collect();
        let (batch, stop) = (self.batch, Stop::Likelihood);
        let programs = FlowPrograms { train: &train, latent: &latent, inputs: &inputs, batch, stop };
        let mut fitted = likelihood::fit(fitting, programs, resume, |likelihood| wrap(likelihood, context))?;
        fitted.programs.extend([latent, train]);
        Ok(fitted)
    }
}
