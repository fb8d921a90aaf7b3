//! Nearest neighbours of the vectors of a map in a bank of vectors, and the gradient of their squared distances.
//!
//! In the whole bank, a matrix product gives `x·m − ½‖m‖²` for a block of the bank and a tile of positions at a time: the larger it
//! is, the smaller is `‖x − m‖²`. It cancels where vectors are long and close, so it only rules vectors out: each one that may be
//! nearer than the best so far, rounding of the product considered, is measured as `Σ (x − m)²`, and that decides. The winner
//! and its distance are therefore those of measuring every vector, bit for bit, and a vector that is in the bank has distance 0.
//! Where only vectors from cells around a position count, they are measured one by one.

use super::gemm::{Bias, Gemm, Matrix, gemm, gemm_scratch};
use crate::cpu::Cpu;
use crate::simd::sum::{dot, square_distance};
use crate::simd::{Op, Simd};
use crate::threads::Threads;
use core::ops::Range;

/// Positions of a tile: one panel of a product on every instruction set.
const TILE: usize = 48;
/// Vectors of the bank in one product.
const BLOCK: usize = 128;
/// Positions of a task where vectors are measured one by one.
const FEW: usize = 8;

/// Shape of a search: x `[n, d, h, w]`, bank `[m, d]`, a result for each position `[n, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearestShape {
    /// Batch.
    pub n: usize,
    /// Channels of x, length of each vector of the bank.
    pub d: usize,
    /// Rows of x.
    pub h: usize,
    /// Columns of x.
    pub w: usize,
    /// Vectors of the bank, at least one.
    pub m: usize,
    /// How many rows and columns away a vector's cell may be; `None`: the whole bank is searched.
    pub radius: Option<usize>,
}

impl NearestShape {
    /// Positions of all samples.
    const fn positions(&self) -> usize {
        self.n * self.h * self.w
    }

    fn check(&self, x: usize, bank: usize, cells: usize) {
        assert!(self.m > 0, "the bank has a vector");
        assert_eq!(x, self.positions() * self.d, "length of x");
        assert_eq!(bank, self.m * self.d, "length of the bank");
        assert!(self.radius.is_none() || cells == self.m, "a cell for each vector of the bank");
    }

    /// Where channel 0 of position `p` is in x; the others follow `h·w` apart.
    const fn base(&self, p: usize) -> usize {
        let plane = self.h * self.w;
        p / plane * plane * self.d + p % plane
    }

    /// Scratch of one thread.
    fn own_scratch(&self) -> usize {
        match self.radius {
            None => TILE * self.d + BLOCK * TILE + gemm_scratch(BLOCK, TILE, self.d, 1),
            Some(_) => self.d,
        }
    }
}

/// The nearest vector so far.
#[derive(Clone, Copy)]
struct Found {
    distance: f32,
    index: usize,
}

impl Found {
    const NONE: Found = Found { distance: f32::INFINITY, index: usize::MAX };
}

/// Elements of scratch that [`nearest`] and [`nearest_dx`] need.
pub fn nearest_scratch(s: &NearestShape, threads: usize) -> usize {
    let halves = if s.radius.is_none() { s.m } else { 0 };
    2 * s.positions() + halves + threads * s.own_scratch()
}

/// `y_p = min_m Σ (x_p − m)²`, or its square root, over the bank or over the vectors whose cell is at most `radius` rows and columns from p;
/// over the whole bank where there is none. y `[n, h, w]`.
///
/// `cells` holds `row · w + column` of each vector as u32 bits, ascending, or nothing without a radius. Cells in another order or outside
/// the map are safe, but vectors will be missed. A distance that is not finite never wins; where none is finite, that of the first
/// vector is the result.
pub fn nearest(
    cpu: Cpu<'_>,
    scratch: &mut [f32],
    s: &NearestShape,
    root: bool,
    x: &[f32],
    bank: &[f32],
    cells: &[f32],
    y: &mut [f32],
) {
    assert_eq!(y.len(), s.positions(), "length of y");
    let found = search(cpu, scratch, s, x, bank, cells);
    for (y, found) in y.iter_mut().zip(found.chunks_exact(2)) {
        *y = if root { libm::sqrtf(found[0]) } else { found[0] };
    }
}

