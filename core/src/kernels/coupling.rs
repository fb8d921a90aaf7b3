//! Affine coupling with the soft clamp of the scale: `y = x · exp(σ(s)) + t`, `σ(s) = (2α/π) · atan(s/α)`, `J = Σ σ(s)`.
//!
//! Channels come in `groups` of `size`; in each group `active` channels from `active_offset` on are transformed, the rest
//! are copied. `st` holds, group after group, the `active` channels of s and then those of t: the output of one grouped
//! layer. σ lies in (−α, α), so one coupling stretches by at most e^α, and
//! `σ'(s) = (2/π) / (1 + (s/α)²)` needs neither of the two functions. The other form is `σ(s) = α · tanh(s)`, with
//! `σ'(s) = α · (1 − tanh²(s)) = 4α·e / (1 + e)²`, `e = exp(−2|s|)`.
//!
//! Deep levels of a dense flow have groups of three channels. So the elements of a sample are gathered into blocks of
//! `BLOCK`, computed there a vector at a time, and put back; a result never depends on its place in a block.

use crate::cpu::Cpu;
use crate::simd::math::{atan, exp, tanh};
use crate::simd::{Op, Simd};
use core::f32::consts::FRAC_2_PI;

/// The form of the soft clamp σ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SoftClamp {
    /// `(2α/π) · atan(s/α)`: slope 2/π at 0 whatever α is.
    #[default]
    Atan,
    /// `α · tanh(s)`: slope α at 0.
    Tanh,
}

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
    /// The form of the clamp.
    pub form: SoftClamp,
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

    pub(super) fn check(&self, x: usize, st: usize) {
        assert!(self.active_offset + self.active <= self.size, "the transformed channels lie in the group");
        assert_eq!(x, self.n * self.x_len(), "length of x");
        assert_eq!(st, self.n * self.st_len(), "length of st");
    }

    /// Transformed elements of one group.
    pub(super) const fn run(&self) -> usize {
        self.active * self.hw
    }

    /// Samples that one task handles.
    pub(super) fn samples(&self) -> usize {
        (4096 / self.st_len().max(1)).max(1)
    }
}

/// Elements of a block; a multiple of every vector length.
pub(super) const BLOCK: usize = 256;

/// The constants of σ, of either form.
#[derive(Clone, Copy)]
pub(super) struct Clamp<S: Simd, const TANH: bool> {
    s: S,
    inverse: S::V,
    bound: S::V,
    slope: S::V,
}

impl<S: Simd, const TANH: bool> Clamp<S, TANH> {
    #[inline(always)]
    pub(super) fn new(s: S, clamp: f32) -> Self {
        if TANH {
            return Self { s, inverse: s.splat(1.0), bound: s.splat(clamp), slope: s.splat(4.0 * clamp) };
        }
        let (inverse, bound, slope) = (s.splat(1.0 / clamp), s.splat(FRAC_2_PI * clamp), s.splat(FRAC_2_PI));
        Self { s, inverse, bound, slope }
    }

    /// σ(s).
    #[inline(always)]
    pub(super) fn sigma(&self, v: S::V) -> S::V {
        if TANH {
            return self.s.mul(self.bound, tanh(self.s, v));
        }
        self.s.mul(self.bound, atan(self.s, self.s.mul(v, self.inverse)))
    }

    /// σ'(s).
    #[inline(always)]
    pub(super) fn slope(&self, v: S::V) -> S::V {
        if TANH {
            let e = exp(self.s, self.s.mul(self.s.abs(v), self.s.splat(-2.0)));
            let below = self.s.add(e, self.s.splat(1.0));
            return self.s.div(self.s.mul(self.slope, e), self.s.mul(below, below));
        }
        let u = self.s.mul(v, self.inverse);
        self.s.div(self.slope, self.s.fma(u, u, self.s.splat(1.0)))
    }
}

/// What is done with the three numbers of a transformed element.
#[derive(Clone, Copy)]
enum Formula {
    /// `x · e^σ(s) + t` of (x, s, t).
    Forward,
    /// `(y − t) · e^−σ(s)` of (y, s, t).
    Inverse,
    /// `g · e^σ(s)` of (g, s, ·).
    Dx,
    /// `x · e^σ(s) · g · σ'(s)` of (x, s, g).
    Dscale,
}

impl Formula {
    #[inline(always)]
    fn apply<S: Simd, const TANH: bool>(self, c: &Clamp<S, TANH>, x: S::V, v: S::V, t: S::V) -> S::V {
        let s = c.s;
        match self {
            Self::Forward => s.fma(x, exp(s, c.sigma(v)), t),
            Self::Inverse => s.mul(s.sub(x, t), exp(s, s.sub(s.zero(), c.sigma(v)))),
            Self::Dx => s.mul(x, exp(s, c.sigma(v))),
            Self::Dscale => s.mul(s.mul(s.mul(x, exp(s, c.sigma(v))), t), c.slope(v)),
        }
    }
}

