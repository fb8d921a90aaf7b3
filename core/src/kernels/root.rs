//! Square root of what is positive: `y = √(max(x, 0) + 1e-6)`, the constant keeping the gradient finite at 0.
//!
//! Addition and root are rounded correctly by every instruction set, so all of them give the same bits.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// Added under the root.
const EPS: f32 = 1e-6;

/// Elements that one task handles; fixed, so that the partition never depends on the number of threads.
const CHUNK: usize = 8192;

/// `y = √(max(x, 0) + 1e-6)`, element by element. NaN passes.
pub fn root(cpu: Cpu<'_>, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        let x = &x[chunk * CHUNK..][..y.len()];
        cpu.isa().run(Root { x, y });
    });
}

/// Gradient of [`root`], from its input and output: `gx = gy / 2y` where x is positive, else 0.
pub fn root_dx(cpu: Cpu<'_>, gy: &[f32], x: &[f32], y: &[f32], gx: &mut [f32]) {
    assert_eq!((gy.len(), x.len(), y.len()), (gx.len(), gx.len(), gx.len()), "lengths of gy, x and y");
    cpu.threads().chunks_mut(gx, CHUNK, &|chunk, _, gx| {
        let part = chunk * CHUNK..chunk * CHUNK + gx.len();
        let (gy, x, y) = (&gy[part.clone()], &x[part.clone()], &y[part]);
        cpu.isa().run(Gradient { gy, x, y, gx });
    });
}

struct Root<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Root<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (zero, eps) = (s.splat(0.0), s.splat(EPS));
        for (y, x) in self.y.chunks_mut(S::LANES).zip(self.x.chunks(S::LANES)) {
            // The bound comes first, so that NaN, the second operand, passes.
            s.store_part(y, s.sqrt(s.add(s.max(zero, s.load_part(x)), eps)));
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
            *gx = if *x > 0.0 { gy / (y + y) } else { 0.0 };
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
        for len in SIZES.into_iter().chain([0, CHUNK + 1]) {
            let (x, gy) = (numbers(1, len), numbers(2, len));
            let want: Vec<f32> = x.iter().map(|x| libm::sqrtf(x.max(0.0) + EPS)).collect();
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; len];
                    root(cpu, &x, &mut y);
                    y
                },
                |y| assert_eq!(y, want),
            );
            // Away from 0, where a finite difference says nothing.
            let x: Vec<f32> = x.iter().map(|x| x + 0.1 * x.signum()).collect();
            let f = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| libm::sqrt(x.max(0.0) + 1e-6)).collect() };
            if len <= 65 {
                let gx = numerical(&x, &gy, f);
                each_cpu(
                    |cpu| {
                        let (mut y, mut got) = (vec![f32::NAN; len], vec![f32::NAN; len]);
                        root(cpu, &x, &mut y);
                        root_dx(cpu, &gy, &x, &y, &mut got);
                        got
                    },
                    |got| close("gx", got, &gx, 1e-5),
                );
            }
            close("y", &want, &f(&wide(&numbers(1, len))), 2e-7);
        }
    }

    #[test]
    fn negative_and_nan() {
        each_cpu(
            |cpu| {
                let x = [-4.0, 0.0, f32::NAN, 9.0];
                let (mut y, mut gx) = ([f32::NAN; 4], vec![f32::NAN; 4]);
                root(cpu, &x, &mut y);
                assert!(y[2].is_nan() && y[0] == y[1] && (y[3] - 3.0).abs() < 1e-6);
                root_dx(cpu, &[1.0; 4], &x, &y, &mut gx);
                gx
            },
            |gx| assert_eq!(gx[..3], [0.0; 3]),
        );
    }
}
