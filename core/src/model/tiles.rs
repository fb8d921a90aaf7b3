//! The section `tiles`: a model whose programs see a tile of the image at a time (`image/tiling.rs`).
//!
//! The map of a tile has a step every so many pixels, and tiles lie a multiple of that apart; so the steps in the tiles' middles
//! join to one grid over the whole canvas, which is what scores and maps are made of.

use super::record::{DetectorRecord, MapKind};
use crate::image::{GridPlace, Tiling};
use bytemuck::{Pod, Zeroable};

/// Most steps of a canvas's grid.
const MAX_STEPS: usize = 1 << 24;

/// The section: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TilesRecord {
    /// Width that the image is resized to, pixels.
    pub canvas_width: u32,
    /// Height that the image is resized to, pixels.
    pub canvas_height: u32,
    /// Overlap around each tile, in pixels: context for the network, never scored.
    pub margin: u32,
    /// The score is the mean of so many steps of the grid, the largest; 0: the highest `score` of a tile.
    pub top: u32,
    /// Pixels of the canvas, in both directions, for one of the map.
    pub reduce: u32,
    /// Zeros.
    pub reserved: [u32; 11],
}

const _: () = assert!(size_of::<TilesRecord>() == 64);

impl TilesRecord {
    /// Width and height of the map.
    pub fn map_size(&self) -> (u32, u32) {
        let reduce = self.reduce.max(1);
        (self.canvas_width.div_ceil(reduce), self.canvas_height.div_ceil(reduce))
    }
}

/// How a model cuts images into tiles, and how their maps are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiles {
    tiling: Tiling,
    /// Pixels from step to step of the grid.
    stride: u32,
    /// Canvas pixel at the centre of the first step.
    first: f32,
    top: u32,
    reduce: u32,
}

impl Tiles {
    /// Checks a record against the detector's.
    pub(super) fn new(record: &TilesRecord, detector: &DetectorRecord) -> Result<Tiles, &'static str> {
        let canvas = (record.canvas_width, record.canvas_height);
        let tiling = Tiling::new(canvas, detector.size, record.margin);
        let tiling = tiling.ok_or("tiles: the canvas, the margin or the number of tiles is out of range")?;
        let stride = detector.map_stride as u32;
        let tiles = Tiles { tiling, stride, first: detector.map_first, top: record.top, reduce: record.reduce };
        let checks = [
            (detector.map_kind == MapKind::Program as u32, "tiles: the map must be the program's"),
            (detector.views == 1, "tiles: there must be one view"),
            (
                stride > 0
                    && stride as f32 == detector.map_stride
                    && stride.checked_mul(detector.map_steps) == Some(detector.size),
                "tiles: the steps of the map must divide the tile evenly",
            ),
            (
                stride > 0 && record.margin.is_multiple_of(stride.max(1)),
                "tiles: the margin must be a multiple of a step",
            ),
            ((1..=256).contains(&record.reduce), "tiles: a pixel of the map must be 1 to 256 of the canvas"),
            (
                (detector.map_width, detector.map_height) == record.map_size(),
                "tiles: the map must have the size of the canvas over that",
            ),
            (record.reserved.iter().all(|r| *r == 0), "tiles: reserved fields must be zero"),
        ];
        if let Some((_, rule)) = checks.into_iter().find(|(ok, _)| !ok) {
            return Err(rule);
        }
        let (columns, rows) = tiles.grid();
        let steps = columns.saturating_mul(rows);
        if steps > MAX_STEPS || record.top as usize > steps {
            return Err("tiles: the grid is too large, or smaller than what is scored of it");
        }
        Ok(tiles)
    }

    /// Where the tiles lie.
    pub fn tiling(&self) -> &Tiling {
        &self.tiling
    }

    /// Columns and rows of the joined grid.
    pub fn grid(&self) -> (usize, usize) {
        let (width, height) = self.tiling.canvas();
        (width.div_ceil(self.stride) as usize, height.div_ceil(self.stride) as usize)
    }

    /// Steps in a row of a tile's middle.
    pub fn owned_steps(&self) -> usize {
        (self.tiling.owned() / self.stride) as usize
    }

    /// Steps at each edge of a tile that are not its own.
    pub fn margin_steps(&self) -> usize {
        (self.tiling.margin() / self.stride) as usize
    }

    /// Where the steps of a tile, and of the canvas, lie in it.
    pub fn place(&self) -> GridPlace {
        GridPlace { first: self.first, stride: self.stride as f32 }
    }

    /// Where the steps of the canvas lie in the map.
    pub fn place_in_map(&self) -> GridPlace {
        let reduce = self.reduce as f32;
        GridPlace { first: (self.first + 0.5) / reduce - 0.5, stride: self.stride as f32 / reduce }
    }

    /// Steps whose mean is the score, the largest; `None`: the highest score of a tile.
    pub fn top(&self) -> Option<usize> {
        (self.top > 0).then_some(self.top as usize)
    }

    /// Pixels of the canvas for one of the map.
    pub fn reduce(&self) -> u32 {
        self.reduce
    }
}
