//! What the tests of the kernels share: numbers to feed them, every instruction set, and comparison.

use crate::cpu::{Cpu, Isa};
use crate::threads::Threads;
use std::vec::Vec;

/// Lengths around the edges of vectors and blocks.
pub(super) const SIZES: [usize; 11] = [1, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65];

/// `len` numbers in −1..1, the same for the same seed.
pub(super) fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Runs `f` for every instruction set of this machine, on one thread and on three, and checks that both give the same bits.
pub(super) fn each_cpu(f: impl Fn(Cpu<'_>) -> Vec<f32>, check: impl Fn(&[f32])) {
    let (one, three) = (Threads::serial(), Threads::new(3));
    for isa in Isa::all() {
        let (a, b) = (f(Cpu::with_isa(isa, &one)), f(Cpu::with_isa(isa, &three)));
        let same = a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && a.len() == b.len(), "{isa:?}: the result depends on the number of threads");
        check(&a);
    }
}

/// Fails with the first element that is off by more than `tolerance` of the largest expected magnitude.
pub(super) fn close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    let scale = want.iter().fold(1e-30f64, |m, w| m.max(w.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*g) - w).abs() / scale;
        assert!(
            error <= tolerance,
            "{name}[{i}]: got {g}, want {w}, off by {error:e} of {scale}, may be {tolerance:e}"
        );
    }
}

/// Gradient of `Σ gy · f(x)` by x, by central differences in f64.
pub(super) fn numerical(x: &[f32], gy: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let dot = |y: Vec<f64>| -> f64 { y.iter().zip(gy).map(|(y, g)| y * f64::from(*g)).sum() };
    let h = 1e-5;
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + h;
            let above = dot(f(&x));
            x[i] = at - h;
            let below = dot(f(&x));
            x[i] = at;
            (above - below) / (2.0 * h)
        })
        .collect()
}

/// f32 numbers as f64.
pub(super) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