/// The runs of transformed elements in a sample: one a group, `step` apart, the first at `first`.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    first: usize,
    step: usize,
}

impl Runs {
    /// Copies `count` runs from number `from` on, elements `piece` of each, to `block`.
    #[inline(always)]
    pub(super) fn gather(self, x: &[f32], from: usize, count: usize, piece: (usize, usize), block: &mut [f32; BLOCK]) {
        let start = self.first + from * self.step + piece.0;
        copy_runs(piece.1, count, &x[start..], self.step, &mut block[..], piece.1);
    }

    /// The reverse of [`gather`](Self::gather).
    #[inline(always)]
    pub(super) fn scatter(self, block: &[f32; BLOCK], from: usize, count: usize, piece: (usize, usize), y: &mut [f32]) {
        let start = self.first + from * self.step + piece.0;
        copy_runs(piece.1, count, &block[..], piece.1, &mut y[start..], self.step);
    }
}

/// Copies `count` runs of `len` elements between places `x_step` and `y_step` apart.
#[inline(always)]
fn copy_runs(len: usize, count: usize, x: &[f32], x_step: usize, y: &mut [f32], y_step: usize) {
    // The lengths of a flow's deep levels as constants: a few moves each instead of a call.
    match len {
        1 => copy_short::<1>(count, x, x_step, y, y_step),
        2 => copy_short::<2>(count, x, x_step, y, y_step),
        3 => copy_short::<3>(count, x, x_step, y, y_step),
        4 => copy_short::<4>(count, x, x_step, y, y_step),
        6 => copy_short::<6>(count, x, x_step, y, y_step),
        8 => copy_short::<8>(count, x, x_step, y, y_step),
        12 => copy_short::<12>(count, x, x_step, y, y_step),
        16 => copy_short::<16>(count, x, x_step, y, y_step),
        24 => copy_short::<24>(count, x, x_step, y, y_step),
        _ => {
            for k in 0..count {
                y[k * y_step..][..len].copy_from_slice(&x[k * x_step..][..len]);
            }
        }
    }
}

#[inline(always)]
fn copy_short<const LEN: usize>(count: usize, x: &[f32], x_step: usize, y: &mut [f32], y_step: usize) {
    for k in 0..count {
        y[k * y_step..][..LEN].copy_from_slice(&x[k * x_step..][..LEN]);
    }
}

impl CouplingShape {
    const fn x_runs(&self) -> Runs {
        Runs { first: self.active_offset * self.hw, step: self.size * self.hw }
    }

    pub(super) const fn s_runs(&self) -> Runs {
        Runs { first: 0, step: 2 * self.run() }
    }

    pub(super) const fn t_runs(&self) -> Runs {
        Runs { first: self.run(), ..self.s_runs() }
    }
}

/// Runs `$body` for each block of a sample with (first run, number of runs, piece of each run, elements). A block holds whole
/// runs, or a piece of one that is too long.
macro_rules! each_block {
    ($shape:expr, |$from:ident, $count:ident, $piece:ident, $len:ident| $body:block) => {
        let (groups, run) = ($shape.groups, $shape.run());
        if run > 0 {
            let per_block = (BLOCK / run).max(1);
            let mut $from = 0;
            while $from < groups {
                let $count = per_block.min(groups - $from);
                let mut start = 0;
                while start < run {
                    let $piece = (start, (run - start).min(BLOCK));
                    let $len = $count * $piece.1;
                    $body
                    start += BLOCK;
                }
                $from += $count;
            }
        }
    };
}
pub(super) use each_block;

/// Runs `form` of an operation on a coupling, compiled for each soft clamp.
macro_rules! by_form {
    ($op:ident, $simd:ident) => {
        match $op.shape.form {
            crate::kernels::coupling::SoftClamp::Atan => $op.form::<S, false>($simd),
            crate::kernels::coupling::SoftClamp::Tanh => $op.form::<S, true>($simd),
        }
    };
}
pub(super) use by_form;

/// One sample: replaces the transformed elements of y by the formula of (x, s, t).
struct Map<'a> {
    shape: &'a CouplingShape,
    formula: Formula,
    x: (&'a [f32], Runs),
    s: (&'a [f32], Runs),
    t: (&'a [f32], Runs),
    y: (&'a mut [f32], Runs),
}

impl Op for Map<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        by_form!(self, s)
    }
}

impl Map<'_> {
    #[inline(always)]
    fn form<S: Simd, const TANH: bool>(self, s: S) {
        // One loop for each formula: the choice is made outside.
        match self.formula {
            Formula::Forward => self.blocks::<S, TANH>(s, Formula::Forward),
            Formula::Inverse => self.blocks::<S, TANH>(s, Formula::Inverse),
            Formula::Dx => self.blocks::<S, TANH>(s, Formula::Dx),
            Formula::Dscale => self.blocks::<S, TANH>(s, Formula::Dscale),
        }
    }

    #[inline(always)]
    fn blocks<S: Simd, const TANH: bool>(self, s: S, formula: Formula) {
        let clamp = Clamp::<S, TANH>::new(s, self.shape.clamp);
        let (mut x, mut v, mut t) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        each_block!(self.shape, |from, count, piece, len| {
            self.x.1.gather(self.x.0, from, count, piece, &mut x);
            self.s.1.gather(self.s.0, from, count, piece, &mut v);
            self.t.1.gather(self.t.0, from, count, piece, &mut t);
            for ((x, v), t) in x
                .chunks_exact_mut(S::LANES)
                .zip(v.chunks_exact(S::LANES))
                .zip(t.chunks_exact(S::LANES))
                .take(len.div_ceil(S::LANES))
            {
                let y = formula.apply(&clamp, s.load(x), s.load(v), s.load(t));
                s.store(x, y);
            }
            self.y.1.scatter(&x, from, count, piece, self.y.0);
        });
    }
}

