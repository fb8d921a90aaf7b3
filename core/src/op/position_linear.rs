//! One linear map per position: `y[:, p] = W[p]·x[:, p] + b[p]`.
//!
//! Whitens features with a Gaussian of their own at each position (PaDiM: W = L⁻¹, b = −L⁻¹μ). Fitted in closed form,
//! so there is a gradient towards x only: `gx[:, p] = W[p]ᵀ·gy[:, p]`.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::position_linear::{self, PositionLinearShape};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y[:, p] = W[p]·x[:, p] + b[p]`; x: C×H×W, w: HW×O×C, b: HW×O.
    PositionLinear {}
}

record! {
    /// `gx[:, p] = W[p]ᵀ·gy[:, p]`.
    PositionLinearDx {
        /// Rows of x.
        h: u32,
        /// Columns of x.
        w: u32,
    }
}

fn kernel_shape(n: usize, x: Shape, w: Shape) -> PositionLinearShape {
    PositionLinearShape { n, cin: x.c() as usize, cout: w.0[1] as usize, positions: x.positions() }
}

impl Operation for PositionLinear {
    const NAME: &'static str = "position_linear";
    const INPUTS: &'static [&'static str] = &["x", "w", "b"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let (x, w) = (check.batched(inputs, 0)?, check.single(inputs, 1)?);
        let positions = x.positions();
        check.that(x.0[3] == 1 && positions <= 1 << 24, "x must be C×H×W")?;
        check.same("w holds one matrix per position", Shape([positions as u32, w.0[1], x.c(), 1]), w)?;
        check.same(
            "b holds one vector per position",
            Shape([positions as u32, w.0[1], 1, 1]),
            check.single(inputs, 2)?,
        )?;
        Ok(Type::batched(Shape::chw(w.0[1], x.h(), x.w())))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 1).0[2] as usize)
    }

    fn of_sizes(&self) -> Option<PositionLinear> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), run.shape(1));
        position_linear::position_linear(run.cpu, &s, run.inputs[0], run.inputs[1], Some(run.inputs[2]), run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        if g.needs(1) || g.needs(2) {
            return g.refuse("the parameters of position_linear, which are fitted in closed form");
        }
        let x = g.shape(0);
        g.give(0, PositionLinearDx { h: x.h(), w: x.w() }, &[g.upstream(), g.input(1)]);
    }
}

impl Operation for PositionLinearDx {
    const NAME: &'static str = "position_linear_dx";
    const INPUTS: &'static [&'static str] = &["gy", "w"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let (gy, w) = (check.batched(inputs, 0)?, check.single(inputs, 1)?);
        check.same("gy has the shape of the forward output", Shape::chw(w.0[1], self.h, self.w), gy)?;
        let positions = gy.positions();
        check.that(positions as u64 == u64::from(w.0[0]) && w.0[3] == 1, "w holds one matrix per position")?;
        Ok(Type::batched(Shape::chw(w.0[2], self.h, self.w)))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 1).0[1] as usize)
    }

    fn of_sizes(&self) -> Option<PositionLinearDx> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.output_type.shape, run.shape(1));
        position_linear::position_linear_dx(run.cpu, &s, run.inputs[0], run.inputs[1], run.output);
    }
}
