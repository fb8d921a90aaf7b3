//! What users choose among.

pub use crate::backbones::Pooling;

use crate::choice;
use crate::choice::List;

/// Choices of training options, as C has them too.
pub const CHOICES: &[List] = &[List::of::<Preset>(), List::of::<MapLevels>(), List::of::<Pooling>()];

choice! {
    /// A set of defaults for training.
    pub enum Preset: "preset", default Fast {
        /// A fixed list of exact views, features computed once: minutes on two cores.
        Fast("fast") = 1,
        /// The papers' literal settings: large images, fresh random rotations in every epoch, many views when scoring.
        Paper("paper") = 2,
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

choice! {
    /// How the energies of several grids become one map, on the finest of them.
    pub enum MapLevels: "map levels" {
        /// High where every grid is: the product of their energies, as in anomalib's CS-Flow.
        Product("product") = 1,
        /// High where any grid is: the sum of their energies.
        Sum("sum") = 2,
        /// The finest grid alone, as in CS-Flow's published code.
        Finest("finest") = 3,
    }
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
