//! Groups of options that several commands share, and their conversion to the library's types.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use adflow::backbones::{Architecture, Backbone};
use adflow::detect::{Canvas, Contrastive, Method, Pooling, Radius, TrainOptions};
use adflow::image::{Preprocess, Roi};
use adflow_vulkan::{Compute as Device, Precision};
use clap::Args;

use super::values::*;
use crate::compute::Compute;
use crate::decode::{self, Decoded};
use crate::failure::{Context, Failure, Outcome};
use crate::onnx;
use crate::training::{self, OtherImages};

/// Heading of the options of the contrastive phase in help texts.
const CONTRASTIVE: &str = "Contrastive phase (cdnf)";
/// Heading of the options of the threshold in help texts.
pub const THRESHOLD: &str = "Threshold";

/// The method and the backbone of a training.
#[derive(Debug, Args)]
pub struct MethodArgs {
    /// Detection method: how normal parts are modelled
    #[arg(long, value_parser = choice::<Method>(), default_value_t)]
    pub method: Method,
    #[command(flatten)]
    pub backbone: BackboneArgs,
}

/// The network that turns an image into features.
#[derive(Debug, Args)]
pub struct BackboneArgs {
    /// Name or file of the backbone.
    #[arg(long = "backbone", value_name = "builtin|FILE", default_value = "builtin", help = backbone_help())]
    pub name: String,
    /// Names of the tensors to use as features, separated by commas; only for a backbone in an ONNX file
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub taps: Vec<String>,
    /// Input values that the network was trained with; only for a backbone in an ONNX file
    #[arg(long, value_enum, default_value_t = Normalised::Imagenet)]
    pub normalised: Normalised,
}

impl BackboneArgs {
    /// Opens the backbone; an ONNX file is recognised by its extension.
    pub fn open(&self) -> Outcome<Backbone> {
        let (name, path) = (&self.name, Path::new(&self.name));
        if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx")) {
            let bytes = fs::read(path).context(name)?;
            let how = match self.normalised {
                Normalised::Imagenet => Preprocess::imagenet(1),
                Normalised::Unit => Preprocess::new(1, 3),
            };
            return onnx::import(&bytes, &self.taps, how.scale, how.shift).context(name);
        }
        if !self.taps.is_empty() || self.normalised != Normalised::Imagenet {
            return Err(Failure::new("--taps and --normalised are only for a backbone in an ONNX file"));
        }
        training::open_backbone(name)
    }
}

/// Help on `--backbone`.
fn backbone_help() -> String {
    format!(
        "Network that computes the features: builtin, a safetensors file ({}), or an ONNX file with a convolutional network",
        titles(|a| a.name() != "builtin")
    )
}

/// Help on `--contrastive`.
fn contrastive_help() -> String {
    format!(
        "Adapt the backbone to the parts before training, by telling good parts from synthetic anomalies. For the backbones {}",
        titles(Architecture::is_adaptable)
    )
}

/// Architectures by their titles, separated by commas.
fn titles(which: impl Fn(&Architecture) -> bool) -> String {
    let titles = Backbone::architectures().iter().filter(|a| which(a)).map(Architecture::title);
    titles.collect::<Vec<_>>().join(", ")
}

/// Options of the contrastive phase of `cdnf`, with the switch that turns it on.
#[derive(Debug, Args)]
pub struct ContrastArgs {
    /// Whether the backbone is adapted first.
    #[arg(long, help_heading = CONTRASTIVE, help = contrastive_help())]
    pub contrastive: bool,
    /// Images of real defects to train with as well: a folder, or a text file with one path per line. Do not test the model on
    /// these
    #[arg(long, help_heading = CONTRASTIVE, value_name = "DIR|LIST", requires = "contrastive")]
    pub defects: Option<PathBuf>,
    #[command(flatten)]
    pub phase: PhaseArgs,
}

impl ContrastArgs {
    /// Decodes the images that the options name.
    pub fn images(&self, compute: &Compute) -> Outcome<OtherImages> {
        Ok(OtherImages {
            defects: OtherImages::open(self.defects.as_deref(), compute)?,
            textures: OtherImages::open(self.phase.textures.as_deref(), compute)?,
        })
    }
}

/// Options of the contrastive phase of `cdnf`.
#[derive(Debug, Args)]
pub struct PhaseArgs {
    /// Folder of texture images for synthetic anomalies [default: generated textures]
    #[arg(long, help_heading = CONTRASTIVE, value_name = "DIR")]
    pub textures: Option<PathBuf>,
    /// Largest number of epochs of the contrastive phase [default: 12]
    #[arg(long, help_heading = CONTRASTIVE, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    contrastive_epochs: Option<u32>,
    /// Learning rate of the contrastive phase [default: 0.0001]
    #[arg(long, help_heading = CONTRASTIVE, value_name = "X")]
    contrastive_rate: Option<f32>,
}

impl PhaseArgs {
    /// Converts to the library's options.
    pub fn options(&self) -> Contrastive {
        let default = Contrastive::default();
        Contrastive {
            epochs: self.contrastive_epochs.unwrap_or(default.epochs),
            learning_rate: self.contrastive_rate.unwrap_or(default.learning_rate),
        }
    }

