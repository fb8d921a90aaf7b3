//! Cosines between the samples of a batch, and their gradients. A row of the output is one task and sums in one order, so
//! results depend on neither threads nor instruction set. Lengths are computed first, into scratch.

use crate::cpu::Cpu;
use crate::simd::sum::dot;
use crate::simd::{Op, Simd};

/// Below this length a vector has no direction.
const NO_LENGTH: f32 = 1e-12;

struct Dot<'a>(&'a [f32], &'a [f32]);

impl Op for Dot<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        dot(s, self.0, self.1)
    }
}

/// 1/‖x‖ of each vector of `len`; 0 where there is no direction.
fn inverse_lengths(cpu: Cpu<'_>, len: usize, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(len).zip(out) {
        let length = libm::sqrtf(cpu.isa().run(Dot(x, x)));
        *out = if length <= NO_LENGTH { 0.0 } else { 1.0 / length };
    }
}

/// Inverse lengths of the vectors of x and of w, in this order.
fn both<'s>(cpu: Cpu<'_>, len: usize, x: &[f32], w: &[f32], scratch: &'s mut [f32]) -> (&'s [f32], &'s [f32]) {
    let batch = x.len() / len;
    assert_eq!((x.len(), w.len()), (batch * len, batch * len), "lengths of x and w");
    let (a, b) = scratch[..2 * batch].split_at_mut(batch);
    inverse_lengths(cpu, len, x, a);
    inverse_lengths(cpu, len, w, b);
    (a, b)
}

/// `y[n, m] = x̂[n]·ŵ[m]`; x, w `[n, len]`, y `[n, samples]`, scratch 2·n.
pub fn cosine(cpu: Cpu<'_>, len: usize, x: &[f32], w: &[f32], scratch: &mut [f32], samples: usize, y: &mut [f32]) {
    let (rx, rw) = both(cpu, len, x, w, scratch);
    assert_eq!(y.len(), rx.len() * samples, "length of y");
    cpu.threads().chunks_mut(y, samples, &|n, _, y| {
        y.fill(0.0);
        for (m, (y, w)) in y.iter_mut().zip(w.chunks_exact(len)).enumerate() {
            *y = cpu.isa().run(Dot(&x[n * len..][..len], w)) * rx[n] * rw[m];
        }
    });
}

/// What G adds up for one vector: weights and inverse lengths of the vectors on the other side.
fn through(
    cpu: Cpu<'_>,
    own: &[f32],
    inverse: f32,
    terms: impl Iterator<Item = (f32, f32, usize)>,
    other: &[f32],
    out: &mut [f32],
) {
    let len = out.len();
    out.fill(0.0);
    if inverse == 0.0 {
        return;
    }
    for (g, length, at) in terms {
        let factor = g * length;
        for (o, v) in out.iter_mut().zip(&other[at * len..][..len]) {
            *o += factor * v;
        }
    }
    let along = cpu.isa().run(Dot(out, own)) * inverse * inverse;
    for (o, v) in out.iter_mut().zip(own) {
        *o = (*o - along * v) * inverse;
    }
}

/// Gradient of [`cosine`] by x. g `[n, samples]`.
pub fn cosine_dx(
    cpu: Cpu<'_>,
    len: usize,
    samples: usize,
    g: &[f32],
    x: &[f32],
    w: &[f32],
    scratch: &mut [f32],
    gx: &mut [f32],
) {
    let (rx, rw) = both(cpu, len, x, w, scratch);
    assert_eq!((g.len(), gx.len()), (rx.len() * samples, x.len()), "lengths of g and gx");
    cpu.threads().chunks_mut(gx, len, &|n, _, gx| {
        let row = g[n * samples..][..samples].iter().zip(rw).enumerate();
        through(cpu, &x[n * len..][..len], rx[n], row.map(|(m, (g, r))| (*g, *r, m)), w, gx);
    });
}

/// Gradient of [`cosine`] by w.
pub fn cosine_dw(
    cpu: Cpu<'_>,
    len: usize,
    samples: usize,
    g: &[f32],
    x: &[f32],
    w: &[f32],
    scratch: &mut [f32],
    gw: &mut [f32],
) {
    let (rx, rw) = both(cpu, len, x, w, scratch);
    assert_eq!((g.len(), gw.len()), (rx.len() * samples, w.len()), "lengths of g and gw");
    cpu.threads().chunks_mut(gw, len, &|m, _, gw| {
        // A vector beyond the columns took no part.
        let seen = if m < samples { rx.len() } else { 0 };
        let column = rx[..seen].iter().enumerate().map(|(n, r)| (g[n * samples + m], *r, n));
        through(cpu, &w[m * len..][..len], rw[m], column, x, gw);
    });
}
