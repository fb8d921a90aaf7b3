//! Matrix products of fully connected layers: a moderate number of rows against weights that are read once.
//!
//! [`product`](super::product) suits images, where one factor is small and stays near. Here the weights come from far memory and a
//! batch of vectors is all the work they get, so this file is about the way of the weights:
//! - a block of [`BLOCK_K`] rows by one panel of columns is packed, used for the whole batch while it stays in the first-level
//!   cache, and meanwhile the next block is fetched ahead, one cache line every four steps of the inner loop;
//! - many small products (the deep levels of a dense flow have 512) share a task;
//! - a gradient by the weights has its rows cut into tasks, so that each transposes its own part of A only.
//!
//! Every element of C is one chain of multiply-adds in ascending `p`, starting from the bias, whatever the blocking.

use super::pack::{pack_columns, pack_rows};
use super::{MAX_LANES, Op, Simd};
use crate::cpu::Cpu;
use crate::deadline::Deadline;
use crate::kernels::Activation;
use crate::threads::SharedMut;

/// Rows of B in one block: a panel of 48 columns takes 24 KiB.
const BLOCK_K: usize = 128;
/// Columns of every instruction set's tile divide this.
const PANEL: usize = 48;
/// Rows of every instruction set's tile divide this.
const ROWS: usize = 8;
/// Multiply-adds of a task of several small products, and elements that it packs.
const TASK: usize = 1 << 18;
const PACKED: usize = 1 << 16;
/// Rows of A that one task packs.
const PACKED_ROWS: usize = 192;
/// Elements of a cache line.
const LINE: usize = 16;

/// One factor of every product: that of set `i` begins at `i · set`. Its rows are `stride` apart, or its columns if `transposed`.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    pub data: &'a [f32],
    pub set: usize,
    pub stride: usize,
    pub transposed: bool,
}

impl Factor<'_> {
    fn check(&self, sets: usize, rows: usize, cols: usize) {
        let (long, short) = if self.transposed { (cols, rows) } else { (rows, cols) };
        let end = (sets - 1) * self.set + (long.max(1) - 1) * self.stride + short;
        assert!(long == 0 || short == 0 || end <= self.data.len(), "the factor lies in its slice");
    }
}

/// `C_i = act(A_i · B_i + bias_i)` for every set `i`: C is `m×n`, A `m×k`, B `k×n`.
pub(crate) struct Dense<'a> {
    pub sets: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Factor<'a>,
    pub b: Factor<'a>,
    /// `n` numbers for each set.
    pub bias: Option<&'a [f32]>,
    pub act: Activation,
    /// Distances between the C of neighbouring sets, and between rows of C.
    pub c_set: usize,
    pub c_row: usize,
}

/// Elements of scratch for `threads` threads.
pub(crate) fn scratch(m: usize, k: usize, a_transposed: bool, threads: usize) -> usize {
    let a = if a_transposed { m.next_multiple_of(ROWS).min(PACKED_ROWS) } else { 0 };
    threads * ((k.min(BLOCK_K) * (a + PANEL)).max(PACKED) + MAX_LANES)
}

impl Dense<'_> {
    /// Products that share a task: more than one only if all of them fit, packed, into [`PACKED`] elements.
    fn sets_per_task(&self) -> usize {
        let Self { m, n, k, .. } = *self;
        let one = k * (n.next_multiple_of(MAX_LANES) + if self.a.transposed { m.next_multiple_of(ROWS) } else { 0 });
        // Narrow enough to be one panel of every instruction set.
        if k > BLOCK_K || n > MAX_LANES * 3 || m > PACKED_ROWS {
            return 1;
        }
        (TASK / (m * n * k).max(1)).min(PACKED / one.max(1)).clamp(1, self.sets)
    }
}

