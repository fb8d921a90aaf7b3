//! Flow detectors: CDNF's flow phase and DifferNet.
//!
//! Features are the means of a frozen backbone's taps at three scales, or means and deviations ([`Pooling`](super::Pooling)); a
//! flow maps them to a standard normal; the score is
//! the mean of z² over views and dimensions (cdnf eq 12: the base density only, no log-determinant). The map is the
//! gradient of the full likelihood towards the image.
//!
//! Features of pretrained networks go into the flow as they are, as in the papers. Those of `builtin` are a few hundredths
//! wide, which Adam's ε drowns, so they are standardised per dimension over the training views, `(y − μ)/(sd + 1e-3)`
//! (cdnf §4.8); the log-determinant of that is a constant and left out. Image AUROC on magnetic tiles, grouped, where
//! held-out parts end the training, three seeds: MobileNetV2 as it is 0.832, standardised 0.812; one factor for all
//! dimensions lies between. `builtin` standardised 0.71, with one factor for all dimensions 0.68 (one seed).

use super::calibrate::MapPlan;
use super::data;
use super::extractor::Extractor;
use super::fit_flow::{self, FlowInput, FlowPrograms, Stop};
use super::options::Setup;
use super::standardise;
use super::{Draft, Images, Method, Observer, Preset, TrainError, about};
use crate::backbones::Backbone;
use crate::executor::Device;
use crate::flows::{self, DenseFlow, DifferNetFlow};
use crate::graph::{Graph, TensorId};
use crate::op::{Adam, BatchMean, FlowNll, ScaleShift, SquareSum};
use crate::params::Params;
use crate::place::{OwnedProgram, Reuse, place};
use crate::shape::Shape;
use alloc::string::ToString;
use alloc::vec;

/// Scales of the image: full, half, quarter.
pub(super) const SCALES: u32 = 3;

/// Views in a batch: 24 images of 4 views in the paper.
const BATCH: usize = 96;

/// The flow of a method.
#[derive(Clone, Copy, Debug)]
enum Flow {
    Dense(DenseFlow),
    DifferNet(DifferNetFlow),
}

impl Flow {
    fn of(setup: &Setup, dims: u32) -> Flow {
        match (setup.method, setup.preset) {
            (Method::DifferNet, Preset::Paper) => Flow::DifferNet(DifferNetFlow::paper(dims)),
            // A quarter of the width, a tenth of the parameters: DifferNet's advice for small machines.
            (Method::DifferNet, Preset::Fast) => {
                Flow::DifferNet(DifferNetFlow { width: 512, ..DifferNetFlow::paper(dims) })
            }
            (
                Method::Cdnf
                | Method::PosFlow
                | Method::FastFlow
                | Method::CsFlow
                | Method::Ssnf
                | Method::Padim
                | Method::Gauss,
                _,
            ) => Flow::Dense(DenseFlow::paper(dims)),
        }
    }

    fn init(&self, params: &mut Params, seed: u64) -> Result<(), flows::FlowError> {
        match self {
            Flow::Dense(f) => f.init(params, seed),
            Flow::DifferNet(f) => f.init(params, seed),
        }
    }

    fn forward(&self, g: &mut Graph, params: &Params, x: TensorId) -> Result<(TensorId, TensorId), flows::FlowError> {
        match self {
            Flow::Dense(f) => f.forward(g, params, x),
            Flow::DifferNet(f) => f.forward(g, params, x),
        }
    }

    fn inverse(&self, g: &mut Graph, params: &Params, z: TensorId) -> Result<TensorId, flows::FlowError> {
        match self {
            Flow::Dense(f) => f.inverse(g, params, z),
            Flow::DifferNet(f) => f.inverse(g, params, z),
        }
    }
}

/// The image input and its pooled features.
pub(super) fn pooled(
    g: &mut Graph,
    setup: &Setup,
    backbone: &Backbone,
    params: &mut Params,
) -> Result<(TensorId, TensorId), TrainError> {
    let image = g.input("image", Shape::chw(3, setup.size, setup.size));
    let y = backbone.pooled(g, params, "backbone.", image, SCALES, backbone.pooled_taps(), setup.pooling)?;
    Ok((image, y))
}

/// Program `features`: image to pooled features. Adds the backbone's parameters.
pub(super) fn features_program(
    setup: &Setup,
    backbone: &Backbone,
    params: &mut Params,
) -> Result<OwnedProgram, TrainError> {
    let mut g = Graph::new();
    let (_, y) = pooled(&mut g, setup, backbone, params)?;
    g.output("features", y);
    Ok(place("features", &g, &params.layout(), Reuse::Share)?)
}

/// What the flow sees of features.
fn flow_input(g: &mut Graph, params: &Params, backbone: &Backbone, y: TensorId) -> Result<TensorId, TrainError> {
    if !backbone.standardise_pooled() {
        return Ok(y);
    }
    let (scale, shift) = (g.param(params, "features.scale")?, g.param(params, "features.shift")?);
    Ok(g.emit("standardised", ScaleShift { inverse: false }, &[y, scale, shift])?)
}

