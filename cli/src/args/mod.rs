//! The command line as data: the commands and their options. `groups.rs` has options that several commands share, `values.rs` the
//! types of their values. The doc comments here are what `adflow help` prints.

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

/// Finds defective parts on a production line; learns from images of good parts only.
#[derive(Debug, Parser)]
#[command(name = "adflow", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 error, 2 wrong usage, 3 `inspect --fail-on-defect` found a defective part, 130 interrupted.
Data sets have the MVTec AD layout: train/good, test/good, test/<defect>, ground_truth/<defect>.
Images are PNG, JPEG, BMP or TIFF; 8-bit, 16-bit or 32-bit float; grey or colour.";

/// The commands, one variant each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try everything without data: draw a product line, train, evaluate, write a model and a report
    Demo(Demo),
    /// Train a model from images of good parts
    Train(Train),
    /// Score images: a score and a verdict for each, as text or JSON
    Inspect(Inspect),
    /// Measure a model on test images whose defects are known
    Eval(Eval),
    /// Train and measure several methods on one data set, side by side
    Compare(Compare),
    /// Measure what a few known defects are worth: cdnf trained with and without them
    Weak(Weak),
    /// Show what a model is and how it was made
    Info(Info),
    /// Print the programs in a model as text
    Dump(Dump),
    /// Strip a model to what scoring needs, for a microcontroller
    Freeze(Freeze),
    /// Measure the time and memory that a model takes on this machine
    Bench(Bench),
    /// Show or change a model's threshold, without training again
    Threshold(SetThreshold),
    /// Make images with synthetic defects from good ones, with masks and an overview sheet
    Synth(Synth),
    /// List the GPUs that --device can name
    Devices(Devices),
    /// Export a model as one ONNX graph, for ONNX Runtime, OpenVINO and others
    Export(Export),
    /// Run a model on two devices op by op and name the first op whose results disagree
    Diff(Diff),
}

/// `adflow demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Folder for the images, the model and the report
    #[arg(long, value_name = "DIR", default_value = "adflow-demo")]
    pub out: PathBuf,
    /// Also write the results as JSON to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Seed of the product line and of training
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Resize images to N x N pixels [default: depends on the method]
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
    /// Folder of images of good parts, or a data set in the MVTec AD layout
    pub data: PathBuf,
    /// Model file to write
    #[arg(short = 'o', long = "out", value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub training: TrainingArgs,
    /// How csflow, fastflow, ssnf and posflow combine their grids into one map [default: product for csflow, otherwise sum]
    #[arg(long, value_name = "HOW", value_parser = choice::<MapLevels>())]
    pub map_levels: Option<MapLevels>,
    /// Learning rate [default: depends on method and preset]
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f32>,
    #[command(flatten)]
    pub contrast: ContrastArgs,
    #[command(flatten)]
    pub calibration: Calibration,
    /// Share of the good images held out of training to find the threshold, up to 0.5; with 0 the model has no threshold and
    /// gives scores without verdicts
    #[arg(long, help_heading = THRESHOLD, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub held_out: f64,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub roi: RoiArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Continue an interrupted training from MODEL.ckpt
    #[arg(long)]
    pub resume: bool,
    /// Set of defaults for the options that are not given
    #[arg(long, value_parser = choice::<Preset>(), default_value_t)]
    pub preset: Preset,
    /// Also write the results as JSON to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `adflow weak`
#[derive(Debug, Args)]
pub struct Weak {
    /// Data set in the MVTec AD layout
    pub data: PathBuf,
    /// One or two types of defects to draw from, separated by commas [default: two types, chosen by the seed]
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Number of defective images to train with; near-duplicates of these leave the test
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// Backbone whose features are used: a safetensors file
    #[arg(long, value_name = "FILE")]
    pub backbone: String,
    /// Seeds of the draw and of training, separated by commas; everything is repeated for each
    #[arg(long, value_name = "SEEDS", default_value = "0", value_delimiter = ',')]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub contrast: PhaseArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Also write the results as JSON to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep the models, and the lists of the images drawn, in DIR
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
}

/// `adflow inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// Model file written by `adflow train`
    pub model: PathBuf,
    /// Image files, or folders of images
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Also write each image with its heat map to DIR, as PNG
    #[arg(long, value_name = "DIR")]
    pub heatmaps: Option<PathBuf>,
    /// Reject parts with a score above X instead of the model's threshold
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub threshold: Option<f32>,
    /// Print one JSON object per image instead of text
    #[arg(long)]
    pub json: bool,
    /// Exit with code 3 if a part is defective
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
    /// Model file written by `adflow train`
    pub model: PathBuf,
    /// Data set in the MVTec AD layout
    pub data: PathBuf,
    /// Write the report DIR/report.html, a self-contained page
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Also write the results as JSON to FILE; - is standard output
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
    /// Methods to compare, separated by commas, or all
    #[arg(long, value_name = "METHODS", default_value = "all", value_delimiter = ',', value_parser = choice_or_all::<Method>())]
    pub methods: Vec<OneOrAll<Method>>,
    #[command(flatten)]
    pub backbone: BackboneArgs,
    /// Seeds, separated by commas; each method is trained once with each seed
    #[arg(long, value_name = "SEEDS", default_value = "0", value_delimiter = ',')]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub roi: RoiArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Also write the results as JSON to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report DIR/report.html and a page for each method
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Keep the models in DIR
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Continue an interrupted comparison: models already in DIR are measured, not trained again
    #[arg(long, requires = "models")]
    pub resume: bool,
}

