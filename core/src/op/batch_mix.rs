//! Mixtures of pairs of samples: `y[n] = τ·x[n] + (1 − τ)·x[k]`, τ and k from `pair` (CDNF, eq. 1).
//!
//! `pair` holds for each sample k, the number of another sample of the batch, and τ. A number beyond the batch means its last
//! sample, one below 0 its first. Gradient: `gx[m] = τ_m·g[m] + Σ_{n: k_n = m} (1 − τ_n)·g[n]`.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::batch_mix;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y[n] = τ·x[n] + (1 − τ)·x[k]`.
    BatchMix {}
}

record! {
    /// Gradient of [`BatchMix`] towards x.
    BatchMixDx {}
}

fn check(name: &'static str, inputs: &Types) -> Result<Type, ShapeError> {
    let check = Check(name);
    let x = check.batched(inputs, 0)?;
    check.same("pair holds k and τ", Shape::vector(2), check.batched(inputs, 1)?)?;
    Ok(Type::batched(x))
}

impl Operation for BatchMix {
    const NAME: &'static str = "batch_mix";
    const INPUTS: &'static [&'static str] = &["x", "pair"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        check(Self::NAME, inputs)
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Scaled(2e-7)
    }

    fn run(&self, run: &mut Run<'_>) {
        batch_mix::batch_mix(run.cpu, run.batch, run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        if g.needs(1) {
            return g.refuse("pairs and their shares");
        }
        g.give(0, BatchMixDx {}, &[g.upstream(), g.input(1)]);
    }
}

impl Operation for BatchMixDx {
    const NAME: &'static str = "batch_mix_dx";
    const INPUTS: &'static [&'static str] = &["g", "pair"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        check(Self::NAME, inputs)
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Scaled(6e-7)
    }

    fn run(&self, run: &mut Run<'_>) {
        batch_mix::batch_mix_dx(run.cpu, run.batch, run.inputs[0], run.inputs[1], run.output);
    }
}
