//! The blocked matrix product that GEMM and every dense convolution share.
//!
//! C (`m×n`) is cut into tasks; a task walks its columns in chunks whose part of B, packed, stays in the first-level cache,
//! and for each chunk walks the rows of A. The register tile is `TILE_ROWS` rows by `TILE_VECTORS` vectors: elements of A are
//! broadcast, vectors of B loaded (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008, with
//! the roles of the caches set by measurement). A is read where it is unless its rows are strided. Where B comes from is the
//! [`Source`]'s affair: a matrix by rows or by columns, or the patches of an image.
//!
//! Every element of C is one chain of multiply-adds in ascending `p`, starting from the bias: sums that wait in C between two
//! blocks of `p` lose nothing, so no blocking, no number of threads and no batch changes a bit.

use super::pack::Source;
use super::{MAX_LANES, Op, Simd};
use crate::cpu::Cpu;
use crate::deadline::Deadline;
use crate::kernels::Activation;
use crate::kernels::gemm::{Bias, Matrix};
use crate::threads::SharedMut;

/// Rows of B in one block: a panel of 48 columns takes 36 KiB.
pub(super) const BLOCK_K: usize = 192;
/// Columns of every instruction set's tile divide this.
const PANEL: usize = 48;
/// Elements of B in one chunk, unless a single panel has more. Where there is no operating system, memory is short and there is
/// no cache to fill.
const CHUNK: usize = if cfg!(target_os = "none") { 1024 } else { 8 * 1024 };
/// Rows of every instruction set's tile divide this.
const ROWS: usize = 8;

/// One or more products of the same size. Number `batch` uses B number `batch` and A number `batch % groups`.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, B> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    pub groups: usize,
    /// Distance between the A of neighbouring groups; row biases are `m` apart, column biases `n`.
    pub a_group: usize,
    pub a: Matrix<'a>,
    pub b: &'a B,
    pub bias: Bias<'a>,
    pub act: Activation,
    pub residual: Option<&'a [f32]>,
    pub accumulate: bool,
    pub c_row: usize,
    /// Distance between the C of neighbouring products.
    pub c_batch: usize,
}

impl<'a> Product<'a, ()> {
    /// The same products with B from `b`.
    pub(crate) fn with<'b, B>(self, b: &'b B) -> Product<'b, B>
    where
        'a: 'b,
    {
        let Product { m, n, k, batch, groups, a_group, a, bias, act, residual, accumulate, c_row, c_batch, .. } = self;
        Product { m, n, k, batch, groups, a_group, a, b, bias, act, residual, accumulate, c_row, c_batch }
    }
}

/// Rows of B in one block: `k` in equal parts.
fn block_rows(k: usize) -> usize {
    k.div_ceil(k.div_ceil(BLOCK_K).max(1))
}

/// Columns of a chunk, for `k` rows of B. Where `k` is small the time goes into writing C, and longer rows are better.
fn chunk_cols(m: usize, n: usize, k: usize) -> usize {
    let rows = block_rows(k);
    if is_tall(m, n, k) {
        return 4 * PANEL;
    }
    let chunk = if k <= 32 { 2 * CHUNK } else { CHUNK };
    (chunk / rows.max(1) / PANEL).max(1) * PANEL
}

/// Elements of scratch for `threads` threads.
pub(crate) fn scratch(m: usize, n: usize, k: usize, a_packed: bool, threads: usize) -> usize {
    let kc = block_rows(k);
    let b = kc * chunk_cols(m, n, k).min(n.next_multiple_of(PANEL));
    let a = if a_packed { k * m.next_multiple_of(ROWS) } else { 0 };
    threads * (a + b + 2 * MAX_LANES)
}

/// Computes every product into `c`. The caller has checked that all indices lie inside the slices.
pub(crate) fn run<B: Source>(cpu: Cpu, scratch: &mut [f32], p: &Product<B>, c: &mut [f32]) {
    if p.m == 0 || p.n == 0 || p.batch == 0 {
        return;
    }
    assert!(scratch.len() >= self::scratch(p.m, p.n, p.k, p.a.col != 1, cpu.threads().count()));
    // A few tasks a thread, by columns first and by rows where there are not enough columns.
    let threads = cpu.threads().count();
    let wanted = if threads == 1 { 1 } else { 4 * threads };
    let cols = p.n.div_ceil(wanted.div_ceil(p.batch)).next_multiple_of(PANEL);
    let col_tasks = p.n.div_ceil(cols);
    let rows = p.m.div_ceil(wanted.div_ceil(p.batch * col_tasks)).next_multiple_of(ROWS);
    let row_tasks = p.m.div_ceil(rows);
    let c = SharedMut::new(c);
    cpu.threads().run_with(p.batch * row_tasks * col_tasks, scratch, &|task, _, scratch| {
        let (col, rest) = (task % col_tasks, task / col_tasks);
        let (row, batch) = (rest % row_tasks, rest / row_tasks);
        let (rows, cols) = ((row * rows, p.m.min((row + 1) * rows)), (col * cols, p.n.min((col + 1) * cols)));
        cpu.isa().run(Task { p, c, batch, rows, cols, scratch, until: cpu.threads().deadline() });
    });
}

