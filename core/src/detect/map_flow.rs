//! Flows on feature maps: the position-conditioned flow, and FastFlow.
//!
//! Maps of a frozen backbone, one a level, go each through a flow of its own. The energy of a position is the mean of z² over
//! channels: the base density only, because the log-determinant made scores worse wherever it was tried (cdnf eq 12 and
//! FastFlow leave it out as well; FastFlow's exp(−½·energy) is left out too, it is 0 for whatever is far off). The levels'
//! energies are brought to the finest grid and added: the map; the score is the mean of its largest values. Training ends when
//! parts that were set aside, whole groups of near-duplicates, stop becoming likelier.
//!
//! - `posflow`: taps joined to a grid are whitened at each position by a Gaussian of its own (`padim.rs`); a [`PositionFlow`]
//!   shared by all positions and told where it is maps the result to a standard normal, with noise on its input in training. It
//!   starts as the identity, so an untrained detector is PaDiM with squared distances.
//! - `fastflow`: each tap normalised over the sample, then a [`FastFlow`] (Yu et al. 2021).

use super::calibrate::MapPlan;
use super::data::{self, Extractor};
use super::fit_flow::{self, FlowInput, FlowPrograms, Stop};
use super::grid;
use super::options::Setup;
use super::padim::{draw, whiten_positions};
use super::{Draft, Images, Method, Observer, TrainError, about};
use crate::backbones::Backbone;
use crate::executor::Device;
use crate::flows::{FastFlow, PositionFlow};
use crate::graph::{Graph, TensorId};
use crate::image::GridPlace;
use crate::op::{Adam, Add, BatchMean, FlowNll, Interpolation, PositionLinear, Repeat, Resize, SquareSum, TopMean};
use crate::params::Params;
use crate::place::{OwnedProgram, Reuse, place};
use crate::shape::Shape;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Images in a batch.
const BATCH: usize = 16;
/// Deviation of the noise on whitened features.
const NOISE: f32 = 0.1;

/// What a level reads and how it is modelled.
#[derive(Clone, Copy)]
struct Level {
    taps: &'static [&'static str],
    model: LevelModel,
}

/// How a level is modelled.
#[derive(Clone, Copy)]
enum LevelModel {
    /// Whitened position by position, then a [`PositionFlow`]; `shared` is PaDiM's s.
    Position { shared: f64 },
    /// [`FastFlow`].
    Fast,
}

/// What is read from a backbone.
struct Recipe {
    /// The finest grid first.
    levels: Vec<Level>,
    /// Share of the finest grid whose mean energy is the score.
    top: f64,
    size: u32,
    adam: Adam,
}

fn recipe(method: Method, backbone: &Backbone) -> Recipe {
    let (fine, coarse): (&'static [&'static str], &'static [&'static str]) = match backbone.name() {
        "mobilenet_v2" => (&["features.6"], &["features.6", "features.13"]),
        "resnet18" | "wide_resnet50_2" => (&["layer2"], &["layer2", "layer3"]),
        "efficientnet_b5" | "tf_efficientnet_b5" => (&["features.3"], &["features.3", "features.5"]),
        "alexnet" => (&["conv5"], &[]),
        _ => (&["builtin.coarse"], &[]),
    };
    let adam = Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: 1.0 };
    if method == Method::FastFlow {
        let taps: &[&'static [&'static str]] = match backbone.name() {
            "mobilenet_v2" => &[&["features.3"], &["features.6"], &["features.13"]],
            "resnet18" | "wide_resnet50_2" => &[&["layer1"], &["layer2"], &["layer3"]],
            "efficientnet_b5" | "tf_efficientnet_b5" => &[&["features.2"], &["features.3"], &["features.5"]],
            _ => &[fine],
        };
        return Recipe {
            levels: taps.iter().map(|taps| Level { taps, model: LevelModel::Fast }).collect(),
            top: 0.01,
            size: if fine[0] == "builtin.coarse" { 448 } else { 256 },
            adam: Adam { weight_decay: 1e-5, clip: 0.0, ..adam },
        };
    }
    let mut levels = Vec::from([Level { taps: fine, model: LevelModel::Position { shared: 0.0 } }]);
    if !coarse.is_empty() {
        levels.push(Level { taps: coarse, model: LevelModel::Position { shared: 0.5 } });
    }
    Recipe { levels, top: 0.01, size: if fine[0] == "builtin.coarse" { 448 } else { 224 }, adam }
}

/// Side of the input where nothing is chosen.
pub(super) fn default_size(method: Method, backbone: &Backbone) -> u32 {
    recipe(method, backbone).size
}

/// Most channels of a whitened level; more are drawn from.
const CHANNELS: u32 = 160;
/// Blocks of a position flow.
const BLOCKS: u32 = 6;

