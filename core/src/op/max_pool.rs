//! Max pooling, floor mode: `y[c, i, j] = max x[c, s·i + u − p, s·j + v − p]` over 0 ≤ u, v < k inside x.
//!
//! The gradient goes to the first maximum in row-major order.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::pool;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = max` over k×k windows.
    MaxPool {
        /// Side of the window.
        k: u32,
        /// Step between windows.
        stride: u32,
        /// Border on each side, ignored by the maximum.
        pad: u32,
    }
}

record! {
    /// `gx` of max pooling from x and gy.
    MaxPoolDx {
        /// Side of the window.
        k: u32,
        /// Step between windows.
        stride: u32,
        /// Border on each side.
        pad: u32,
    }
}

impl MaxPool {
    fn infer(&self, name: &'static str, x: Shape) -> Result<Shape, ShapeError> {
        let check = Check(name);
        check.that(
            self.k > 0 && self.k <= 64 && self.stride > 0 && self.pad <= self.k / 2,
            "0 < k ≤ 64, 0 < stride, 2·pad ≤ k",
        )?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        let out = |n: u32| Some((n.checked_add(2 * self.pad)?.checked_sub(self.k)?) / self.stride + 1);
        match (out(x.h()), out(x.w())) {
            (Some(h), Some(w)) => Ok(Shape::chw(x.c(), h, w)),
            _ => Err(ShapeError {
                op: name,
                rule: "the window does not fit into the padded input",
                expected: None,
                found: Some(x),
            }),
        }
    }

    fn kernel_shape(&self, n: usize, x: Shape, y: Shape) -> pool::MaxPool {
        pool::MaxPool {
            n,
            c: x.c() as usize,
            h: x.h() as usize,
            w: x.w() as usize,
            oh: y.h() as usize,
            ow: y.w() as usize,
            k: self.k as usize,
            stride: self.stride as usize,
            pad: self.pad as usize,
        }
    }
}

impl Operation for MaxPool {
    const NAME: &'static str = "max_pool";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let x = Check(Self::NAME).batched(inputs, 0)?;
        Ok(Type::batched(self.infer(Self::NAME, x)?))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = self.kernel_shape(run.batch, run.shape(0), run.output_type.shape);
        pool::max_pool(run.cpu, &s, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        let MaxPool { k, stride, pad } = *self;
        g.give(0, MaxPoolDx { k, stride, pad }, &[g.input(0), g.upstream()]);
    }
}

impl Operation for MaxPoolDx {
    const NAME: &'static str = "max_pool_dx";
    const INPUTS: &'static [&'static str] = &["x", "gy"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let (x, gy) = (check.batched(inputs, 0)?, check.batched(inputs, 1)?);
        let forward = MaxPool { k: self.k, stride: self.stride, pad: self.pad };
        check.same("gy has the shape of the forward output", forward.infer(Self::NAME, x)?, gy)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Scaled(6e-7)
    }

    fn run(&self, run: &mut Run<'_>) {
        let forward = MaxPool { k: self.k, stride: self.stride, pad: self.pad };
        let s = forward.kernel_shape(run.batch, run.shape(0), run.shape(1));
        pool::max_pool_dx(run.cpu, &s, run.inputs[0], run.inputs[1], run.output);
    }
}
