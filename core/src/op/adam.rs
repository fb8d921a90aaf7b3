//! One step of Adam over the whole trainable range: `θ ← θ − lr·m̂/(√v̂ + ε)`, decay added to the gradient (L2).
//!
//! `g ← g + λθ; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)`. Trainable
//! parameters come first and contiguous, so this is one op over one range. `state` holds m and then v and is updated
//! in place; `control` holds the learning rate and the step t (from 1) of this run. With clipping, `g ← g·min(1, clip/‖g‖)`
//! comes first, over all gradients together; `squares` is their [`SquareParts`].

use super::{Check, Operation, Run, SquareParts, Types};
use crate::kernels::adam::{self, AdamParams};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `θ ← θ − lr·m̂/(√v̂ + ε)`.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// ε.
        eps: f32,
        /// λ.
        weight_decay: f32,
        /// Largest norm of all gradients together; larger ones are scaled down to it. 0 leaves them.
        clip: f32,
    }
}

impl Operation for Adam {
    const NAME: &'static str = "adam";
    const INPUTS: &'static [&'static str] = &["grads", "state", "control", "?squares"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let unit = 0.0..1.0;
        check.that(unit.contains(&self.beta1) && unit.contains(&self.beta2), "β₁ and β₂ must lie in [0, 1)")?;
        check.that(self.eps > 0.0 && self.weight_decay >= 0.0, "ε must be positive and the decay not negative")?;
        let grads = check.single(inputs, 0)?;
        check.same("grads is a vector", Shape::vector(grads.c()), grads)?;
        check.that(grads.c() <= 1 << 30, "too many parameters")?;
        check.same("state holds two moments", Shape::vector(2 * grads.c()), check.single(inputs, 1)?)?;
        check.same("control holds learning rate and step", Shape::vector(2), check.single(inputs, 2)?)?;
        check.that(self.clip >= 0.0, "the largest norm must not be negative")?;
        check.that((self.clip > 0.0) == inputs[3].is_some(), "squares are given for clipping and only then")?;
        if inputs[3].is_some() {
            check.same(
                "squares holds the sums of parts",
                Shape::vector(SquareParts::PARTS),
                check.single(inputs, 3)?,
            )?;
        }
        Ok(Type::single(grads))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let control = run.inputs[2];
        let p = AdamParams {
            lr: control[0],
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
        };
        let squares: f64 = run.inputs[3].iter().map(|&s| f64::from(s)).sum();
        let norm = libm::sqrt(squares);
        let grad_scale =
            if self.clip > 0.0 && norm > f64::from(self.clip) { (f64::from(self.clip) / norm) as f32 } else { 1.0 };
        // Steps are whole numbers below 2²⁴, exact in f32; a step below one would divide by zero.
        let step = (control[1] as u64).max(1);
        let (m, v) = run.state.split_at_mut(run.state.len() / 2);
        adam::adam(run.cpu, &p, step, grad_scale, run.output, run.inputs[0], m, v);
    }
}
