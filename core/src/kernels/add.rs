//! `y = a + b`: residual connections, and gradients that arrive from two readers; and `y = a·b`.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// Elements that one task handles; fixed, so that the partition never depends on the number of threads.
const CHUNK: usize = 8192;

/// `y = a + b`, element by element.
pub fn add(cpu: Cpu<'_>, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()), "lengths of a and b");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        let (a, b) = (&a[chunk * CHUNK..][..y.len()], &b[chunk * CHUNK..][..y.len()]);
        cpu.isa().run(Add { a, b, y });
    });
}

/// `y = a·b`, element by element.
pub fn multiply(cpu: Cpu<'_>, a: &[f32], b: &[f32], y: &mut [f32]) {
    assert_eq!((a.len(), b.len()), (y.len(), y.len()), "lengths of a and b");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        let (a, b) = (&a[chunk * CHUNK..][..y.len()], &b[chunk * CHUNK..][..y.len()]);
        cpu.isa().run(Multiply { a, b, y });
    });
}

struct Add<'a> {
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, a), b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = a + b;
        }
    }
}

struct Multiply<'a> {
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, a), b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = a * b;
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, each_cpu, numbers};
    use super::*;
    use std::vec;

    #[test]
    fn adds() {
        for len in SIZES.into_iter().chain([0, CHUNK + 1, 3 * CHUNK - 5]) {
            let (a, b) = (numbers(1, len), numbers(2, len));
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; len];
                    add(cpu, &a, &b, &mut y);
                    y
                },
                |y| assert!((0..len).all(|i| y[i] == a[i] + b[i])),
            );
        }
    }
}