/// Computes every product into `c`; elements between the rows of C are left alone.
pub(crate) fn run(cpu: Cpu, scratch: &mut [f32], d: &Dense, c: &mut [f32]) {
    if d.sets == 0 || d.m == 0 || d.n == 0 {
        return;
    }
    let threads = cpu.threads().count();
    d.a.check(d.sets, d.m, d.k);
    d.b.check(d.sets, d.k, d.n);
    assert!(d.c_row >= d.n && (d.sets - 1) * d.c_set + (d.m - 1) * d.c_row + d.n <= c.len(), "C lies in its slice");
    // Tasks write C at the same time: sets must not meet, beside each other in a row or below each other.
    assert!(
        d.sets == 1
            || d.c_set >= (d.m - 1) * d.c_row + d.n
            || (d.c_set >= d.n && d.sets * d.c_set <= d.c_row + d.c_set - d.n)
    );
    assert!(d.bias.is_none_or(|b| b.len() >= d.sets * d.n), "a bias for each column");
    assert!(scratch.len() >= self::scratch(d.m, d.k, d.a.transposed, threads), "scratch");
    let sets = d.sets_per_task();
    // A few tasks a thread: where sets are few and large, parts of one.
    let wanted = if threads == 1 || sets > 1 { 1 } else { (4 * threads).div_ceil(d.sets) };
    let (len, unit) = if d.a.transposed { (d.m, ROWS) } else { (d.n, PANEL) };
    let part = len.div_ceil(wanted).next_multiple_of(unit).min(if d.a.transposed { PACKED_ROWS } else { usize::MAX });
    let parts = len.div_ceil(part);
    let c = SharedMut::new(c);
    cpu.threads().run_with(d.sets.div_ceil(sets) * parts, scratch, &|task, _, scratch| {
        let (first, from) = (task / parts * sets, task % parts * part);
        let range = (from, len.min(from + part));
        let (rows, cols) = if d.a.transposed { (range, (0, d.n)) } else { ((0, d.m), range) };
        cpu.isa().run(Task {
            d,
            c,
            sets: (first, d.sets.min(first + sets)),
            rows,
            cols,
            scratch,
            until: cpu.threads().deadline(),
        });
    });
}

struct Task<'a, 'c> {
    d: &'a Dense<'a>,
    c: SharedMut<'c>,
    sets: (usize, usize),
    rows: (usize, usize),
    cols: (usize, usize),
    scratch: &'a mut [f32],
    until: &'a Deadline,
}

impl Op for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let d = self.d;
        let skip = self.scratch.as_ptr().align_offset(64).min(MAX_LANES);
        let (first, sets) = (self.sets.0, self.sets.1 - self.sets.0);
        let widest = d.n.next_multiple_of(MAX_LANES).min(PANEL);
        let (b_part, a_part) = self.scratch[skip..].split_at_mut(sets * d.k.min(BLOCK_K) * widest);
        let (b_part, a_part) = (b_part.as_mut_ptr(), a_part.as_mut_ptr());
        let ((r0, r1), (j0, j1)) = (self.rows, self.cols);
        let panel = S::LANES * S::TILE_VECTORS;
        let (panels, depth) = ((j1 - j0).div_ceil(panel), d.k.div_ceil(BLOCK_K).max(1));
        let (low, high) = d.act.clip_range();
        // SAFETY: `run` checked that the factors, the bias and C hold what the sizes say and that the scratch is as large as
        // `scratch` says; the rows and columns of C of this task are nobody else's.
        unsafe {
            let a = d.a.data.as_ptr().add(first * d.a.set);
            let b = d.b.data.as_ptr().add(first * d.b.set);
            let c = self.c.as_ptr().add(first * d.c_set);
            let blocks = panels * depth;
            for i in 0..blocks {
                // One thread may have one task, which may take milliseconds.
                if self.until.passed() {
                    return;
                }
                // All panels of one block of p where A is packed for it, all p of one panel otherwise.
                let (p, j) = if d.a.transposed { (i / panels, i % panels) } else { (i % depth, i / depth) };
                let (p, j) = (p * BLOCK_K, j0 + j * panel);
                let (kc, width) = ((d.k - p).min(BLOCK_K), (j1 - j).min(panel));
                let padded = width.next_multiple_of(S::LANES);
                let (a_size, b_size) = (kc * (r1 - r0), kc * padded);
                let mut ahead = Ahead::none(b);
                if d.a.transposed {
                    // Row by row across the sets, as they lie in memory.
                    let last = width - (padded - S::LANES);
                    for q in 0..kc {
                        let from = b.add((p + q) * d.b.stride + j);
                        for set in 0..sets {
                            let (from, to) = (from.add(set * d.b.set), b_part.add(set * b_size + q * padded));
                            let mut v = 0;
                            while v + S::LANES < padded {
                                s.store_ptr(to.add(v), s.load_ptr(from.add(v)));
                                v += S::LANES;
                            }
                            s.store_ptr(to.add(v), s.load_lanes(from.add(v), 0, last));
                        }
                        if i % panels == 0 {
                            let from = a.add((p + q) * d.a.stride + r0);
                            for set in 0..sets {
                                pack_a::<S>(from.add(set * d.a.set), r1 - r0, kc, q, a_part.add(set * a_size));
                            }
                        }
                    }
                } else {
                    let next = match (i + 1) % depth {
                        0 if i + 1 < blocks => Some((0, j + panel)),
                        q if q > 0 => Some((q * BLOCK_K, j)),
                        _ => None,
                    };
                    for set in 0..sets {
                        let (b, to) = (b.add(set * d.b.set), b_part.add(set * b_size));
                        if d.b.transposed {
                            pack_columns(s, b.add(j * d.b.stride + p), d.b.stride, kc, width, to, padded);
                        } else {
                            pack_rows(s, b.add(p * d.b.stride + j), d.b.stride, kc, width, to, padded);
                        }
                    }
                    if let Some((p, j)) = next {
                        let (kc, width) = ((d.k - p).min(BLOCK_K), (j1 - j).min(panel));
                        ahead = match d.b.transposed {
                            true => Ahead::new(b.add(j * d.b.stride + p), width, kc, d.b.stride),
                            false => Ahead::new(b.add(p * d.b.stride + j), kc, width, d.b.stride),
                        };
                    }
                }
                let mut block = Block {
                    k: kc,
                    a: a_part,
                    a_row: d.a.stride,
                    b: b_part,
                    c,
                    c_row: d.c_row,
                    width,
                    load_c: p > 0,
                    bias: core::ptr::null(),
                    clip: (d.act != Activation::None && p + kc == d.k).then_some((low, high)),
                    ahead,
                };
                if d.a.transposed {
                    for set in 0..sets {
                        block.b = b_part.add(set * b_size);
                        let mut r = 0;
                        while r < r1 - r0 {
                            let strip = strip_rows::<S>(r1 - r0 - r);
                            block.a = a_part.add(set * a_size + r * kc);
                            block.c = c.add(set * d.c_set + (r0 + r) * d.c_row + j);
                            block.strip::<S, true>(s, strip, padded / S::LANES);
                            r += strip;
                        }
                    }
                } else {
                    let mut r = r0;
                    while r < r1 {
                        let strip = strip_rows::<S>(r1 - r);
                        for set in 0..sets {
                            block.b = b_part.add(set * b_size);
                            block.a = a.add(set * d.a.set + r * d.a.stride + p);
                            block.c = c.add(set * d.c_set + r * d.c_row + j);
                            if let Some(bias) = d.bias
                                && p == 0
                            {
                                block.bias = bias.as_ptr().add((first + set) * d.n + j);
                            }
                            block.strip::<S, false>(s, strip, padded / S::LANES);
                        }
                        r += strip;
                    }
                }
            }
        }
    }
}

