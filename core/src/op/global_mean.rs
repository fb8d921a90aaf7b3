//! Mean over positions: `y[c] = (1/HW) Σ x[c, ·]`; the gradient spreads `gy/HW`.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::pool;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y[c] = mean x[c]`.
    GlobalMean {}
}

record! {
    /// `gx[c, ·] = gy[c]/HW`.
    GlobalMeanDx {
        /// Rows of x.
        h: u32,
        /// Columns of x.
        w: u32,
    }
}

impl Operation for GlobalMean {
    const NAME: &'static str = "global_mean";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        Ok(Type::batched(Shape::vector(x.c())))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).positions())
    }

    fn of_sizes(&self) -> Option<GlobalMean> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let x = run.shape(0);
        pool::global_mean(run.cpu, run.batch, x.c() as usize, x.positions(), run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        let x = g.shape(0);
        g.give(0, GlobalMeanDx { h: x.h(), w: x.w() }, &[g.upstream()]);
    }
}

impl Operation for GlobalMeanDx {
    const NAME: &'static str = "global_mean_dx";
    const INPUTS: &'static [&'static str] = &["gy"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let gy = check.batched(inputs, 0)?;
        check.same("gy is a vector", Shape::vector(gy.c()), gy)?;
        Ok(Type::batched(Shape::chw(gy.c(), self.h, self.w)))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(1)
    }

    fn run(&self, run: &mut Run<'_>) {
        let x = run.output_type.shape;
        pool::global_mean_dx(run.cpu, run.batch, x.c() as usize, x.positions(), run.inputs[0], run.output);
    }
}
