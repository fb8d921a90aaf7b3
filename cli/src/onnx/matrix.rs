//! Everything linear along an axis as a matrix: resizing, enlarging, blurring.
//!
//! ONNX has ops for some of these, with rules of their own about centres, borders and antialiasing on which runtimes differ. A
//! matrix made by the library's own functions says exactly what is meant, and every runtime multiplies matrices well.

use adflow::image::{GridPlace, enlarge, gaussian_blur, gaussian_blur_scratch_len, resample_weights};
use adflow::op::Interpolation;

/// Row-major, in f64 until stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// Values.
    pub values: Vec<f64>,
}

impl Matrix {
    /// Zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// The matrix of a linear function of `columns` values, asked for each unit vector.
    fn of(rows: usize, columns: usize, mut f: impl FnMut(&[f32], &mut [f32])) -> Self {
        let mut matrix = Self::zeros(rows, columns);
        let (mut unit, mut out) = (vec![0.0; columns], vec![0.0; rows]);
        for column in 0..columns {
            unit[column] = 1.0;
            f(&unit, &mut out);
            unit[column] = 0.0;
            for (row, v) in out.iter().enumerate() {
                matrix.values[row * columns + column] = f64::from(*v);
            }
        }
        matrix
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        let unit = |(at, v): (usize, &f64)| *v == f64::from(u8::from(at / self.columns == at % self.columns));
        self.rows == self.columns && self.values.iter().enumerate().all(unit)
    }

    /// Rows as columns.
    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.columns, self.rows);
        for (at, v) in self.values.iter().enumerate() {
            out.values[at % self.columns * self.rows + at / self.columns] = *v;
        }
        out
    }

    /// `self · other`: first other, then self.
    pub fn after(&self, other: &Self) -> Self {
        assert_eq!(self.columns, other.rows, "matrices that follow each other");
        let mut out = Self::zeros(self.rows, other.columns);
        for (row, values) in self.values.chunks_exact(self.columns).enumerate() {
            let sums = &mut out.values[row * other.columns..][..other.columns];
            for (v, from) in values.iter().zip(other.values.chunks_exact(other.columns)).filter(|(v, _)| **v != 0.0) {
                sums.iter_mut().zip(from).for_each(|(s, f)| *s += v * f);
            }
        }
        out
    }

    /// The library's resize of `input` samples to `output`, of which the rows are those at `at`.
    pub fn shrink(input: u32, output: u32, at: &[usize]) -> Self {
        let mut out = Self::zeros(at.len(), input as usize);
        for (row, at) in out.values.chunks_exact_mut(input as usize).zip(at) {
            let (first, weights) = resample_weights(*at, input, output);
            row[first..].iter_mut().zip(weights).for_each(|(v, w)| *v = f64::from(w));
        }
        out
    }

    /// Everything times a number.
    pub fn times(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|v| *v *= factor);
        self
    }

    /// Steps of a grid to the pixels of a map.
    pub fn enlarge(place: GridPlace, steps: usize, size: usize) -> Self {
        let mut scratch = vec![0.0; size];
        Self::of(size, steps, |unit, out| enlarge(place, (steps, 1), unit, (size, 1), &mut scratch, out))
    }

    /// Gaussian blur of so many pixels.
    pub fn blur(size: usize, sigma: f32) -> Self {
        let mut scratch = vec![0.0; gaussian_blur_scratch_len(size, 1, sigma)];
        Self::of(size, size, |unit, out| {
            out.copy_from_slice(unit);
            gaussian_blur(size, 1, sigma, out, &mut scratch);
        })
    }

    /// Op `resize` along an axis.
    pub fn resize(mode: Interpolation, input: usize, output: usize) -> Self {
        let mut out = Self::zeros(output, input);
        for i in 0..output {
            let row = &mut out.values[i * input..][..input];
            match mode {
                Interpolation::Nearest => row[i * input / output] = 1.0,
                Interpolation::Bilinear => {
                    let at = ((i as f64 + 0.5) * input as f64 / output as f64 - 0.5).max(0.0);
                    let first = (at as usize).min(input - 1);
                    let share = (at - first as f64).min(1.0);
                    row[first] += 1.0 - share;
                    row[(first + 1).min(input - 1)] += share;
                }
            }
        }
        out
    }
}
