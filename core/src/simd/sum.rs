//! Sums in an order that does not depend on the width of the vectors.
//!
//! Element `i` is added to running sum `i mod 16`; at the end the sixteen are added as a tree of halves. Sixteen lanes are one
//! vector of AVX-512, two of AVX2 and four of the others, so all of them give the same sum as far as multiply-add is fused.

use super::{MAX_LANES, Simd};

/// Sixteen running sums.
#[derive(Clone, Copy)]
pub(crate) struct Sum<S: Simd> {
    s: S,
    lanes: [S::V; 4],
}

impl<S: Simd> Sum<S> {
    /// Vectors that hold sixteen lanes.
    pub const PARTS: usize = MAX_LANES / S::LANES;

    #[inline(always)]
    pub fn new(s: S) -> Self {
        Self { s, lanes: [s.zero(); 4] }
    }

    /// Adds `v` to vector `part` of the running sums.
    #[inline(always)]
    pub fn add(&mut self, part: usize, v: S::V) {
        self.lanes[part] = self.s.add(self.lanes[part], v);
    }

    /// Adds `a · b` to vector `part` of the running sums.
    #[inline(always)]
    pub fn fma(&mut self, part: usize, a: S::V, b: S::V) {
        self.lanes[part] = self.s.fma(a, b, self.lanes[part]);
    }

    /// The tree.
    #[inline(always)]
    pub fn total(self) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        for part in 0..Self::PARTS {
            self.s.store(&mut lanes[part * S::LANES..], self.lanes[part]);
        }
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        lanes[0]
    }
}

/// `Σ x`
#[inline(always)]
pub(crate) fn sum<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut total = Sum::new(s);
    let mut blocks = x.chunks_exact(MAX_LANES);
    for x in &mut blocks {
        for part in 0..Sum::<S>::PARTS {
            total.add(part, s.load(&x[part * S::LANES..]));
        }
    }
    for (part, x) in blocks.remainder().chunks(S::LANES).enumerate() {
        total.add(part, s.load_part(x));
    }
    total.total()
}

/// `Σ x·y`; the slices are equally long.
#[inline(always)]
pub(crate) fn dot<S: Simd>(s: S, x: &[f32], y: &[f32]) -> f32 {
    let mut total = Sum::new(s);
    let y = &y[..x.len()];
    let (mut xs, mut ys) = (x.chunks_exact(MAX_LANES), y.chunks_exact(MAX_LANES));
    for (x, y) in (&mut xs).zip(&mut ys) {
        for part in 0..Sum::<S>::PARTS {
            total.fma(part, s.load(&x[part * S::LANES..]), s.load(&y[part * S::LANES..]));
        }
    }
    let tails = xs.remainder().chunks(S::LANES).zip(ys.remainder().chunks(S::LANES));
    for (part, (x, y)) in tails.enumerate() {
        total.fma(part, s.load_part(x), s.load_part(y));
    }
    total.total()
}

/// `Σ (x − y)²`; the slices are equally long.
#[inline(always)]
pub(crate) fn square_distance<S: Simd>(s: S, x: &[f32], y: &[f32]) -> f32 {
    let mut total = Sum::new(s);
    let y = &y[..x.len()];
    let (mut xs, mut ys) = (x.chunks_exact(MAX_LANES), y.chunks_exact(MAX_LANES));
    for (x, y) in (&mut xs).zip(&mut ys) {
        for part in 0..Sum::<S>::PARTS {
            let difference = s.sub(s.load(&x[part * S::LANES..]), s.load(&y[part * S::LANES..]));
            total.fma(part, difference, difference);
        }
    }
    let tails = xs.remainder().chunks(S::LANES).zip(ys.remainder().chunks(S::LANES));
    for (part, (x, y)) in tails.enumerate() {
        let difference = s.sub(s.load_part(x), s.load_part(y));
        total.fma(part, difference, difference);
    }
    total.total()
}
