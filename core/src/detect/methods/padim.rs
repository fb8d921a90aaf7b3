//! PaDiM: a Gaussian at each position of a feature map (Defard et al. 2021, "PaDiM").
//!
//! Taps are brought to one grid and concatenated; at each position a Gaussian is fitted (`density/gaussian.rs`). The map is the
//! Mahalanobis distance, enlarged to the pixels that the backbone looked at, and blurred; the score is the mean of the
//! largest distances of the grid. Taps and s, the share of the covariance that all positions have in common, are chosen for
//! each backbone: for `builtin` and MobileNetV2 by measurement on magnetic tiles (`benches/RESULTS.md`); for the others by
//! analogy, not measured. Where taps have many channels, some are drawn once, as the paper does (§III-B), because memory grows
//! with their square.

use crate::backbones::{Backbone, Roles};
use crate::detect::density::gaussian::{emit_white, whiten};
use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::features::grid;
use crate::detect::job::Job;
use crate::detect::method::{Defaults, Definition, Detector, Feature, Fitting, Method, Scored, Tiles};
use crate::graph::TensorId;
use crate::op::{SquareSum, TopMean};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

impl Method {
    /// PaDiM: a Gaussian at each position of a feature map.
    pub const PADIM: Method = Method(&Definition {
        name: "padim",
        number: 3,
        summary: "A Gaussian at each position of a feature map (Defard et al. 2021): trains in seconds",
        tiles: Tiles::Taps(|backbone| [backbone.roles().grid, backbone.roles().colour].concat()),
        can: &[],
        defaults: |backbone, _| Defaults { size: if backbone.roles().trained { 224 } else { 448 }, ..Defaults::COMMON },
        detector: &Padim,
    });
}

/// s, the part of the covariance that all positions share. The few channels of an untrained bank need no help.
fn shared(backbone: &Backbone) -> f64 {
    if backbone.roles().trained { 0.5 } else { 0.0 }
}

/// Share of the grid whose mean distance is the score; 0 is the maximum.
fn top(backbone: &Backbone) -> f64 {
    if backbone.roles().trained { 0.05 } else { 0.0 }
}

/// Taps that are joined.
fn taps(job: &Job<'_>) -> Vec<&'static str> {
    let roles = job.backbone.roles();
    match roles.small {
        _ if job.colour => [roles.grid, roles.colour].concat(),
        Some(small) if job.setup.size <= Roles::SMALL && job.setup.tiling.is_none() => small.to_vec(),
        _ => roles.grid.to_vec(),
    }
}

struct Padim;

impl Detector for Padim {
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
        let taps = taps(e.job);
        let maps = e.backbone(image, &taps)?;
        let maps: Vec<(&str, TensorId)> = taps.into_iter().zip(maps).collect();
        let grid = grid::join(e, "grid", &maps)?;
        let tensor = grid::draw(e, "padim", grid.features, e.job.backbone.roles().grid_channels)?;
        Ok(vec![Feature { name: "features".to_string(), tensor, place: Some(grid.place) }])
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()> {
        let (shared, features) = (shared(fitting.job.backbone), fitting.features);
        whiten(fitting, &features[0], "padim", shared)
    }

    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored> {
        let white = emit_white(e, "padim", "white", features[0])?;
        let distance = e.op("distance", SquareSum { scale: 1.0, per_position: true, root: true }, &[white])?;
        let top = grid::positions(top(e.job.backbone), e.job.setup, e.g.shape(distance).h());
        Ok(Scored { score: e.op("score", TopMean { k: top }, &[distance])?, map: Some(distance), top })
    }
}
