//! `relu(x) = max(x, 0)`, `relu6(x) = min(max(x, 0), 6)`: as the last step of other kernels, and alone.
//!
//! The gradient is taken from the output: 1 where the activation passed its input through unclipped, else 0. NaN passes.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd};

/// What is applied to a sum before it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
}

impl Activation {
    /// One value.
    pub fn apply(self, x: f32) -> f32 {
        // Not f32::max: NaN must come out as NaN.
        match self {
            Self::None => x,
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu6 if x < 0.0 => 0.0,
            Self::Relu6 if x > 6.0 => 6.0,
            _ => x,
        }
    }

    /// The open interval of outputs whose gradient is 1.
    pub(crate) fn slope_range(self) -> (f32, f32) {
        match self {
            Self::None => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }

    /// The closed interval of outputs.
    pub(crate) fn clip_range(self) -> (f32, f32) {
        match self {
            Self::None => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }
}

/// Elements a task: large enough to pay for claiming it.
const CHUNK: usize = 16 * 1024;

/// `y = act(x)`.
pub fn activation(cpu: Cpu, act: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    cpu.threads().chunks_mut(y, CHUNK, &|i, _, y| {
        cpu.isa().run(Clip { x: &x[i * CHUNK..][..y.len()], y, range: act.clip_range() });
    });
}

/// `gx = gy` where `y` lies strictly between the activation's bounds, else 0.
pub fn activation_dx(cpu: Cpu, act: Activation, gy: &[f32], y: &[f32], gx: &mut [f32]) {
    assert!(gy.len() == y.len() && gx.len() == y.len());
    cpu.threads().chunks_mut(gx, CHUNK, &|i, _, gx| {
        let (y, gy) = (&y[i * CHUNK..][..gx.len()], &gy[i * CHUNK..][..gx.len()]);
        if act == Activation::None {
            gx.copy_from_slice(gy);
        } else {
            cpu.isa().run(Mask { gy, y, gx, range: act.slope_range() });
        }
    });
}

struct Clip<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    range: (f32, f32),
}

impl Op for Clip<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (low, high) = (s.splat(self.range.0), s.splat(self.range.1));
        for (x, y) in self.x.chunks(S::LANES).zip(self.y.chunks_mut(S::LANES)) {
            // The bound comes first, so that NaN, the second operand, passes.
            s.store_part(y, s.min(high, s.max(low, s.load_part(x))));
        }
    }
}

struct Mask<'a> {
    gy: &'a [f32],
    y: &'a [f32],
    gx: &'a mut [f32],
    range: (f32, f32),
}

impl Op for Mask<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (low, high) = (s.splat(self.range.0), s.splat(self.range.1));
        let rows = self.gy.chunks(S::LANES).zip(self.y.chunks(S::LANES));
        for ((gy, y), gx) in rows.zip(self.gx.chunks_mut(S::LANES)) {
            let y = s.load_part(y);
            let below = s.select(s.lt(y, high), s.load_part(gy), s.zero());
            s.store_part(gx, s.select(s.lt(low, y), below, s.zero()));
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::threads::Threads;

    #[test]
    fn matches_the_scalar_rule() {
        let threads = Threads::new(2);
        for isa in Isa::all() {
            let cpu = Cpu::with_isa(isa, &threads);
            for n in [0, 1, 3, 7, 8, 9, 15, 16, 17, 33, CHUNK + 5] {
                let x: Vec<f32> = (0..n).map(|i| (i * 7 % 41) as f32 * 0.5 - 8.0).collect();
                for act in [Activation::None, Activation::Relu, Activation::Relu6] {
                    let (mut y, mut gx) = (alloc::vec![1.0; n], alloc::vec![1.0; n]);
                    activation(cpu, act, &x, &mut y);
                    activation_dx(cpu, act, &x, &y, &mut gx);
                    let (low, high) = act.slope_range();
                    for i in 0..n {
                        assert_eq!(y[i], act.apply(x[i]));
                        assert_eq!(gx[i], if low < x[i] && x[i] < high { x[i] } else { 0.0 });
                    }
                }
            }
            let mut y = [0.0];
            activation(cpu, Activation::Relu6, &[f32::NAN], &mut y);
            assert!(y[0].is_nan());
        }
    }
}
