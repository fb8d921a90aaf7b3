//! `adflow train DATA -o MODEL`: from a folder of good parts to a model file.
//!
//! The output file is checked before the work begins, and written whole or not at all. During training the state is kept in
//! `MODEL.ckpt`: Ctrl-C or a power cut loses seconds, `--resume` continues and gives the same bytes as an uninterrupted training,
//! and a finished training removes the file.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adflow::backbones::Backbone;
use adflow::detect::{self, Observer, Phase, Progress, TrainError, TrainOptions, Trained};
use adflow::image::Preprocess;
use adflow::model::OwnedModel;
use serde::Serialize;

use crate::args::{BackboneArgs, ContrastArgs, Normalised, Train};
use crate::compute::Compute;
use crate::dataset::Listing;
use crate::failure::{Context, Failure, Outcome};
use crate::progress::{self, Stage, note};
use crate::training_images::TrainingImages;
use crate::{dataset, interrupt, onnx, output, promise};

/// Shortest time between two checkpoints, so that short epochs do not wait for the disk.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

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
    let backbone = open_backbone(&args.method.backbone)?;
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
    let others = OtherImages::load(&args.contrast, &compute)?;
    let (summary, model) = train(&args.data, &args.model, &others, &backbone, &options, &compute, args.resume)?;
    if args.json.as_deref() != Some(Path::new("-")) {
        print_summary(&summary, &model);
    }
    if let Some(json) = &args.json {
        output::write_json(json, &summary)?;
    }
    Ok(0)
}

/// Opens a backbone: `builtin`, a safetensors file, or an ONNX file, recognised by its extension.
pub fn open_backbone(args: &BackboneArgs) -> Outcome<Backbone> {
    let (name, path) = (&args.name, Path::new(&args.name));
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx")) {
        let bytes = fs::read(path).context(name)?;
        let how = match args.normalised {
            Normalised::Imagenet => Preprocess::imagenet(1),
            Normalised::Unit => Preprocess::new(1, 3),
        };
        return onnx::import(&bytes, &args.taps, how.scale, how.shift).context(name);
    }
    if !args.taps.is_empty() || args.normalised != Normalised::Imagenet {
        return Err(Failure::new("--taps and --normalised are only for a backbone in an ONNX file"));
    }
    known_backbone(name)
}

/// Opens a backbone: `builtin` or a safetensors file.
pub fn known_backbone(name: &str) -> Outcome<Backbone> {
    if name == "builtin" { Ok(Backbone::builtin()) } else { Backbone::open(name).context(name) }
}

/// Trains from the good images of `data` and writes `path`.
pub fn train(
    data: &Path,
    path: &Path,
    others: &OtherImages,
    backbone: &Backbone,
    options: &TrainOptions,
    compute: &Compute,
    resume: bool,
) -> Outcome<(Summary, OwnedModel)> {
    interrupt::listen();
    let listing = dataset::training(data)?;
    let state = read_checkpoint(&checkpoint_path(path), resume)?;
    let started = Instant::now();
    let images = load(listing, compute)?;
    let trained = fit_to(path, &images, others, backbone, options, compute, state.as_deref())?;
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
        images: detect::Images::len(&images),
        epochs: trained.epochs,
        final_loss: trained.final_loss,
        threshold: threshold.map(|t| t.reject),
        false_reject: threshold.map(|t| t.false_reject),
        confidence: threshold.map(|t| t.confidence),
        held_out: trained.held_out_scores.len(),
        seed: options.seed,
        device: compute.describe(),
        threads: compute.threads,
        train_seconds,
    };
    Ok((summary, owned))
}

/// Decodes the training images and prints notes on what is odd about them.
pub fn load(listing: Listing<PathBuf>, compute: &Compute) -> Outcome<TrainingImages> {
    listing.notes.iter().for_each(|text| note(text));
    let images = {
        let stage = Stage::new("reading images", listing.items.len());
        TrainingImages::load(listing.items, compute.threads, &|done| stage.set(done))?
    };
    images.notes.iter().for_each(|text| note(text));
    Ok(images)
}

/// Images that train beside those of good parts: real defects, and textures for synthetic anomalies.
#[derive(Debug, Default)]
pub struct OtherImages {
    pub defects: Option<TrainingImages>,
    pub textures: Option<TrainingImages>,
}

impl OtherImages {
    /// Decodes the images that the options name.
    fn load(args: &ContrastArgs, compute: &Compute) -> Outcome<Self> {
        Ok(Self {
            defects: Self::open(args.defects.as_deref(), compute)?,
            textures: Self::open(args.phase.textures.as_deref(), compute)?,
        })
    }

    /// Decodes the images of a folder or of a list file; `None` for no path.
    pub fn open(path: Option<&Path>, compute: &Compute) -> Outcome<Option<TrainingImages>> {
        path.map(|path| load(dataset::listed(path)?, compute)).transpose()
    }

    fn borrow(&self) -> detect::AnomalySources<'_> {
        fn images(given: &Option<TrainingImages>) -> Option<&dyn detect::Images> {
            given.as_ref().map(|images| images as &dyn detect::Images)
        }
        detect::AnomalySources { defects: images(&self.defects), textures: images(&self.textures) }
    }
}

