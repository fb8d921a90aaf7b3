//! What can be chosen when training, and what is chosen where nothing is said.

use super::TrainError;
use crate::backbones::{Backbone, Pooling};
use crate::checksum::Digest;
use crate::image::{Roi, Tiling};
use crate::model::ViewKind;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// A detection method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Continuous dense flow on pooled multi-scale features.
    Cdnf,
    /// RealNVP/Glow flow on pooled multi-scale features.
    DifferNet,
    /// A position-conditioned flow on whitened feature maps.
    PosFlow,
    /// CS-Flow: one flow over feature maps at three scales.
    CsFlow,
    /// FastFlow: 2D flows on feature maps.
    FastFlow,
    /// SSNF: 2D flows on feature maps, trained against synthetic anomalies.
    Ssnf,
    /// A Gaussian at each position of a feature map.
    Padim,
    /// One Gaussian over pooled multi-scale features: the floor that a flow has to beat.
    Gauss,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 8] = [
        Method::Cdnf,
        Method::DifferNet,
        Method::CsFlow,
        Method::FastFlow,
        Method::Ssnf,
        Method::PosFlow,
        Method::Padim,
        Method::Gauss,
    ];

    /// Name in files, on the command line and in C.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Cdnf => "cdnf",
            Method::DifferNet => "differnet",
            Method::PosFlow => "posflow",
            Method::CsFlow => "csflow",
            Method::FastFlow => "fastflow",
            Method::Ssnf => "ssnf",
            Method::Padim => "padim",
            Method::Gauss => "gauss",
        }
    }

    /// Whether it describes an image by one vector, pooled from maps; the others have maps.
    pub const fn pools(self) -> bool {
        matches!(self, Method::Cdnf | Method::DifferNet | Method::Gauss)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Method, TrainError> {
        let unknown = || {
            TrainError::Options(format!(
                "unknown method \"{text}\": cdnf, differnet, csflow, fastflow, ssnf, posflow, padim or gauss"
            ))
        };
        Method::ALL.into_iter().find(|m| m.as_str() == text).ok_or_else(unknown)
    }
}

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

/// What can be chosen; `None` leaves it to the preset.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Which method. The default is the one that is best on parts it has not seen (`benches/RESULTS.md`).
    pub method: Method,
    /// Which defaults.
    pub preset: Preset,
    /// Side of the square that the image is resized to, or of a tile, 32..=2048 pixels.
    pub size: Option<u32>,
    /// Resize images to this and cut them into overlapping tiles, for methods with a map of their own: `padim`, `posflow`,
    /// `fastflow`, `csflow`. `None`: the whole image becomes one square.
    pub canvas: Option<Canvas>,
    /// Border of a tile that is there only to be seen, in pixels; a multiple of the backbone's stride. Only with `canvas`.
    pub margin: Option<u32>,
    /// Epochs over the images; `None` stops by the scores of held-out good parts.
    pub epochs: Option<u32>,
    /// Views averaged when scoring, 1..=256: up to 8 are the symmetries of the square, more are rotations.
    pub views: Option<u32>,
    /// Share of good parts that may be rejected, inside 0..1.
    pub false_reject: f64,
    /// Confidence of that promise, inside 0..1.
    pub confidence: f64,
    /// Share of images set aside for calibration, in whole groups of near-duplicates, 0..=0.5; 0 sets none aside and
    /// leaves the model without a threshold.
    pub held_out: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Step size of Adam.
    pub learning_rate: Option<f32>,
    /// Whether the model can make maps.
    pub map: bool,
    /// How flows on several grids make one map; where the score is that of the map's largest values, of the score too. `None`:
    /// product for [`Method::CsFlow`], sum for the other flows on maps; the others have one grid.
    pub map_levels: Option<MapLevels>,
    /// What is kept of a map by methods that describe an image by one vector ([`Method::pools`]); `builtin` has means only.
    pub pooling: Pooling,
    /// Adapt the backbone to the parts first (`cdnf` only, and not on `builtin`): normal images against synthetic anomalies, and
    /// real ones where [`train_with`](super::train_with) is given some.
    pub contrastive: Option<Contrastive>,
    /// Where to look, stretched to each image; `None`: everywhere. The model keeps it. Pixels outside change nothing.
    pub roi: Option<Roi>,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            method: Method::Padim,
            preset: Preset::Fast,
            size: None,
            canvas: None,
            margin: None,
            epochs: None,
            views: None,
            false_reject: 0.01,
            confidence: 0.95,
            held_out: 0.1,
            seed: 0,
            learning_rate: None,
            map: true,
            map_levels: None,
            pooling: Pooling::Mean,
            contrastive: None,
            roi: None,
        }
    }
}