/// `y = formula(x, s, t)` on the transformed channels, `y = x` elsewhere.
fn map(cpu: Cpu<'_>, shape: &CouplingShape, formula: Formula, x: &[f32], st: &[f32], y: &mut [f32]) {
    shape.check(x.len(), st.len());
    assert_eq!(y.len(), x.len(), "length of the output");
    if y.is_empty() {
        return;
    }
    let (x_len, st_len, samples) = (shape.x_len(), shape.st_len(), shape.samples());
    cpu.threads().chunks_mut(y, samples * x_len, &|task, _, y| {
        for (k, y) in y.chunks_exact_mut(x_len).enumerate() {
            let n = task * samples + k;
            let (x, st) = (&x[n * x_len..][..x_len], &st[n * st_len..][..st_len]);
            y.copy_from_slice(x);
            let (x, y) = ((x, shape.x_runs()), (y, shape.x_runs()));
            cpu.isa().run(Map { shape, formula, x, s: (st, shape.s_runs()), t: (st, shape.t_runs()), y });
        }
    });
}

/// `y = x · exp(σ(s)) + t` on the transformed channels, `y = x` elsewhere.
pub fn coupling(cpu: Cpu<'_>, shape: &CouplingShape, x: &[f32], st: &[f32], y: &mut [f32]) {
    map(cpu, shape, Formula::Forward, x, st, y);
}

/// `x = (y − t) · exp(−σ(s))`, the inverse of [`coupling`] for the same st.
pub fn coupling_inverse(cpu: Cpu<'_>, shape: &CouplingShape, y: &[f32], st: &[f32], x: &mut [f32]) {
    map(cpu, shape, Formula::Inverse, y, st, x);
}

/// Gradient of [`coupling`] by x: `gx = gy · exp(σ(s))` on the transformed channels, `gx = gy` elsewhere.
pub fn coupling_dx(cpu: Cpu<'_>, shape: &CouplingShape, gy: &[f32], st: &[f32], gx: &mut [f32]) {
    map(cpu, shape, Formula::Dx, gy, st, gx);
}

/// Gradient of [`coupling`] by st: `gt = gy`, `gs = gy · x · exp(σ(s)) · σ'(s)`.
pub fn coupling_dst(cpu: Cpu<'_>, shape: &CouplingShape, gy: &[f32], x: &[f32], st: &[f32], gst: &mut [f32]) {
    shape.check(gy.len(), st.len());
    assert_eq!(x.len(), gy.len(), "length of x");
    assert_eq!(gst.len(), st.len(), "length of gst");
    if gst.is_empty() {
        return;
    }
    let (x_len, st_len, samples) = (shape.x_len(), shape.st_len(), shape.samples());
    cpu.threads().chunks_mut(gst, samples * st_len, &|task, _, gst| {
        for (k, gst) in gst.chunks_exact_mut(st_len).enumerate() {
            let n = task * samples + k;
            let (gy, x, st) = (&gy[n * x_len..][..x_len], &x[n * x_len..][..x_len], &st[n * st_len..][..st_len]);
            cpu.isa().run(Copy { shape, x: gy, gst });
            let (x, g) = ((x, shape.x_runs()), (gy, shape.x_runs()));
            let (s, y) = ((st, shape.s_runs()), (gst, shape.s_runs()));
            cpu.isa().run(Map { shape, formula: Formula::Dscale, x, s, t: g, y });
        }
    });
}

/// One sample: the transformed elements of x to the places of t.
struct Copy<'a> {
    shape: &'a CouplingShape,
    x: &'a [f32],
    gst: &'a mut [f32],
}

impl Op for Copy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut block = [0.0; BLOCK];
        each_block!(self.shape, |from, count, piece, _len| {
            self.shape.x_runs().gather(self.x, from, count, piece, &mut block);
            self.shape.t_runs().scatter(&block, from, count, piece, self.gst);
        });
    }
}

#[cfg(all(test, feature = "std"))]
#[path = "coupling_tests.rs"]
mod tests;
