//! From images to a model: read, fit, write programs, calibrate. One way for all methods.

use super::calibrate::{self, MapPlan, Uncalibrated};
use super::emit::Emit;
use super::error::{Result, TrainError};
use super::features::data::{self, MapPlace};
use super::features::extractor::Extractor;
use super::features::tiles;
use super::job::Job;
use super::method::{Detector, Feature, FeatureRow, Fitting};
use super::observer::Observer;
use super::setup::Setup;
use super::trained::Trained;
use super::training::contrastive::{self, CheckpointsBehind};
use crate::backbones::Backbone;
use crate::graph::{Graph, TensorId};
use crate::op::BatchMean;
use crate::params::Params;
use crate::place::{OwnedProgram, Reuse, place};
use crate::shape::Shape;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Images below which nothing can be fitted: fewer say nothing about spread.
pub(super) const MIN_IMAGES: usize = 5;

/// Trains a detector; `resume` is an earlier checkpoint.
pub(super) fn run(
    detector: &dyn Detector,
    job: &Job<'_>,
    observer: &mut dyn Observer,
    resume: Option<&[u8]>,
) -> Result<Trained> {
    let pipeline = Pipeline { detector, job };
    let Some(options) = job.setup.contrastive else {
        let model = pipeline.fit(observer, resume)?;
        return calibrate::finish(job, model, observer);
    };
    // Says at once whether this backbone can be adapted.
    job.backbone.adaptable()?;
    let mut plain = Params::new();
    let (g, _) = pipeline.features(&mut plain)?;
    let reader = place("features", &g, &plain.layout(), Reuse::Share)?;
    let adapted = contrastive::adapt(job, &reader, &plain.pack(), options, observer, resume)?;
    let job = Job { backbone: &adapted.backbone, ..*job };
    let mut behind = CheckpointsBehind { observer, first: &adapted.checkpoint };
    let mut model = Pipeline { detector, job: &job }.fit(&mut behind, adapted.rest)?;
    model.about.extend(adapted.about);
    calibrate::finish(&job, model, observer)
}

/// What scoring runs.
struct Scoring {
    /// Image to score, and to a map where features have places.
    score: OwnedProgram,
    /// Image to gradient, where they have none.
    localize: Option<OwnedProgram>,
    map: MapPlan,
    top: u32,
}

struct Pipeline<'p> {
    detector: &'p dyn Detector,
    job: &'p Job<'p>,
}

