//! What options take: the library's words as values, and numbers in their ranges.

use adflow::detect::Canvas;
use clap::ValueEnum;

/// The library's synthetic anomalies, by the names the command line knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SynthKind {
    /// A rectangle of the same image in the wrong place, lighter or darker
    Cutpaste,
    /// A thin turned strip of the same image
    Scar,
    /// Blobs of another texture
    Perlin,
    /// Patches of another good image, blended without a seam
    Nsa,
    /// Each image in every way
    All,
}

/// How samples are brought to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Normalised {
    /// Mean and standard deviation of ImageNet taken out, as torchvision does
    Imagenet,
    /// Samples from 0 to 1
    Unit,
}

/// How the samples of an exported graph's input lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// 1 x channels x height x width
    Nchw,
    /// 1 x height x width x channels
    Nhwc,
}

/// Channels of an exported graph's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageOrder {
    /// Red, green, blue
    Rgb,
    /// Blue, green, red, as OpenCV has it
    Bgr,
    /// One channel
    Grey,
}

/// Type of the samples of an exported graph's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageType {
    /// 8 bits
    U8,
    /// 16 bits
    U16,
    /// Floats
    F32,
}

/// The library's precisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32 bits
    Full,
    /// 16 bits
    Half,
}

impl From<Precision> for adflow_vulkan::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Full => Self::Full,
            Precision::Half => Self::Half,
        }
    }
}

/// The library's methods, by the names the command line knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Flow over pooled features of several scales
    Cdnf,
    /// The flow of Rudolph et al. 2021
    Differnet,
    /// One flow over feature maps at three scales (Rudolph et al. 2022)
    Csflow,
    /// 2D flows over feature maps (Yu et al. 2021)
    Fastflow,
    /// 2D flows over feature maps, trained against synthetic anomalies
    Ssnf,
    /// A flow over feature maps that knows positions
    Posflow,
    /// A Gaussian for each position of the feature maps
    Padim,
    /// One Gaussian over pooled features
    Gauss,
}

impl From<Method> for adflow::detect::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Cdnf => Self::CDNF,
            Method::Differnet => Self::DIFFERNET,
            Method::Csflow => Self::CSFLOW,
            Method::Fastflow => Self::FASTFLOW,
            Method::Ssnf => Self::SSNF,
            Method::Posflow => Self::POSFLOW,
            Method::Padim => Self::PADIM,
            Method::Gauss => Self::GAUSS,
        }
    }
}

/// The library's presets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Fixed views, features computed once
    Fast,
    /// Random rotations, features computed in every epoch
    Paper,
}

impl From<Preset> for adflow::detect::Preset {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Fast => Self::Fast,
            Preset::Paper => Self::Paper,
        }
    }
}

/// How grids make one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MapLevels {
    /// High where every grid is
    Product,
    /// High where any grid is
    Sum,
    /// The finest grid alone
    Finest,
}

impl From<MapLevels> for adflow::detect::MapLevels {
    fn from(levels: MapLevels) -> Self {
        match levels {
            MapLevels::Product => Self::Product,
            MapLevels::Sum => Self::Sum,
            MapLevels::Finest => Self::Finest,
        }
    }
}

/// What is kept of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pooling {
    /// Means of channels
    Mean,
    /// Means and deviations
    Statistics,
}

impl From<Pooling> for adflow::detect::Pooling {
    fn from(pooling: Pooling) -> Self {
        match pooling {
            Pooling::Mean => Self::Mean,
            Pooling::Statistics => Self::Statistics,
        }
    }
}

pub fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "not a number".to_string())
}

pub fn rate(text: &str) -> Result<f64, String> {
    number(text).and_then(|x| if x > 0.0 && x < 1.0 { Ok(x) } else { Err("must lie between 0 and 1".into()) })
}

pub fn share(text: &str) -> Result<f64, String> {
    number(text).and_then(|x| if (0.0..=0.5).contains(&x) { Ok(x) } else { Err("must lie between 0 and 0.5".into()) })
}

pub fn finite(text: &str) -> Result<f32, String> {
    number(text).map(|x| x as f32).and_then(|x| if x.is_finite() { Ok(x) } else { Err("must be finite".into()) })
}

pub fn camera_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', 'X']).ok_or("expected WIDTHxHEIGHT, e.g. 1920x1080")?;
    let side = |s: &str| s.parse().ok().filter(|n| (1..=16384).contains(n)).ok_or("a side must be 1 to 16384");
    Ok((side(sides.0)?, side(sides.1)?))
}

pub fn canvas(text: &str) -> Result<Canvas, String> {
    match text {
        "native" => Ok(Canvas::Native),
        _ => camera_size(text).map(|(width, height)| Canvas::Pixels(width, height)),
    }
}
