//! Sums over a sample, a position or a batch: losses, scores, norms.
//!
//! A sum always runs in the same order, whatever the number of threads: outputs are shared out, or a fixed number of
//! parts is.

use super::elementwise::Scale;
use crate::cpu::Cpu;
use crate::simd::{Op, Simd, sum};

/// Loss of a flow per sample: `loss = (½·Σ z² − J) / d`. z `[n, d]`, j and loss `[n]`.
pub fn flow_nll(cpu: Cpu<'_>, n: usize, d: usize, z: &[f32], j: &[f32], loss: &mut [f32]) {
    assert_eq!(z.len(), n * d, "length of z");
    assert_eq!((j.len(), loss.len()), (n, n), "lengths of j and loss");
    cpu.threads().chunks_mut(loss, 1, &|n, _, loss| {
        loss[0] = (0.5 * cpu.isa().run(Squares(&z[n * d..][..d])) - j[n]) / d as f32;
    });
}

/// Gradient of [`flow_nll`] by z: `gz = g · z / d`. (By j it is `−g / d`.) g `[n]`.
pub fn flow_nll_dz(cpu: Cpu<'_>, n: usize, d: usize, g: &[f32], z: &[f32], gz: &mut [f32]) {
    assert_eq!(g.len(), n, "length of g");
    assert_eq!((z.len(), gz.len()), (n * d, n * d), "lengths of z and gz");
    if gz.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(gz, d, &|n, _, gz| {
        let z = &z[n * d..][..d];
        cpu.isa().run(Scale { scale: g[n] / d as f32, x: z, y: gz });
    });
}

/// Gradient of [`flow_nll`] by j: `gj = −g / d`. g, gj `[n]`.
pub fn flow_nll_dj(d: usize, g: &[f32], gj: &mut [f32]) {
    assert_eq!(g.len(), gj.len(), "length of g");
    gj.iter_mut().zip(g).for_each(|(gj, g)| *gj = -g / d as f32);
}

/// `y = scale · Σ x²` of each sample. x `[n, len]`, y `[n]`.
pub fn square_sum(cpu: Cpu<'_>, n: usize, len: usize, scale: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!((x.len(), y.len()), (n * len, n), "lengths of x and y");
    cpu.threads().chunks_mut(y, 1, &|n, _, y| y[0] = scale * cpu.isa().run(Squares(&x[n * len..][..len])));
}

/// Gradient of [`square_sum`]: `gx = 2 · scale · g · x`. g `[n]`.
pub fn square_sum_dx(cpu: Cpu<'_>, n: usize, len: usize, scale: f32, g: &[f32], x: &[f32], gx: &mut [f32]) {
    assert_eq!(g.len(), n, "length of g");
    assert_eq!((x.len(), gx.len()), (n * len, n * len), "lengths of x and gx");
    if gx.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(gx, len, &|n, _, gx| {
        cpu.isa().run(Scale { scale: 2.0 * scale * g[n], x: &x[n * len..][..len], y: gx });
    });
}

/// `y_p = scale · Σ_c x[c, p]²`, a map of each sample. x `[n, c, hw]`, y `[n, hw]`.
pub fn channel_square_sum(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, scale: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!((x.len(), y.len()), (n * c * hw, n * hw), "lengths of x and y");
    if y.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(y, hw, &|n, _, y| {
        cpu.isa().run(ChannelSquares { x: &x[n * c * hw..][..c * hw], scale, y });
    });
}

/// Gradient of [`channel_square_sum`]: `gx = 2 · scale · g_p · x`. g `[n, hw]`.
pub fn channel_square_sum_dx(
    cpu: Cpu<'_>,
    n: usize,
    c: usize,
    hw: usize,
    scale: f32,
    g: &[f32],
    x: &[f32],
    gx: &mut [f32],
) {
    assert_eq!(g.len(), n * hw, "length of g");
    assert_eq!((x.len(), gx.len()), (n * c * hw, n * c * hw), "lengths of x and gx");
    if gx.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(gx, hw, &|plane, _, gx| {
        let (g, x) = (&g[plane / c * hw..][..hw], &x[plane * hw..][..hw]);
        cpu.isa().run(ScaleBy { scale: 2.0 * scale, g, x, y: gx });
    });
}

/// Mean of a batch of losses, accumulated in f64 from the first sample to the last; 0 for none.
pub fn batch_mean(loss: &[f32]) -> f32 {
    let sum: f64 = loss.iter().map(|&l| f64::from(l)).sum();
    if loss.is_empty() { 0.0 } else { (sum / loss.len() as f64) as f32 }
}

/// Parts of [`square_parts`]; a constant, so that the order of the sums is one too.
pub const PARTS: usize = 64;

/// `y[k] = Σ x²` over part k of x, in [`PARTS`] parts of one length (the last ones shorter or empty).
pub fn square_parts(cpu: Cpu<'_>, x: &[f32], y: &mut [f32]) {
    assert_eq!(y.len(), PARTS, "length of y");
    let len = x.len().div_ceil(PARTS).max(1);
    cpu.threads().chunks_mut(y, 1, &|part, _, out| {
        let first = (part * len).min(x.len());
        let x = &x[first..(first + len).min(x.len())];
        out[0] = x.chunks(4096).map(|x| f64::from(cpu.isa().run(Squares(x)))).sum::<f64>() as f32;
    });
}