/// The position flow of a level with so many channels.
fn position_flow(channels: u32) -> PositionFlow {
    PositionFlow { channels, blocks: BLOCKS, width: 2 * channels, depth: 0, clamp: 1.0, zero_last: true }
}

fn name(level: usize) -> String {
    format!("level{level}")
}

/// The levels' features of an image.
fn features(
    g: &mut Graph,
    setup: &Setup,
    backbone: &Backbone,
    params: &mut Params,
) -> Result<Vec<(TensorId, GridPlace)>, TrainError> {
    let levels = recipe(setup.method, backbone).levels;
    let image = g.input("image", Shape::chw(3, setup.size, setup.size));
    let mut taps: Vec<&str> = levels.iter().flat_map(|l| l.taps.iter().copied()).collect();
    taps.sort_unstable();
    taps.dedup();
    let maps = backbone.emit(g, params, "backbone.", image, &taps)?;
    let mut out = Vec::new();
    for (i, level) in levels.iter().enumerate() {
        let find = |tap: &&'static str| taps.iter().zip(&maps).find(|(t, _)| *t == tap).map(|(t, m)| (*t, *m));
        let own: Vec<(&str, TensorId)> = level.taps.iter().filter_map(find).collect();
        let joined = grid::join(g, &name(i), setup, backbone, &own)?;
        let x = match level.model {
            LevelModel::Position { .. } => draw(g, params, &name(i), joined.features, CHANNELS)?,
            LevelModel::Fast => joined.features,
        };
        out.push((x, joined.place));
    }
    Ok(out)
}

/// Adds the parameters of a level whose training features are `rows`.
fn init(
    params: &mut Params,
    at: usize,
    level: &Level,
    shape: Shape,
    rows: &[&[f32]],
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let name = name(at);
    match level.model {
        LevelModel::Position { shared } => {
            whiten_positions(params, &name, shape, shared, rows, observer)?;
            let code = PositionFlow::code(shape.h(), shape.w());
            params.add(&format!("{name}.code"), Shape::chw(PositionFlow::CODE, shape.h(), shape.w()), false, code)?;
            position_flow(shape.c()).init(params, &name, seed)?;
        }
        LevelModel::Fast => FastFlow::paper(shape.c()).init(params, &name, seed)?,
    }
    Ok(())
}

/// Latent of a level's features and its log-determinant. Training adds noise to what was whitened.
fn latent(
    g: &mut Graph,
    params: &Params,
    at: usize,
    level: &Level,
    x: TensorId,
    noise: bool,
) -> Result<(TensorId, TensorId), TrainError> {
    let (name, shape) = (name(at), g.shape(x));
    match level.model {
        LevelModel::Position { .. } => {
            let (w, b) = (g.param(params, &format!("{name}.w"))?, g.param(params, &format!("{name}.b"))?);
            let mut white = g.emit(&format!("{name}.white"), PositionLinear {}, &[x, w, b])?;
            if noise {
                let noise = g.input(&format!("noise.{name}"), shape);
                white = g.emit(&format!("{name}.noisy"), Add {}, &[white, noise])?;
            }
            let code = g.param(params, &format!("{name}.code"))?;
            let code = g.emit(&format!("{name}.codes"), Repeat {}, &[code])?;
            Ok(position_flow(shape.c()).forward(g, params, &name, white, code)?)
        }
        LevelModel::Fast => Ok(FastFlow::paper(shape.c()).forward(g, params, &name, x)?),
    }
}

/// Negative log-likelihood of each sample, nats per dimension, summed over the levels: their flows share nothing.
fn likelihood(g: &mut Graph, latents: &[(TensorId, TensorId)]) -> Result<TensorId, TrainError> {
    let mut total = None;
    for (i, (z, j)) in latents.iter().enumerate() {
        let nll = g.emit(&format!("{}.nll", name(i)), FlowNll {}, &[*z, *j])?;
        total = Some(match total {
            None => nll,
            Some(other) => g.emit(&format!("{}.sum", name(i)), Add {}, &[other, nll])?,
        });
    }
    total.ok_or_else(|| TrainError::Internal("no levels".to_string()))
}

