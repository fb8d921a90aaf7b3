//! Compares several methods under one protocol: the same images, seeds, figures and timing for each.
//!
//! Every method is trained once with each seed and measured by `evaluate`. Figures are means over seeds. The interval of the image
//! AUROC is that of the mean and reflects the choice of test images; the standard deviation reflects the seeds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adflow::backbones::Backbone;
use adflow::detect::{Images as _, Method, Pooling, TrainOptions, Trained};
use adflow::model::OwnedModel;
use serde::Serialize;

use crate::compute::Compute;
use crate::dataset::{Listing, TestImage};
use crate::evaluate::{self, Counts, Evaluation, Figures};
use crate::failure::{Context, Failure, INTERRUPTED, Outcome};
use crate::progress::note;
use crate::training::{self, OtherImages, Training};
use crate::training_images::TrainingImages;

/// Mean and standard deviation over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    /// Standard deviation of the sample (n − 1); none for one seed.
    pub sd: Option<f64>,
}

impl Spread {
    /// Mean and deviation of the values; none if a value is undefined or there are no values.
    fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.collect::<Option<_>>()?;
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (n > 0.0).then(|| Self { mean, sd: (n > 1.0).then(|| (squares / (n - 1.0)).sqrt()) })
    }
}

/// Result of a comparison: what `--json` writes.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub data: PathBuf,
    pub backbone: String,
    pub seeds: Vec<u64>,
    pub images: Counts,
    pub device: String,
    pub threads: usize,
    pub methods: Vec<Row>,
}

/// Figures of one method.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    pub method: String,
    /// Why the method failed and has no figures.
    pub error: Option<String>,
    pub image_auroc: Option<Spread>,
    /// 95 % interval of the mean over seeds, by bootstrap over images.
    pub image_auroc_interval: Option<[f64; 2]>,
    pub image_ap: Option<Spread>,
    pub f1_max: Option<Spread>,
    pub pixel_auroc: Option<Spread>,
    pub pixel_ap: Option<Spread>,
    pub aupro: Option<Spread>,
    /// Median time to score one image, in milliseconds.
    pub ms_per_image: Option<Spread>,
    pub model_bytes: Option<usize>,
    /// Seconds of training without reading the images; none for a model that existed already.
    pub train_seconds: Option<Spread>,
    pub classes: BTreeMap<String, ClassRow>,
    pub runs: Vec<SeedRun>,
}

/// Figures of one method on one folder of test images.
#[derive(Debug, Serialize)]
pub struct ClassRow {
    pub images: usize,
    pub image_auroc: Option<Spread>,
    pub pixel_auroc: Option<Spread>,
    pub aupro: Option<Spread>,
}

/// One training of a method, with one seed, and what it measured.
#[derive(Debug, Serialize)]
pub struct SeedRun {
    pub seed: u64,
    pub model_bytes: usize,
    pub epochs: usize,
    #[serde(flatten)]
    pub figures: Figures,
    #[serde(skip)]
    scores: Vec<f32>,
}

impl Row {
    fn new(method: Method, runs: Vec<SeedRun>, labels: &[bool], error: Option<String>) -> Self {
        let mut row = Self { method: method.to_string(), ..Self::default() };
        if let (Some(first), None) = (runs.first(), &error) {
            let over = |f: &dyn Fn(&Figures) -> Option<f64>| Spread::of(runs.iter().map(|run| f(&run.figures)));
            let scores: Vec<&[f32]> = runs.iter().map(|run| &run.scores[..]).collect();
            row.image_auroc = over(&|f| f.image_auroc);
            row.image_auroc_interval = evaluate::auroc_interval(&scores, labels);
            row.image_ap = over(&|f| f.image_ap);
            row.f1_max = over(&|f| f.f1_max);
            row.pixel_auroc = over(&|f| f.pixel_auroc);
            row.pixel_ap = over(&|f| f.pixel_ap);
            row.aupro = over(&|f| f.aupro);
            row.ms_per_image = over(&|f| Some(f.ms_per_image.p50));
            row.model_bytes = runs.iter().map(|run| run.model_bytes).max();
            row.train_seconds = over(&|f| f.train_seconds);
            for (name, class) in &first.figures.classes {
                let class = ClassRow {
                    images: class.images,
                    image_auroc: over(&|f| f.classes.get(name)?.image_auroc),
                    pixel_auroc: over(&|f| f.classes.get(name)?.pixel_auroc),
                    aupro: over(&|f| f.classes.get(name)?.aupro),
                };
                row.classes.insert(name.clone(), class);
            }
        }
        Self { error, runs, ..row }
    }
}

/// What all trainings of a comparison share.
pub struct Protocol<'a> {
    pub data: &'a Path,
    pub images: &'a TrainingImages,
    pub test: &'a Listing<TestImage>,
    pub backbone: &'a Backbone,
    /// Options of each training; method and seed are replaced, and options that a method does not have are left out.
    pub options: TrainOptions,
    pub compute: &'a Compute,
    /// Folder to keep the models in, if any.
    pub models: Option<&'a Path>,
    /// Whether to use models and checkpoints that exist already in `models`.
    pub resume: bool,
}

