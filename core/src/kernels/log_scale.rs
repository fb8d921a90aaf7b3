//! The logarithms of a scale's channels, summed: what a per-channel scale adds to a log-determinant.

use crate::cpu::Cpu;
use crate::simd::{Op, Simd, sum};

/// `y = j + factor · Σ_c ln scale_c`, element by element. The sum runs in f64.
pub fn log_scale(factor: f32, j: &[f32], scale: &[f32], y: &mut [f32]) {
    assert_eq!(j.len(), y.len(), "length of j");
    let total: f64 = scale.iter().map(|&s| libm::log(f64::from(s))).sum();
    let total = (f64::from(factor) * total) as f32;
    for (y, j) in y.iter_mut().zip(j) {
        *y = j + total;
    }
}

/// Gradient of [`log_scale`] by the scale: `gscale_c = factor · Σ g / scale_c`, the sum over all of g.
pub fn log_scale_dscale(cpu: Cpu<'_>, factor: f32, g: &[f32], scale: &[f32], gscale: &mut [f32]) {
    assert_eq!(scale.len(), gscale.len(), "length of the scale");
    let total: f64 = g.chunks(4096).map(|g| f64::from(cpu.isa().run(Total(g)))).sum();
    let total = (f64::from(factor) * total) as f32;
    for (gscale, scale) in gscale.iter_mut().zip(scale) {
        *gscale = total / scale;
    }
}

/// `Σ g`
struct Total<'a>(&'a [f32]);

impl Op for Total<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        sum::sum(s, self.0)
    }
}