/// Program `score`: image to score and map.
fn score_program(
    setup: &Setup,
    backbone: &Backbone,
    params: &mut Params,
) -> Result<(OwnedProgram, u32, GridPlace), TrainError> {
    let recipe = recipe(setup.method, backbone);
    let mut g = Graph::new();
    let xs = features(&mut g, setup, backbone, params)?;
    let places: Vec<GridPlace> = xs.iter().map(|x| x.1).collect();
    let xs: Vec<TensorId> = xs.into_iter().map(|x| x.0).collect();
    let (side, finest) = (g.shape(xs[0]).h(), places[0]);
    let mut map: Option<TensorId> = None;
    for (i, (level, x)) in recipe.levels.iter().zip(&xs).enumerate() {
        let (z, _) = latent(&mut g, params, i, level, *x, false)?;
        let scale = 1.0 / g.shape(z).c() as f32;
        let energy = SquareSum { scale, per_position: true, root: false };
        let mut energy = g.emit(&format!("{}.energy", name(i)), energy, &[z])?;
        if g.shape(energy).h() != side {
            let resize = Resize { h: side, w: side, mode: Interpolation::Bilinear };
            energy = g.emit(&format!("{}.fine", name(i)), resize, &[energy])?;
        }
        map = Some(match map {
            None => energy,
            Some(other) => g.emit(&format!("{}.map", name(i)), Add {}, &[other, energy])?,
        });
    }
    let map = map.ok_or_else(|| TrainError::Internal("no levels".to_string()))?;
    let k = ((recipe.top * f64::from(side * side)) as u32).max(1);
    let top = g.emit("score", TopMean { k }, &[map])?;
    g.output("score", top);
    if setup.map {
        g.output("map", map);
    }
    Ok((place("score", &g, &params.layout(), Reuse::Share)?, side, finest))
}

pub(super) fn fit(
    images: &dyn Images,
    backbone: &Backbone,
    setup: &Setup,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Draft, TrainError> {
    let Recipe { levels, adam, .. } = recipe(setup.method, backbone);
    let mut params = Params::new();
    let mut g = Graph::new();
    let xs = features(&mut g, setup, backbone, &mut params)?;
    let mut shapes = Vec::new();
    for (i, (x, _)) in xs.iter().enumerate() {
        g.output(&name(i), *x);
        shapes.push(g.shape(*x));
    }
    let only_backbone = place("features", &g, &params.layout(), Reuse::Share)?;
    let packed = params.pack();
    let mut extractor = Extractor::new(&only_backbone, &packed, setup, backbone, device)?;
    let data = data::read(images, setup, backbone, setup.train_views, &mut extractor, observer)?;

    let mut inputs = Vec::new();
    let mut first = 0;
    for (i, (level, shape)) in levels.iter().zip(&shapes).enumerate() {
        let rows: Vec<&[f32]> = data.train_rows().map(|row| &row[first..][..shape.len()]).collect();
        init(&mut params, i, level, *shape, &rows, setup.seed, observer)?;
        let noise = if matches!(level.model, LevelModel::Position { .. }) { NOISE } else { 0.0 };
        inputs.push(FlowInput { name: name(i), first, len: shape.len(), noise });
        first += shape.len();
    }
    let layout = params.layout();

    let program = |name: &str, step: bool| -> Result<OwnedProgram, TrainError> {
        let mut g = Graph::new();
        let mut zs = Vec::new();
        for (i, (level, shape)) in levels.iter().zip(&shapes).enumerate() {
            let x = g.input(&self::name(i), *shape);
            zs.push(latent(&mut g, &params, i, level, x, step)?);
        }
        let nll = likelihood(&mut g, &zs)?;
        g.output("nll", nll);
        if step {
            let loss = g.emit("loss", BatchMean {}, &[nll])?;
            g.output("loss", loss);
            g.train(loss, &params, adam)?;
        }
        Ok(place(name, &g, &layout, Reuse::Share)?)
    };
    let (train, latent) = (program("train", true)?, program("latent", false)?);
    let mut about = about(setup, backbone, data.digest, images.len());
    let programs =
        FlowPrograms { train: &train, latent: &latent, inputs: &inputs, batch: BATCH, stop: Stop::Likelihood };
    let fitted =
        fit_flow::fit(images, backbone, setup, &data, &mut params, programs, &mut extractor, device, observer, resume)?;
    about.push(("epochs".to_string(), fitted.epochs.to_string()));
    about.push(("learning_rate".to_string(), setup.learning_rate.to_string()));
    let (score, side, finest) = score_program(setup, backbone, &mut params)?;
    let mut g = Graph::new();
    for (i, (x, _)) in features(&mut g, setup, backbone, &mut params)?.into_iter().enumerate() {
        g.output(&name(i), x);
    }
    let features = place("features", &g, &layout, Reuse::Share)?;
    Ok(Draft {
        params,
        programs: Vec::from([score, features, latent, train]),
        map: if setup.map { MapPlan::program(side, finest) } else { MapPlan::none() },
        held_out: data.held_out,
        epochs: fitted.epochs,
        final_loss: Some(fitted.loss),
        about,
    })
}
