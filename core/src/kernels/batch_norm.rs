//! Normalisation of channels by mean and variance over batch and positions, and what its gradients need.
//!
//! Statistics are pairs `(μ_c, v_c)`, two passes over a channel: the mean first, then `v = Σ (x − μ)²/M` with M = N·HW, so
//! that a large mean costs no digits. A channel is summed sample after sample, a plane in sixteen running sums, so results
//! depend on neither threads nor instruction set.

use crate::cpu::Cpu;
use crate::simd::{MAX_LANES, Op, Simd};

/// Elements that one task handles, about.
const CHUNK: usize = 8192;

/// Batch, channels, positions.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Samples.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Positions.
    pub hw: usize,
}

impl Extent {
    fn len(&self) -> usize {
        self.n * self.c * self.hw
    }

    /// The planes of channel `c` in order of samples.
    fn planes<'x>(&self, c: usize, x: &'x [f32]) -> impl Iterator<Item = &'x [f32]> {
        let Extent { n, c: channels, hw } = *self;
        (0..n).map(move |sample| &x[(sample * channels + c) * hw..][..hw])
    }
}

/// `1/√(v + ε)`
fn inverse(variance: f32, eps: f32) -> f32 {
    1.0 / libm::sqrtf(variance + eps)
}

/// `out[c] = (μ_c, v_c)`: mean and (biased) variance of channel c. x `[n, c, hw]`, out `[c, 2]`.
pub fn stats(cpu: Cpu<'_>, e: Extent, x: &[f32], out: &mut [f32]) {
    assert_eq!((x.len(), out.len()), (e.len(), 2 * e.c), "lengths of x and out");
    let count = (e.n * e.hw) as f32;
    per_channel(cpu, e, 2, out, &|c, out| {
        let mut sum = 0.0;
        for x in e.planes(c, x) {
            sum += cpu.isa().run(Plane { g: None, x: Some((x, 0.0)) });
        }
        let mean = sum / count;
        let mut squares = 0.0;
        for x in e.planes(c, x) {
            squares += cpu.isa().run(Square { x, mean });
        }
        out.copy_from_slice(&[mean, squares / count]);
    });
}

/// Gradient of [`stats`]: `gx = (g₀ + 2·g₁·(x − μ))/M`. g, stats `[c, 2]`.
pub fn stats_dx(cpu: Cpu<'_>, e: Extent, g: &[f32], x: &[f32], stats: &[f32], gx: &mut [f32]) {
    assert_eq!((g.len(), stats.len()), (2 * e.c, 2 * e.c), "lengths of g and stats");
    let count = (e.n * e.hw) as f32;
    affine(cpu, e, x, gx, &|c| (stats[2 * c], 2.0 * g[2 * c + 1] / count, g[2 * c] / count));
}

/// `y = (x − μ_c)·γ_c/√(v_c + ε) + β_c`.
pub fn norm(cpu: Cpu<'_>, e: Extent, eps: f32, x: &[f32], stats: &[f32], gamma: &[f32], beta: &[f32], y: &mut [f32]) {
    assert_eq!((stats.len(), gamma.len(), beta.len()), (2 * e.c, e.c, e.c), "lengths of stats, gamma and beta");
    affine(cpu, e, x, y, &|c| (stats[2 * c], gamma[c] * inverse(stats[2 * c + 1], eps), beta[c]));
}

/// Gradient of [`norm`] towards x, statistics held: `gx = gy·γ_c/√(v_c + ε)`.
pub fn norm_dx(cpu: Cpu<'_>, e: Extent, eps: f32, gy: &[f32], stats: &[f32], gamma: &[f32], gx: &mut [f32]) {
    assert_eq!((stats.len(), gamma.len()), (2 * e.c, e.c), "lengths of stats and gamma");
    affine(cpu, e, gy, gx, &|c| (0.0, gamma[c] * inverse(stats[2 * c + 1], eps), 0.0));
}

/// Gradient of [`norm`] towards the statistics, with `r = 1/√(v + ε)`: `(−γ·r·Σ gy, −½·γ·r³·Σ gy·(x − μ))`.
pub fn norm_dstats(
    cpu: Cpu<'_>,
    e: Extent,
    eps: f32,
    gy: &[f32],
    x: &[f32],
    stats: &[f32],
    gamma: &[f32],
    out: &mut [f32],
) {
    assert_eq!((gy.len(), x.len(), out.len()), (e.len(), e.len(), 2 * e.c), "lengths of gy, x and out");
    assert_eq!((stats.len(), gamma.len()), (2 * e.c, e.c), "lengths of stats and gamma");
    per_channel(cpu, e, 2, out, &|c, out| {
        let r = inverse(stats[2 * c + 1], eps);
        let (mut sum, mut dot) = (0.0, 0.0);
        for (gy, x) in e.planes(c, gy).zip(e.planes(c, x)) {
            sum += cpu.isa().run(Plane { g: Some(gy), x: None });
            dot += cpu.isa().run(Plane { g: Some(gy), x: Some((x, stats[2 * c])) });
        }
        out.copy_from_slice(&[-gamma[c] * r * sum, -0.5 * gamma[c] * r * r * r * dot]);
    });
}

/// Gradient of [`norm`] towards γ: `Σ gy·(x − μ)/√(v + ε)`.
pub fn norm_dgamma(cpu: Cpu<'_>, e: Extent, eps: f32, gy: &[f32], x: &[f32], stats: &[f32], out: &mut [f32]) {
    assert_eq!((gy.len(), x.len(), out.len()), (e.len(), e.len(), e.c), "lengths of gy, x and out");
    assert_eq!(stats.len(), 2 * e.c, "length of stats");
    per_channel(cpu, e, 1, out, &|c, out| {
        let mut dot = 0.0;
        for (gy, x) in e.planes(c, gy).zip(e.planes(c, x)) {
            dot += cpu.isa().run(Plane { g: Some(gy), x: Some((x, stats[2 * c])) });
        }
        out[0] = dot * inverse(stats[2 * c + 1], eps);
    });
}

