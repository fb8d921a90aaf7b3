//! A constant factor: `y = a·x`, of any type. FrEIA's couplings take a tenth of what their subnets give, and the terms of a
//! loss are weighed with it. Gradient: `gx = a·gy`, the same op.

use super::{Operation, Rule, Run, Types};
use crate::kernels::elementwise;
use crate::shape::{ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = factor · x`.
    Scale {
        /// a.
        factor: f32,
    }
}

impl Operation for Scale {
    const NAME: &'static str = "scale";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "x is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        elementwise::scale(run.cpu, self.factor, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, *self, &[g.upstream()]);
    }
}
