//! Self-attention with several heads over the positions of a map: `o_i = Σ_j p_ij · v_j`, `p_ij = softmax_j(q_i·k_j / √d)`.
//!
//! qkv holds the channels of all queries, then of all keys, then of all values, each head by head. One head of one sample at a
//! time: its scores are a T×T matrix in the scratch, and all products are [`gemm`]s, which share out the work.
//!
//! Gradients, from `l_i = ln Σ_j exp(q_i·k_j / √d)` and the output: `p_ij = exp(q_i·k_j/√d − l_i)`, `gv_j = Σ_i p_ij · g_i`,
//! `e_ij = p_ij · (g_i·v_j − g_i·o_i) / √d`, `gq_i = Σ_j e_ij · k_j`, `gk_j = Σ_i e_ij · q_i`.

use super::gemm::{Gemm, Matrix, gemm, gemm_scratch};
use crate::cpu::Cpu;
use crate::simd::math::exp;
use crate::simd::{Op, Simd, sum};

/// Shape of an attention: qkv `[n, 3·heads·depth, tokens]`, output `[n, heads·depth, tokens]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Batch.
    pub n: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub depth: usize,
    /// Positions.
    pub tokens: usize,
}

impl AttentionShape {
    /// Elements of one head of q, k, v or the output.
    const fn head(&self) -> usize {
        self.depth * self.tokens
    }

    /// Elements per sample of q, k, v or the output.
    const fn sample(&self) -> usize {
        self.heads * self.head()
    }

    fn scale(&self) -> f32 {
        1.0 / libm::sqrtf(self.depth as f32)
    }

    /// Where the head is in q; k and v lie `sample()` and twice that behind.
    fn at(&self, n: usize, head: usize) -> usize {
        n * 3 * self.sample() + head * self.head()
    }

    /// Scores of one head from qkv, not scaled.
    fn scores(&self, cpu: Cpu<'_>, scratch: &mut [f32], qkv: &[f32], at: usize, scores: &mut [f32]) {
        let (t, len) = (self.tokens, self.head());
        let (q, k) = (&qkv[at..][..len], &qkv[at + self.sample()..][..len]);
        gemm(cpu, scratch, &Gemm::new(t, t, self.depth, Matrix::transposed(q, t), Matrix::rows(k, t)), scores);
    }

    /// Runs `f` for chunks of rows of a T×T matrix: number of the first row, and the rows.
    fn rows(&self, cpu: Cpu<'_>, matrix: &mut [f32], f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let rows = (4096 / self.tokens).max(1);
        cpu.threads().chunks_mut(matrix, rows * self.tokens, &|task, _, part| f(task * rows, part));
    }

    fn products(&self, threads: usize) -> usize {
        let (t, d) = (self.tokens, self.depth);
        gemm_scratch(t, t, d, threads).max(gemm_scratch(d, t, t, threads))
    }
}

/// Elements of scratch that [`attention`] and [`attention_lse`] need.
pub fn attention_scratch(s: &AttentionShape, threads: usize) -> usize {
    s.tokens * s.tokens + s.products(threads)
}

/// The output y from qkv.
pub fn attention(cpu: Cpu<'_>, scratch: &mut [f32], s: &AttentionShape, qkv: &[f32], y: &mut [f32]) {
    assert_eq!((qkv.len(), y.len()), (3 * s.n * s.sample(), s.n * s.sample()), "lengths of qkv and y");
    let (t, scale) = (s.tokens, s.scale());
    let (scores, scratch) = scratch.split_at_mut(t * t);
    for n in 0..s.n {
        for head in 0..s.heads {
            let at = s.at(n, head);
            s.scores(cpu, scratch, qkv, at, scores);
            s.rows(cpu, scores, &|_, rows| cpu.isa().run(Softmax { scale, tokens: t, rows, lse: None }));
            let v = &qkv[at + 2 * s.sample()..][..s.head()];
            let y = &mut y[n * s.sample() + head * s.head()..][..s.head()];
            gemm(cpu, scratch, &Gemm::new(s.depth, t, t, Matrix::rows(v, t), Matrix::transposed(scores, t)), y);
        }
    }
}

/// `l_i = ln Σ_j exp(q_i·k_j / √d)` of every head and position. lse `[n, heads, tokens]`.
pub fn attention_lse(cpu: Cpu<'_>, scratch: &mut [f32], s: &AttentionShape, qkv: &[f32], lse: &mut [f32]) {
    assert_eq!((qkv.len(), lse.len()), (3 * s.n * s.sample(), s.n * s.heads * s.tokens), "lengths of qkv and lse");
    let (t, scale) = (s.tokens, s.scale());
    let (scores, scratch) = scratch.split_at_mut(t * t);
    for (k, lse) in lse.chunks_exact_mut(t).enumerate() {
        s.scores(cpu, scratch, qkv, s.at(k / s.heads, k % s.heads), scores);
        let scores = &*scores;
        let rows = (4096 / t).max(1);
        cpu.threads().chunks_mut(lse, rows, &|task, _, lse| {
            let scores = &scores[task * rows * t..][..lse.len() * t];
            cpu.isa().run(LogSums { scale, tokens: t, scores, lse });
        });
    }
}

/// Elements of scratch that [`attention_dx`] needs.
pub fn attention_dx_scratch(s: &AttentionShape, threads: usize) -> usize {
    2 * s.tokens * s.tokens + s.tokens + s.products(threads)
}

