//! Log-determinant of a coupling, per sample or per position, and its gradients: `J = Σ σ(s)`.
//!
//! The geometry of scale and translation, and σ in vectors, are those of `coupling.rs`.

use super::coupling::{BLOCK, Clamp, CouplingShape, by_form, each_block};
use crate::cpu::Cpu;
use crate::simd::sum::Sum;
use crate::simd::{MAX_LANES, Op, Simd};

/// `J = Σ σ(s)` of each sample: the logarithm of the absolute determinant of a coupling's Jacobian. j `[n]`.
pub fn log_det(cpu: Cpu<'_>, shape: &CouplingShape, st: &[f32], j: &mut [f32]) {
    shape.check(shape.n * shape.x_len(), st.len());
    assert_eq!(j.len(), shape.n, "length of j");
    let (st_len, samples) = (shape.st_len(), shape.samples());
    cpu.threads().chunks_mut(j, samples, &|task, _, j| {
        for (k, j) in j.iter_mut().enumerate() {
            let st = &st[(task * samples + k) * st_len..][..st_len];
            *j = cpu.isa().run(Total { shape, st });
        }
    });
}

/// One sample: `Σ σ(s)`.
struct Total<'a> {
    shape: &'a CouplingShape,
    st: &'a [f32],
}

impl Op for Total<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        by_form!(self, s)
    }
}

impl Total<'_> {
    #[inline(always)]
    fn form<S: Simd, const TANH: bool>(self, s: S) -> f32 {
        let clamp = Clamp::<S, TANH>::new(s, self.shape.clamp);
        let mut total = Sum::new(s);
        let mut v = [0.0; BLOCK];
        each_block!(self.shape, |from, count, piece, len| {
            self.shape.s_runs().gather(self.st, from, count, piece, &mut v);
            // σ(0) = 0: the rest of the last sixteen adds nothing.
            let padded = len.next_multiple_of(MAX_LANES);
            v[len..padded].fill(0.0);
            for v in v[..padded].chunks_exact(MAX_LANES) {
                for part in 0..Sum::<S>::PARTS {
                    total.add(part, clamp.sigma(s.load(&v[part * S::LANES..])));
                }
            }
        });
        total.total()
    }
}

/// `J_p = Σ_c σ(s[c, p])` at each position: the share of each position in the logarithm of the determinant, where the map that
/// gives st sees other channels only. j `[n, hw]`.
pub fn log_det_map(cpu: Cpu<'_>, shape: &CouplingShape, st: &[f32], j: &mut [f32]) {
    shape.check(shape.n * shape.x_len(), st.len());
    assert_eq!(j.len(), shape.n * shape.hw, "length of j");
    if j.is_empty() {
        return;
    }
    let st_len = shape.st_len();
    cpu.threads().chunks_mut(j, shape.hw, &|n, _, j| {
        cpu.isa().run(Totals { shape, st: &st[n * st_len..][..st_len], j });
    });
}

/// One sample: `Σ_c σ(s)` of each position.
struct Totals<'a> {
    shape: &'a CouplingShape,
    st: &'a [f32],
    j: &'a mut [f32],
}

impl Op for Totals<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        by_form!(self, s)
    }
}

impl Totals<'_> {
    #[inline(always)]
    fn form<S: Simd, const TANH: bool>(self, s: S) {
        let clamp = Clamp::<S, TANH>::new(s, self.shape.clamp);
        let CouplingShape { groups, active, hw, .. } = *self.shape;
        for (k, j) in self.j.chunks_mut(S::LANES).enumerate() {
            let mut total = s.zero();
            for c in 0..groups * active {
                let plane = c / active * 2 * active + c % active;
                let v = s.load_part(&self.st[plane * hw + k * S::LANES..][..j.len()]);
                total = s.add(total, clamp.sigma(v));
            }
            s.store_part(j, total);
        }
    }
}

/// Gradient of [`log_det`]: `gs = gj · σ'(s)`, `gt = 0`. gj `[n]`.
pub fn log_det_dst(cpu: Cpu<'_>, shape: &CouplingShape, gj: &[f32], st: &[f32], gst: &mut [f32]) {
    assert_eq!(gj.len(), shape.n, "length of gj");
    slopes(cpu, shape, gj, 1, st, gst);
}

/// Gradient of [`log_det_map`]: `gs = gj_p · σ'(s)`, `gt = 0`. gj `[n, hw]`.
pub fn log_det_map_dst(cpu: Cpu<'_>, shape: &CouplingShape, gj: &[f32], st: &[f32], gst: &mut [f32]) {
    assert_eq!(gj.len(), shape.n * shape.hw, "length of gj");
    slopes(cpu, shape, gj, shape.hw, st, gst);
}

/// `gs = g · σ'(s)` with `each` values of g a sample: one, or one a position.
fn slopes(cpu: Cpu<'_>, shape: &CouplingShape, g: &[f32], each: usize, st: &[f32], gst: &mut [f32]) {
    shape.check(shape.n * shape.x_len(), st.len());
    assert_eq!(gst.len(), st.len(), "length of gst");
    if gst.is_empty() {
        return;
    }
    let (st_len, samples) = (shape.st_len(), shape.samples());
    cpu.threads().chunks_mut(gst, samples * st_len, &|task, _, gst| {
        for (k, gst) in gst.chunks_exact_mut(st_len).enumerate() {
            let n = task * samples + k;
            gst.fill(0.0);
            cpu.isa().run(Slope { shape, g: &g[n * each..][..each], st: &st[n * st_len..][..st_len], gst });
        }
    });
}

/// One sample: `gs = g · σ'(s)`.
struct Slope<'a> {
    shape: &'a CouplingShape,
    g: &'a [f32],
    st: &'a [f32],
    gst: &'a mut [f32],
}

impl Op for Slope<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        by_form!(self, s)
    }
}

impl Slope<'_> {
    #[inline(always)]
    fn form<S: Simd, const TANH: bool>(self, s: S) {
        let clamp = Clamp::<S, TANH>::new(s, self.shape.clamp);
        let mut v = [0.0; BLOCK];
        let runs = self.shape.s_runs();
        each_block!(self.shape, |from, count, piece, len| {
            runs.gather(self.st, from, count, piece, &mut v);
            for v in v.chunks_exact_mut(S::LANES).take(len.div_ceil(S::LANES)) {
                let slope = clamp.slope(s.load(v));
                s.store(v, slope);
            }
            if let [g] = *self.g {
                v[..len].iter_mut().for_each(|v| *v *= g);
            } else {
                // Runs are whole planes or pieces of one, so element i of a run lies at position i mod hw.
                for (i, v) in v[..len].iter_mut().enumerate() {
                    *v *= self.g[(piece.0 + i % piece.1) % self.shape.hw];
                }
            }
            runs.scatter(&v, from, count, piece, self.gst);
        });
    }
}
