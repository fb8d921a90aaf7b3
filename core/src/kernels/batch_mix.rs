//! Mixtures of pairs of samples, and their gradient: a sample is one task.

use crate::cpu::Cpu;

/// Number of the other sample and share of the first.
fn pair(pairs: &[f32], n: usize, batch: usize) -> (usize, f32) {
    // A cast saturates, and NaN is 0.
    ((pairs[2 * n] as usize).min(batch - 1), pairs[2 * n + 1])
}

/// `y[n] = τ·x[n] + (1 − τ)·x[k]`; pairs `[n, 2]`.
pub fn batch_mix(cpu: Cpu<'_>, batch: usize, x: &[f32], pairs: &[f32], y: &mut [f32]) {
    let len = x.len() / batch;
    assert_eq!((x.len(), y.len(), pairs.len()), (len * batch, x.len(), 2 * batch), "lengths of x, y and pairs");
    cpu.threads().chunks_mut(y, len, &|n, _, y| {
        let (k, share) = pair(pairs, n, batch);
        for ((y, a), b) in y.iter_mut().zip(&x[n * len..]).zip(&x[k * len..]) {
            *y = share * a + (1.0 - share) * b;
        }
    });
}

/// `gx[m] = τ·g[m] + Σ (1 − τ)·g[n]` over the n whose other sample is m.
pub fn batch_mix_dx(cpu: Cpu<'_>, batch: usize, g: &[f32], pairs: &[f32], gx: &mut [f32]) {
    let len = g.len() / batch;
    assert_eq!((g.len(), gx.len(), pairs.len()), (len * batch, g.len(), 2 * batch), "lengths of g, gx and pairs");
    cpu.threads().chunks_mut(gx, len, &|m, _, gx| {
        let share = pair(pairs, m, batch).1;
        for (o, g) in gx.iter_mut().zip(&g[m * len..]) {
            *o = share * g;
        }
        for n in 0..batch {
            let (k, share) = pair(pairs, n, batch);
            if k == m {
                for (o, g) in gx.iter_mut().zip(&g[n * len..]) {
                    *o += (1.0 - share) * g;
                }
            }
        }
    });
}
