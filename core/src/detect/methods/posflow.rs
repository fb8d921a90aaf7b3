//! A position-conditioned flow on whitened feature maps: ours.
//!
//! Taps joined to a grid are whitened at each position by a Gaussian of its own (`density/gaussian.rs`); a [`PositionFlow`]
//! shared by all positions and told where it is maps the result to a standard normal, with noise on its input in training. It
//! starts as the identity, so an untrained detector is PaDiM with squared distances. Where images are cut into tiles all
//! positions share one Gaussian, and the flow is not told where it is.

use crate::detect::density::gaussian::{emit_white, whiten};
use crate::detect::density::map_flows::{self, Latents, MapTraining, name};
use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::features::grid;
use crate::detect::method::{Ability, Defaults, Definition, Detector, Feature, Fitted, Fitting, Method, Scored, Tiles};
use crate::flows::PositionFlow;
use crate::graph::TensorId;
use crate::op::{Adam, Add, Repeat};
use crate::shape::Shape;
use alloc::format;
use alloc::vec::Vec;

impl Method {
    /// A position-conditioned flow on whitened feature maps.
    pub const POSFLOW: Method = Method(&Definition {
        name: "posflow",
        number: 5,
        summary: "A flow over feature maps, conditioned on the position",
        tiles: Tiles::Taps(|backbone| [backbone.grids().concat(), backbone.roles().colour.to_vec()].concat()),
        can: &[Ability::Levels],
        defaults: |backbone, _| Defaults {
            size: if backbone.roles().trained { 224 } else { 448 },
            learning_rate: 2e-3,
            ..Defaults::COMMON
        },
        detector: &PosFlow,
    });
}

/// Deviation of the noise on whitened features.
const NOISE: f32 = 0.1;
/// Most channels of a whitened level; more are drawn from.
const CHANNELS: u32 = 160;
/// Blocks of a position flow.
const BLOCKS: u32 = 6;

/// The position flow of a level with so many channels.
fn flow(channels: u32) -> PositionFlow {
    PositionFlow { channels, blocks: BLOCKS, width: 2 * channels, depth: 0, clamp: 1.0, zero_last: true }
}

fn latents(e: &mut Emit<'_>, xs: &[TensorId], noisy: bool) -> Result<Latents> {
    let mut latents = Latents::default();
    for (i, &x) in xs.iter().enumerate() {
        let (name, shape) = (name(i), e.g.shape(x));
        let mut white = emit_white(e, &name, &format!("{name}.white"), x)?;
        if noisy {
            let noise = e.g.input(&format!("noise.{name}"), shape);
            white = e.op(&format!("{name}.noisy"), Add {}, &[white, noise])?;
        }
        let code = e.param(&format!("{name}.code"))?;
        let code = e.op(&format!("{name}.codes"), Repeat {}, &[code])?;
        latents.push(flow(shape.c()).forward(e.g, e.params, &name, white, code)?);
    }
    Ok(latents)
}

struct PosFlow;

impl Detector for PosFlow {
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
        let colour = if e.job.colour { e.job.backbone.roles().colour } else { &[] };
        let taps: Vec<_> = e.job.backbone.grids().into_iter().map(|taps| [taps, colour].concat()).collect();
        map_flows::levels(e, image, &taps, |e, i, x| grid::draw(e, &name(i), x, CHANNELS))
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()> {
        let (job, features) = (fitting.job, fitting.features);
        let tiles = job.setup.tiling.is_some();
        for (i, feature) in features.iter().enumerate() {
            let (name, shape) = (name(i), feature.shape);
            // Where taps of a trained network are joined, a position's own covariance has too many numbers.
            let own = !job.backbone.roles().trained || (i == 0 && features.len() > 1);
            whiten(fitting, feature, &name, if own { 0.0 } else { 0.5 })?;
            let mut code = PositionFlow::code(shape.h(), shape.w());
            if tiles {
                // A tile may lie anywhere.
                code.fill(0.0);
            }
            let shape_of_code = Shape::chw(PositionFlow::CODE, shape.h(), shape.w());
            fitting.params.add(&format!("{name}.code"), shape_of_code, false, code)?;
            flow(shape.c()).init(fitting.params, &name, job.setup.seed)?;
            if tiles {
                // The rims of tiles, which see zeros, would teach the flow what it is never asked about.
                fitting.data.fill(shape.c() as usize, shape.positions(), feature.first, feature.first_position);
            }
        }
        Ok(())
    }

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted> {
        let training = MapTraining {
            adam: Adam { weight_decay: 0.0, clip: 1.0, ..map_flows::ADAM },
            batch: map_flows::BATCH,
            noise: NOISE,
            latents,
            loss: None,
        };
        training.fit(fitting, resume)
    }

    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored> {
        let latents = latents(e, features, false)?;
        map_flows::score(e, &latents.zs)
    }
}
