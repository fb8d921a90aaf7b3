//! Depthwise 3×3 convolution, stride 1 or 2, straight from the image.
//!
//! A block of output rows is computed one vector of columns at a time: each input row is loaded once for the block, shifted by
//! three loads for stride 1 and by separating even and odd columns for stride 2. At the edges of the image the loads are
//! masked, so nothing is copied and nothing padded. Each output is one chain of multiply-adds, rows then columns, from the bias.

use super::{Op, Simd};
use crate::kernels::Activation;

/// One plane: `y[oy, ox] = act(bias + Σ w[ky, kx] · x[oy·stride + ky − top, ox·stride + kx − left]) + residual`.
pub(crate) struct Depthwise<'a> {
    pub x: &'a [f32],
    pub h: usize,
    pub w: usize,
    pub y: &'a mut [f32],
    pub oh: usize,
    pub ow: usize,
    pub stride: usize,
    pub pad_top: usize,
    pub pad_left: usize,
    pub weight: [f32; 9],
    pub bias: f32,
    pub act: Activation,
    pub residual: Option<&'a [f32]>,
}

impl Op for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert!(self.x.len() == self.h * self.w && self.y.len() == self.oh * self.ow);
        assert!(self.residual.is_none_or(|r| r.len() == self.y.len()));
        match self.stride {
            1 => self.rows::<S, 1>(s),
            2 => self.rows::<S, 2>(s),
            _ => unreachable!("stride 1 or 2"),
        }
    }
}

impl Depthwise<'_> {
    #[inline(always)]
    fn rows<S: Simd, const STRIDE: usize>(mut self, s: S) {
        let mut oy = 0;
        while oy < self.oh {
            let left = self.oh - oy;
            // SAFETY: the rows exist; loads are masked to the image and stores to the row.
            unsafe {
                if left >= 4 {
                    self.block::<S, STRIDE, 4>(s, oy);
                    oy += 4;
                } else {
                    self.block::<S, STRIDE, 1>(s, oy);
                    oy += 1;
                }
            }
        }
    }

    /// Output rows `oy..oy + R`.
    #[inline(always)]
    unsafe fn block<S: Simd, const STRIDE: usize, const R: usize>(&mut self, s: S, oy: usize) {
        let (h, w) = (self.h as isize, self.w as isize);
        let top = (oy * STRIDE) as isize - self.pad_top as isize;
        let inside = top >= 0 && top + ((R - 1) * STRIDE + 3) as isize <= h;
        let span = (STRIDE * S::LANES + 3 - STRIDE) as isize;
        let mut ox = 0;
        while ox < self.ow {
            let left = (ox * STRIDE) as isize - self.pad_left as isize;
            // SAFETY: as promised by the caller; the unmasked form is taken only where the whole patch lies in the image.
            unsafe {
                if inside && left >= 0 && left + span + (STRIDE as isize - 1) <= w {
                    self.vector::<S, STRIDE, R, true>(s, oy, ox, top, left);
                } else {
                    self.vector::<S, STRIDE, R, false>(s, oy, ox, top, left);
                }
            }
            ox += S::LANES;
        }
    }

    /// `R` rows of one vector of columns; `top` and `left` is where the first patch begins, possibly outside the image.
    #[inline(always)]
    unsafe fn vector<S: Simd, const STRIDE: usize, const R: usize, const INSIDE: bool>(
        &mut self,
        s: S,
        oy: usize,
        ox: usize,
        top: isize,
        left: isize,
    ) {
        let (h, w) = (self.h as isize, self.w as isize);
        let mut acc = [s.splat(self.bias); R];
        for t in 0..(R - 1) * STRIDE + 3 {
            let iy = top + t as isize;
            if !INSIDE && (iy < 0 || iy >= h) {
                continue;
            }
            let row = self.x.as_ptr().wrapping_offset(iy * w + left);
            // SAFETY: the row is in the image; the loads are masked unless all of it is.
            let taps = unsafe { taps::<S, STRIDE, INSIDE>(s, row, left, w) };
            for r in 0..R {
                if t >= r * STRIDE && t < r * STRIDE + 3 {
                    let ky = t - r * STRIDE;
                    for kx in 0..3 {
                        acc[r] = s.fma(s.splat(self.weight[ky * 3 + kx]), taps[kx], acc[r]);
                    }
                }
            }
        }
        let (low, high) = self.act.clip_range();
        let (low, high) = (s.splat(low), s.splat(high));
        let count = (self.ow - ox).min(S::LANES);
        for r in 0..R {
            let at = (oy + r) * self.ow + ox;
            let mut v = s.min(high, s.max(low, acc[r]));
            // SAFETY: `count` elements of the row are left at `at`.
            unsafe {
                if let Some(residual) = self.residual {
                    v = s.add(v, s.load_lanes(residual.as_ptr().add(at), 0, count));
                }
                let y = self.y.as_mut_ptr().add(at);
                if count == S::LANES { s.store_ptr(y, v) } else { s.store_lanes(y, v, count) }
            }
        }
    }
}

/// The three taps of a row for a vector of outputs: lane `l` of tap `kx` is column `left + l·STRIDE + kx`, or 0 outside the row.
#[inline(always)]
unsafe fn taps<S: Simd, const STRIDE: usize, const INSIDE: bool>(
    s: S,
    row: *const f32,
    left: isize,
    w: isize,
) -> [S::V; 3] {
    let load = |shift: usize| {
        let p = row.wrapping_add(shift);
        // SAFETY: `row` points at column `left`, possibly outside; the mask keeps the load inside the row.
        unsafe {
            if INSIDE {
                s.load_ptr(p)
            } else {
                let at = left + shift as isize;
                s.load_lanes(p, (-at).max(0) as usize, (w - at).max(0) as usize)
            }
        }
    };
    if STRIDE == 1 {
        [load(0), load(1), load(2)]
    } else {
        let (even, odd) = s.deinterleave(load(0), load(S::LANES));
        let (next, _) = s.deinterleave(load(2), load(2 + S::LANES));
        [even, odd, next]
    }
}
