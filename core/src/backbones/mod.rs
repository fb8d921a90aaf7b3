//! Backbones: networks with fixed weights that turn an image into maps of features.
//!
//! [`Backbone::builtin`] needs no file; `Backbone::open` (feature `safetensors`) reads one with PyTorch's names and recognises
//! the network by them; [`Backbone::from_network`] takes layers as data.
//!
//! A backbone has named taps, points where its features can be read, and [`Backbone::emit`] writes the ops up to the
//! deepest tap asked for into a graph, with its weights as frozen parameters. Emitting twice with the same prefix shares
//! the weights, so one backbone can see an image at several scales ([`Backbone::pooled`]). Sides of images are free, odd ones
//! too.
//!
//! In the source, each architecture is one file and one line in the list `ARCHITECTURES`.

mod alexnet;
mod batch_norm;
mod builtin;
mod efficientnet_b5;
mod mobilenet_v2;
mod network;
mod pooling;
mod resnet;
mod roles;
#[cfg(feature = "safetensors")]
pub mod safetensors;
mod weights;

pub use network::{Network, Source, Step};
pub use pooling::Pooling;
pub use roles::Roles;
pub use weights::{Weight, Weights, WeightsError};

use crate::graph::{Graph, GraphError, TensorId};
use crate::op::{Concat, Conv2d, Interpolation, MAX_INPUTS, Op, Resize};
use crate::params::{ParamError, Params};
use crate::shape::Shape;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// A point of a backbone where features can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TapInfo {
    /// Name, for example `features.13`.
    pub name: &'static str,
    /// Channels of the map.
    pub channels: u32,
    /// Pixels of the image for one step of the map.
    pub stride: u32,
}

/// How a network is adapted to parts: which of its layers train.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adaptation {
    /// The tap behind which layers train; `None`: all layers do.
    pub from: Option<&'static str>,
}

/// What one architecture defines.
struct Architecture {
    /// Name in messages and model files.
    name: &'static str,
    /// A tensor that no architecture after it in the list has.
    marker: &'static str,
    /// Where tensors have names that begin so, all of them must be the network's: larger ones of its family have more.
    closed: &'static [&'static str],
    /// Factor for samples in 0..1, per channel.
    scale: [f32; 3],
    /// Added after the factor.
    shift: [f32; 3],
    /// Taps, the shallowest first.
    taps: &'static [TapInfo],
    /// What [`Backbone::pooled`] reads unless told otherwise.
    pooled_taps: &'static [&'static str],
    /// What methods on maps read.
    roles: Roles,
    /// [`Backbone::centre`] of a tap, for images of this side.
    centre: fn(weights: &Weights, tap: &str, side: u32) -> Result<f32, WeightsError>,
    /// Whether a flow needs these standardised.
    standardise_pooled: bool,
    /// How it is adapted, where it can be.
    adaptation: Option<Adaptation>,
    /// Names and shapes of the tensors that the network needs.
    tensors: fn() -> Vec<(String, Shape)>,
    /// Turns those tensors, which have been checked, into the ones that are emitted.
    fold: fn(&mut Weights) -> Result<(), WeightsError>,
    /// Emits ops until the emitter has seen all taps.
    emit: fn(&mut Emitter<'_>, TensorId) -> Result<(), BuildError>,
}

/// The architectures that weights can be for.
const ARCHITECTURES: &[Architecture] = &[
    mobilenet_v2::ARCHITECTURE,
    alexnet::ARCHITECTURE,
    resnet::WIDE_RESNET50_2,
    resnet::RESNET18,
    efficientnet_b5::TORCHVISION,
    efficientnet_b5::TENSORFLOW,
    builtin::ARCHITECTURE,
];

