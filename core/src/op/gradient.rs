//! What a gradient rule says: which ops give the gradient of each input, in terms of the op's own operands.
//!
//! Rules know no graph; `autodiff.rs` appends what they say to one.

use super::{MAX_INPUTS, Op, Types, shape};
use crate::shape::Shape;

/// Most ops of one rule.
const MOST: usize = 8;

/// What an op of a gradient reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operand {
    /// The gradient of the loss towards the output.
    Upstream,
    /// The output.
    Output,
    /// The input in that slot.
    Input(usize),
    /// The output of the rule's op of that number.
    Emitted(usize),
}

/// The gradient of one op, as its rule writes it down.
#[derive(Clone, Debug)]
pub struct Rule {
    types: Types,
    needs: [bool; MAX_INPUTS],
    is_loss: bool,
    ops: [Option<(Op, [Option<Operand>; MAX_INPUTS])>; MOST],
    given: [Option<Operand>; MAX_INPUTS],
    refused: Option<&'static str>,
}

impl Rule {
    /// For an op with inputs of these types, some of which need a gradient. `is_loss`: its output is the loss itself.
    pub fn new(types: Types, needs: [bool; MAX_INPUTS], is_loss: bool) -> Rule {
        Rule { types, needs, is_loss, ops: [None; MOST], given: [None; MAX_INPUTS], refused: None }
    }

    /// The gradient of the loss towards the op's output.
    pub fn upstream(&self) -> Operand {
        Operand::Upstream
    }

    /// The gradient of the loss towards the op's output, or `None` where that is the loss, and the gradient 1.
    pub fn upstream_or_one(&self) -> Option<Operand> {
        (!self.is_loss).then_some(Operand::Upstream)
    }

    /// The op's output.
    pub fn output(&self) -> Operand {
        Operand::Output
    }

    /// An input.
    pub fn input(&self, slot: usize) -> Operand {
        Operand::Input(slot)
    }

    /// Whether an input slot is used.
    pub fn has(&self, slot: usize) -> bool {
        self.types[slot].is_some()
    }

    /// Shape of an input.
    pub fn shape(&self, slot: usize) -> Shape {
        shape(&self.types, slot)
    }

    /// Whether the loss is asked for a gradient that passes through this input.
    pub fn needs(&self, slot: usize) -> bool {
        self.needs[slot]
    }

    /// Appends an op and returns what it writes.
    ///
    /// # Panics
    /// If a rule has more than eight ops, or an op more inputs than there are slots: the rule's mistake.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[Operand]) -> Operand {
        let mut slots = [None; MAX_INPUTS];
        for (at, input) in inputs.iter().enumerate() {
            slots[at] = Some(*input);
        }
        let at = self.ops().count();
        self.ops[at] = Some((op.into(), slots));
        Operand::Emitted(at)
    }

    /// The gradient of an input is what this op writes. Nothing is appended where nobody asks for it.
    pub fn give(&mut self, slot: usize, op: impl Into<Op>, inputs: &[Operand]) {
        if self.needs[slot] {
            self.given[slot] = Some(self.emit(op, inputs));
        }
    }

    /// The gradient of an input is that of the output.
    pub fn pass(&mut self, slot: usize) {
        if self.needs[slot] {
            self.given[slot] = Some(Operand::Upstream);
        }
    }

    /// There is no gradient for `what`.
    pub fn refuse(&mut self, what: &'static str) {
        self.refused = Some(what);
    }

    /// The ops in the order in which they were appended.
    pub fn ops(&self) -> impl Iterator<Item = (Op, [Option<Operand>; MAX_INPUTS])> + '_ {
        self.ops.iter().flatten().copied()
    }

    /// The gradient of each input that needs one.
    pub fn given(&self) -> [Option<Operand>; MAX_INPUTS] {
        self.given
    }

    /// For what there is no gradient, if the rule says so.
    pub fn refused(&self) -> Option<&'static str> {
        self.refused
    }
}
