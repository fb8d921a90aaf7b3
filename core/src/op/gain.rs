//! Everything times one learned number: `y = γ·x`, how a subnet of CS-Flow starts at zero.
//!
//! Gradients: towards x the same op, `gx = γ·gy`; towards γ `gγ = Σ gy·x` over the batch. Both run as
//! [`ScaleShift`](super::ScaleShift)'s kernels on one channel.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::channel;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = γ·x`; gamma: one number, not batched.
    Gain {}
}

record! {
    /// `gγ = Σ gy·x`.
    GainDgamma {}
}

impl Operation for Gain {
    const NAME: &'static str = "gain";
    const INPUTS: &'static [&'static str] = &["x", "gamma"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.same("gamma is one number", Shape::SCALAR, check.single(inputs, 1)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        let len = run.shape(0).len();
        channel::scale_shift_dx(run.cpu, run.batch, 1, len, run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, Gain {}, &[g.upstream(), g.input(1)]);
        g.give(1, GainDgamma {}, &[g.upstream(), g.input(0)]);
    }
}

impl Operation for GainDgamma {
    const NAME: &'static str = "gain_dgamma";
    const INPUTS: &'static [&'static str] = &["gy", "x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        check.same("gy and x have one shape", check.batched(inputs, 1)?, check.batched(inputs, 0)?)?;
        Ok(Type::single(Shape::SCALAR))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).len())
    }

    fn of_sizes(&self) -> Option<GainDgamma> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let len = run.shape(0).len();
        channel::scale_shift_dscale(run.cpu, run.batch, 1, len, run.inputs[0], run.inputs[1], run.output);
    }
}