struct Task<'a, 'c, B> {
    p: &'a Product<'a, B>,
    c: SharedMut<'c>,
    batch: usize,
    rows: (usize, usize),
    cols: (usize, usize),
    scratch: &'a mut [f32],
    until: &'a Deadline,
}

impl<B: Source> Op for Task<'_, '_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.p;
        let (r0, r1) = self.rows;
        let group = self.batch % p.groups;
        let a = p.a.data[group * p.a_group..].as_ptr();
        let skip = self.scratch.as_ptr().align_offset(64).min(MAX_LANES);
        let kc_max = block_rows(p.k);
        let chunk = chunk_cols(p.m, p.n, p.k);
        let (b_part, a_part) = self.scratch[skip..].split_at_mut(kc_max * chunk.min(p.n.next_multiple_of(PANEL)));
        let (low, high) = p.act.clip_range();
        let c0 = self.batch * p.c_batch;
        let pack_a = p.a.col != 1;
        let mut j0 = self.cols.0;
        while j0 < self.cols.1 {
            // One thread has one task, which may take milliseconds.
            if self.until.passed() {
                return;
            }
            let cols = (self.cols.1 - j0).min(chunk);
            let mut p0 = 0;
            loop {
                let kc = (p.k - p0).min(kc_max);
                // SAFETY: the caller of `run` checked that A, C, the biases and the residual hold what the sizes say, the
                // scratch is as large as `scratch` says, and the rows and columns of this task of C are nobody else's.
                unsafe {
                    // Packed with the first chunk, block after block; the others use it again.
                    let a_block = a_part.as_mut_ptr().wrapping_add((r1 - r0) * p0);
                    if pack_a && j0 == self.cols.0 {
                        pack_a_rows::<S>(a, p.a.row, p.a.col, r0, r1, p0, kc, a_block);
                    }
                    let tall = is_tall(p.m, p.n, p.k);
                    let ahead = tall || r1 - r0 < S::TILE_ROWS;
                    let rows_at = if ahead { None } else { p.b.rows_at(self.batch, p0, j0) };
                    if rows_at.is_none() {
                        p.b.pack_chunk(s, self.batch, p0, kc, j0, cols, b_part.as_mut_ptr());
                    }
                    let (b_rows, b_row) = rows_at.unwrap_or((core::ptr::null(), 0));
                    let block = Block {
                        k: kc,
                        a: if pack_a { a_block.cast_const() } else { a.add(r0 * p.a.row + p0) },
                        a_row: if pack_a { 1 } else { p.a.row },
                        b: b_part.as_mut_ptr(),
                        b_rows,
                        b_row,
                        c: self.c.as_ptr().add(c0 + r0 * p.c_row + j0),
                        c_row: p.c_row,
                        load_c: p.accumulate || p0 > 0,
                        row_bias: match p.bias {
                            Bias::Rows(b) if p0 == 0 => b.as_ptr().add(group * p.m + r0),
                            _ => core::ptr::null(),
                        },
                        col_bias: match p.bias {
                            Bias::Cols(b) if p0 == 0 => b.as_ptr().add(group * p.n + j0),
                            _ => core::ptr::null(),
                        },
                        residual: match p.residual {
                            Some(r) if p0 + kc == p.k => r.as_ptr().add(c0 + r0 * p.c_row + j0),
                            _ => core::ptr::null(),
                        },
                        clip: p.act != Activation::None && p0 + kc == p.k,
                        low,
                        high,
                    };
                    s.vectorize(Rows { block, packed: pack_a, tall, rows: r1 - r0, cols });
                }
                p0 += kc;
                if p0 >= p.k {
                    break;
                }
            }
            j0 += chunk;
        }
    }
}

