//! The patches of an image as columns of a matrix, packed straight into the matrix product's panels.
//!
//! [`Patches`] is the B of a forward convolution: row `(c, ky, kx)`, column `(oy, ox)`. [`PatchRows`] is its transpose, for the
//! gradient of the weights. [`BackPatches`] is the B of the gradient of the input: row `(o, ky, kx)`, column `(iy, ix)`, which holds
//! `gy[o, (iy + top − ky·dilation)/stride, …]` where that is an output position and 0 elsewhere.

use super::pack::{Source, pack_lanes_of_columns};
use super::product::BLOCK_K;
use super::{MAX_LANES, Simd};
use crate::kernels::conv2d::Conv2dShape;
use core::mem::MaybeUninit;

/// The patches of `x`; batch number is `sample · groups + group`.
pub(crate) struct Patches<'a> {
    pub s: &'a Conv2dShape,
    pub x: &'a [f32],
}

impl Source for Patches<'_> {
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &self,
        v: S,
        batch: usize,
        p0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        to: *mut f32,
        width: usize,
    ) {
        let s = self.s;
        let image = s.cin / s.groups * s.h * s.w;
        let x = &self.x[batch * image..][..image];
        let (oy0, ox0) = (j0 / s.ow, j0 % s.ow);
        let (mut c, mut ky, mut kx) = split(p0, s.kh, s.kw);
        for p in 0..rows {
            let plane = &x[c * s.h * s.w..][..s.h * s.w];
            // Output columns whose input column lies in the image.
            let shift = kx * s.dilation;
            let first = div_ceil(s.pad_left.saturating_sub(shift), s.stride);
            let end = div_ceil((s.w + s.pad_left).saturating_sub(shift), s.stride);
            // SAFETY: the panel has room for `width` elements a row; sources are slices of the image.
            unsafe {
                let to = to.add(p * width);
                let (mut j, mut oy, mut ox) = (0, oy0, ox0);
                while j < cols {
                    let run = (cols - j).min(s.ow - ox);
                    let (from, until) = (first.clamp(ox, ox + run), end.clamp(ox, ox + run));
                    match s.row(oy, ky) {
                        Some(iy) if from < until => {
                            zero(to.add(j), from - ox);
                            let at = iy * s.w + from * s.stride + shift - s.pad_left;
                            copy_strided(v, &plane[at..], s.stride, to.add(j + from - ox), until - from);
                            zero(to.add(j + until - ox), ox + run - until);
                        }
                        _ => zero(to.add(j), run),
                    }
                    (j, oy, ox) = (j + run, oy + 1, 0);
                }
                zero(to.add(cols), width - cols);
            }
            (c, ky, kx) = after(c, ky, kx, s.kh, s.kw);
        }
    }
}

/// The transpose of [`Patches`] for the groups of one sample: rows are output positions.
pub(crate) struct PatchRows<'a> {
    pub s: &'a Conv2dShape,
    /// One sample.
    pub x: &'a [f32],
}

impl Source for PatchRows<'_> {
    /// Few columns at a time are laid out as [`Patches`] packs them, in runs along the rows of the image, and then transposed.
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &self,
        v: S,
        batch: usize,
        p0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        to: *mut f32,
        width: usize,
    ) {
        let patches = Patches { s: self.s, x: self.x };
        let mut lines = MaybeUninit::<[f32; MAX_LANES * BLOCK_K]>::uninit();
        let lines = lines.as_mut_ptr().cast::<f32>();
        let line = rows.next_multiple_of(S::LANES);
        debug_assert!(line <= BLOCK_K);
        let mut j = 0;
        while j < width {
            let count = cols.saturating_sub(j).min(S::LANES);
            // SAFETY: promised by the caller; `lines` has room for `LANES` rows of a block of B, and is read where it was written.
            unsafe {
                patches.pack(v, batch, j0 + j, count, p0, rows, lines, line);
                pack_lanes_of_columns(v, lines, line, rows, count, to.add(j), width);
            }
            j += S::LANES;
        }
    }
}

/// The output positions that saw an input position, where the stride is not 1 (then they are [`Patches`] of `gy`); batch number is `sample · groups + group`.
pub(crate) struct BackPatches<'a> {
    pub s: &'a Conv2dShape,
    pub gy: &'a [f32],
}

