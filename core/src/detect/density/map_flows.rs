//! Flows on feature maps: how latents become a score, a map, and a likelihood to train by.
//!
//! The energy of a position is the mean of z² over channels: the base density only, because the log-determinant made scores
//! worse wherever it was tried (cdnf eq 12 and FastFlow leave it out as well; FastFlow's exp(−½·energy) is left out too, it is 0
//! for whatever is far off). The levels' energies are brought to the finest grid and joined: the map. Training ends when parts
//! that were set aside, whole groups of near-duplicates, stop becoming likelier.

use crate::detect::choices::MapLevels;
use crate::detect::error::TrainError;
use crate::detect::features::grid;
use crate::detect::job::Job;
use crate::detect::method::{Feature, FeatureRow, Fitted, Fitting, Scored};
use crate::detect::setup::Setup;
use crate::detect::training::batches::FeatureInput;
use crate::detect::training::likelihood::{self, FlowPrograms, Likelihood, Stop};
use crate::detect::training::objective::Objective;
use crate::graph::{Graph, TensorId};
use crate::op::{Adam, Add, BatchMean, FlowNll, Interpolation, Multiply, Resize, Scale, SquareSum, TopMean};
use crate::params::Params;
use crate::place::{OwnedProgram, Reuse, place};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
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