/// Mean of the k largest of each sample, k clamped to 1..=len. x `[n, len]`, y `[n]`. Positive NaNs count as largest.
pub fn top_mean(cpu: Cpu<'_>, n: usize, len: usize, k: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!((x.len(), y.len()), (n * len, n), "lengths of x and y");
    if len == 0 {
        return y.fill(0.0);
    }
    let k = k.clamp(1, len);
    cpu.threads().chunks_mut(y, 1, &|n, _, y| {
        let x = &x[n * len..][..len];
        let (limit, ties) = kth_largest(x, k);
        let sum = x.iter().filter(|x| key(**x) > limit).fold(0.0f64, |sum, &x| sum + f64::from(x));
        y[0] = ((sum + ties as f64 * f64::from(value(limit))) / k as f64) as f32;
    });
}

/// Gradient of [`top_mean`]: `g / k` at the k largest, the first of equal ones, 0 elsewhere. g `[n]`.
pub fn top_mean_dx(cpu: Cpu<'_>, n: usize, len: usize, k: usize, g: &[f32], x: &[f32], gx: &mut [f32]) {
    assert_eq!(g.len(), n, "length of g");
    assert_eq!((x.len(), gx.len()), (n * len, n * len), "lengths of x and gx");
    if gx.is_empty() {
        return;
    }
    let k = k.clamp(1, len);
    cpu.threads().chunks_mut(gx, len, &|n, _, gx| {
        let x = &x[n * len..][..len];
        let (limit, mut ties) = kth_largest(x, k);
        let share = g[n] / k as f32;
        for (gx, &x) in gx.iter_mut().zip(x) {
            let tie = key(x) == limit && ties > 0;
            ties -= usize::from(tie);
            *gx = if key(x) > limit || tie { share } else { 0.0 };
        }
    });
}

/// Bits of a float in an order that integers share: negative numbers reversed, positive ones above them.
fn key(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The float of a [`key`].
fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Key of the k-th largest element (k from 1 to the length), and how many elements equal to it are among the k largest.
///
/// Radix selection: four histograms of eight bits, each among the elements whose upper bits are settled.
fn kth_largest(x: &[f32], k: usize) -> (u32, usize) {
    let (mut prefix, mut mask, mut rest) = (0u32, 0u32, k);
    for shift in [24, 16, 8, 0] {
        let mut counts = [0usize; 256];
        for &x in x {
            if key(x) & mask == prefix {
                counts[(key(x) >> shift & 255) as usize] += 1;
            }
        }
        let mut digit = 255;
        while rest > counts[digit] {
            rest -= counts[digit];
            digit -= 1;
        }
        prefix |= (digit as u32) << shift;
        mask |= 255 << shift;
    }
    (prefix, rest)
}

/// `Σ x²`
struct Squares<'a>(&'a [f32]);

impl Op for Squares<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        sum::dot(s, self.0, self.0)
    }
}

/// `y = scale · g · x`
struct ScaleBy<'a> {
    scale: f32,
    g: &'a [f32],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Op for ScaleBy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, x), g) in self.y.iter_mut().zip(self.x).zip(self.g) {
            *y = self.scale * g * x;
        }
    }
}

/// `y_p = scale · Σ_c x[c, p]²`
struct ChannelSquares<'a> {
    x: &'a [f32],
    scale: f32,
    y: &'a mut [f32],
}

