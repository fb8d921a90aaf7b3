//! Mean of the k largest values of a sample: k = 1 is the maximum of a map, a share of it a steadier image score.
//!
//! The gradient is `g/k` at the k largest; on ties the first in row-major order.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::reduce;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = (1/k) Σ` of the k largest.
    TopMean {
        /// How many.
        k: u32,
    }
}

record! {
    /// `gx` of a top mean from g and x.
    TopMeanDx {
        /// How many.
        k: u32,
    }
}

fn check(name: &'static str, x: Shape, k: u32) -> Result<(), ShapeError> {
    Check(name).that(k > 0 && k as usize <= x.len(), "k must lie in 1..=elements of a sample")
}

impl Operation for TopMean {
    const NAME: &'static str = "top_mean";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        check(Self::NAME, Check(Self::NAME).batched(inputs, 0)?, self.k)?;
        Ok(Type::batched(Shape::SCALAR))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(1)
    }

    fn run(&self, run: &mut Run<'_>) {
        let len = run.shape(0).len();
        reduce::top_mean(run.cpu, run.batch, len, self.k as usize, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, TopMeanDx { k: self.k }, &[g.upstream(), g.input(0)]);
    }
}

impl Operation for TopMeanDx {
    const NAME: &'static str = "top_mean_dx";
    const INPUTS: &'static [&'static str] = &["g", "x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        c.same("g is one number per sample", Shape::SCALAR, c.batched(inputs, 0)?)?;
        let x = c.batched(inputs, 1)?;
        check(Self::NAME, x, self.k)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(1)
    }

    fn run(&self, run: &mut Run<'_>) {
        let len = run.shape(1).len();
        reduce::top_mean_dx(run.cpu, run.batch, len, self.k as usize, run.inputs[0], run.inputs[1], run.output);
    }
}
