//! Multi-head self-attention over the positions of a map: `o_i = Σ_j p_ij·v_j`, `p_ij = softmax_j(q_i·k_j/√d)`.
//!
//! The input qkv is 3h×H×W: h channels of queries, h of keys, h of values, each head after head, d = h/heads channels a head
//! (the layout of PyTorch's packed projections). The output is h×H×W, ordered like the values. Gradients
//! (Dao et al. 2022): with `l_i = ln Σ_j exp(q_i·k_j/√d)`, an op of its own, `p_ij = exp(q_i·k_j/√d − l_i)` is known without
//! its row, and with `e_ij = p_ij·(g_i·v_j − g_i·o_i)/√d` they are `gv_j = Σ_i p_ij·g_i`, `gq_i = Σ_j e_ij·k_j`,
//! `gk_j = Σ_i e_ij·q_i`.

use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::attention::{self, AttentionShape};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// The output of an attention from qkv.
    Attention {
        /// Number of heads.
        heads: u32,
    }
}

record! {
    /// `l`, heads×H×W, from qkv.
    AttentionLse {
        /// Number of heads.
        heads: u32,
    }
}

record! {
    /// `gqkv` from gy, qkv, the output y and l.
    AttentionDx {
        /// Number of heads.
        heads: u32,
    }
}

/// Most positions: their scores are quadratic in number.
const TOKENS: usize = 1024;

/// Checks qkv; returns the channels of the output.
fn check(name: &'static str, qkv: Shape, heads: u32) -> Result<u32, ShapeError> {
    let check = Check(name);
    let fits = heads > 0 && heads <= 1 << 16 && qkv.c().is_multiple_of(3 * heads);
    check.that(fits && qkv.0[3] == 1, "qkv must be C×H×W, with three times the heads dividing C")?;
    check.that(qkv.positions() <= TOKENS, "at most 1024 positions")?;
    Ok(qkv.c() / 3)
}

fn kernel_shape(n: usize, qkv: Shape, heads: u32) -> AttentionShape {
    let depth = (qkv.c() / 3 / heads) as usize;
    AttentionShape { n, heads: heads as usize, depth, tokens: qkv.positions() }
}

fn with(shape: Shape, channels: u32) -> Shape {
    Shape::chw(channels, shape.h(), shape.w())
}

impl Operation for Attention {
    const NAME: &'static str = "attention";
    const INPUTS: &'static [&'static str] = &["qkv"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let qkv = Check(Self::NAME).batched(inputs, 0)?;
        Ok(Type::batched(with(qkv, check(Self::NAME, qkv, self.heads)?)))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // Sums over channels inside exponentials, then over positions.
        Tolerance::Scaled(3e-6)
    }

    fn scratch(&self, inputs: &Types, _output: Type, batch: usize, workers: usize) -> usize {
        inputs[0].map_or(0, |t| attention::attention_scratch(&kernel_shape(batch, t.shape, self.heads), workers))
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), self.heads);
        attention::attention(run.cpu, run.scratch, &s, run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        let heads = self.heads;
        let lse = g.emit(AttentionLse { heads }, &[g.input(0)]);
        g.give(0, AttentionDx { heads }, &[g.upstream(), g.input(0), g.output(), lse]);
    }
}

impl Operation for AttentionLse {
    const NAME: &'static str = "attention_lse";
    const INPUTS: &'static [&'static str] = &["qkv"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let qkv = Check(Self::NAME).batched(inputs, 0)?;
        check(Self::NAME, qkv, self.heads)?;
        Ok(Type::batched(with(qkv, self.heads)))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // Sums over channels inside exponentials, then over positions.
        Tolerance::Scaled(3e-6)
    }

    fn scratch(&self, inputs: &Types, _output: Type, batch: usize, workers: usize) -> usize {
        inputs[0].map_or(0, |t| attention::attention_scratch(&kernel_shape(batch, t.shape, self.heads), workers))
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), self.heads);
        attention::attention_lse(run.cpu, run.scratch, &s, run.inputs[0], run.output);
    }
}

impl Operation for AttentionDx {
    const NAME: &'static str = "attention_dx";
    const INPUTS: &'static [&'static str] = &["gy", "qkv", "y", "lse"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        let qkv = c.batched(inputs, 1)?;
        let y = with(qkv, check(Self::NAME, qkv, self.heads)?);
        c.same("gy has the shape of the forward output", y, c.batched(inputs, 0)?)?;
        c.same("y has the shape of the forward output", y, c.batched(inputs, 2)?)?;
        c.same("lse has one number per head and position", with(qkv, self.heads), c.batched(inputs, 3)?)?;
        Ok(Type::batched(qkv))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // Sums over channels inside exponentials, then over positions.
        Tolerance::Scaled(3e-6)
    }

    fn scratch(&self, inputs: &Types, _output: Type, batch: usize, workers: usize) -> usize {
        inputs[1].map_or(0, |t| attention::attention_dx_scratch(&kernel_shape(batch, t.shape, self.heads), workers))
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(1), self.heads);
        let [gy, qkv, y, lse, ..] = run.inputs;
        attention::attention_dx(run.cpu, run.scratch, &s, [gy, qkv, y, lse], run.output);
    }
}
