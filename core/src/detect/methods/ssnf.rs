//! SSNF: 2D flows with attention on feature maps, trained against synthetic anomalies (`training/hinge.rs`). Scores and maps are
//! those of FastFlow.

use crate::detect::anomalies::{self, LevelGrid};
use crate::detect::choices::Preset;
use crate::detect::density::map_flows::{self, Latents, MapTraining, name, seed};
use crate::detect::error::TrainError;
use crate::detect::job::Job;
use crate::detect::method::{Defaults, Definition, Detector, Feature, Fitted, Fitting, Method, Scored, Tiles};
use crate::detect::training::hinge::{self, Hinge};
use crate::flows::Ssnf;
use crate::graph::{Graph, TensorId};
use crate::op::Adam;
use crate::params::Params;
use crate::shape::Shape;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

impl Method {
    /// SSNF: 2D flows on feature maps, trained against synthetic anomalies.
    pub const SSNF: Method = Method(&Definition {
        name: "ssnf",
        number: 8,
        summary: "2D flows over feature maps, trained against synthetic anomalies",
        tiles: Tiles::No("is trained against anomalies in whole images, not tiles"),
        pools: false,
        adapts: false,
        levels: true,
        defaults: |backbone, preset| {
            let (size, learning_rate) = match preset {
                Preset::Paper => (256, 5e-4),
                Preset::Fast => (128, 2e-3),
            };
            let size = if backbone.roles().trained { size } else { 448 };
            Defaults { size, learning_rate, ..Defaults::COMMON }
        },
        detector: &OnMaps,
    });
}

/// The flow of a level. Over 32×32 positions attention takes most of the time of a step, which only the one map of an untrained
/// bank is worth.
fn flow(job: &Job<'_>, map: Shape) -> Ssnf {
    let most = job.setup.preset == Preset::Paper || !job.backbone.roles().trained;
    Ssnf::for_map(map, if most { 1024 } else { 256 })
}

fn latents(job: &Job<'_>, g: &mut Graph, params: &Params, xs: &[TensorId]) -> Result<Latents, TrainError> {
    let mut latents = Latents::default();
    for (i, &x) in xs.iter().enumerate() {
        let flow = flow(job, g.shape(x));
        let normal = flow.normalise(g, &name(i), x)?;
        latents.push(flow.forward(g, params, &name(i), normal)?);
    }
    Ok(latents)
}

/// The loss of each sample, `training/hinge.rs`.
fn loss(job: &Job<'_>, g: &mut Graph, params: &Params, xs: &[TensorId]) -> Result<TensorId, TrainError> {
    let names: Vec<String> = (0..xs.len()).map(name).collect();
    hinge::loss(g, &names, |g, level| {
        let (name, flow) = (&names[level], flow(job, g.shape(xs[level])));
        let normal = flow.normalise(g, name, xs[level])?;
        let (z, j) = flow.forward_map(g, params, name, normal)?;
        Ok(flow.likelihood(g, name, z, j)?)
    })
}

struct OnMaps;

impl Detector for OnMaps {
    fn features(
        &self,
        job: &Job<'_>,
        g: &mut Graph,
        params: &mut Params,
        image: TensorId,
    ) -> Result<Vec<Feature>, TrainError> {
        let levels: Vec<_> = job.backbone.roles().levels.iter().map(|&tap| vec![tap]).collect();
        map_flows::levels(job, g, params, image, &levels, |_, _, _, x| Ok(x))
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<(), TrainError> {
        let job = fitting.job;
        for (i, feature) in fitting.features.iter().enumerate() {
            flow(job, feature.shape).init(fitting.params, &name(i), seed(job.setup, i))?;
        }
        Ok(())
    }

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted, TrainError> {
        let job = fitting.job;
        let grids: Vec<LevelGrid> = fitting.features.iter().filter_map(LevelGrid::of).collect();
        let anomalies = anomalies::make(job, fitting.data, &grids, fitting.extractor, fitting.observer)?;
        let training = MapTraining {
            adam: Adam { clip: 1.0, ..map_flows::ADAM },
            batch: hinge::BATCH,
            noise: 0.0,
            latents: &|g, params, xs, _| latents(job, g, params, xs),
            loss: Some(&|g, params, xs| loss(job, g, params, xs)),
        };
        training
            .fit_with(fitting, resume, &anomalies, |likelihood, anomalies| Box::new(Hinge { likelihood, anomalies }))
    }

    fn score(
        &self,
        job: &Job<'_>,
        g: &mut Graph,
        params: &Params,
        features: &[TensorId],
    ) -> Result<Scored, TrainError> {
        let latents = latents(job, g, params, features)?;
        map_flows::score(g, job.setup, &latents.zs)
    }
}