/// Trains from images in memory and writes the model to `path`, with a checkpoint beside it until then.
pub fn fit_to(
    path: &Path,
    images: &TrainingImages,
    others: &OtherImages,
    backbone: &Backbone,
    options: &TrainOptions,
    compute: &Compute,
    state: Option<&[u8]>,
) -> Outcome<Trained> {
    let checkpoint = checkpoint_path(path);
    let mut watch = Watch::new(Some(checkpoint.clone()), state.is_some());
    let trained = fit(images, others, backbone, options, compute, &mut watch, state)?;
    output::write(path, &trained.model)?;
    if watch.usable {
        fs::remove_file(&checkpoint).context(checkpoint.display())?;
    }
    Ok(trained)
}

/// Trains from images in memory, with progress; writes no files except the checkpoint of `watch`.
pub fn fit(
    images: &TrainingImages,
    others: &OtherImages,
    backbone: &Backbone,
    options: &TrainOptions,
    compute: &Compute,
    watch: &mut Watch,
    state: Option<&[u8]>,
) -> Outcome<Trained> {
    let others = others.borrow();
    let trained =
        compute.with_device(|device| detect::train_with(images, others, backbone, options, device, watch, state));
    watch.stage = None;
    trained.map_err(|error| explain(error, watch))
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

/// Path of the checkpoint of a training that writes `model`.
pub fn checkpoint_path(model: &Path) -> PathBuf {
    let mut name = model.as_os_str().to_owned();
    name.push(".ckpt");
    PathBuf::from(name)
}

/// Reads the state of an interrupted training, if `resume` is set and the file exists.
pub fn read_checkpoint(path: &Path, resume: bool) -> Outcome<Option<Vec<u8>>> {
    match (resume, path.exists()) {
        (true, true) => fs::read(path).map(Some).context(path.display()),
        (true, false) => {
            note(&format!("no checkpoint {}: starting from the beginning", path.display()));
            Ok(None)
        }
        (false, true) => {
            note(&format!("{} is left over from an earlier training and will be replaced", path.display()));
            Ok(None)
        }
        (false, false) => Ok(None),
    }
}

fn explain(error: TrainError, watch: &Watch) -> Failure {
    match error {
        TrainError::Cancelled if let (true, Some(path)) = (watch.usable, &watch.checkpoint) => {
            Failure::interrupted(format!(
                "interrupted; the state is saved in {}: run the same command with --resume to continue",
                path.display()
            ))
        }
        TrainError::Cancelled => Failure::interrupted("interrupted; nothing was written"),
        other => Failure::new(other.to_string()),
    }
}

/// Shows the progress of a training, writes its checkpoint and cancels it on Ctrl-C.
pub struct Watch {
    /// The progress bar shown, with its phase and total; some methods train in several parts.
    stage: Option<((Phase, usize), Stage)>,
    /// Path of the checkpoint, if one is kept.
    checkpoint: Option<PathBuf>,
    last_write: Instant,
    /// Whether the checkpoint file belongs to this training.
    usable: bool,
    /// Whether a failure to write the checkpoint was reported.
    told: bool,
}

impl Watch {
    /// `resumed`: the file at `checkpoint` already belongs to this training.
    pub fn new(checkpoint: Option<PathBuf>, resumed: bool) -> Self {
        Self { stage: None, checkpoint, last_write: Instant::now(), usable: resumed, told: false }
    }

    fn stage(&mut self, phase: Phase, total: usize) -> Option<&Stage> {
        if self.stage.as_ref().is_none_or(|(current, _)| *current != (phase, total)) {
            self.stage = None;
            let what = match phase {
                Phase::Features => "features",
                Phase::Train => "training",
                Phase::Calibrate => "calibrating",
                Phase::Adapt => "adapting",
            };
            self.stage = Some(((phase, total), Stage::new(what, total)));
        }
        self.stage.as_ref().map(|(_, stage)| stage)
    }
}

impl Observer for Watch {
    fn progress(&mut self, p: &Progress) -> ControlFlow<()> {
        let mut words = String::new();
        if p.epochs > 0 {
            words = format!("epoch {}/{}", p.epoch, p.epochs);
        }
        if let Some(loss) = p.loss {
            words += &format!(", loss {}", progress::short(loss));
        }
        if let Some(held_out) = p.held_out {
            words += &format!(", held out {}", progress::short(held_out));
        }
        if let Some(stage) = self.stage(p.phase, p.total) {
            stage.set_with(p.done, &words);
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn wants_checkpoint(&mut self) -> bool {
        self.checkpoint.is_some() && (interrupt::asked() || self.last_write.elapsed() >= CHECKPOINT_EVERY)
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        let Some(path) = &self.checkpoint else { return };
        self.last_write = Instant::now();
        match output::write(path, bytes) {
            Ok(()) => self.usable = true,
            Err(error) if self.told => drop(error),
            Err(error) => {
                self.told = true;
                self.note(&format!("training continues without a checkpoint: {}", error.message));
            }
        }
    }

    fn note(&mut self, text: &str) {
        match &self.stage {
            Some((_, stage)) => stage.note(text),
            None => note(text),
        }
    }
}
