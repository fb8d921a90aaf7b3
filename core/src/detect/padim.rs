//! PaDiM: a Gaussian at each position of a feature map (Defard et al. 2021, "PaDiM").
//!
//! Taps are brought to one grid and concatenated. At position p with mean μ_p and covariance Σ_p over the training images,
//! `Σ̂_p = (1 − s)·Σ_p + s·Σ̄ + ρ·(tr Σ̄/D)·I`, where Σ̄ is the mean over positions: with few images the shared part says
//! more than the own. The map is the Mahalanobis distance `‖L_p⁻¹(x_p − μ_p)‖`, enlarged to the pixels that the backbone
//! looked at, and blurred; the score is the mean of the largest distances of the grid. Taps, s and the share of the grid
//! are chosen for each backbone: for `builtin` and MobileNetV2 by measurement on magnetic tiles (`benches/RESULTS.md`); for the
//! others by analogy, not measured. Where taps have many channels, some are drawn once, as the paper does (§III-B), because
//! memory grows with their square.

use super::calibrate::MapPlan;
use super::data::{self, Extractor};
use super::gauss::whitening;
use super::options::Setup;
use super::{Draft, Images, Observer, Phase, TrainError, about, report};
use crate::backbones::Backbone;
use crate::executor::Device;
use crate::graph::{Graph, TensorId};
use crate::image::GridPlace;
use crate::linalg::Moments;
use crate::op::{Concat, Interpolation, Permute, PositionLinear, Resize, Slice, SquareSum, TopMean};
use crate::params::Params;
use crate::place::{Reuse, place};
use crate::rng::Rng;
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
        _ => common,
    }
}

/// Side of the input where nothing is chosen.
pub(super) fn default_size(backbone: &Backbone) -> u32 {
    recipe(backbone).size
}

/// Taps of an image on the grid of the coarsest, and where that lies.
fn grid(
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
    }
    let image = g.input("image", Shape::chw(3, setup.size, setup.size));
    let maps = backbone.emit(g, params, "backbone.", image, &taps)?;
    let infos = taps.iter().map(|tap| backbone.tap(tap)).collect::<Result<Vec<_>, _>>()?;
    let coarsest = infos.iter().zip(&maps).max_by_key(|(info, _)| info.stride);
    let no_taps = || TrainError::Options(format!("backbone {} has no taps for maps", backbone.name()));
    let (stride, side) = coarsest.map(|(info, &map)| (info.stride, g.shape(map).h())).ok_or_else(no_taps)?;
    let mut first = 0.0;
    let mut joined: Option<TensorId> = None;
    for (i, (map, info)) in maps.into_iter().zip(&infos).enumerate() {
        let shape = g.shape(map);
        // The first step of the grid lies between these steps of the tap; taps differ, so their mean is taken.
        let between = 0.5 * shape.h() as f32 / side as f32 - 0.5;
        first += (backbone.centre(info, setup.size)? + info.stride as f32 * between) / infos.len() as f32;
        let map = if shape.h() == side && shape.w() == side {
            map
        } else {
            g.emit(&format!("grid.tap{i}"), Resize { h: side, w: side, mode: Interpolation::Bilinear }, &[map])?
        };
        joined = Some(match joined {
            None => map,
            Some(other) => g.emit(&format!("grid.join{i}"), Concat {}, &[other, map])?,
        });
    }
    let x = draw(g, params, joined.ok_or_else(no_taps)?, recipe.draw)?;
    Ok((x, GridPlace { first, stride: stride as f32 }))
}

/// `count` of the channels of x, the same ones for every model.
fn draw(g: &mut Graph, params: &mut Params, x: TensorId, count: u32) -> Result<TensorId, TrainError> {
    let channels = g.shape(x).c();
    if count >= channels {
        return Ok(x);
    }
    if params.find("padim.drawn").is_none() {
        let mut order = vec![0; channels as usize];
        Rng::new(0, 0, 0).permutation(&mut order);
        params.add_index("padim.drawn", &order)?;
    }
    let order = g.param(params, "padim.drawn")?;
    let shuffled = g.emit("grid.shuffled", Permute { inverse: false }, &[x, order])?;
    Ok(g.emit("grid.drawn", Slice { first: 0, count }, &[shuffled])?)
}

