//! Per-channel sums, and `y = x · scale_c + shift_c`: biases, standardisation and activation normalisation.
//!
//! With one position a sample (`hw = 1`) channels are neighbours and vectors run along them; otherwise along the positions.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd, sum};

/// Channels that one task sums; a multiple of every vector length.
const CHANNELS: usize = 64;
/// Elements that one task of an element-wise kernel handles, about.
const CHUNK: usize = 8192;

/// `out_c = Σ g[n, c, p]` over batch and positions: the gradient of a bias or of a shift. g `[n, c, hw]`.
pub fn channel_sum(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, g: &[f32], out: &mut [f32]) {
    assert_eq!(g.len(), n * c * hw, "length of g");
    sums(cpu, n, c, hw, g, None, out);
}

/// Gradient of [`scale_shift`] by the scale: `out_c = Σ g · x`.
pub fn scale_shift_dscale(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, g: &[f32], x: &[f32], out: &mut [f32]) {
    assert_eq!((g.len(), x.len()), (n * c * hw, n * c * hw), "lengths of g and x");
    sums(cpu, n, c, hw, g, Some(x), out);
}

/// `out_c = Σ g · x`, or `Σ g`.
fn sums(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, g: &[f32], x: Option<&[f32]>, out: &mut [f32]) {
    assert_eq!(out.len(), c, "length of out");
    let chunk = if hw == 1 { CHANNELS } else { (CHUNK / (n * hw).max(1)).max(1) };
    cpu.threads().chunks_mut(out, chunk, &|task, _, out| {
        let first = task * chunk;
        if hw == 1 {
            cpu.isa().run(Columns { g, x, row: c, first, out });
        } else {
            for (k, out) in out.iter_mut().enumerate() {
                *out = 0.0;
                for sample in 0..n {
                    let at = (sample * c + first + k) * hw;
                    *out += cpu.isa().run(Plane { g: &g[at..][..hw], x: x.map(|x| &x[at..][..hw]) });
                }
            }
        }
    });
}

/// Sums down the columns of a matrix with rows of `row` elements, from column `first` on.
struct Columns<'a> {
    g: &'a [f32],
    x: Option<&'a [f32]>,
    row: usize,
    first: usize,
    out: &'a mut [f32],
}

impl Op for Columns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.out.len();
        let mut total = [0.0; CHANNELS];
        for (sample, g) in self.g.chunks_exact(self.row).enumerate() {
            let g = &g[self.first..][..width];
            if let Some(x) = self.x {
                let x = &x[sample * self.row + self.first..][..width];
                for (total, (g, x)) in total.iter_mut().zip(g.iter().zip(x)) {
                    *total += g * x;
                }
            } else if width == CHANNELS {
                for (total, g) in total.chunks_exact_mut(S::LANES).zip(g.chunks_exact(S::LANES)) {
                    s.store(total, s.add(s.load(total), s.load(g)));
                }
            } else {
                for (total, g) in total.iter_mut().zip(g) {
                    *total += g;
                }
            }
        }
        self.out.copy_from_slice(&total[..width]);
    }
}

/// `Σ g · x` or `Σ g` over one plane.
struct Plane<'a> {
    g: &'a [f32],
    x: Option<&'a [f32]>,
}

impl Op for Plane<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        match self.x {
            Some(x) => sum::dot(s, self.g, x),
            None => sum::sum(s, self.g),
        }
    }
}

/// `y = x · scale_c + shift_c`. x, y `[n, c, hw]`.
pub fn scale_shift(
    cpu: Cpu<'_>,
    n: usize,
    c: usize,
    hw: usize,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    y: &mut [f32],
) {
    assert_eq!((x.len(), y.len()), (n * c * hw, n * c * hw), "lengths of x and y");
    assert_eq!((scale.len(), shift.len()), (c, c), "lengths of scale and shift");
    affine(cpu, c, hw, x, scale, Some(shift), y);
}

/// The inverse of [`scale_shift`]: `y = (x − shift_c) / scale_c`.
pub fn scale_shift_inverse(
    cpu: Cpu<'_>,
    n: usize,
    c: usize,
    hw: usize,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    y: &mut [f32],
) {
    assert_eq!((x.len(), y.len()), (n * c * hw, n * c * hw), "lengths of x and y");
    assert_eq!((scale.len(), shift.len()), (c, c), "lengths of scale and shift");
    cpu.threads().chunks_mut(y, hw, &|plane, _, y| {
        let (scale, shift) = (scale[plane % c], shift[plane % c]);
        for (y, x) in y.iter_mut().zip(&x[plane * hw..][..hw]) {
            *y = (x - shift) / scale;
        }
    });
}

