//! Sum of two tensors of one type: `y = a + b`.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::elementwise;
use crate::shape::{ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = a + b`.
    Add {}
}

impl Operation for Add {
    const NAME: &'static str = "add";
    const INPUTS: &'static [&'static str] = &["a", "b"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Check(Self::NAME).that(inputs[0] == inputs[1], "a and b must have the same type")?;
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "a is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        elementwise::add(run.cpu, run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.pass(0);
        g.pass(1);
    }
}
