//! Normalisation without parameters: `y = (x − μ) / √(v + ε)` with mean μ and variance v of a whole sample, or of the
//! channels at each position.
//!
//! With r = 1/√(v + ε) the gradient is `gx = r · (gy − mean(gy) − y · mean(gy·y))`, the means being over the same elements.
//! Sums over a whole sample run in pieces of 4096 elements that are added in f64.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd, sum};

/// Elements of a sum that are added in f32.
const PIECE: usize = 4096;

/// Each sample as a whole. x, y `[n, len]`.
pub fn layer_norm(cpu: Cpu<'_>, len: usize, eps: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "length of x");
    cpu.threads().chunks_mut(y, len, &|n, _, y| {
        let x = &x[n * len..][..len];
        let (mean, inverse) = moments(cpu, eps, x);
        cpu.isa().run(Centre { mean, scale: inverse, x, y });
    });
}

/// Gradient of [`layer_norm`] by x.
pub fn layer_norm_dx(cpu: Cpu<'_>, len: usize, eps: f32, gy: &[f32], x: &[f32], gx: &mut [f32]) {
    assert_eq!((gy.len(), x.len()), (gx.len(), gx.len()), "lengths of gy and x");
    cpu.threads().chunks_mut(gx, len, &|n, _, gx| {
        let (gy, x) = (&gy[n * len..][..len], &x[n * len..][..len]);
        let (mean, inverse) = moments(cpu, eps, x);
        // mean(gy·y), from gy·(x − μ).
        let pieces = gy.chunks(PIECE).zip(x.chunks(PIECE));
        let along: f64 = pieces.map(|(gy, x)| f64::from(cpu.isa().run(Centred { mean, x, gy: Some(gy) }))).sum();
        let along = along * f64::from(inverse) / len as f64;
        let level = total(cpu, gy) / len as f64;
        cpu.isa().run(Project { mean, inverse, level: level as f32, along: along as f32, gy, x, gx });
    });
}

fn total(cpu: Cpu<'_>, x: &[f32]) -> f64 {
    x.chunks(PIECE).map(|x| f64::from(cpu.isa().run(Sum(x)))).sum()
}

/// Mean and 1/√(variance + ε).
fn moments(cpu: Cpu<'_>, eps: f32, x: &[f32]) -> (f32, f32) {
    let mean = (total(cpu, x) / x.len() as f64) as f32;
    let squares: f64 = x.chunks(PIECE).map(|x| f64::from(cpu.isa().run(Centred { mean, x, gy: None }))).sum();
    (mean, (1.0 / libm::sqrt(squares / x.len() as f64 + f64::from(eps))) as f32)
}

/// `Σ x`
struct Sum<'a>(&'a [f32]);

impl Op for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        sum::sum(s, self.0)
    }
}

/// `Σ gy·(x − μ)`, or `Σ (x − μ)²`, of a piece.
struct Centred<'a> {
    mean: f32,
    x: &'a [f32],
    gy: Option<&'a [f32]>,
}

impl Op for Centred<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut centred = [0.0; PIECE];
        let centred = &mut centred[..self.x.len()];
        for (c, x) in centred.iter_mut().zip(self.x) {
            *c = x - self.mean;
        }
        sum::dot(s, centred, self.gy.unwrap_or(centred))
    }
}

/// `y = scale · (x − mean)`
struct Centre<'a> {
    mean: f32,
    scale: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Centre<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = self.scale * (x - self.mean);
        }
    }
}

/// `gx = r · (gy − level − along · y)`, `y = r · (x − mean)`
struct Project<'a> {
    mean: f32,
    inverse: f32,
    level: f32,
    along: f32,
    gy: &'a [f32],
    x: &'a [f32],
    gx: &'a mut [f32],
}

impl Op for Project<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((gx, gy), x) in self.gx.iter_mut().zip(self.gy).zip(self.x) {
            let y = self.inverse * (x - self.mean);
            *gx = self.inverse * (gy - self.level - self.along * y);
        }
    }
}

/// The channels at each position. x, y `[n, c, hw]`.
pub fn position_norm(cpu: Cpu<'_>, c: usize, hw: usize, eps: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "length of x");
    cpu.threads().chunks_mut(y, c * hw, &|n, _, y| {
        cpu.isa().run(Positions { hw, eps, gy: None, x: &x[n * c * hw..][..c * hw], out: y });
    });
}

