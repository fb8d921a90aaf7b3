//! Activations with a slope everywhere, from the engine's own exponential: `σ(x) = 1/(1 + e⁻ˣ)` and `silu(x) = x·σ(x)`.
//!
//! With `t = e^{−|x|}`, which never overflows, `σ(|x|) = 1/(1 + t)` and `σ(−|x|) = t/(1 + t)` are both accurate, and
//! `1 − σ(x) = σ(−x)` without cancellation. Slopes are taken at x: `σ' = σ(x)·σ(−x)`, `silu' = σ(x)·(1 + x·σ(−x))`; that of
//! silu cannot be read off its output, which takes most negative values twice. NaN passes.
//!
//! `gelu(x) = x·Φ(x)`, Φ the share of a standard normal below x; slope `Φ(x) + x·φ(x)`, φ the normal density. The global scale
//! is `0.2·ln(1 + e^{x/2})`, positive, 1 at 9.98648; slope `0.1·σ(x/2)`. `ln(1 + t)` for t in 0..=1 is `2 artanh(t/(2 + t))`,
//! whose series needs nine terms: nothing cancels for small t.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd, math};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// `x·σ(x)`, also called swish.
    Silu,
    /// `σ(x) = 1/(1 + e⁻ˣ)`
    Sigmoid,
    /// `x·Φ(x)`
    Gelu,
    /// `0.2·ln(1 + e^{x/2})`: the scale of a channel from its parameter.
    GlobalScale,
}

/// 1/√(2π).
const DENSITY: f32 = 0.398_942_3;

/// Elements that one task handles; fixed, so that the partition never depends on the number of threads.
const CHUNK: usize = 8192;

/// `y = f(x)`, element by element.
pub fn smooth(cpu: Cpu<'_>, curve: Curve, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    cpu.threads().chunks_mut(y, CHUNK, &|chunk, _, y| {
        let x = &x[chunk * CHUNK..][..y.len()];
        cpu.isa().run(Forward { curve, x, y });
    });
}

/// `gx = gy · f'(x)`, element by element.
pub fn smooth_dx(cpu: Cpu<'_>, curve: Curve, gy: &[f32], x: &[f32], gx: &mut [f32]) {
    assert_eq!((gy.len(), x.len()), (gx.len(), gx.len()), "lengths of gy and x");
    cpu.threads().chunks_mut(gx, CHUNK, &|chunk, _, gx| {
        let part = chunk * CHUNK..chunk * CHUNK + gx.len();
        cpu.isa().run(Gradient { curve, gy: &gy[part.clone()], x: &x[part], gx });
    });
}

/// `σ(x)` and `σ(−x)`.
#[inline(always)]
fn sigmoids<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let one = s.splat(1.0);
    let t = math::exp(s, s.sub(s.zero(), s.abs(x)));
    let large = s.div(one, s.add(one, t));
    let small = s.mul(t, large);
    let negative = s.lt(x, s.zero());
    (s.select(negative, small, large), s.select(negative, large, small))
}

/// `ln(1 + eˣ)`
#[inline(always)]
fn softplus<S: Simd>(s: S, x: S::V) -> S::V {
    let t = math::exp(s, s.sub(s.zero(), s.abs(x)));
    let z = s.div(t, s.add(t, s.splat(2.0)));
    let square = s.mul(z, z);
    let mut p = s.splat(1.0 / 17.0);
    for k in (0..8).rev() {
        p = s.fma(p, square, s.splat(1.0 / (2 * k + 1) as f32));
    }
    // The bound comes first, so that NaN, the second operand, passes.
    s.fma(s.add(z, z), p, s.max(s.zero(), x))
}

struct Forward<'a> {
    curve: Curve,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (y, x) in self.y.chunks_mut(S::LANES).zip(self.x.chunks(S::LANES)) {
            let x = s.load_part(x);
            let value = match self.curve {
                Curve::Silu => s.mul(x, sigmoids(s, x).0),
                Curve::Sigmoid => sigmoids(s, x).0,
                Curve::Gelu => s.mul(x, math::normal_below(s, x)),
                Curve::GlobalScale => s.mul(s.splat(0.2), softplus(s, s.mul(x, s.splat(0.5)))),
            };
            s.store_part(y, value);
        }
    }
}

