//! Covariances and their Cholesky factors, in f64.
//!
//! The statistical methods (Gaussian on pooled features, PaDiM) describe good features by a mean μ and a covariance Σ and
//! score a feature by its Mahalanobis distance `√((x − μ)ᵀΣ⁻¹(x − μ)) = ‖L⁻¹(x − μ)‖`, where Σ = L·Lᵀ. So all that is
//! needed is a stream of samples into Σ ([`Moments`]), L ([`cholesky`]) and L⁻¹ ([`invert_lower`]).
//!
//! Matrices are n×n, row-major, dense; of a symmetric one only the lower triangle is read. Loops run along rows, so that
//! they vectorise; every sum has a fixed order. 768×768 takes a fraction of a second.

use alloc::{vec, vec::Vec};
use core::fmt;

/// The matrix is not positive definite (or holds NaN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPositiveDefinite {
    /// The row in which it showed.
    pub row: usize,
}

impl fmt::Display for NotPositiveDefinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "matrix is not positive definite, as row {} shows", self.row)
    }
}

impl core::error::Error for NotPositiveDefinite {}

/// Mean and covariance of a stream of vectors, without keeping them.
///
/// Sums are taken about the first vector, so that a large common mean costs no digits. Eight vectors at a time go into
/// the products, which is what makes it fast. The result depends on the order of the vectors, and on nothing else.
///
/// ```
/// use adflow::linalg::Moments;
/// let mut moments = Moments::new(2);
/// for v in [[1.0, 2.0], [3.0, 2.0], [5.0, 8.0]] {
///     moments.push(&v);
/// }
/// assert_eq!(moments.mean(), [3.0, 4.0]);
/// assert_eq!(moments.covariance(1), [4.0, 6.0, 6.0, 12.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Moments {
    dimension: usize,
    count: usize,
    origin: Vec<f64>,
    sum: Vec<f64>,
    products: Vec<f64>,
    /// Up to `BLOCK` vectors not yet in `products`.
    pending: Vec<f64>,
}

const BLOCK: usize = 8;

impl Moments {
    /// No vectors of `dimension` elements yet.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self {
            dimension,
            count: 0,
            origin: vec![0.0; dimension],
            sum: vec![0.0; dimension],
            products: vec![0.0; dimension * dimension],
            pending: Vec::with_capacity(BLOCK * dimension),
        }
    }

    /// Number of vectors so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a vector.
    ///
    /// # Panics
    /// If it has another dimension.
    pub fn push(&mut self, vector: &[f32]) {
        assert_eq!(vector.len(), self.dimension, "vector of Moments::push");
        self.push_strided(vector, 1);
    }

    /// Adds the vector of elements 0, `stride`, 2·`stride`, … of `values`: one position of a C×H×W tensor for stride H·W.
    ///
    /// # Panics
    /// If there are too few, or `stride` is 0.
    pub fn push_strided(&mut self, values: &[f32], stride: usize) {
        let d = self.dimension;
        assert!(d == 0 || values.len() > (d - 1) * stride, "vector of Moments::push_strided");
        let vector = values.iter().step_by(stride).take(d).map(|&v| f64::from(v));
        if self.count == 0 {
            self.origin.iter_mut().zip(vector.clone()).for_each(|(o, v)| *o = v);
        }
        self.count += 1;
        let start = self.pending.len();
        self.pending.extend(vector.zip(&self.origin).map(|(v, o)| v - o));
        for (s, v) in self.sum.iter_mut().zip(&self.pending[start..]) {
            *s += v;
        }
        if self.pending.len() == BLOCK * d {
            add_products(d, &self.pending, &mut self.products);
            self.pending.clear();
        }
    }

    /// The mean; NaN without vectors.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let n = self.count as f64;
        self.origin.iter().zip(&self.sum).map(|(o, s)| if self.count == 0 { f64::NAN } else { o + s / n }).collect()
    }

    /// `Σ (x − μ)(x − μ)ᵀ / (count − less)`, both triangles. `less` is 1 for the unbiased estimate, 0 for the likeliest.
    /// Zeros with `less` vectors or fewer.
    #[must_use]
    pub fn covariance(&self, less: usize) -> Vec<f64> {
        let d = self.dimension;
        let mut out = self.products.clone();
        if self.count <= less || d == 0 {
            out.fill(0.0);
            return out;
        }
        // Vectors still waiting are filled up with zeros.
        let mut rest = self.pending.clone();
        rest.resize(BLOCK * d, 0.0);
        add_products(d, &rest, &mut out);
        let (n, divisor) = (self.count as f64, (self.count - less) as f64);
        for i in 0..d {
            for j in 0..=i {
                let value = (out[i * d + j] - self.sum[i] * (self.sum[j] / n)) / divisor;
                out[i * d + j] = value;
                out[j * d + i] = value;
            }
        }
        out
    }
}