/// Rows of the next tile when `left` rows are left.
#[inline(always)]
fn strip_rows<S: Simd>(left: usize) -> usize {
    match left {
        left if left >= S::TILE_ROWS => S::TILE_ROWS,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// Puts column `p` of `rows` rows of A, which lie side by side, to its place among `k` columns in strips.
#[inline(always)]
unsafe fn pack_a<S: Simd>(from: *const f32, rows: usize, k: usize, p: usize, to: *mut f32) {
    let mut r = 0;
    while r + S::TILE_ROWS <= rows {
        // SAFETY: promised by the caller. The length is a constant.
        unsafe { core::ptr::copy_nonoverlapping(from.add(r), to.add(r * k + p * S::TILE_ROWS), S::TILE_ROWS) };
        r += S::TILE_ROWS;
    }
    while r < rows {
        let strip = strip_rows::<S>(rows - r);
        // SAFETY: promised by the caller.
        unsafe {
            let (from, to) = (from.add(r), to.add(r * k + p * strip));
            match strip {
                4 => core::ptr::copy_nonoverlapping(from, to, 4),
                2 => core::ptr::copy_nonoverlapping(from, to, 2),
                _ => *to = *from,
            }
        }
        r += strip;
    }
}

/// Cache lines to fetch ahead: a rectangle in memory.
#[derive(Clone, Copy)]
struct Ahead {
    at: *const f32,
    /// Lines of a row, and how many of this one are left.
    lines: usize,
    column: usize,
    /// From the last line of a row to the first of the next.
    skip: usize,
    left: usize,
}

impl Ahead {
    fn none(at: *const f32) -> Self {
        Self { at, lines: 0, column: 0, skip: 0, left: 0 }
    }

    fn new(at: *const f32, rows: usize, cols: usize, stride: usize) -> Self {
        let lines = cols.div_ceil(LINE);
        Self { at, lines, column: lines, skip: stride.wrapping_sub((lines - 1) * LINE), left: rows * lines }
    }

    #[inline(always)]
    fn fetch<S: Simd>(&mut self, s: S) {
        if self.left > 0 {
            self.left -= 1;
            s.prefetch_second(self.at);
            self.column -= 1;
            let last = self.column == 0;
            self.at = self.at.wrapping_add(if last { self.skip } else { LINE });
            self.column = if last { self.lines } else { self.column };
        }
    }
}

/// Rows of A times one packed panel of B.
struct Block {
    k: usize,
    a: *const f32,
    a_row: usize,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    width: usize,
    load_c: bool,
    bias: *const f32,
    clip: Option<(f32, f32)>,
    ahead: Ahead,
}

impl Block {
    /// The tile of so many rows and vectors.
    #[inline(always)]
    unsafe fn strip<S: Simd, const PACKED: bool>(&mut self, s: S, rows: usize, vectors: usize) {
        // SAFETY: the caller vouches for the block.
        unsafe {
            match (rows, vectors) {
                (8, 3) => self.tile::<S, 8, 3, PACKED>(s),
                (8, 2) => self.tile::<S, 8, 2, PACKED>(s),
                (8, _) => self.tile::<S, 8, 1, PACKED>(s),
                (4, 3) => self.tile::<S, 4, 3, PACKED>(s),
                (4, 2) => self.tile::<S, 4, 2, PACKED>(s),
                (4, _) => self.tile::<S, 4, 1, PACKED>(s),
                (2, 3) => self.tile::<S, 2, 3, PACKED>(s),
                (2, 2) => self.tile::<S, 2, 2, PACKED>(s),
                (2, _) => self.tile::<S, 2, 1, PACKED>(s),
                (_, 3) => self.tile::<S, 1, 3, PACKED>(s),
                (_, 2) => self.tile::<S, 1, 2, PACKED>(s),
                (_, _) => self.tile::<S, 1, 1, PACKED>(s),
            }
        }
    }

    /// `R` rows by `V` vectors of C, of which `width` columns exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize, const PACKED: bool>(&mut self, s: S) {
        let last = self.width - (V - 1) * S::LANES;
        let (c, c_row) = (self.c, self.c_row);
        let mut acc = [[s.zero(); V]; R];
        // SAFETY: the caller vouches for the block; columns beyond `width` are neither read from nor written to C.
        unsafe {
            if self.load_c {
                for r in 0..R {
                    for v in 0..V {
                        acc[r][v] = load::<S, V>(s, c.add(r * c_row), v, last);
                    }
                }
            } else if !self.bias.is_null() {
                for v in 0..V {
                    let bias = load::<S, V>(s, self.bias, v, last);
                    for r in 0..R {
                        acc[r][v] = bias;
                    }
                }
            }
            let (mut a, mut b) = (self.a, self.b);
            for p in 0..self.k {
                if p % 4 == 0 {
                    self.ahead.fetch(s);
                }
                let mut x = [s.zero(); V];
                for v in 0..V {
                    x[v] = s.load_ptr(b.add(v * S::LANES));
                }
                for r in 0..R {
                    let w = s.splat(*a.add(if PACKED { r } else { r * self.a_row }));
                    for v in 0..V {
                        acc[r][v] = s.fma(w, x[v], acc[r][v]);
                    }
                }
                a = a.add(if PACKED { R } else { 1 });
                b = b.add(V * S::LANES);
            }
            if let Some((low, high)) = self.clip {
                let (low, high) = (s.splat(low), s.splat(high));
                for r in 0..R {
                    for v in 0..V {
                        acc[r][v] = s.min(high, s.max(low, acc[r][v]));
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let c = c.add(r * c_row + v * S::LANES);
                    if v + 1 < V || last == S::LANES {
                        s.store_ptr(c, acc[r][v])
                    } else {
                        s.store_lanes(c, acc[r][v], last)
                    }
                }
            }
        }
    }
}

/// Vector `v` of `V` from `p` on; the last one has `last` lanes.
#[inline(always)]
unsafe fn load<S: Simd, const V: usize>(s: S, p: *const f32, v: usize, last: usize) -> S::V {
    // SAFETY: promised by the caller.
    unsafe {
        let p = p.add(v * S::LANES);
        if v + 1 < V || last == S::LANES { s.load_ptr(p) } else { s.load_lanes(p, 0, last) }
    }
}
