//! Grouped fully connected layers: `y_g = W_g x_g + b_g`, the subnets of dense flows.
//!
//! One level of a dense flow is 2^l independent couplings, each with a scale and a translation net that read the same
//! features. [`LinearShape`] says that in one record: `groups` weight matrices `[out, in]`, of which `share` neighbours
//! read the same slice of `x`. A plain layer is `groups = share = 1`.

use super::{Activation, Pass};
use crate::cpu::Cpu;
use crate::simd::dense::{self, Dense, Factor};

/// Shape of a grouped linear layer; group `g` reads `x[x_offset + (g / share) · x_stride ..][.. in_features]` of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Batch.
    pub n: usize,
    /// Number of weight matrices.
    pub groups: usize,
    /// Neighbouring groups that read the same input; divides `groups`.
    pub share: usize,
    /// Columns of each weight matrix.
    pub in_features: usize,
    /// Rows of each weight matrix.
    pub out_features: usize,
    /// Elements per sample of `x`.
    pub x_len: usize,
    /// First element that the first group reads.
    pub x_offset: usize,
    /// Distance between the inputs of neighbouring sets of `share` groups; at least `in_features`.
    pub x_stride: usize,
}

impl LinearShape {
    /// Elements per sample of `y`.
    pub const fn y_len(&self) -> usize {
        self.groups * self.out_features
    }

    /// Elements of the weights `[groups, out, in]`.
    pub const fn weight_len(&self) -> usize {
        self.groups * self.out_features * self.in_features
    }

    /// Sets of groups with inputs of their own.
    const fn sets(&self) -> usize {
        self.groups / self.share
    }

    /// Rows of the weights of one set, stacked: the scale and the translation net are one taller matrix.
    const fn rows(&self) -> usize {
        self.share * self.out_features
    }

    fn check(&self, x: usize, y: usize, weight: usize) {
        assert!(self.share > 0 && self.groups.is_multiple_of(self.share), "share divides groups");
        assert!(self.sets() < 2 || self.x_stride >= self.in_features, "sets read disjoint inputs");
        let end = match self.sets() {
            0 => 0,
            sets => self.x_offset + (sets - 1) * self.x_stride + self.in_features,
        };
        assert!(end <= self.x_len, "inputs lie in the sample");
        assert_eq!(x, self.n * self.x_len, "length of x");
        assert_eq!(y, self.n * self.y_len(), "length of y");
        assert_eq!(weight, self.weight_len(), "length of the weights");
    }
}

/// Scratch elements that a pass over `shape` needs with so many threads.
pub fn linear_scratch(shape: &LinearShape, pass: Pass, threads: usize) -> usize {
    match pass {
        Pass::Forward => dense::scratch(shape.n, shape.in_features, false, threads),
        Pass::Dx => dense::scratch(shape.n, shape.rows(), false, threads),
        Pass::Dw => dense::scratch(shape.rows(), shape.n, true, threads),
    }
}

/// `y = act(W x + b)`: x `[n, x_len]`, weight `[groups, out, in]`, bias `[groups · out]`, y `[n, groups · out]`.
pub fn linear(
    cpu: Cpu<'_>,
    scratch: &mut [f32],
    shape: &LinearShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
) {
    shape.check(x.len(), y.len(), weight.len());
    assert!(bias.is_none_or(|b| b.len() == shape.y_len()), "length of the bias");
    if y.is_empty() {
        return;
    }
    let (n, rows, i) = (shape.n, shape.rows(), shape.in_features);
    let a = Factor { data: &x[shape.x_offset..], set: shape.x_stride, stride: shape.x_len, transposed: false };
    let b = Factor { data: weight, set: rows * i, stride: i, transposed: true };
    let (c_set, c_row) = (rows, shape.y_len());
    dense::run(cpu, scratch, &Dense { sets: shape.sets(), m: n, n: rows, k: i, a, b, bias, act, c_set, c_row }, y);
}

