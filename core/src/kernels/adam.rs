//! Adam, one streaming pass over parameters, gradients and both moments.
//!
//! With `g ← g·grad_scale + λθ`: `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `θ ← θ − lr · m̂ / (√v̂ + ε)` where
//! `m̂ = m/(1−β₁ᵗ)`, `v̂ = v/(1−β₂ᵗ)` (Kingma and Ba, 2015, algorithm 1; λ is the L2 penalty in the gradient, not
//! decoupled decay).

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// Constants of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamParams {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f32,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// L2 penalty λ, added to the gradient as λθ.
    pub weight_decay: f32,
}

/// What does not change within a step.
#[derive(Clone, Copy)]
struct Constants {
    grad_scale: f32,
    weight_decay: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    /// `lr / (1 − β₁ᵗ)`
    rate: f32,
    /// `1 / √(1 − β₂ᵗ)`
    root: f32,
    eps: f32,
}

impl Constants {
    fn new(p: &AdamParams, step: u64, grad_scale: f32) -> Self {
        let correction = |beta: f32| 1.0 - libm::pow(f64::from(beta), step as f64);
        Self {
            grad_scale,
            weight_decay: p.weight_decay,
            beta1: p.beta1,
            one_minus_beta1: (1.0 - f64::from(p.beta1)) as f32,
            beta2: p.beta2,
            one_minus_beta2: (1.0 - f64::from(p.beta2)) as f32,
            rate: (f64::from(p.lr) / correction(p.beta1)) as f32,
            root: (1.0 / libm::sqrt(correction(p.beta2))) as f32,
            eps: p.eps,
        }
    }
}

/// Elements that one task handles; fixed, so that the partition never depends on the number of threads.
const CHUNK: usize = 16384;

/// One step of Adam over a range of parameters. `step` counts from 1; `grad_scale` multiplies the gradients first (clipping).
pub fn adam(
    cpu: Cpu<'_>,
    p: &AdamParams,
    step: u64,
    grad_scale: f32,
    params: &mut [f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let len = params.len();
    assert_eq!((grads.len(), m.len(), v.len()), (len, len, len), "lengths of grads, m and v");
    assert!(step > 0, "steps count from 1");
    let k = Constants::new(p, step, grad_scale);
    cpu.threads().chunks_mut3([params, m, v], CHUNK, &|chunk, _, [params, m, v]| {
        let grads = &grads[chunk * CHUNK..][..params.len()];
        cpu.isa().run(Chunk { k, params, grads, m, v });
    });
}

struct Chunk<'a> {
    k: Constants,
    params: &'a mut [f32],
    grads: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Op for Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { k, params, grads, m, v } = self;
        let (grad_scale, weight_decay) = (s.splat(k.grad_scale), s.splat(k.weight_decay));
        let (beta1, one_minus_beta1) = (s.splat(k.beta1), s.splat(k.one_minus_beta1));
        let (beta2, one_minus_beta2) = (s.splat(k.beta2), s.splat(k.one_minus_beta2));
        let (minus_rate, root, eps) = (s.splat(-k.rate), s.splat(k.root), s.splat(k.eps));
        let moments = m.chunks_mut(S::LANES).zip(v.chunks_mut(S::LANES));
        for ((theta, g), (m, v)) in params.chunks_mut(S::LANES).zip(grads.chunks(S::LANES)).zip(moments) {
            let x = s.load_part(theta);
            let g = s.fma(s.load_part(g), grad_scale, s.mul(x, weight_decay));
            let first = s.fma(beta1, s.load_part(m), s.mul(one_minus_beta1, g));
            let second = s.fma(beta2, s.load_part(v), s.mul(one_minus_beta2, s.mul(g, g)));
            let step = s.div(first, s.fma(s.sqrt(second), root, eps));
            s.store_part(m, first);
            s.store_part(v, second);
            s.store_part(theta, s.fma(minus_rate, step, x));
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// The algorithm in f64; gradients are θ/2 plus a constant of each element.
    fn reference(p: &AdamParams, steps: u64, scale: f64, theta: &mut [f64], constant: &[f64]) {
        let (b1, b2) = (f64::from(p.beta1), f64::from(p.beta2));
        for i in 0..theta.len() {
            let (mut m, mut v) = (0.0, 0.0);
            for t in 1..=steps as i32 {
                let g = (theta[i] * 0.5 + constant[i]) * scale + f64::from(p.weight_decay) * theta[i];
                m = b1 * m + (1.0 - b1) * g;
                v = b2 * v + (1.0 - b2) * g * g;
                let (m_hat, v_hat) = (m / (1.0 - b1.powi(t)), v / (1.0 - b2.powi(t)));
                theta[i] -= f64::from(p.lr) * m_hat / (v_hat.sqrt() + f64::from(p.eps));
            }
        }
    }

    #[test]
    fn follows_the_algorithm() {
        let flow = AdamParams { lr: 2e-4, beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5 };
        let usual = AdamParams { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
        for p in [flow, usual] {
            for len in SIZES.into_iter().chain([0, CHUNK + 3]) {
                let (start, constant) = (numbers(1, len), numbers(2, len));
                let mut want = wide(&start);
                reference(&p, 5, 0.25, &mut want, &wide(&constant));
                each_cpu(
                    |cpu| {
                        let (mut theta, mut m, mut v) = (start.clone(), vec![0.0; len], vec![0.0; len]);
                        for step in 1..=5 {
                            let g: Vec<f32> = theta.iter().zip(&constant).map(|(t, c)| t * 0.5 + c).collect();
                            adam(cpu, &p, step, 0.25, &mut theta, &g, &mut m, &mut v);
                        }
                        theta
                    },
                    |theta| close("theta", theta, &want, 2e-6),
                );
            }
        }
    }
}
