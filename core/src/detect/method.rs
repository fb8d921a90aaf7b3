//! What a method is: a value with a name, defaults, and a detector.
//!
//! A method is one file in `methods/` and one line in the list there. The file's [`Definition`] says what the method can and
//! what it chooses where the user says nothing; its [`Detector`] says what is modelled and how. `pipeline.rs` does the rest
//! for all of them: reading images, training, writing programs, calibrating.

use super::choices::{MapLevels, Preset};
use super::emit::Emit;
use super::error::Result;
use super::features::data::Data;
use super::features::extractor::Extractor;
use super::job::Job;
use super::observer::Observer;
use crate::backbones::Backbone;
use crate::graph::{Graph, TensorId};
use crate::image::GridPlace;
use crate::params::Params;
use crate::place::{OwnedProgram, Reuse, place};
use crate::shape::Shape;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A detection method: a value that says what it is called, what it can, and how it models normality.
///
/// ```
/// use adflow::detect::Method;
///
/// let method: Method = "padim".parse()?;
/// assert_eq!(method, Method::PADIM);
/// let names: Vec<&str> = Method::ALL.iter().filter(|m| m.tiles()).map(|m| m.as_str()).collect();
/// assert!(names.contains(&"padim") && !names.contains(&"cdnf"), "cdnf has no map to join tiles by");
/// assert!("pading".parse::<Method>().is_err_and(|error| error.to_string().contains("padim")));
/// # Ok::<(), adflow::choice::UnknownName>(())
/// ```
#[derive(Clone, Copy)]
pub struct Method(pub(super) &'static Definition);

impl Method {
    pub(super) fn can(self, what: Ability) -> bool {
        self.0.can.contains(&what)
    }

    /// Name in files, on the command line and in C.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Number in C, from 1.
    pub const fn number(self) -> u32 {
        self.0.number
    }

    /// What it models: a phrase without a full stop.
    pub const fn summary(self) -> &'static str {
        self.0.summary
    }

    /// Whether it describes an image by one vector, pooled from maps ([`Pooling`](super::Pooling)).
    pub fn pools(self) -> bool {
        self.can(Ability::Pools)
    }

    /// Whether a contrastive phase can adapt the backbone first ([`TrainOptions::contrastive`](super::TrainOptions)).
    pub fn adapts(self) -> bool {
        self.can(Ability::Adapts)
    }

    /// Whether it has several grids that are made one map ([`MapLevels`](super::MapLevels)).
    pub fn has_levels(self) -> bool {
        self.can(Ability::Levels)
    }

    /// Whether it keeps a memory of vectors ([`TrainOptions::radius`](super::TrainOptions), `memory_bytes`).
    pub fn remembers(self) -> bool {
        self.can(Ability::Remembers)
    }

    /// Whether images can be cut into tiles ([`TrainOptions::canvas`](super::TrainOptions)).
    pub const fn tiles(self) -> bool {
        matches!(self.0.tiles, Tiles::Taps(_))
    }
}

impl PartialEq for Method {
    fn eq(&self, other: &Method) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Method {}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method({})", self.0.name)
    }
}

/// What a method is.
pub(super) struct Definition {
    /// Name in files, on the command line and in C.
    pub name: &'static str,
    /// Number in C, from 1; never changes.
    pub number: u32,
    /// What it models, for help texts: a phrase without a full stop.
    pub summary: &'static str,
    /// Whether images can be cut into tiles.
    pub tiles: Tiles,
    /// What it can besides.
    pub can: &'static [Ability],
    /// What is chosen where nothing is said.
    pub defaults: fn(&Backbone, Preset) -> Defaults,
    /// How normality is modelled.
    pub detector: &'static dyn Detector,
}

/// What some methods can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ability {
    /// Describes an image by one vector, pooled from maps ([`Pooling`](crate::backbones::Pooling)).
    Pools,
    /// A contrastive phase can adapt the backbone first.
    Adapts,
    /// Has several grids that are made one map ([`MapLevels`]).
    Levels,
    /// Keeps a memory of vectors, which has a radius and a size.
    Remembers,
}

