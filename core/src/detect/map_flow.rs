//! Flows on feature maps: the position-conditioned flow, FastFlow, SSNF and CS-Flow.
//!
//! Maps of a frozen backbone, one a level, go each through a flow of its own. The energy of a position is the mean of z² over
//! channels: the base density only, because the log-determinant made scores worse wherever it was tried (cdnf eq 12 and
//! FastFlow leave it out as well; FastFlow's exp(−½·energy) is left out too, it is 0 for whatever is far off). The levels'
//! energies are brought to the finest grid and added: the map; the score is the mean of its largest values. Training ends when
//! parts that were set aside, whole groups of near-duplicates, stop becoming likelier.
//!
//! - `posflow`: taps joined to a grid are whitened at each position by a Gaussian of its own (`padim.rs`); a [`PositionFlow`]
//!   shared by all positions and told where it is maps the result to a standard normal, with noise on its input in training. It
//!   starts as the identity, so an untrained detector is PaDiM with squared distances. Where images are cut into tiles all
//!   positions share one Gaussian, and the flow is not told where it is.
//! - `csflow`: one [`CsFlow`] over one tap of the image at three scales (Rudolph et al. 2022); the score is half the mean of z² over
//!   all latents, the map the product of the scales' energies.
//! - `fastflow`: each tap normalised over the sample, then a [`FastFlow`] (Yu et al. 2021).
//! - `ssnf`: the same with [`Ssnf`], trained against synthetic anomalies (`ssnf.rs`).

use super::calibrate::MapPlan;
use super::data::{self, Data};
use super::extractor::{self, Extractor};
use super::fit_flow::{self, FlowInput, FlowPrograms, Stop};
use super::grid;
use super::options::{MapLevels, Preset, Setup};
use super::padim::{emit_white, top_positions, whiten_positions, whiten_tiles};
use super::ssnf;
use super::standardise;
use super::synthetic::{self, LevelGrid};
use super::{Draft, Images, Method, Observer, TrainError, about};
use crate::backbones::Backbone;
use crate::executor::Device;
use crate::flows::{self, CsFlow, FastFlow, PositionFlow, Ssnf};
use crate::graph::{Graph, TensorId};
use crate::image::GridPlace;
use crate::op::{
    Adam, Add, BatchMean, FlowNll, Interpolation, Multiply, Repeat, Resize, Scale, ScaleShift, SquareSum, TopMean,
};
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
struct Level {
    taps: Vec<&'static str>,
    model: LevelModel,
}

/// How a level is modelled.
#[derive(Clone, Copy)]
enum LevelModel {
    /// Whitened position by position, then a [`PositionFlow`]; `shared` is PaDiM's s.
    Position { shared: f64 },
    /// [`FastFlow`].
    Fast,
    /// [`Ssnf`]; maps of at most `attended` positions have self-attention.
    Ssnf { attended: u32 },
    /// A scale of [`CsFlow`], which is one flow for all levels; level i sees the image decimated by 2ⁱ. `width` is that of its
    /// subnets; `standardise` says whether it sees features standardised per channel rather than as they are: those of `builtin`
    /// are a few hundredths wide, which Adam's ε drowns.
    Cross { width: u32, standardise: bool },
}

/// How latents become the score of an image.
#[derive(Clone, Copy)]
enum Score {
    /// Mean energy of this share of the finest grid, the largest.
    Top(f64),
    /// Half the mean of z² over all levels.
    Mean,
}

/// What is read from a backbone.
struct Recipe {
    /// The finest grid first.
    levels: Vec<Level>,
    score: Score,
    size: u32,
    adam: Adam,
}

