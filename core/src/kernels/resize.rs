//! Resampling of planes: nearest, `y[i] = x[⌊i·in/out⌋]`, and bilinear with pixel centres at one half.
//!
//! Gradients are taken by rows of the input: a task visits the output rows that read one of its own, so tasks never share an
//! output, and the order of a sum is the same for every number of threads.

use crate::cpu::Cpu;

/// Planes `[planes, h, w]` to `[planes, oh, ow]`, where planes = batch · channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeShape {
    /// Batch times channels.
    pub planes: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Output height.
    pub oh: usize,
    /// Output width.
    pub ow: usize,
}

impl ResizeShape {
    fn check(&self, x: usize, y: usize) {
        assert_eq!(x, self.planes * self.h * self.w, "length of x");
        assert_eq!(y, self.planes * self.oh * self.ow, "length of y");
        assert!(x > 0 || y == 0, "pixels come from somewhere");
    }
}

/// Columns whose sources are worked out at once, for all rows of a task.
const COLUMNS: usize = 64;
/// Elements that one task writes, about.
const CHUNK: usize = 4096;

/// `y[i, j] = x[⌊i·h/oh⌋, ⌊j·w/ow⌋]`.
pub fn nearest(cpu: Cpu<'_>, s: &ResizeShape, x: &[f32], y: &mut [f32]) {
    s.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    let rows = (CHUNK / s.ow).max(1);
    cpu.threads().chunks_mut(y, rows * s.ow, &|task, _, y| {
        for j0 in (0..s.ow).step_by(COLUMNS) {
            let from: [usize; COLUMNS] = core::array::from_fn(|k| (j0 + k).min(s.ow - 1) * s.w / s.ow);
            let width = COLUMNS.min(s.ow - j0);
            for (k, y) in y.chunks_exact_mut(s.ow).enumerate() {
                let (plane, i) = ((task * rows + k) / s.oh, (task * rows + k) % s.oh);
                let x = &x[(plane * s.h + i * s.h / s.oh) * s.w..][..s.w];
                for (y, from) in y[j0..][..width].iter_mut().zip(&from) {
                    *y = x[*from];
                }
            }
        }
    });
}

/// Gradient of [`nearest`].
pub fn nearest_dx(cpu: Cpu<'_>, s: &ResizeShape, gy: &[f32], gx: &mut [f32]) {
    s.check(gx.len(), gy.len());
    if gx.is_empty() {
        return;
    }
    // Output rows that read input row i: ⌊o·h/oh⌋ = i for o from ⌈i·oh/h⌉ to ⌈(i+1)·oh/h⌉ − 1.
    let readers = |i: usize| (i * s.oh).div_ceil(s.h)..((i + 1) * s.oh).div_ceil(s.h);
    let rows = (CHUNK / s.w).max(1);
    cpu.threads().chunks_mut(gx, rows * s.w, &|task, _, gx| {
        gx.fill(0.0);
        for j0 in (0..s.ow).step_by(COLUMNS) {
            let to: [usize; COLUMNS] = core::array::from_fn(|k| (j0 + k).min(s.ow - 1) * s.w / s.ow);
            let width = COLUMNS.min(s.ow - j0);
            for (k, gx) in gx.chunks_exact_mut(s.w).enumerate() {
                let (plane, i) = ((task * rows + k) / s.h, (task * rows + k) % s.h);
                for oi in readers(i) {
                    let gy = &gy[(plane * s.oh + oi) * s.ow + j0..][..width];
                    for (gy, to) in gy.iter().zip(&to) {
                        gx[*to] += gy;
                    }
                }
            }
        }
    });
}

/// The two inputs that output `i` reads and the weight of the second: `src = max((i+½)·in/out − ½, 0)`.
fn taps(i: usize, len: usize, out: usize) -> (usize, usize, f32) {
    // (2i+1)·in − out over 2·out, in integers: exact for every size.
    let twice = ((2 * i + 1) * len).saturating_sub(out);
    let first = (twice / (2 * out)).min(len - 1);
    let fraction = (twice - first * 2 * out) as f32 / (2 * out) as f32;
    let second = (first + 1).min(len - 1);
    (first, second, if second == first { 0.0 } else { fraction })
}

/// Bilinear resampling (corners not aligned, no antialias).
pub fn bilinear(cpu: Cpu<'_>, s: &ResizeShape, x: &[f32], y: &mut [f32]) {
    s.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    let rows = (CHUNK / s.ow).max(1);
    cpu.threads().chunks_mut(y, rows * s.ow, &|task, _, y| {
        for j0 in (0..s.ow).step_by(COLUMNS) {
            let columns: [_; COLUMNS] = core::array::from_fn(|k| taps((j0 + k).min(s.ow - 1), s.w, s.ow));
            let width = COLUMNS.min(s.ow - j0);
            for (k, y) in y.chunks_exact_mut(s.ow).enumerate() {
                let (plane, i) = ((task * rows + k) / s.oh, (task * rows + k) % s.oh);
                let x = &x[plane * s.h * s.w..][..s.h * s.w];
                let (top, bottom, v) = taps(i, s.h, s.oh);
                let (top, bottom) = (&x[top * s.w..][..s.w], &x[bottom * s.w..][..s.w]);
                for (y, &(left, right, u)) in y[j0..][..width].iter_mut().zip(&columns) {
                    let upper = top[left] * (1.0 - u) + top[right] * u;
                    let lower = bottom[left] * (1.0 - u) + bottom[right] * u;
                    *y = upper * (1.0 - v) + lower * v;
                }
            }
        }
    });
}