/// Gradient of [`scale_shift`] by x: `gx = g · scale_c`.
pub fn scale_shift_dx(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, g: &[f32], scale: &[f32], gx: &mut [f32]) {
    assert_eq!((g.len(), gx.len()), (n * c * hw, n * c * hw), "lengths of g and gx");
    assert_eq!(scale.len(), c, "length of scale");
    affine(cpu, c, hw, g, scale, None, gx);
}

fn affine(cpu: Cpu<'_>, c: usize, hw: usize, x: &[f32], scale: &[f32], shift: Option<&[f32]>, y: &mut [f32]) {
    if y.is_empty() {
        return;
    }
    // Whole samples where a channel is one element, whole planes otherwise.
    let unit = if hw == 1 { c } else { hw };
    let units = (CHUNK / unit).max(1);
    cpu.threads().chunks_mut(y, units * unit, &|task, _, y| {
        let x = &x[task * units * unit..][..y.len()];
        cpu.isa().run(Affine { first: task * units, c, hw, x, scale, shift, y });
    });
}

/// `y = x · scale_c (+ shift_c)` on samples, or on planes from number `first` on.
struct Affine<'a> {
    first: usize,
    c: usize,
    hw: usize,
    x: &'a [f32],
    scale: &'a [f32],
    shift: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Op for Affine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        if self.hw == 1 {
            for (y, x) in self.y.chunks_exact_mut(self.c).zip(self.x.chunks_exact(self.c)) {
                if let Some(shift) = self.shift {
                    for ((y, x), (scale, shift)) in y.iter_mut().zip(x).zip(self.scale.iter().zip(shift)) {
                        *y = x * scale + shift;
                    }
                } else {
                    for ((y, x), scale) in y.iter_mut().zip(x).zip(self.scale) {
                        *y = x * scale;
                    }
                }
            }
        } else {
            for (k, (y, x)) in self.y.chunks_exact_mut(self.hw).zip(self.x.chunks_exact(self.hw)).enumerate() {
                let channel = (self.first + k) % self.c;
                let scale = self.scale[channel];
                if let Some(shift) = self.shift {
                    let shift = shift[channel];
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = x * scale + shift;
                    }
                } else {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = x * scale;
                    }
                }
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

    fn cases() -> impl Iterator<Item = (usize, usize, usize)> {
        SIZES.iter().flat_map(|&s| [(3, s, 2), (2, 3, s), (s, 2, 3), (5, s, 1)]).chain([(0, 3, 4), (2, 100, 33)])
    }

    #[test]
    fn sums_match_the_definition() {
        for (n, c, hw) in cases() {
            let (g, x) = (numbers(1, n * c * hw), numbers(2, n * c * hw));
            let (mut sum, mut dot) = (vec![0.0f64; c], vec![0.0f64; c]);
            for k in 0..n * c * hw {
                sum[k / hw % c] += f64::from(g[k]);
                dot[k / hw % c] += f64::from(g[k]) * f64::from(x[k]);
            }
            each_cpu(
                |cpu| {
                    let mut out = vec![f32::NAN; c];
                    channel_sum(cpu, n, c, hw, &g, &mut out);
                    out
                },
                |out| close("sum", out, &sum, 3e-6),
            );
            each_cpu(
                |cpu| {
                    let mut out = vec![f32::NAN; c];
                    scale_shift_dscale(cpu, n, c, hw, &g, &x, &mut out);
                    out
                },
                |out| close("dscale", out, &dot, 3e-6),
            );
        }
    }

    #[test]
    fn scale_shift_matches_and_its_gradient_too() {
        for (n, c, hw) in cases() {
            let (x, gy) = (numbers(1, n * c * hw), numbers(2, n * c * hw));
            let (scale, shift) = (numbers(3, c), numbers(4, c));
            let f = |x: &[f64]| -> Vec<f64> {
                let at = |k: usize| k / hw % c;
                x.iter().enumerate().map(|(k, x)| x * f64::from(scale[at(k)]) + f64::from(shift[at(k)])).collect()
            };
            let want = f(&wide(&x));
            let gx: Vec<f64> = (0..x.len()).map(|k| f64::from(gy[k]) * f64::from(scale[k / hw % c])).collect();
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; x.len()];
                    scale_shift(cpu, n, c, hw, &x, &scale, &shift, &mut y);
                    y
                },
                |y| close("y", y, &want, 1e-6),
            );
            each_cpu(
                |cpu| {
                    let mut got = vec![f32::NAN; x.len()];
                    scale_shift_dx(cpu, n, c, hw, &gy, &scale, &mut got);
                    got
                },
                |got| close("gx", got, &gx, 1e-6),
            );
            if x.len() < 60 {
                close("difference", &gx.iter().map(|&g| g as f32).collect::<Vec<_>>(), &numerical(&x, &gy, f), 1e-5);
            }
        }
    }
}