impl Protocol<'_> {
    /// Trains and measures each method with each seed; the second value is true when Ctrl-C ended it early. `show` is
    /// given the evaluation of each method's first seed, `keep` all rows so far after each method.
    pub fn run(
        &self,
        methods: &[Method],
        seeds: &[u64],
        show: &mut dyn FnMut(Method, &Evaluation) -> Outcome<()>,
        keep: &mut dyn FnMut(&Comparison) -> Outcome<()>,
    ) -> Outcome<(Comparison, bool)> {
        let labels: Vec<bool> = self.test.items.iter().map(|image| image.defective).collect();
        let good = labels.iter().filter(|&&l| !l).count();
        let mut comparison = Comparison {
            data: self.data.to_path_buf(),
            backbone: self.backbone.name().to_string(),
            seeds: seeds.to_vec(),
            images: Counts { good, defective: labels.len() - good },
            device: self.compute.describe(),
            threads: self.compute.threads,
            methods: Vec::new(),
        };
        for (at, &method) in methods.iter().enumerate() {
            let (mut runs, mut error) = (Vec::new(), None);
            for &seed in seeds {
                eprintln!("{method}, seed {seed} (method {} of {})", at + 1, methods.len());
                let path = self.models.map(|folder| folder.join(model_name(method, seed, seeds)));
                match self.train_and_measure(method, seed, path.as_deref()) {
                    Ok((run, evaluation)) => {
                        if runs.is_empty() {
                            show(method, &evaluation)?;
                        }
                        runs.push(run);
                    }
                    Err(failure) if failure.code == INTERRUPTED => return Ok((comparison, true)),
                    Err(failure) => {
                        note(&format!("{method}, seed {seed}: {}", failure.message));
                        error = Some(failure.message);
                        break;
                    }
                }
            }
            comparison.methods.push(Row::new(method, runs, &labels, error));
            keep(&comparison)?;
        }
        Ok((comparison, false))
    }

    fn train_and_measure(&self, method: Method, seed: u64, path: Option<&Path>) -> Outcome<(SeedRun, Evaluation)> {
        let pooling = if method.pools() { self.options.pooling } else { Pooling::Mean };
        let radius = self.options.radius.filter(|_| method.remembers());
        let memory_bytes = self.options.memory_bytes.filter(|_| method.remembers());
        let (bytes, train_seconds) = match path {
            Some(path) if self.resume && path.exists() => (fs::read(path).context(path.display())?, None),
            _ => {
                let started = Instant::now();
                let all = self.options.clone();
                let options = TrainOptions { method, seed, pooling, radius, memory_bytes, ..all };
                let trained = self.train(&options, path)?;
                (trained.model, Some(started.elapsed().as_secs_f64()))
            }
        };
        let named = path.unwrap_or(Path::new("the trained model")).display();
        let model = OwnedModel::from_bytes(&bytes).context(&named)?;
        let about = |key: &str| model.model().about_value(key).unwrap_or("unknown").to_string();
        for (key, wanted) in [
            ("method", Some(method.to_string())),
            ("seed", Some(seed.to_string())),
            ("images", Some(self.images.len().to_string())),
            ("backbone_digest", Some(format!("{:016x}", self.backbone.digest()))),
            ("size", self.options.size.map(|n| n.to_string())),
            ("pooling", method.pools().then(|| pooling.as_str().to_string())),
        ] {
            let found = about(key);
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                return Err(Failure::new(format!(
                    "{named} belongs to another comparison: its {key} is {found}, not {wanted}"
                )));
            }
        }
        // What was odd about the data was said once.
        let test = Listing { items: self.test.items.clone(), notes: Vec::new() };
        let mut evaluation = evaluate::run(&model, path, self.data, test, None, self.compute)?;
        evaluation.figures.train_seconds = train_seconds;
        let run = SeedRun {
            seed,
            model_bytes: bytes.len(),
            epochs: about("epochs").parse().unwrap_or(0),
            figures: evaluation.figures.clone(),
            scores: evaluation.shots.iter().map(|shot| shot.score).collect(),
        };
        Ok((run, evaluation))
    }

    fn train(&self, options: &TrainOptions, path: Option<&Path>) -> Outcome<Trained> {
        let others = OtherImages::default();
        let (images, backbone, compute) = (self.images, self.backbone, self.compute);
        let training = Training { images, others: &others, backbone, options, compute };
        let Some(path) = path else { return training.run() };
        let checkpoint = training::checkpoint_path(path);
        let resume = self.resume && checkpoint.exists();
        let state = if resume { training::read_checkpoint(&checkpoint, true)? } else { None };
        training.run_to(path, state.as_deref())
    }
}

fn model_name(method: Method, seed: u64, seeds: &[u64]) -> String {
    if seeds.len() > 1 { format!("{method}-seed{seed}.adflow") } else { format!("{method}.adflow") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        let of = |values: &[Option<f64>]| Spread::of(values.iter().copied());
        assert_eq!(of(&[Some(1.0), Some(2.0), Some(3.0)]), Some(Spread { mean: 2.0, sd: Some(1.0) }));
        assert_eq!(of(&[Some(4.0)]), Some(Spread { mean: 4.0, sd: None }));
        assert_eq!(of(&[Some(4.0), None]), None);
        assert_eq!(of(&[]), None);
    }
}
