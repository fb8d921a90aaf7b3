//! Largest value of a window, and mean of a plane.
//!
//! `max_pool`: padding never wins; a window that lies wholly in the padding gives −∞. The gradient goes to the first largest element
//! of the window in row order. Values are found tap by tap of the window, a row of windows at a time. `global_mean`: one value a plane.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// The geometry of [`max_pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Samples.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Output height.
    pub oh: usize,
    /// Output width.
    pub ow: usize,
    /// Side of the window.
    pub k: usize,
    /// Step between windows.
    pub stride: usize,
    /// Padding at the top and left; the rest follows from the output size.
    pub pad: usize,
}

impl MaxPool {
    /// Rows and columns of the input under window `(oy, ox)`: from, to.
    fn window(&self, oy: usize, ox: usize) -> (usize, usize, usize, usize) {
        let cut = |o: usize, len: usize| {
            let start = o * self.stride;
            (start.saturating_sub(self.pad).min(len), (start + self.k).saturating_sub(self.pad).min(len))
        };
        let ((y0, y1), (x0, x1)) = (cut(oy, self.h), cut(ox, self.w));
        (y0, y1, x0, x1)
    }

    /// The first largest element under a window, and where it is.
    fn largest(&self, x: &[f32], oy: usize, ox: usize) -> (f32, Option<usize>) {
        let (y0, y1, x0, x1) = self.window(oy, ox);
        let (mut best, mut at) = (f32::NEG_INFINITY, None);
        for iy in y0..y1 {
            for ix in x0..x1 {
                let v = x[iy * self.w + ix];
                if v > best || v.is_nan() || at.is_none() {
                    (best, at) = (v, Some(iy * self.w + ix));
                    if v.is_nan() {
                        return (v, at);
                    }
                }
            }
        }
        (best, at)
    }
}

/// `y[o] = max` over the window of x. A NaN under the window comes out.
pub fn max_pool(cpu: Cpu, s: &MaxPool, x: &[f32], y: &mut [f32]) {
    let (hw, ohw) = (s.h * s.w, s.oh * s.ow);
    assert!(x.len() == s.n * s.c * hw && y.len() == s.n * s.c * ohw);
    cpu.threads().chunks_mut(y, ohw.max(1), &|plane, _, y| {
        let x = &x[plane * hw..][..hw];
        cpu.isa().run(Plane { s, x, y });
    });
}

/// One plane of [`max_pool`].
struct Plane<'a> {
    s: &'a MaxPool,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let s = self.s;
        for (oy, y) in self.y.chunks_exact_mut(s.ow.max(1)).enumerate() {
            y.fill(f32::NEG_INFINITY);
            let (y0, y1, _, _) = s.window(oy, 0);
            for row in self.x[y0 * s.w..y1 * s.w].chunks_exact(s.w.max(1)) {
                for u in 0..s.k {
                    // Windows whose tap u lies inside the row: 0 ≤ stride·o + u − pad < w.
                    let from = s.pad.saturating_sub(u).div_ceil(s.stride);
                    let to = (s.w + s.pad).saturating_sub(u).div_ceil(s.stride).min(s.ow);
                    if from >= to {
                        continue;
                    }
                    let (y, x) = (&mut y[from..to], &row[from * s.stride + u - s.pad..]);
                    match s.stride {
                        1 => raise::<1>(y, x),
                        2 => raise::<2>(y, x),
                        _ => y.iter_mut().zip(x.iter().step_by(s.stride)).for_each(|(y, v)| *y = larger(*y, *v)),
                    }
                }
            }
        }
    }
}

/// `y[o] = larger(y[o], x[STRIDE·o])`.
#[inline(always)]
fn raise<const STRIDE: usize>(y: &mut [f32], x: &[f32]) {
    let x = &x[..(y.len() - 1) * STRIDE + 1];
    for (o, y) in y.iter_mut().enumerate() {
        *y = larger(*y, x[STRIDE * o]);
    }
}

/// The larger of two, the first NaN before all, the first of equals.
#[inline(always)]
fn larger(best: f32, v: f32) -> f32 {
    let take = (v > best) | v.is_nan();
    if take & !best.is_nan() { v } else { best }
}

/// The gradient of [`max_pool`]'s input; `gx` is overwritten.
pub fn max_pool_dx(cpu: Cpu, s: &MaxPool, x: &[f32], gy: &[f32], gx: &mut [f32]) {
    let (hw, ohw) = (s.h * s.w, s.oh * s.ow);
    assert!(x.len() == s.n * s.c * hw && gx.len() == x.len() && gy.len() == s.n * s.c * ohw);
    cpu.threads().chunks_mut(gx, hw.max(1), &|plane, _, gx| {
        let (x, gy) = (&x[plane * hw..][..hw], &gy[plane * ohw..][..ohw]);
        gx.fill(0.0);
        for oy in 0..s.oh {
            for ox in 0..s.ow {
                if let (_, Some(at)) = s.largest(x, oy, ox) {
                    gx[at] += gy[oy * s.ow + ox];
                }
            }
        }
    });
}