/// Whether chunks of B are packed ahead, row by row, and worked off panel by panel: where B does not fit the second-level cache
/// and each panel is used often. Else C is written row strip by row strip, in long rows.
fn is_tall(m: usize, n: usize, k: usize) -> bool {
    m >= 64 && k > 96 && n * k > 1 << 18
}

/// Rows `r0..r1` of A in strips of `TILE_ROWS`, each strip column by column; the last strip has only the rows that exist, in
/// the strips of 4, 2 and 1 that [`Block::run`] walks.
#[inline(always)]
unsafe fn pack_a_rows<S: Simd>(
    a: *const f32,
    row: usize,
    col: usize,
    r0: usize,
    r1: usize,
    p0: usize,
    k: usize,
    to: *mut f32,
) {
    let (mut r, mut to) = (r0, to);
    while r < r1 {
        let strip = strip_rows::<S>(r1 - r);
        for p in 0..k {
            for i in 0..strip {
                // SAFETY: promised by the caller: the elements of A exist and the scratch holds them all.
                unsafe { *to.add(p * strip + i) = *a.add((r + i) * row + (p0 + p) * col) };
            }
        }
        // SAFETY: as above.
        to = unsafe { to.add(k * strip) };
        r += strip;
    }
}

/// Rows of the next tile when `left` rows are left.
#[inline(always)]
fn strip_rows<S: Simd>(left: usize) -> usize {
    if left >= S::TILE_ROWS {
        S::TILE_ROWS
    } else if left >= 4 {
        4
    } else if left >= 2 {
        2
    } else {
        1
    }
}

/// One packed chunk of B times the rows of one task.
#[derive(Clone, Copy)]
struct Block {
    k: usize,
    a: *const f32,
    a_row: usize,
    /// The packed chunk.
    b: *mut f32,
    /// Where the chunk is to be packed from; null if it is packed.
    b_rows: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    load_c: bool,
    row_bias: *const f32,
    col_bias: *const f32,
    residual: *const f32,
    clip: bool,
    low: f32,
    high: f32,
}

/// A block and its size: an operation of its own, so that its many tiles are compiled once and not for each [`Source`].
struct Rows {
    block: Block,
    tall: bool,
    packed: bool,
    rows: usize,
    cols: usize,
}

impl Op for Rows {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: built by `Task::run` only, which vouches for the block.
        unsafe {
            if !self.tall {
                return self.block.run::<S>(s, self.packed, self.rows, self.cols);
            }
            let mut j = 0;
            while j < self.cols {
                let cols = (self.cols - j).min(S::LANES * S::TILE_VECTORS);
                self.block.cols_from(j).run::<S>(s, self.packed, self.rows, cols);
                j += cols;
            }
        }
    }
}