    /// Whether any of the options was given.
    pub fn is_set(&self) -> bool {
        self.textures.is_some() || self.contrastive_epochs.is_some() || self.contrastive_rate.is_some()
    }
}

/// Options of a training that replace the defaults of the method and the preset.
#[derive(Debug, Args)]
pub struct TrainingArgs {
    /// Resize images to N x N pixels [default: depends on the method]; with --canvas the side of a tile [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(32..=2048))]
    size: Option<u32>,
    /// Resize images to W x H pixels (native: the size of the first one) and score them in overlapping tiles; for padim,
    /// patchcore, posflow, fastflow and csflow
    #[arg(long, value_name = "WxH|native", value_parser = canvas)]
    canvas: Option<Canvas>,
    /// Overlap around each tile in pixels: context for the network, never scored [default: an eighth of a tile, at least 64]
    #[arg(long, value_name = "N", requires = "canvas")]
    margin: Option<u32>,
    /// Epochs, passes over the training images [default: until held-out good parts score no better]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Views of each image that its score is averaged over: up to 8 are flips and right angles, more are rotations [default:
    /// depends on method and preset]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    views: Option<u32>,
    /// How cdnf, differnet and gauss turn feature maps into one vector per image; the builtin backbone supports only mean
    #[arg(long, value_name = "HOW", value_parser = choice::<Pooling>(), default_value_t)]
    pooling: Pooling,
    /// How far around a position patchcore searches its memory [default: one; with --canvas: all]
    #[arg(long, value_name = "HOW", value_parser = choice::<Radius>())]
    radius: Option<Radius>,
    /// Largest size of patchcore's memory of good features, in bytes [default: 8388608]
    #[arg(long, value_name = "N")]
    memory_bytes: Option<usize>,
}

impl TrainingArgs {
    /// Converts to the library's options; the others have their defaults.
    pub fn options(&self) -> TrainOptions {
        TrainOptions {
            size: self.size,
            canvas: self.canvas,
            margin: self.margin,
            epochs: self.epochs,
            views: self.views,
            pooling: self.pooling,
            radius: self.radius,
            memory_bytes: self.memory_bytes,
            ..TrainOptions::default()
        }
    }
}

/// The region of interest.
#[derive(Debug, Args)]
pub struct RoiArgs {
    /// Region of interest: a mask image, white where parts are inspected; pixels outside are ignored
    #[arg(long = "roi", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl RoiArgs {
    /// Reads the mask image; an error if none of its pixels is white.
    pub fn open(&self) -> Outcome<Option<Decoded>> {
        let Some(path) = &self.path else { return Ok(None) };
        let mask = decode::open(path)?;
        match Roi::from_mask(&mask.view().context(path.display())?) {
            Some(_) => Ok(Some(mask)),
            None => Err(Failure::new(format!(
                "{}: no pixel of this mask is white, so the region of interest is empty",
                path.display()
            ))),
        }
    }

    /// Reads the mask image as a model stores it.
    pub fn for_training(&self) -> Outcome<Option<Roi>> {
        let mask = self.open()?;
        Ok(mask.and_then(|mask| mask.view().ok().and_then(|view| Roi::from_mask(&view))))
    }
}

/// The false-reject rate that the threshold guarantees.
#[derive(Debug, Args)]
pub struct Calibration {
    /// Share of good parts that the threshold may reject
    #[arg(long, help_heading = THRESHOLD, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    pub false_reject: f64,
    /// Confidence that no more good parts than that are rejected
    #[arg(long, help_heading = THRESHOLD, value_name = "P", default_value_t = 0.95, value_parser = rate)]
    pub confidence: f64,
}

/// The device and the threads to use.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Device to use: auto (a graphics card if there is one, otherwise the CPU), cpu, vulkan, vulkan:N or vulkan:NAME, as listed by
    /// `adflow devices`
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = Device::from_str)]
    device: Device,
    #[command(flatten)]
    threads: Threads,
}

impl ComputeArgs {
    /// Opens the device, in full precision.
    pub fn open(&self) -> Outcome<Compute> {
        self.with(Precision::Full)
    }

    fn with(&self, precision: Precision) -> Outcome<Compute> {
        let gpu = self.device.open(precision).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Compute { threads: self.threads.count(), gpu })
    }
}

/// The device and the threads to use for scoring, which may be less precise than training.
#[derive(Debug, Args)]
pub struct ScoringArgs {
    #[command(flatten)]
    compute: ComputeArgs,
    /// Precision of scoring on a GPU
    #[arg(long, value_parser = choice::<Precision>(), default_value_t)]
    precision: Precision,
}

impl ScoringArgs {
    /// Opens the device in the precision that was asked for.
    pub fn open(&self) -> Outcome<Compute> {
        self.compute.with(self.precision)
    }
}

/// The number of CPU threads.
#[derive(Debug, Args)]
pub struct Threads {
    /// Number of CPU threads; results do not depend on it [default: all cores]
    #[arg(long = "threads", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

impl Threads {
    /// The number of threads, the number of cores unless set.
    pub fn count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        self.threads.map_or_else(cores, |n| n as usize)
    }
}
