//! `adflow train DATA -o MODEL`: from a folder of good parts to a model file.
//!
//! The output file is checked before the work begins, and written whole or not at all. During training the state is kept in
//! `MODEL.ckpt`: Ctrl-C or a power cut loses seconds, `--resume` continues and gives the same bytes as an uninterrupted training,
//! and a finished training removes the file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use adflow::detect::{Images as _, TrainOptions};
use adflow::model::OwnedModel;
use serde::Serialize;

use crate::args::Train;
use crate::failure::{Context, Failure, Outcome};
use crate::training::{self, Training};
use crate::{dataset, interrupt, output, progress, promise};

/// What `--json` writes.
#[derive(Debug, Serialize)]
pub struct Summary {
    model: PathBuf,
    model_bytes: usize,
    method: String,
    backbone: String,
    input_size: u32,
    /// Width and height that images are resized to, in pixels.
    canvas: (u32, u32),
    images: usize,
    epochs: usize,
    final_loss: Option<f64>,
    threshold: Option<f32>,
    false_reject: Option<f64>,
    confidence: Option<f64>,
    held_out: usize,
    seed: u64,
    /// Device that trained, and its name.
    device: String,
    threads: usize,
    /// Wall time from reading the first image to the finished model, in seconds; after `--resume` that of the last run only.
    pub train_seconds: f64,
}

/// Runs the command.
pub fn run(args: &Train) -> Outcome<u8> {
    output::check_writable(&args.model)?;
    if let Some(json) = &args.json {
        output::check_writable(json)?;
    }
    if !args.contrast.contrastive && args.contrast.phase.is_set() {
        return Err(Failure::new("--textures, --contrastive-epochs and --contrastive-rate need --contrastive"));
    }
    let backbone = args.method.backbone.open()?;
    let options = TrainOptions {
        method: args.method.method,
        preset: args.preset,
        false_reject: args.calibration.false_reject,
        confidence: args.calibration.confidence,
        held_out: args.held_out,
        seed: args.seed,
        learning_rate: args.learning_rate,
        map_levels: args.map_levels,
        contrastive: args.contrast.contrastive.then(|| args.contrast.phase.options()),
        roi: args.roi.for_training()?,
        ..args.training.options()
    };
    let compute = args.compute.open()?;
    let others = args.contrast.images(&compute)?;
    interrupt::listen();
    let listing = dataset::training(&args.data)?;
    let state = training::read_checkpoint(&training::checkpoint_path(&args.model), args.resume)?;
    let started = Instant::now();
    let images = training::load(listing, &compute)?;
    let training =
        Training { images: &images, others: &others, backbone: &backbone, options: &options, compute: &compute };
    let (summary, model) = train(&training, &args.model, state.as_deref(), started)?;
    if args.json.as_deref() != Some(Path::new("-")) {
        print_summary(&summary, &model);
    }
    if let Some(json) = &args.json {
        output::write_json(json, &summary)?;
    }
    Ok(0)
}

/// Trains and writes the model to `path`; `started` is when the reading of images began.
pub fn train(
    training: &Training<'_>,
    path: &Path,
    state: Option<&[u8]>,
    started: Instant,
) -> Outcome<(Summary, OwnedModel)> {
    let trained = training.run_to(path, state)?;
    let train_seconds = started.elapsed().as_secs_f64();
    let model_bytes = trained.model.len();
    let owned = OwnedModel::from_bytes(&trained.model).context("the trained model does not load")?;
    let model = owned.model();
    let threshold = model.threshold();
    let summary = Summary {
        model: path.to_path_buf(),
        model_bytes,
        method: model.method().to_string(),
        backbone: model.backbone().to_string(),
        input_size: model.input_size(),
        canvas: model.canvas(),
        images: training.images.len(),
        epochs: trained.epochs,
        final_loss: trained.final_loss,
        threshold: threshold.map(|t| t.reject),
        false_reject: threshold.map(|t| t.false_reject),
        confidence: threshold.map(|t| t.confidence),
        held_out: trained.held_out_scores.len(),
        seed: training.options.seed,
        device: training.compute.describe(),
        threads: training.compute.threads,
        train_seconds,
    };
    Ok((summary, owned))
}

/// Prints what was trained, on standard output.
pub fn print_summary(s: &Summary, model: &OwnedModel) {
    println!(
        "model      {} ({}): {} on {}, {}, seed {}",
        s.model.display(),
        progress::bytes(s.model_bytes),
        s.method,
        s.backbone,
        progress::input(&model.model()),
        s.seed
    );
    let epochs = if s.epochs > 0 { format!(", {} epochs", s.epochs) } else { String::new() };
    let loss = s.final_loss.map_or(String::new(), |l| format!(", loss {}", progress::short(l)));
    println!("trained    {} images in {}{epochs}{loss}", s.images, progress::seconds(s.train_seconds));
    println!("threshold  {}", promise::describe(model.model().threshold()));
}
