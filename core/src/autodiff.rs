//! Reverse-mode differentiation: walks the ops backwards and lets each append the ops of its gradient.
//!
//! No executor knows about gradients: the result is a longer graph. A tensor used twice gets the sum of its
//! contributions, added in the order the walk meets them, so the result does not depend on anything else.

use crate::graph::{Graph, GraphError, Node, TensorId};
use crate::op::{Add, BatchMean, MAX_INPUTS, Op};
use crate::shape::Shape;
use alloc::vec;
use alloc::vec::Vec;

/// What a gradient rule sees: the op's operands, the upstream gradient, and which inputs need a gradient.
pub struct Rule<'g> {
    graph: &'g mut Graph,
    node: Node,
    upstream: Option<TensorId>,
    needs: [bool; MAX_INPUTS],
    given: [Option<TensorId>; MAX_INPUTS],
}

impl Rule<'_> {
    /// Gradient of the loss towards the op's output.
    pub fn upstream(&self) -> TensorId {
        // Only `batch_mean` can end a loss (`backward` checks), and its rule asks `upstream_or_one`.
        self.upstream.expect("only the loss has no upstream gradient")
    }

    /// Gradient of the loss towards the output, or `None` at the loss itself, where it is one.
    pub fn upstream_or_one(&self) -> Option<TensorId> {
        self.upstream
    }

    /// The op's output.
    pub fn output(&self) -> TensorId {
        self.node.output
    }

    /// An input that the shape rule requires.
    pub fn input(&self, slot: usize) -> TensorId {
        self.node.inputs[slot].expect("a required input is present in every op that was emitted")
    }

    /// Whether an input slot is used.
    pub fn has(&self, slot: usize) -> bool {
        self.node.inputs[slot].is_some()
    }

    /// Shape of an input.
    pub fn shape(&self, slot: usize) -> Shape {
        self.graph.shape(self.input(slot))
    }

    /// Whether the loss is asked for a gradient that passes through this input.
    pub fn needs(&self, slot: usize) -> bool {
        self.needs[slot]
    }

    /// Appends an op of the gradient.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> Result<TensorId, GraphError> {
        let slots: Vec<Option<TensorId>> = inputs.iter().copied().map(Some).collect();
        self.emit_slots(op, &slots)
    }

    /// Appends an op of the gradient, some of whose inputs are left out.
    pub fn emit_slots(&mut self, op: impl Into<Op>, inputs: &[Option<TensorId>]) -> Result<TensorId, GraphError> {
        let mut slots = [None; MAX_INPUTS];
        slots[..inputs.len()].copy_from_slice(inputs);
        let name = self.graph.grad_name(self.node.output);
        self.graph.emit_slots(&name, op.into(), slots)
    }

    /// Hands over the gradient of an input; ignored where nobody needs it.
    pub fn give(&mut self, slot: usize, gradient: TensorId) -> Result<(), GraphError> {
        if self.needs[slot] {
            self.given[slot] = Some(gradient);
        }
        Ok(())
    }

    /// For what has no gradient.
    pub fn unsupported(&self, what: &'static str) -> Result<(), GraphError> {
        Err(GraphError::NotDifferentiable { op: self.node.op.name(), what })
    }
}

pub(crate) fn backward(
    graph: &mut Graph,
    loss: TensorId,
    wrt: &[TensorId],
) -> Result<Vec<Option<TensorId>>, GraphError> {
    let is_loss = graph.nodes.iter().any(|n| n.output == loss && matches!(n.op, Op::BatchMean(BatchMean {})));
    if !is_loss {
        return Err(GraphError::NotALoss(graph.name(loss).into()));
    }
    // Which tensors depend on what is asked for.
    let mut depends = vec![false; graph.tensors.len()];
    for id in wrt {
        depends[id.0 as usize] = true;
    }
    for node in &graph.nodes {
        if node.inputs.iter().flatten().any(|i| depends[i.0 as usize]) {
            depends[node.output.0 as usize] = true;
        }
    }
    let mut grads: Vec<Option<TensorId>> = vec![None; graph.tensors.len()];
    for at in (0..graph.nodes.len()).rev() {
        let node = graph.nodes[at].clone();
        let upstream = grads[node.output.0 as usize];
        if upstream.is_none() && node.output != loss {
            continue;
        }
        let needs = node.inputs.map(|i| i.is_some_and(|i| depends[i.0 as usize]));
        if !needs.contains(&true) {
            continue;
        }
        let op = node.op;
        let mut rule = Rule { graph, node, upstream, needs, given: [None; MAX_INPUTS] };
        op.gradient(&mut rule)?;
        let (node, given) = (rule.node, rule.given);
        for (input, new) in node.inputs.iter().zip(given) {
            if let (Some(input), Some(new)) = (*input, new) {
                let sum = match grads[input.0 as usize] {
                    Some(old) => graph.emit(&graph.grad_name(input), Add {}, &[old, new])?,
                    None => new,
                };
                grads[input.0 as usize] = Some(sum);
            }
        }
    }
    Ok(wrt.iter().map(|id| grads[id.0 as usize]).collect())
}
