//! Where a product (`product.rs`) takes the columns of B from, and how they are packed: row after row, a few vectors wide, so that
//! the inner loop reads memory in one run.

use super::{MAX_LANES, Simd};
use crate::kernels::gemm::Matrix;

/// Where the columns of B come from.
pub(crate) trait Source: Sync {
    /// Writes rows `p0..p0 + rows` of columns `j0..j0 + cols` of B number `batch`, each row `width` elements after the last,
    /// filled up with zeros to `width`, which is a multiple of `LANES` and less than `cols + LANES`.
    ///
    /// # Safety
    /// The rows and columns exist, and `rows · width` elements are writable at `to`.
    unsafe fn pack<S: Simd>(
        &self,
        s: S,
        batch: usize,
        p0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        to: *mut f32,
        width: usize,
    );

    /// Packs the columns `j0..j0 + cols` panel after panel.
    ///
    /// # Safety
    /// The rows and columns exist, and `rows` times `cols`, rounded up to `LANES`, elements are writable at `to`.
    #[inline(always)]
    unsafe fn pack_chunk<S: Simd>(
        &self,
        s: S,
        batch: usize,
        p0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        to: *mut f32,
    ) {
        let panel = S::LANES * S::TILE_VECTORS;
        let mut j = 0;
        while j < cols {
            let width = (cols - j).min(panel);
            // SAFETY: promised by the caller.
            unsafe {
                self.pack(s, batch, p0, rows, j0 + j, width, to.add(j * rows), width.next_multiple_of(S::LANES));
            }
            j += panel;
        }
    }

    /// Where element `(p0, j0)` of B number `batch` lies and the distance to the next row, if rows are stored as they are.
    /// Then the first rows of C take B from there and pack it as they go.
    fn rows_at(&self, batch: usize, p0: usize, j0: usize) -> Option<(*const f32, usize)> {
        let _ = (batch, p0, j0);
        None
    }
}

/// B as a matrix, `batch_step` elements between neighbours.
pub(crate) struct MatrixSource<'a> {
    pub b: Matrix<'a>,
    pub batch_step: usize,
}

impl Source for MatrixSource<'_> {
    #[inline(always)]
    unsafe fn pack_chunk<S: Simd>(
        &self,
        s: S,
        batch: usize,
        p0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        to: *mut f32,
    ) {
        let panel = S::LANES * S::TILE_VECTORS;
        let whole = if self.b.col == 1 { cols / panel } else { 0 };
        // SAFETY: promised by the caller.
        unsafe {
            let from = self.b.data.as_ptr().wrapping_add(batch * self.batch_step + p0 * self.b.row + j0 * self.b.col);
            // Row after row, so that memory is read in long runs.
            for p in 0..rows {
                for i in 0..whole {
                    for v in 0..S::TILE_VECTORS {
                        let x = s.load_ptr(from.add(p * self.b.row + i * panel + v * S::LANES));
                        s.store_ptr(to.add((i * rows + p) * panel + v * S::LANES), x);
                    }
                }
            }
            let mut j = whole * panel;
            while j < cols {
                let width = (cols - j).min(panel);
                self.pack(s, batch, p0, rows, j0 + j, width, to.add(j * rows), width.next_multiple_of(S::LANES));
                j += panel;
            }
        }
    }

    #[inline(always)]
    fn rows_at(&self, batch: usize, p0: usize, j0: usize) -> Option<(*const f32, usize)> {
        let at = batch * self.batch_step + p0 * self.b.row + j0;
        (self.b.col == 1).then(|| (self.b.data.as_ptr().wrapping_add(at), self.b.row))
    }

    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &self,
        s: S,
        batch: usize,
        p0: usize,
        rows: usize,
        j0: usize,
        cols: usize,
        to: *mut f32,
        width: usize,
    ) {
        let (row, col) = (self.b.row, self.b.col);
        // SAFETY: the rows and columns exist, promised by the caller; so does the room.
        unsafe {
            let from = self.b.data.as_ptr().add(batch * self.batch_step + p0 * row + j0 * col);
            if col == 1 {
                pack_rows(s, from, row, rows, cols, to, width);
            } else if row == 1 {
                pack_columns(s, from, col, rows, cols, to, width);
            } else {
                for p in 0..rows {
                    for j in 0..width {
                        *to.add(p * width + j) = if j < cols { *from.add(p * row + j * col) } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Copies rows that are stored by rows.
#[inline(always)]
pub(super) unsafe fn pack_rows<S: Simd>(
    s: S,
    from: *const f32,
    row: usize,
    rows: usize,
    cols: usize,
    to: *mut f32,
    width: usize,
) {
    // SAFETY: promised by the caller of `pack`.
    unsafe {
        for p in 0..rows {
            let (from, to) = (from.add(p * row), to.add(p * width));
            let mut j = 0;
            while j + S::LANES <= cols {
                s.store_ptr(to.add(j), s.load_ptr(from.add(j)));
                j += S::LANES;
            }
            if j < cols {
                s.store_ptr(to.add(j), s.load_lanes(from.add(j), 0, cols - j));
            }
        }
    }
}

/// Copies rows that are stored by columns, `col` elements apart.
#[inline(always)]
pub(super) unsafe fn pack_columns<S: Simd>(
    s: S,
    from: *const f32,
    col: usize,
    rows: usize,
    cols: usize,
    to: *mut f32,
    width: usize,
) {
    let mut j = 0;
    while j < width {
        let cols = cols.saturating_sub(j).min(S::LANES);
        // SAFETY: promised by the caller of `pack`.
        unsafe { pack_lanes_of_columns(s, from.wrapping_add(j * col), col, rows, cols, to.add(j), width) };
        j += S::LANES;
    }
}

/// Up to `LANES` columns, filled up with zeros: squares of `LANES` are transposed in registers.
#[inline(always)]
pub(super) unsafe fn pack_lanes_of_columns<S: Simd>(
    s: S,
    from: *const f32,
    col: usize,
    rows: usize,
    cols: usize,
    to: *mut f32,
    width: usize,
) {
    // SAFETY: `cols` columns of `rows` elements exist and rows `width` apart have room for `LANES`, promised by the caller.
    unsafe {
        let mut p = 0;
        while p < rows {
            let count = (rows - p).min(S::LANES);
            let mut square = [s.zero(); MAX_LANES];
            for i in 0..cols {
                let from = from.add(i * col + p);
                square[i] = if count == S::LANES { s.load_ptr(from) } else { s.load_lanes(from, 0, count) };
            }
            s.transpose(&mut square);
            for i in 0..count {
                s.store_ptr(to.add((p + i) * width), square[i]);
            }
            p += S::LANES;
        }
    }
}
