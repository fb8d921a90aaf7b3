//! Square root of what is positive: `y = √(max(x, 0) + 1e-6)`, pointwise.
//!
//! Three in a row are x^⅛, a tone curve close to a logarithm that every processor computes alike; one alone spreads out
//! the small values of magnitudes. Gradient: `gy / 2y` where x > 0, else 0.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::root;
use crate::shape::{ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = √(max(x, 0) + 1e-6)`.
    Root {}
}

record! {
    /// `gx` of a root from gy, x and y.
    RootDx {}
}

impl Operation for Root {
    const NAME: &'static str = "root";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "x is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(3)
    }

    fn run(&self, run: &mut Run<'_>) {
        root::root(run.cpu, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, RootDx {}, &[g.upstream(), g.input(0), g.output()]);
    }
}

impl Operation for RootDx {
    const NAME: &'static str = "root_dx";
    const INPUTS: &'static [&'static str] = &["gy", "x", "y"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        check.that(inputs[0] == inputs[1] && inputs[1] == inputs[2], "gy, x and y must have the same type")?;
        inputs[1].ok_or(ShapeError { op: Self::NAME, rule: "x is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(3)
    }

    fn run(&self, run: &mut Run<'_>) {
        let [gy, x, y, ..] = run.inputs;
        root::root_dx(run.cpu, gy, x, y, run.output);
    }
}
