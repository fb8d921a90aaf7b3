//! What a per-channel scale adds to a log-determinant: `y = j + a·Σ_c ln scale[c]`.
//!
//! j is one number per sample, with a = H·W, or a map with one number per position, with a = 1. Gradients: `gj = g`,
//! `gscale[c] = a·Σ g/scale[c]`, the sum over batch and positions.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::log_scale;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = j + factor · Σ ln scale`.
    LogScale {
        /// a.
        factor: f32,
    }
}

record! {
    /// `gscale = factor · Σ g / scale`.
    LogScaleDscale {
        /// a.
        factor: f32,
    }
}

fn check(name: &'static str, inputs: &Types) -> Result<(Shape, Shape), ShapeError> {
    let check = Check(name);
    let (j, scale) = (check.batched(inputs, 0)?, check.single(inputs, 1)?);
    check.same("the scale is a vector", Shape::vector(scale.c()), scale)?;
    check.that(j.0[3] == 1, "j must be 1, or 1×H×W")?;
    Ok((j, scale))
}

impl Operation for LogScale {
    const NAME: &'static str = "log_scale";
    const INPUTS: &'static [&'static str] = &["j", "scale"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Ok(Type::batched(check(Self::NAME, inputs)?.0))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).positions())
    }

    fn run(&self, run: &mut Run<'_>) {
        log_scale::log_scale(self.factor, run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.pass(0);
        g.give(1, LogScaleDscale { factor: self.factor }, &[g.upstream(), g.input(1)]);
    }
}

impl Operation for LogScaleDscale {
    const NAME: &'static str = "log_scale_dscale";
    const INPUTS: &'static [&'static str] = &["g", "scale"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Ok(Type::single(check(Self::NAME, inputs)?.1))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).positions())
    }

    fn of_sizes(&self) -> Option<LogScaleDscale> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        log_scale::log_scale_dscale(run.cpu, self.factor, run.inputs[0], run.inputs[1], run.output);
    }
}
