//! Magnitude of complex channels: `y = √(re² + im² + 1e-12)`, the first half of the channels real, the second imaginary.
//!
//! The non-linearity of a wavelet filter bank. Gradient: `g_re = g·re/y`, `g_im = g·im/y`.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::magnitude;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y[c] = |x[c] + i·x[C + c]|`; x: 2C×H×W.
    Magnitude {}
}

record! {
    /// `gx` of a magnitude from g, x and y.
    MagnitudeDx {}
}

fn half(name: &'static str, x: Shape) -> Result<Shape, ShapeError> {
    let check = Check(name);
    check.that(x.c().is_multiple_of(2) && x.0[3] == 1, "x must be 2C×H×W")?;
    Ok(Shape::chw(x.c() / 2, x.h(), x.w()))
}

impl Operation for Magnitude {
    const NAME: &'static str = "magnitude";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Ok(Type::batched(half(Self::NAME, Check(Self::NAME).batched(inputs, 0)?)?))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(3)
    }

    fn run(&self, run: &mut Run<'_>) {
        let y = run.output_type.shape;
        magnitude::magnitude(run.cpu, run.batch, y.len(), run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, MagnitudeDx {}, &[g.upstream(), g.input(0), g.output()]);
    }
}

impl Operation for MagnitudeDx {
    const NAME: &'static str = "magnitude_dx";
    const INPUTS: &'static [&'static str] = &["gy", "x", "y"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 1)?;
        let y = half(Self::NAME, x)?;
        check.same("gy has the shape of the forward output", y, check.batched(inputs, 0)?)?;
        check.same("y has the shape of the forward output", y, check.batched(inputs, 2)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(3)
    }

    fn run(&self, run: &mut Run<'_>) {
        let y = run.shape(0);
        let [gy, x, y_values, ..] = run.inputs;
        magnitude::magnitude_dx(run.cpu, run.batch, y.len(), gy, x, y_values, run.output);
    }
}
