//! CS-Flow: one flow over the maps of one tap of the image at three scales (Rudolph et al. 2022). The score is half the mean of
//! z² over all latents, the map the product of the scales' energies.

use crate::detect::choices::{MapLevels, Preset};
use crate::detect::density::map_flows::{self, Latents, MapTraining, name};
use crate::detect::error::TrainError;
use crate::detect::features::standardise;
use crate::detect::job::Job;
use crate::detect::method::{Defaults, Definition, Detector, Feature, Fitted, Fitting, Method, Scored, Tiles};
use crate::flows::{CsFlow, SCALES};
use crate::graph::{Graph, TensorId};
use crate::op::{Adam, Interpolation, Resize, ScaleShift};
use crate::params::Params;
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
        pools: false,
        adapts: false,
        levels: true,
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
fn latents(job: &Job<'_>, g: &mut Graph, params: &Params, xs: &[TensorId]) -> Result<Latents, TrainError> {
    let mut maps: [TensorId; SCALES] = core::array::from_fn(|scale| xs[scale]);
    let channels = g.shape(maps[0]).c();
    for (scale, map) in maps.iter_mut().enumerate().filter(|_| job.backbone.standardise_pooled()) {
        let name = name(scale);
        let (scale, shift) = (g.param(params, &format!("{name}.scale"))?, g.param(params, &format!("{name}.shift"))?);
        *map = g.emit(&format!("{name}.standardised"), ScaleShift { inverse: false }, &[*map, scale, shift])?;
    }
    let (zs, j) = flow(job, channels).forward(g, params, "cross", maps)?;
    Ok(Latents { zs: zs.to_vec(), js: vec![j] })
}

struct CrossScale;

impl Detector for CrossScale {
    fn features(
        &self,
        job: &Job<'_>,
        g: &mut Graph,
        params: &mut Params,
        image: TensorId,
    ) -> Result<Vec<Feature>, TrainError> {
        let size = job.setup.size;
        let tap: Vec<&'static str> = job.backbone.roles().levels.last().copied().into_iter().collect();
        let levels = vec![tap.clone(); SCALES];
        let features = map_flows::levels(job, g, params, image, &levels, |g, params, i, x| {
            if i == 0 {
                return Ok(x);
            }
            let side = size >> i;
            let resize = Resize { h: side, w: side, mode: Interpolation::Nearest };
            let small = g.emit(&format!("image.scale{i}"), resize, &[image])?;
            Ok(job.backbone.emit(g, params, "backbone.", small, &tap)?[0])
        })?;
        let sides: Vec<u32> = features.iter().map(|f| g.shape(f.tensor).h()).collect();
        if sides.windows(2).any(|s| s[0] != 2 * s[1]) {
            return Err(TrainError::Options(format!(
                "csflow needs maps that halve from scale to scale: at {size}x{size} pixels {} gives {sides:?}; try a multiple of 128",
                job.backbone.name(),
            )));
        }
        Ok(features)
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<(), TrainError> {
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

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted, TrainError> {
        let job = fitting.job;
        let training = MapTraining {
            adam: Adam { eps: 1e-4, clip: 1.0, ..map_flows::ADAM },
            batch: map_flows::BATCH,
            noise: 0.0,
            latents: &|g, params, xs, _| latents(job, g, params, xs),
            loss: None,
        };
        training.fit(fitting, resume)
    }

    fn score(
        &self,
        job: &Job<'_>,
        g: &mut Graph,
        params: &Params,
        features: &[TensorId],
    ) -> Result<Scored, TrainError> {
        let zs = latents(job, g, params, features)?.zs;
        let map = map_flows::energies(g, job.setup, &zs)?;
        Ok(Scored { score: map_flows::half_mean_square(g, &zs)?, map: Some(map), top: 0 })
    }
}
