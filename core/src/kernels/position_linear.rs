//! A linear map of its own at every position: `y[:, p] = W_p x[:, p] + b_p` (whitening by a position's own covariance).

use crate::cpu::Cpu;
use crate::deadline::Deadline;
use crate::simd::{Op, Simd, sum};

/// Positions and channels of a block of x that is transposed at once.
const POSITIONS: usize = 8;
const CHANNELS: usize = 256;
/// Output channels of a task.
const ROWS: usize = 16;

/// Shape of a position-wise linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionLinearShape {
    /// Batch.
    pub n: usize,
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Positions (height times width).
    pub positions: usize,
}

impl PositionLinearShape {
    fn check(&self, x: usize, y: usize, weight: usize) {
        assert_eq!(x, self.n * self.cin * self.positions, "length of x");
        assert_eq!(y, self.n * self.cout * self.positions, "length of y");
        assert_eq!(weight, self.positions * self.cout * self.cin, "length of the weights");
    }
}

/// x `[n, cin, P]`, weight `[P, cout, cin]`, bias `[P, cout]`, y `[n, cout, P]`.
pub fn position_linear(
    cpu: Cpu<'_>,
    s: &PositionLinearShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    s.check(x.len(), y.len(), weight.len());
    assert!(bias.is_none_or(|b| b.len() == s.positions * s.cout), "length of the bias");
    if y.is_empty() {
        return;
    }
    // Groups of output channels of one sample: a task never crosses two samples.
    let (p, groups) = (s.positions, s.cout.div_ceil(ROWS));
    let rows = s.cout.div_ceil(groups);
    for (sample, y) in y.chunks_exact_mut(s.cout * p).enumerate() {
        let x = &x[sample * s.cin * p..][..s.cin * p];
        cpu.threads().chunks_mut(y, rows * p, &|group, _, y| {
            let until = cpu.threads().deadline();
            cpu.isa().run(Rows { s, first: group * rows, x, weight, bias, until, y });
        });
    }
}

/// Output channels from `first` on, of one sample.
struct Rows<'a> {
    s: &'a PositionLinearShape,
    first: usize,
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    until: &'a Deadline,
    y: &'a mut [f32],
}

impl Op for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PositionLinearShape { cin, cout, positions: p, .. } = *self.s;
        let mut block = [[0.0; CHANNELS]; POSITIONS];
        for at in (0..p).step_by(POSITIONS) {
            // A task reads all positions' weights, which can be many.
            if self.until.passed() {
                return;
            }
            let width = POSITIONS.min(p - at);
            for c0 in (0..cin.max(1)).step_by(CHANNELS) {
                let depth = CHANNELS.min(cin - c0);
                for c in 0..depth {
                    for (k, x) in self.x[(c0 + c) * p + at..][..width].iter().enumerate() {
                        block[k][c] = *x;
                    }
                }
                for (o, y) in self.y.chunks_exact_mut(p).enumerate() {
                    for (k, y) in y[at..][..width].iter_mut().enumerate() {
                        let row = (at + k) * cout + self.first + o;
                        let start = if c0 == 0 { self.bias.map_or(0.0, |b| b[row]) } else { *y };
                        *y = start + sum::dot(s, &self.weight[row * cin + c0..][..depth], &block[k][..depth]);
                    }
                }
            }
        }
    }
}

/// Gradient of [`position_linear`] by x: `gx[:, p] = W_pᵀ gy[:, p]`.
pub fn position_linear_dx(cpu: Cpu<'_>, s: &PositionLinearShape, gy: &[f32], weight: &[f32], gx: &mut [f32]) {
    s.check(gx.len(), gy.len(), weight.len());
    if gx.is_empty() {
        return;
    }
    let p = s.positions;
    cpu.threads().chunks_mut(gx, p, &|row, _, gx| {
        let (sample, c) = (row / s.cin, row % s.cin);
        let gy = &gy[sample * s.cout * p..][..s.cout * p];
        for (at, gx) in gx.iter_mut().enumerate() {
            *gx = (0..s.cout).fold(0.0f32, |sum, o| sum + weight[(at * s.cout + o) * s.cin + c] * gy[o * p + at]);
        }
    });
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn reference(s: &PositionLinearShape, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; s.n * s.cout * s.positions];
        for n in 0..s.n {
            for o in 0..s.cout {
                for p in 0..s.positions {
                    let sum: f64 = (0..s.cin)
                        .map(|c| w[(p * s.cout + o) * s.cin + c] * x[(n * s.cin + c) * s.positions + p])
                        .sum();
                    y[(n * s.cout + o) * s.positions + p] = sum + b[p * s.cout + o];
                }
            }
        }
        y
    }

    #[test]
    fn forward_and_gradient() {
        let sizes = SIZES.iter().flat_map(|&s| [(2, 3, 5, s), (1, s, 3, 4), (3, 4, s, 3)]);
        for (n, cin, cout, positions) in sizes.chain([(2, 40, 40, 49), (0, 2, 2, 2)]) {
            let s = PositionLinearShape { n, cin, cout, positions };
            let (x, gy) = (numbers(1, n * cin * positions), numbers(2, n * cout * positions));
            let (w, b) = (numbers(3, positions * cin * cout), numbers(4, positions * cout));
            let want = reference(&s, &wide(&x), &wide(&w), &wide(&b));
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; gy.len()];
                    position_linear(cpu, &s, &x, &w, Some(&b), &mut y);
                    y
                },
                |y| close(&std::format!("{s:?}"), y, &want, 3e-6),
            );
            if x.len() < 400 {
                let gx = numerical(&x, &gy, |x| reference(&s, x, &wide(&w), &wide(&b)));
                each_cpu(
                    |cpu| {
                        let mut got = vec![f32::NAN; x.len()];
                        position_linear_dx(cpu, &s, &gy, &w, &mut got);
                        got
                    },
                    |got| close(&std::format!("{s:?} dx"), got, &gx, 1e-5),
                );
            }
        }
    }
}
