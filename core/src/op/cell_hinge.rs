//! The loss of SSNF, per sample: likelihood up on normal cells, down on anomalous ones as far as a margin.
//!
//! `y = Σ_q { w_q·n_q where w_q > 0; −w_q·max(0, b + m − n_q) where w_q < 0; 0 where w_q = 0 }`, n the negative
//! log-likelihood of each cell, w its weight: positive on normal cells, negative on anomalous ones, 0 on those to be ignored.
//! With `w = N/|normal|` and `w = −λN/|anomalous|` counted over a batch of N, the mean over the batch is the mean over normal
//! cells plus λ times the mean hinge over anomalous ones. b is the running mean of normal cells, given from outside. Gradient:
//! `gn_q = g·w_q`, but exactly 0 where w_q < 0 and n_q is not below b + m: extreme anomalies pull no more.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::cell_hinge;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// The sum over cells, from n, w and b.
    CellHinge {
        /// m, not negative.
        margin: f32,
    }
}

record! {
    /// `gn` from g, n, w and b.
    CellHingeDn {
        /// m, not negative.
        margin: f32,
    }
}

/// Checks n, w and b from slot `first` on; returns the shape of n.
fn check(name: &'static str, inputs: &Types, first: usize, margin: f32) -> Result<Shape, ShapeError> {
    let check = Check(name);
    let n = check.batched(inputs, first)?;
    check.that(margin >= 0.0, "the margin must not be negative")?;
    check.same("one weight per cell", n, check.batched(inputs, first + 1)?)?;
    check.same("b is one number", Shape::SCALAR, check.single(inputs, first + 2)?)?;
    Ok(n)
}

impl Operation for CellHinge {
    const NAME: &'static str = "cell_hinge";
    const INPUTS: &'static [&'static str] = &["n", "w", "b"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        check(Self::NAME, inputs, 0, self.margin)?;
        Ok(Type::batched(Shape::SCALAR))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).len())
    }

    fn run(&self, run: &mut Run<'_>) {
        let [n, w, b, ..] = run.inputs;
        cell_hinge::cell_hinge(b[0] + self.margin, n, w, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        if g.needs(1) || g.needs(2) {
            return g.refuse("weights and baseline");
        }
        let dn = CellHingeDn { margin: self.margin };
        g.give(0, dn, &[g.upstream(), g.input(0), g.input(1), g.input(2)]);
    }
}

impl Operation for CellHingeDn {
    const NAME: &'static str = "cell_hinge_dn";
    const INPUTS: &'static [&'static str] = &["g", "n", "w", "b"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let n = check(Self::NAME, inputs, 1, self.margin)?;
        let check = Check(Self::NAME);
        check.same("g is one number per sample", Shape::SCALAR, check.batched(inputs, 0)?)?;
        Ok(Type::batched(n))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(1)
    }

    fn run(&self, run: &mut Run<'_>) {
        let [g, n, w, b, ..] = run.inputs;
        cell_hinge::cell_hinge_dn(b[0] + self.margin, g, n, w, run.output);
    }
}