impl Source for BackPatches<'_> {
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &self,
        _: S,
        batch: usize,
        p0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        to: *mut f32,
        width: usize,
    ) {
        let s = self.s;
        let image = s.cout / s.groups * s.oh * s.ow;
        let gy = &self.gy[batch * image..][..image];
        let (iy0, ix0) = (j0 / s.w, j0 % s.w);
        let (mut o, mut ky, mut kx) = split(p0, s.kh, s.kw);
        for p in 0..rows {
            let plane = &gy[o * s.oh * s.ow..][..s.oh * s.ow];
            // Input column `ix` was seen by output column `(ix + pad_left − shift) / stride`.
            let shift = kx * s.dilation;
            // SAFETY: the panel has room for `width` elements a row.
            unsafe {
                let to = to.add(p * width);
                let (mut j, mut iy, mut ix) = (0, iy0, ix0);
                while j < cols {
                    let run = (cols - j).min(s.w - ix);
                    zero(to.add(j), run);
                    let up = (iy + s.pad_top).checked_sub(ky * s.dilation);
                    let oy = up.map(|u| (u, div_ceil(u, s.stride))).filter(|(u, oy)| oy * s.stride == *u && *oy < s.oh);
                    if let Some((_, oy)) = oy {
                        let row = &plane[oy * s.ow..][..s.ow];
                        // Output columns whose input column lies in the run.
                        let first = div_ceil((ix + s.pad_left).saturating_sub(shift), s.stride);
                        let end = div_ceil((ix + run + s.pad_left).saturating_sub(shift), s.stride).min(s.ow);
                        if first < end {
                            let at = j + first * s.stride + shift - s.pad_left - ix;
                            for (i, g) in row[first..end].iter().enumerate() {
                                *to.add(at + i * s.stride) = *g;
                            }
                        }
                    }
                    (j, iy, ix) = (j + run, iy + 1, 0);
                }
                zero(to.add(cols), width - cols);
            }
            (o, ky, kx) = after(o, ky, kx, s.kh, s.kw);
        }
    }
}

/// `i` as (channel, kernel row, kernel column).
#[inline(always)]
fn split(i: usize, kh: usize, kw: usize) -> (usize, usize, usize) {
    (i / (kh * kw), i / kw % kh, i % kw)
}

/// What [`split`] gives for the next `i`.
#[inline(always)]
fn after(c: usize, ky: usize, kx: usize, kh: usize, kw: usize) -> (usize, usize, usize) {
    if kx + 1 < kw {
        (c, ky, kx + 1)
    } else if ky + 1 < kh {
        (c, ky + 1, 0)
    } else {
        (c + 1, 0, 0)
    }
}

/// `a / stride`, rounded up, without a division for the usual strides.
#[inline(always)]
fn div_ceil(a: usize, stride: usize) -> usize {
    match stride {
        1 => a,
        2 => a.div_ceil(2),
        4 => a.div_ceil(4),
        _ => a.div_ceil(stride),
    }
}

#[inline(always)]
unsafe fn zero(to: *mut f32, count: usize) {
    for i in 0..count {
        // SAFETY: `count` elements are writable, promised by the caller.
        unsafe { *to.add(i) = 0.0 };
    }
}

/// `to[i] = from[i · stride]` for `count` elements.
#[inline(always)]
unsafe fn copy_strided<S: Simd>(s: S, from: &[f32], stride: usize, to: *mut f32, count: usize) {
    assert!(count == 0 || (count - 1) * stride < from.len());
    let p = from.as_ptr();
    let mut i = 0;
    // SAFETY: `count` elements are writable, promised by the caller, and readable, just asserted.
    unsafe {
        if stride == 1 {
            while i + S::LANES <= count {
                s.store_ptr(to.add(i), s.load_ptr(p.add(i)));
                i += S::LANES;
            }
            if i < count {
                s.store_lanes(to.add(i), s.load_lanes(p.add(i), 0, count - i), count - i);
            }
            return;
        }
        if stride == 2 {
            // Two whole vectors hold LANES even elements and one more.
            while i + S::LANES < count {
                let (a, b) = (s.load_ptr(p.add(2 * i)), s.load_ptr(p.add(2 * i + S::LANES)));
                s.store_ptr(to.add(i), s.deinterleave(a, b).0);
                i += S::LANES;
            }
            while i < count {
                let (left, n) = (2 * (count - i) - 1, (count - i).min(S::LANES));
                let (a, b) = (
                    s.load_lanes(p.add(2 * i), 0, left),
                    s.load_lanes(p.add(2 * i).wrapping_add(S::LANES), 0, left.saturating_sub(S::LANES)),
                );
                s.store_lanes(to.add(i), s.deinterleave(a, b).0, n);
                i += S::LANES;
            }
            return;
        }
        while i < count {
            *to.add(i) = *p.add(i * stride);
            i += 1;
        }
    }
}
