//! The patches of an image as columns of a matrix, packed straight into the matrix product's panels.
//!
//! [`Patches`] is the B of a forward convolution: row `(c, ky, kx)`, column `(oy, ox)`. [`PatchRows`] is its transpose, for the
//! gradient of the weights. [`BackPatches`] is the B of the gradient of the input: row `(o, ky, kx)`, column `(iy, ix)`, which holds
//! `gy[o, (iy + top − ky·dilation)/stride, …]` where that is an output position and 0 elsewhere.
//!
//! Columns, and rows of [`PatchRows`], may run on into the next samples, as if the samples lay side by side. Wide images are
//! copied run by run. Where a row of the image is no longer than a few vectors, every vector is put together by [`Taps`]: where
//! input and output are equally wide and the stride is 1, its elements lie side by side over the ends of rows, else they are
//! gathered.

use super::pack::{Source, pack_lanes_of_columns};
use super::product::BLOCK_K;
use super::taps::{Taps, after, split};
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
        let (group, sample) = (s.cin / s.groups * s.h * s.w, s.cin * s.h * s.w);
        let x = &self.x[batch * group..];
        let (sample0, oy0, ox0) = split(j0, s.oh, s.ow);
        if Taps::are_for::<S>(s, s.ow, x.len()) {
            let (mut n, mut oy, mut ox) = (sample0, oy0, ox0);
            let mut j = 0;
            while j < width {
                let mut taps = Taps::none();
                let (first, at) = (n, (oy * s.w + ox).wrapping_sub(s.pad_top * s.w + s.pad_left));
                for lane in 0..cols.saturating_sub(j).min(S::LANES) {
                    let one_run = s.stride == 1 && s.w == s.ow && first == n;
                    taps.run = one_run.then_some(n * sample).map(|n| n.wrapping_add(at));
                    for ky in 0..s.kh {
                        taps.set_row(ky, lane, s.row(oy, ky).map(|iy| n * sample + iy * s.w));
                    }
                    for kx in 0..s.kw {
                        taps.set_col(kx, lane, s.col(ox, kx));
                    }
                    (n, oy, ox) = after(n, oy, ox, s.oh, s.ow);
                }
                // SAFETY: rows and columns exist, promised by the caller, so the elements do; there is room for `width` a row.
                unsafe { taps.pack(v, s, x.as_ptr(), s.h * s.w, p0, rows, to.add(j), width) };
                j += S::LANES;
            }
            return;
        }
        let (mut c, mut ky, mut kx) = split(p0, s.kh, s.kw);
        for p in 0..rows {
            // Output columns whose input column lies in the image.
            let shift = kx * s.dilation;
            let first = div_ceil(s.pad_left.saturating_sub(shift), s.stride);
            let end = div_ceil((s.w + s.pad_left).saturating_sub(shift), s.stride);
            // SAFETY: the panel has room for `width` elements a row; sources are slices of the image.
            unsafe {
                let to = to.add(p * width);
                let (mut j, mut n, mut oy, mut ox) = (0, sample0, oy0, ox0);
                while j < cols {
                    let plane = &x[n * sample + c * s.h * s.w..][..s.h * s.w];
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
                    j += run;
                    (n, oy, ox) = if oy + 1 < s.oh { (n, oy + 1, 0) } else { (n + 1, 0, 0) };
                }
                zero(to.add(cols), width - cols);
            }
            (c, ky, kx) = after(c, ky, kx, s.kh, s.kw);
        }
    }
}

/// The transpose of [`Patches`], batch number is the group: rows are output positions, of one sample after the other.
pub(crate) struct PatchRows<'a> {
    pub s: &'a Conv2dShape,
    /// As many samples as there are rows for.
    pub x: &'a [f32],
}

