//! Training as commands do it: images decoded, progress shown, the state kept in a checkpoint file, Ctrl-C obeyed.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adflow::backbones::Backbone;
use adflow::detect::{self, Observer, Phase, Progress, TrainError, TrainOptions, Trained};

use crate::compute::Compute;
use crate::dataset::{self, Listing};
use crate::failure::{Context, Failure, Outcome};
use crate::progress::{self, Stage, note};
use crate::training_images::TrainingImages;
use crate::{interrupt, output};

/// Shortest time between two checkpoints, so that short epochs do not wait for the disk.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// Opens a backbone: `builtin` or a safetensors file.
pub fn open_backbone(name: &str) -> Outcome<Backbone> {
    if name == "builtin" { Ok(Backbone::builtin()) } else { Backbone::open(name).context(name) }
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

/// A training of one model: what it learns from, and on which device.
pub struct Training<'a> {
    pub images: &'a TrainingImages,
    pub others: &'a OtherImages,
    pub backbone: &'a Backbone,
    pub options: &'a TrainOptions,
    pub compute: &'a Compute,
}

impl Training<'_> {
    /// Trains and writes the model to `path`, with a checkpoint beside it until then. `state` is the checkpoint of an interrupted
    /// training to continue.
    pub fn run_to(&self, path: &Path, state: Option<&[u8]>) -> Outcome<Trained> {
        let checkpoint = checkpoint_path(path);
        let mut watch = Watch::new(Some(checkpoint.clone()), state.is_some());
        let trained = self.watched(&mut watch, state)?;
        output::write(path, &trained.model)?;
        if watch.usable {
            fs::remove_file(&checkpoint).context(checkpoint.display())?;
        }
        Ok(trained)
    }

    /// Trains without writing a file.
    pub fn run(&self) -> Outcome<Trained> {
        self.watched(&mut Watch::new(None, false), None)
    }

    fn watched(&self, watch: &mut Watch, state: Option<&[u8]>) -> Outcome<Trained> {
        let trained = self.compute.with_device(|device| {
            detect::train_with(self.images, self.others.borrow(), self.backbone, self.options, device, watch, state)
        });
        watch.stage = None;
        trained.map_err(|error| explain(error, watch))
    }
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
struct Watch {
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
    fn new(checkpoint: Option<PathBuf>, resumed: bool) -> Self {
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
