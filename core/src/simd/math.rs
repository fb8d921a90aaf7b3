//! Exponential, arctangent, hyperbolic tangent and the normal distribution, a vector at a time.
//!
//! exp: `x = n·ln 2 + r` with integral n and |r| ≤ ½ ln 2; ln 2 in two parts, the first short enough that n times it is exact
//! (Cody and Waite, "Software manual for the elementary functions", 1980). `e^r` is its Taylor polynomial of degree 7, whose
//! remainder is below 6e-9, and 2ⁿ is applied in two halves, so that results run on into infinity and the subnormals.
//!
//! atan: on 0..=1 an odd polynomial of degree 19, above 1 by `atan x = ½π − atan(1/x)`. Its coefficients are a least-maximum
//! fit of the relative error (Lawson's reweighted least squares over 4000 Chebyshev nodes), 3e-9 at most, rounded to f32.
//!
//! tanh: below 0.625 an odd polynomial of degree 11, above by `1 − 2/(e^{2x} + 1)`. Φ(x), the share of a standard normal below
//! x, is `½ + ½·erf(x/√2)` with an odd polynomial of degree 11 for erf below 0.95, above by `½·erfc`, whose logarithm is a
//! polynomial of degree 7. Coefficients fitted in the same way, errors 5e-9 and 3e-8.
//!
//! Errors against f64 are tested below: at most 2 ULP for exp, 4 for atan and tanh, 1e-7 for Φ, on every instruction set.

use super::Simd;
use core::f32::consts::{FRAC_1_SQRT_2, FRAC_PI_2, LOG2_E};

/// ln 2 cut after ten bits, and the rest.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// `1/k!` for k = 7, 6, … 2.
const EXP: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
/// Coefficients of z¹⁹, z¹⁷, … z³; that of z is 1.
const ATAN: [f32; 9] = [
    -0.001_793_622_6,
    0.010_914_61,
    -0.031_177_854,
    0.057_957_6,
    -0.084_034_51,
    0.109_521_86,
    -0.142_642_42,
    0.199_985_49,
    -0.333_333,
];
/// What ½π is above its f32.
const FRAC_PI_2_REST: f32 = -4.371_139e-8;

/// Coefficients of x¹¹, x⁹, … x³ of tanh; that of x is 1.
const TANH: [f32; 5] = [-0.005_704_987_3, 0.020_639_088, -0.053_739_715, 0.133_314_42, -0.333_332_8];
/// Coefficients of x¹¹, x⁹, … x of erf(x) − x.
const ERF: [f32; 6] = [-0.000_586_212_4, 0.004_967_517, -0.026_748_873, 0.112_813_21, -0.376_124_47, 0.128_379_14];
/// Coefficients of x⁷, x⁶, … x of ln erfc(x) + x, for x in 0.9..=4.
const LN_ERFC: [f32; 7] =
    [-1.636_482e-5, 0.000_370_270_83, -0.003_813_708_7, 0.024_065_448, -0.106_507_31, -0.635_043_4, -0.128_660_54];

/// `eˣ`; infinity above 88.73, 0 below −103.98, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // The bound comes first, so that NaN, the second operand, passes.
    let x = s.min(s.splat(89.0), s.max(s.splat(-105.0), x));
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.fma(n, s.splat(-LN_2.0), x);
    let r = s.fma(n, s.splat(-LN_2.1), r);
    let mut p = s.splat(EXP[0]);
    for k in 1..EXP.len() {
        p = s.fma(p, r, s.splat(EXP[k]));
    }
    let p = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    let half = s.round(s.mul(n, s.splat(0.5)));
    s.mul(s.mul(p, s.exp2i(half)), s.exp2i(s.sub(n, half)))
}

/// The arctangent, in radians; NaN for NaN.
#[inline(always)]
pub(crate) fn atan<S: Simd>(s: S, x: S::V) -> S::V {
    let size = s.abs(x);
    let one = s.splat(1.0);
    let large = s.lt(one, size);
    let z = s.select(large, s.div(one, size), size);
    let t = s.mul(z, z);
    let mut p = s.splat(ATAN[0]);
    for k in 1..ATAN.len() {
        p = s.fma(p, t, s.splat(ATAN[k]));
    }
    let p = s.fma(s.mul(p, t), z, z);
    let beyond = s.add(s.sub(s.splat(FRAC_PI_2), p), s.splat(FRAC_PI_2_REST));
    s.copysign(s.select(large, beyond, p), x)
}

/// The hyperbolic tangent; NaN for NaN.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let size = s.abs(x);
    let t = s.mul(x, x);
    let mut p = s.splat(TANH[0]);
    for k in 1..TANH.len() {
        p = s.fma(p, t, s.splat(TANH[k]));
    }
    let near = s.fma(s.mul(p, t), x, x);
    let e = exp(s, s.add(size, size));
    let far = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
    s.select(s.lt(size, s.splat(0.625)), near, s.copysign(far, x))
}

