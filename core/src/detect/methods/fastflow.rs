//! FastFlow: each map of a backbone normalised over the sample, then a 2D flow of its own (Yu et al. 2021).

use crate::detect::density::map_flows::{self, Latents, MapTraining, name, seed};
use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::method::{Ability, Defaults, Definition, Detector, Feature, Fitted, Fitting, Method, Scored, Tiles};
use crate::flows::FastFlow;
use crate::graph::TensorId;
use alloc::vec::Vec;

impl Method {
    /// FastFlow: 2D flows on feature maps.
    pub const FASTFLOW: Method = Method(&Definition {
        name: "fastflow",
        number: 6,
        summary: "2D flows over feature maps (Yu et al. 2021)",
        tiles: Tiles::Taps(|backbone| backbone.roles().levels.to_vec()),
        can: &[Ability::Levels],
        defaults: |backbone, _| Defaults {
            size: if backbone.roles().trained { 256 } else { 448 },
            learning_rate: 1e-3,
            ..Defaults::COMMON
        },
        detector: &Fast,
    });
}

fn latents(e: &mut Emit<'_>, xs: &[TensorId], _: bool) -> Result<Latents> {
    let mut latents = Latents::default();
    for (i, &x) in xs.iter().enumerate() {
        let flow = FastFlow::paper(e.g.shape(x).c());
        let normal = flow.normalise(e.g, &name(i), x)?;
        latents.push(flow.forward(e.g, e.params, &name(i), normal)?);
    }
    Ok(latents)
}

struct Fast;

impl Detector for Fast {
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
        map_flows::tap_levels(e, image)
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()> {
        for (i, feature) in fitting.features.iter().enumerate() {
            FastFlow::paper(feature.shape.c()).init(fitting.params, &name(i), seed(fitting.job.setup, i))?;
        }
        Ok(())
    }

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted> {
        let training = MapTraining { adam: map_flows::ADAM, batch: map_flows::BATCH, noise: 0.0, latents, loss: None };
        training.fit(fitting, resume)
    }

    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored> {
        let latents = latents(e, features, false)?;
        map_flows::score(e, &latents.zs)
    }
}
