//! Affine coupling with the soft clamp of the scale: `y = x · exp(σ(s)) + t`, `σ(s) = (2α/π) · atan(s/α)`, `J = Σ σ(s)`.
//!
//! Channels come in `groups` of `size`; in each group `active` channels from `active_offset` on are transformed, the rest
//! are copied. `st` holds, group after group, the `active` channels of s and then those of t: the output of one grouped
//! layer. σ lies in (−α, α), so one coupling stretches by at most e^α, and
//! `σ'(s) = (2/π) / (1 + (s/α)²)` needs neither of the two functions.

use crate::cpu::Cpu;

/// Shape of a coupling: x, y `[n, groups·size, hw]`, st `[n, groups·2·active, hw]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CouplingShape {
    /// Batch.
    pub n: usize,
    /// Independent couplings side by side.
    pub groups: usize,
    /// Channels of a group.
    pub size: usize,
    /// First transformed channel of a group.
    pub active_offset: usize,
    /// Transformed channels of a group.
    pub active: usize,
    /// Positions (height times width).
    pub hw: usize,
    /// The bound α > 0 of the clamped scale.
    pub clamp: f32,
}

impl CouplingShape {
    /// Elements per sample of x.
    pub const fn x_len(&self) -> usize {
        self.groups * self.size * self.hw
    }

    /// Elements per sample of st.
    pub const fn st_len(&self) -> usize {
        self.groups * 2 * self.active * self.hw
    }

    fn check(&self, x: usize, st: usize) {
        assert!(self.active_offset + self.active <= self.size, "the transformed channels lie in the group");
        assert_eq!(x, self.n * self.x_len(), "length of x");
        assert_eq!(st, self.n * self.st_len(), "length of st");
    }

    /// σ(s).
    fn sigma(&self, s: f32) -> f32 {
        core::f32::consts::FRAC_2_PI * self.clamp * libm::atanf(s / self.clamp)
    }

    /// σ'(s).
    fn slope(&self, s: f32) -> f32 {
        let u = s / self.clamp;
        core::f32::consts::FRAC_2_PI / (1.0 + u * u)
    }

    /// Copies a sample and replaces each transformed element by f(x, s, t).
    fn map(&self, x: &[f32], st: &[f32], y: &mut [f32], f: impl Fn(f32, f32, f32) -> f32) {
        let (group, run) = (self.size * self.hw, self.active * self.hw);
        y.copy_from_slice(x);
        for g in 0..self.groups {
            let (s, t) = st[g * 2 * run..][..2 * run].split_at(run);
            let y = &mut y[g * group + self.active_offset * self.hw..][..run];
            y.iter_mut().zip(s.iter().zip(t)).for_each(|(y, (s, t))| *y = f(*y, *s, *t));
        }
    }
}

/// `y = x · exp(σ(s)) + t` on the transformed channels, `y = x` elsewhere.
pub fn coupling(cpu: Cpu<'_>, shape: &CouplingShape, x: &[f32], st: &[f32], y: &mut [f32]) {
    shape.check(x.len(), st.len());
    assert_eq!(y.len(), x.len(), "length of y");
    if y.is_empty() {
        return;
    }
    let (x_len, st_len) = (shape.x_len(), shape.st_len());
    cpu.threads().chunks_mut(y, x_len, &|n, _, y| {
        shape.map(&x[n * x_len..][..x_len], &st[n * st_len..][..st_len], y, |x, s, t| {
            x * libm::expf(shape.sigma(s)) + t
        });
    });
}

/// `x = (y − t) · exp(−σ(s))`, the inverse of [`coupling`] for the same st.
pub fn coupling_inverse(cpu: Cpu<'_>, shape: &CouplingShape, y: &[f32], st: &[f32], x: &mut [f32]) {
    shape.check(y.len(), st.len());
    assert_eq!(x.len(), y.len(), "length of x");
    if x.is_empty() {
        return;
    }
    let (x_len, st_len) = (shape.x_len(), shape.st_len());
    cpu.threads().chunks_mut(x, x_len, &|n, _, x| {
        shape.map(&y[n * x_len..][..x_len], &st[n * st_len..][..st_len], x, |y, s, t| {
            (y - t) * libm::expf(-shape.sigma(s))
        });
    });
}

/// Gradient of [`coupling`] by x: `gx = gy · exp(σ(s))` on the transformed channels, `gx = gy` elsewhere.
pub fn coupling_dx(cpu: Cpu<'_>, shape: &CouplingShape, gy: &[f32], st: &[f32], gx: &mut [f32]) {
    shape.check(gy.len(), st.len());
    assert_eq!(gx.len(), gy.len(), "length of gx");
    if gx.is_empty() {
        return;
    }
    let (x_len, st_len) = (shape.x_len(), shape.st_len());
    cpu.threads().chunks_mut(gx, x_len, &|n, _, gx| {
        shape.map(&gy[n * x_len..][..x_len], &st[n * st_len..][..st_len], gx, |g, s, _| g * libm::expf(shape.sigma(s)));
    });
}