struct Gradient<'a> {
    curve: Curve,
    gy: &'a [f32],
    x: &'a [f32],
    gx: &'a mut [f32],
}

impl Op for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        let rows = self.gy.chunks(S::LANES).zip(self.x.chunks(S::LANES));
        for (gx, (gy, x)) in self.gx.chunks_mut(S::LANES).zip(rows) {
            let x = s.load_part(x);
            let (up, down) = sigmoids(s, x);
            let slope = match self.curve {
                Curve::Silu => s.mul(up, s.add(one, s.mul(x, down))),
                Curve::Sigmoid => s.mul(up, down),
                Curve::Gelu => {
                    let density = s.mul(s.splat(DENSITY), math::exp(s, s.mul(s.mul(x, x), s.splat(-0.5))));
                    s.fma(x, density, math::normal_below(s, x))
                }
                Curve::GlobalScale => s.mul(s.splat(0.1), sigmoids(s, s.mul(x, s.splat(0.5))).0),
            };
            s.store_part(gx, s.mul(s.load_part(gy), slope));
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn definition(curve: Curve) -> impl Fn(&[f64]) -> Vec<f64> {
        move |x| {
            let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
            let f = |x: &f64| match curve {
                Curve::Silu => x * sigmoid(*x),
                Curve::Sigmoid => sigmoid(*x),
                Curve::Gelu => 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
                Curve::GlobalScale => 0.2 * libm::log1p(libm::exp(0.5 * x)),
            };
            x.iter().map(f).collect()
        }
    }

    #[test]
    fn values_and_slopes() {
        for len in SIZES.into_iter().chain([0, CHUNK + 1]) {
            let x: Vec<f32> = numbers(1, len).iter().map(|x| 12.0 * x).collect();
            let gy = numbers(2, len);
            for curve in [Curve::Silu, Curve::Sigmoid, Curve::Gelu, Curve::GlobalScale] {
                // Errors are shares of the largest value, which must not be gelu's tail alone.
                let x: Vec<f32> = x.iter().map(|x| if curve == Curve::Gelu { 0.5 * x + 5.0 } else { *x }).collect();
                each_cpu(
                    |cpu| {
                        let mut y = vec![f32::NAN; len];
                        smooth(cpu, curve, &x, &mut y);
                        y
                    },
                    |y| close("y", y, &definition(curve)(&wide(&x)), 4e-7),
                );
                if len <= 65 {
                    let want = numerical(&x, &gy, definition(curve));
                    each_cpu(
                        |cpu| {
                            let mut gx = vec![f32::NAN; len];
                            smooth_dx(cpu, curve, &gy, &x, &mut gx);
                            gx
                        },
                        |gx| close("gx", gx, &want, 1e-6),
                    );
                }
            }
        }
    }

    #[test]
    fn the_ends_are_right() {
        let x = [f32::NAN, -1e30, 1e30, -200.0, 200.0, 0.0];
        let of = |curve, gradient| {
            move |cpu: Cpu<'_>| {
                let mut y = vec![1.0; x.len()];
                if gradient {
                    smooth_dx(cpu, curve, &[1.0; 6], &x, &mut y);
                } else {
                    smooth(cpu, curve, &x, &mut y);
                }
                assert!(y[0].is_nan());
                y[0] = 0.0;
                y
            }
        };
        each_cpu(of(Curve::Sigmoid, false), |y| assert_eq!(y[1..], [0.0, 1.0, 0.0, 1.0, 0.5]));
        each_cpu(of(Curve::Silu, false), |y| assert_eq!(y[1..], [0.0, 1e30, 0.0, 200.0, 0.0]));
        each_cpu(of(Curve::Sigmoid, true), |y| assert_eq!(y[1..], [0.0, 0.0, 0.0, 0.0, 0.25]));
        each_cpu(of(Curve::Silu, true), |y| assert_eq!(y[1..], [0.0, 1.0, 0.0, 1.0, 0.5]));
    }

    #[test]
    fn the_global_scale_is_one_where_it_starts() {
        let start = 2.0 * libm::log(libm::exp(5.0) - 1.0) as f32;
        each_cpu(
            |cpu| {
                let mut y = vec![f32::NAN];
                smooth(cpu, Curve::GlobalScale, &[start], &mut y);
                y
            },
            |y| assert!((y[0] - 1.0).abs() < 1e-6, "{y:?}"),
        );
    }
}