/// PaDiM is fitted from the features of one view.
pub(super) fn fit(
    images: &dyn Images,
    backbone: &Backbone,
    setup: &Setup,
    device: &dyn Device,
    observer: &mut dyn Observer,
) -> Result<Draft, TrainError> {
    let colour = data::have_colour(images)?;
    let mut params = Params::new();
    let mut g = Graph::new();
    let (x, centres) = grid(&mut g, setup, backbone, &mut params, colour)?;
    let shape = g.shape(x);
    g.output("features", x);
    let features = place("features", &g, &params.layout(), Reuse::Share)?;
    let packed = params.pack();
    let mut extractor = Extractor::new(&features, &packed, data::preprocess(setup, backbone), device)?;
    let data = data::read(images, setup, backbone, setup.train_views, &mut extractor, observer)?;
    let (d, positions) = (shape.c() as usize, shape.positions());
    report(observer, Phase::Train, 0, positions)?;
    let mut moments: Vec<Moments> = vec![Moments::new(d); positions];
    for row in data.train_rows() {
        for (p, m) in moments.iter_mut().enumerate() {
            m.push_strided(&row[p..], positions);
        }
    }
    let recipe = recipe(backbone);
    let covariances: Vec<Vec<f64>> = moments.iter().map(|m| m.covariance(1)).collect();
    let mut shared = vec![0.0; d * d];
    for c in &covariances {
        shared.iter_mut().zip(c).for_each(|(s, c)| *s += c / positions as f64);
    }
    let ridge = RIDGE * shared.iter().step_by(d + 1).sum::<f64>() / d as f64;
    let (mut w, mut b) = (Vec::with_capacity(positions * d * d), Vec::with_capacity(positions * d));
    for (p, (mut covariance, m)) in covariances.into_iter().zip(&moments).enumerate() {
        if p % 32 == 0 {
            report(observer, Phase::Train, p, positions)?;
        }
        for (i, (c, s)) in covariance.iter_mut().zip(&shared).enumerate() {
            *c = (1.0 - recipe.shared) * *c + recipe.shared * s + if i % (d + 1) == 0 { ridge } else { 0.0 };
        }
        let (own, shift) = whitening(d, covariance, &m.mean())?;
        w.extend(own);
        b.extend(shift);
    }
    params.add("padim.w", Shape([positions as u32, d as u32, d as u32, 1]), false, w)?;
    params.add("padim.b", Shape([positions as u32, d as u32, 1, 1]), false, b)?;
    let layout = params.layout();
    let mut score = Graph::new();
    let (x, _) = grid(&mut score, setup, backbone, &mut params, colour)?;
    let (w, b) = (score.param(&params, "padim.w")?, score.param(&params, "padim.b")?);
    let white = score.emit("white", PositionLinear {}, &[x, w, b])?;
    let distance = score.emit("distance", SquareSum { scale: 1.0, per_position: true, root: true }, &[white])?;
    let k = ((recipe.top * positions as f64) as u32).max(1);
    let top = score.emit("score", TopMean { k }, &[distance])?;
    score.output("score", top);
    if setup.map {
        score.output("map", distance);
    }
    let programs = vec![place("features", &g, &layout, Reuse::Share)?, place("score", &score, &layout, Reuse::Share)?];
    let about = about(setup, backbone, data.digest, images.len());
    Ok(Draft {
        params,
        programs,
        map: if setup.map { MapPlan::program(shape.h(), centres) } else { MapPlan::none() },
        held_out: data.held_out,
        epochs: 0,
        final_loss: None,
        about,
    })
}
