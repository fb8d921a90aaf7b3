//! The command line as data: commands and their options, in `groups.rs` those that commands share, and in `values.rs` what
//! options take. The words here are what `adflow help` prints.

mod groups;
mod values;

use std::path::PathBuf;
use std::str::FromStr;

use adflow::detect::{MapLevels, Method, Preset};
use adflow::image::{ChannelOrder, SampleType};
use adflow::synth::Kind;
use adflow_vulkan::Compute as Device;
use clap::{Args, Parser, Subcommand};

pub use groups::*;
pub use values::*;

/// Finds defective parts on the inspection line; learns from good parts only.
#[derive(Debug, Parser)]
#[command(name = "adflow", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 error, 2 wrong usage, 3 `inspect --fail-on-defect` found a defective part, 130 interrupted.
DATA is a folder in the MVTec AD layout: train/good, test/good, test/<defect>, ground_truth/<defect>.
Images: PNG, JPEG, BMP, TIFF; 8 and 16 bit and 32-bit float; grey and colour.";

/// One variant a subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a small procedural product line, train, evaluate, write model and report
    Demo(Demo),
    /// Learn what good parts look like
    Train(Train),
    /// Score images: one line (or JSON object) an image
    Inspect(Inspect),
    /// Measure a model on test images with known defects
    Eval(Eval),
    /// Train and measure several methods on one data set, side by side
    Compare(Compare),
    /// Measure what a few known defects are worth: cdnf with and without them
    Weak(Weak),
    /// Say what a model is and how it was made
    Info(Info),
    /// Print a model's programs as text
    Dump(Dump),
    /// Strip a model to what scoring reads, for a microcontroller
    Freeze(Freeze),
    /// Measure time and memory of a model on this machine
    Bench(Bench),
    /// Move a model's threshold without training again
    Threshold(SetThreshold),
    /// Make defects from good images, with masks and a sheet to look at
    Synth(Synth),
    /// List the GPUs that --device can name
    Devices(Devices),
    /// Write a model as one ONNX graph, for ONNX Runtime, OpenVINO and others
    Export(Export),
    /// Run a model on two devices in lock-step and name the first op on which they disagree
    Diff(Diff),
}