fn recipe(method: Method, preset: Preset, backbone: &Backbone, colour: bool) -> Recipe {
    let given = [backbone.pooled_taps()];
    // Taps from fine to coarse, and which of them are joined to grids for posflow, the finer grid first.
    let (taps, grids): (&[&'static str], &[&[&'static str]]) = match backbone.name() {
        "mobilenet_v2" => {
            (&["features.3", "features.6", "features.13"], &[&["features.6"], &["features.6", "features.13"]])
        }
        "resnet18" | "wide_resnet50_2" => (&["layer1", "layer2", "layer3"], &[&["layer2"], &["layer2", "layer3"]]),
        "efficientnet_b5" | "tf_efficientnet_b5" => {
            (&["features.2", "features.3", "features.6"], &[&["features.3"], &["features.3", "features.5"]])
        }
        "alexnet" => (&["conv5"], &[&["conv5"]]),
        "onnx" => (given[0], &given),
        _ if colour => (&["builtin.fine"], &[&["builtin.coarse", "builtin.colour"]]),
        _ => (&["builtin.fine"], &[&["builtin.coarse"]]),
    };
    let (builtin, paper) = (backbone.name() == "builtin", preset == Preset::Paper);
    let adam = Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-5, clip: 0.0 };
    match method {
        Method::FastFlow => Recipe {
            levels: taps.iter().map(|&tap| Level { taps: Vec::from([tap]), model: LevelModel::Fast }).collect(),
            score: Score::Top(0.01),
            size: if builtin { 448 } else { 256 },
            adam,
        },
        Method::Ssnf => Recipe {
            levels: taps
                .iter()
                .map(|&tap| Level {
                    taps: Vec::from([tap]),
                    model: LevelModel::Ssnf { attended: attended(preset, builtin) },
                })
                .collect(),
            score: Score::Top(0.01),
            size: if builtin {
                448
            } else if paper {
                256
            } else {
                128
            },
            adam: Adam { clip: 1.0, ..adam },
        },
        Method::CsFlow => {
            let width = if paper { 1024 } else { 64 };
            let model = LevelModel::Cross { width, standardise: backbone.standardise_pooled() };
            let level = |_| Level { taps: taps.last().copied().into_iter().collect(), model };
            Recipe {
                levels: (0..flows::SCALES).map(level).collect(),
                score: Score::Mean,
                size: if paper { 768 } else { 256 },
                adam: Adam { eps: 1e-4, clip: 1.0, ..adam },
            }
        }
        // The others have no levels; see `fit`.
        Method::PosFlow | Method::Cdnf | Method::DifferNet | Method::Padim | Method::Gauss => Recipe {
            levels: grids
                .iter()
                .enumerate()
                // Where taps of a trained network are joined, a position's own covariance has too many numbers.
                .map(|(i, taps)| {
                    let shared = if builtin || (i == 0 && grids.len() > 1) { 0.0 } else { 0.5 };
                    Level { taps: taps.to_vec(), model: LevelModel::Position { shared } }
                })
                .collect(),
            score: Score::Top(0.01),
            size: if builtin { 448 } else { 224 },
            adam: Adam { weight_decay: 0.0, clip: 1.0, ..adam },
        },
    }
}

/// Most positions of a map over which SSNF attends. Over 32×32 attention takes most of the time of a step, which only the one
/// map of `builtin` is worth.
fn attended(preset: Preset, builtin: bool) -> u32 {
    if preset == Preset::Paper || builtin { 1024 } else { 256 }
}

/// Side of the input where nothing is chosen.
pub(super) fn default_size(method: Method, preset: Preset, backbone: &Backbone) -> u32 {
    recipe(method, preset, backbone, false).size
}

/// Taps that may be read.
pub(super) fn taps(method: Method, preset: Preset, backbone: &Backbone) -> Vec<&'static str> {
    let of = |colour| recipe(method, preset, backbone, colour).levels;
    [of(false), of(true)].into_iter().flatten().flat_map(|level| level.taps).collect()
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
    recipe: &Recipe,
    backbone: &Backbone,
    params: &mut Params,
) -> Result<Vec<(TensorId, GridPlace)>, TrainError> {
    let levels = &recipe.levels;
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
            LevelModel::Position { .. } => grid::draw(g, params, &name(i), joined.features, CHANNELS)?,
            LevelModel::Fast | LevelModel::Ssnf { .. } => joined.features,
            LevelModel::Cross { .. } if i == 0 => joined.features,
            LevelModel::Cross { .. } => {
                let side = setup.size >> i;
                let resize = Resize { h: side, w: side, mode: Interpolation::Nearest };
                let small = g.emit(&format!("image.scale{i}"), resize, &[image])?;
                backbone.emit(g, params, "backbone.", small, &level.taps)?[0]
            }
        };
        out.push((x, joined.place));
    }
    if levels.iter().any(|l| matches!(l.model, LevelModel::Cross { .. })) {
        let sides: Vec<u32> = out.iter().map(|x| g.shape(x.0).h()).collect();
        if sides.windows(2).any(|s| s[0] != 2 * s[1]) {
            return Err(TrainError::Options(format!(
                "csflow needs maps that halve from scale to scale: at {0}x{0} pixels {1} gives {2:?}; try a multiple of 128",
                setup.size,
                backbone.name(),
                sides
            )));
        }
    }
    Ok(out)
}

/// Where a level begins: in a row of features, and among the positions of all levels.
#[derive(Clone, Copy, Default)]
struct First {
    value: usize,
    position: usize,
}