/// Emits the maps of taps, one list of taps a level; those of a level are joined on one grid.
pub fn levels(
    job: &Job<'_>,
    g: &mut Graph,
    params: &mut Params,
    image: TensorId,
    levels: &[Vec<&'static str>],
    mut each: impl FnMut(&mut Graph, &mut Params, usize, TensorId) -> Result<TensorId, TrainError>,
) -> Result<Vec<Feature>, TrainError> {
    let mut taps: Vec<&str> = levels.iter().flatten().copied().collect();
    taps.sort_unstable();
    taps.dedup();
    let maps = job.backbone.emit(g, params, "backbone.", image, &taps)?;
    let mut out = Vec::new();
    for (i, level) in levels.iter().enumerate() {
        let find = |tap: &&'static str| taps.iter().zip(&maps).find(|(t, _)| *t == tap).map(|(t, m)| (*t, *m));
        let own: Vec<(&str, TensorId)> = level.iter().filter_map(find).collect();
        let joined = grid::join(g, &name(i), job, &own)?;
        let tensor = each(g, params, i, joined.features)?;
        out.push(Feature { name: name(i), tensor, place: Some(joined.place) });
    }
    Ok(out)
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
fn sum(g: &mut Graph, name: &str, terms: &[TensorId]) -> Result<TensorId, TrainError> {
    let (&first, rest) = terms.split_first().ok_or_else(|| TrainError::Internal("no levels".to_string()))?;
    let mut total = first;
    for (i, term) in rest.iter().enumerate() {
        total = g.emit(&format!("{name}{i}"), Add {}, &[total, *term])?;
    }
    Ok(total)
}

/// Half the mean of z² over all levels' latents.
pub fn half_mean_square(g: &mut Graph, zs: &[TensorId]) -> Result<TensorId, TrainError> {
    let dims: usize = zs.iter().map(|z| g.shape(*z).len()).sum();
    let mut terms = Vec::new();
    for (i, z) in zs.iter().enumerate() {
        let half = SquareSum { scale: 0.5 / dims as f32, per_position: false, root: false };
        terms.push(g.emit(&format!("{}.half", name(i)), half, &[*z])?);
    }
    sum(g, "half", &terms)
}

/// Negative log-likelihood of each sample, nats per dimension: `(½‖z‖² − J)/D`, of one flow over all levels or summed over the
/// levels' own flows, which share nothing.
fn likelihood(g: &mut Graph, latents: &Latents) -> Result<TensorId, TrainError> {
    if latents.js.len() < latents.zs.len() {
        let dims: usize = latents.zs.iter().map(|z| g.shape(*z).len()).sum();
        let half = half_mean_square(g, &latents.zs)?;
        let j = g.emit("volume", Scale { factor: -1.0 / dims as f32 }, &[latents.js[0]])?;
        return Ok(g.emit("likelihood", Add {}, &[half, j])?);
    }
    let mut terms = Vec::new();
    for (i, (z, j)) in latents.zs.iter().zip(&latents.js).enumerate() {
        terms.push(g.emit(&format!("{}.nll", name(i)), FlowNll {}, &[*z, *j])?);
    }
    sum(g, "likelihood", &terms)
}

/// Emits the map: energies on the finest grid, joined.
pub fn energies(g: &mut Graph, setup: &Setup, zs: &[TensorId]) -> Result<TensorId, TrainError> {
    let side = zs.first().map_or(0, |z| g.shape(*z).h());
    let mut map: Option<TensorId> = None;
    for (i, z) in zs.iter().enumerate() {
        let scale = 1.0 / g.shape(*z).c() as f32;
        let energy = SquareSum { scale, per_position: true, root: false };
        let mut energy = g.emit(&format!("{}.energy", name(i)), energy, &[*z])?;
        if g.shape(energy).h() != side {
            let resize = Resize { h: side, w: side, mode: Interpolation::Bilinear };
            energy = g.emit(&format!("{}.fine", name(i)), resize, &[energy])?;
        }
        map = Some(match (map, setup.map_levels) {
            (None, _) => energy,
            (Some(other), MapLevels::Product) => g.emit(&format!("{}.map", name(i)), Multiply {}, &[other, energy])?,
            (Some(other), MapLevels::Sum) => g.emit(&format!("{}.map", name(i)), Add {}, &[other, energy])?,
            (Some(finest), MapLevels::Finest) => finest,
        });
    }
    map.ok_or_else(|| TrainError::Internal("no levels".to_string()))
}

/// Score and map of latents: the map's largest energies.
pub fn score(g: &mut Graph, setup: &Setup, zs: &[TensorId]) -> Result<Scored, TrainError> {
    let map = energies(g, setup, zs)?;
    let top = grid::positions(TOP, setup, g.shape(map).h());
    Ok(Scored { score: g.emit("score", TopMean { k: top }, &[map])?, map: Some(map), top })
}

/// How flows on maps are trained.
pub struct MapTraining<'t> {
    pub adam: Adam,
    /// Images in a batch.
    pub batch: usize,
    /// Deviation of the noise on the features.
    pub noise: f32,
    /// Latents; with noise in training.
    pub latents: &'t Forward<'t>,
    /// Emits the loss of each sample, where it is not the negative log-likelihood.
    pub loss: Option<&'t Loss<'t>>,
}

/// Emits latents of the levels' features; with noise where the last argument says so.
pub type Forward<'t> = dyn Fn(&mut Graph, &Params, &[TensorId], bool) -> Result<Latents, TrainError> + 't;

/// Emits the loss of each sample out of the levels' features.
pub type Loss<'t> = dyn Fn(&mut Graph, &Params, &[TensorId]) -> Result<TensorId, TrainError> + 't;

impl MapTraining<'_> {
    fn program(
        &self,
        name: &str,
        step: bool,
        features: &[FeatureRow],
        params: &Params,
    ) -> Result<OwnedProgram, TrainError> {
        let mut g = Graph::new();
        let xs: Vec<TensorId> = features.iter().map(|f| g.input(&f.name, f.shape)).collect();
        let loss = match self.loss {
            Some(loss) if step => loss(&mut g, params, &xs)?,
            _ => {
                let latents = (self.latents)(&mut g, params, &xs, step)?;
                let nll = likelihood(&mut g, &latents)?;
                g.output("nll", nll);
                nll
            }
        };
        if step {
            let loss = g.emit("loss", BatchMean {}, &[loss])?;
            g.output("loss", loss);
            g.train(loss, params, self.adam)?;
        }
        Ok(place(name, &g, &params.layout(), Reuse::Share)?)
    }

    /// Trains by maximum likelihood until held-out parts stop becoming likelier.
    pub fn fit(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted, TrainError> {
        self.fit_with(fitting, resume, &(), |likelihood, ()| Box::new(likelihood))
    }

    /// Trains likewise with an objective that `wrap` makes out of maximum likelihood and `context`.
    pub fn fit_with<'e, C: ?Sized>(
        &self,
        fitting: &mut Fitting<'_, 'e>,
        resume: Option<&[u8]>,
        context: &C,
        wrap: impl for<'l> FnOnce(Likelihood<'l, 'e>, &'l C) -> Box<dyn Objective + 'l>,
    ) -> Result<Fitted, TrainError> {
        let train = self.program("train", true, fitting.features, fitting.params)?;
        let latent = self.program("latent", false, fitting.features, fitting.params)?;
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