impl Block {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S, packed: bool, rows: usize, cols: usize) {
        // SAFETY: every tile lies inside the block, whose parts the caller vouches for.
        unsafe {
            let mut r = 0;
            while r < rows {
                let strip = strip_rows::<S>(rows - r);
                let at = self.rows_from(packed, r);
                let pack = r == 0 && !self.b_rows.is_null();
                match strip {
                    // Only a first strip of full height packs.
                    8 if S::TILE_ROWS == 8 && pack => at.strip_of::<S, 8, true>(s, packed, cols),
                    8 if S::TILE_ROWS == 8 => at.strip_of::<S, 8, false>(s, packed, cols),
                    4 if S::TILE_ROWS == 4 && pack => at.strip_of::<S, 4, true>(s, packed, cols),
                    4 => at.strip_of::<S, 4, false>(s, packed, cols),
                    2 => at.strip_of::<S, 2, false>(s, packed, cols),
                    _ => at.strip_of::<S, 1, false>(s, packed, cols),
                }
                r += strip;
            }
        }
    }

    #[inline(always)]
    unsafe fn strip_of<S: Simd, const R: usize, const PACK: bool>(&self, s: S, packed: bool, cols: usize) {
        // SAFETY: as for `run`.
        unsafe {
            match packed {
                true => self.strip::<S, R, true, PACK>(s, cols),
                false => self.strip::<S, R, false, PACK>(s, cols),
            }
        }
    }

    /// The block from column `j` on, the first of a panel.
    #[inline(always)]
    unsafe fn cols_from(&self, j: usize) -> Self {
        // SAFETY: the column exists.
        unsafe {
            Self {
                b: self.b.add(j * self.k),
                b_rows: offset(self.b_rows, j),
                c: self.c.add(j),
                col_bias: offset(self.col_bias, j),
                residual: offset(self.residual, j),
                ..*self
            }
        }
    }

    /// The block from row `r` on.
    #[inline(always)]
    unsafe fn rows_from(&self, packed: bool, r: usize) -> Self {
        // SAFETY: the row exists. The pointers that may be null are moved by wrapping arithmetic only when they are not.
        unsafe {
            Self {
                a: self.a.add(if packed { r * self.k } else { r * self.a_row }),
                c: self.c.add(r * self.c_row),
                row_bias: offset(self.row_bias, r),
                residual: offset(self.residual, r * self.c_row),
                ..*self
            }
        }
    }

    #[inline(always)]
    unsafe fn strip<S: Simd, const R: usize, const PACKED: bool, const PACK: bool>(&self, s: S, cols: usize) {
        let panel = S::LANES * S::TILE_VECTORS;
        let mut j = 0;
        // SAFETY: as for `run`.
        unsafe {
            while j < cols {
                let width = (cols - j).min(panel);
                match width.div_ceil(S::LANES) {
                    3 => self.tile::<S, R, 3, PACKED, PACK>(s, j, width),
                    2 => self.tile::<S, R, 2, PACKED, PACK>(s, j, width),
                    _ => self.tile::<S, R, 1, PACKED, PACK>(s, j, width),
                }
                j += panel;
            }
        }
    }

    /// `R` rows by `V` vectors of C, of which `width` columns exist. `PACKED` is about A; `PACK` takes B from where it lies and
    /// packs it.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize, const PACKED: bool, const PACK: bool>(
        &self,
        s: S,
        j: usize,
        width: usize,
    ) {
        // SAFETY: the caller vouches for the block; columns beyond `width` are neither read from nor written to C.
        unsafe {
            let last = width - (V - 1) * S::LANES;
            let full = last == S::LANES;
            let load = |p: *const f32, v: usize| {
                let p = p.add(v * S::LANES);
                if v + 1 < V || full { s.load_ptr(p) } else { s.load_lanes(p, 0, last) }
            };
            let mut acc = [[s.zero(); V]; R];
            let c = self.c.add(j);
            if !self.row_bias.is_null() {
                for r in 0..R {
                    acc[r] = [s.splat(*self.row_bias.add(r)); V];
                }
            } else if !self.col_bias.is_null() {
                for v in 0..V {
                    let bias = load(self.col_bias.add(j), v);
                    for r in 0..R {
                        acc[r][v] = bias;
                    }
                }
            }
            if self.load_c {
                for r in 0..R {
                    for v in 0..V {
                        acc[r][v] = s.add(acc[r][v], load(c.add(r * self.c_row), v));
                    }
                }
            }
            let mut a = self.a;
            let mut b = self.b.add(j * self.k);
            let mut from = self.b_rows.wrapping_add(j);
            for _ in 0..self.k {
                let mut x = [s.zero(); V];
                for v in 0..V {
                    if PACK {
                        x[v] = load(from, v);
                        s.store_ptr(b.add(v * S::LANES), x[v]);
                        s.prefetch(from.wrapping_add((V + v) * S::LANES));
                    } else {
                        x[v] = s.load_ptr(b.add(v * S::LANES));
                    }
                }
                from = from.wrapping_add(self.b_row);
                for r in 0..R {
                    let w = s.splat(*a.add(if PACKED { r } else { r * self.a_row }));
                    for v in 0..V {
                        acc[r][v] = s.fma(w, x[v], acc[r][v]);
                    }
                }
                a = a.add(if PACKED { R } else { 1 });
                b = b.add(V * S::LANES);
            }
            if self.clip {
                let (low, high) = (s.splat(self.low), s.splat(self.high));
                for r in 0..R {
                    for v in 0..V {
                        acc[r][v] = s.min(high, s.max(low, acc[r][v]));
                    }
                }
            }
            if !self.residual.is_null() {
                for r in 0..R {
                    for v in 0..V {
                        acc[r][v] = s.add(acc[r][v], load(self.residual.add(r * self.c_row + j), v));
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let c = c.add(r * self.c_row + v * S::LANES);
                    if v + 1 < V || full { s.store_ptr(c, acc[r][v]) } else { s.store_lanes(c, acc[r][v], last) }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn offset(p: *const f32, by: usize) -> *const f32 {
    // SAFETY: inside the slice the pointer comes from, promised by the caller.
    if p.is_null() { p } else { unsafe { p.add(by) } }
}
