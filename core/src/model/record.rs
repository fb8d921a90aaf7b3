//! The fixed-size records of a model file, little-endian. `docs/format.md` of the repository explains each byte.

use crate::threshold::Threshold;
use bytemuck::{Pod, Zeroable};

/// First bytes of a model file. The first byte is not text, the newline is damaged by text-mode transfers.
pub const MAGIC: [u8; 8] = *b"\x89ADFLOW\n";
/// Version of the format this library writes and reads.
pub const VERSION: u32 = 1;

/// Head of the file: 64 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct FileHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// Number of sections.
    pub sections: u32,
    /// Bytes of the file.
    pub length: u64,
    /// CRC-32 of the file with this field as zeros.
    pub checksum: u32,
    /// Zeros.
    pub reserved: [u32; 9],
}

/// A section: 48 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SectionRecord {
    /// What it is, ASCII, zeros after.
    pub kind: [u8; 8],
    /// Name of a program, UTF-8, zeros after.
    pub name: [u8; 24],
    /// First byte, a multiple of 64.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).ok()
}

impl SectionRecord {
    /// Kind of the section; empty if it is not text.
    pub fn kind(&self) -> &str {
        text(&self.kind).unwrap_or("")
    }

    /// Name of the program in the section; `None` for other kinds.
    pub fn name(&self) -> Option<&str> {
        text(&self.name).filter(|n| !n.is_empty())
    }
}

/// A parameter: 40 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ParamRecord {
    /// First byte of the name.
    pub name: u32,
    /// Bytes of the name.
    pub name_len: u32,
    /// Extents, outermost first.
    pub dims: [u32; 4],
    /// 1 where training changes it.
    pub trainable: u32,
    /// Zero.
    pub reserved: u32,
    /// Offset in blocks of 16 floats.
    pub offset: u64,
}

/// Which views of an image are scored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ViewKind {
    /// The first V of the eight symmetries of the square: four right angles, then mirrored ones. Exact.
    Symmetries = 0,
    /// V rotations by k·360°/V, nearest pixel, black corners.
    Rotations = 1,
}

/// Where the map comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapKind {
    /// There is none.
    None = 0,
    /// The `map` output of program `score`.
    Program = 1,
    /// The gradient of the likelihood with respect to the image, from program `localize` (DifferNet, "localization").
    Gradient = 2,
}

/// Everything fixed-size about a detector: 128 bytes. The default is zeros, which no model may have for size, channels and views.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct DetectorRecord {
    /// Side of the programs' square input, pixels.
    pub size: u32,
    /// Channels of the programs' input, 1 or 3.
    pub channels: u32,
    /// Factor per channel on samples in 0..1.
    pub scale: [f32; 3],
    /// Added per channel after the factor.
    pub shift: [f32; 3],
    /// Views averaged, at least 1.
    pub views: u32,
    /// A [`ViewKind`].
    pub view_kind: u32,
    /// A [`MapKind`].
    pub map_kind: u32,
    /// Columns of the map; 0 without one.
    pub map_width: u32,
    /// Rows of the map; 0 without one.
    pub map_height: u32,
    /// Gaussian blur of the map, σ in pixels of the map.
    pub map_blur: f32,
    /// Median map value of held-out good parts.
    pub map_typical: f32,
    /// Highest map value of held-out good parts.
    pub map_limit: f32,
    /// Bit 0: `reject` holds; bit 1: `accept` holds.
    pub threshold_flags: u32,
    /// Scores above are defective.
    pub reject: f32,
    /// Scores up to here are good; between is unsure.
    pub accept: f32,
    /// Held-out good parts the threshold was calibrated on.
    pub held_out: u32,
    /// Share of good parts the threshold may reject.
    pub false_reject: f64,
    /// Confidence that it rejects no more.
    pub confidence: f64,
    /// Side of the `map` output of program `score`, which is enlarged to the map; 0 for other kinds of map.
    pub map_steps: u32,
    /// Pixel of the map at the centre of the output's first step.
    pub map_first: f32,
    /// Pixels of the map from step to step.
    pub map_stride: f32,
    /// Zeros.
    pub reserved: [u32; 5],
}