/// Adds the parameters of a level, fitted to its training features.
fn init(
    params: &mut Params,
    at: usize,
    recipe: &Recipe,
    shape: Shape,
    data: &Data,
    first: First,
    setup: &Setup,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let (name, seed) = (name(at), setup.seed);
    let rows: Vec<&[f32]> = data.train_rows().map(|row| &row[first.value..][..shape.len()]).collect();
    match recipe.levels[at].model {
        LevelModel::Position { shared } => {
            let mut code = PositionFlow::code(shape.h(), shape.w());
            if setup.tiling.is_some() {
                whiten_tiles(params, &name, shape, first.value, first.position, data, observer)?;
                // A tile may lie anywhere.
                code.fill(0.0);
            } else {
                whiten_positions(params, &name, shape, shared, &rows, observer)?;
            }
            params.add(&format!("{name}.code"), Shape::chw(PositionFlow::CODE, shape.h(), shape.w()), false, code)?;
            position_flow(shape.c()).init(params, &name, seed)?;
        }
        // Maps of one model need a seed each.
        LevelModel::Fast => FastFlow::paper(shape.c()).init(params, &name, seed.wrapping_add((at as u64) << 32))?,
        LevelModel::Ssnf { attended } => {
            Ssnf::for_map(shape, attended).init(params, &name, seed.wrapping_add((at as u64) << 32))?
        }
        LevelModel::Cross { width, standardise } => {
            if standardise {
                standardise::add(params, &name, shape, rows.iter().copied())?;
            }
            if at == 0 {
                CsFlow { width, ..CsFlow::paper(shape.c()) }.init(params, "cross", seed)?;
            }
        }
    }
    Ok(())
}

/// Latents of all levels, and their log-determinants: one a level, or one for all.
struct Latents {
    zs: Vec<TensorId>,
    js: Vec<TensorId>,
}