/// Gradient of [`nearest`] by x: `gx_p = 2·g_p·(x_p − m)` for the nearest m, with the root `g_p·(x_p − m) / y_p` and 0 where y is 0.
/// Of equally near vectors the first counts. g `[n, h, w]`.
pub fn nearest_dx(
    cpu: Cpu<'_>,
    scratch: &mut [f32],
    s: &NearestShape,
    root: bool,
    g: &[f32],
    x: &[f32],
    bank: &[f32],
    cells: &[f32],
    gx: &mut [f32],
) {
    assert_eq!((g.len(), gx.len()), (s.positions(), x.len()), "lengths of g and gx");
    let found = search(cpu, scratch, s, x, bank, cells);
    for (found, g) in found.chunks_exact_mut(2).zip(g) {
        let distance = found[0];
        found[0] = match root {
            false => 2.0 * g,
            true if distance > 0.0 => g / libm::sqrtf(distance),
            true => 0.0,
        };
    }
    let (found, plane) = (&*found, s.h * s.w);
    cpu.threads().chunks_mut(gx, plane.max(1), &|k, _, gx| {
        let (x, found) = (&x[k * plane..][..plane], &found[2 * (k / s.d) * plane..][..2 * plane]);
        for ((gx, x), found) in gx.iter_mut().zip(x).zip(found.chunks_exact(2)) {
            // Where the deadline has passed the index may be anything.
            let index = (found[1].to_bits() as usize).min(s.m - 1);
            *gx = found[0] * (x - bank[index * s.d + k % s.d]);
        }
    });
}

/// The squared distance of each position and the index of its winner, as u32 bits.
fn search<'s>(
    cpu: Cpu<'_>,
    scratch: &'s mut [f32],
    s: &NearestShape,
    x: &[f32],
    bank: &[f32],
    cells: &[f32],
) -> &'s mut [f32] {
    s.check(x.len(), bank.len(), cells.len());
    let (found, scratch) = scratch.split_at_mut(2 * s.positions());
    match s.radius {
        None => everywhere(cpu, scratch, s, x, bank, found),
        Some(radius) => around(cpu, scratch, s, radius, x, bank, cells, found),
    }
    found
}

/// Writes what was found for a position, `x`; the first vector where no distance is finite.
fn keep(cpu: Cpu<'_>, x: &[f32], bank: &[f32], best: Found, out: &mut [f32]) {
    let Found { distance, index } = if best.index == usize::MAX {
        Found { distance: cpu.isa().run(Measure(x, &bank[..x.len()])), index: 0 }
    } else {
        best
    };
    out.copy_from_slice(&[distance, f32::from_bits(index as u32)]);
}

/// Searches vectors from cells around each position.
fn around(
    cpu: Cpu<'_>,
    scratch: &mut [f32],
    s: &NearestShape,
    radius: usize,
    x: &[f32],
    bank: &[f32],
    cells: &[f32],
    found: &mut [f32],
) {
    let NearestShape { d, h, w, m, .. } = *s;
    let behind = |cell: usize| cells.partition_point(|c| (c.to_bits() as usize) < cell);
    cpu.threads().chunks_mut_with(found, 2 * FEW, scratch, &|task, _, found, own| {
        let own = &mut own[..d];
        for (k, out) in found.chunks_exact_mut(2).enumerate() {
            if cpu.threads().deadline().passed() {
                return;
            }
            let p = task * FEW + k;
            let column = x[s.base(p)..].iter().step_by(h * w);
            own.iter_mut().zip(column).for_each(|(own, x)| *own = *x);
            let (row, column, mut best) = (p / w % h, p % w, Found::NONE);
            for row in row.saturating_sub(radius)..=(row + radius).min(h - 1) {
                // Cells ascend, so those of a row are neighbours.
                let first = behind(row * w + column.saturating_sub(radius));
                let range = first..behind(row * w + (column + radius).min(w - 1) + 1).max(first);
                cpu.isa().run(MeasureAll { x: own, bank, range, best: &mut best });
            }
            if best.index == usize::MAX {
                cpu.isa().run(MeasureAll { x: own, bank, range: 0..m, best: &mut best });
            }
            keep(cpu, own, bank, best, out);
        }
    });
}

