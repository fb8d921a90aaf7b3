//! PaDiM: a Gaussian at each position of a feature map (Defard et al. 2021, "PaDiM").
//!
//! Taps are brought to one grid and concatenated. At position p with mean μ_p and covariance Σ_p over the training images,
//! `Σ̂_p = (1 − s)·Σ_p + s·Σ̄ + ρ·(tr Σ̄/D)·I`, where Σ̄ is the mean over positions: with few images the shared part says
//! more than the own. The map is the Mahalanobis distance `‖L_p⁻¹(x_p − μ_p)‖`, enlarged to the pixels that the backbone
//! looked at, and blurred; the score is the mean of the largest distances of the grid. Taps, s and the share of the grid
//! are chosen for each backbone: for `builtin` and MobileNetV2 by measurement on magnetic tiles (`benches/RESULTS.md`); for the
//! others by analogy, not measured. Where taps have many channels, some are drawn once, as the paper does (§III-B), because
//! memory grows with their square.
//!
//! Of images that are cut into tiles all positions share one mean and one covariance: one piece of a web is like any other.

use super::calibrate::MapPlan;
use super::data::{self, Data};
use super::extractor::{self, Extractor};
use super::gauss::whitening;
use super::grid;
use super::options::Setup;
use super::{Draft, Images, Observer, Phase, TrainError, about, report};
use crate::backbones::Backbone;
use crate::executor::Device;
use crate::graph::{Graph, TensorId};
use crate::image::GridPlace;
use crate::linalg::Moments;
use crate::op::{Conv2d, Op, PositionLinear, SquareSum, TopMean};
use crate::params::Params;
use crate::place::{Reuse, place};
use crate::shape::Shape;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

/// ρ, relative to the mean variance.
const RIDGE: f64 = 0.01;

/// What PaDiM reads from a backbone.
struct Recipe {
    taps: &'static [&'static str],
    /// Read as well where the images have colour.
    colour_taps: &'static [&'static str],
    /// s, the part of the covariance that all positions share.
    shared: f64,
    /// Share of the grid whose mean distance is the score; 0 is the maximum.
    top: f64,
    size: u32,
    /// Channels that are drawn from those of all taps; all where there are no more.
    draw: u32,
}

/// Largest input of `builtin` that is read on a finer grid: on its own it would have four by four steps at most.
const SMALL: u32 = 128;

fn recipe(backbone: &Backbone) -> Recipe {
    let common =
        Recipe { taps: backbone.pooled_taps(), colour_taps: &[], shared: 0.5, top: 0.05, size: 224, draw: 300 };
    let layers = &["layer1", "layer2", "layer3"];
    match backbone.name() {
        "builtin" => Recipe {
            taps: &["builtin.coarse"],
            colour_taps: &["builtin.colour"],
            shared: 0.0,
            top: 0.0,
            size: 448,
            ..common
        },
        "mobilenet_v2" => Recipe { taps: &["features.6", "features.13"], ..common },
        "alexnet" => Recipe { taps: &["conv5"], ..common },
        // The paper's numbers of channels, but for the second: 550 would be a model of 340 MB.
        "resnet18" => Recipe { taps: layers, draw: 100, ..common },
        "wide_resnet50_2" => Recipe { taps: layers, draw: 300, ..common },
        "efficientnet_b5" | "tf_efficientnet_b5" => Recipe { taps: &["features.3", "features.5"], draw: 200, ..common },
        _ => common,
    }
}

/// Side of the input where nothing is chosen.
pub(super) fn default_size(backbone: &Backbone) -> u32 {
    recipe(backbone).size
}

/// Taps that may be read.
pub(super) fn taps(backbone: &Backbone) -> Vec<&'static str> {
    let recipe = recipe(backbone);
    [recipe.taps, recipe.colour_taps].concat()
}

