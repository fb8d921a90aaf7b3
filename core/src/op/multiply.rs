//! Product of two tensors of one type, element by element: `y = a·b`. Gradients: `ga = gy·b`, `gb = gy·a`.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::elementwise;
use crate::shape::{ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = a·b`.
    Multiply {}
}

impl Operation for Multiply {
    const NAME: &'static str = "multiply";
    const INPUTS: &'static [&'static str] = &["a", "b"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Check(Self::NAME).that(inputs[0] == inputs[1], "a and b must have the same type")?;
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "a is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        elementwise::multiply(run.cpu, run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        for (slot, other) in [(0, 1), (1, 0)] {
            g.give(slot, Multiply {}, &[g.upstream(), g.input(other)]);
        }
    }
}
