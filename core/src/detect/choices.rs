//! What users choose among.

use super::error::TrainError;
use alloc::format;
use core::fmt;
use core::str::FromStr;

/// A set of defaults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// A fixed list of exact views, features computed once: minutes on two cores.
    Fast,
    /// The papers' literal settings: 448 pixels, fresh random rotations each epoch, 48 or 64 views when scoring.
    Paper,
}

impl Preset {
    /// Name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Preset::Fast => "fast",
            Preset::Paper => "paper",
        }
    }
}

impl FromStr for Preset {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Preset, TrainError> {
        match text {
            "fast" => Ok(Preset::Fast),
            "paper" => Ok(Preset::Paper),
            _ => Err(TrainError::Options(format!("unknown preset \"{text}\": fast or paper"))),
        }
    }
}

/// What images are resized to before they are cut into tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canvas {
    /// The size of the first training image: none is shrunk where all have it.
    Native,
    /// Width and height in pixels.
    Pixels(u32, u32),
}

/// How the energies of several grids become one map, on the finest of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapLevels {
    /// Their product: high where every scale is (anomalib's for CS-Flow).
    Product,
    /// Their sum.
    Sum,
    /// The finest alone (CS-Flow's own code).
    Finest,
}

/// How a backbone is adapted to parts before a flow is trained on it: CDNF's contrastive phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrastive {
    /// Most epochs over the good images, 1..=10000; it ends earlier once there is nothing left to learn.
    pub epochs: u32,
    /// Step size of Adam.
    pub learning_rate: f32,
}

impl Default for Contrastive {
    fn default() -> Contrastive {
        // `benches/RESULTS.md`.
        Contrastive { epochs: 12, learning_rate: 1e-4 }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