/// Why a backbone cannot be emitted.
#[derive(Clone, Debug, PartialEq)]
pub enum BuildError {
    /// The backbone has no such tap.
    Tap {
        /// Name of the backbone.
        backbone: &'static str,
        /// The tap asked for.
        tap: String,
    },
    /// The image has not three channels, or a side of 0.
    Image {
        /// Name of the backbone.
        backbone: &'static str,
        /// Shape of the image.
        found: Shape,
    },
    /// A map of one position has no deviation: [`Pooling::Statistics`].
    Position {
        /// Name of the backbone.
        backbone: &'static str,
        /// The tap of the map.
        tap: String,
        /// Shape of the image, or of a decimation of it.
        image: Shape,
    },
    /// The layers of the backbone cannot be adapted to parts.
    Adaptation {
        /// Name of the backbone.
        backbone: &'static str,
    },
    /// A step of a network that was given as data is not valid.
    Step {
        /// Name of the step.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An op does not fit, for example because the image is too small for the network.
    Graph(GraphError),
    /// A parameter cannot be added.
    Param(ParamError),
    /// A weight is missing, or is not what the network needs.
    Weights(WeightsError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Tap { backbone, tap } => {
                write!(f, "{backbone} has no tap \"{tap}\"; it has")?;
                let taps = ARCHITECTURES.iter().filter(|a| a.name == *backbone).flat_map(|a| a.taps);
                taps.enumerate().try_for_each(|(i, t)| write!(f, "{} {}", if i > 0 { "," } else { "" }, t.name))
            }
            BuildError::Image { backbone, found } => {
                write!(f, "{backbone} reads images of 3 channels, H and W above 0, found {found}")
            }
            BuildError::Position { backbone, tap, image } => write!(
                f,
                "statistics pooling takes deviations over positions, and {backbone}'s {tap} has one only for {}x{} pixels: \
                 choose a larger image or another backbone",
                image.w(),
                image.h()
            ),
            BuildError::Adaptation { backbone } => {
                write!(f, "{backbone} cannot be adapted to parts; these can:")?;
                let all = ARCHITECTURES.iter().filter(|a| a.adaptation.is_some());
                all.enumerate().try_for_each(|(i, a)| write!(f, "{} {}", if i > 0 { "," } else { "" }, a.name))
            }
            BuildError::Step { name, why } => write!(f, "\"{name}\": {why}"),
            BuildError::Graph(error) => error.fmt(f),
            BuildError::Param(error) => error.fmt(f),
            BuildError::Weights(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            BuildError::Graph(error) => Some(error),
            BuildError::Param(error) => Some(error),
            BuildError::Weights(error) => Some(error),
            BuildError::Tap { .. }
            | BuildError::Image { .. }
            | BuildError::Position { .. }
            | BuildError::Adaptation { .. }
            | BuildError::Step { .. } => None,
        }
    }
}

impl From<GraphError> for BuildError {
    fn from(error: GraphError) -> BuildError {
        BuildError::Graph(error)
    }
}

impl From<ParamError> for BuildError {
    fn from(error: ParamError) -> BuildError {
        BuildError::Param(error)
    }
}

impl From<WeightsError> for BuildError {
    fn from(error: WeightsError) -> BuildError {
        BuildError::Weights(error)
    }
}

/// A network with fixed weights.
///
/// ```
/// use adflow::backbones::Backbone;
/// use adflow::graph::Graph;
/// use adflow::params::Params;
/// use adflow::shape::Shape;
///
/// let backbone = Backbone::builtin();
/// for tap in backbone.taps() {
///     println!("{}: {} channels, a step every {} pixels", tap.name, tap.channels, tap.stride);
/// }
/// let (mut graph, mut params) = (Graph::new(), Params::new());
/// let image = graph.input("image", Shape::chw(3, 64, 64));
/// let tap = backbone.taps()[0];
/// let maps = backbone.emit(&mut graph, &mut params, "backbone.", image, &[tap.name])?;
/// assert_eq!(graph.shape(maps[0]), Shape::chw(tap.channels, 64 / tap.stride, 64 / tap.stride));
/// # Ok::<(), adflow::backbones::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Backbone {
    architecture: &'static Architecture,
    weights: Weights,
    digest: u64,
    /// The layers, where they are none of the known architectures'.
    network: Option<network::Checked>,
}

impl fmt::Debug for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backbone({}, {:016x})", self.name(), self.digest)
    }
}

impl Backbone {
    /// The backbone that needs no file: a bank of wavelets, computed, not trained.
    pub fn builtin() -> Backbone {
        let weights = builtin::weights();
        let digest = weights.digest();
        Backbone { architecture: &builtin::ARCHITECTURE, weights, digest, network: None }
    }

