//! Cosines between the samples of a batch: `y[n, m] = x̂[n]·ŵ[m]`, `x̂ = x/‖x‖`; what compares each sample with every other.
//!
//! One of the ops that couple samples, as means over the batch do. A program says for how many samples it is made: row n has a
//! cosine for each of the first `samples`, 0 where the batch has fewer. A vector of length 0 has cosine 0 with all.
//! Gradients: `gx[n] = (G − (G·x̂)x̂)/‖x‖` with `G = Σ_m g[n, m]·ŵ[m]`, and `gw[m]` the same with `G = Σ_n g[n, m]·x̂[n]`.
//! Where x and w are one tensor, both parts add up.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::cosine;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

/// Most samples of a batch.
pub(super) const MOST: u32 = 1 << 10;

record! {
    /// `y[n, m] = x̂[n]·ŵ[m]` for m below `samples`.
    Cosine {
        /// Samples of the batch, 1..=1024.
        samples: u32,
    }
}

record! {
    /// Gradient of [`Cosine`] towards x.
    CosineDx {}
}

record! {
    /// Gradient of [`Cosine`] towards w.
    CosineDw {}
}

/// Checks x and w from slot `first` on; returns their shape.
fn check(name: &'static str, inputs: &Types, first: usize) -> Result<Shape, ShapeError> {
    let check = Check(name);
    let x = check.batched(inputs, first)?;
    check.same("x is a vector", Shape::vector(x.c()), x)?;
    check.same("x and w have one length", x, check.batched(inputs, first + 1)?)?;
    Ok(x)
}

fn samples(name: &'static str, samples: u32) -> Result<Shape, ShapeError> {
    Check(name).that((1..=MOST).contains(&samples), "a batch has 1 to 1024 samples")?;
    Ok(Shape::vector(samples))
}

/// Checks g, x and w; returns the shape of x.
fn check_gradient(name: &'static str, inputs: &Types) -> Result<Shape, ShapeError> {
    let x = check(name, inputs, 1)?;
    let g = Check(name).batched(inputs, 0)?;
    Check(name).same("g has a row for each sample", samples(name, g.c())?, g)?;
    Ok(x)
}

impl Operation for Cosine {
    const NAME: &'static str = "cosine";
    const INPUTS: &'static [&'static str] = &["x", "w"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        check(Self::NAME, inputs, 0)?;
        Ok(Type::batched(samples(Self::NAME, self.samples)?))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).len())
    }

    fn scratch(&self, _: &Types, _: Type, batch: usize, _: usize) -> usize {
        2 * batch
    }

    fn run(&self, run: &mut Run<'_>) {
        let [x, w, ..] = run.inputs;
        cosine::cosine(run.cpu, run.shape(0).len(), x, w, run.scratch, self.samples as usize, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        let inputs = [g.upstream(), g.input(0), g.input(1)];
        g.give(0, CosineDx {}, &inputs);
        g.give(1, CosineDw {}, &inputs);
    }
}

impl Operation for CosineDx {
    const NAME: &'static str = "cosine_dx";
    const INPUTS: &'static [&'static str] = &["g", "x", "w"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Ok(Type::batched(check_gradient(Self::NAME, inputs)?))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // Lengths, a product of two vectors, a difference of two sums.
        Tolerance::Scaled(3e-6)
    }

    fn scratch(&self, _: &Types, _: Type, batch: usize, _: usize) -> usize {
        2 * batch
    }

    fn run(&self, run: &mut Run<'_>) {
        let ([g, x, w, ..], samples) = (run.inputs, run.shape(0).len());
        cosine::cosine_dx(run.cpu, run.shape(1).len(), samples, g, x, w, run.scratch, run.output);
    }
}

impl Operation for CosineDw {
    const NAME: &'static str = "cosine_dw";
    const INPUTS: &'static [&'static str] = &["g", "x", "w"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Ok(Type::batched(check_gradient(Self::NAME, inputs)?))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // Lengths, a product of two vectors, a difference of two sums.
        Tolerance::Scaled(3e-6)
    }

    fn scratch(&self, _: &Types, _: Type, batch: usize, _: usize) -> usize {
        2 * batch
    }

    fn run(&self, run: &mut Run<'_>) {
        let ([g, x, w, ..], samples) = (run.inputs, run.shape(0).len());
        cosine::cosine_dw(run.cpu, run.shape(1).len(), samples, g, x, w, run.scratch, run.output);
    }
}