/// Gradient of [`position_norm`] by x.
pub fn position_norm_dx(cpu: Cpu<'_>, c: usize, hw: usize, eps: f32, gy: &[f32], x: &[f32], gx: &mut [f32]) {
    assert_eq!((gy.len(), x.len()), (gx.len(), gx.len()), "lengths of gy and x");
    cpu.threads().chunks_mut(gx, c * hw, &|n, _, gx| {
        let (gy, x) = (&gy[n * c * hw..][..c * hw], &x[n * c * hw..][..c * hw]);
        cpu.isa().run(Positions { hw, eps, gy: Some(gy), x, out: gx });
    });
}

/// One sample, vectors along the positions: y, or gx where gy is given.
struct Positions<'a> {
    hw: usize,
    eps: f32,
    gy: Option<&'a [f32]>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Op for Positions<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Positions { hw, eps, gy, x, out } = self;
        let share = s.splat(1.0 / (x.len() / hw) as f32);
        for first in (0..hw).step_by(S::LANES) {
            let at = |plane: usize| plane * hw + first..plane * hw + hw.min(first + S::LANES);
            let planes = x.len() / hw;
            let mut mean = s.zero();
            for plane in 0..planes {
                mean = s.add(mean, s.load_part(&x[at(plane)]));
            }
            let mean = s.mul(mean, share);
            let mut squares = s.zero();
            for plane in 0..planes {
                let d = s.sub(s.load_part(&x[at(plane)]), mean);
                squares = s.fma(d, d, squares);
            }
            let inverse = s.div(s.splat(1.0), s.sqrt(s.fma(squares, share, s.splat(eps))));
            let Some(gy) = gy else {
                for plane in 0..planes {
                    let d = s.sub(s.load_part(&x[at(plane)]), mean);
                    s.store_part(&mut out[at(plane)], s.mul(inverse, d));
                }
                continue;
            };
            let (mut level, mut along) = (s.zero(), s.zero());
            for plane in 0..planes {
                let g = s.load_part(&gy[at(plane)]);
                level = s.add(level, g);
                along = s.fma(g, s.sub(s.load_part(&x[at(plane)]), mean), along);
            }
            let (level, along) = (s.mul(level, share), s.mul(s.mul(along, inverse), share));
            for plane in 0..planes {
                let y = s.mul(inverse, s.sub(s.load_part(&x[at(plane)]), mean));
                let g = s.sub(s.sub(s.load_part(&gy[at(plane)]), level), s.mul(along, y));
                s.store_part(&mut out[at(plane)], s.mul(inverse, g));
            }
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const EPS: f32 = 1e-2;

    fn normal(x: &[f64]) -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        x.iter().map(|x| (x - mean) / (variance + f64::from(EPS)).sqrt()).collect()
    }

    #[test]
    fn samples() {
        for len in SIZES.into_iter().chain([PIECE + 3]) {
            let (x, gy) = (numbers(1, 2 * len), numbers(2, 2 * len));
            let f = |x: &[f64]| -> Vec<f64> { x.chunks(len).flat_map(normal).collect() };
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; x.len()];
                    layer_norm(cpu, len, EPS, &x, &mut y);
                    y
                },
                |y| close("y", y, &f(&wide(&x)), 1e-6),
            );
            if len > 100 {
                continue;
            }
            each_cpu(
                |cpu| {
                    let mut gx = vec![f32::NAN; x.len()];
                    layer_norm_dx(cpu, len, EPS, &gy, &x, &mut gx);
                    gx
                },
                |gx| close("gx", gx, &numerical(&x, &gy, f), if len == 1 { 1e24 } else { 1e-5 }),
            );
        }
    }

    #[test]
    fn positions() {
        for (c, hw) in SIZES.iter().flat_map(|&s| [(s + 2, 3), (5, s)]) {
            let (x, gy) = (numbers(1, 2 * c * hw), numbers(2, 2 * c * hw));
            let f = |x: &[f64]| -> Vec<f64> {
                let mut y = vec![0.0; x.len()];
                for at in (0..2).flat_map(|n| (0..hw).map(move |p| n * c * hw + p)) {
                    let column: Vec<f64> = (0..c).map(|k| x[at + k * hw]).collect();
                    normal(&column).into_iter().enumerate().for_each(|(k, v)| y[at + k * hw] = v);
                }
                y
            };
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; x.len()];
                    position_norm(cpu, c, hw, EPS, &x, &mut y);
                    y
                },
                |y| close("y", y, &f(&wide(&x)), 1e-6),
            );
            each_cpu(
                |cpu| {
                    let mut gx = vec![f32::NAN; x.len()];
                    position_norm_dx(cpu, c, hw, EPS, &gy, &x, &mut gx);
                    gx
                },
                |gx| close("gx", gx, &numerical(&x, &gy, f), 1e-5),
            );
        }
    }
}