/// Gradient of [`coupling`] by st: `gt = gy`, `gs = gy · x · exp(σ(s)) · σ'(s)`.
pub fn coupling_dst(cpu: Cpu<'_>, shape: &CouplingShape, gy: &[f32], x: &[f32], st: &[f32], gst: &mut [f32]) {
    shape.check(gy.len(), st.len());
    assert_eq!(x.len(), gy.len(), "length of x");
    assert_eq!(gst.len(), st.len(), "length of gst");
    if gst.is_empty() {
        return;
    }
    let (group, run) = (shape.size * shape.hw, shape.active * shape.hw);
    cpu.threads().chunks_mut(gst, shape.st_len(), &|n, _, gst| {
        for g in 0..shape.groups {
            let first = n * shape.x_len() + g * group + shape.active_offset * shape.hw;
            let (gy, x) = (&gy[first..][..run], &x[first..][..run]);
            let s = &st[n * shape.st_len() + g * 2 * run..][..run];
            let (gs, gt) = gst[g * 2 * run..][..2 * run].split_at_mut(run);
            gt.copy_from_slice(gy);
            for k in 0..run {
                gs[k] = gy[k] * x[k] * libm::expf(shape.sigma(s[k])) * shape.slope(s[k]);
            }
        }
    });
}

/// `J = Σ σ(s)` of each sample: the logarithm of the absolute determinant of [`coupling`]'s Jacobian. j `[n]`.
pub fn log_det(cpu: Cpu<'_>, shape: &CouplingShape, st: &[f32], j: &mut [f32]) {
    shape.check(shape.n * shape.x_len(), st.len());
    assert_eq!(j.len(), shape.n, "length of j");
    let run = shape.active * shape.hw;
    cpu.threads().chunks_mut(j, 1, &|n, _, j| {
        let st = &st[n * shape.st_len()..][..shape.st_len()];
        j[0] = (0..shape.groups).map(|g| st[g * 2 * run..][..run].iter().map(|&s| shape.sigma(s)).sum::<f32>()).sum();
    });
}

