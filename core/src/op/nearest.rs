//! Exact nearest neighbours: `y[p] = min_m ‖x[:, p] − bank[m]‖²`, or its root.
//!
//! What PatchCore scores positions with (Roth et al. 2022). With a radius r each vector of the bank is compared with positions near
//! the one that it was taken from: |Δrow| ≤ r and |Δcolumn| ≤ r; `cells` says where that was, `row·W + column` as u32 bits,
//! ascending. A position near which there is none is compared with all. Gradient, towards x only:
//! `gx[:, p] = 2g·(x[:, p] − m*)`, with the root `g·(x[:, p] − m*)/y`, m* being the nearest vector, zero where y is.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::nearest::{self, NearestShape};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

/// A radius without limit: the largest that a file can hold.
pub const EVERYWHERE: u32 = 1 << 28;

record! {
    /// Squared distance to the nearest vector of a bank, or the distance; x: C×H×W, bank: M×C, cells: M.
    Nearest {
        /// Cells in each direction; [`EVERYWHERE`] for all, without `cells` then.
        radius: u32,
        /// Whether to take the square root.
        root: bool,
    }
}

record! {
    /// Gradient of [`Nearest`] towards x.
    NearestDx {
        /// Cells in each direction; [`EVERYWHERE`] for all.
        radius: u32,
        /// Whether y is the distance rather than its square.
        root: bool,
    }
}

/// The shape of x where bank and cells fit it; the slot of x is `first`.
fn fitting(check: &Check, inputs: &Types, first: usize, radius: u32) -> Result<Shape, ShapeError> {
    let (x, bank) = (check.batched(inputs, first)?, check.single(inputs, first + 1)?);
    check.that(x.0[3] == 1 && x.positions() <= 1 << 24, "x must be C×H×W")?;
    check.same("bank holds vectors as long as x has channels", Shape([bank.0[0], x.c(), 1, 1]), bank)?;
    check.that(bank.0[0] <= 1 << 24, "too many vectors")?;
    check.that(
        (radius == EVERYWHERE) == inputs[first + 2].is_none(),
        "cells are given where the radius is limited and only then",
    )?;
    if inputs[first + 2].is_some() {
        check.same("one cell per vector", Shape::vector(bank.0[0]), check.single(inputs, first + 2)?)?;
    }
    Ok(x)
}

fn kernel_shape(n: usize, x: Shape, bank: Shape, radius: u32) -> NearestShape {
    let [d, h, w, m] = [x.c(), x.h(), x.w(), bank.0[0]].map(|extent| extent as usize);
    // A radius beyond the map's sides is no other than one that reaches all of it.
    let radius = (radius != EVERYWHERE).then(|| (radius as usize).min(h.max(w)));
    NearestShape { n, d, h, w, m, radius }
}

impl Operation for Nearest {
    const NAME: &'static str = "nearest";
    const INPUTS: &'static [&'static str] = &["x", "bank", "?cells"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let x = fitting(&Check(Self::NAME), inputs, 0, self.radius)?;
        Ok(Type::batched(Shape::chw(1, x.h(), x.w())))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).c() as usize)
    }

    fn scratch(&self, inputs: &Types, _output: Type, batch: usize, workers: usize) -> usize {
        nearest::nearest_scratch(&kernel_shape(batch, shape(inputs, 0), shape(inputs, 1), self.radius), workers)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), run.shape(1), self.radius);
        let [x, bank, cells, ..] = run.inputs;
        nearest::nearest(run.cpu, run.scratch, &s, self.root, x, bank, cells, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        if g.needs(1) {
            return g.refuse("the bank of nearest, which is chosen and not trained");
        }
        let inputs = [g.upstream(), g.input(0), g.input(1), g.input(2)];
        let dx = NearestDx { radius: self.radius, root: self.root };
        g.give(0, dx, if self.radius == EVERYWHERE { &inputs[..3] } else { &inputs });
    }
}

impl Operation for NearestDx {
    const NAME: &'static str = "nearest_dx";
    const INPUTS: &'static [&'static str] = &["g", "x", "bank", "?cells"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = fitting(&check, inputs, 1, self.radius)?;
        check.same("g has one number per position", Shape::chw(1, x.h(), x.w()), check.batched(inputs, 0)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A difference, with the root divided by a sum.
        Tolerance::Scaled(3e-6)
    }

    fn scratch(&self, inputs: &Types, _output: Type, batch: usize, workers: usize) -> usize {
        nearest::nearest_scratch(&kernel_shape(batch, shape(inputs, 1), shape(inputs, 2), self.radius), workers)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(1), run.shape(2), self.radius);
        let [g, x, bank, cells, ..] = run.inputs;
        nearest::nearest_dx(run.cpu, run.scratch, &s, self.root, g, x, bank, cells, run.output);
    }
}
