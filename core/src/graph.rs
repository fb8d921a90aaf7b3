//! The graph a method is built as: named tensors and the ops between them, in the order they run.
//!
//! Layers and flows append ops, [`Graph::backward`] and [`Graph::train`] those of the gradient;
//! [`place`](crate::place::place) gives each tensor an offset and makes a program of the graph. Building mistakes are errors
//! that name the op and the rule.

use crate::op::{MAX_INPUTS, Op, Types};
use crate::params::Params;
use crate::shape::{Shape, ShapeError, Type};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// A tensor of a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TensorId(pub(crate) u32);

/// Where a tensor's values come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A parameter, by its position in [`Params`].
    Param(usize),
    /// Bound by the caller before each run.
    Input,
    /// Written by an op.
    Op,
    /// Written by an op: the gradient of a trainable parameter.
    Grad(usize),
    /// Neighbouring trainable parameters as one vector.
    Params {
        /// Their first block.
        first: u64,
    },
    /// Their gradients as one vector.
    Grads {
        /// Their first block.
        first: u64,
    },
    /// The optimiser's moments for them.
    State {
        /// Their first block.
        first: u64,
    },
}

/// A named tensor.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Name in dumps and of inputs and outputs.
    pub name: String,
    /// Shape, and whether once per sample.
    pub ty: Type,
    /// Where its values come from.
    pub source: Source,
}

/// One op with its operands.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Inputs of the op; `None` for a slot left out.
    pub inputs: [Option<TensorId>; MAX_INPUTS],
    /// What it writes.
    pub output: TensorId,
}

/// Why a graph cannot be built.
#[derive(Clone, Debug, PartialEq)]
pub enum GraphError {
    /// A shape rule of the op that should write `tensor` does not hold.
    Shape {
        /// Name of the tensor that was to be written.
        tensor: String,
        /// The rule, with what it expected and found.
        error: ShapeError,
    },
    /// There is no such parameter.
    UnknownParam(String),
    /// No gradient exists for an op.
    NotDifferentiable {
        /// Name of the op.
        op: &'static str,
        /// What of the op has none.
        what: &'static str,
    },
    /// A loss must be one number: the output of `batch_mean`.
    NotALoss(String),
    /// What an optimiser shall train, parameters with this prefix, is nothing, or has others in between.
    Part(String),
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::Shape { tensor, error } => write!(f, "tensor \"{tensor}\": {error}"),
            GraphError::UnknownParam(name) => write!(f, "there is no parameter \"{name}\""),
            GraphError::NotDifferentiable { op, what } => write!(f, "{op}: no gradient exists for {what}"),
            GraphError::NotALoss(name) => write!(f, "\"{name}\" is not a loss: it is not the mean over the batch"),
            GraphError::Part(prefix) => {
                write!(f, "parameters \"{prefix}…\" are none that train, or others lie between them")
            }
        }
    }
}

impl core::error::Error for GraphError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            GraphError::Shape { error, .. } => Some(error),
            GraphError::UnknownParam(_)
            | GraphError::NotDifferentiable { .. }
            | GraphError::NotALoss(_)
            | GraphError::Part(_) => None,
        }
    }
}

/// Named tensors and the ops between them.
///
/// ```
/// use adflow::graph::{Graph, GraphError};
/// use adflow::op::{Conv2d, GlobalMean};
/// use adflow::params::Params;
/// use adflow::shape::Shape;
///
/// let mut params = Params::new();
/// params.add("edges", Shape([8, 3, 3, 3]), false, vec![0.1; 8 * 3 * 3 * 3]).expect("216 values");
/// let mut graph = Graph::new();
/// let image = graph.input("image", Shape::chw(3, 32, 32));
/// let edges = graph.param(&params, "edges")?;
/// let map = graph.emit("map", Conv2d::new().stride(2).pad(1), &[image, edges])?;
/// assert_eq!(graph.shape(map), Shape::chw(8, 16, 16));
/// let features = graph.emit("features", GlobalMean {}, &[map])?;
/// graph.output("features", features);
///
/// let error = graph.emit("more", Conv2d::new(), &[features, edges]).unwrap_err();
/// assert!(error.to_string().starts_with("tensor \"more\": conv2d: "));
/// # Ok::<(), GraphError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<TensorId>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    pub(crate) fn tensor(&mut self, name: &str, ty: Type, source: Source) -> TensorId {
        self.tensors.push(Tensor { name: name.to_string(), ty, source });
        TensorId(self.tensors.len() as u32 - 1)
    }

    /// A tensor the caller binds before each run, one block per sample.
    pub fn input(&mut self, name: &str, shape: Shape) -> TensorId {
        self.tensor(name, Type::batched(shape), Source::Input)
    }

    /// A tensor the caller binds before each run, one block whatever the batch (for example the learning rate).
    pub fn control(&mut self, name: &str, shape: Shape) -> TensorId {
        self.tensor(name, Type::single(shape), Source::Input)
    }

    /// The tensor of a parameter; asking again gives the same one.
    ///
    /// # Errors
    /// [`GraphError::UnknownParam`].
    pub fn param(&mut self, params: &Params, name: &str) -> Result<TensorId, GraphError> {
        let index = params.find(name).ok_or_else(|| GraphError::UnknownParam(name.to_string()))?;
        if let Some(at) = self.tensors.iter().position(|t| t.source == Source::Param(index)) {
            return Ok(TensorId(at as u32));
        }
        let shape = params.iter().nth(index).map_or(Shape::SCALAR, |p| p.shape);
        Ok(self.tensor(name, Type::single(shape), Source::Param(index)))
    }

    /// Appends an op that writes a new tensor called `name`; `inputs` fill the op's slots from the first on.
    ///
    /// # Errors
    /// [`GraphError::Shape`] names the op's rule that the inputs break.
    pub fn emit(&mut self, name: &str, op: impl Into<Op>, inputs: &[TensorId]) -> Result<TensorId, GraphError> {
        let mut slots = [None; MAX_INPUTS];
        for (slot, id) in slots.iter_mut().zip(inputs) {
            *slot = Some(*id);
        }
        self.emit_slots(name, op.into(), slots)
    }

    /// Appends an op some of whose input slots are left out.
    ///
    /// # Errors
    /// [`GraphError::Shape`] names the op's rule that the inputs break.
    pub fn emit_slots(
        &mut self,
        name: &str,
        op: Op,
        inputs: [Option<TensorId>; MAX_INPUTS],
    ) -> Result<TensorId, GraphError> {
        let types = self.types(&inputs);
        let ty = op.output(&types).map_err(|error| GraphError::Shape { tensor: name.to_string(), error })?;
        let output = self.tensor(name, ty, Source::Op);
        self.nodes.push(Node { op, inputs, output });
        Ok(output)
    }

    pub(crate) fn types(&self, inputs: &[Option<TensorId>; MAX_INPUTS]) -> Types {
        inputs.map(|id| id.map(|id| self.tensors[id.0 as usize].ty))
    }

    /// Shape of a tensor.
    pub fn shape(&self, id: TensorId) -> Shape {
        self.tensors[id.0 as usize].ty.shape
    }

    /// Name of a tensor.
    pub fn name(&self, id: TensorId) -> &str {
        &self.tensors[id.0 as usize].name
    }

    /// Declares a tensor an output: its values stay after the run and can be read under `name`.
    pub fn output(&mut self, name: &str, id: TensorId) {
        self.tensors[id.0 as usize].name = name.to_string();
        if !self.outputs.contains(&id) {
            self.outputs.push(id);
        }
    }
}
