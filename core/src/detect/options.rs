//! What can be chosen when training, and whether it fits.
//!
//! Nothing here knows a method: what one can do and what it chooses by itself is in its [`Definition`](super::method).

use super::choices::{Canvas, Contrastive, MapLevels, Preset};
use super::error::{Result, TrainError};
use super::method::{Method, Tiles};
use super::setup::Setup;
use crate::backbones::{Backbone, Pooling};
use crate::image::{Roi, Tiling};
use crate::model::ViewKind;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What can be chosen when training. `None` leaves a choice to the method and its preset.
///
/// ```
/// # let (good, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::Trainer;
/// use adflow::detect::{Method, TrainOptions};
///
/// // Reject at most one good part in twenty, with nine parts in ten sure of it.
/// let options = TrainOptions {
///     method: Method::GAUSS,
///     size: Some(64),
///     false_reject: 0.05,
///     confidence: 0.9,
///     held_out: 0.25,
///     ..TrainOptions::default()
/// };
/// let trained = Trainer::new().options(options).train(&good)?;
/// assert_eq!(trained.held_out_scores.len(), 3);
/// # Ok::<(), adflow::detect::TrainError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Which method.
    pub method: Method,
    /// Which defaults.
    pub preset: Preset,
    /// Side of the square that the image is resized to, or of a tile, 32..=2048 pixels.
    pub size: Option<u32>,
    /// Resize images to this and cut them into overlapping tiles, for methods with a map of their own: `padim`, `posflow`,
    /// `fastflow`, `csflow`. `None`: the whole image becomes one square.
    pub canvas: Option<Canvas>,
    /// Overlap around each tile, in pixels: context for the network, never scored. A multiple of the backbone's stride; only with
    /// `canvas`. `None`: an eighth of a tile, at least 64.
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
    /// product for [`Method::CSFLOW`], sum for the other flows on maps; the others have one grid.
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
            method: Method::default(),
            preset: Preset::default(),
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
            pooling: Pooling::default(),
            contrastive: None,
            roi: None,
        }
    }
}

impl TrainOptions {
    /// `native` is the size of the first image, if it is known.
    pub(super) fn resolve(&self, backbone: &Backbone, native: Option<(u32, u32)>) -> Result<Setup> {
        let range = |ok: bool, text: &str| if ok { Ok(()) } else { Err(TrainError::Options(text.to_string())) };
        let inside = |x: f64| x > 0.0 && x < 1.0;
        range(inside(self.false_reject), "the false-reject rate must lie between 0 and 1")?;
        range(inside(self.confidence), "the confidence must lie between 0 and 1")?;
        range((0.0..=0.5).contains(&self.held_out), "the held-out share must lie in 0..=0.5")?;
        range(self.epochs.is_none_or(|e| (1..=100_000).contains(&e)), "epochs must lie in 1..=100000")?;
        range(self.views.is_none_or(|v| (1..=256).contains(&v)), "views must lie in 1..=256")?;
        range(self.size.is_none_or(|s| (32..=2048).contains(&s)), "the size must lie in 32..=2048 pixels")?;
        let Method(method) = self.method;
        let only = |allowed: bool, can: fn(Method) -> bool, what: &str| {
            let text = || format!("only {} {what}", Method::names(can, "and"));
            if allowed { Ok(()) } else { Err(TrainError::Options(text())) }
        };
        only(
            self.method.has_levels() || self.map_levels.is_none(),
            Method::has_levels,
            "have several grids to make a map of",
        )?;
        only(
            self.method.pools() || self.pooling == Pooling::Mean,
            Method::pools,
            "pool maps: statistics pooling goes with no other method",
        )?;
        let defaults = (method.defaults)(backbone, self.preset);
        let learning_rate = self.learning_rate.unwrap_or(defaults.learning_rate);
        range(learning_rate > 0.0 && learning_rate <= 1.0, "the learning rate must lie in 0..=1")?;
        if let Some(c) = &self.contrastive {
            only(self.method.adapts(), Method::adapts, "can adapt the backbone in a contrastive phase")?;
            range((1..=10_000).contains(&c.epochs), "contrastive epochs must lie in 1..=10000")?;
            range(c.learning_rate > 0.0 && c.learning_rate <= 1.0, "the contrastive learning rate must lie in 0..=1")?;
        }
        let views = self.views.unwrap_or(defaults.views);
        let symmetries = views <= 8 && self.preset != Preset::Paper;
        let size = self.size.unwrap_or(if self.canvas.is_some() { TILE } else { defaults.size });
        let tiling = self.tiling(backbone, size, views, native)?;
        let canvas = tiling.map_or((size, size), |t| t.canvas());
        let too_small = || {
            let cells = "nothing is inside the region of interest in the cells of the model's input";
            TrainError::Options(format!("{cells}, {}x{}: it is too small or too thin", canvas.0, canvas.1))
        };
        let roi = self.roi.as_ref().map(|roi| roi.at(canvas.0, canvas.1).ok_or_else(too_small)).transpose()?;
        Ok(Setup {
            method: method.name,
            preset: self.preset,
            size,
            tiling,
            epochs: self.epochs.map(|e| e as usize).or(defaults.epochs),
            views,
            view_kind: if symmetries { ViewKind::Symmetries } else { ViewKind::Rotations },
            train_views: if defaults.random_rotations { 4 } else { views.min(8) as usize },
            random_rotations: defaults.random_rotations,
            false_reject: self.false_reject,
            confidence: self.confidence,
            held_out: self.held_out,
            seed: self.seed,
            learning_rate,
            map: self.map,
            map_levels: self.map_levels.unwrap_or(defaults.map_levels),
            pooling: self.method.pools().then_some(self.pooling),
            contrastive: self.contrastive,
            // The whole image is no region.
            roi: roi.filter(|roi| roi.bits().share() < 1.0),
        })
    }

    /// The tiles, where there are to be some.
    fn tiling(&self, backbone: &Backbone, size: u32, views: u32, native: Option<(u32, u32)>) -> Result<Option<Tiling>> {
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
        let taps = match self.method.0.tiles {
            Tiles::Taps(taps) => taps(backbone),
            Tiles::No(why) => {
                let others = Method::names(Method::tiles, "or");
                return error(format!("{} {why}: for tiles choose {others}", self.method));
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
