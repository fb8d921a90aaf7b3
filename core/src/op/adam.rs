//! One step of Adam over the whole trainable range: `θ ← θ − lr·m̂/(√v̂ + ε)`, decay added to the gradient (L2).
//!
//! `g ← g + λθ; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)`. Trainable
//! parameters come first and contiguous, so this is one op over one range. `state` holds m and then v and is updated
//! in place; `control` holds the learning rate and the step t (from 1) of this run.

use super::{Check, Operation, Run, Types};
use crate::kernels::adam::{self, AdamParams};
use crate::shape::{Shape, ShapeError, Type};

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
    }
}

impl Operation for Adam {
    const NAME: &'static str = "adam";
    const INPUTS: &'static [&'static str] = &["grads", "state", "control"];

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
        Ok(Type::single(grads))
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
        // Steps are whole numbers below 2²⁴, exact in f32; a step below one would divide by zero.
        let step = (control[1] as u64).max(1);
        let (m, v) = run.state.split_at_mut(run.state.len() / 2);
        adam::adam(run.cpu, &p, step, 1.0, run.output, run.inputs[0], m, v);
    }

    #[cfg(feature = "alloc")]
    fn gradient(&self, g: &mut crate::autodiff::Rule<'_>) -> Result<(), crate::graph::GraphError> {
        g.first_order_only()
    }
}
