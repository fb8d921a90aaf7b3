//! A convolutional network that is none of the known architectures: its layers as data.
//!
//! What reads a network from a foreign file (the command line reads ONNX) writes it as [`Step`]s: ops in an order in which they
//! can run, each reading the image, earlier steps or weights. Everything is checked here once, by emitting it for a picture of a
//! usual size: unknown weights, steps that read later ones and shapes that do not fit are errors, and taps learn their channels,
//! stride and centre. Names of taps are kept for as long as the process lives, as those of the known networks are.

use super::{Architecture, Backbone, BuildError, Emitter, Roles, TapInfo, Weights, WeightsError};
use crate::graph::{Graph, TensorId};
use crate::op::{MAX_INPUTS, Op};
use crate::params::Params;
use crate::shape::Shape;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "onnx",
    // Not looked for among weights.
    marker: "",
    closed: &[],
    scale: [1.0; 3],
    shift: [0.0; 3],
    taps: &[],
    pooled_taps: &[],
    roles: Roles::of(&[]),
    centre: |_, _, _| Ok(0.0),
    // Nothing is known of its features, and standardised ones suit every flow.
    standardise_pooled: true,
    adaptation: None,
    tensors: Vec::new,
    fold: |_| Ok(()),
    emit,
};

/// Side of the picture that a network is tried on.
const PROBE: u32 = 256;

/// What a [`Step`] reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The normalised image.
    Image,
    /// The result of an earlier step, by its number.
    Step(usize),
    /// A weight, by its name, of that shape.
    Weight(String, Shape),
}

/// One op of a [`Network`].
#[derive(Clone, Debug)]
pub struct Step {
    /// Name in messages and dumps.
    pub name: String,
    /// What it does: convolutions, activations, pooling, means over positions, sums, products, concatenations, scales.
    pub op: Op,
    /// Inputs of the op, slot by slot.
    pub inputs: Vec<Option<Source>>,
}

/// A network as data, for [`Backbone::from_network`].
#[derive(Clone, Debug)]
pub struct Network {
    /// Layers, in an order in which they can run.
    pub steps: Vec<Step>,
    /// Where features are read: name, and the step whose result it is.
    pub taps: Vec<(String, usize)>,
    /// Factor for samples in 0..1, per channel.
    pub scale: [f32; 3],
    /// Added after the factor.
    pub shift: [f32; 3],
    /// Names the network in the record of a model, for example XXH64 of the file.
    pub digest: u64,
}

/// A network that has been checked.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    network: Network,
    pub taps: &'static [TapInfo],
    pub names: &'static [&'static str],
    centres: Vec<f32>,
}

impl Checked {
    pub fn normalisation(&self) -> ([f32; 3], [f32; 3]) {
        (self.network.scale, self.network.shift)
    }

    /// The pixel that a tap's first step looks at.
    pub fn centre(&self, tap: &str) -> f32 {
        self.taps.iter().zip(&self.centres).find(|(t, _)| t.name == tap).map_or(0.0, |(_, centre)| *centre)
    }
}