/// The mean of z², the score of one view.
fn score(g: &mut Graph, z: TensorId) -> Result<TensorId, TrainError> {
    let scale = 1.0 / g.shape(z).len() as f32;
    Ok(g.emit("score", SquareSum { scale, per_position: false, root: false }, &[z])?)
}

pub(super) fn fit(
    images: &dyn Images,
    backbone: &Backbone,
    setup: &Setup,
    device: &dyn Device,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Draft, TrainError> {
    // Backbone parameters first in the list, but frozen ones lie behind the trainable range.
    let mut params = Params::new();
    let only_backbone = features_program(setup, backbone, &mut params)?;
    let dims = {
        let p = only_backbone.program();
        p.find("features").map_or(0, |t| p.tensor_type(t).shape.c())
    };
    let packed = params.pack();
    let mut extractor = Extractor::new(&only_backbone, &packed, setup, backbone, device)?;
    let data = data::read(images, setup, backbone, setup.train_views, &[], &mut extractor, observer)?;

    let flow = Flow::of(setup, dims);
    flow.init(&mut params, setup.seed)?;
    if backbone.standardise_pooled() {
        standardise::add(&mut params, "features", Shape::vector(data.len as u32), data.train_rows())?;
    }
    let layout = params.layout();

    let mut g = Graph::new();
    let x = g.input("features", Shape::vector(dims));
    let x = flow_input(&mut g, &params, backbone, x)?;
    let (z, j) = flow.forward(&mut g, &params, x)?;
    let nll = g.emit("nll", FlowNll {}, &[z, j])?;
    let loss = g.emit("loss", BatchMean {}, &[nll])?;
    g.output("loss", loss);
    // DifferNet's optimiser; its ε is as large as many gradients and acts as a regulariser (cdnf §10).
    g.train(loss, &params, Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5, clip: 0.0 })?;
    let train = place("train", &g, &layout, Reuse::Share)?;

    let mut g = Graph::new();
    let x = g.input("features", Shape::vector(dims));
    let x = flow_input(&mut g, &params, backbone, x)?;
    let (z, _) = flow.forward(&mut g, &params, x)?;
    let s = score(&mut g, z)?;
    g.output("score", s);
    let latent = place("latent", &g, &layout, Reuse::Share)?;

    let mut g = Graph::new();
    let z = g.input("latent", Shape::vector(dims));
    let mut x = flow.inverse(&mut g, &params, z)?;
    if backbone.standardise_pooled() {
        let (scale, shift) = (g.param(&params, "features.sd")?, g.param(&params, "features.mean")?);
        x = g.emit("features", ScaleShift { inverse: false }, &[x, scale, shift])?;
    }
    g.output("features", x);
    let inverse = place("inverse", &g, &layout, Reuse::Share)?;

    let mut g = Graph::new();
    let (_, y) = pooled(&mut g, setup, backbone, &mut params)?;
    let y = flow_input(&mut g, &params, backbone, y)?;
    let (z, _) = flow.forward(&mut g, &params, y)?;
    let s = score(&mut g, z)?;
    g.output("score", s);
    let score = place("score", &g, &layout, Reuse::Share)?;

    let mut programs = vec![score];
    if setup.map {
        let mut g = Graph::new();
        let (image, y) = pooled(&mut g, setup, backbone, &mut params)?;
        let y = flow_input(&mut g, &params, backbone, y)?;
        let (z, j) = flow.forward(&mut g, &params, y)?;
        let nll = g.emit("nll", FlowNll {}, &[z, j])?;
        let loss = g.emit("loss", BatchMean {}, &[nll])?;
        let gradient = g.backward(loss, &[image])?[0].ok_or(TrainError::NoVariation)?;
        g.output("gradient", gradient);
        programs.push(place("localize", &g, &layout, Reuse::Share)?);
    }

    let inputs = [FlowInput { name: "features".to_string(), first: 0, len: data.len, noise: 0.0 }];
    let flow_programs = FlowPrograms {
        train: &train,
        latent: &latent,
        inputs: &inputs,
        batch: BATCH,
        stop: Stop::ScoreRatio,
        synthetic: None,
    };
    let mut about = about(setup, backbone, data.digest, images.len());
    let fitted = fit_flow::fit(
        images,
        backbone,
        setup,
        &data,
        &mut params,
        flow_programs,
        &mut extractor,
        device,
        observer,
        resume,
    )?;
    about.push(("epochs".to_string(), fitted.epochs.to_string()));
    about.push(("learning_rate".to_string(), setup.learning_rate.to_string()));
    let mut g = Graph::new();
    let (_, y) = pooled(&mut g, setup, backbone, &mut params)?;
    g.output("features", y);
    programs.push(place("features", &g, &layout, Reuse::Share)?);
    programs.extend([latent, train, inverse]);
    Ok(Draft {
        params,
        programs,
        map: if setup.map { MapPlan::gradient() } else { MapPlan::none() },
        tiles_top: 0,
        held_out: data.aside,
        epochs: fitted.epochs,
        final_loss: Some(fitted.loss),
        about,
    })
}