/// Options with every choice made.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub method: Method,
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
    pub pooling: Pooling,
    pub contrastive: Option<Contrastive>,
    /// In cells of the input, or of the canvas.
    pub roi: Option<Roi>,
}

impl TrainOptions {
    /// `native` is the size of the first image, if it is known.
    pub(super) fn resolve(&self, backbone: &Backbone, native: Option<(u32, u32)>) -> Result<Setup, TrainError> {
        let range = |ok: bool, text: &str| if ok { Ok(()) } else { Err(TrainError::Options(text.to_string())) };
        let inside = |x: f64| x > 0.0 && x < 1.0;
        range(inside(self.false_reject), "the false-reject rate must lie between 0 and 1")?;
        range(inside(self.confidence), "the confidence must lie between 0 and 1")?;
        range((0.0..=0.5).contains(&self.held_out), "the held-out share must lie in 0..=0.5")?;
        range(self.epochs.is_none_or(|e| (1..=100_000).contains(&e)), "epochs must lie in 1..=100000")?;
        range(self.views.is_none_or(|v| (1..=256).contains(&v)), "views must lie in 1..=256")?;
        range(self.size.is_none_or(|s| (32..=2048).contains(&s)), "the size must lie in 32..=2048 pixels")?;
        let levels = matches!(self.method, Method::CsFlow | Method::FastFlow | Method::Ssnf | Method::PosFlow);
        range(
            levels || self.map_levels.is_none(),
            "only csflow, fastflow, ssnf and posflow have several grids to make a map of",
        )?;
        range(
            self.method.pools() || self.pooling == Pooling::Mean,
            "only cdnf, differnet and gauss pool maps: statistics pooling goes with no other method",
        )?;
        let lr = self.learning_rate.unwrap_or(match self.method {
            Method::PosFlow => 2e-3,
            Method::FastFlow => 1e-3,
            Method::Ssnf if self.preset == Preset::Paper => 5e-4,
            Method::Ssnf => 2e-3,
            Method::Cdnf | Method::DifferNet | Method::CsFlow | Method::Padim | Method::Gauss => 2e-4,
        });
        range(lr > 0.0 && lr <= 1.0, "the learning rate must lie in 0..=1")?;
        if let Some(c) = &self.contrastive {
            range(
                self.method == Method::Cdnf,
                "only cdnf adapts its backbone: a contrastive phase goes with no other method",
            )?;
            range((1..=10_000).contains(&c.epochs), "contrastive epochs must lie in 1..=10000")?;
            range(c.learning_rate > 0.0 && c.learning_rate <= 1.0, "the contrastive learning rate must lie in 0..=1")?;
        }
        let flow = matches!(self.method, Method::Cdnf | Method::DifferNet);
        let paper = self.preset == Preset::Paper;
        let views = self.views.unwrap_or(match (self.method, paper) {
            (Method::Padim | Method::PosFlow | Method::FastFlow | Method::Ssnf | Method::CsFlow, _) => 1,
            (Method::Cdnf | Method::Gauss | Method::DifferNet, false) => 4,
            (Method::Cdnf | Method::Gauss, true) => 48,
            (Method::DifferNet, true) => 64,
        });
        let view_kind = if views <= 8 && !paper { ViewKind::Symmetries } else { ViewKind::Rotations };
        let epochs = self.epochs.map(|e| e as usize).or(match (self.method, paper) {
            (Method::Cdnf, true) => Some(280),
            (Method::DifferNet, true) => Some(192),
            (Method::CsFlow, true) => Some(240),
            _ => None,
        });
        let default_size = match self.method {
            Method::Padim => super::padim::default_size(backbone),
            Method::PosFlow | Method::FastFlow | Method::Ssnf | Method::CsFlow => {
                super::map_flow::default_size(self.method, self.preset, backbone)
            }
            Method::Cdnf | Method::DifferNet | Method::Gauss if paper => 448,
            Method::Cdnf | Method::DifferNet | Method::Gauss => 224,
        };
        let size = self.size.unwrap_or(if self.canvas.is_some() { TILE } else { default_size });
        let tiling = self.tiling(backbone, size, views, native)?;
        let canvas = tiling.map_or((size, size), |t| t.canvas());
        let too_small = || {
            let cells = "nothing is inside the region of interest in the cells of the model's input";
            TrainError::Options(format!("{cells}, {}x{}: it is too small or too thin", canvas.0, canvas.1))
        };
        let roi = self.roi.as_ref().map(|roi| roi.at(canvas.0, canvas.1).ok_or_else(too_small)).transpose()?;
        Ok(Setup {
            method: self.method,
            preset: self.preset,
            size,
            tiling,
            epochs,
            views,
            view_kind,
            train_views: if paper && flow { 4 } else { views.min(8) as usize },
            random_rotations: paper && flow,
            false_reject: self.false_reject,
            confidence: self.confidence,
            held_out: self.held_out,
            seed: self.seed,
            learning_rate: lr,
            map: self.map,
            map_levels: self.map_levels.unwrap_or(match self.method {
                Method::CsFlow => MapLevels::Product,
                _ => MapLevels::Sum,
            }),
            pooling: self.pooling,
            contrastive: self.contrastive,
            // The whole image is no region.
            roi: roi.filter(|roi| roi.bits().share() < 1.0),
        })
    }