impl Op for ChannelSquares<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let hw = self.y.len();
        for (k, y) in self.y.chunks_mut(S::LANES).enumerate() {
            let mut total = s.zero();
            for x in self.x.chunks_exact(hw) {
                let x = s.load_part(&x[k * S::LANES..][..y.len()]);
                total = s.fma(x, x, total);
            }
            s.store_part(y, s.mul(total, s.splat(self.scale)));
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn squares(x: &[f64], len: usize) -> Vec<f64> {
        x.chunks(len).map(|x| x.iter().map(|x| x * x).sum()).collect()
    }

    #[test]
    fn flow_loss_and_gradients() {
        for d in SIZES.into_iter().chain([768]) {
            let n = 3;
            let (z, j, g) = (numbers(1, n * d), numbers(2, n), numbers(3, n));
            let loss = |z: &[f64], j: &[f64]| -> Vec<f64> {
                squares(z, d).iter().zip(j).map(|(s, j)| (0.5 * s - j) / d as f64).collect()
            };
            each_cpu(
                |cpu| {
                    let mut out = vec![f32::NAN; n];
                    flow_nll(cpu, n, d, &z, &j, &mut out);
                    out
                },
                |out| close("loss", out, &loss(&wide(&z), &wide(&j)), 3e-6),
            );
            each_cpu(
                |cpu| {
                    let mut gz = vec![f32::NAN; n * d];
                    flow_nll_dz(cpu, n, d, &g, &z, &mut gz);
                    gz
                },
                |gz| close("gz", gz, &numerical(&z, &g, |z| loss(z, &wide(&j))), 1e-5),
            );
            let mut gj = vec![f32::NAN; n];
            flow_nll_dj(d, &g, &mut gj);
            close("gj", &gj, &numerical(&j, &g, |j| loss(&wide(&z), j)), 1e-5);
        }
    }

    #[test]
    fn square_sums_and_gradients() {
        for (n, c, hw) in SIZES.iter().flat_map(|&s| [(2, s, 3), (2, 3, s), (s, 2, 2)]) {
            let (x, g, gp) = (numbers(1, n * c * hw), numbers(2, n), numbers(3, n * hw));
            let sample = |x: &[f64]| -> Vec<f64> { squares(x, c * hw).iter().map(|s| 0.25 * s).collect() };
            let position = |x: &[f64]| -> Vec<f64> {
                let mut y = vec![0.0; n * hw];
                x.iter().enumerate().for_each(|(k, x)| y[k / (c * hw) * hw + k % hw] += 0.25 * x * x);
                y
            };
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; n];
                    square_sum(cpu, n, c * hw, 0.25, &x, &mut y);
                    y
                },
                |y| close("sample", y, &sample(&wide(&x)), 3e-6),
            );
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; n * hw];
                    channel_square_sum(cpu, n, c, hw, 0.25, &x, &mut y);
                    y
                },
                |y| close("position", y, &position(&wide(&x)), 3e-6),
            );
            if x.len() < 200 {
                each_cpu(
                    |cpu| {
                        let mut gx = vec![f32::NAN; x.len()];
                        square_sum_dx(cpu, n, c * hw, 0.25, &g, &x, &mut gx);
                        gx
                    },
                    |gx| close("sample dx", gx, &numerical(&x, &g, sample), 1e-5),
                );
                each_cpu(
                    |cpu| {
                        let mut gx = vec![f32::NAN; x.len()];
                        channel_square_sum_dx(cpu, n, c, hw, 0.25, &gp, &x, &mut gx);
                        gx
                    },
                    |gx| close("position dx", gx, &numerical(&x, &gp, position), 1e-5),
                );
            }
        }
    }

    #[test]
    fn norms_and_means() {
        assert_eq!(batch_mean(&[]), 0.0);
        assert_eq!(batch_mean(&[1.0, 2.0, 6.0]), 3.0);
        for len in SIZES.into_iter().chain([0, 4097, 300_001]) {
            let x = numbers(1, len);
            let want = wide(&x).iter().map(|x| x * x).sum::<f64>().sqrt();
            each_cpu(
                |cpu| {
                    let mut parts = vec![f32::NAN; PARTS];
                    square_parts(cpu, &x, &mut parts);
                    vec![libm::sqrt(parts.iter().map(|&p| f64::from(p)).sum()) as f32]
                },
                |got| close("norm", got, &[want], 1e-6),
            );
        }
    }

    #[test]
    fn keys_keep_the_order_and_come_back() {
        let values = [f32::NEG_INFINITY, -3.0, -1e-40, -0.0, 0.0, 1e-40, 0.5, 7.0, f32::INFINITY];
        assert!(values.windows(2).all(|v| key(v[0]) < key(v[1])));
        assert!(values.iter().all(|v| value(key(*v)).to_bits() == v.to_bits()));
    }

    #[test]
    fn mean_of_the_largest() {
        for len in SIZES.into_iter().chain([1000]) {
            for k in [1, 2, len / 2, len, len + 5] {
                let n = 2;
                // Coarse values, so that there are ties.
                let x: Vec<f32> = numbers(1, n * len).iter().map(|x| (x * 8.0).round() / 8.0).collect();
                let g = [0.5, -2.0];
                let kk = k.clamp(1, len);
                let (mut want, mut gx) = (Vec::new(), vec![0.0; n * len]);
                for s in 0..n {
                    let mut order: Vec<usize> = (0..len).collect();
                    order.sort_by(|a, b| x[s * len + b].total_cmp(&x[s * len + a]).then(a.cmp(b)));
                    want.push(order[..kk].iter().map(|i| f64::from(x[s * len + i])).sum::<f64>() / kk as f64);
                    order[..kk].iter().for_each(|i| gx[s * len + i] = g[s] / kk as f32);
                }
                each_cpu(
                    |cpu| {
                        let mut y = vec![f32::NAN; n];
                        top_mean(cpu, n, len, k, &x, &mut y);
                        y
                    },
                    |y| close("top mean", y, &want, 1e-6),
                );
                each_cpu(
                    |cpu| {
                        let mut got = vec![f32::NAN; n * len];
                        top_mean_dx(cpu, n, len, k, &g, &x, &mut got);
                        got
                    },
                    |got| {
                        // -0 and 0 are different keys but equal numbers: compare the gradient away from them.
                        for (i, (got, want)) in got.iter().zip(&gx).enumerate() {
                            assert!(got == want || x[i] == 0.0, "{len} {k} {i}");
                        }
                    },
                );
            }
        }
    }
}
