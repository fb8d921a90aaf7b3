//! Per-channel sums, and `y = x · scale_c + shift_c`: biases, standardisation and activation normalisation.

use crate::cpu::Cpu;

/// `out_c = Σ g[n, c, p]` over batch and positions: the gradient of a bias or of a shift. g `[n, c, hw]`.
pub fn channel_sum(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, g: &[f32], out: &mut [f32]) {
    assert_eq!(g.len(), n * c * hw, "length of g");
    assert_eq!(out.len(), c, "length of out");
    cpu.threads().chunks_mut(out, 64, &|chunk, _, out| {
        for (k, out) in out.iter_mut().enumerate() {
            let channel = chunk * 64 + k;
            *out = (0..n).map(|n| g[(n * c + channel) * hw..][..hw].iter().sum::<f32>()).sum();
        }
    });
}

/// `y = x · scale_c + shift_c`. x, y `[n, c, hw]`.
pub fn scale_shift(
    cpu: Cpu<'_>,
    n: usize,
    c: usize,
    hw: usize,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    y: &mut [f32],
) {
    assert_eq!((x.len(), y.len()), (n * c * hw, n * c * hw), "lengths of x and y");
    assert_eq!((scale.len(), shift.len()), (c, c), "lengths of scale and shift");
    if y.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(y, hw, &|plane, _, y| {
        let (scale, shift) = (scale[plane % c], shift[plane % c]);
        y.iter_mut().zip(&x[plane * hw..]).for_each(|(y, x)| *y = x * scale + shift);
    });
}

/// Gradient of [`scale_shift`] by x: `gx = g · scale_c`.
pub fn scale_shift_dx(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, g: &[f32], scale: &[f32], gx: &mut [f32]) {
    assert_eq!((g.len(), gx.len()), (n * c * hw, n * c * hw), "lengths of g and gx");
    assert_eq!(scale.len(), c, "length of scale");
    if gx.is_empty() {
        return;
    }
    cpu.threads().chunks_mut(gx, hw, &|plane, _, gx| {
        gx.iter_mut().zip(&g[plane * hw..]).for_each(|(gx, g)| *gx = g * scale[plane % c]);
    });
}

/// Gradient of [`scale_shift`] by the scale: `out_c = Σ g · x`.
pub fn scale_shift_dscale(cpu: Cpu<'_>, n: usize, c: usize, hw: usize, g: &[f32], x: &[f32], out: &mut [f32]) {
    assert_eq!((g.len(), x.len()), (n * c * hw, n * c * hw), "lengths of g and x");
    assert_eq!(out.len(), c, "length of out");
    cpu.threads().chunks_mut(out, 16, &|chunk, _, out| {
        for (k, out) in out.iter_mut().enumerate() {
            let channel = chunk * 16 + k;
            *out = (0..n)
                .map(|n| {
                    let at = (n * c + channel) * hw;
                    g[at..][..hw].iter().zip(&x[at..]).map(|(g, x)| g * x).sum::<f32>()
                })
                .sum();
        }
    });
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn cases() -> impl Iterator<Item = (usize, usize, usize)> {
        SIZES.iter().flat_map(|&s| [(3, s, 2), (2, 3, s), (s, 2, 3), (5, s, 1)]).chain([(0, 3, 4), (2, 100, 33)])
    }

    #[test]
    fn sums_match_the_definition() {
        for (n, c, hw) in cases() {
            let (g, x) = (numbers(1, n * c * hw), numbers(2, n * c * hw));
            let (mut sum, mut dot) = (vec![0.0f64; c], vec![0.0f64; c]);
            for k in 0..n * c * hw {
                sum[k / hw % c] += f64::from(g[k]);
                dot[k / hw % c] += f64::from(g[k]) * f64::from(x[k]);
            }
            each_cpu(
                |cpu| {
                    let mut out = vec![f32::NAN; c];
                    channel_sum(cpu, n, c, hw, &g, &mut out);
                    out
                },
                |out| close("sum", out, &sum, 3e-6),
            );
            each_cpu(
                |cpu| {
                    let mut out = vec![f32::NAN; c];
                    scale_shift_dscale(cpu, n, c, hw, &g, &x, &mut out);
                    out
                },
                |out| close("dscale", out, &dot, 3e-6),
            );
        }
    }

    #[test]
    fn scale_shift_matches_and_its_gradient_too() {
        for (n, c, hw) in cases() {
            let (x, gy) = (numbers(1, n * c * hw), numbers(2, n * c * hw));
            let (scale, shift) = (numbers(3, c), numbers(4, c));
            let f = |x: &[f64]| -> Vec<f64> {
                let at = |k: usize| k / hw % c;
                x.iter().enumerate().map(|(k, x)| x * f64::from(scale[at(k)]) + f64::from(shift[at(k)])).collect()
            };
            let want = f(&wide(&x));
            let gx: Vec<f64> = (0..x.len()).map(|k| f64::from(gy[k]) * f64::from(scale[k / hw % c])).collect();
            each_cpu(
                |cpu| {
                    let mut y = vec![f32::NAN; x.len()];
                    scale_shift(cpu, n, c, hw, &x, &scale, &shift, &mut y);
                    y
                },
                |y| close("y", y, &want, 1e-6),
            );
            each_cpu(
                |cpu| {
                    let mut got = vec![f32::NAN; x.len()];
                    scale_shift_dx(cpu, n, c, hw, &gy, &scale, &mut got);
                    got
                },
                |got| close("gx", got, &gx, 1e-6),
            );
            if x.len() < 60 {
                close("difference", &gx.iter().map(|&g| g as f32).collect::<Vec<_>>(), &numerical(&x, &gy, f), 1e-5);
            }
        }
    }
}
