//! Where the elements of a convolution's patches are found, for a vector of positions: how images with short rows are packed.

use super::{MAX_LANES, Simd};
use crate::kernels::conv2d::Conv2dShape;

/// Kernels up to this side are put together by [`Taps`].
const MAX_TAPS: usize = 8;

/// For up to `LANES` columns: where each kernel row and kernel column finds its element, from the start of the plane. The element
/// of `(ky, kx)` is at `row[ky] + col[kx]`, in the lanes that are set in both masks; elsewhere it is 0.
pub(super) struct Taps {
    /// Where the first lane would find the element of `(0, 0)`, if every lane finds its own next to the lane before.
    pub(super) run: Option<usize>,
    row: [[i32; MAX_LANES]; MAX_TAPS],
    row_lanes: [u32; MAX_TAPS],
    col: [[i32; MAX_LANES]; MAX_TAPS],
    col_lanes: [u32; MAX_TAPS],
}

impl Taps {
    /// Whether a convolution over rows of `width` elements is to be gathered from `len` elements. Where there is no operating
    /// system, the code would take more room than it saves time.
    #[inline(always)]
    pub(super) fn are_for<S: Simd>(s: &Conv2dShape, width: usize, len: usize) -> bool {
        !cfg!(target_os = "none")
            && width < 4 * S::LANES
            && s.kh <= MAX_TAPS
            && s.kw <= MAX_TAPS
            && len <= i32::MAX as usize
    }

    #[inline(always)]
    pub(super) fn none() -> Taps {
        Taps {
            run: None,
            row: [[0; MAX_LANES]; MAX_TAPS],
            row_lanes: [0; MAX_TAPS],
            col: [[0; MAX_LANES]; MAX_TAPS],
            col_lanes: [0; MAX_TAPS],
        }
    }

    #[inline(always)]
    pub(super) fn set_row(&mut self, ky: usize, lane: usize, at: Option<usize>) {
        if let Some(at) = at {
            self.row[ky][lane] = at as i32;
            self.row_lanes[ky] |= 1 << lane;
        }
    }

    #[inline(always)]
    pub(super) fn set_col(&mut self, kx: usize, lane: usize, at: Option<usize>) {
        if let Some(at) = at {
            self.col[kx][lane] = at as i32;
            self.col_lanes[kx] |= 1 << lane;
        }
    }

    /// `rows` rows from row `p0` on, `width` elements apart at `to`, one vector each.
    ///
    /// # Safety
    /// The elements lie in the planes of `plane` elements that begin at `from`; the vectors are writable.
    #[inline(always)]
    pub(super) unsafe fn pack<S: Simd>(
        &self,
        v: S,
        s: &Conv2dShape,
        from: *const f32,
        plane: usize,
        p0: usize,
        rows: usize,
        to: *mut f32,
        width: usize,
    ) {
        let all = (1 << S::LANES) - 1;
        let (mut c, mut ky, mut kx) = split(p0, s.kh, s.kw);
        for p in 0..rows {
            let lanes = self.row_lanes[ky] & self.col_lanes[kx];
            let from = from.wrapping_add(c * plane);
            // SAFETY: promised by the caller; lanes outside the image are not read.
            unsafe {
                let x = match self.run {
                    Some(first) => {
                        let from = from.wrapping_add(first).wrapping_add((ky * s.w + kx) * s.dilation);
                        if lanes == all { v.load_ptr(from) } else { v.load_masked(from, v.bits(lanes)) }
                    }
                    None => v.gather(from, &self.row[ky], &self.col[kx], lanes),
                };
                v.store_ptr(to.add(p * width), x);
            }
            (c, ky, kx) = after(c, ky, kx, s.kh, s.kw);
        }
    }
}

/// `i` as (channel, kernel row, kernel column), or as (sample, row, column).
#[inline(always)]
pub(super) fn split(i: usize, kh: usize, kw: usize) -> (usize, usize, usize) {
    (i / (kh * kw), i / kw % kh, i % kw)
}

/// What [`split`] gives for the next `i`.
#[inline(always)]
pub(super) fn after(c: usize, ky: usize, kx: usize, kh: usize, kw: usize) -> (usize, usize, usize) {
    if kx + 1 < kw {
        (c, ky, kx + 1)
    } else if ky + 1 < kh {
        (c, ky + 1, 0)
    } else {
        (c + 1, 0, 0)
    }
}