/// Gradient by the input: `gx = Wᵀ gy`, summed over the groups that share it; the whole of gx is written, 0 where no group reads.
pub fn linear_dx(cpu: Cpu<'_>, scratch: &mut [f32], shape: &LinearShape, gy: &[f32], weight: &[f32], gx: &mut [f32]) {
    shape.check(gx.len(), gy.len(), weight.len());
    let (n, rows, i) = (shape.n, shape.rows(), shape.in_features);
    if shape.sets() * i < shape.x_len {
        gx.fill(0.0);
    }
    if gx.is_empty() {
        return;
    }
    let a = Factor { data: gy, set: rows, stride: shape.y_len(), transposed: false };
    let b = Factor { data: weight, set: rows * i, stride: i, transposed: false };
    let (bias, act, c_set, c_row) = (None, Activation::None, shape.x_stride, shape.x_len);
    let product = Dense { sets: shape.sets(), m: n, n: i, k: rows, a, b, bias, act, c_set, c_row };
    dense::run(cpu, scratch, &product, &mut gx[shape.x_offset..]);
}

/// Gradient by the weights: `gw = Σ_n gy xᵀ`, laid out like the weights.
pub fn linear_dw(cpu: Cpu<'_>, scratch: &mut [f32], shape: &LinearShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    shape.check(x.len(), gy.len(), gw.len());
    let (n, rows, i) = (shape.n, shape.rows(), shape.in_features);
    if n == 0 {
        return gw.fill(0.0);
    }
    let a = Factor { data: gy, set: rows, stride: shape.y_len(), transposed: true };
    let b = Factor { data: &x[shape.x_offset..], set: shape.x_stride, stride: shape.x_len, transposed: false };
    let (bias, act, c_set, c_row) = (None, Activation::None, rows * i, i);
    dense::run(cpu, scratch, &Dense { sets: shape.sets(), m: rows, n: i, k: n, a, b, bias, act, c_set, c_row }, gw);
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// The definition, in f64 and without activation.
    fn reference(s: &LinearShape, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        let mut y = Vec::new();
        for n in 0..s.n {
            for g in 0..s.groups {
                for o in 0..s.out_features {
                    let row = g * s.out_features + o;
                    let x = &x[n * s.x_len + s.x_offset + g / s.share * s.x_stride..][..s.in_features];
                    let w = &weight[row * s.in_features..][..s.in_features];
                    y.push(w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias[row]);
                }
            }
        }
        y
    }

    fn case(n: usize, groups: usize, share: usize, i: usize, o: usize, offset: usize, gap: usize) -> LinearShape {
        let sets = groups / share;
        LinearShape {
            n,
            groups,
            share,
            in_features: i,
            out_features: o,
            x_len: offset + sets * (i + gap),
            x_offset: offset,
            x_stride: i + gap,
        }
    }

    fn cases() -> Vec<LinearShape> {
        let mut cases = vec![
            case(96, 2, 2, 384, 40, 0, 384),
            case(5, 1, 1, 768, 200, 0, 0),
            case(96, 64, 2, 6, 12, 0, 6),
            case(40, 64, 2, 1, 8, 0, 2),
            case(96, 64, 1, 8, 2, 0, 0),
            case(33, 6, 3, 5, 7, 2, 4),
            case(0, 2, 1, 3, 3, 0, 0),
            case(3, 2, 1, 0, 3, 1, 1),
        ];
        cases.extend(SIZES.iter().map(|&n| case(n, 4, 2, 9, 5, 1, 2)));
        cases.extend(SIZES.iter().map(|&i| case(17, 2, 2, i, 3, 1, 2)));
        cases.extend(SIZES.iter().map(|&o| case(16, 2, 1, 8, o, 0, 3)));
        cases
    }

    fn scratch(s: &LinearShape, pass: Pass, cpu: Cpu<'_>) -> Vec<f32> {
        vec![f32::NAN; linear_scratch(s, pass, cpu.threads().count())]
    }

    #[test]
    fn forward_and_gradients_match_the_definition() {
        for s in cases() {
            let (x, w) = (numbers(1, s.n * s.x_len), numbers(2, s.weight_len()));
            let (b, gy) = (numbers(3, s.y_len()), numbers(4, s.n * s.y_len()));
            let name = std::format!("{s:?}");
            for act in [Activation::None, Activation::Relu, Activation::Relu6] {
                let want: Vec<f64> = reference(&s, &wide(&x), &wide(&w), &wide(&b))
                    .into_iter()
                    .map(|y| match act {
                        Activation::None => y,
                        Activation::Relu => y.max(0.0),
                        Activation::Relu6 => y.clamp(0.0, 6.0),
                    })
                    .collect();
                each_cpu(
                    |cpu| {
                        let mut y = vec![f32::NAN; s.n * s.y_len()];
                        linear(cpu, &mut scratch(&s, Pass::Forward, cpu), &s, &x, &w, Some(&b), act, &mut y);
                        y
                    },
                    |y| close(&name, y, &want, 3e-6),
                );
            }
            // The layer is linear in x and in W, so gradients are sums of its own products.
            let mut gx = vec![0.0; s.n * s.x_len];
            let mut gw = vec![0.0; s.weight_len()];
            for n in 0..s.n {
                for row in 0..s.y_len() {
                    let g = f64::from(gy[n * s.y_len() + row]);
                    let first = n * s.x_len + s.x_offset + row / s.out_features / s.share * s.x_stride;
                    for i in 0..s.in_features {
                        gx[first + i] += g * f64::from(w[row * s.in_features + i]);
                        gw[row * s.in_features + i] += g * f64::from(x[first + i]);
                    }
                }
            }
            each_cpu(
                |cpu| {
                    let mut gx = vec![f32::NAN; s.n * s.x_len];
                    linear_dx(cpu, &mut scratch(&s, Pass::Dx, cpu), &s, &gy, &w, &mut gx);
                    gx
                },
                |got| close(&name, got, &gx, 3e-6),
            );
            each_cpu(
                |cpu| {
                    let mut gw = vec![f32::NAN; s.weight_len()];
                    linear_dw(cpu, &mut scratch(&s, Pass::Dw, cpu), &s, &x, &gy, &mut gw);
                    gw
                },
                |got| close(&name, got, &gw, 3e-6),
            );
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        let s = case(3, 4, 2, 5, 3, 1, 2);
        let (x, w) = (numbers(1, s.n * s.x_len), numbers(2, s.weight_len()));
        let (b, gy) = (numbers(3, s.y_len()), numbers(4, s.n * s.y_len()));
        let gx = numerical(&x, &gy, |x| reference(&s, x, &wide(&w), &wide(&b)));
        let gw = numerical(&w, &gy, |w| reference(&s, &wide(&x), w, &wide(&b)));
        each_cpu(
            |cpu| {
                let mut got = vec![f32::NAN; s.n * s.x_len];
                linear_dx(cpu, &mut scratch(&s, Pass::Dx, cpu), &s, &gy, &w, &mut got);
                got
            },
            |got| close("gx", got, &gx, 1e-5),
        );
        each_cpu(
            |cpu| {
                let mut got = vec![f32::NAN; s.weight_len()];
                linear_dw(cpu, &mut scratch(&s, Pass::Dw, cpu), &s, &x, &gy, &mut got);
                got
            },
            |got| close("gw", got, &gw, 1e-5),
        );
    }

    #[test]
    fn a_batch_is_its_samples() {
        for s in cases() {
            let (x, w) = (numbers(1, s.n * s.x_len), numbers(2, s.weight_len()));
            let gy = numbers(4, s.n * s.y_len());
            let one = LinearShape { n: 1, ..s };
            each_cpu(
                |cpu| {
                    let (mut y, mut gx) = (vec![0.0; s.n * s.y_len()], vec![0.0; s.n * s.x_len]);
                    linear(cpu, &mut scratch(&s, Pass::Forward, cpu), &s, &x, &w, None, Activation::Relu, &mut y);
                    linear_dx(cpu, &mut scratch(&s, Pass::Dx, cpu), &s, &gy, &w, &mut gx);
                    for n in 0..s.n {
                        let (mut y1, mut gx1) = (vec![0.0; s.y_len()], vec![0.0; s.x_len]);
                        let x = &x[n * s.x_len..][..s.x_len];
                        linear(
                            cpu,
                            &mut scratch(&one, Pass::Forward, cpu),
                            &one,
                            x,
                            &w,
                            None,
                            Activation::Relu,
                            &mut y1,
                        );
                        linear_dx(
                            cpu,
                            &mut scratch(&one, Pass::Dx, cpu),
                            &one,
                            &gy[n * s.y_len()..][..s.y_len()],
                            &w,
                            &mut gx1,
                        );
                        assert_eq!(y1, y[n * s.y_len()..][..s.y_len()], "{s:?} sample {n}");
                        assert_eq!(gx1, gx[n * s.x_len..][..s.x_len], "{s:?} sample {n}");
                    }
                    y
                },
                |_| {},
            );
        }
    }
}