impl PatchRows<'_> {
    /// Lanes are columns `(c, ky, kx)`, which lie at fixed distances from where the kernel's corner is; a position takes the
    /// lanes whose row and column are inside the image.
    #[inline(always)]
    unsafe fn gather<S: Simd>(
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
        let (group, sample) = (s.cin / s.groups * s.h * s.w, s.cin * s.h * s.w);
        let x = self.x[batch * group..].as_ptr();
        let (c, ky, kx) = split(j0, s.kh, s.kw);
        let (mut row, mut col, mut taps) = ([0; MAX_LANES], [0; MAX_LANES], [(0, 0); MAX_LANES]);
        let mut tap = (c, ky, kx);
        for lane in 0..cols {
            let (c, ky, kx) = tap;
            row[lane] = (c * s.h * s.w + ky * s.dilation * s.w) as i32;
            col[lane] = (kx * s.dilation) as i32;
            taps[lane] = (ky, kx);
            tap = after(c, ky, kx, s.kh, s.kw);
        }
        // Lanes of each output column; there are fewer than four vectors of them.
        let mut col_lanes = [0u32; 4 * MAX_LANES];
        for ox in 0..s.ow {
            for lane in 0..cols {
                col_lanes[ox] |= u32::from(s.col(ox, taps[lane].1).is_some()) << lane;
            }
        }
        let (mut n, mut oy, mut ox) = split(p0, s.oh, s.ow);
        let mut row_lanes = None;
        for p in 0..rows {
            let lanes = *row_lanes.get_or_insert_with(|| {
                (0..cols).fold(0u32, |lanes, lane| lanes | u32::from(s.row(oy, taps[lane].0).is_some()) << lane)
            });
            let corner = (n * sample + oy * s.stride * s.w + ox * s.stride).wrapping_sub(s.pad_top * s.w + s.pad_left);
            // SAFETY: rows and columns exist, promised by the caller, so the elements of these lanes do; there is room.
            unsafe {
                let x = v.gather(x.wrapping_add(corner), &row, &col, lanes & col_lanes[ox]);
                v.store_ptr(to.add(p * width), x);
            }
            let before = oy;
            (n, oy, ox) = after(n, oy, ox, s.oh, s.ow);
            if oy != before || s.oh == 1 {
                row_lanes = None;
            }
        }
    }
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
        let s = self.s;
        if Taps::are_for::<S>(s, s.ow, self.x.len()) {
            let mut j = 0;
            while j < width {
                let count = cols.saturating_sub(j).min(S::LANES);
                // SAFETY: promised by the caller.
                unsafe { self.gather(v, batch, p0, rows, j0 + j, count, to.add(j), width) };
                j += S::LANES;
            }
            return;
        }
        let patches = Patches { s, x: self.x };
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
        let (group, sample) = (s.cout / s.groups * s.oh * s.ow, s.cout * s.oh * s.ow);
        let gy = &self.gy[batch * group..];
        let (sample0, iy0, ix0) = split(j0, s.h, s.w);
        if Taps::are_for::<S>(s, s.w, gy.len()) {
            let (mut n, mut iy, mut ix) = (sample0, iy0, ix0);
            let mut j = 0;
            while j < width {
                let mut taps = Taps::none();
                for lane in 0..cols.saturating_sub(j).min(S::LANES) {
                    for ky in 0..s.kh {
                        let oy = saw(iy, s.pad_top, ky * s.dilation, s.stride, s.oh);
                        taps.set_row(ky, lane, oy.map(|oy| n * sample + oy * s.ow));
                    }
                    for kx in 0..s.kw {
                        taps.set_col(kx, lane, saw(ix, s.pad_left, kx * s.dilation, s.stride, s.ow));
                    }
                    (n, iy, ix) = after(n, iy, ix, s.h, s.w);
                }
                // SAFETY: rows and columns exist, promised by the caller, so the elements do; there is room for `width` a row.
                unsafe { taps.pack(v, s, gy.as_ptr(), s.oh * s.ow, p0, rows, to.add(j), width) };
                j += S::LANES;
            }
            return;
        }
        let (mut o, mut ky, mut kx) = split(p0, s.kh, s.kw);
        for p in 0..rows {
            // Input column `ix` was seen by output column `(ix + pad_left − shift) / stride`.
            let shift = kx * s.dilation;
            // SAFETY: the panel has room for `width` elements a row.
            unsafe {
                let to = to.add(p * width);
                let (mut j, mut n, mut iy, mut ix) = (0, sample0, iy0, ix0);
                while j < cols {
                    let plane = &gy[n * sample + o * s.oh * s.ow..][..s.oh * s.ow];
                    let run = (cols - j).min(s.w - ix);
                    zero(to.add(j), run);
                    if let Some(oy) = saw(iy, s.pad_top, ky * s.dilation, s.stride, s.oh) {
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
                    j += run;
                    (n, iy, ix) = if iy + 1 < s.h { (n, iy + 1, 0) } else { (n + 1, 0, 0) };
                }
                zero(to.add(cols), width - cols);
            }
            (o, ky, kx) = after(o, ky, kx, s.kh, s.kw);
        }
    }
}

/// The output row that saw input row `i` through the kernel row at `shift`; the same for columns.
#[inline(always)]
fn saw(i: usize, pad: usize, shift: usize, stride: usize, out: usize) -> Option<usize> {
    let up = (i + pad).checked_sub(shift)?;
    let o = div_ceil(up, stride);
    (o * stride == up && o < out).then_some(o)
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