/// Gradient of [`log_det`]: `gs = gj · σ'(s)`, `gt = 0`. gj `[n]`.
pub fn log_det_dst(cpu: Cpu<'_>, shape: &CouplingShape, gj: &[f32], st: &[f32], gst: &mut [f32]) {
    shape.check(shape.n * shape.x_len(), st.len());
    assert_eq!((gj.len(), gst.len()), (shape.n, st.len()), "lengths of gj and gst");
    if gst.is_empty() {
        return;
    }
    let run = shape.active * shape.hw;
    cpu.threads().chunks_mut(gst, shape.st_len(), &|n, _, gst| {
        for g in 0..shape.groups {
            let s = &st[n * shape.st_len() + g * 2 * run..][..run];
            let (gs, gt) = gst[g * 2 * run..][..2 * run].split_at_mut(run);
            gs.iter_mut().zip(s).for_each(|(gs, s)| *gs = gj[n] * shape.slope(*s));
            gt.fill(0.0);
        }
    });
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn cases() -> Vec<CouplingShape> {
        let shape = |n, groups, size, active_offset, active, hw| CouplingShape {
            n,
            groups,
            size,
            active_offset,
            active,
            hw,
            clamp: 2.0,
        };
        let mut cases = vec![
            shape(2, 1, 1, 0, 1, 1),
            shape(3, 64, 3, 1, 2, 1),
            shape(2, 4, 12, 6, 6, 1),
            shape(2, 2, 4, 2, 2, 9),
            shape(1, 1, 768, 384, 384, 1),
            shape(2, 3, 5, 0, 4, 5),
            shape(0, 3, 5, 0, 4, 5),
        ];
        cases.extend(SIZES.iter().map(|&a| shape(2, 2, a + 3, 2, a, 1)));
        cases.extend(SIZES.iter().map(|&hw| CouplingShape { clamp: 1.3, ..shape(2, 2, 3, 1, 1, hw) }));
        cases
    }

    fn sigma(s: &CouplingShape, v: f64) -> f64 {
        let a = f64::from(s.clamp);
        2.0 * a / std::f64::consts::PI * (v / a).atan()
    }

    /// For each transformed element: its place in x and the places of s and t in st.
    fn places(s: &CouplingShape) -> Vec<(usize, usize, usize)> {
        let run = s.active * s.hw;
        let mut places = Vec::new();
        for n in 0..s.n {
            for g in 0..s.groups {
                for k in 0..run {
                    let x = (n * s.groups + g) * s.size * s.hw + s.active_offset * s.hw + k;
                    let st = (n * s.groups + g) * 2 * run + k;
                    places.push((x, st, st + run));
                }
            }
        }
        places
    }

    fn reference(s: &CouplingShape, x: &[f64], st: &[f64]) -> Vec<f64> {
        let mut y = x.to_vec();
        for (at, a, b) in places(s) {
            y[at] = x[at] * sigma(s, st[a]).exp() + st[b];
        }
        y
    }

    fn log_det_reference(s: &CouplingShape, st: &[f64]) -> Vec<f64> {
        let mut j = vec![0.0; s.n];
        for (_, a, _) in places(s) {
            j[a / s.st_len()] += sigma(s, st[a]);
        }
        j
    }

    fn inputs(s: &CouplingShape) -> (Vec<f32>, Vec<f32>) {
        (numbers(1, s.n * s.x_len()), numbers(2, s.n * s.st_len()).iter().map(|v| v * 6.0).collect())
    }

    #[test]
    fn forward_and_inverse() {
        for s in cases() {
            let (x, st) = inputs(&s);
            let want = reference(&s, &wide(&x), &wide(&st));
            let forward = |cpu: Cpu<'_>| {
                let mut y = vec![f32::NAN; x.len()];
                coupling(cpu, &s, &x, &st, &mut y);
                y
            };
            each_cpu(forward, |y| close(&std::format!("{s:?}"), y, &want, 1e-6));
            each_cpu(
                |cpu| {
                    let mut back = vec![f32::NAN; x.len()];
                    coupling_inverse(cpu, &s, &forward(cpu), &st, &mut back);
                    back
                },
                |back| close(&std::format!("{s:?} inverse"), back, &wide(&x), 1e-5),
            );
            each_cpu(
                |cpu| {
                    let mut j = vec![f32::NAN; s.n];
                    log_det(cpu, &s, &st, &mut j);
                    j
                },
                |j| close(&std::format!("{s:?} log_det"), j, &log_det_reference(&s, &wide(&st)), 3e-6),
            );
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for s in cases().into_iter().filter(|s| s.n * s.x_len() < 400) {
            let (x, st) = inputs(&s);
            let (gy, gj) = (numbers(3, x.len()), numbers(4, s.n));
            let gx = numerical(&x, &gy, |x| reference(&s, x, &wide(&st)));
            let gst = numerical(&st, &gy, |st| reference(&s, &wide(&x), st));
            let jst = numerical(&st, &gj, |st| log_det_reference(&s, st));
            each_cpu(
                |cpu| {
                    let mut got = vec![f32::NAN; x.len()];
                    coupling_dx(cpu, &s, &gy, &st, &mut got);
                    got
                },
                |got| close(&std::format!("{s:?} dx"), got, &gx, 1e-5),
            );
            each_cpu(
                |cpu| {
                    let mut got = vec![f32::NAN; st.len()];
                    coupling_dst(cpu, &s, &gy, &x, &st, &mut got);
                    got
                },
                |got| close(&std::format!("{s:?} dst"), got, &gst, 1e-5),
            );
            each_cpu(
                |cpu| {
                    let mut got = vec![f32::NAN; st.len()];
                    log_det_dst(cpu, &s, &gj, &st, &mut got);
                    got
                },
                |got| close(&std::format!("{s:?} log_det dst"), got, &jst, 1e-5),
            );
        }
    }

    #[test]
    fn zero_scale_and_shift_change_nothing() {
        for s in cases() {
            let (x, st) = (inputs(&s).0, vec![0.0; s.n * s.st_len()]);
            each_cpu(
                |cpu| {
                    let (mut y, mut j) = (vec![f32::NAN; x.len()], vec![f32::NAN; s.n]);
                    coupling(cpu, &s, &x, &st, &mut y);
                    log_det(cpu, &s, &st, &mut j);
                    assert!(j.iter().all(|&j| j == 0.0));
                    y
                },
                |y| assert_eq!(y, x),
            );
        }
    }

    #[test]
    fn a_batch_is_its_samples() {
        for s in cases() {
            let (x, st) = inputs(&s);
            let one = CouplingShape { n: 1, ..s };
            each_cpu(
                |cpu| {
                    let (mut y, mut j) = (vec![0.0; x.len()], vec![0.0; s.n]);
                    coupling(cpu, &s, &x, &st, &mut y);
                    log_det(cpu, &s, &st, &mut j);
                    for n in 0..s.n {
                        let (mut y1, mut j1) = (vec![0.0; s.x_len()], [0.0]);
                        let st = &st[n * s.st_len()..][..s.st_len()];
                        coupling(cpu, &one, &x[n * s.x_len()..][..s.x_len()], st, &mut y1);
                        log_det(cpu, &one, st, &mut j1);
                        assert_eq!((&y1[..], j1[0]), (&y[n * s.x_len()..][..s.x_len()], j[n]));
                    }
                    y
                },
                |_| {},
            );
        }
    }
}