/// Whether images can be cut into tiles.
#[derive(Clone, Copy)]
pub(super) enum Tiles {
    /// They can; the taps that may be read, whose strides the tiles must fit.
    Taps(fn(&Backbone) -> Vec<&'static str>),
    /// They cannot, because: a clause that begins with the method as its subject.
    No(&'static str),
}

/// Why methods on pooled features have no tiles.
pub(super) const ONE_VECTOR: Tiles = Tiles::No("describes a whole picture by one vector and has no map to join");

/// What is chosen where nothing is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    /// Side of the input, pixels.
    pub size: u32,
    /// Views averaged when scoring.
    pub views: u32,
    /// Epochs; `None`: held-out parts decide.
    pub epochs: Option<usize>,
    /// Step size of the optimiser.
    pub learning_rate: f32,
    /// Whether training sees fresh random rotations each epoch instead of fixed views.
    pub random_rotations: bool,
    /// How several grids become one map.
    pub map_levels: MapLevels,
}

impl Defaults {
    /// One view, until held-out parts say to stop.
    pub const COMMON: Defaults = Defaults {
        size: 224,
        views: 1,
        epochs: None,
        learning_rate: 2e-4,
        random_rotations: false,
        map_levels: MapLevels::Sum,
    };
}

/// A tensor of features: a vector, or a map whose steps have places in the image.
#[derive(Clone, Debug)]
pub(super) struct Feature {
    /// Name of the output of program `features`.
    pub name: String,
    pub tensor: TensorId,
    pub place: Option<GridPlace>,
}

/// A feature as it lies in a row of [`Data`].
#[derive(Clone, Debug)]
pub(super) struct FeatureRow {
    pub name: String,
    pub shape: Shape,
    pub place: Option<GridPlace>,
    /// First value in a row.
    pub first: usize,
    /// First position among those of all features.
    pub first_position: usize,
}

/// Features that were read, and parameters to fit to them.
pub(super) struct Fitting<'f, 'e> {
    pub job: &'f Job<'f>,
    pub features: &'f [FeatureRow],
    pub data: &'f mut Data,
    pub params: &'f mut Params,
    pub extractor: &'f mut Extractor<'e>,
    pub observer: &'f mut dyn Observer,
}

impl Fitting<'_, '_> {
    /// A program over the parameters; `emit` writes its graph.
    pub fn program(&mut self, name: &str, emit: impl FnOnce(&mut Emit<'_>) -> Result<()>) -> Result<OwnedProgram> {
        let mut g = Graph::new();
        emit(&mut Emit { job: self.job, g: &mut g, params: self.params })?;
        Ok(place(name, &g, &self.params.layout(), Reuse::Share)?)
    }
}

/// What a training by gradient steps gives beside the parameters.
pub(super) struct Fitted {
    pub epochs: usize,
    /// Mean loss of the last epoch.
    pub loss: Option<f64>,
    /// Programs that the model keeps.
    pub programs: Vec<OwnedProgram>,
    /// What the model says about it.
    pub about: Vec<(String, String)>,
}

impl Fitted {
    /// Of a method in closed form.
    pub fn closed_form() -> Fitted {
        Fitted { epochs: 0, loss: None, programs: Vec::new(), about: Vec::new() }
    }
}

/// The score of an image, and a map where there is a grid.
pub(super) struct Scored {
    /// One number a sample.
    pub score: TensorId,
    /// 1×H×W on the grid of the first feature.
    pub map: Option<TensorId>,
    /// Positions of the map whose mean is the score, the largest; 0: the score is made of all of them.
    pub top: u32,
}

impl Scored {
    /// Without a map; maps are gradients then.
    pub fn of_image(score: TensorId) -> Scored {
        Scored { score, map: None, top: 0 }
    }
}

/// How a method models normality.
pub(super) trait Detector: Sync {
    /// Emits what is modelled: the features of `image`, 3×S×S, frozen while the model is fitted. Parameters are added the first
    /// time.
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>>;

    /// Adds the model's parameters: fitted in closed form to the features of good parts, or where training begins.
    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()>;

    /// Trains them by gradient steps, where the method does.
    fn train(&self, fitting: &mut Fitting<'_, '_>, resume: Option<&[u8]>) -> Result<Fitted> {
        let _ = (fitting, resume);
        Ok(Fitted::closed_form())
    }

    /// Emits score and map of features.
    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored>;

    /// Emits what a map is the gradient of where [`Detector::score`] has none, one number a sample: by default the score.
    fn explained(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<TensorId> {
        Ok(self.score(e, features)?.score)
    }
}
