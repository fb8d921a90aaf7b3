//! FastFlow: each map of a backbone normalised over the sample, then a 2D flow of its own (Yu et al. 2021).

use crate::detect::density::map_flows::{self, Latents, MapTraining, name, seed};
use crate::detect::error::TrainError;
use crate::detect::job::Job;
use crate::detect::method::{Defaults, Definition, Detector, Feature, Fitted, Fitting, Method, Scored, Tiles};
use crate::flows::FastFlow;
use crate::graph::{Graph, TensorId};
use crate::params::Params;
use alloc::vec;
use alloc::vec::Vec;

impl Method {
    /// FastFlow: 2D flows on feature maps.
    pub const FASTFLOW: Method = Method(&Definition {
        name: "fastflow",
        number: 6,
        summary: "2D flows over feature maps (Yu et al. 2021)",
        tiles: Tiles::Taps(|backbone| backbone.roles().levels.to_vec()),
        pools: false,
        adapts: false,
        levels: true,
        defaults: |backbone, _| Defaults {
            size: if backbone.roles().trained { 256 } else { 448 },
            learning_rate: 1e-3,
            ..Defaults::COMMON
        },
        detector: &Fast,
    });
}

fn latents(g: &mut Graph, params: &Params, xs: &[TensorId]) -> Result<Latents, TrainError> {
    let mut latents = Latents::default();
    for (i, &x) in xs.iter().enumerate() {
        let flow = FastFlow::paper(g.shape(x).c());
        let normal = flow.normalise(g, &name(i), x)?;
        latents.push(flow.forward(g, params, &name(i), normal)?);
    }
    Ok(latents)
}

struct Fast;

impl Detector for Fast {
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
        for (i, feature) in fitting.features.iter().enumerate() {
            FastFlow::paper(feature.shape.c()).init(fitting.params, &name(i), seed(fitting.job.setup, i))?;
        }
        Ok(())
    }

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted, TrainError> {
        let training = MapTraining {
            adam: map_flows::ADAM,
            batch: map_flows::BATCH,
            noise: 0.0,
            latents: &|g, params, xs, _| latents(g, params, xs),
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
        let latents = latents(g, params, features)?;
        map_flows::score(g, job.setup, &latents.zs)
    }
}
