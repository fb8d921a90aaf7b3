//! Pointwise activation: `y = act(x)`; the gradient needs only y, so x need not be kept.
//!
//! relu: `max(x, 0)`, gradient where y > 0; relu6: `min(max(x, 0), 6)`, gradient where 0 < y < 6.

use super::{Attr, Check, Operation, Rule, Run, Types};
use crate::kernels::activation::{self, Activation};
use crate::shape::{ShapeError, Type};
use crate::tolerance::Tolerance;
use core::fmt;

impl Attr for Activation {
    fn to_word(self) -> u32 {
        match self {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Relu6 => 2,
        }
    }
    fn from_word(word: u32) -> Option<Activation> {
        match word {
            0 => Some(Activation::None),
            1 => Some(Activation::Relu),
            2 => Some(Activation::Relu6),
            _ => None,
        }
    }
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result {
        f.write_str(match self {
            Activation::None => "none",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
        })
    }
}

record! {
    /// `y = act(x)`.
    Activate {
        /// Which function.
        act: Activation,
    }
}

record! {
    /// `gx = gy · act'(x)`, with act' read off y.
    ActivateDx {
        /// Which function.
        act: Activation,
    }
}

impl Operation for Activate {
    const NAME: &'static str = "activate";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "x is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        activation::activation(run.cpu, self.act, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, ActivateDx { act: self.act }, &[g.upstream(), g.output()]);
    }
}

impl Operation for ActivateDx {
    const NAME: &'static str = "activate_dx";
    const INPUTS: &'static [&'static str] = &["gy", "y"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        check.that(inputs[0] == inputs[1], "gy and y must have the same type")?;
        inputs[0].ok_or(ShapeError { op: Self::NAME, rule: "gy is missing", expected: None, found: None })
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        activation::activation_dx(run.cpu, self.act, run.inputs[0], run.inputs[1], run.output);
    }
}