/// `products[i, j] += Σ_b x_b[i]·x_b[j]` for j ≤ i.
fn add_products(d: usize, vectors: &[f64], products: &mut [f64]) {
    let x: [&[f64]; BLOCK] = core::array::from_fn(|b| &vectors[b * d..][..d]);
    for (i, row) in products.chunks_exact_mut(d).enumerate() {
        let a: [f64; BLOCK] = core::array::from_fn(|b| x[b][i]);
        let row = &mut row[..=i];
        let x: [&[f64]; BLOCK] = core::array::from_fn(|b| &x[b][..row.len()]);
        for j in 0..row.len() {
            let mut sum = 0.0;
            for b in 0..BLOCK {
                sum += a[b] * x[b][j];
            }
            row[j] += sum;
        }
    }
}

/// Adds `value` to the diagonal.
///
/// # Panics
/// If `matrix` is not n·n long.
pub fn add_to_diagonal(n: usize, value: f64, matrix: &mut [f64]) {
    assert_eq!(matrix.len(), n * n, "matrix of add_to_diagonal");
    matrix.iter_mut().step_by(n + 1).for_each(|v| *v += value);
}

/// Shrinks towards a multiple of the identity with the same trace: `(1 − ρ)·Σ + ρ·(tr Σ/n)·I`.
///
/// # Panics
/// If `matrix` is not n·n long.
pub fn shrink(n: usize, rho: f64, matrix: &mut [f64]) {
    assert_eq!(matrix.len(), n * n, "matrix of shrink");
    let trace: f64 = matrix.iter().step_by(n + 1).sum();
    matrix.iter_mut().for_each(|v| *v *= 1.0 - rho);
    add_to_diagonal(n, rho * trace / n as f64, matrix);
}

