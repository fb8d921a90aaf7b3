//! Groups of options that commands share, and what they open or tell the library.

use std::path::PathBuf;
use std::str::FromStr;

use adflow::detect::{Canvas, Contrastive, Method, Pooling, TrainOptions};
use adflow::image::Roi;
use adflow_vulkan::{Compute as Device, Precision};
use clap::Args;

use super::values::*;
use crate::compute::Compute;
use crate::decode::{self, Decoded};
use crate::failure::{Context, Failure, Outcome};

/// What kind of model to train.
#[derive(Debug, Args)]
pub struct MethodArgs {
    /// How normality is learned
    #[arg(long, value_parser = choice::<Method>(), default_value_t)]
    pub method: Method,
    #[command(flatten)]
    pub backbone: BackboneArgs,
}

/// Where features come from.
#[derive(Debug, Args)]
pub struct BackboneArgs {
    /// Features: the embedded network, a safetensors file (MobileNetV2, AlexNet, ResNet-18,
    /// WideResNet-50-2, EfficientNet-B5), or an ONNX file with a convolutional network
    #[arg(long = "backbone", value_name = "builtin|FILE", default_value = "builtin")]
    pub name: String,
    /// Tensors of an ONNX file that are read as features, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub taps: Vec<String>,
    /// What the network of an ONNX file was trained on
    #[arg(long, value_enum, default_value_t = Normalised::Imagenet)]
    pub normalised: Normalised,
}

/// CDNF's first phase, where it is a choice.
#[derive(Debug, Args)]
#[command(next_help_heading = "Contrastive phase (cdnf on MobileNetV2, ResNet-18, WideResNet-50-2, AlexNet)")]
pub struct ContrastArgs {
    /// Adapt the backbone first: good parts against synthetic anomalies
    #[arg(long)]
    pub contrastive: bool,
    /// Also against real defects: a folder of images, or a text file with one path a line. Measure with none of them
    #[arg(long, value_name = "DIR|LIST", requires = "contrastive")]
    pub defects: Option<PathBuf>,
    #[command(flatten)]
    pub phase: PhaseArgs,
}

/// How it goes.
#[derive(Debug, Args)]
pub struct PhaseArgs {
    /// Pictures of surfaces for synthetic anomalies [default: textures are made up]
    #[arg(long, value_name = "DIR")]
    pub textures: Option<PathBuf>,
    /// Most passes of the contrastive phase over the good parts [default: 12]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    contrastive_epochs: Option<u32>,
    /// Learning rate of the contrastive phase [default: 0.0001]
    #[arg(long, value_name = "X")]
    contrastive_rate: Option<f32>,
}

impl PhaseArgs {
    /// What the library is told.
    pub fn options(&self) -> Contrastive {
        let default = Contrastive::default();
        Contrastive {
            epochs: self.contrastive_epochs.unwrap_or(default.epochs),
            learning_rate: self.contrastive_rate.unwrap_or(default.learning_rate),
        }
    }

    /// Whether anything was asked for.
    pub fn is_set(&self) -> bool {
        self.textures.is_some() || self.contrastive_epochs.is_some() || self.contrastive_rate.is_some()
    }
}

/// What a training may be told where the method's own choice does not suit.
#[derive(Debug, Args)]
pub struct TrainingArgs {
    /// Images are resized to N x N pixels [default: the method's]; with --canvas the side of a tile [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(32..=2048))]
    size: Option<u32>,
    /// Resize images to W x H pixels (native: the size of the first one) and score them in overlapping tiles, for padim,
    /// posflow, fastflow and csflow
    #[arg(long, value_name = "WxH|native", value_parser = canvas)]
    canvas: Option<Canvas>,
    /// Overlap around each tile in pixels: context for the network, never scored [default: an eighth of a tile, at least 64]
    #[arg(long, value_name = "N", requires = "canvas")]
    margin: Option<u32>,
    /// Passes over the training images [default: chosen on held-out good parts]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Views of each image when scoring: up to 8 are flips and right angles, more are rotations [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    views: Option<u32>,
    /// What cdnf, differnet and gauss keep of a map, as they describe an image by one vector; builtin has means only
    #[arg(long, value_name = "HOW", value_parser = choice::<Pooling>(), default_value_t)]
    pooling: Pooling,
}

impl TrainingArgs {
    /// What the library is told; the rest are its defaults.
    pub fn options(&self) -> TrainOptions {
        TrainOptions {
            size: self.size,
            canvas: self.canvas,
            margin: self.margin,
            epochs: self.epochs,
            views: self.views,
            pooling: self.pooling,
            ..TrainOptions::default()
        }
    }
}

/// Where to look.
#[derive(Debug, Args)]
pub struct RoiArgs {
    /// Region of interest: an image, white where parts are inspected; what lies outside changes nothing
    #[arg(long = "roi", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl RoiArgs {
    /// Reads the mask, which has a white pixel.
    pub fn open(&self) -> Outcome<Option<Decoded>> {
        let Some(path) = &self.path else { return Ok(None) };
        let mask = decode::open(path)?;
        match Roi::from_mask(&mask.view().context(path.display())?) {
            Some(_) => Ok(Some(mask)),
            None => Err(Failure::new(format!("{}: no pixel of this region of interest is white", path.display()))),
        }
    }

    /// The mask as a model keeps it.
    pub fn for_training(&self) -> Outcome<Option<Roi>> {
        let mask = self.open()?;
        Ok(mask.and_then(|mask| mask.view().ok().and_then(|view| Roi::from_mask(&view))))
    }
}

/// How the threshold is chosen from held-out good parts.
#[derive(Debug, Args)]
pub struct Calibration {
    /// Share of good parts that may be rejected
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    pub false_reject: f64,
    /// Probability with which that promise shall hold
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = rate)]
    pub confidence: f64,
}

/// What part of the machine to use.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Where programs run: auto (a graphics card if there is one), cpu, vulkan, vulkan:N or vulkan:NAME
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = Device::from_str)]
    device: Device,
    #[command(flatten)]
    threads: Threads,
}

impl ComputeArgs {
    /// Opens the device for exact computing.
    pub fn open(&self) -> Outcome<Compute> {
        self.with(Precision::Full)
    }

    fn with(&self, precision: Precision) -> Outcome<Compute> {
        let gpu = self.device.open(precision).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Compute { threads: self.threads.count(), gpu })
    }
}

/// The same for scoring, which may round.
#[derive(Debug, Args)]
pub struct ScoringArgs {
    #[command(flatten)]
    compute: ComputeArgs,
    /// How exactly a GPU scores
    #[arg(long, value_parser = choice::<Precision>(), default_value_t)]
    precision: Precision,
}

impl ScoringArgs {
    /// Opens the device.
    pub fn open(&self) -> Outcome<Compute> {
        self.compute.with(self.precision)
    }
}

/// Threads of the CPU.
#[derive(Debug, Args)]
pub struct Threads {
    /// Threads to use; results do not depend on it [default: all cores]
    #[arg(long = "threads", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

impl Threads {
    /// The number asked for, or the number of cores.
    pub fn count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        self.threads.map_or_else(cores, |n| n as usize)
    }
}
