//! Resize of maps to h×w.
//!
//! nearest: `y[i, j] = x[⌊i·H/h⌋, ⌊j·W/w⌋]`, which is decimation by 2ˢ on divisible sides; bilinear: sample centres at
//! `(i + ½)·H/h − ½`, clamped to the border (align_corners = false). The gradient is the adjoint.

use super::{Attr, Check, Operation, Rule, Run, Types};
use crate::kernels::resize::{self, ResizeShape};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;
use core::fmt;

/// How values between samples are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interpolation {
    /// The sample at `⌊i·in/out⌋`.
    Nearest,
    /// Two by two samples around `(i + ½)·in/out − ½`.
    Bilinear,
}

impl Attr for Interpolation {
    fn to_word(self) -> u32 {
        match self {
            Interpolation::Nearest => 0,
            Interpolation::Bilinear => 1,
        }
    }
    fn from_word(word: u32) -> Option<Interpolation> {
        match word {
            0 => Some(Interpolation::Nearest),
            1 => Some(Interpolation::Bilinear),
            _ => None,
        }
    }
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result {
        f.write_str(match self {
            Interpolation::Nearest => "nearest",
            Interpolation::Bilinear => "bilinear",
        })
    }
}

record! {
    /// `y = resize(x)`.
    Resize {
        /// Rows of y.
        h: u32,
        /// Columns of y.
        w: u32,
        /// Rule between samples.
        mode: Interpolation,
    }
}

record! {
    /// `gx` of a resize from gy.
    ResizeDx {
        /// Rows of x.
        h: u32,
        /// Columns of x.
        w: u32,
        /// Rule between samples.
        mode: Interpolation,
    }
}

fn kernel_shape(n: usize, x: Shape, y: Shape) -> ResizeShape {
    ResizeShape {
        planes: n * x.c() as usize,
        h: x.h() as usize,
        w: x.w() as usize,
        oh: y.h() as usize,
        ow: y.w() as usize,
    }
}

fn resized(name: &'static str, inputs: &Types, h: u32, w: u32) -> Result<Type, ShapeError> {
    let check = Check(name);
    let x = check.batched(inputs, 0)?;
    check.that(x.0[3] == 1, "the input must be C×H×W")?;
    check.that(x.h().max(x.w()).max(h).max(w) <= 1 << 16, "sides must be at most 65536")?;
    Ok(Type::batched(Shape::chw(x.c(), h, w)))
}

impl Operation for Resize {
    const NAME: &'static str = "resize";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        resized(Self::NAME, inputs, self.h, self.w)
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        match self.mode {
            Interpolation::Nearest => Tolerance::Exact,
            Interpolation::Bilinear => Tolerance::Scaled(4e-7),
        }
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), run.output_type.shape);
        match self.mode {
            Interpolation::Nearest => resize::nearest(run.cpu, &s, run.inputs[0], run.output),
            Interpolation::Bilinear => resize::bilinear(run.cpu, &s, run.inputs[0], run.output),
        }
    }

    fn gradient(&self, g: &mut Rule) {
        let x = g.shape(0);
        g.give(0, ResizeDx { h: x.h(), w: x.w(), mode: self.mode }, &[g.upstream()]);
    }
}

impl Operation for ResizeDx {
    const NAME: &'static str = "resize_dx";
    const INPUTS: &'static [&'static str] = &["gy"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        resized(Self::NAME, inputs, self.h, self.w)
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Scaled(6e-7)
    }

    fn of_sizes(&self) -> Option<ResizeDx> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.output_type.shape, run.shape(0));
        match self.mode {
            Interpolation::Nearest => resize::nearest_dx(run.cpu, &s, run.inputs[0], run.output),
            Interpolation::Bilinear => resize::bilinear_dx(run.cpu, &s, run.inputs[0], run.output),
        }
    }
}
