//! Reverse-mode differentiation: walks the ops backwards and appends the ops of each one's gradient.
//!
//! No executor knows about gradients: the result is a longer graph. A tensor used twice gets the sum of its
//! contributions, added in the order the walk meets them, so the result does not depend on anything else. The rules are the ops'
//! ([`crate::op::Operation::gradient`]).

use crate::graph::{Graph, GraphError, Node, Source, TensorId};
use crate::memory::BLOCK;
use crate::op::{Adam, Add, BatchMean, MAX_INPUTS, Op, Operand, Rule, SquareParts};
use crate::params::Params;
use crate::shape::{Shape, Type};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

impl Graph {
    /// Appends the gradients of `loss` (an output of [`BatchMean`]) with respect to each of `wrt`; `None`
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
        let is_loss = self.nodes.iter().any(|n| n.output == loss && matches!(n.op, Op::BatchMean(BatchMean {})));
        if !is_loss {
            return Err(GraphError::NotALoss(self.name(loss).into()));
        }
        // Which tensors depend on what is asked for.
        let mut depends = vec![false; self.tensors.len()];
        for id in wrt {
            depends[id.0 as usize] = true;
        }
        for node in &self.nodes {
            if node.inputs.iter().flatten().any(|i| depends[i.0 as usize]) {
                depends[node.output.0 as usize] = true;
            }
        }
        let mut grads: Vec<Option<TensorId>> = vec![None; self.tensors.len()];
        for at in (0..self.nodes.len()).rev() {
            let node = self.nodes[at].clone();
            let upstream = grads[node.output.0 as usize];
            if upstream.is_none() && node.output != loss {
                continue;
            }
            let needs = node.inputs.map(|i| i.is_some_and(|i| depends[i.0 as usize]));
            if !needs.contains(&true) {
                continue;
            }
            let given = self.gradient_of(&node, upstream, needs)?;
            for (input, new) in node.inputs.iter().zip(given) {
                if let (Some(input), Some(new)) = (*input, new) {
                    let sum = match grads[input.0 as usize] {
                        Some(old) => self.emit(&format!("d.{}", self.name(input)), Add {}, &[old, new])?,
                        None => new,
                    };
                    grads[input.0 as usize] = Some(sum);
                }
            }
        }
        Ok(wrt.iter().map(|id| grads[id.0 as usize]).collect())
    }

    /// Appends what the rule of a node's op says; the gradients of its inputs.
    fn gradient_of(
        &mut self,
        node: &Node,
        upstream: Option<TensorId>,
        needs: [bool; MAX_INPUTS],
    ) -> Result<[Option<TensorId>; MAX_INPUTS], GraphError> {
        let mut rule = Rule::new(self.types(&node.inputs), needs, upstream.is_none());
        node.op.gradient(&mut rule);
        if let Some(what) = rule.refused() {
            return Err(GraphError::NotDifferentiable { op: node.op.name(), what });
        }
        let name = format!("d.{}", self.name(node.output));
        let mut emitted: Vec<TensorId> = Vec::new();
        for (op, operands) in rule.ops() {
            let inputs = operands.map(|operand| tensor(operand?, node, upstream, &emitted));
            emitted.push(self.emit_slots(&name, op, inputs)?);
        }
        Ok(rule.given().map(|operand| tensor(operand?, node, upstream, &emitted)))
    }

    /// Appends a training step: gradients of all trainable parameters the loss depends on, and one step of Adam over
    /// the whole trainable range. The caller binds `control` = (learning rate, step from 1) before each run.
    ///
    /// # Errors
    /// [`GraphError::NotALoss`]; [`GraphError::NotDifferentiable`] names an op without a gradient.
    pub fn train(&mut self, loss: TensorId, params: &Params, adam: Adam) -> Result<(), GraphError> {
        self.train_part(loss, params, "", adam)
    }

    /// Appends a training step like [`Graph::train`] over the trainable parameters whose names begin with `prefix`, with moments of
    /// its own: programs that train different parts of a model take turns without disturbing each other.
    ///
    /// # Errors
    /// [`GraphError::Part`] if there are none, or others lie between them: they must have been added one after the other.
    pub fn train_part(&mut self, loss: TensorId, params: &Params, prefix: &str, adam: Adam) -> Result<(), GraphError> {
        let mut wrt = Vec::new();
        for (index, p) in params.iter().enumerate() {
            if p.trainable
                && p.name.starts_with(prefix)
                && let Some(at) = self.tensors.iter().position(|t| t.source == Source::Param(index))
            {
                wrt.push((TensorId(at as u32), index));
            }
        }
        let part = params.trainable_part(prefix).ok_or_else(|| GraphError::Part(prefix.into()))?;
        let ids: Vec<TensorId> = wrt.iter().map(|w| w.0).collect();
        let grads = self.backward(loss, &ids)?;
        for (grad, (_, index)) in grads.into_iter().zip(&wrt) {
            if let Some(grad) = grad {
                self.tensors[grad.0 as usize].source = Source::Grad(*index);
            }
        }
        let len = ((part.end - part.start) * BLOCK as u64) as u32;
        let first = part.start;
        let all_grads = self.tensor("grads", Type::single(Shape::vector(len)), Source::Grads { first });
        let state = self.tensor("state", Type::single(Shape::vector(2 * len)), Source::State { first: 2 * first });
        let control = self.control("control", Shape::vector(2));
        let mut inputs = [None; MAX_INPUTS];
        inputs[..3].copy_from_slice(&[Some(all_grads), Some(state), Some(control)]);
        if adam.clip > 0.0 {
            inputs[3] = Some(self.emit("squares", SquareParts {}, &[all_grads])?);
        }
        let updated = self.emit_slots("params", adam.into(), inputs)?;
        self.tensors[updated.0 as usize].source = Source::Params { first };
        Ok(())
    }
}

/// The tensor that an operand of a rule stands for.
fn tensor(operand: Operand, node: &Node, upstream: Option<TensorId>, emitted: &[TensorId]) -> Option<TensorId> {
    match operand {
        // The loss has none, and its rule, that of `batch_mean`, leaves it out.
        Operand::Upstream => upstream,
        Operand::Output => Some(node.output),
        Operand::Input(slot) => node.inputs[slot],
        Operand::Emitted(at) => Some(emitted[at]),
    }
}