/// Searches the whole bank for each position.
fn everywhere(cpu: Cpu<'_>, scratch: &mut [f32], s: &NearestShape, x: &[f32], bank: &[f32], found: &mut [f32]) {
    let NearestShape { d, h, w, m, .. } = *s;
    let (halves, scratch) = scratch.split_at_mut(m);
    cpu.threads().chunks_mut(halves, BLOCK, &|block, _, halves| {
        for (half, m) in halves.iter_mut().zip(bank[block * BLOCK * d..].chunks_exact(d)) {
            *half = -0.5 * cpu.isa().run(Dot(m, m));
        }
    });
    let halves = &*halves;
    let longest = -2.0 * halves.iter().fold(0.0, |least, half| if *half < least { *half } else { least });
    // Where one is not finite nothing can be ruled out.
    let longest = if halves.iter().all(|half| half.is_finite()) { longest } else { f32::NAN };
    cpu.threads().chunks_mut_with(found, 2 * TILE, scratch, &|task, _, found, own| {
        let (serial, count) = (Threads::serial(), found.len() / 2);
        let one = Cpu::with_isa(cpu.isa(), &serial);
        let (columns, own) = own.split_at_mut(TILE * d);
        let (scores, own) = own.split_at_mut(BLOCK * TILE);
        for k in 0..count {
            let column = x[s.base(task * TILE + k)..].iter().step_by(h * w);
            columns[k * d..][..d].iter_mut().zip(column).for_each(|(to, x)| *to = *x);
        }
        let columns = &columns[..count * d];
        let mut tile =
            Tile { bars: [f32::NAN; TILE], squares: [0.0; TILE], slacks: [0.0; TILE], best: [Found::NONE; TILE] };
        for (k, column) in columns.chunks_exact(d).enumerate() {
            tile.squares[k] = cpu.isa().run(Dot(column, column));
            tile.slacks[k] = slack(d, tile.squares[k] + longest);
        }
        for first in (0..m).step_by(BLOCK) {
            if cpu.threads().deadline().passed() {
                return;
            }
            let (rows, bank) = (BLOCK.min(m - first), &bank[first * d..]);
            let (a, b) = (Matrix::rows(bank, d), Matrix::transposed(columns, d));
            let bias = Bias::Rows(&halves[first..][..rows]);
            gemm(one, own, &Gemm { bias, c_row: TILE, ..Gemm::new(rows, count, d, a, b) }, scores);
            cpu.isa().run(Improve { tile: &mut tile, d, first, columns, bank, scores: &scores[..rows * TILE] });
        }
        for (k, out) in found.chunks_exact_mut(2).enumerate() {
            keep(cpu, &columns[k * d..][..d], bank, tile.best[k], out);
        }
    });
}

/// What rounding may make of `‖x‖² − 2·(x·m − ½‖m‖²)` and of `Σ (x − m)²` together, where `‖x‖² + ‖m‖²` is at most `squares`; NaN where that is
/// not finite.
///
/// With γ = (d + 2)·2⁻²⁴ each of the three sums is off by at most γ times the sizes of its terms (Higham, "Accuracy and stability
/// of numerical algorithms", 2002, chapter 3), together less than 6γ·squares; two more cover what is rounded here and in the bar.
fn slack(d: usize, squares: f32) -> f32 {
    let slack = 4.0 * f32::EPSILON * (d + 4) as f32 * squares + f32::MIN_POSITIVE;
    if slack.is_finite() { slack } else { f32::NAN }
}

/// A tile of positions during the search.
struct Tile {
    /// A vector whose `x·m − ½‖m‖²` is not above this is no nearer than the best; NaN rules out nothing.
    bars: [f32; TILE],
    /// `‖x‖²`
    squares: [f32; TILE],
    slacks: [f32; TILE],
    best: [Found; TILE],
}

/// Goes through the products of a tile with a block of the bank, whose first vector has number `first`.
struct Improve<'a> {
    tile: &'a mut Tile,
    d: usize,
    first: usize,
    /// The tile's vectors, one behind the other.
    columns: &'a [f32],
    /// The bank from the block on.
    bank: &'a [f32],
    /// A row for each vector of the block, [`TILE`] long.
    scores: &'a [f32],
}

impl Op for Improve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Improve { tile, d, first, columns, bank, scores } = self;
        for from in (0..columns.len() / d).step_by(S::LANES) {
            // Lanes behind the last position hold anything.
            let mut top = s.splat(f32::NEG_INFINITY);
            for row in scores.chunks_exact(TILE) {
                top = s.max(s.load(&row[from..]), top);
            }
            let top = s.to_array(top);
            for (k, x) in columns.chunks_exact(d).enumerate().skip(from).take(S::LANES) {
                if top[k - from] <= tile.bars[k] {
                    continue;
                }
                for (i, row) in scores.chunks_exact(TILE).enumerate() {
                    if row[k] <= tile.bars[k] {
                        continue;
                    }
                    let distance = square_distance(s, x, &bank[i * d..][..d]);
                    if distance < tile.best[k].distance {
                        tile.best[k] = Found { distance, index: first + i };
                        tile.bars[k] = 0.5 * (tile.squares[k] - distance - tile.slacks[k]);
                    }
                }
            }
        }
    }
}