    /// The network that these tensors are for, recognised by their names. Every tensor that the network needs is checked
    /// here: name, shape, finite values; others are dropped, unless they say that this is another network. Batch
    /// normalisation is folded into the convolutions.
    ///
    /// ```
    /// use adflow::backbones::{Backbone, Weights};
    /// let mut weights = Weights::new();
    /// weights.insert("fc.bias", &[1000], vec![0.0; 1000])?;
    /// let error = Backbone::from_weights(weights).unwrap_err();
    /// assert!(error.to_string().starts_with("no known network has these tensors"));
    /// # Ok::<(), adflow::backbones::WeightsError>(())
    /// ```
    ///
    /// # Errors
    /// [`WeightsError::Unknown`] where no known network has such tensors, [`WeightsError::Unexpected`] for a larger one of a
    /// known family; else the first tensor that is missing, of another shape, or not finite.
    pub fn from_weights(mut weights: Weights) -> Result<Backbone, WeightsError> {
        let Some(architecture) = ARCHITECTURES.iter().find(|a| weights.contains(a.marker)) else {
            return Err(WeightsError::Unknown { found: weights.names().next().map(ToString::to_string) });
        };
        let needed = (architecture.tensors)();
        for (name, shape) in &needed {
            weights.get(name, *shape)?;
        }
        let needed: BTreeSet<&str> = needed.iter().map(|n| n.0.as_str()).collect();
        let closed = |name: &&str| architecture.closed.iter().any(|prefix| name.starts_with(prefix));
        let counter = |name: &str| name.ends_with(".num_batches_tracked");
        if let Some(name) = weights.names().filter(closed).find(|name| !needed.contains(name) && !counter(name)) {
            return Err(WeightsError::Unexpected { name: name.to_string(), backbone: architecture.name });
        }
        let digest = weights.digest();
        weights.retain(|name| needed.contains(name));
        (architecture.fold)(&mut weights)?;
        Ok(Backbone { architecture, weights, digest, network: None })
    }

