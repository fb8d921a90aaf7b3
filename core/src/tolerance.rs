//! How closely executors must agree, op by op: with the f64 reference of the tests, and with each other.

use crate::op::{Interpolation, Op, Types};
use crate::shape::Shape;
use alloc::format;
use alloc::string::String;

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
    /// Twice as much: for two results each of which may be off.
    pub fn doubled(self) -> Tolerance {
        match self {
            Tolerance::Exact => Tolerance::Exact,
            Tolerance::Ulp(n) => Tolerance::Ulp(2 * n),
            Tolerance::Scaled(eps) => Tolerance::Scaled(2.0 * eps),
        }
    }
}

/// Tolerance of a sum of that many terms: rounding errors add up like a random walk, so they grow with the root.
fn sum(terms: usize) -> Tolerance {
    Tolerance::Scaled((6e-8 * libm::sqrt(terms as f64)).max(1e-6))
}

/// The tolerance of each op for inputs of these types. Tighten, don't loosen.
pub fn tolerance(op: &Op, types: &Types, batch: usize) -> Tolerance {
    use Tolerance::{Exact, Scaled, Ulp};
    let shape = |slot: usize| types[slot].map_or(Shape::SCALAR, |t| t.shape);
    let dim = |slot: usize, at: usize| shape(slot).0[at] as usize;
    let positions = |slot: usize| batch * shape(slot).positions();
    match op {
        // They move values, choose among them, or round once.
        Op::Activate(_)
        | Op::ActivateDx(_)
        | Op::Add(_)
        | Op::Scale(_)
        | Op::Gain(_)
        | Op::Multiply(_)
        | Op::ScaleShiftDx(_)
        | Op::ChannelScale(_)
        | Op::MaxPool(_)
        | Op::Concat(_)
        | Op::Slice(_)
        | Op::Embed(_)
        | Op::Permute(_)
        | Op::Repeat(_)
        | Op::BatchMeanDx(_) => Exact,
        Op::Resize(a) => match a.mode {
            Interpolation::Nearest => Exact,
            Interpolation::Bilinear => Scaled(4e-7),
        },
        // Two or three roundings.
        Op::GlobalMeanDx(_) | Op::FlowNllDj(_) | Op::TopMeanDx(_) | Op::BatchMean(_) | Op::TopMean(_) => Ulp(1),
        Op::FlowNllDz(_) | Op::SquareSumDx(_) => Ulp(3),
        Op::Magnitude(_) | Op::MagnitudeDx(_) | Op::Root(_) | Op::RootDx(_) => Ulp(3),
        Op::ScaleShift(_) => Scaled(2e-7),
        // Few terms.
        Op::MaxPoolDx(_) | Op::ResizeDx(_) => Scaled(6e-7),
        // Sums.
        Op::Conv2d(_) => sum(dim(1, 1) * dim(1, 2) * dim(1, 3)),
        Op::Conv2dDx(a) => sum(dim(1, 0) / a.groups as usize * dim(1, 2) * dim(1, 3)),
        Op::Conv2dDw(_) => sum(positions(1)),
        Op::Linear(_) | Op::PositionLinear(_) => sum(dim(1, 2)),
        Op::LinearDx(a) => sum(dim(1, 1) * a.share as usize),
        Op::PositionLinearDx(_) => sum(dim(1, 1)),
        Op::LinearDw(_) => sum(batch),
        Op::Nearest(_) => sum(dim(1, 1)),
        Op::NearestDx(_) => Scaled(3e-6),
        Op::ScaleShiftDscale(_) | Op::ChannelSum(_) => sum(positions(0)),
        Op::GainDgamma(_) => sum(batch * shape(0).len()),
        Op::BatchStats(_) | Op::BatchNormDstats(_) | Op::BatchNormDgamma(_) => sum(positions(0)),
        Op::ChannelDot(_) => sum(shape(0).positions()),
        Op::GlobalMean(_) => sum(shape(0).positions()),
        Op::FlowNll(_) | Op::SquareSum(_) | Op::SquareParts(_) => sum(shape(0).len()),
        // Exponential and arc tangent of the engine's own.
        Op::Coupling(_) | Op::CouplingDx(_) | Op::CouplingDst(_) | Op::LogDet(_) | Op::LogDetDst(_) => Scaled(1e-6),
        Op::Smooth(_) | Op::SmoothDx(_) => Scaled(1e-6),
        // A difference, a root, two or three products.
        Op::BatchStatsDx(_) | Op::BatchNorm(_) | Op::BatchNormDx(_) => Scaled(1e-6),
        // Sums over channels inside exponentials, then over positions.
        Op::Attention(_) | Op::AttentionLse(_) | Op::AttentionDx(_) => Scaled(3e-6),
        Op::CellHinge(_) => sum(shape(0).len()),
        Op::CellHingeDn(_) => Ulp(1),
        Op::LogScale(_) | Op::LogScaleDscale(_) => sum(positions(0)),
        // A difference of values of one size, divided by another.
        Op::LayerNorm(_) | Op::LayerNormDx(_) => Scaled(3e-6),
        // Lengths and a product of two vectors; in the gradients besides a difference of two sums.
        Op::Cosine(_) => sum(shape(0).len()),
        Op::CosineDx(_) | Op::CosineDw(_) => Scaled(3e-6),
        // A root and an exponential inside.
        Op::Triplet(_) | Op::TripletDcos(_) => Scaled(2e-6),
        Op::BatchMix(_) => Scaled(2e-7),
        Op::BatchMixDx(_) => Scaled(6e-7),
        Op::Adam(_) => Scaled(1e-6),
    }
}

/// The tolerance on a GPU, whose divisions and roots may be off by some steps (Vulkan, "precision and operation of SPIR-V
/// instructions": 2.5 ULP a division, 3 a root).
pub fn device_tolerance(op: &Op, types: &Types, batch: usize) -> Tolerance {
    match (op, tolerance(op, types, batch)) {
        (Op::BatchMeanDx(_), _) => Tolerance::Ulp(3),
        (_, Tolerance::Ulp(n)) => Tolerance::Ulp(n + 4),
        (_, other) => other,
    }
}

/// Distance in f32 steps; `u32::MAX` where one is not a number.
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

#[cfg(test)]
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