/// `Σ (x − m)²`
struct Measure<'a>(&'a [f32], &'a [f32]);

impl Op for Measure<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        square_distance(s, self.0, self.1)
    }
}

/// Measures vectors one by one; the first of the nearest wins.
struct MeasureAll<'a> {
    x: &'a [f32],
    bank: &'a [f32],
    range: Range<usize>,
    best: &'a mut Found,
}

impl Op for MeasureAll<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let d = self.x.len();
        for index in self.range {
            let distance = square_distance(s, self.x, &self.bank[index * d..][..d]);
            if distance < self.best.distance {
                *self.best = Found { distance, index };
            }
        }
    }
}

/// `Σ x·y`
struct Dot<'a>(&'a [f32], &'a [f32]);

impl Op for Dot<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        dot(s, self.0, self.1)
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn shape(n: usize, d: usize, h: usize, w: usize, m: usize, radius: Option<usize>) -> NearestShape {
        NearestShape { n, d, h, w, m, radius }
    }

    /// Whole banks around the edges of tiles, blocks and vectors.
    fn cases() -> Vec<NearestShape> {
        let mut cases = Vec::new();
        for d in [1, 3, 8, 17, 64, 200] {
            for (n, h, w) in [(1, 1, 1), (3, 5, 3), (1, 7, 7), (2, 4, 6), (1, 10, 15)] {
                cases.extend([1, 2, 7, 127, 128, 129, 300].map(|m| shape(n, d, h, w, m, None)));
            }
        }
        cases
    }

    /// A cell for each vector, ascending, as bits.
    fn cells(s: &NearestShape) -> Vec<f32> {
        (0..s.m).map(|i| f32::from_bits((i * s.h * s.w / s.m) as u32)).collect()
    }

    /// The definition, in f64: distance and number of the nearest of each position.
    fn reference(s: &NearestShape, x: &[f64], bank: &[f64], cells: &[f32]) -> Vec<(f64, usize)> {
        let (plane, mut found) = (s.h * s.w, Vec::new());
        for p in 0..s.n * plane {
            let distance = |m: usize| -> f64 {
                (0..s.d).map(|c| x[s.base(p) + c * plane] - bank[m * s.d + c]).map(|v| v * v).sum()
            };
            let is_near = |m: &usize| {
                let cell = cells.get(*m).map_or(0, |c| c.to_bits() as usize);
                let off = (p % plane / s.w).abs_diff(cell / s.w).max((p % s.w).abs_diff(cell % s.w));
                s.radius.is_none_or(|radius| off <= radius)
            };
            let mut near: Vec<usize> = (0..s.m).filter(is_near).collect();
            if near.is_empty() {
                near = (0..s.m).collect();
            }
            let all = near.into_iter().map(|m| (distance(m), m));
            found.push(all.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap());
        }
        found
    }

    fn run(cpu: Cpu<'_>, s: &NearestShape, root: bool, x: &[f32], bank: &[f32], cells: &[f32]) -> Vec<f32> {
        let mut scratch = vec![f32::NAN; nearest_scratch(s, cpu.threads().count())];
        let mut y = vec![f32::NAN; s.positions()];
        nearest(cpu, &mut scratch, s, root, x, bank, cells, &mut y);
        y
    }

    /// Distances and winners as they were found.
    fn bits(cpu: Cpu<'_>, s: &NearestShape, x: &[f32], bank: &[f32], cells: &[f32]) -> Vec<u32> {
        let mut scratch = vec![f32::NAN; nearest_scratch(s, cpu.threads().count())];
        search(cpu, &mut scratch, s, x, bank, cells).iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn matches_the_definition() {
        let around = [0, 1, 2, 9].map(|r| shape(2, 5, 6, 7, 60, Some(r)));
        // Fewer vectors than cells: some positions have none.
        let sparse = [0, 1].map(|r| shape(1, 3, 9, 5, 4, Some(r)));
        for s in cases().into_iter().chain(around).chain(sparse) {
            let (x, bank) = (numbers(1, s.positions() * s.d), numbers(2, s.m * s.d));
            let cells = if s.radius.is_some() { cells(&s) } else { Vec::new() };
            let want = reference(&s, &wide(&x), &wide(&bank), &cells);
            let name = std::format!("{s:?}");
            let squared: Vec<f64> = want.iter().map(|w| w.0).collect();
            each_cpu(|cpu| run(cpu, &s, false, &x, &bank, &cells), |y| close(&name, y, &squared, 1e-6));
            let roots: Vec<f64> = squared.iter().map(|w| w.sqrt()).collect();
            each_cpu(|cpu| run(cpu, &s, true, &x, &bank, &cells), |y| close(&name, y, &roots, 1e-6));
        }
    }

    /// The product only rules out: with a radius that reaches everywhere each vector is measured, and nothing may differ.
    #[test]
    fn the_product_changes_no_bit() {
        let mut cases: Vec<_> = cases().into_iter().map(|s| (s, 0.0, 1.0)).collect();
        // Long vectors that are close to each other, where the product cancels; sizes where it overflows or vanishes.
        for (offset, scale) in [(1000.0, 1.0), (3e4, 1e-2), (0.0, 1e-30), (0.0, 1e18), (1e19, 1.0), (0.0, 1e25)] {
            cases.extend([1, 64, 300].map(|m| (shape(2, 40, 5, 9, m, None), offset, scale)));
        }
        for (s, offset, scale) in cases {
            let make = |seed, len| numbers(seed, len).iter().map(|v| offset + scale * v).collect::<Vec<f32>>();
            let (mut x, bank) = (make(1, s.positions() * s.d), make(2, s.m * s.d));
            // One position is a vector of the bank, one is no number.
            let plane = s.h * s.w;
            (0..s.d).for_each(|c| x[s.base(plane / 2) + c * plane] = bank[(s.m - 1) * s.d + c]);
            if plane > 1 {
                x[0] = f32::NAN;
            }
            let all = NearestShape { radius: Some(usize::MAX / 4), ..s };
            each_cpu(
                |cpu| {
                    let got = bits(cpu, &s, &x, &bank, &[]);
                    assert_eq!(got, bits(cpu, &all, &x, &bank, &cells(&s)), "{s:?} {offset} {scale}");
                    if scale < 1e20 {
                        assert_eq!(f32::from_bits(got[2 * (plane / 2)]), 0.0, "{s:?}: in the bank");
                    }
                    got.into_iter().map(f32::from_bits).collect()
                },
                |_| {},
            );
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for radius in [None, Some(1)] {
            let s = shape(2, 5, 4, 3, 30, radius);
            let (x, bank, g) = (numbers(1, s.positions() * s.d), numbers(2, s.m * s.d), numbers(3, s.positions()));
            let cells = if radius.is_some() { cells(&s) } else { Vec::new() };
            for root in [false, true] {
                let want = numerical(&x, &g, |x| {
                    let found = reference(&s, x, &wide(&bank), &cells);
                    found.iter().map(|f| if root { f.0.sqrt() } else { f.0 }).collect()
                });
                each_cpu(
                    |cpu| {
                        let mut scratch = vec![f32::NAN; nearest_scratch(&s, cpu.threads().count())];
                        let mut gx = vec![f32::NAN; x.len()];
                        nearest_dx(cpu, &mut scratch, &s, root, &g, &x, &bank, &cells, &mut gx);
                        gx
                    },
                    |gx| close("gx", gx, &want, 1e-5),
                );
            }
        }
    }

    /// Cells are data: in any order, with any value, something of the bank is found.
    #[test]
    fn any_cells_are_safe() {
        let s = shape(1, 3, 4, 5, 9, Some(1));
        let (x, bank) = (numbers(1, s.positions() * s.d), numbers(2, s.m * s.d));
        let least = run(Cpu::portable(&Threads::serial()), &NearestShape { radius: None, ..s }, false, &x, &bank, &[]);
        for cells in [
            [0, u32::MAX, 7, 7, 3, 1 << 31, 12, 0, 5],
            [u32::MAX; 9],
            [20, 21, 22, 23, 24, 25, 26, 27, 28],
            [19, 18, 17, 9, 8, 7, 2, 1, 0],
        ] {
            let cells = cells.map(f32::from_bits);
            each_cpu(
                |cpu| run(cpu, &s, false, &x, &bank, &cells),
                |y| assert!(y.iter().zip(&least).all(|(y, least)| y >= least && y.is_finite())),
            );
        }
    }
}