/// `adflow info`
#[derive(Debug, Args)]
pub struct Info {
    /// Model file written by `adflow train`
    pub model: PathBuf,
}

/// `adflow dump`
#[derive(Debug, Args)]
pub struct Dump {
    /// Model file written by `adflow train`
    pub model: PathBuf,
}

/// `adflow export`
#[derive(Debug, Args)]
pub struct Export {
    /// Model file written by `adflow train`
    pub model: PathBuf,
    /// ONNX file to write
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub out: PathBuf,
    /// Size in pixels of the images that the graph takes [default: the input size of the model]
    #[arg(long, value_name = "WxH", value_parser = camera_size)]
    pub image: Option<(u32, u32)>,
    /// Order of the samples in memory: planes (nchw) or interleaved channels (nhwc)
    #[arg(long, value_enum, default_value_t = Layout::Nchw)]
    pub layout: Layout,
    /// Type of the samples; white is 255, 65535 or 1
    #[arg(long = "type", value_parser = choice::<SampleType>(), default_value_t)]
    pub r#type: SampleType,
    /// Channels of the images and their order
    #[arg(long, value_parser = choice::<ChannelOrder>(), default_value_t = ChannelOrder::Rgb)]
    pub order: ChannelOrder,
    /// Leave out the anomaly map; for cdnf, differnet and gauss this makes the graph about a third as large
    #[arg(long)]
    pub no_map: bool,
}

/// `adflow freeze`
#[derive(Debug, Args)]
pub struct Freeze {
    /// Model file written by `adflow train`
    pub model: PathBuf,
    /// Model file to write; it gives the same scores as MODEL
    #[arg(short = 'o', long = "out", value_name = "BLOB")]
    pub out: PathBuf,
    /// Fail if the file would be larger than this
    #[arg(long, value_name = "BYTES")]
    pub max_bytes: Option<usize>,
    /// Width of the camera's images in pixels; only affects the memory size that is printed
    #[arg(long, value_name = "N", default_value_t = 640, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub camera_width: u32,
}

/// `adflow bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// Model file written by `adflow train`
    pub model: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Size of the camera image in pixels [default: the input size of the model]
    #[arg(long, value_name = "WxH", value_parser = camera_size)]
    pub camera: Option<(u32, u32)>,
    /// Time spent on each measurement, in seconds
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// Also measure the time of each op on the GPU
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub compute: ScoringArgs,
}

/// `adflow synth`
#[derive(Debug, Args)]
pub struct Synth {
    /// Folder of images of good parts, or a data set in the MVTec AD layout
    pub data: PathBuf,
    /// Folder for the images, the masks and sheet.png, in the layout that `adflow eval` reads
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Kinds of defects to make, separated by commas, or all
    #[arg(long, value_name = "KINDS", default_value = "all", value_delimiter = ',', value_parser = choice_or_all::<Kind>())]
    pub kind: Vec<OneOrAll<Kind>>,
    /// Number of images of each kind
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Folder of texture images for perlin [default: generated textures]
    #[arg(long, value_name = "DIR")]
    pub textures: Option<PathBuf>,
    /// Resize images to N x N pixels
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(32..=2048))]
    pub size: u32,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// `adflow devices`
#[derive(Debug, Args)]
pub struct Devices {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// `adflow diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// Model file written by `adflow train`
    pub model: PathBuf,
    /// Image to score
    pub image: PathBuf,
    /// Reference device
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = Device::from_str)]
    pub lhs: Device,
    /// Device to compare with the reference
    #[arg(long, value_name = "DEVICE", default_value = "vulkan", value_parser = Device::from_str)]
    pub rhs: Device,
}

/// `adflow threshold`
#[derive(Debug, Args)]
pub struct SetThreshold {
    /// Model file written by `adflow train`
    pub model: PathBuf,
    /// Reject parts with a score above X; nothing is guaranteed about the false-reject rate
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub set: Option<f32>,
    /// Compute the threshold from the held-out scores in the model: share of good parts that may be rejected
    #[arg(long, value_name = "RATE", conflicts_with = "set", value_parser = rate)]
    pub false_reject: Option<f64>,
    /// Confidence that no more good parts than that are rejected
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = rate)]
    pub confidence: f64,
    /// Add a grey zone: share of good parts that may be unsure or rejected, above the false-reject rate
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub grey_zone: Option<f64>,
    /// Model file to write [default: MODEL itself]
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
