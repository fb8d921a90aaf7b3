//! Element by element: `y = a + b` (residual connections, and gradients that arrive from two readers), `y = a·b`, and `y = factor·x`
//! (a weight in a loss, or a layer's output made smaller).

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// Elements that one task handles; fixed, so that the partition never depends on the number of threads.
const CHUNK: usize = 8192;

/// `y = a + b`.
pub fn add(cpu: Cpu<'_>, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()), "lengths of a and b");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        let part = chunk * CHUNK..chunk * CHUNK + y.len();
        cpu.isa().run(Pairs { f: |a, b| a + b, a: &a[part.clone()], b: &b[part], y });
    });
}

/// `y = a·b`.
pub fn multiply(cpu: Cpu<'_>, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()), "lengths of a and b");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        let part = chunk * CHUNK..chunk * CHUNK + y.len();
        cpu.isa().run(Pairs { f: |a, b| a * b, a: &a[part.clone()], b: &b[part], y });
    });
}

/// `y = factor·x`.
pub fn scale(cpu: Cpu<'_>, factor: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "length of x");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        cpu.isa().run(Scale { scale: factor, x: &x[chunk * CHUNK..][..y.len()], y });
    });
}

struct Pairs<'a, F> {
    f: F,
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl<F: Fn(f32, f32) -> f32> Op for Pairs<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, a), b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = (self.f)(*a, *b);
        }
    }
}

/// `y = scale·x`, one task's part.
pub(super) struct Scale<'a> {
    pub scale: f32,
    pub x: &'a [f32],
    pub y: &'a mut [f32],
}

impl Op for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = self.scale * x;
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, each_cpu, numbers};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn sums_products_and_multiples() {
        for len in SIZES.into_iter().chain([0, CHUNK + 1, 3 * CHUNK - 5]) {
            let (a, b) = (numbers(1, len), numbers(2, len));
            let check = |run: &dyn Fn(Cpu<'_>, &mut [f32]), want: &dyn Fn(usize) -> f32| {
                each_cpu(
                    |cpu| {
                        let mut y: Vec<f32> = vec![f32::NAN; len];
                        run(cpu, &mut y);
                        y
                    },
                    |y| assert!((0..len).all(|i| y[i] == want(i))),
                );
            };
            check(&|cpu, y| add(cpu, &a, &b, y), &|i| a[i] + b[i]);
            check(&|cpu, y| multiply(cpu, &a, &b, y), &|i| a[i] * b[i]);
            check(&|cpu, y| scale(cpu, 0.3, &a, y), &|i| 0.3 * a[i]);
        }
    }
}
