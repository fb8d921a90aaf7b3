//! Matrix product `C = act(A·B + bias) + residual`, any of A and B stored by rows or by columns.
//!
//! Element `(i, p)` of A is `a[i·row + p·col]` with the two strides of [`Matrix`]; C is stored by rows. Each element of C is one
//! chain of multiply-adds in ascending order of `p`, whatever the blocking.

use super::Activation;
use crate::cpu::Cpu;

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
pub fn gemm_scratch(_m: usize, _n: usize, _k: usize, _threads: usize) -> usize {
    0
}

/// Computes the product into `c`. Elements between the rows of C are left alone.
pub fn gemm(_cpu: Cpu, _scratch: &mut [f32], g: &Gemm, c: &mut [f32]) {
    g.check(c.len());
    for i in 0..g.m {
        for j in 0..g.n {
            let at = i * g.c_row + j;
            let mut sum = if g.accumulate { c[at] } else { 0.0 };
            for p in 0..g.k {
                sum += g.a.data[i * g.a.row + p * g.a.col] * g.b.data[p * g.b.row + j * g.b.col];
            }
            sum += match g.bias {
                Bias::None => 0.0,
                Bias::Rows(b) => b[i],
                Bias::Cols(b) => b[j],
            };
            c[at] = g.act.apply(sum) + g.residual.map_or(0.0, |r| r[at]);
        }
    }
}