/// Φ(x), the share of a standard normal below x; NaN for NaN.
#[inline(always)]
pub(crate) fn normal_below<S: Simd>(s: S, x: S::V) -> S::V {
    let half = s.splat(0.5);
    let z = s.mul(x, s.splat(FRAC_1_SQRT_2));
    let t = s.mul(z, z);
    let mut p = s.splat(ERF[0]);
    for k in 1..ERF.len() {
        p = s.fma(p, t, s.splat(ERF[k]));
    }
    let near = s.fma(half, s.fma(p, z, z), half);
    // The bound comes first, so that NaN, the second operand, passes.
    let size = s.min(s.splat(4.0), s.abs(z));
    let mut q = s.splat(LN_ERFC[0]);
    for k in 1..LN_ERFC.len() {
        q = s.fma(q, size, s.splat(LN_ERFC[k]));
    }
    let beyond = s.mul(half, exp(s, s.sub(s.mul(q, size), size)));
    let far = s.select(s.lt(x, s.zero()), beyond, s.sub(s.splat(1.0), beyond));
    s.select(s.lt(s.abs(z), s.splat(0.95)), near, far)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::Op;
    use super::*;
    use crate::cpu::Isa;
    use std::vec::Vec;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Function {
        Exp,
        Atan,
        Tanh,
    }

    struct Map<'a>(Function, &'a [f32], &'a mut [f32]);

    impl Op for Map<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (x, y) in self.1.chunks(S::LANES).zip(self.2.chunks_mut(S::LANES)) {
                let x = s.load_part(x);
                let v = match self.0 {
                    Function::Exp => exp(s, x),
                    Function::Atan => atan(s, x),
                    Function::Tanh => tanh(s, x),
                };
                s.store_part(y, v);
            }
        }
    }

    /// Largest error in units of the last place of the true value.
    fn worst(isa: Isa, function: Function, x: &[f32]) -> (f64, f32) {
        let mut y = std::vec![0.0; x.len()];
        isa.run(Map(function, x, &mut y));
        let mut worst = (0.0, 0.0);
        for (&x, &y) in x.iter().zip(&y) {
            let want = match function {
                Function::Exp => f64::from(x).exp(),
                Function::Atan => f64::from(x).atan(),
                Function::Tanh => f64::from(x).tanh(),
            };
            let rounded = want as f32;
            if rounded.is_infinite() {
                assert_eq!(y, rounded, "exp({x})");
                continue;
            }
            let ulp = f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs());
            let error = (f64::from(y) - want).abs() / ulp;
            if error.is_nan() || error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    /// Every 997th float between two positive ones, and their negatives.
    fn dense(from: f32, to: f32) -> Vec<f32> {
        (from.to_bits()..=to.to_bits()).step_by(997).map(f32::from_bits).flat_map(|x| [x, -x]).collect()
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let x = dense(0.0, 110.0);
        for isa in Isa::all() {
            let (error, at) = worst(isa, Function::Exp, &x);
            std::println!("{}: exp off by {error:.2} ulp at {at}", isa.name());
            assert!(error <= 2.0, "{isa:?}: exp({at}) is off by {error} ulp");
        }
    }

    #[test]
    fn atan_is_within_four_ulp() {
        let x = dense(0.0, f32::MAX);
        for isa in Isa::all() {
            let (error, at) = worst(isa, Function::Atan, &x);
            std::println!("{}: atan off by {error:.2} ulp at {at}", isa.name());
            assert!(error <= 4.0, "{isa:?}: atan({at}) is off by {error} ulp");
        }
    }

    #[test]
    fn tanh_is_within_four_ulp() {
        let x = dense(0.0, f32::MAX);
        for isa in Isa::all() {
            let (error, at) = worst(isa, Function::Tanh, &x);
            std::println!("{}: tanh off by {error:.2} ulp at {at}", isa.name());
            assert!(error <= 4.0, "{isa:?}: tanh({at}) is off by {error} ulp");
        }
    }

    struct Normal<'a>(&'a [f32], &'a mut [f32]);

    impl Op for Normal<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (x, y) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
                s.store_part(y, normal_below(s, s.load_part(x)));
            }
        }
    }

    #[test]
    fn normal_below_is_within_a_ten_millionth() {
        let x: Vec<f32> = (-80_000..=80_000).map(|i| i as f32 * 1e-4).collect();
        for isa in Isa::all() {
            let mut y = std::vec![f32::NAN; x.len()];
            isa.run(Normal(&x, &mut y));
            for (&x, &y) in x.iter().zip(&y) {
                let want = 0.5 * libm::erfc(-f64::from(x) * std::f64::consts::FRAC_1_SQRT_2);
                assert!((f64::from(y) - want).abs() <= 1e-7, "{isa:?}: Φ({x}) is {y}, should be {want}");
            }
            let mut y = [0.0; 3];
            isa.run(Normal(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &mut y));
            assert!(y[0].is_nan() && y[1] == 1.0 && y[2] < 1e-7, "{y:?}");
        }
    }

    #[test]
    fn the_ends_are_right() {
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        for isa in Isa::all() {
            let mut y = [1.0; 5];
            isa.run(Map(Function::Exp, &x, &mut y));
            assert!(y[0].is_nan());
            assert_eq!(y[1..], [f32::INFINITY, 0.0, 1.0, 1.0]);
            isa.run(Map(Function::Atan, &x, &mut y));
            assert!(y[0].is_nan());
            assert_eq!(y[1..], [FRAC_PI_2, -FRAC_PI_2, 0.0, 0.0]);
            assert!(y[4].is_sign_negative());
        }
    }
}