    /// The network in a safetensors file (F32, F16 or BF16), recognised by the names of its tensors.
    ///
    /// ```no_run
    /// use adflow::Trainer;
    /// use adflow::backbones::Backbone;
    /// # let good: Vec<adflow::Image> = Vec::new();
    /// let backbone = Backbone::open("mobilenet_v2.safetensors")?;
    /// Trainer::new().backbone(backbone).train(&good)?.save("part.adflow")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`WeightsError::File`] names the file and says why it cannot be read; else those of [`Backbone::from_weights`].
    #[cfg(feature = "safetensors")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Backbone, WeightsError> {
        Backbone::from_weights(safetensors::open(path.as_ref())?)
    }

    /// `builtin`, `mobilenet_v2`, `alexnet`, `resnet18`, `wide_resnet50_2`, `efficientnet_b5`,
    /// `tf_efficientnet_b5`, or `onnx` for a network given as data.
    pub fn name(&self) -> &'static str {
        self.architecture.name
    }

    /// Scale and shift that turn samples in 0..1 into what the network was trained on: `x·scale[c] + shift[c]`.
    pub fn normalisation(&self) -> ([f32; 3], [f32; 3]) {
        let known = (self.architecture.scale, self.architecture.shift);
        self.network.as_ref().map_or(known, network::Checked::normalisation)
    }

    /// Names the weights in the record of a model: [`Weights::digest`] of what the backbone was made from.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether the network can be adapted to parts ([`TrainOptions::contrastive`](crate::detect::TrainOptions::contrastive)).
    ///
    /// # Errors
    /// [`BuildError::Adaptation`], whose text names the networks that can.
    pub fn adaptable(&self) -> Result<(), BuildError> {
        self.adaptation().map(|_| ())
    }

    /// How the network is adapted to parts.
    pub(crate) fn adaptation(&self) -> Result<Adaptation, BuildError> {
        self.architecture.adaptation.ok_or(BuildError::Adaptation { backbone: self.name() })
    }

    /// The network with new values for those of its weights that are in `params` under `prefix`. The digest stays: it names where
    /// the network comes from.
    pub(crate) fn with_params(&self, params: &Params, prefix: &str) -> Backbone {
        let mut adapted = self.clone();
        for p in params.iter() {
            if let Some(name) = p.name.strip_prefix(prefix) {
                adapted.weights.replace(name, &p.data);
            }
        }
        adapted
    }

    /// Number of weights and biases, those behind the last tap included.
    pub fn param_count(&self) -> usize {
        self.weights.iter().map(|(_, w)| w.data.len()).sum()
    }

    /// Where features can be read, the shallowest first.
    pub fn taps(&self) -> &'static [TapInfo] {
        self.network.as_ref().map_or(self.architecture.taps, |n| n.taps)
    }

    /// A tap by name.
    ///
    /// # Errors
    /// [`BuildError::Tap`], whose text lists the taps that there are.
    pub fn tap(&self, name: &str) -> Result<TapInfo, BuildError> {
        let unknown = || BuildError::Tap { backbone: self.name(), tap: name.to_string() };
        self.taps().iter().find(|t| t.name == name).copied().ok_or_else(unknown)
    }

    /// The taps whose means describe a whole image: what [`pooled`](Self::pooled) is meant for.
    pub fn pooled_taps(&self) -> &'static [&'static str] {
        self.network.as_ref().map_or(self.architecture.pooled_taps, |n| n.names)
    }

    /// Which taps methods on maps read. A network given as data has one grid, joined from all of its taps.
    pub fn roles(&self) -> Roles {
        self.network.as_ref().map_or(self.architecture.roles, |n| Roles::of(n.names))
    }

    /// Grids for methods that share what they learn between positions, the finer one first: [`Roles::grids`], or all taps joined.
    pub fn grids(&self) -> Vec<&'static [&'static str]> {
        let roles = self.roles();
        if roles.grids.is_empty() { vec![roles.grid] } else { roles.grids.to_vec() }
    }

    /// Where a tap's map lies in a square image of this side: the pixel that its first step looks at, 0 being the centre of
    /// the first pixel. The next step looks [`TapInfo::stride`] pixels further.
    ///
    /// Each layer looks at the mean position of its filters' squared weights. That is the middle of the receptive field
    /// where filters are even; trained ones are not: those of MobileNetV2 undo two thirds of the shift that its padding on
    /// one side brings, 1.9 pixels instead of 7.5 at `features.13`.
    ///
    /// # Errors
    /// [`BuildError::Weights`] for a tap of another backbone.
    pub fn centre(&self, tap: &TapInfo, side: u32) -> Result<f32, BuildError> {
        match &self.network {
            Some(network) => Ok(network.centre(tap.name)),
            None => Ok((self.architecture.centre)(&self.weights, tap.name, side)?),
        }
    }

    /// Whether a flow should see pooled features standardised per dimension rather than as they are: yes where they are
    /// small or lie far from zero for their spread (`detect/pooled_flow.rs` has the measurement).
    pub fn standardise_pooled(&self) -> bool {
        self.architecture.standardise_pooled
    }

    /// Emits the network up to the deepest of `taps` and returns their maps, in the order asked for.
    ///
    /// Parameters are called `prefix` + the tensor's name; they are added to `params`, frozen, unless there are such
    /// already: then those are used. Ops are named after `image`, so that several images in one graph stay apart.
    /// `image` is 3×H×W, already normalised; for TensorFlow-trained networks zero padding means zero after that.
    ///
    /// # Errors
    /// [`BuildError::Tap`], [`BuildError::Image`], or [`BuildError::Graph`] for an image that is too small for the network.
    pub fn emit(
        &self,
        g: &mut Graph,
        params: &mut Params,
        prefix: &str,
        image: TensorId,
        taps: &[&str],
    ) -> Result<Vec<TensorId>, BuildError> {
        self.check(g, image, taps)?;
        self.emit_from(g, params, prefix, image, None, taps)
    }

    /// Whether it has these taps and can see this image.
    fn check(&self, g: &Graph, image: TensorId, taps: &[&str]) -> Result<(), BuildError> {
        for tap in taps {
            self.tap(tap)?;
        }
        let found = g.shape(image);
        if found.c() != 3 || found.0[3] != 1 || found.is_empty() {
            return Err(BuildError::Image { backbone: self.name(), found });
        }
        Ok(())
    }

    /// The layers behind a tap, whose map is `input`, or all of them.
    pub(crate) fn emit_from(
        &self,
        g: &mut Graph,
        params: &mut Params,
        prefix: &str,
        image: TensorId,
        from: Option<&str>,
        taps: &[&str],
    ) -> Result<Vec<TensorId>, BuildError> {
        if taps.is_empty() {
            return Ok(Vec::new());
        }
        let stem = format!("{}.", g.name(image));
        let seen = vec![None; taps.len()];
        let network = self.network.as_ref();
        let mut emitter = Emitter { g, params, weights: &self.weights, network, prefix, stem, from, taps, seen };
        (self.architecture.emit)(&mut emitter, image)?;
        Ok(emitter.seen.into_iter().map(|id| id.expect("an architecture shows all of its taps")).collect())
    }

    /// Means of `taps` over an image and over its decimations by 2, 4, …, and deviations where `pooling` says so: one vector,
    /// the coarsest scale last.
    ///
    /// Scale s sees the image at `⌊H/2ˢ⌋×⌊W/2ˢ⌋`, of which it takes the nearest pixel at the top left: `x[2ˢ·i, 2ˢ·j]`
    /// on divisible sides. The vector holds Σ channels · scales means (CDNF: 256 · 3 = 768), and as many deviations, those of a
    /// tap behind its means.
    ///
    /// ```
    /// use adflow::backbones::{Backbone, Pooling};
    /// use adflow::graph::Graph;
    /// use adflow::params::Params;
    /// use adflow::shape::Shape;
    /// let (backbone, mut graph, mut params) = (Backbone::builtin(), Graph::new(), Params::new());
    /// let image = graph.input("image", Shape::chw(3, 128, 128));
    /// let taps = backbone.pooled_taps();
    /// let vector = backbone.pooled(&mut graph, &mut params, "backbone.", image, 3, taps, Pooling::Mean)?;
    /// let channels: u32 = taps.iter().filter_map(|tap| backbone.tap(tap).ok()).map(|tap| tap.channels).sum();
    /// assert_eq!(graph.shape(vector), Shape::vector(3 * channels));
    /// # Ok::<(), adflow::backbones::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Backbone::emit`], and [`BuildError::Position`] where deviations are asked for of a map of one position.
    pub fn pooled(
        &self,
        g: &mut Graph,
        params: &mut Params,
        prefix: &str,
        image: TensorId,
        scales: u32,
        taps: &[&str],
        pooling: Pooling,
    ) -> Result<TensorId, BuildError> {
        self.check(g, image, taps)?;
        let scaled = decimated(g, image, scales)?;
        self.pooled_from(g, params, prefix, &scaled, None, taps, pooling)
    }

    /// Like [`pooled`](Self::pooled), starting from given images, or with `from` from the maps of that tap.
    pub(crate) fn pooled_from(
        &self,
        g: &mut Graph,
        params: &mut Params,
        prefix: &str,
        scaled: &[TensorId],
        from: Option<&str>,
        taps: &[&str],
        pooling: Pooling,
    ) -> Result<TensorId, BuildError> {
        let mut parts = Vec::new();
        for &input in scaled {
            for (tap, map) in taps.iter().zip(self.emit_from(g, params, prefix, input, from, taps)?) {
                if pooling == Pooling::Statistics && g.shape(map).positions() == 1 {
                    let (backbone, tap, image) = (self.name(), tap.to_string(), g.shape(input));
                    return Err(BuildError::Position { backbone, tap, image });
                }
                let name = format!("{}.{tap}", g.name(input));
                pooling.emit(g, &name, map, &mut parts)?;
            }
        }
        let name = scaled.first().map_or("none", |&first| g.name(first)).to_string();
        concat(g, &format!("{name}.pooled"), parts)
    }
}