/// `adflow demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Folder for images, model and report
    #[arg(long, value_name = "DIR", default_value = "adflow-demo")]
    pub out: PathBuf,
    /// Also write the figures as JSON ("-": standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Seed of the product line and of the training
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Images are resized to N x N pixels [default: the method's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(32..=2048))]
    pub size: Option<u32>,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// `adflow train`
#[derive(Debug, Args)]
pub struct Train {
    /// Data set in the MVTec AD layout, or a folder of images of good parts
    pub data: PathBuf,
    /// The model file to write
    #[arg(short = 'o', long = "out", value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub training: TrainingArgs,
    /// How the grids of a flow on maps make one map [default: product for csflow, else sum]
    #[arg(long, value_name = "HOW", value_parser = choice::<MapLevels>())]
    pub map_levels: Option<MapLevels>,
    /// Learning rate [default: the preset's]
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f32>,
    #[command(flatten)]
    pub contrast: ContrastArgs,
    #[command(flatten)]
    pub calibration: Calibration,
    /// Share of the good parts kept aside for the threshold; 0: none, the model then gives scores without verdicts
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub held_out: f64,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub roi: RoiArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Continue from MODEL.ckpt, which an interrupted training left
    #[arg(long)]
    pub resume: bool,
    /// Set of defaults for what is not chosen here
    #[arg(long, value_parser = choice::<Preset>(), default_value_t)]
    pub preset: Preset,
    /// Also write the figures as JSON ("-": standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `adflow weak`
#[derive(Debug, Args)]
pub struct Weak {
    /// Data set in the MVTec AD layout
    pub data: PathBuf,
    /// One or two types of defects to draw from, separated by commas [default: two by the seed]
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Defective images to draw, in whole groups of near-duplicates
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// Features: a safetensors file
    #[arg(long, value_name = "FILE")]
    pub backbone: String,
    /// Seeds of the draw and the trainings, separated by commas
    #[arg(long, value_name = "SEEDS", default_value = "0", value_delimiter = ',')]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub contrast: PhaseArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Also write the figures as JSON ("-": standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep the models and lists of what was drawn in this folder
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
}

/// `adflow inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// A model written by `adflow train`
    pub model: PathBuf,
    /// Image files, or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Also write each image with its heat map into this folder
    #[arg(long, value_name = "DIR")]
    pub heatmaps: Option<PathBuf>,
    /// Reject above this score instead of the model's threshold
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub threshold: Option<f32>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Exit with code 3 if any part is defective
    #[arg(long)]
    pub fail_on_defect: bool,
    #[command(flatten)]
    pub roi: RoiArgs,
    #[command(flatten)]
    pub compute: ScoringArgs,
}

/// `adflow eval`
#[derive(Debug, Args)]
pub struct Eval {
    /// A model written by `adflow train`
    pub model: PathBuf,
    /// Data set in the MVTec AD layout
    pub data: PathBuf,
    /// Write a self-contained page, DIR/report.html
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Also write the figures as JSON ("-": standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub roi: RoiArgs,
    #[command(flatten)]
    pub compute: ScoringArgs,
}

/// `adflow compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// Data set in the MVTec AD layout
    pub data: PathBuf,
    /// Methods separated by commas, or all
    #[arg(long, value_name = "METHODS", default_value = "all", value_delimiter = ',', value_parser = choice_or_all::<Method>())]
    pub methods: Vec<OneOrAll<Method>>,
    #[command(flatten)]
    pub backbone: BackboneArgs,
    /// Seeds separated by commas; each method is trained once with each
    #[arg(long, value_name = "SEEDS", default_value = "0", value_delimiter = ',')]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub roi: RoiArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Also write the figures as JSON ("-": standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write DIR/report.html and a page for each method
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Keep the models in this folder
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Go on with an interrupted comparison: models that are there are measured, not trained again
    #[arg(long, requires = "models")]
    pub resume: bool,
}

/// `adflow info`
#[derive(Debug, Args)]
pub struct Info {
    /// A model written by `adflow train`
    pub model: PathBuf,
}

/// `adflow dump`
#[derive(Debug, Args)]
pub struct Dump {
    /// A model written by `adflow train`
    pub model: PathBuf,
}

/// `adflow export`
#[derive(Debug, Args)]
pub struct Export {
    /// A model written by `adflow train`
    pub model: PathBuf,
    /// The ONNX file to write
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub out: PathBuf,
    /// Width and height of the images that the graph is given [default: the model's input]
    #[arg(long, value_name = "WxH", value_parser = camera_size)]
    pub image: Option<(u32, u32)>,
    /// How samples lie: nchw plane after plane, nhwc pixel after pixel
    #[arg(long, value_enum, default_value_t = Layout::Nchw)]
    pub layout: Layout,
    /// Type of samples: white is 255, 65535 or 1
    #[arg(long = "type", value_parser = choice::<SampleType>(), default_value_t)]
    pub r#type: SampleType,
    /// Channels and their order
    #[arg(long, value_parser = choice::<ChannelOrder>(), default_value_t = ChannelOrder::Rgb)]
    pub order: ChannelOrder,
    /// Leave the map out; for cdnf, differnet and gauss the graph becomes about a third as large
    #[arg(long)]
    pub no_map: bool,
}

/// `adflow freeze`
#[derive(Debug, Args)]
pub struct Freeze {
    /// A model written by `adflow train`
    pub model: PathBuf,
    /// The file to write: a model that scores as the other does, without what training needs
    #[arg(short = 'o', long = "out", value_name = "BLOB")]
    pub out: PathBuf,
    /// Fail if the file would have more bytes
    #[arg(long, value_name = "BYTES")]
    pub max_bytes: Option<usize>,
    /// Widest image of the camera, in pixels, for the memory that is printed
    #[arg(long, value_name = "N", default_value_t = 640, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub camera_width: u32,
}

/// `adflow bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// A model written by `adflow train`
    pub model: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Width and height of the camera image [default: the model's input]
    #[arg(long, value_name = "WxH", value_parser = camera_size)]
    pub camera: Option<(u32, u32)>,
    /// Seconds to measure each case
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// Also the time of each op on a GPU
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub compute: ScoringArgs,
}

/// `adflow synth`
#[derive(Debug, Args)]
pub struct Synth {
    /// Data set in the MVTec AD layout, or a folder of images of good parts
    pub data: PathBuf,
    /// Folder for images, masks and sheet.png, in the layout that `adflow eval` reads
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What is wrong with them: kinds separated by commas, or all
    #[arg(long, value_name = "KINDS", default_value = "all", value_delimiter = ',', value_parser = choice_or_all::<Kind>())]
    pub kind: Vec<OneOrAll<Kind>>,
    /// Images of each kind
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Images of textures for `perlin` [default: textures are made up]
    #[arg(long, value_name = "DIR")]
    pub textures: Option<PathBuf>,
    /// Images are resized to N x N pixels
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(32..=2048))]
    pub size: u32,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// `adflow devices`
#[derive(Debug, Args)]
pub struct Devices {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `adflow diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// A model written by `adflow train`
    pub model: PathBuf,
    /// The image it looks at
    pub image: PathBuf,
    /// The side that is right
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = Device::from_str)]
    pub lhs: Device,
    /// The side that is compared with it
    #[arg(long, value_name = "DEVICE", default_value = "vulkan", value_parser = Device::from_str)]
    pub rhs: Device,
}

/// `adflow threshold`
#[derive(Debug, Args)]
pub struct SetThreshold {
    /// A model written by `adflow train`
    pub model: PathBuf,
    /// Reject above this score, by hand: no promise about good parts goes with it
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub set: Option<f32>,
    /// Choose again from the held-out scores in the model: share of good parts that may be rejected
    #[arg(long, value_name = "RATE", conflicts_with = "set", value_parser = rate)]
    pub false_reject: Option<f64>,
    /// Probability with which that promise shall hold
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = rate)]
    pub confidence: f64,
    /// Grey zone: share of good parts that may be unsure or rejected
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub grey_zone: Option<f64>,
    /// The model file to write [default: MODEL itself]
    #[arg(short = 'o', long = "out", value_name = "MODEL")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use adflow::detect::Canvas;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_are_checked() {
        for bad in ["0", "1", "-0.1", "NaN", "x"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert!(finite("inf").is_err() && finite("NaN").is_err() && finite("-3.5") == Ok(-3.5));
        assert_eq!(camera_size("640x480"), Ok((640, 480)));
        assert!(camera_size("640x0").is_err() && camera_size("640").is_err());
        assert_eq!(canvas("8000x2000"), Ok(Canvas::Pixels(8000, 2000)));
        assert!(canvas("native") == Ok(Canvas::Native) && canvas("natively").is_err());
    }
}