/// Gradient of [`bilinear`].
pub fn bilinear_dx(cpu: Cpu<'_>, s: &ResizeShape, gy: &[f32], gx: &mut [f32]) {
    s.check(gx.len(), gy.len());
    if gx.is_empty() {
        return;
    }
    // Output rows whose centre lies within one input row of i, with one to spare on each side; their own taps decide.
    let readers = |i: usize| {
        let first = (i.saturating_sub(1) * s.oh / s.h).saturating_sub(1);
        first..((i + 2) * s.oh / s.h + 2).min(s.oh)
    };
    let rows = (CHUNK / s.w).max(1);
    cpu.threads().chunks_mut(gx, rows * s.w, &|task, _, gx| {
        gx.fill(0.0);
        for j0 in (0..s.ow).step_by(COLUMNS) {
            let columns: [_; COLUMNS] = core::array::from_fn(|k| taps((j0 + k).min(s.ow - 1), s.w, s.ow));
            let width = COLUMNS.min(s.ow - j0);
            for (k, gx) in gx.chunks_exact_mut(s.w).enumerate() {
                let (plane, i) = ((task * rows + k) / s.h, (task * rows + k) % s.h);
                for oi in readers(i) {
                    let (top, bottom, fraction) = taps(oi, s.h, s.oh);
                    let v = (if top == i { 1.0 - fraction } else { 0.0 }) + (if bottom == i { fraction } else { 0.0 });
                    if v == 0.0 {
                        continue;
                    }
                    let gy = &gy[(plane * s.oh + oi) * s.ow + j0..][..width];
                    for (gy, &(left, right, u)) in gy.iter().zip(&columns) {
                        gx[left] += v * (1.0 - u) * gy;
                        gx[right] += v * u * gy;
                    }
                }
            }
        }
    });
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const CASES: [(usize, usize, usize, usize); 9] = [
        (1, 1, 3, 5),
        (5, 7, 1, 1),
        (7, 5, 7, 5),
        (8, 8, 4, 4),
        (4, 4, 8, 8),
        (3, 9, 7, 4),
        (17, 5, 8, 64),
        (15, 16, 14, 17),
        (6, 2, 65, 3),
    ];

    fn shapes() -> impl Iterator<Item = ResizeShape> {
        CASES.iter().map(|&(h, w, oh, ow)| ResizeShape { planes: 2, h, w, oh, ow })
    }

    fn nearest_reference(s: &ResizeShape, x: &[f64]) -> Vec<f64> {
        let mut y = Vec::new();
        for p in 0..s.planes {
            for i in 0..s.oh {
                for j in 0..s.ow {
                    y.push(x[(p * s.h + i * s.h / s.oh) * s.w + j * s.w / s.ow]);
                }
            }
        }
        y
    }

    fn bilinear_reference(s: &ResizeShape, x: &[f64]) -> Vec<f64> {
        let tap = |i: usize, len: usize, out: usize| {
            let at = ((i as f64 + 0.5) * len as f64 / out as f64 - 0.5).max(0.0);
            let first = (at.floor() as usize).min(len - 1);
            (first, (first + 1).min(len - 1), at - first as f64)
        };
        let mut y = Vec::new();
        for p in 0..s.planes {
            let x = |i: usize, j: usize| x[(p * s.h + i) * s.w + j];
            for i in 0..s.oh {
                for j in 0..s.ow {
                    let ((t, b, v), (l, r, u)) = (tap(i, s.h, s.oh), tap(j, s.w, s.ow));
                    y.push((x(t, l) * (1.0 - u) + x(t, r) * u) * (1.0 - v) + (x(b, l) * (1.0 - u) + x(b, r) * u) * v);
                }
            }
        }
        y
    }

    type Kernel = fn(Cpu<'_>, &ResizeShape, &[f32], &mut [f32]);

    fn verify(forward: Kernel, dx: Kernel, reference: fn(&ResizeShape, &[f64]) -> Vec<f64>, tolerance: f64) {
        for s in shapes() {
            let (x, gy) = (numbers(1, s.planes * s.h * s.w), numbers(2, s.planes * s.oh * s.ow));
            let (want, gx) = (reference(&s, &wide(&x)), numerical(&x, &gy, |x| reference(&s, x)));
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; gy.len()];
                    forward(cpu, &s, &x, &mut y);
                    y
                },
                |y| close(&std::format!("{s:?}"), y, &want, tolerance),
            );
            each_cpu(
                |cpu| {
                    let mut got = vec![f32::NAN; x.len()];
                    dx(cpu, &s, &gy, &mut got);
                    got
                },
                |got| close(&std::format!("{s:?} dx"), got, &gx, 1e-5),
            );
        }
    }

    #[test]
    fn nearest_picks() {
        verify(nearest, nearest_dx, nearest_reference, 0.0);
    }

    #[test]
    fn bilinear_blends() {
        verify(bilinear, bilinear_dx, bilinear_reference, 1e-6);
    }
}