/// Gradient of [`attention`] by qkv, from gy, qkv, the output y and its [`attention_lse`].
pub fn attention_dx(cpu: Cpu<'_>, scratch: &mut [f32], s: &AttentionShape, inputs: [&[f32]; 4], gqkv: &mut [f32]) {
    let [gy, qkv, y, lse] = inputs;
    assert_eq!((qkv.len(), gqkv.len()), (3 * s.n * s.sample(), 3 * s.n * s.sample()), "lengths of qkv and gqkv");
    assert_eq!((gy.len(), y.len()), (s.n * s.sample(), s.n * s.sample()), "lengths of gy and y");
    assert_eq!(lse.len(), s.n * s.heads * s.tokens, "length of lse");
    let (t, d, len, scale) = (s.tokens, s.depth, s.head(), s.scale());
    let (weights, scratch) = scratch.split_at_mut(t * t);
    let (slopes, scratch) = scratch.split_at_mut(t * t);
    let (level, scratch) = scratch.split_at_mut(t);
    for k in 0..s.n * s.heads {
        let (n, head) = (k / s.heads, k % s.heads);
        let (at, out) = (s.at(n, head), n * s.sample() + head * len);
        let [q, key, v] = [0, 1, 2].map(|part| &qkv[at + part * s.sample()..][..len]);
        let (g, y, lse) = (&gy[out..][..len], &y[out..][..len], &lse[k * t..][..t]);
        s.scores(cpu, scratch, qkv, at, weights);
        s.rows(cpu, weights, &|first, rows| {
            cpu.isa().run(Softmax { scale, tokens: t, rows, lse: Some(&lse[first..]) });
        });
        let [gq, gk, gv] = [0, 1, 2].map(|part| at + part * s.sample()..at + part * s.sample() + len);
        let product = Gemm::new(d, t, t, Matrix::rows(g, t), Matrix::rows(weights, t));
        gemm(cpu, scratch, &product, &mut gqkv[gv]);
        gemm(cpu, scratch, &Gemm::new(t, t, d, Matrix::transposed(g, t), Matrix::rows(v, t)), slopes);
        for (i, level) in level.iter_mut().enumerate() {
            *level = (0..d).fold(0.0, |sum, c| sum + g[c * t + i] * y[c * t + i]);
        }
        let (weights, level) = (&*weights, &*level);
        s.rows(cpu, slopes, &|first, rows| {
            for (i, row) in rows.chunks_exact_mut(t).enumerate() {
                let (weights, level) = (&weights[(first + i) * t..][..t], level[first + i]);
                for (e, p) in row.iter_mut().zip(weights) {
                    *e = scale * p * (*e - level);
                }
            }
        });
        let product = Gemm::new(d, t, t, Matrix::rows(key, t), Matrix::transposed(slopes, t));
        gemm(cpu, scratch, &product, &mut gqkv[gq]);
        let product = Gemm::new(d, t, t, Matrix::rows(q, t), Matrix::rows(slopes, t));
        gemm(cpu, scratch, &product, &mut gqkv[gk]);
    }
}

/// Rows of scores to weights: `exp(scale·s − l)` where l is known, else divided by their sum.
struct Softmax<'a> {
    scale: f32,
    tokens: usize,
    rows: &'a mut [f32],
    lse: Option<&'a [f32]>,
}

impl Op for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, row) in self.rows.chunks_exact_mut(self.tokens).enumerate() {
            if let Some(lse) = self.lse {
                exponentials(s, self.scale, lse[i], row);
                continue;
            }
            exponentials(s, self.scale, self.scale * largest(s, row), row);
            let total = sum::sum(s, row);
            row.iter_mut().for_each(|p| *p /= total);
        }
    }
}

/// `ln Σ exp(scale·s)` of rows of scores.
struct LogSums<'a> {
    scale: f32,
    tokens: usize,
    scores: &'a [f32],
    lse: &'a mut [f32],
}

impl Op for LogSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, lse) in self.scores.chunks_exact(self.tokens).zip(self.lse) {
            let top = self.scale * largest(s, row);
            let mut total = sum::Sum::new(s);
            for (k, x) in row.chunks(S::LANES).enumerate() {
                let e = exp(s, s.sub(s.mul(s.load_part(x), s.splat(self.scale)), s.splat(top)));
                // Lanes behind the end of the row count nothing.
                let mut part = [0.0; crate::simd::MAX_LANES];
                s.store_part(&mut part[..x.len()], e);
                total.add(k % sum::Sum::<S>::PARTS, s.load(&part));
            }
            *lse = top + libm::logf(total.total());
        }
    }
}

/// `exp(scale·x − top)` in place.
#[inline(always)]
fn exponentials<S: Simd>(s: S, scale: f32, top: f32, row: &mut [f32]) {
    let (scale, top) = (s.splat(scale), s.splat(top));
    for x in row.chunks_mut(S::LANES) {
        let e = exp(s, s.sub(s.mul(s.load_part(x), scale), top));
        s.store_part(x, e);
    }
}

/// The largest element, not more than some NaN may make of it.
#[inline(always)]
fn largest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut top = s.splat(f32::NEG_INFINITY);
    let mut chunks = x.chunks_exact(S::LANES);
    for x in &mut chunks {
        top = s.max(top, s.load(x));
    }
    let lanes = s.to_array(top);
    let all = lanes[..S::LANES].iter().chain(chunks.remainder());
    all.fold(f32::NEG_INFINITY, |top, x| if *x > top { *x } else { top })
}