/// Runs `f(c, its values)` for every channel of an output with `width` values a channel.
fn per_channel(cpu: Cpu<'_>, e: Extent, width: usize, out: &mut [f32], f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    let channels = (CHUNK / (e.n * e.hw).max(1)).max(1);
    cpu.threads().chunks_mut(out, channels * width, &|task, _, out| {
        for (k, out) in out.chunks_exact_mut(width).enumerate() {
            f(task * channels + k, out);
        }
    });
}

/// `y = (x − m)·k + b` with `(m, k, b)` of the channel.
fn affine(cpu: Cpu<'_>, e: Extent, x: &[f32], y: &mut [f32], of: &(dyn Fn(usize) -> (f32, f32, f32) + Sync)) {
    assert_eq!((x.len(), y.len()), (e.len(), e.len()), "lengths of x and y");
    let planes = (CHUNK / e.hw.max(1)).max(1);
    cpu.threads().chunks_mut(y, planes * e.hw.max(1), &|task, _, y| {
        let first = task * planes;
        let x = &x[first * e.hw..][..y.len()];
        for (k, (y, x)) in y.chunks_exact_mut(e.hw).zip(x.chunks_exact(e.hw)).enumerate() {
            cpu.isa().run(Affine { x, y, of: of((first + k) % e.c) });
        }
    });
}

struct Affine<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    of: (f32, f32, f32),
}

impl Op for Affine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (m, k, b) = self.of;
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = (x - m) * k + b;
        }
    }
}

/// `Σ term(i)` over 0..len in sixteen running sums, which are added as a tree of halves.
#[inline(always)]
fn lanes(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0f32; MAX_LANES];
    let whole = len / MAX_LANES * MAX_LANES;
    for block in (0..whole).step_by(MAX_LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(block + lane);
        }
    }
    for i in whole..len {
        sums[i - whole] += term(i);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0]
}

/// `Σ g·(x − m)` over a plane; what is left out is 1.
struct Plane<'a> {
    g: Option<&'a [f32]>,
    x: Option<(&'a [f32], f32)>,
}

impl Op for Plane<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f32 {
        match (self.g, self.x) {
            (Some(g), Some((x, m))) => {
                let x = &x[..g.len()];
                lanes(g.len(), |i| g[i] * (x[i] - m))
            }
            (Some(g), None) => lanes(g.len(), |i| g[i]),
            (None, Some((x, m))) => lanes(x.len(), |i| x[i] - m),
            (None, None) => 0.0,
        }
    }
}

/// `Σ (x − μ)²` over a plane.
struct Square<'a> {
    x: &'a [f32],
    mean: f32,
}

impl Op for Square<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f32 {
        let Square { x, mean } = self;
        lanes(x.len(), |i| (x[i] - mean) * (x[i] - mean))
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Statistics and normalisation in one, as torch's `batch_norm` in training.
    fn definition(e: Extent, gamma: &[f32], beta: &[f32]) -> impl Fn(&[f64]) -> Vec<f64> {
        move |x| {
            let channel = |c: usize| (0..x.len()).filter(move |k| k / e.hw % e.c == c);
            let mut y = vec![0.0; x.len()];
            for c in 0..e.c {
                let count = (e.n * e.hw) as f64;
                let mean = channel(c).map(|k| x[k]).sum::<f64>() / count;
                let variance = channel(c).map(|k| (x[k] - mean) * (x[k] - mean)).sum::<f64>() / count;
                let r = 1.0 / libm::sqrt(variance + 1e-3);
                channel(c).for_each(|k| y[k] = (x[k] - mean) * r * f64::from(gamma[c]) + f64::from(beta[c]));
            }
            y
        }
    }

    #[test]
    fn the_whole_layer_forward_and_backward() {
        for (n, c, hw) in [(1, 1, 2), (2, 3, 1), (3, 2, 5), (2, 2, 33), (4, 5, 64)] {
            let e = Extent { n, c, hw };
            // Far from zero: two passes keep the digits.
            let x: Vec<f32> = numbers(1, e.len()).iter().map(|x| x + 3.0).collect();
            let (gy, gamma, beta) = (numbers(2, e.len()), numbers(3, c), numbers(4, c));
            let f = definition(e, &gamma, &beta);
            let run = |cpu: Cpu<'_>| {
                let (mut s, mut y) = (vec![f32::NAN; 2 * c], vec![f32::NAN; e.len()]);
                stats(cpu, e, &x, &mut s);
                norm(cpu, e, 1e-3, &x, &s, &gamma, &beta, &mut y);
                (s, y)
            };
            each_cpu(|cpu| run(cpu).1, |y| close("y", y, &f(&wide(&x)), 2e-6));
            let want = numerical(&x, &gy, f);
            each_cpu(
                |cpu| {
                    let (s, mut gx) = (run(cpu).0, vec![f32::NAN; e.len()]);
                    let (mut gs, mut through) = (vec![f32::NAN; 2 * c], vec![f32::NAN; e.len()]);
                    norm_dx(cpu, e, 1e-3, &gy, &s, &gamma, &mut gx);
                    norm_dstats(cpu, e, 1e-3, &gy, &x, &s, &gamma, &mut gs);
                    stats_dx(cpu, e, &gs, &x, &s, &mut through);
                    gx.iter().zip(&through).map(|(a, b)| a + b).collect()
                },
                |gx| close("gx", gx, &want, if n * hw < 3 { 1e-3 } else { 2e-5 }),
            );
        }
    }
}