/// `y[n, c] = mean x[n, c, ..]`; `hw` elements a plane. Summed in 16 lanes, then pairwise.
pub fn global_mean(cpu: Cpu, n: usize, c: usize, hw: usize, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == n * c * hw && y.len() == n * c && hw > 0);
    cpu.threads().chunks_mut(y, 16, &|i, _, y| {
        for (j, y) in y.iter_mut().enumerate() {
            let mut lanes = [0.0f32; 16];
            for part in x[(i * 16 + j) * hw..][..hw].chunks(16) {
                for (lane, v) in lanes.iter_mut().zip(part) {
                    *lane += v;
                }
            }
            for width in [8, 4, 2, 1] {
                for k in 0..width {
                    lanes[k] += lanes[k + width];
                }
            }
            *y = lanes[0] / hw as f32;
        }
    });
}

/// The gradient of [`global_mean`]'s input: `gx[n, c, ..] = gy[n, c] / hw`.
pub fn global_mean_dx(cpu: Cpu, n: usize, c: usize, hw: usize, gy: &[f32], gx: &mut [f32]) {
    assert!(gx.len() == n * c * hw && gy.len() == n * c && hw > 0);
    cpu.threads().chunks_mut(gx, hw, &|plane, _, gx| gx.fill(gy[plane] / hw as f32));
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::threads::Threads;

    #[test]
    fn windows_padding_and_ties() {
        let threads = Threads::serial();
        let cpu = Cpu::detect(&threads);
        let s = MaxPool { n: 1, c: 1, h: 3, w: 3, oh: 2, ow: 2, k: 3, stride: 2, pad: 1 };
        let x = [-5.0, -2.0, 0.0, -2.0, -9.0, 4.0, 4.0, 4.0, 1.0];
        let (mut y, mut gx) = ([0.0; 4], [7.0; 9]);
        max_pool(cpu, &s, &x, &mut y);
        assert_eq!(y, [-2.0, 4.0, 4.0, 4.0]);
        max_pool_dx(cpu, &s, &x, &[1.0, 2.0, 4.0, 8.0], &mut gx);
        assert_eq!(gx, [0.0, 1.0, 0.0, 0.0, 0.0, 10.0, 4.0, 0.0, 0.0]);
    }

    #[test]
    fn rows_of_windows_are_windows() {
        let threads = Threads::serial();
        let cpu = Cpu::detect(&threads);
        let mut value = 1u32;
        let mut next = || {
            value = value.wrapping_mul(1664525).wrapping_add(1013904223);
            match value >> 24 {
                0..4 => f32::NAN,
                4..30 => 0.0,
                30..56 => -0.0,
                56..60 => f32::NEG_INFINITY,
                v => v as f32 - 180.0,
            }
        };
        for (h, w) in [(1, 1), (5, 3), (9, 40), (17, 16)] {
            for (k, stride, pad) in
                [(1, 1, 0), (3, 2, 1), (3, 2, 0), (2, 2, 0), (3, 1, 1), (5, 3, 2), (4, 5, 2), (8, 2, 4)]
            {
                if h + 2 * pad < k || w + 2 * pad < k {
                    continue;
                }
                let (oh, ow) = ((h + 2 * pad - k) / stride + 1, (w + 2 * pad - k) / stride + 1);
                let s = MaxPool { n: 1, c: 2, h, w, oh, ow, k, stride, pad };
                let x: Vec<f32> = (0..2 * h * w).map(|_| next()).collect();
                let mut y = alloc::vec![7.0; 2 * oh * ow];
                max_pool(cpu, &s, &x, &mut y);
                for (o, y) in y.iter().enumerate() {
                    let (plane, oy, ox) = (o / (oh * ow), o / ow % oh, o % ow);
                    let expected = s.largest(&x[plane * h * w..], oy, ox).0;
                    assert_eq!(y.to_bits(), expected.to_bits(), "{s:?} at {o}: {y} for {expected}");
                }
            }
        }
    }

    #[test]
    fn mean_and_its_gradient() {
        let threads = Threads::serial();
        let cpu = Cpu::detect(&threads);
        for hw in [1, 7, 16, 17, 100] {
            let x: Vec<f32> = (0..6 * hw).map(|i| (i % 13) as f32 - 4.0).collect();
            let (mut y, mut gx) = ([0.0; 6], alloc::vec![0.0; 6 * hw]);
            global_mean(cpu, 2, 3, hw, &x, &mut y);
            for (y, x) in y.iter().zip(x.chunks(hw)) {
                assert!((y - x.iter().sum::<f32>() / hw as f32).abs() < 1e-6);
            }
            global_mean_dx(cpu, 2, 3, hw, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut gx);
            assert_eq!(gx[hw], 2.0 / hw as f32);
        }
    }
}
