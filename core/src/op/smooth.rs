//! Pointwise function with a slope everywhere: `y = f(x)`, f the logistic function σ, `silu(x) = x·σ(x)`, `gelu(x) = x·Φ(x)`
//! with the normal distribution Φ, or `0.1·softplus_{β=½}(x) = 0.2·ln(1 + e^{x/2})`, the scale of FrEIA's all-in-one block.
//!
//! Unlike [`Activate`](super::Activate) the gradient needs x, because silu takes most negative values twice; so it is an op
//! of its own and not the last step of a convolution. Gradient: `gx = gy · f'(x)`.

use super::{Attr, Check, Operation, Rule, Run, Types};
use crate::kernels::smooth::{self, Curve};
use crate::shape::{ShapeError, Type};
use crate::tolerance::Tolerance;
use core::fmt;

impl Attr for Curve {
    fn to_word(self) -> u32 {
        match self {
            Curve::Silu => 0,
            Curve::Sigmoid => 1,
            Curve::Gelu => 2,
            Curve::GlobalScale => 3,
        }
    }
    fn from_word(word: u32) -> Option<Curve> {
        match word {
            0 => Some(Curve::Silu),
            1 => Some(Curve::Sigmoid),
            2 => Some(Curve::Gelu),
            3 => Some(Curve::GlobalScale),
            _ => None,
        }
    }
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result {
        f.write_str(match self {
            Curve::Silu => "silu",
            Curve::Sigmoid => "sigmoid",
            Curve::Gelu => "gelu",
            Curve::GlobalScale => "global_scale",
        })
    }
}

record! {
    /// `y = f(x)`.
    Smooth {
        /// Which function.
        curve: Curve,
    }
}

record! {
    /// `gx = gy · f'(x)`.
    SmoothDx {
        /// Which function.
        curve: Curve,
    }
}

impl Operation for Smooth {
    const NAME: &'static str = "smooth";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "x is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // The exponential is the engine's own.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        smooth::smooth(run.cpu, self.curve, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, SmoothDx { curve: self.curve }, &[g.upstream(), g.input(0)]);
    }
}

impl Operation for SmoothDx {
    const NAME: &'static str = "smooth_dx";
    const INPUTS: &'static [&'static str] = &["gy", "x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Check(Self::NAME).that(inputs[0] == inputs[1], "gy and x must have the same type")?;
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "gy is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // The exponential is the engine's own.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        smooth::smooth_dx(run.cpu, self.curve, run.inputs[0], run.inputs[1], run.output);
    }
}
