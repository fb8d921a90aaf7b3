//! Several taps of a backbone on one grid: each brought to the coarsest's, their channels concatenated; where those are too many,
//! some drawn at random (PaDiM).

use crate::backbones::TapInfo;
use crate::detect::emit::Emit;
use crate::detect::error::{Result, TrainError};
use crate::detect::setup::Setup;
use crate::graph::TensorId;
use crate::image::GridPlace;
use crate::op::{Concat, Interpolation, Permute, Resize, Slice};
use crate::rng::Rng;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

/// Joined taps and where their steps lie in the image.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub features: TensorId,
    pub place: GridPlace,
}

/// Joins maps of a backbone that are named after their taps; new tensors are called `name` and so on.
pub fn join(e: &mut Emit<'_>, name: &str, maps: &[(&str, TensorId)]) -> Result<Grid> {
    let (backbone, setup) = (e.job.backbone, e.job.setup);
    let infos = maps.iter().map(|(tap, _)| backbone.tap(tap)).collect::<Result<Vec<TapInfo>, _>>()?;
    let coarsest = infos.iter().zip(maps).max_by_key(|(info, _)| info.stride);
    let no_taps = || TrainError::Options(format!("backbone {} has no taps for maps", backbone.name()));
    let (stride, side) = coarsest.map(|(info, map)| (info.stride, e.g.shape(map.1).h())).ok_or_else(no_taps)?;
    let mut first = 0.0;
    let mut joined: Option<TensorId> = None;
    for (i, (&(_, map), info)) in maps.iter().zip(&infos).enumerate() {
        let shape = e.g.shape(map);
        // The first step of the grid lies between these steps of the tap; taps differ, so their mean is taken.
        let between = 0.5 * shape.h() as f32 / side as f32 - 0.5;
        first += (backbone.centre(info, setup.size)? + info.stride as f32 * between) / infos.len() as f32;
        let map = if shape.h() == side && shape.w() == side {
            map
        } else {
            e.op(&format!("{name}.tap{i}"), Resize { h: side, w: side, mode: Interpolation::Bilinear }, &[map])?
        };
        joined = Some(match joined {
            None => map,
            Some(other) => e.op(&format!("{name}.join{i}"), Concat {}, &[other, map])?,
        });
    }
    let place = GridPlace { first, stride: stride as f32 };
    joined.map(|features| Grid { features, place }).ok_or_else(no_taps)
}

/// `count` of the channels of x, the same ones for every model, where it has more. The order is parameter `name.drawn`.
pub fn draw(e: &mut Emit<'_>, name: &str, x: TensorId, count: u32) -> Result<TensorId> {
    let channels = e.g.shape(x).c();
    if count >= channels {
        return Ok(x);
    }
    let drawn = format!("{name}.drawn");
    if e.params.find(&drawn).is_none() {
        let mut order = vec![0; channels as usize];
        Rng::new(0, 0, 0).permutation(&mut order);
        e.params.add_index(&drawn, &order)?;
    }
    let order = e.param(&drawn)?;
    let shuffled = e.op(&format!("{name}.shuffled"), Permute { inverse: false }, &[x, order])?;
    e.op(&format!("{name}.drawn"), Slice { first: 0, count }, &[shuffled])
}

/// How many positions of a map with `side` steps in a row a share of it is, at least 1; with tiles, of a tile's middle, or of the
/// canvas where that is smaller: a defect is as large on a large canvas as on a small one.
pub fn positions(share: f64, setup: &Setup, side: u32) -> u32 {
    let mut all = f64::from(side) * f64::from(side);
    if let Some(tiling) = &setup.tiling {
        let steps = |pixels: u32| libm::ceil(f64::from(pixels) * f64::from(side) / f64::from(tiling.side()));
        let (owned, canvas) = (steps(tiling.owned()), tiling.canvas());
        all = (owned * owned).min(steps(canvas.0) * steps(canvas.1));
    }
    ((share * all) as u32).max(1)
}