impl DetectorRecord {
    /// `tiles`: images are cut into tiles, and the map is that of all of them (`tiles.rs`).
    pub(crate) fn check(&self, tiles: bool) -> Result<(), &'static str> {
        let finite = |x: &[f32]| x.iter().all(|v| v.is_finite());
        let checks = [
            (self.size >= 1 && self.size <= 8192, "the size must lie in 1..=8192"),
            (self.channels == 1 || self.channels == 3, "channels must be 1 or 3"),
            (finite(&self.scale) && finite(&self.shift), "the normalisation must be finite"),
            (self.views >= 1 && self.views <= 1024, "views must lie in 1..=1024"),
            (self.view_kind <= ViewKind::Rotations as u32, "unknown kind of views"),
            (self.view_kind != ViewKind::Symmetries as u32 || self.views <= 8, "a square has eight symmetries"),
            (self.map_kind <= MapKind::Gradient as u32, "unknown kind of map"),
            (
                (self.map_kind == MapKind::None as u32) == (self.map_width == 0 && self.map_height == 0),
                "a map has a size, no map has none",
            ),
            (
                (tiles || self.map_width == self.map_height) && self.map_width.max(self.map_height) <= 8192,
                "the map must be at most 8192 pixels wide, and square without tiles",
            ),
            (
                self.map_kind != MapKind::Gradient as u32 || self.map_width == self.size,
                "a gradient map has the size of the input",
            ),
            (
                (self.map_kind == MapKind::Program as u32) == (self.map_steps > 0)
                    && (tiles || self.map_steps <= self.map_width)
                    && (self.map_steps > 0) == (self.map_stride > 0.0),
                "a map that is enlarged has steps, at most as many as columns, and pixels between them",
            ),
            (self.map_first.abs() <= 8192.0 && self.map_stride <= 8192.0, "the steps of the map must lie in the map"),
            ((0.0..=64.0).contains(&self.map_blur), "the blur must lie in 0..=64"),
            (finite(&[self.map_typical, self.map_limit]), "the scale of the map must be finite"),
            (self.threshold_flags <= 3 && self.threshold_flags != 2, "unknown threshold flags"),
            (finite(&[self.reject, self.accept]), "thresholds must be finite"),
            (self.threshold_flags != 3 || self.accept <= self.reject, "accept must not exceed reject"),
            ((0.0..=1.0).contains(&self.false_reject), "the false-reject rate must lie in 0..=1"),
            ((0.0..=1.0).contains(&self.confidence), "the confidence must lie in 0..=1"),
            (self.reserved.iter().all(|r| *r == 0), "reserved fields must be zero"),
        ];
        checks.into_iter().find(|(ok, _)| !ok).map_or(Ok(()), |(_, rule)| Err(rule))
    }

    /// The threshold in the record, if there is one.
    pub fn threshold(&self) -> Option<Threshold> {
        (self.threshold_flags & 1 == 1).then_some(Threshold {
            reject: self.reject,
            accept: (self.threshold_flags & 2 == 2).then_some(self.accept),
            false_reject: self.false_reject,
            confidence: self.confidence,
            held_out: self.held_out,
        })
    }

    /// Replaces the threshold in the record; `None` removes it.
    pub fn set_threshold(&mut self, threshold: Option<&Threshold>) {
        self.threshold_flags = threshold.map_or(0, |t| 1 | if t.accept.is_some() { 2 } else { 0 });
        self.reject = threshold.map_or(0.0, |t| t.reject);
        self.accept = threshold.and_then(|t| t.accept).unwrap_or(0.0);
        self.false_reject = threshold.map_or(0.0, |t| t.false_reject);
        self.confidence = threshold.map_or(0.0, |t| t.confidence);
        self.held_out = threshold.map_or(0, |t| t.held_out);
    }

    /// Which views are scored; symmetries where the number is unknown, which no validated model has.
    pub fn view_kind(&self) -> ViewKind {
        if self.view_kind == ViewKind::Rotations as u32 { ViewKind::Rotations } else { ViewKind::Symmetries }
    }

    /// Where the map comes from; none where the number is unknown, which no validated model has.
    pub fn map_kind(&self) -> MapKind {
        match self.map_kind {
            1 => MapKind::Program,
            2 => MapKind::Gradient,
            _ => MapKind::None,
        }
    }
}

const _: () = assert!(size_of::<FileHeader>() == 64);
const _: () = assert!(size_of::<SectionRecord>() == 48);
const _: () = assert!(size_of::<ParamRecord>() == 40);
const _: () = assert!(size_of::<DetectorRecord>() == 128);