impl Pipeline<'_> {
    /// Emits the image and its features.
    fn emit(&self, g: &mut Graph, params: &mut Params) -> Result<(TensorId, Vec<Feature>)> {
        let image = g.input("image", Shape::chw(3, self.job.setup.size, self.job.setup.size));
        let features = self.detector.features(&mut Emit { job: self.job, g, params }, image)?;
        Ok((image, features))
    }

    /// Program `features`, image to what is modelled.
    fn features(&self, params: &mut Params) -> Result<(Graph, Vec<Feature>)> {
        let mut g = Graph::new();
        let (_, features) = self.emit(&mut g, params)?;
        for feature in &features {
            g.output(&feature.name, feature.tensor);
        }
        Ok((g, features))
    }

    /// Reads the images and fits the model.
    fn fit(&self, observer: &mut dyn Observer, resume: Option<&[u8]>) -> Result<Uncalibrated> {
        let job = self.job;
        let Job { setup, backbone, .. } = *job;
        // Backbone parameters come first in the list, but frozen ones lie behind the trainable range.
        let mut params = Params::new();
        let (g, emitted) = self.features(&mut params)?;
        let rows = rows(&g, &emitted);
        let only_backbone = place("features", &g, &params.layout(), Reuse::Share)?;
        let packed = params.pack();
        let mut extractor = Extractor::new(&only_backbone, &packed, setup, backbone, job.device)?;
        let mut data = match &setup.tiling {
            None => data::read(job, &mut extractor, observer)?,
            Some(tiling) => {
                let maps: Vec<MapPlace> = rows.iter().filter_map(|row| Some((row.place?, row.shape.h()))).collect();
                tiles::read(job, tiling, &maps, &mut extractor, observer)?
            }
        };

        let mut fitting =
            Fitting { job, features: &rows, data: &mut data, params: &mut params, extractor: &mut extractor, observer };
        self.detector.fit(&mut fitting)?;
        let fitted = self.detector.train(&mut fitting, resume)?;
        let mut about = about(setup, backbone, data.digest, job.images.len());
        about.extend(fitted.about);

        let Scoring { score, localize, map, top } = self.scoring(&mut params)?;
        let features = place("features", &self.features(&mut params)?.0, &params.layout(), Reuse::Share)?;
        let mut programs = Vec::new();
        if fitted.programs.is_empty() {
            programs.extend([features, score]);
            programs.extend(localize);
        } else {
            programs.push(score);
            programs.extend(localize);
            programs.push(features);
            programs.extend(fitted.programs);
        }
        Ok(Uncalibrated {
            params,
            programs,
            map,
            tiles_top: top,
            held_out: data.aside,
            epochs: fitted.epochs,
            final_loss: fitted.loss,
            about,
        })
    }

    /// Programs `score`, and `localize` where maps are gradients.
    fn scoring(&self, params: &mut Params) -> Result<Scoring> {
        let setup = self.job.setup;
        let mut g = Graph::new();
        let (_, features) = self.emit(&mut g, params)?;
        let tensors: Vec<TensorId> = features.iter().map(|f| f.tensor).collect();
        let scored = self.detector.score(&mut Emit { job: self.job, g: &mut g, params }, &tensors)?;
        g.output("score", scored.score);
        let (mut plan, mut localize) = (MapPlan::none(), None);
        if let Some(map) = scored.map.filter(|_| setup.makes_maps()) {
            g.output("map", map);
            let place = features.first().and_then(|f| f.place);
            let place = place.ok_or_else(|| TrainError::Internal("a map without a place".to_string()))?;
            plan = MapPlan::program(g.shape(map).h(), place);
        } else if scored.map.is_none() && setup.map {
            plan = MapPlan::gradient();
            localize = Some(self.gradient(params)?);
        }
        let score = place("score", &g, &params.layout(), Reuse::Share)?;
        Ok(Scoring { score, localize, map: plan, top: scored.top })
    }

    /// Program `localize`, image to the gradient of what explains the score.
    fn gradient(&self, params: &mut Params) -> Result<OwnedProgram> {
        let mut g = Graph::new();
        let (image, features) = self.emit(&mut g, params)?;
        let tensors: Vec<TensorId> = features.iter().map(|f| f.tensor).collect();
        let explained = self.detector.explained(&mut Emit { job: self.job, g: &mut g, params }, &tensors)?;
        let loss = g.emit("loss", BatchMean {}, &[explained])?;
        let gradient = g.backward(loss, &[image])?[0].ok_or(TrainError::NoVariation)?;
        g.output("gradient", gradient);
        Ok(place("localize", &g, &params.layout(), Reuse::Share)?)
    }
}

/// Where features lie in a row of them.
fn rows(g: &Graph, features: &[Feature]) -> Vec<FeatureRow> {
    let (mut first, mut first_position) = (0, 0);
    let row = |feature: &Feature| {
        let shape = g.shape(feature.tensor);
        let row = FeatureRow { name: feature.name.clone(), shape, place: feature.place, first, first_position };
        (first, first_position) = (first + shape.len(), first_position + shape.positions());
        row
    };
    features.iter().map(row).collect()
}

/// `key=value` lines that every model carries.
fn about(setup: &Setup, backbone: &Backbone, data_digest: u64, images: usize) -> Vec<(String, String)> {
    let mut about: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: String| about.push((key.to_string(), value));
    add("method", setup.method.to_string());
    add("backbone", backbone.name().to_string());
    add("backbone_digest", format!("{:016x}", backbone.digest()));
    add("preset", setup.preset.as_str().to_string());
    add("seed", setup.seed.to_string());
    add("size", setup.size.to_string());
    if let Some(tiling) = &setup.tiling {
        let (width, height) = tiling.canvas();
        add("canvas", format!("{width}x{height}"));
        add("margin", tiling.margin().to_string());
    }
    if let Some(pooling) = setup.pooling {
        add("pooling", pooling.as_str().to_string());
    }
    add("images", images.to_string());
    add("data_digest", format!("{data_digest:016x}"));
    if let Some(roi) = &setup.roi {
        add("roi", format!("{:.4}", roi.bits().share()));
    }
    add("adflow", crate::VERSION.to_string());
    about
}