impl Backbone {
    /// A network given step by step.
    ///
    /// ```
    /// use adflow::backbones::{Backbone, Network, Source, Step, Weights};
    /// use adflow::op::{Activation, Conv2d};
    /// use adflow::shape::Shape;
    ///
    /// let mut weights = Weights::new();
    /// weights.insert("first.weight", &[8, 3, 3, 3], (0..216).map(|i| (i % 7) as f32 - 3.0).collect())?;
    /// let filters = Source::Weight("first.weight".into(), Shape([8, 3, 3, 3]));
    /// let network = Network {
    ///     steps: vec![Step {
    ///         name: "first".into(),
    ///         op: Conv2d::new().stride(2).pad(1).act(Activation::Relu).into(),
    ///         inputs: vec![Some(Source::Image), Some(filters)],
    ///     }],
    ///     taps: vec![("edges".into(), 0)],
    ///     scale: [1.0; 3],
    ///     shift: [0.0; 3],
    ///     digest: weights.digest(),
    /// };
    /// let backbone = Backbone::from_network(network, weights)?;
    /// assert_eq!((backbone.taps()[0].channels, backbone.taps()[0].stride), (8, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Step`] names a step that is not valid, [`BuildError::Weights`] a weight that is missing, of another shape or
    /// not finite, [`BuildError::Graph`] an op whose inputs do not fit.
    pub fn from_network(network: Network, weights: Weights) -> Result<Backbone, BuildError> {
        let fault = |name: &str, why| Err(BuildError::Step { name: name.to_string(), why });
        for (at, step) in network.steps.iter().enumerate() {
            if !allowed(&step.op) {
                return fault(&step.name, "its op is not one of a convolutional network");
            }
            if step.inputs.len() > MAX_INPUTS {
                return fault(&step.name, "it has too many inputs");
            }
            for source in step.inputs.iter().flatten() {
                match source {
                    Source::Step(from) if *from >= at => return fault(&step.name, "it reads a later step"),
                    Source::Weight(name, shape) => drop(weights.get(name, *shape)?),
                    Source::Step(_) | Source::Image => {}
                }
            }
        }
        if let Some((name, _)) = network.taps.iter().find(|(_, step)| *step >= network.steps.len()) {
            return fault(name, "there is no such tap");
        }
        if !network.scale.iter().chain(&network.shift).all(|v| v.abs() <= 1e6) {
            return fault("normalisation", "it must be numbers within ±1e6");
        }
        let (mut g, mut params) = (Graph::new(), Params::default());
        let image = g.input("image", Shape::chw(3, PROBE, PROBE));
        let mut emitted = Vec::new();
        for at in 0..network.steps.len() {
            let id = step(&network, at, &mut g, &mut params, &weights, ("", ""), image, &emitted)?;
            emitted.push(id);
        }
        let places = places(&network, &weights)?;
        let (mut taps, mut centres) = (Vec::new(), Vec::new());
        // The finest first, as methods expect.
        let mut order = network.taps.clone();
        order.sort_by_key(|(_, step)| places[*step].stride);
        for (name, step) in &order {
            let name: &'static str = Box::leak(name.clone().into_boxed_str());
            taps.push(TapInfo { name, channels: g.shape(emitted[*step]).c(), stride: places[*step].stride });
            centres.push(places[*step].centre);
        }
        let names: Vec<&'static str> = taps.iter().map(|t| t.name).collect();
        let digest = network.digest;
        let checked = Checked {
            network,
            taps: Box::leak(taps.into_boxed_slice()),
            names: Box::leak(names.into_boxed_slice()),
            centres,
        };
        Ok(Backbone { architecture: &ARCHITECTURE, weights, digest, network: Some(checked) })
    }
}

/// Ops of which a network may be made.
fn allowed(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2d(_)
            | Op::Activate(_)
            | Op::Add(_)
            | Op::Multiply(_)
            | Op::ScaleShift(_)
            | Op::ChannelScale(_)
            | Op::MaxPool(_)
            | Op::GlobalMean(_)
            | Op::Concat(_)
            | Op::Smooth(_)
    )
}

/// Where the steps of a map lie in the image.
#[derive(Clone, Copy, PartialEq)]
struct Place {
    /// Pixels from step to step; `u32::MAX` where one step is the whole image.
    stride: u32,
    centre: f32,
}

fn places(network: &Network, weights: &Weights) -> Result<Vec<Place>, WeightsError> {
    let mut places: Vec<Place> = Vec::new();
    for step in &network.steps {
        let of = |source: &Option<Source>| match source {
            Some(Source::Image) => Some(Place { stride: 1, centre: 0.0 }),
            Some(Source::Step(at)) => Some(places[*at]),
            Some(Source::Weight(..)) | None => None,
        };
        let maps: Vec<Place> = step.inputs.iter().filter_map(of).collect();
        // What is scaled by a mean of the whole stays where it is; sums of branches look at their middle.
        let stride = maps.iter().map(|p| p.stride).min().unwrap_or(1);
        let local = || maps.iter().filter(|p| p.stride == stride);
        let centre = local().map(|p| p.centre).sum::<f32>() / local().count().max(1) as f32;
        let moved = |by: u32, offset: f32| Place {
            stride: stride.saturating_mul(by),
            centre: centre + offset * if stride == u32::MAX { 0.0 } else { stride as f32 },
        };
        places.push(match (&step.op, step.inputs.get(1)) {
            (Op::Conv2d(op), Some(Some(Source::Weight(name, shape)))) => {
                let reach = (op.left + op.top) as f32 / 2.0;
                moved(op.stride, op.dilation as f32 * weights.middle(name, *shape)? - reach)
            }
            (Op::MaxPool(op), _) => moved(op.stride, (op.k - 1) as f32 / 2.0 - op.pad as f32),
            (Op::GlobalMean(_), _) => Place { stride: u32::MAX, centre: 0.0 },
            _ => Place { stride, centre },
        });
    }
    Ok(places)
}