    /// The tiles, where there are to be some.
    fn tiling(
        &self,
        backbone: &Backbone,
        size: u32,
        views: u32,
        native: Option<(u32, u32)>,
    ) -> Result<Option<Tiling>, TrainError> {
        let error = |text: String| Err(TrainError::Options(text));
        let canvas = match (self.canvas, native) {
            (None, _) if self.margin.is_some() => {
                return error("a margin is that of tiles: choose a canvas".to_string());
            }
            (None, _) => return Ok(None),
            (Some(Canvas::Pixels(width, height)), _) | (Some(Canvas::Native), Some((width, height))) => (width, height),
            (Some(Canvas::Native), None) => {
                return error("there is no image to take the canvas's size from".to_string());
            }
        };
        let taps = match self.method {
            Method::Padim => super::padim::taps(backbone),
            Method::PosFlow | Method::FastFlow | Method::CsFlow => {
                super::map_flow::taps(self.method, self.preset, backbone)
            }
            Method::Ssnf => {
                let text =
                    "ssnf is trained against spoilt whole images, not tiles: choose padim, posflow, fastflow or csflow";
                return error(text.to_string());
            }
            Method::Cdnf | Method::DifferNet | Method::Gauss => {
                return error(format!(
                    "{} describes a whole picture by one vector and has no map to join: for tiles choose padim, posflow, fastflow or csflow",
                    self.method
                ));
            }
        };
        if views != 1 {
            return error("tiles are scored from one view".to_string());
        }
        // Tiles that lie whole steps of the coarsest tap apart see the canvas in the same way.
        let strides = taps.iter().map(|tap| backbone.tap(tap).map(|t| t.stride)).collect::<Result<Vec<u32>, _>>()?;
        let stride = strides.into_iter().max().unwrap_or(1);
        let margin = self.margin.unwrap_or((size / 8).max(MARGIN).next_multiple_of(stride));
        if !size.is_multiple_of(stride) || !margin.is_multiple_of(stride) {
            return error(format!(
                "with {} the tile's side ({size}) and its margin ({margin}) must be multiples of {stride} pixels",
                backbone.name()
            ));
        }
        match Tiling::new(canvas, size, margin) {
            Some(tiling) => Ok(Some(tiling)),
            None => error(format!(
                "a canvas of {}x{} pixels cannot be cut into tiles of {size} with a margin of {margin}: the margin must be \
                 less than half of a tile, the canvas at most {} pixels wide and {} tiles",
                canvas.0,
                canvas.1,
                Tiling::MAX_CANVAS,
                Tiling::MAX_TILES
            )),
        }
    }
}

/// Side of a tile where nothing is chosen.
const TILE: u32 = 512;
/// Least margin where nothing is chosen: beyond what a step of `builtin` sees.
const MARGIN: u32 = 64;

impl Setup {
    /// Whether the program has a map: where there are tiles, it is what joins them.
    pub fn makes_maps(&self) -> bool {
        self.map || self.tiling.is_some()
    }

    /// Images below which a method cannot be fitted.
    pub fn min_images(&self) -> usize {
        match self.method {
            // A covariance at each position, ridged; fewer say nothing about spread.
            Method::Padim
            | Method::PosFlow
            | Method::CsFlow
            | Method::FastFlow
            | Method::Ssnf
            | Method::Gauss
            | Method::Cdnf
            | Method::DifferNet => 5,
        }
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

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