/// Replaces a symmetric positive definite matrix by its lower Cholesky factor L, Σ = L·Lᵀ; the upper triangle becomes 0.
///
/// Row by row (Cholesky, Banachiewicz): `Lᵢⱼ = (Σᵢⱼ − Lᵢ·Lⱼ)/Lⱼⱼ`, where both factors of the dot product lie in memory as
/// they are read.
///
/// ```
/// use adflow::linalg::{NotPositiveDefinite, cholesky, solve_lower};
/// let mut factor = [4.0, 2.0, 2.0, 5.0];
/// cholesky(2, &mut factor)?;
/// assert_eq!(factor, [2.0, 0.0, 1.0, 2.0]);
/// // The Mahalanobis distance of (2, 3) from 0 under the covariance that the factor is of.
/// let mut x = [2.0, 3.0];
/// solve_lower(&factor, &mut x);
/// assert_eq!(x.iter().map(|v| v * v).sum::<f64>().sqrt(), f64::sqrt(2.0));
/// assert_eq!(cholesky(2, &mut [1.0, 2.0, 2.0, 1.0]), Err(NotPositiveDefinite { row: 1 }));
/// # Ok::<(), NotPositiveDefinite>(())
/// ```
///
/// # Errors
/// [`NotPositiveDefinite`] where a pivot is not positive; the matrix then holds anything.
///
/// # Panics
/// If `matrix` is not n·n long.
pub fn cholesky(n: usize, matrix: &mut [f64]) -> Result<(), NotPositiveDefinite> {
    assert_eq!(matrix.len(), n * n, "matrix of cholesky");
    for i in 0..n {
        let (above, row) = matrix.split_at_mut(i * n);
        let row = &mut row[..n];
        for j in 0..i {
            let pivot_row = &above[j * n..][..=j];
            row[j] = (row[j] - dot(&row[..j], &pivot_row[..j])) / pivot_row[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Err(NotPositiveDefinite { row: i });
        }
        row[i] = libm::sqrt(pivot);
        row[i + 1..].fill(0.0);
    }
    Ok(())
}

/// Writes the inverse of a lower triangular matrix to `out`, upper triangle 0.
///
/// # Panics
/// If a slice is not n·n long.
pub fn invert_lower(n: usize, lower: &[f64], out: &mut [f64]) {
    assert_eq!(lower.len(), n * n, "matrix of invert_lower");
    assert_eq!(out.len(), n * n, "output of invert_lower");
    for i in 0..n {
        let (above, row) = out.split_at_mut(i * n);
        let row = &mut row[..n];
        row.fill(0.0);
        for j in 0..i {
            let factor = lower[i * n + j];
            for (r, a) in row[..=j].iter_mut().zip(&above[j * n..][..=j]) {
                *r -= factor * a;
            }
        }
        let inverse = 1.0 / lower[i * n + i];
        row[..i].iter_mut().for_each(|r| *r *= inverse);
        row[i] = inverse;
    }
}

/// Solves L·y = x in place.
///
/// # Panics
/// If `lower` is not n·n long for n = `x.len()`.
pub fn solve_lower(lower: &[f64], x: &mut [f64]) {
    let n = x.len();
    assert_eq!(lower.len(), n * n, "matrix of solve_lower");
    for i in 0..n {
        let row = &lower[i * n..][..=i];
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
}

/// Solves Lᵀ·y = x in place.
///
/// # Panics
/// If `lower` is not n·n long for n = `x.len()`.
pub fn solve_lower_transposed(lower: &[f64], x: &mut [f64]) {
    let n = x.len();
    assert_eq!(lower.len(), n * n, "matrix of solve_lower_transposed");
    for i in (0..n).rev() {
        let row = &lower[i * n..][..=i];
        x[i] /= row[i];
        let known = x[i];
        for (x, l) in x[..i].iter_mut().zip(row) {
            *x -= l * known;
        }
    }
}

/// Σ aᵢ·bᵢ over the shorter length, in eight lanes that are added as a tree.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (a, a_rest) = a[..n].as_chunks::<8>();
    let (b, b_rest) = b[..n].as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for k in 0..8 {
            lanes[k] += a[k] * b[k];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = lanes;
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const SIZES: [usize; 9] = [1, 2, 3, 7, 8, 9, 17, 33, 64];

    fn samples(d: usize, count: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(seed, 0, 0);
        let mixing: Vec<f64> = (0..d * d).map(|_| rng.normal()).collect();
        (0..count)
            .map(|_| {
                let z: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
                (0..d).map(|i| (dot(&mixing[i * d..][..d], &z) + 1000.0 * i as f64) as f32).collect()
            })
            .collect()
    }

    fn positive(d: usize, seed: u64) -> Vec<f64> {
        let mut m = Moments::new(d);
        samples(d, 2 * d + 3, seed).iter().for_each(|s| m.push(s));
        let mut c = m.covariance(1);
        add_to_diagonal(d, 0.1, &mut c);
        c
    }

    fn close(a: &[f64], b: &[f64], tolerance: f64) {
        assert_eq!(a.len(), b.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "[{i}]: {a} {b}");
        }
    }

    #[test]
    fn streaming_equals_two_passes() {
        for d in SIZES {
            for count in [1, 2, 7, 8, 9, 50] {
                let samples = samples(d, count, d as u64);
                let mut moments = Moments::new(d);
                let mut strided = Moments::new(d);
                for s in &samples {
                    moments.push(s);
                    let spread: Vec<f32> = s.iter().flat_map(|&v| [v, f32::NAN, f32::NAN]).collect();
                    strided.push_strided(&spread[..3 * d - 2], 3);
                    let _ = moments.covariance(0); // asking in between changes nothing
                }
                let mean: Vec<f64> =
                    (0..d).map(|i| samples.iter().map(|s| f64::from(s[i])).sum::<f64>() / count as f64).collect();
                close(&moments.mean(), &mean, 1e-13);
                for less in [0, 1] {
                    let mut slow = vec![0.0; d * d];
                    for s in samples.iter().filter(|_| count > less) {
                        for i in 0..d {
                            for j in 0..d {
                                slow[i * d + j] +=
                                    (f64::from(s[i]) - mean[i]) * (f64::from(s[j]) - mean[j]) / (count - less) as f64;
                            }
                        }
                    }
                    close(&moments.covariance(less), &slow, 1e-10);
                    assert_eq!(moments.covariance(less), strided.covariance(less));
                }
                assert_eq!(moments.count(), count);
            }
        }
        assert!(Moments::new(3).mean().iter().all(|m| m.is_nan()));
        assert_eq!(Moments::new(2).covariance(0), [0.0; 4]);
    }

    #[test]
    fn the_factor_squared_is_the_matrix() {
        for d in SIZES {
            let matrix = positive(d, 3);
            let mut lower = matrix.clone();
            // The upper triangle is not read.
            (0..d).for_each(|i| lower[i * d + i + 1..(i + 1) * d].fill(f64::NAN));
            cholesky(d, &mut lower).unwrap();
            let square: Vec<f64> =
                (0..d * d).map(|ij| dot(&lower[ij / d * d..][..d], &lower[ij % d * d..][..d])).collect();
            close(&square, &matrix, 1e-12);
        }
        cholesky(0, &mut []).unwrap();
    }

    #[test]
    fn inverse_and_solutions_undo_the_factor() {
        for d in SIZES {
            let mut lower = positive(d, 4);
            cholesky(d, &mut lower).unwrap();
            let mut inverse = vec![f64::NAN; d * d];
            invert_lower(d, &lower, &mut inverse);
            for i in 0..d {
                // Row i of L⁻¹·L.
                for j in 0..d {
                    let v: f64 = (0..d).map(|k| inverse[i * d + k] * lower[k * d + j]).sum();
                    assert!((v - f64::from(u8::from(i == j))).abs() < 1e-8, "{d}: {i} {j} {v}");
                }
            }
            let want: Vec<f64> = (0..d).map(|i| i as f64 - 2.5).collect();
            let mut x: Vec<f64> = (0..d).map(|i| dot(&lower[i * d..][..d], &want)).collect();
            solve_lower(&lower, &mut x);
            close(&x, &want, 1e-9);
            let mut x: Vec<f64> = (0..d).map(|j| (0..d).map(|k| lower[k * d + j] * want[k]).sum()).collect();
            solve_lower_transposed(&lower, &mut x);
            close(&x, &want, 1e-9);
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_an_error() {
        assert_eq!(cholesky(2, &mut [1.0, 0.0, 1.0, 1.0]), Err(NotPositiveDefinite { row: 1 }));
        assert_eq!(cholesky(1, &mut [0.0]), Err(NotPositiveDefinite { row: 0 }));
        assert_eq!(cholesky(1, &mut [f64::NAN]), Err(NotPositiveDefinite { row: 0 }));
        assert_eq!(cholesky(2, &mut [1.0, 0.0, f64::INFINITY, 1.0]), Err(NotPositiveDefinite { row: 1 }));
        let mut m = [0.0, 0.0, 0.0, 4.0];
        shrink(2, 0.5, &mut m);
        assert_eq!(m, [1.0, 0.0, 0.0, 3.0]);
    }
}
