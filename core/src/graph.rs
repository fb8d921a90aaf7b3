//! The graph a method is built as: named tensors and the ops between them, in the order they run.
//!
//! Layers and flows append ops, [`Graph::backward`] and [`Graph::train`] those of the gradient;
//! [`place`](crate::place::place) gives each tensor an offset and makes a program of the graph. Building mistakes are errors
//! that name the op and the rule.

use crate::op::{MAX_INPUTS, Op, Types};
use crate::params::Params;
use crate::shape::{Shape, ShapeError, Type};
use alloc::format;
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

    /// Appends the gradients of `loss` (an output of [`BatchMean`](crate::op::BatchMean)) with respect to each of `wrt`; `None`
    /// where the loss does not depend on it.
    ///
    /// ```
    /// use adflow::graph::{Graph, GraphError};
    /// use adflow::op::{BatchMean, SquareSum};
    /// use adflow::shape::Shape;
    /// let mut graph = Graph::new();
    /// let x = graph.input("x", Shape::vector(4));
    /// let energy = graph.emit("energy", SquareSum { scale: 0.5, per_position: false, root: false }, &[x])?;
    /// let loss = graph.emit("loss", BatchMean {}, &[energy])?;
    /// let gradients = graph.backward(loss, &[x])?;
    /// let gradient = gradients[0].expect("the loss depends on x");
    /// assert_eq!(graph.shape(gradient), Shape::vector(4));
    /// # Ok::<(), GraphError>(())
    /// ```
    ///
    /// # Errors
    /// [`GraphError::NotALoss`]; [`GraphError::NotDifferentiable`] names an op without a gradient.
    pub fn backward(&mut self, loss: TensorId, wrt: &[TensorId]) -> Result<Vec<Option<TensorId>>, GraphError> {
        crate::autodiff::backward(self, loss, wrt)
    }

    /// Appends a training step: gradients of all trainable parameters the loss depends on, and one step of Adam over
    /// the whole trainable range. The caller binds `control` = (learning rate, step from 1) before each run.
    ///
    /// # Errors
    /// [`GraphError::NotALoss`]; [`GraphError::NotDifferentiable`] names an op without a gradient.
    pub fn train(&mut self, loss: TensorId, params: &Params, adam: crate::op::Adam) -> Result<(), GraphError> {
        self.train_part(loss, params, "", adam)
    }

    /// Appends a training step like [`Graph::train`] over the trainable parameters whose names begin with `prefix`, with moments of
    /// its own: programs that train different parts of a model take turns without disturbing each other.
    ///
    /// # Errors
    /// [`GraphError::Part`] if there are none, or others lie between them: they must have been added one after the other.
    pub fn train_part(
        &mut self,
        loss: TensorId,
        params: &Params,
        prefix: &str,
        adam: crate::op::Adam,
    ) -> Result<(), GraphError> {
        let mut wrt = Vec::new();
        for (index, p) in params.iter().enumerate() {
            if p.trainable
                && p.name.starts_with(prefix)
                && let Some(at) = self.tensors.iter().position(|t| t.source == Source::Param(index))
            {
                wrt.push((TensorId(at as u32), index));
            }
        }
        let part = params.trainable_part(prefix).ok_or_else(|| GraphError::Part(prefix.to_string()))?;
        let ids: Vec<TensorId> = wrt.iter().map(|w| w.0).collect();
        let grads = self.backward(loss, &ids)?;
        for (grad, (_, index)) in grads.into_iter().zip(&wrt) {
            if let Some(grad) = grad {
                self.tensors[grad.0 as usize].source = Source::Grad(*index);
            }
        }
        let len = ((part.end - part.start) * crate::plan::BLOCK as u64) as u32;
        let first = part.start;
        let all_grads = self.tensor("grads", Type::single(Shape::vector(len)), Source::Grads { first });
        let state = self.tensor("state", Type::single(Shape::vector(2 * len)), Source::State { first: 2 * first });
        let control = self.control("control", Shape::vector(2));
        let mut inputs = [None; MAX_INPUTS];
        inputs[..3].copy_from_slice(&[Some(all_grads), Some(state), Some(control)]);
        if adam.clip > 0.0 {
            inputs[3] = Some(self.emit("squares", crate::op::SquareParts {}, &[all_grads])?);
        }
        let updated = self.emit_slots("params", adam.into(), inputs)?;
        self.tensors[updated.0 as usize].source = Source::Params { first };
        Ok(())
    }

    /// A fresh name for a gradient tensor.
    pub(crate) fn grad_name(&self, of: TensorId) -> String {
        format!("d.{}", self.name(of))
    }
}