/// Taps of an image on the grid of the coarsest, and where that lies.
fn emit_grid(
    g: &mut Graph,
    setup: &Setup,
    backbone: &Backbone,
    params: &mut Params,
    colour: bool,
) -> Result<(TensorId, GridPlace), TrainError> {
    let recipe = recipe(backbone);
    let mut taps = recipe.taps.to_vec();
    if colour {
        taps.extend_from_slice(recipe.colour_taps);
    } else if backbone.name() == "builtin" && setup.size <= SMALL && setup.tiling.is_none() {
        taps = vec!["builtin.texture"];
    }
    let image = g.input("image", Shape::chw(3, setup.size, setup.size));
    let maps = backbone.emit(g, params, "backbone.", image, &taps)?;
    let maps: Vec<(&str, TensorId)> = taps.iter().copied().zip(maps).collect();
    let grid = grid::join(g, "grid", setup, backbone, &maps)?;
    let x = grid::draw(g, params, "padim", grid.features, recipe.draw)?;
    Ok((x, grid.place))
}

/// PaDiM is fitted from the features of one view.
pub(super) fn fit(
    images: &dyn Images,
    backbone: &Backbone,
    setup: &Setup,
    device: &dyn Device,
    observer: &mut dyn Observer,
) -> Result<Draft, TrainError> {
    let colour = extractor::have_colour(images, setup)?;
    let mut params = Params::new();
    let mut g = Graph::new();
    let (x, centres) = emit_grid(&mut g, setup, backbone, &mut params, colour)?;
    let shape = g.shape(x);
    g.output("features", x);
    let features = place("features", &g, &params.layout(), Reuse::Share)?;
    let packed = params.pack();
    let mut extractor = Extractor::new(&features, &packed, setup, backbone, device)?;
    let maps = [(centres, shape.h())];
    let data = data::read(images, setup, backbone, setup.train_views, &maps, &mut extractor, observer)?;
    let recipe = recipe(backbone);
    if setup.tiling.is_some() {
        whiten_tiles(&mut params, "padim", shape, 0, 0, &data, observer)?;
    } else {
        let rows: Vec<&[f32]> = data.train_rows().collect();
        whiten_positions(&mut params, "padim", shape, recipe.shared, &rows, observer)?;
    }
    let layout = params.layout();
    let mut score = Graph::new();
    let (x, _) = emit_grid(&mut score, setup, backbone, &mut params, colour)?;
    let white = emit_white(&mut score, &params, "padim", "white", x, setup.tiling.is_some())?;
    let distance = score.emit("distance", SquareSum { scale: 1.0, per_position: true, root: true }, &[white])?;
    let k = top_positions(recipe.top, setup, shape.h());
    let top = score.emit("score", TopMean { k }, &[distance])?;
    score.output("score", top);
    if setup.makes_maps() {
        score.output("map", distance);
    }
    let programs = vec![place("features", &g, &layout, Reuse::Share)?, place("score", &score, &layout, Reuse::Share)?];
    let about = about(setup, backbone, data.digest, images.len());
    Ok(Draft {
        params,
        programs,
        map: if setup.makes_maps() { MapPlan::program(shape.h(), centres) } else { MapPlan::none() },
        tiles_top: k,
        held_out: data.aside,
        epochs: 0,
        final_loss: None,
        about,
    })
}

/// How many positions of a map with `side` steps in a row a share of it is, at least 1; with tiles, of a tile's middle, or of the
/// canvas where that is smaller: a defect is as large on a large canvas as on a small one.
pub(super) fn top_positions(share: f64, setup: &Setup, side: u32) -> u32 {
    let mut all = f64::from(side) * f64::from(side);
    if let Some(tiling) = &setup.tiling {
        let steps = |pixels: u32| libm::ceil(f64::from(pixels) * f64::from(side) / f64::from(tiling.side()));
        let (owned, canvas) = (steps(tiling.owned()), tiling.canvas());
        all = (owned * owned).min(steps(canvas.0) * steps(canvas.1));
    }
    ((share * all) as u32).max(1)
}

/// What [`whiten_positions`] or [`whiten_tiles`] has fitted, applied to x.
pub(super) fn emit_white(
    g: &mut Graph,
    params: &Params,
    name: &str,
    out: &str,
    x: TensorId,
    tiles: bool,
) -> Result<TensorId, TrainError> {
    let (w, b) = (g.param(params, &format!("{name}.w"))?, g.param(params, &format!("{name}.b"))?);
    let white = if tiles { Op::from(Conv2d::new()) } else { Op::from(PositionLinear {}) };
    Ok(g.emit(out, white, &[x, w, b])?)
}

