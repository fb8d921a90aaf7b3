//! Mean over the batch: `y = (1/N) Σ x[n]`; the end of every loss. Its gradient, `gx[n] = g/N`, starts a backward
//! pass: with g left out it is 1/N.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::reduce;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = (1/N) Σ x[n]`.
    BatchMean {}
}

record! {
    /// `gx[n] = g/N`, with g = 1 where left out.
    BatchMeanDx {}
}

impl Operation for BatchMean {
    const NAME: &'static str = "batch_mean";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        check.same("x is one number per sample", Shape::SCALAR, check.batched(inputs, 0)?)?;
        Ok(Type::single(Shape::SCALAR))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(1)
    }

    fn run(&self, run: &mut Run<'_>) {
        run.output[0] = reduce::batch_mean(run.inputs[0]);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, BatchMeanDx {}, g.upstream_or_one().as_slice());
    }
}

impl Operation for BatchMeanDx {
    const NAME: &'static str = "batch_mean_dx";
    const INPUTS: &'static [&'static str] = &["?g"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        if inputs[0].is_some() {
            check.same("g is one number", Shape::SCALAR, check.single(inputs, 0)?)?;
        }
        Ok(Type::batched(Shape::SCALAR))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn device_tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A division.
        Tolerance::Ulp(3)
    }

    fn run(&self, run: &mut Run<'_>) {
        let g = run.optional(0).map_or(1.0, |g| g[0]);
        run.output.fill(g / run.batch as f32);
    }
}