/// The levels' flows. Training adds noise to what was whitened.
fn latents(
    g: &mut Graph,
    params: &Params,
    recipe: &Recipe,
    xs: &[TensorId],
    noise: bool,
    tiles: bool,
) -> Result<Latents, TrainError> {
    let mut out = Latents { zs: Vec::new(), js: Vec::new() };
    for (i, (level, &x)) in recipe.levels.iter().zip(xs).enumerate() {
        let (name, shape) = (name(i), g.shape(x));
        let (z, j) = match level.model {
            LevelModel::Position { .. } => {
                let mut white = emit_white(g, params, &name, &format!("{name}.white"), x, tiles)?;
                if noise {
                    let noise = g.input(&format!("noise.{name}"), shape);
                    white = g.emit(&format!("{name}.noisy"), Add {}, &[white, noise])?;
                }
                let code = g.param(params, &format!("{name}.code"))?;
                let code = g.emit(&format!("{name}.codes"), Repeat {}, &[code])?;
                position_flow(shape.c()).forward(g, params, &name, white, code)?
            }
            LevelModel::Fast => {
                let flow = FastFlow::paper(shape.c());
                let normal = flow.normalise(g, &name, x)?;
                flow.forward(g, params, &name, normal)?
            }
            LevelModel::Ssnf { attended } => {
                let flow = Ssnf::for_map(shape, attended);
                let normal = flow.normalise(g, &name, x)?;
                flow.forward(g, params, &name, normal)?
            }
            LevelModel::Cross { width, standardise } => {
                let mut maps = core::array::from_fn(|scale| xs[scale]);
                for (scale, map) in maps.iter_mut().enumerate().filter(|_| standardise) {
                    let name = self::name(scale);
                    let (scale, shift) =
                        (g.param(params, &format!("{name}.scale"))?, g.param(params, &format!("{name}.shift"))?);
                    *map =
                        g.emit(&format!("{name}.standardised"), ScaleShift { inverse: false }, &[*map, scale, shift])?;
                }
                let (zs, j) = CsFlow { width, ..CsFlow::paper(shape.c()) }.forward(g, params, "cross", maps)?;
                return Ok(Latents { zs: zs.to_vec(), js: Vec::from([j]) });
            }
        };
        out.zs.push(z);
        out.js.push(j);
    }
    Ok(out)
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
fn half_mean_square(g: &mut Graph, zs: &[TensorId]) -> Result<TensorId, TrainError> {
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

/// Program `score`, image to score and map; where that lies; and of how many positions the score is made, 0 for all.
fn score_program(
    setup: &Setup,
    recipe: &Recipe,
    backbone: &Backbone,
    params: &mut Params,
) -> Result<(OwnedProgram, MapPlan, u32), TrainError> {
    let mut g = Graph::new();
    let xs = features(&mut g, setup, recipe, backbone, params)?;
    let finest = xs[0].1;
    let xs: Vec<TensorId> = xs.into_iter().map(|x| x.0).collect();
    let side = g.shape(xs[0]).h();
    let zs = latents(&mut g, params, recipe, &xs, false, setup.tiling.is_some())?.zs;
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
    let map = map.ok_or_else(|| TrainError::Internal("no levels".to_string()))?;
    let mut top = 0;
    let score = match recipe.score {
        Score::Mean => half_mean_square(&mut g, &zs)?,
        Score::Top(share) => {
            top = top_positions(share, setup, side);
            g.emit("score", TopMean { k: top }, &[map])?
        }
    };
    g.output("score", score);
    if setup.makes_maps() {
        g.output("map", map);
    }
    let map = if setup.makes_maps() { MapPlan::program(side, finest) } else { MapPlan::none() };
    Ok((place("score", &g, &params.layout(), Reuse::Share)?, map, top))
}

pub(super) fn fit(
    images: &dyn Images,
    backbone: &Backbone,
    setup: &Setup,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Draft, TrainError> {
    let recipe = recipe(setup.method, setup.preset, backbone, extractor::have_colour(images, setup)?);
    let mut params = Params::new();
    let mut g = Graph::new();
    let xs = features(&mut g, setup, &recipe, backbone, &mut params)?;
    let (mut shapes, mut grids) = (Vec::new(), Vec::new());
    for (i, &(x, place)) in xs.iter().enumerate() {
        g.output(&name(i), x);
        shapes.push(g.shape(x));
        grids.push(LevelGrid { shape: g.shape(x), place });
    }
    let only_backbone = place("features", &g, &params.layout(), Reuse::Share)?;
    let packed = params.pack();
    let mut extractor = Extractor::new(&only_backbone, &packed, setup, backbone, device)?;
    let maps: Vec<data::MapPlace> = xs.iter().zip(&shapes).map(|(x, shape)| (x.1, shape.h())).collect();
    let mut data = data::read(images, setup, backbone, setup.train_views, &maps, &mut extractor, observer)?;
    let spoilt = setup.method == Method::Ssnf;
    let synthetic = if spoilt {
        Some(synthetic::make(images, setup, backbone, &data, &grids, &mut extractor, observer)?)
    } else {
        None
    };

    let mut inputs = Vec::new();
    let mut first = First::default();
    for (i, (level, shape)) in recipe.levels.iter().zip(&shapes).enumerate() {
        init(&mut params, i, &recipe, *shape, &data, first, setup, observer)?;
        let by_position = matches!(level.model, LevelModel::Position { .. });
        if by_position && setup.tiling.is_some() {
            // The rims of tiles, which see zeros, would teach the flow what it is never asked about.
            data.fill(shape.c() as usize, shape.positions(), first.value, first.position);
        }
        let noise = if by_position { NOISE } else { 0.0 };
        inputs.push(FlowInput { name: name(i), first: first.value, len: shape.len(), noise });
        first = First { value: first.value + shape.len(), position: first.position + shape.positions() };
    }
    let layout = params.layout();

    let program = |name: &str, step: bool| -> Result<OwnedProgram, TrainError> {
        let mut g = Graph::new();
        let xs: Vec<TensorId> = shapes.iter().enumerate().map(|(i, shape)| g.input(&self::name(i), *shape)).collect();
        let loss = if step && spoilt {
            let names: Vec<String> = (0..xs.len()).map(self::name).collect();
            ssnf::loss(&mut g, &params, attended(setup.preset, backbone.name() == "builtin"), &names, &xs)?
        } else {
            let latents = latents(&mut g, &params, &recipe, &xs, step, setup.tiling.is_some())?;
            let nll = likelihood(&mut g, &latents)?;
            g.output("nll", nll);
            nll
        };
        if step {
            let loss = g.emit("loss", BatchMean {}, &[loss])?;
            g.output("loss", loss);
            g.train(loss, &params, recipe.adam)?;
        }
        Ok(place(name, &g, &layout, Reuse::Share)?)
    };
    let (train, latent) = (program("train", true)?, program("latent", false)?);
    let mut about = about(setup, backbone, data.digest, images.len());
    let batch = if spoilt { ssnf::BATCH } else { BATCH };
    let programs = FlowPrograms {
        train: &train,
        latent: &latent,
        inputs: &inputs,
        batch,
        stop: Stop::Likelihood,
        synthetic: synthetic.as_ref(),
    };
    let fitted =
        fit_flow::fit(images, backbone, setup, &data, &mut params, programs, &mut extractor, device, observer, resume)?;
    about.push(("epochs".to_string(), fitted.epochs.to_string()));
    about.push(("learning_rate".to_string(), setup.learning_rate.to_string()));
    let (score, map, tiles_top) = score_program(setup, &recipe, backbone, &mut params)?;
    let mut g = Graph::new();
    for (i, (x, _)) in features(&mut g, setup, &recipe, backbone, &mut params)?.into_iter().enumerate() {
        g.output(&name(i), x);
    }
    let features = place("features", &g, &layout, Reuse::Share)?;
    Ok(Draft {
        params,
        programs: Vec::from([score, features, latent, train]),
        map,
        tiles_top,
        held_out: data.aside,
        epochs: fitted.epochs,
        final_loss: Some(fitted.loss),
        about,
    })
}
