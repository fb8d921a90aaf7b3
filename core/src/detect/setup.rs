//! Options with every choice made: what the rest of training reads.

use super::choices::{Contrastive, MapLevels, Preset};
use crate::backbones::{Backbone, Pooling};
use crate::checksum::Digest;
use crate::image::{Roi, Tiling};
use crate::model::ViewKind;
use alloc::format;

/// Options with every choice made; [`TrainOptions::resolve`](super::options::TrainOptions) makes them.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// Name of the method.
    pub method: &'static str,
    pub preset: Preset,
    /// Side of the programs' input.
    pub size: u32,
    /// How images are cut into tiles.
    pub tiling: Option<Tiling>,
    /// Exact number of epochs, or `None` to stop by held-out parts.
    pub epochs: Option<usize>,
    /// Views averaged when scoring.
    pub views: u32,
    pub view_kind: ViewKind,
    /// Views of an image in training.
    pub train_views: usize,
    /// Fresh random rotations each epoch instead of fixed views.
    pub random_rotations: bool,
    pub false_reject: f64,
    pub confidence: f64,
    pub held_out: f64,
    pub seed: u64,
    pub learning_rate: f32,
    pub map: bool,
    pub map_levels: MapLevels,
    /// How a map becomes a vector; `None` for methods that have maps.
    pub pooling: Option<Pooling>,
    pub contrastive: Option<Contrastive>,
    /// In cells of the input, or of the canvas.
    pub roi: Option<Roi>,
}

impl Setup {
    /// Whether the program has a map: where there are tiles, it is what joins them.
    pub fn makes_maps(&self) -> bool {
        self.map || self.tiling.is_some()
    }

    /// Digest of everything that decides the result, for checkpoints.
    pub fn digest(&self, backbone: &Backbone, data: u64) -> u64 {
        let mut digest = Digest::new(0);
        digest.write(
            format!("{self:?} {} {:016x} {data:016x} {}", backbone.name(), backbone.digest(), crate::VERSION)
                .as_bytes(),
        );
        digest.finish()
    }
}
