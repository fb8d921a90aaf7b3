//! Per-channel scale and shift: `y = x · scale[c] + shift[c]`, its inverse `x = (y − shift[c]) / scale[c]`, and the sum per
//! channel that bias gradients are.
//!
//! Gradients: `gx = gy·scale`, `gscale = Σ gy·x`, `gshift = Σ gy`, sums over batch and positions.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::channel;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = x · scale + shift` per channel.
    ScaleShift {
        /// Whether to undo it.
        inverse: bool,
    }
}

record! {
    /// `gx = gy · scale` per channel.
    ScaleShiftDx {}
}

record! {
    /// `gscale = Σ gy · x` per channel.
    ScaleShiftDscale {}
}

record! {
    /// `y[c] = Σ x[c]` over batch and positions.
    ChannelSum {}
}

impl Operation for ScaleShift {
    const NAME: &'static str = "scale_shift";
    const INPUTS: &'static [&'static str] = &["x", "scale", "shift"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        for slot in 1..3 {
            check.same("one number per channel", Shape::vector(x.c()), check.single(inputs, slot)?)?;
        }
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Scaled(2e-7)
    }

    fn of_sizes(&self) -> Option<ScaleShift> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let x = run.shape(0);
        let kernel = if self.inverse { channel::scale_shift_inverse } else { channel::scale_shift };
        kernel(
            run.cpu,
            run.batch,
            x.c() as usize,
            x.positions(),
            run.inputs[0],
            run.inputs[1],
            run.inputs[2],
            run.output,
        );
    }

    fn gradient(&self, g: &mut Rule) {
        if self.inverse {
            return g.refuse("the inverse direction of a scale and shift");
        }
        let gy = g.upstream();
        g.give(0, ScaleShiftDx {}, &[gy, g.input(1)]);
        g.give(1, ScaleShiftDscale {}, &[gy, g.input(0)]);
        g.give(2, ChannelSum {}, &[gy]);
    }
}

impl Operation for ScaleShiftDx {
    const NAME: &'static str = "scale_shift_dx";
    const INPUTS: &'static [&'static str] = &["gy", "scale"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let gy = check.batched(inputs, 0)?;
        check.that(gy.0[3] == 1, "gy must be C×H×W")?;
        check.same("one number per channel", Shape::vector(gy.c()), check.single(inputs, 1)?)?;
        Ok(Type::batched(gy))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        let gy = run.shape(0);
        channel::scale_shift_dx(
            run.cpu,
            run.batch,
            gy.c() as usize,
            gy.positions(),
            run.inputs[0],
            run.inputs[1],
            run.output,
        );
    }
}

impl Operation for ScaleShiftDscale {
    const NAME: &'static str = "scale_shift_dscale";
    const INPUTS: &'static [&'static str] = &["gy", "x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let gy = check.batched(inputs, 0)?;
        check.that(gy.0[3] == 1, "gy must be C×H×W")?;
        check.same("gy and x have one shape", gy, check.batched(inputs, 1)?)?;
        Ok(Type::single(Shape::vector(gy.c())))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).positions())
    }

    fn of_sizes(&self) -> Option<ScaleShiftDscale> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let gy = run.shape(0);
        channel::scale_shift_dscale(
            run.cpu,
            run.batch,
            gy.c() as usize,
            gy.positions(),
            run.inputs[0],
            run.inputs[1],
            run.output,
        );
    }
}

impl Operation for ChannelSum {
    const NAME: &'static str = "channel_sum";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        Ok(Type::single(Shape::vector(x.c())))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).positions())
    }

    fn of_sizes(&self) -> Option<ChannelSum> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let x = run.shape(0);
        channel::channel_sum(run.cpu, run.batch, x.c() as usize, x.positions(), run.inputs[0], run.output);
    }
}