/// Emits one step; `names` are the prefix of weights and the stem of ops.
fn step(
    network: &Network,
    at: usize,
    g: &mut Graph,
    params: &mut Params,
    weights: &Weights,
    (prefix, stem): (&str, &str),
    image: TensorId,
    emitted: &[TensorId],
) -> Result<TensorId, BuildError> {
    let step = &network.steps[at];
    let mut inputs = [None; MAX_INPUTS];
    for (slot, source) in inputs.iter_mut().zip(&step.inputs) {
        *slot = match source {
            None => None,
            Some(Source::Image) => Some(image),
            Some(Source::Step(from)) => Some(emitted[*from]),
            Some(Source::Weight(name, shape)) => {
                let full = format!("{prefix}{name}");
                if params.find(&full).is_none() {
                    params.add(&full, *shape, false, weights.get(name, *shape)?.to_vec())?;
                }
                Some(g.param(params, &full)?)
            }
        };
    }
    Ok(g.emit_slots(&format!("{stem}{}", step.name), step.op, inputs)?)
}

fn emit(e: &mut Emitter<'_>, image: TensorId) -> Result<(), BuildError> {
    let Some(checked) = e.network else { return Ok(()) };
    let mut emitted = Vec::new();
    for at in 0..checked.network.steps.len() {
        let stem = e.stem.clone();
        let id = step(&checked.network, at, e.g, e.params, e.weights, (e.prefix, &stem), image, &emitted)?;
        emitted.push(id);
        let mut done = false;
        for (name, _) in checked.network.taps.iter().filter(|(_, step)| *step == at) {
            done |= e.tap(name, id);
        }
        if done {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Activation;
    use crate::op::{Activate, Conv2d, LogDet, MaxPool};
    use alloc::vec;

    fn weights() -> Weights {
        let mut weights = Weights::new();
        weights.insert("w", &[2, 3, 3, 3], vec![1.0; 54]).unwrap();
        weights
    }

    fn conv(input: Source) -> Step {
        let w = Source::Weight("w".into(), Shape([2, 3, 3, 3]));
        Step { name: "conv".into(), op: Conv2d::new().stride(2).pad(1).into(), inputs: vec![Some(input), Some(w)] }
    }

    fn network(steps: Vec<Step>, taps: &[(&str, usize)]) -> Network {
        let taps = taps.iter().map(|(name, step)| (name.to_string(), *step)).collect();
        Network { steps, taps, scale: [1.0; 3], shift: [0.0; 3], digest: 7 }
    }

    #[test]
    fn taps_know_their_channels_stride_and_centre() {
        let pool = Op::from(MaxPool { k: 3, stride: 2, pad: 0 });
        let steps = vec![
            conv(Source::Image),
            Step {
                name: "relu".into(),
                op: Activate { act: Activation::Relu }.into(),
                inputs: vec![Some(Source::Step(0))],
            },
            Step { name: "pool".into(), op: pool, inputs: vec![Some(Source::Step(1))] },
        ];
        let backbone = Backbone::from_network(network(steps, &[("deep", 2), ("flat", 1)]), weights()).unwrap();
        let taps: Vec<_> = backbone.taps().iter().map(|t| (t.name, t.channels, t.stride)).collect();
        assert_eq!(taps, [("flat", 2, 2), ("deep", 2, 4)]);
        assert_eq!(backbone.pooled_taps(), ["flat", "deep"]);
        assert_eq!((backbone.name(), backbone.digest()), ("onnx", 7));
        // An even 3×3 filter with a pad of 1 looks at pixel 0, and the middle of three of its steps is the second.
        let centres: Vec<f32> = backbone.taps().iter().map(|t| backbone.centre(t, 64).unwrap()).collect();
        assert_eq!(centres, [0.0, 2.0]);
        let (mut g, mut params) = (Graph::new(), Params::default());
        let image = g.input("image", Shape::chw(3, 40, 40));
        let maps = backbone.emit(&mut g, &mut params, "b.", image, &["deep", "flat"]).unwrap();
        assert_eq!(maps.iter().map(|m| g.shape(*m)).collect::<Vec<_>>(), [Shape::chw(2, 9, 9), Shape::chw(2, 20, 20)]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let text = |steps, taps| Backbone::from_network(network(steps, taps), weights()).unwrap_err().to_string();
        assert!(text(vec![conv(Source::Step(0))], &[]).contains("later step"));
        assert!(text(vec![conv(Source::Image)], &[("t", 1)]).contains("no such tap"));
        assert!(text(vec![conv(Source::Image), conv(Source::Step(0))], &[]).contains("channels"));
        let op = LogDet { groups: 1, clamp: 1.0, form: Default::default(), per_position: false }.into();
        let step = Step { name: "x".into(), op, inputs: vec![Some(Source::Image)] };
        assert!(text(vec![step], &[]).contains("\"x\""));
        let mut other = conv(Source::Image);
        other.inputs[1] = Some(Source::Weight("v".into(), Shape::SCALAR));
        assert!(text(vec![other], &[]).contains("\"v\""));
    }
}
