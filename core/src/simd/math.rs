//! Exponential and arctangent, a vector at a time.
//!
//! exp: `x = n·ln 2 + r` with integral n and |r| ≤ ½ ln 2; ln 2 in two parts, the first short enough that n times it is exact
//! (Cody and Waite, "Software manual for the elementary functions", 1980). `e^r` is its Taylor polynomial of degree 7, whose
//! remainder is below 6e-9, and 2ⁿ is applied in two halves, so that results run on into infinity and the subnormals.
//!
//! atan: on 0..=1 an odd polynomial of degree 19, above 1 by `atan x = ½π − atan(1/x)`. Its coefficients are a least-maximum
//! fit of the relative error (Lawson's reweighted least squares over 4000 Chebyshev nodes), 3e-9 at most, rounded to f32.
//!
//! Errors against f64 are tested below: at most 2 ULP for exp, 4 for atan, on every instruction set.

use super::Simd;
use core::f32::consts::{FRAC_PI_2, LOG2_E};

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

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::Op;
    use super::*;
    use crate::cpu::Isa;
    use std::vec::Vec;

    struct Map<'a>(bool, &'a [f32], &'a mut [f32]);

    impl Op for Map<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (x, y) in self.1.chunks(S::LANES).zip(self.2.chunks_mut(S::LANES)) {
                let x = s.load_part(x);
                s.store_part(y, if self.0 { exp(s, x) } else { atan(s, x) });
            }
        }
    }

    /// Largest error in units of the last place of the true value.
    fn worst(isa: Isa, is_exp: bool, x: &[f32]) -> (f64, f32) {
        let mut y = std::vec![0.0; x.len()];
        isa.run(Map(is_exp, x, &mut y));
        let mut worst = (0.0, 0.0);
        for (&x, &y) in x.iter().zip(&y) {
            let want = if is_exp { f64::from(x).exp() } else { f64::from(x).atan() };
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
            let (error, at) = worst(isa, true, &x);
            std::println!("{}: exp off by {error:.2} ulp at {at}", isa.name());
            assert!(error <= 2.0, "{isa:?}: exp({at}) is off by {error} ulp");
        }
    }

    #[test]
    fn atan_is_within_four_ulp() {
        let x = dense(0.0, f32::MAX);
        for isa in Isa::all() {
            let (error, at) = worst(isa, false, &x);
            std::println!("{}: atan off by {error:.2} ulp at {at}", isa.name());
            assert!(error <= 4.0, "{isa:?}: atan({at}) is off by {error} ulp");
        }
    }

    #[test]
    fn the_ends_are_right() {
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        for isa in Isa::all() {
            let mut y = [1.0; 5];
            isa.run(Map(true, &x, &mut y));
            assert!(y[0].is_nan());
            assert_eq!(y[1..], [f32::INFINITY, 0.0, 1.0, 1.0]);
            isa.run(Map(false, &x, &mut y));
            assert!(y[0].is_nan());
            assert_eq!(y[1..], [FRAC_PI_2, -FRAC_PI_2, 0.0, 0.0]);
            assert!(y[4].is_sign_negative());
        }
    }
}
