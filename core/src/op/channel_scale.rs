//! Each channel of each sample times a number of its own: `y[c, p] = x[c, p] · s[c]`, what squeeze-and-excitation does
//! (Hu et al. 2018, arXiv 1709.01507).
//!
//! Gradients: towards x the same op, `gx = gy · s`; towards s the product with x summed over positions,
//! `gs[c] = Σ_p gy[c, p]·x[c, p]`, which is [`ChannelDot`], and whose gradients are [`ChannelScale`] again. A sample's
//! channels do not meet those of another, so both run as [`ScaleShift`](super::ScaleShift)'s kernels on one sample of N·C
//! channels.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::channel;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = x · s`; x: C×H×W, s: C.
    ChannelScale {}
}

record! {
    /// `y[c] = Σ a[c, p] · b[c, p]`; a, b: C×H×W.
    ChannelDot {}
}

impl Operation for ChannelScale {
    const NAME: &'static str = "channel_scale";
    const INPUTS: &'static [&'static str] = &["x", "s"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        check.same("one number per channel", Shape::vector(x.c()), check.batched(inputs, 1)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        let x = run.shape(0);
        let channels = run.batch * x.c() as usize;
        channel::scale_shift_dx(run.cpu, 1, channels, x.positions(), run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, ChannelScale {}, &[g.upstream(), g.input(1)]);
        g.give(1, ChannelDot {}, &[g.upstream(), g.input(0)]);
    }
}

impl Operation for ChannelDot {
    const NAME: &'static str = "channel_dot";
    const INPUTS: &'static [&'static str] = &["a", "b"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let a = check.batched(inputs, 0)?;
        check.that(a.0[3] == 1, "a must be C×H×W")?;
        check.same("a and b have one shape", a, check.batched(inputs, 1)?)?;
        Ok(Type::batched(Shape::vector(a.c())))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).positions())
    }

    fn of_sizes(&self) -> Option<ChannelDot> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let a = run.shape(0);
        let channels = run.batch * a.c() as usize;
        channel::scale_shift_dscale(run.cpu, 1, channels, a.positions(), run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        for (slot, other) in [(0, 1), (1, 0)] {
            g.give(slot, ChannelScale {}, &[g.input(other), g.upstream()]);
        }
    }
}
