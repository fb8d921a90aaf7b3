//! SSNF: 2D flows with attention on feature maps, trained against synthetic anomalies (`training/hinge.rs`). Scores and maps are
//! those of FastFlow.

use crate::detect::anomalies::{self, LevelGrid};
use crate::detect::choices::Preset;
use crate::detect::density::map_flows::{self, Latents, MapTraining, name, seed};
use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::job::Job;
use crate::detect::method::{Ability, Defaults, Definition, Detector, Feature, Fitted, Fitting, Method, Scored, Tiles};
use crate::detect::training::hinge::{self, Hinge};
use crate::flows::Ssnf;
use crate::graph::TensorId;
use crate::op::Adam;
use crate::shape::Shape;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

impl Method {
    /// SSNF: 2D flows on feature maps, trained against synthetic anomalies.
    pub const SSNF: Method = Method(&Definition {
        name: "ssnf",
        number: 8,
        summary: "2D flows over feature maps, trained against synthetic anomalies",
        tiles: Tiles::No("is trained against anomalies in whole images, not tiles"),
        can: &[Ability::Levels],
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

fn latents(e: &mut Emit<'_>, xs: &[TensorId], _: bool) -> Result<Latents> {
    let mut latents = Latents::default();
    for (i, &x) in xs.iter().enumerate() {
        let flow = flow(e.job, e.g.shape(x));
        let normal = flow.normalise(e.g, &name(i), x)?;
        latents.push(flow.forward(e.g, e.params, &name(i), normal)?);
    }
    Ok(latents)
}

/// The loss of each sample, `training/hinge.rs`.
fn loss(e: &mut Emit<'_>, xs: &[TensorId]) -> Result<TensorId> {
    let names: Vec<String> = (0..xs.len()).map(name).collect();
    hinge::loss(e, &names, |e, level| {
        let (name, flow) = (&names[level], flow(e.job, e.g.shape(xs[level])));
        let normal = flow.normalise(e.g, name, xs[level])?;
        let (z, j) = flow.forward_map(e.g, e.params, name, normal)?;
        Ok(flow.likelihood(e.g, name, z, j)?)
    })
}

struct OnMaps;

impl Detector for OnMaps {
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
        map_flows::tap_levels(e, image)
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()> {
        let job = fitting.job;
        for (i, feature) in fitting.features.iter().enumerate() {
            flow(job, feature.shape).init(fitting.params, &name(i), seed(job.setup, i))?;
        }
        Ok(())
    }

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted> {
        let job = fitting.job;
        let grids: Vec<LevelGrid> = fitting.features.iter().filter_map(LevelGrid::of).collect();
        let anomalies = anomalies::make(job, fitting.data, &grids, fitting.extractor, fitting.observer)?;
        let training = MapTraining {
            adam: Adam { clip: 1.0, ..map_flows::ADAM },
            batch: hinge::BATCH,
            noise: 0.0,
            latents,
            loss: Some(loss),
        };
        training
            .fit_with(fitting, resume, &anomalies, |likelihood, anomalies| Box::new(Hinge { likelihood, anomalies }))
    }

    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored> {
        let latents = latents(e, features, false)?;
        map_flows::score(e, &latents.zs)
    }
}
