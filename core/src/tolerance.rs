//! How closely two results must agree: an executor's with the f64 reference of the tests, or two executors' with each other.
//!
//! How much is allowed for an op, the op says itself ([`crate::op::Operation::tolerance`]).

#[cfg(feature = "alloc")]
use alloc::{format, string::String};

/// Allowed difference from the f64 reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// The reference rounded to f32, bit for bit (−0 equals 0).
    Exact,
    /// At most so many f32 steps from the rounded reference, for each element.
    Ulp(u32),
    /// At most this share of the largest expected magnitude, for each element. For sums of terms of both signs; the
    /// normalised mean squared error is then at most its square.
    Scaled(f64),
}

impl Tolerance {
    /// For a sum of that many terms: rounding errors add up like a random walk, so they grow with the root.
    pub fn sum(terms: usize) -> Tolerance {
        Tolerance::Scaled((6e-8 * libm::sqrt(terms as f64)).max(1e-6))
    }

    /// What becomes of a CPU's tolerance on a GPU, whose divisions and roots may be off by some steps (Vulkan, "precision and
    /// operation of SPIR-V instructions": 2.5 ULP a division, 3 a root).
    pub fn on_gpu(self) -> Tolerance {
        match self {
            Tolerance::Ulp(n) => Tolerance::Ulp(n + 4),
            Tolerance::Exact | Tolerance::Scaled(_) => self,
        }
    }

    /// Twice as much: for two results each of which may be off.
    pub fn doubled(self) -> Tolerance {
        match self {
            Tolerance::Exact => Tolerance::Exact,
            Tolerance::Ulp(n) => Tolerance::Ulp(2 * n),
            Tolerance::Scaled(eps) => Tolerance::Scaled(2.0 * eps),
        }
    }
}

/// Distance in f32 steps; `u32::MAX` where one is not a number.
#[cfg(feature = "alloc")]
fn steps(a: f32, b: f32) -> u32 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u32::MAX };
    }
    // Bits in an order that integers share, so that neighbours differ by one.
    let key = |x: f32| {
        let bits = i64::from(x.to_bits() & 0x7FFF_FFFF);
        if x.is_sign_negative() { -bits } else { bits }
    };
    (key(a) - key(b)).unsigned_abs() as u32
}

/// Describes the first element that is off by more than the tolerance, or `None`.
#[cfg(feature = "alloc")]
pub fn difference(got: &[f32], want: &[f64], tolerance: Tolerance) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{} values, expected {}", got.len(), want.len()));
    }
    let scale = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
    let off = |g: f32, w: f64| match tolerance {
        Tolerance::Exact => steps(g, w as f32) > 0,
        Tolerance::Ulp(n) => steps(g, w as f32) > n,
        Tolerance::Scaled(eps) => (f64::from(g) - w).abs() > eps * scale || g.is_nan() != w.is_nan(),
    };
    let first = (0..got.len()).find(|&i| off(got[i], want[i]))?;
    let count = (0..got.len()).filter(|&i| off(got[i], want[i])).count();
    let (g, w) = (got[first], want[first]);
    Some(format!(
        "{count} of {} values off; first [{first}]: got {g:e}, want {w:e}, off by {} steps or {:.2e} of the largest, tolerance {tolerance:?}",
        got.len(),
        steps(g, w as f32),
        (f64::from(g) - w).abs() / scale
    ))
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;

    #[test]
    fn differences_are_seen() {
        assert_eq!(difference(&[1.0, 0.0], &[1.0, -0.0], Tolerance::Exact), None);
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        assert!(difference(&[next], &[1.0], Tolerance::Exact).is_some());
        assert_eq!(difference(&[next], &[1.0], Tolerance::Ulp(1)), None);
        assert!(difference(&[f32::NAN], &[1.0], Tolerance::Scaled(1.0)).is_some());
        assert!(difference(&[100.0, 1.001], &[100.0, 1.0], Tolerance::Scaled(1e-6)).is_some());
    }
}