/// Vectors that a covariance is made of; more say nothing new.
const ENOUGH: usize = 200_000;

/// Fits one Gaussian for all positions of the tiles' maps that count, and adds what whitens with it: `name.w` and `name.b`,
/// a convolution of 1×1. `first` is the map's in a row of features, `first_counted` in those that say what counts.
pub(super) fn whiten_tiles(
    params: &mut Params,
    name: &str,
    shape: Shape,
    first: usize,
    first_counted: usize,
    data: &Data,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let (d, positions) = (shape.c() as usize, shape.positions());
    let counts = |row: usize| data.counted(row)[first_counted..][..positions].iter();
    let all: usize = data.train.iter().map(|&row| counts(row).filter(|c| **c).count()).sum();
    // Every so many of them, whichever tile they are in.
    let step = all.div_ceil(ENOUGH).max(1);
    let (mut moments, mut number) = (Moments::new(d), 0);
    for (n, &row) in data.train.iter().enumerate() {
        if n % 32 == 0 {
            report(observer, Phase::Train, n, data.train.len())?;
        }
        let map = &data.row(row, 0)[first..][..shape.len()];
        for (p, _) in counts(row).enumerate().filter(|(_, counts)| **counts) {
            if number % step == 0 {
                moments.push_strided(&map[p..], positions);
            }
            number += 1;
        }
    }
    let mut covariance = moments.covariance(1);
    let ridge = RIDGE * covariance.iter().step_by(d + 1).sum::<f64>() / d as f64;
    covariance.iter_mut().step_by(d + 1).for_each(|v| *v += ridge);
    let (w, b) = whitening(d, covariance, &moments.mean())?;
    params.add(&format!("{name}.w"), Shape([d as u32, d as u32, 1, 1]), false, w)?;
    params.add(&format!("{name}.b"), Shape::vector(d as u32), false, b)?;
    Ok(())
}

/// Fits a Gaussian at each position of maps of a shape and adds what whitens with them: `name.w` and `name.b`, for
/// [`PositionLinear`]. `shared` is s.
pub(super) fn whiten_positions(
    params: &mut Params,
    name: &str,
    shape: Shape,
    shared: f64,
    maps: &[&[f32]],
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let (d, positions) = (shape.c() as usize, shape.positions());
    report(observer, Phase::Train, 0, positions)?;
    let mut moments: Vec<Moments> = vec![Moments::new(d); positions];
    for map in maps {
        for (p, m) in moments.iter_mut().enumerate() {
            m.push_strided(&map[p..], positions);
        }
    }
    let covariances: Vec<Vec<f64>> = moments.iter().map(|m| m.covariance(1)).collect();
    let mut mean = vec![0.0; d * d];
    for c in &covariances {
        mean.iter_mut().zip(c).for_each(|(m, c)| *m += c / positions as f64);
    }
    let ridge = RIDGE * mean.iter().step_by(d + 1).sum::<f64>() / d as f64;
    let (mut w, mut b) = (Vec::with_capacity(positions * d * d), Vec::with_capacity(positions * d));
    for (p, (mut covariance, m)) in covariances.into_iter().zip(&moments).enumerate() {
        if p % 32 == 0 {
            report(observer, Phase::Train, p, positions)?;
        }
        for (i, (c, mean)) in covariance.iter_mut().zip(&mean).enumerate() {
            *c = (1.0 - shared) * *c + shared * mean + if i % (d + 1) == 0 { ridge } else { 0.0 };
        }
        let (own, shift) = whitening(d, covariance, &m.mean())?;
        w.extend(own);
        b.extend(shift);
    }
    params.add(&format!("{name}.w"), Shape([positions as u32, d as u32, d as u32, 1]), false, w)?;
    params.add(&format!("{name}.b"), Shape([positions as u32, d as u32, 1, 1]), false, b)?;
    Ok(())
}
