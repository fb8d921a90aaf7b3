//! Matrix product `C = act(A·B + bias) + residual`, any of A and B stored by rows or by columns.
//!
//! Element `(i, p)` of A is `a[i·row + p·col]` with the two strides of [`Matrix`]; C is stored by rows. Each element of C is one
//! chain of multiply-adds in ascending order of `p`, whatever the blocking.

use super::Activation;
use crate::cpu::Cpu;
use crate::simd::pack::MatrixSource;
use crate::simd::product::{self, Product};

/// A matrix inside a slice: element `(i, j)` is `data[i·row + j·col]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Distance between neighbours in a column.
    pub row: usize,
    /// Distance between neighbours in a row.
    pub col: usize,
}

impl<'a> Matrix<'a> {
    /// Stored row by row, `row` elements apart.
    pub fn rows(data: &'a [f32], row: usize) -> Self {
        Self { data, row, col: 1 }
    }

    /// The transpose of a matrix that is stored row by row, `row` elements apart.
    pub fn transposed(data: &'a [f32], row: usize) -> Self {
        Self { data, row: 1, col: row }
    }

    pub(crate) fn check(&self, rows: usize, cols: usize) {
        assert!(rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len());
    }
}

/// What is added to every row or column of a product.
#[derive(Clone, Copy, Default)]
pub enum Bias<'a> {
    /// Nothing.
    #[default]
    None,
    /// One value for each row of C.
    Rows(&'a [f32]),
    /// One value for each column of C.
    Cols(&'a [f32]),
}

/// One product: C is `m×n`, A is `m×k`, B is `k×n`.
#[derive(Clone, Copy)]
pub struct Gemm<'a> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// The left factor.
    pub a: Matrix<'a>,
    /// The right factor.
    pub b: Matrix<'a>,
    /// Added before the activation.
    pub bias: Bias<'a>,
    /// Applied to the sum.
    pub act: Activation,
    /// Added after the activation; laid out like C.
    pub residual: Option<&'a [f32]>,
    /// Whether the sum starts from what C holds instead of 0.
    pub accumulate: bool,
    /// Distance between the rows of C.
    pub c_row: usize,
}

impl<'a> Gemm<'a> {
    /// The plain product, C stored densely.
    pub fn new(m: usize, n: usize, k: usize, a: Matrix<'a>, b: Matrix<'a>) -> Self {
        let (bias, act) = (Bias::None, Activation::None);
        Self { m, n, k, a, b, bias, act, residual: None, accumulate: false, c_row: n }
    }

    pub(crate) fn check(&self, c_len: usize) {
        self.a.check(self.m, self.k);
        self.b.check(self.k, self.n);
        assert!(self.m == 0 || (self.c_row >= self.n && (self.m - 1) * self.c_row + self.n <= c_len));
        match self.bias {
            Bias::None => {}
            Bias::Rows(b) => assert!(b.len() >= self.m),
            Bias::Cols(b) => assert!(b.len() >= self.n),
        }
        if let Some(r) = self.residual {
            assert!(self.m == 0 || (self.m - 1) * self.c_row + self.n <= r.len());
        }
    }
}

/// Elements of scratch that [`gemm`] needs.
pub fn gemm_scratch(m: usize, n: usize, k: usize, threads: usize) -> usize {
    product::scratch(m, n, k, true, threads)
}

/// Computes the product into `c`. Elements between the rows of C are left alone.
pub fn gemm(cpu: Cpu, scratch: &mut [f32], g: &Gemm, c: &mut [f32]) {
    g.check(c.len());
    let Gemm { m, n, k, a, b, bias, act, residual, accumulate, c_row } = *g;
    let b = &MatrixSource { b, batch_step: 0 };
    let (batch, groups, a_group, c_batch) = (1, 1, 0, 0);
    let p = Product { m, n, k, batch, groups, a_group, a, b, bias, act, residual, accumulate, c_row, c_batch };
    product::run(cpu, scratch, &p, c);
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::kernels::testing::{close, noise};
    use crate::threads::Threads;

    /// The product by its definition, in f64.
    fn naive(g: &Gemm, c: &mut [f32]) {
        for i in 0..g.m {
            for j in 0..g.n {
                let at = i * g.c_row + j;
                let mut sum = if g.accumulate { c[at] as f64 } else { 0.0 };
                for p in 0..g.k {
                    sum += g.a.data[i * g.a.row + p * g.a.col] as f64 * g.b.data[p * g.b.row + j * g.b.col] as f64;
                }
                sum += match g.bias {
                    Bias::None => 0.0,
                    Bias::Rows(b) => b[i] as f64,
                    Bias::Cols(b) => b[j] as f64,
                };
                c[at] = g.act.apply(sum as f32) + g.residual.map_or(0.0, |r| r[at]);
            }
        }
    }

    fn check(m: usize, n: usize, k: usize, case: usize) {
        let c_row = n + case % 3;
        let (a, b) = (noise(1, m * k * 2 + 1), noise(2, k * n * 2 + 1));
        let (rows, cols, residual) = (noise(3, m), noise(4, n), noise(5, m * c_row));
        let a = [Matrix::rows(&a, k), Matrix::transposed(&a, m), Matrix { data: &a, row: 2 * k, col: 2 }][case % 3];
        let b = [Matrix::rows(&b, n), Matrix::transposed(&b, k), Matrix { data: &b, row: 2 * n, col: 2 }][case / 3 % 3];
        let g = Gemm {
            bias: [Bias::None, Bias::Rows(&rows), Bias::Cols(&cols)][case % 3],
            act: [Activation::None, Activation::Relu, Activation::Relu6][case / 2 % 3],
            residual: case.is_multiple_of(2).then_some(&residual),
            accumulate: case.is_multiple_of(5),
            c_row,
            ..Gemm::new(m, n, k, a, b)
        };
        let start = noise(6, m * c_row);
        let mut want = start.clone();
        naive(&g, &mut want);
        for isa in Isa::all() {
            let mut first: Option<Vec<f32>> = None;
            for count in 1..4 {
                let threads = Threads::new(count);
                let mut scratch = alloc::vec![f32::NAN; gemm_scratch(m, n, k, count)];
                let mut got = start.clone();
                gemm(Cpu::with_isa(isa, &threads), &mut scratch, &g, &mut got);
                close(&want, &got, 1e-6 * (k as f32 + 4.0), &alloc::format!("{m}x{n}x{k} case {case} {}", isa.name()));
                assert_eq!(first.get_or_insert_with(|| got.clone()), &got, "threads change bits");
            }
        }
    }

    #[test]
    fn matches_the_definition() {
        let edges = [1, 3, 7, 8, 9, 15, 16, 17, 47, 48, 49, 63, 64, 65];
        let mut case = 0;
        for m in edges {
            for n in edges {
                check(m, n, edges[case % edges.len()], case);
                case += 1;
            }
        }
        for (m, n, k) in [(1, 1, 0), (8, 48, 192), (9, 50, 193), (16, 1000, 400), (300, 20, 385), (5, 700, 17)] {
            for case in 0..9 {
                check(m, n, k, case);
            }
        }
    }
}