/// An image and its decimations by 2, 4, …: `scales` images, the coarsest last.
pub(crate) fn decimated(g: &mut Graph, image: TensorId, scales: u32) -> Result<Vec<TensorId>, BuildError> {
    let (shape, name) = (g.shape(image), g.name(image).to_string());
    let scaled = (0..scales).map(|s| {
        let (h, w) = (shape.h() >> s.min(31), shape.w() >> s.min(31));
        match s {
            0 => Ok(image),
            _ => Ok(g.emit(&format!("{name}.scale{s}"), Resize { h, w, mode: Interpolation::Nearest }, &[image])?),
        }
    });
    scaled.collect()
}

/// Concatenates any number of tensors along channels. One tensor is handed back as it is.
fn concat(g: &mut Graph, name: &str, mut parts: Vec<TensorId>) -> Result<TensorId, BuildError> {
    while parts.len() > 1 {
        let last = parts.len() <= MAX_INPUTS;
        let chunks = parts.chunks(MAX_INPUTS).enumerate();
        let joined = chunks.map(|(i, part)| match part {
            [one] => Ok(*one),
            _ if last => g.emit(name, Concat {}, part),
            _ => g.emit(&format!("{name}.{i}"), Concat {}, part),
        });
        parts = joined.collect::<Result<_, _>>()?;
    }
    // Nothing to concatenate: the op says so.
    parts.pop().map_or_else(|| Ok(g.emit(name, Concat {}, &[])?), Ok)
}

