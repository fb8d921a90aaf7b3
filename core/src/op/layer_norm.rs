//! Layer normalisation without parameters: `y = (x − μ)/√(v + ε)`, μ and v the mean and variance of a whole sample, or of
//! the channels at each position.
//!
//! FastFlow normalises each feature map over the whole sample, transformer blocks over channels. Gradient:
//! `gx = (gy − mean(gy) − y·mean(gy·y))/√(v + ε)`; μ and v are computed once more from x.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::layer_norm;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = (x − μ)/√(v + ε)`.
    LayerNorm {
        /// Whether the mean is over the channels at each position instead of the whole sample.
        per_position: bool,
        /// ε.
        eps: f32,
    }
}

record! {
    /// `gx` of a layer normalisation from gy and x.
    LayerNormDx {
        /// Whether the mean is over the channels at each position.
        per_position: bool,
        /// ε.
        eps: f32,
    }
}

fn check(name: &'static str, x: Shape, eps: f32) -> Result<(), ShapeError> {
    Check(name).that(x.0[3] == 1 && (1e-12..=1.0).contains(&eps), "x must be C×H×W and ε lie in 1e-12..=1")
}

impl Operation for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let x = Check(Self::NAME).batched(inputs, 0)?;
        check(Self::NAME, x, self.eps)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A difference of values of one size, divided by another.
        Tolerance::Scaled(3e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let x = run.shape(0);
        if self.per_position {
            layer_norm::position_norm(run.cpu, x.c() as usize, x.positions(), self.eps, run.inputs[0], run.output);
        } else {
            layer_norm::layer_norm(run.cpu, x.len(), self.eps, run.inputs[0], run.output);
        }
    }

    fn gradient(&self, g: &mut Rule) {
        let LayerNorm { per_position, eps } = *self;
        g.give(0, LayerNormDx { per_position, eps }, &[g.upstream(), g.input(0)]);
    }
}

impl Operation for LayerNormDx {
    const NAME: &'static str = "layer_norm_dx";
    const INPUTS: &'static [&'static str] = &["gy", "x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        let x = c.batched(inputs, 1)?;
        check(Self::NAME, x, self.eps)?;
        c.same("gy and x have one shape", x, c.batched(inputs, 0)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A difference of values of one size, divided by another.
        Tolerance::Scaled(3e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = run.shape(1);
        let [gy, x, ..] = run.inputs;
        if self.per_position {
            layer_norm::position_norm_dx(run.cpu, s.c() as usize, s.positions(), self.eps, gy, x, run.output);
        } else {
            layer_norm::layer_norm_dx(run.cpu, s.len(), self.eps, gy, x, run.output);
        }
    }
}
