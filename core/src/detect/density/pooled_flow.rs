//! A flow on pooled features: CDNF's flow phase and DifferNet.
//!
//! Features are the means of a frozen backbone's taps at three scales, or means and deviations
//! ([`Pooling`](crate::backbones::Pooling)); a flow maps them to a standard normal; the score is the mean of z² over views and
//! dimensions (cdnf eq 12: the base density only, no log-determinant). The map is the gradient of the full likelihood towards
//! the image.
//!
//! Features of pretrained networks go into the flow as they are, as in the papers. Those of `builtin` are a few hundredths
//! wide, which Adam's ε drowns, so they are standardised per dimension over the training views, `(y − μ)/(sd + 1e-3)`
//! (cdnf §4.8); the log-determinant of that is a constant and left out. Image AUROC on magnetic tiles, grouped, where
//! held-out parts end the training, three seeds: MobileNetV2 as it is 0.832, standardised 0.812; one factor for all
//! dimensions lies between. `builtin` standardised 0.71, with one factor for all dimensions 0.68 (one seed).

use crate::detect::choices::Preset;
use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::features::{pooled, standardise};
use crate::detect::job::Job;
use crate::detect::method::{Defaults, Detector, Feature, Fitted, Fitting, Scored};
use crate::detect::training::batches::FeatureInput;
use crate::detect::training::likelihood::{self, FlowPrograms, Stop};
use crate::flows::FlowError;
use crate::graph::{Graph, TensorId};
use crate::op::{Adam, BatchMean, FlowNll, ScaleShift, SquareSum};
use crate::params::Params;
use crate::shape::Shape;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

/// Views in a batch: 24 images of 4 views in the paper.
const BATCH: usize = 96;

/// DifferNet's optimiser; its ε is as large as many gradients and acts as a regulariser (cdnf §10).
const ADAM: Adam = Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5, clip: 0.0 };

/// A flow on vectors.
pub trait VectorFlow {
    /// Adds the parameters, drawn from a seed.
    fn init(&self, params: &mut Params, seed: u64) -> Result<(), FlowError>;
    /// Emits latent and log-determinant.
    fn forward(&self, g: &mut Graph, params: &Params, x: TensorId) -> Result<(TensorId, TensorId), FlowError>;
    /// Emits what a latent comes from.
    fn inverse(&self, g: &mut Graph, params: &Params, z: TensorId) -> Result<TensorId, FlowError>;
}

/// What is chosen where nothing is said: a few fixed views, or in the paper's setting, `epochs` of fresh rotations and `views`
/// when scoring.
pub fn defaults(preset: Preset, views: u32, epochs: usize) -> Defaults {
    match preset {
        Preset::Fast => Defaults { views: 4, ..Defaults::COMMON },
        Preset::Paper => {
            Defaults { size: 448, views, epochs: Some(epochs), random_rotations: true, ..Defaults::COMMON }
        }
    }
}

/// A method with a flow on pooled features.
pub struct PooledFlow {
    /// The flow for so many dimensions.
    pub flow: fn(dims: u32, preset: Preset) -> Box<dyn VectorFlow>,
}

impl PooledFlow {
    /// The flow for features of this shape.
    fn of(&self, job: &Job<'_>, features: Shape) -> Box<dyn VectorFlow> {
        (self.flow)(features.c(), job.setup.preset)
    }

    /// Emits latent and log-determinant of features.
    fn latent(&self, e: &mut Emit<'_>, features: TensorId) -> Result<(TensorId, TensorId)> {
        let flow = self.of(e.job, e.g.shape(features));
        let mut x = features;
        if e.job.backbone.standardise_pooled() {
            let (scale, shift) = (e.param("features.scale")?, e.param("features.shift")?);
            x = e.op("standardised", ScaleShift { inverse: false }, &[x, scale, shift])?;
        }
        Ok(flow.forward(e.g, e.params, x)?)
    }
}

impl Detector for PooledFlow {
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
        pooled::features(e, image)
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()> {
        let (job, features) = (fitting.job, fitting.features[0].shape);
        self.of(job, features).init(fitting.params, job.setup.seed)?;
        if job.backbone.standardise_pooled() {
            standardise::add(fitting.params, "features", features, fitting.data.train_rows())?;
        }
        Ok(())
    }

    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted> {
        let (job, shape) = (fitting.job, fitting.features[0].shape);
        let train = fitting.program("train", |e| {
            let x = e.g.input("features", shape);
            let nll = self.explained(e, &[x])?;
            let loss = e.op("loss", BatchMean {}, &[nll])?;
            e.g.output("loss", loss);
            Ok(e.g.train(loss, e.params, ADAM)?)
        })?;
        let latent = fitting.program("latent", |e| {
            let x = e.g.input("features", shape);
            let score = self.score(e, &[x])?.score;
            e.g.output("score", score);
            Ok(())
        })?;
        let inverse = fitting.program("inverse", |e| {
            let z = e.g.input("latent", shape);
            let mut x = self.of(job, shape).inverse(e.g, e.params, z)?;
            if job.backbone.standardise_pooled() {
                let (scale, shift) = (e.param("features.sd")?, e.param("features.mean")?);
                x = e.op("features", ScaleShift { inverse: false }, &[x, scale, shift])?;
            }
            e.g.output("features", x);
            Ok(())
        })?;
        let inputs = [FeatureInput { name: "features".to_string(), first: 0, len: shape.len(), noise: 0.0 }];
        let programs =
            FlowPrograms { train: &train, latent: &latent, inputs: &inputs, batch: BATCH, stop: Stop::ScoreRatio };
        let mut fitted = likelihood::fit(fitting, programs, resume, |likelihood| Box::new(likelihood))?;
        fitted.programs.extend([latent, train, inverse]);
        Ok(fitted)
    }

    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored> {
        let (z, _) = self.latent(e, features[0])?;
        let scale = 1.0 / e.g.shape(z).len() as f32;
        let mean_square = SquareSum { scale, per_position: false, root: false };
        Ok(Scored::of_image(e.op("score", mean_square, &[z])?))
    }

    fn explained(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<TensorId> {
        let (z, j) = self.latent(e, features[0])?;
        e.op("nll", FlowNll {}, &[z, j])
    }
}
