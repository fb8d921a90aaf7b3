//! CS-Flow: one flow over the maps of one tap of the image at three scales (Rudolph et al. 2022). The score is half the mean of
//! z² over all latents, the map the product of the scales' energies.

use crate::detect::choices::{MapLevels, Preset};
use crate::detect::density::map_flows::{self, Latents, MapTraining, name};
use crate::detect::emit::Emit;
use crate::detect::error::{Result, TrainError};
use crate::detect::features::standardise;
use crate::detect::job::Job;
use crate::detect::method::{Ability, Defaults, Definition, Detector, Feature, Fitted, Fitting, Method, Scored, Tiles};
use crate::flows::{CsFlow, SCALES};
use crate::graph::TensorId;
use crate::op::{Adam, Interpolation, Resize, ScaleShift};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

impl Method {
    /// CS-Flow: one flow over feature maps at three scales.
    pub const CSFLOW: Method = Method(&Definition {
        name: "csflow",
        number: 7,
        summary: "One flow over feature maps at three scales (Rudolph et al. 2022)",
        tiles: Tiles::Taps(|backbone| backbone.roles().levels.last().copied().into_iter().collect()),
        can: &[Ability::Levels],
        defaults: |_, preset| {
            let defaults = Defaults { size: 256, map_levels: MapLevels::Product, ..Defaults::COMMON };
            match preset {
                Preset::Fast => defaults,
                Preset::Paper => Defaults { size: 768, epochs: Some(240), ..defaults },
            }
        },
        detector: &CrossScale,
    });
}

/// The flow for maps of so many channels.
fn flow(job: &Job<'_>, channels: u32) -> CsFlow {
    let width = if job.setup.preset == Preset::Paper { 1024 } else { 64 };
    CsFlow { width, ..CsFlow::paper(channels) }
}

/// Latents of all scales. Features are standardised per channel where they are a few hundredths wide, as those of `builtin`,
/// which Adam's ε would drown.
fn latents(e: &mut Emit<'_>, xs: &[TensorId], _: bool) -> Result<Latents> {
    let mut maps: [TensorId; SCALES] = core::array::from_fn(|scale| xs[scale]);
    let standardised = e.job.backbone.standardise_pooled();
    let channels = e.g.shape(maps[0]).c();
    for (scale, map) in maps.iter_mut().enumerate().filter(|_| standardised) {
        let name = name(scale);
        let (scale, shift) = (e.param(&format!("{name}.scale"))?, e.param(&format!("{name}.shift"))?);
        *map = e.op(&format!("{name}.standardised"), ScaleShift { inverse: false }, &[*map, scale, shift])?;
    }
    let (zs, j) = flow(e.job, channels).forward(e.g, e.params, "cross", maps)?;
    Ok(Latents { zs: zs.to_vec(), js: vec![j] })
}

struct CrossScale;

impl Detector for CrossScale {
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
        let Job { setup, backbone, .. } = *e.job;
        let size = setup.size;
        let tap: Vec<&'static str> = backbone.roles().levels.last().copied().into_iter().collect();
        let levels = vec![tap.clone(); SCALES];
        let features = map_flows::levels(e, image, &levels, |e, i, x| {
            if i == 0 {
                return Ok(x);
            }
            let side = size >> i;
            let resize = Resize { h: side, w: side, mode: Interpolation::Nearest };
            let small = e.op(&format!("image.scale{i}"), resize, &[image])?;
            Ok(e.backbone(small, &tap)?[0])
        })?;
        let sides: Vec<u32> = features.iter().map(|f| e.g.shape(f.tensor).h()).collect();
        if sides.windows(2).any(|s| s[0] != 2 * s[1]) {
            return Err(TrainError::Options(format!(
                "csflow needs maps that halve from scale to scale: at {size}x{size} pixels {} gives {sides:?}; try a multiple of 128",
                backbone.name(),
            )));
        }
        Ok(features)
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()> {
        let job = fitting.job;
        for (i, feature) in fitting.features.iter().enumerate() {
            let rows = fitting.data.train_rows().map(|row| &row[feature.first..][..feature.shape.len()]);
            if job.backbone.standardise_pooled() {
                standardise::add(fitting.params, &name(i), feature.shape, rows)?;
            }
            if i == 0 {
                flow(job, feature.shape.c()).init(fitting.params, "cross", job.setup.seed)?;
            }
        }
        Ok(())
    }

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted> {
        let training = MapTraining {
            adam: Adam { eps: 1e-4, clip: 1.0, ..map_flows::ADAM },
            batch: map_flows::BATCH,
            noise: 0.0,
            latents,
            loss: None,
        };
        training.fit(fitting, resume)
    }

    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored> {
        let zs = latents(e, features, false)?.zs;
        let map = map_flows::energies(e, &zs)?;
        Ok(Scored { score: map_flows::half_mean_square(e, &zs)?, map: Some(map), top: 0 })
    }
}
