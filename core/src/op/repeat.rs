//! One block for every sample: `y[n] = x`, a parameter joined to what is batched.
//!
//! Carries codes of positions next to features. What is repeated is fixed, so there is no gradient.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::layout;
use crate::shape::{ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y[n] = x`; x: C×H×W, not batched.
    Repeat {}
}

impl Operation for Repeat {
    const NAME: &'static str = "repeat";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let x = Check(Self::NAME).single(inputs, 0)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        layout::repeat(run.cpu, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.refuse("what is repeated, which is fixed");
    }
}
