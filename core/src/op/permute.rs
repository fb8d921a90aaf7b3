//! Fixed permutation of channels: `y[c] = x[π(c)]`, or its inverse `y[π(c)] = x[c]`.
//!
//! π is a parameter tensor whose words are channel numbers (u32 bits, not floats). A permutation has log-determinant 0;
//! its gradient is its inverse.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::layout;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y[c] = x[π(c)]`, inverse `y[π(c)] = x[c]`.
    Permute {
        /// Whether to undo π.
        inverse: bool,
    }
}

impl Operation for Permute {
    const NAME: &'static str = "permute";
    const INPUTS: &'static [&'static str] = &["x", "index"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.same("one index per channel", Shape::vector(x.c()), check.single(inputs, 1)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = run.shape(0);
        let (c, hw) = (s.c() as usize, s.len() / s.c() as usize);
        let (x, index) = (run.inputs[0], run.inputs[1]);
        // Parsing a model has checked that the index is a permutation; the kernels clamp any other bits.
        if self.inverse {
            layout::permute_inverse(run.cpu, run.batch, c, hw, index, x, run.output);
        } else {
            layout::permute(run.cpu, run.batch, c, hw, index, x, run.output);
        }
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, Permute { inverse: !self.inverse }, &[g.upstream(), g.input(1)]);
    }
}
