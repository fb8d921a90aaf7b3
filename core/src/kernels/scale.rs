//! `y = a · x`: a weight in a loss, or a layer's output made smaller.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// Elements that one task handles; fixed, so that the partition never depends on the number of threads.
const CHUNK: usize = 8192;

/// `y = factor · x`, element by element.
pub fn scale(cpu: Cpu<'_>, factor: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "length of x");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        let x = &x[chunk * CHUNK..][..y.len()];
        cpu.isa().run(Scale { factor, x, y });
    });
}

struct Scale<'a> {
    factor: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = self.factor * x;
        }
    }
}