/// The tensors of a convolution with bias.
fn conv_tensors(name: &str, weight: Shape) -> [(String, Shape); 2] {
    [(format!("{name}.weight"), weight), (format!("{name}.bias"), Shape::vector(weight.0[0]))]
}

/// What an architecture writes through: ops named after the image, weights as shared frozen parameters, taps noted.
struct Emitter<'e> {
    g: &'e mut Graph,
    params: &'e mut Params,
    weights: &'e Weights,
    network: Option<&'e network::Checked>,
    prefix: &'e str,
    stem: String,
    /// The tap whose map is given instead of an image.
    from: Option<&'e str>,
    taps: &'e [&'e str],
    seen: Vec<Option<TensorId>>,
}

impl Emitter<'_> {
    /// Shape of a tensor.
    fn shape(&self, x: TensorId) -> Shape {
        self.g.shape(x)
    }

    /// A weight as a frozen parameter, of the shape that [`Architecture::tensors`] has announced.
    fn param(&mut self, name: &str, shape: Shape) -> Result<TensorId, BuildError> {
        let full = format!("{}{name}", self.prefix);
        if self.params.find(&full).is_none() {
            let data = self.weights.get(name, shape)?;
            self.params.add(&full, shape, false, data.to_vec())?;
        }
        Ok(self.g.param(self.params, &full)?)
    }

    /// Any op.
    fn op(&mut self, name: &str, op: impl Into<Op>, inputs: &[TensorId]) -> Result<TensorId, BuildError> {
        let name = format!("{}{name}", self.stem);
        Ok(self.g.emit(&name, op, inputs)?)
    }

    /// A convolution with weight and bias `<name>.weight`, `<name>.bias`, and a residual where there is one.
    fn conv(
        &mut self,
        name: &str,
        op: Conv2d,
        weight: Shape,
        x: TensorId,
        residual: Option<TensorId>,
    ) -> Result<TensorId, BuildError> {
        let w = self.param(&format!("{name}.weight"), weight)?;
        let b = self.param(&format!("{name}.bias"), Shape::vector(weight.0[0]))?;
        self.conv_with(name, op, [Some(x), Some(w), Some(b), residual])
    }

    /// A convolution called `name` with the weights of `shared`, which several convolutions use.
    fn conv_as(
        &mut self,
        name: &str,
        shared: &str,
        op: Conv2d,
        weight: Shape,
        x: TensorId,
    ) -> Result<TensorId, BuildError> {
        let w = self.param(&format!("{shared}.weight"), weight)?;
        let b = self.param(&format!("{shared}.bias"), Shape::vector(weight.0[0]))?;
        self.conv_with(name, op, [Some(x), Some(w), Some(b), None])
    }

    fn conv_with(&mut self, name: &str, op: Conv2d, slots: [Option<TensorId>; 4]) -> Result<TensorId, BuildError> {
        let mut inputs = [None; MAX_INPUTS];
        inputs[..4].copy_from_slice(&slots);
        Ok(self.g.emit_slots(&format!("{}{name}", self.stem), op.into(), inputs)?)
    }

    /// Whether layers up to a tap are left out: `skipping` is true until then.
    fn skips(&self, skipping: &mut bool, tap: Option<&str>) -> bool {
        let skips = *skipping;
        *skipping &= tap != self.from;
        skips
    }

    /// Whether a tap is asked for.
    fn wants(&self, name: &str) -> bool {
        self.taps.contains(&name)
    }

    /// Notes the map at a tap. True when no deeper tap is wanted.
    fn tap(&mut self, name: &str, map: TensorId) -> bool {
        for (tap, seen) in self.taps.iter().zip(&mut self.seen) {
            if *tap == name {
                *seen = Some(map);
            }
        }
        self.seen.iter().all(Option::is_some)
    }
}
