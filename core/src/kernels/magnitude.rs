//! Magnitude of complex responses: `y = √(re² + im² + 1e-12)`, the constant keeping the gradient finite at 0.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// Added under the root.
const EPS: f32 = 1e-12;

/// x `[n, 2·half]`, each sample's real parts before its imaginary ones; y `[n, half]`; half = channels · height · width.
pub fn magnitude(cpu: Cpu<'_>, n: usize, half: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!((x.len(), y.len()), (n * 2 * half, n * half), "lengths of x and y");
    if y.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(y, half, &|sample, _, y| {
        let (re, im) = x[sample * 2 * half..][..2 * half].split_at(half);
        cpu.isa().run(Magnitude { re, im, y });
    });
}

/// Gradient of [`magnitude`], from its input and output: `gx = gy · x / y`.
pub fn magnitude_dx(cpu: Cpu<'_>, n: usize, half: usize, gy: &[f32], x: &[f32], y: &[f32], gx: &mut [f32]) {
    assert_eq!((x.len(), gx.len()), (n * 2 * half, n * 2 * half), "lengths of x and gx");
    assert_eq!((y.len(), gy.len()), (n * half, n * half), "lengths of y and gy");
    if gx.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(gx, half, &|part, _, gx| {
        let sample = part / 2;
        let (gy, y) = (&gy[sample * half..][..half], &y[sample * half..][..half]);
        let x = &x[part * half..][..half];
        cpu.isa().run(Gradient { gy, x, y, gx });
    });
}

struct Magnitude<'a> {
    re: &'a [f32],
    im: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Magnitude<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let parts = self.re.chunks(S::LANES).zip(self.im.chunks(S::LANES));
        for (y, (re, im)) in self.y.chunks_mut(S::LANES).zip(parts) {
            let (re, im) = (s.load_part(re), s.load_part(im));
            s.store_part(y, s.sqrt(s.fma(re, re, s.fma(im, im, s.splat(EPS)))));
        }
    }
}

struct Gradient<'a> {
    gy: &'a [f32],
    x: &'a [f32],
    y: &'a [f32],
    gx: &'a mut [f32],
}

impl Op for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((gx, gy), (x, y)) in self.gx.iter_mut().zip(self.gy).zip(self.x.iter().zip(self.y)) {
            *gx = gy * x / y;
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn forward_and_gradient() {
        for half in SIZES {
            let n = 3;
            let (x, gy) = (numbers(1, n * 2 * half), numbers(2, n * half));
            let f = |x: &[f64]| -> Vec<f64> {
                let at = |k: usize| (k / half * 2 * half + k % half, k / half * 2 * half + half + k % half);
                (0..n * half).map(|k| (x[at(k).0].powi(2) + x[at(k).1].powi(2) + 1e-12).sqrt()).collect()
            };
            let (want, gx) = (f(&wide(&x)), numerical(&x, &gy, f));
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; n * half];
                    magnitude(cpu, n, half, &x, &mut y);
                    y
                },
                |y| close("y", y, &want, 2e-7),
            );
            each_cpu(
                |cpu| {
                    let (mut y, mut got) = (vec![f32::NAN; n * half], vec![f32::NAN; x.len()]);
                    magnitude(cpu, n, half, &x, &mut y);
                    magnitude_dx(cpu, n, half, &gy, &x, &y, &mut got);
                    got
                },
                |got| close("gx", got, &gx, 1e-5),
            );
        }
    }

    #[test]
    fn zero_has_a_gradient() {
        each_cpu(
            |cpu| {
                let (mut y, mut gx) = ([f32::NAN], vec![f32::NAN; 2]);
                magnitude(cpu, 1, 1, &[0.0, 0.0], &mut y);
                magnitude_dx(cpu, 1, 1, &[1.0], &[0.0, 0.0], &y, &mut gx);
                gx
            },
            |gx| assert_eq!(gx, [0.0, 0.0]),
        );
    }
}
