//! Batch normalisation in training (Ioffe and Szegedy 2015, arXiv 1502.03167), as two ops that each have a gradient.
//!
//! [`BatchStats`]: mean `μ_c` and biased variance `v_c = Σ (x − μ)²/M` over the M = N·HW values of a channel, C×2.
//! [`BatchNorm`]: `y = (x − μ_c)·r_c·γ_c + β_c`, `r = 1/√(v + ε)`, with statistics from wherever: in training those of x
//! itself, so that the gradient towards x has two parts, which meet where x is used twice:
//! `gx = gy·γ·r` and, through the statistics, `(g_μ + 2·g_v·(x − μ))/M` with `g_μ = −γ·r·Σ gy`, `g_v = −½·γ·r³·Σ gy·(x − μ)`.
//! `gγ = r·Σ gy·(x − μ)`, `gβ = Σ gy`. Running statistics are the trainer's: it reads the statistics as an output,
//! averages them (the variance times M/(M − 1)) and folds the averages into the convolutions when training ends.

use super::{ChannelSum, Check, Operation, Rule, Run, Types, shape};
use crate::kernels::batch_norm::{self, Extent};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// Mean and variance of each channel over batch and positions: C×2.
    BatchStats {}
}

record! {
    /// `gx` of the statistics from their gradient, x and the statistics.
    BatchStatsDx {}
}

record! {
    /// `y = (x − μ)·γ/√(v + ε) + β` per channel.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
    }
}

record! {
    /// `gx = gy·γ/√(v + ε)`, statistics held.
    BatchNormDx {
        /// Added to the variance.
        eps: f32,
    }
}

record! {
    /// The gradient of a batch normalisation towards its statistics: C×2.
    BatchNormDstats {
        /// Added to the variance.
        eps: f32,
    }
}

record! {
    /// `gγ = Σ gy·(x − μ)/√(v + ε)`.
    BatchNormDgamma {
        /// Added to the variance.
        eps: f32,
    }
}

fn pairs(c: u32) -> Shape {
    Shape([c, 2, 1, 1])
}

/// x: C×H×W, batched.
fn image(name: &'static str, inputs: &Types, slot: usize) -> Result<Shape, ShapeError> {
    let check = Check(name);
    let x = check.batched(inputs, slot)?;
    check.that(x.0[3] == 1, "x must be C×H×W")?;
    Ok(x)
}

fn has_stats(name: &'static str, inputs: &Types, slot: usize, c: u32) -> Result<(), ShapeError> {
    let check = Check(name);
    check.same("mean and variance of each channel", pairs(c), check.single(inputs, slot)?)
}

fn has_vector(name: &'static str, inputs: &Types, slot: usize, c: u32) -> Result<(), ShapeError> {
    let check = Check(name);
    check.same("one number per channel", Shape::vector(c), check.single(inputs, slot)?)
}

fn positive(name: &'static str, eps: f32) -> Result<(), ShapeError> {
    Check(name).that(eps > 0.0, "eps must be positive")
}

fn extent(run: &Run<'_>, slot: usize) -> Extent {
    let x = run.shape(slot);
    Extent { n: run.batch, c: x.c() as usize, hw: x.positions() }
}

impl Operation for BatchStats {
    const NAME: &'static str = "batch_stats";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        Ok(Type::single(pairs(image(Self::NAME, inputs, 0)?.c())))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).positions())
    }

    fn run(&self, run: &mut Run<'_>) {
        batch_norm::stats(run.cpu, extent(run, 0), run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, BatchStatsDx {}, &[g.upstream(), g.input(0), g.output()]);
    }
}

impl Operation for BatchStatsDx {
    const NAME: &'static str = "batch_stats_dx";
    const INPUTS: &'static [&'static str] = &["g", "x", "stats"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let x = image(Self::NAME, inputs, 1)?;
        has_stats(Self::NAME, inputs, 0, x.c())?;
        has_stats(Self::NAME, inputs, 2, x.c())?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A difference, a root, two or three products.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let [g, x, stats, ..] = run.inputs;
        batch_norm::stats_dx(run.cpu, extent(run, 1), g, x, stats, run.output);
    }
}

impl Operation for BatchNorm {
    const NAME: &'static str = "batch_norm";
    const INPUTS: &'static [&'static str] = &["x", "stats", "gamma", "beta"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        positive(Self::NAME, self.eps)?;
        let x = image(Self::NAME, inputs, 0)?;
        has_stats(Self::NAME, inputs, 1, x.c())?;
        has_vector(Self::NAME, inputs, 2, x.c())?;
        has_vector(Self::NAME, inputs, 3, x.c())?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A difference, a root, two or three products.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let [x, stats, gamma, beta, ..] = run.inputs;
        batch_norm::norm(run.cpu, extent(run, 0), self.eps, x, stats, gamma, beta, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        let (eps, gy) = (self.eps, g.upstream());
        let [x, stats, gamma] = [0, 1, 2].map(|slot| g.input(slot));
        g.give(0, BatchNormDx { eps }, &[gy, stats, gamma]);
        g.give(1, BatchNormDstats { eps }, &[gy, x, stats, gamma]);
        g.give(2, BatchNormDgamma { eps }, &[gy, x, stats]);
        g.give(3, ChannelSum {}, &[gy]);
    }
}

impl Operation for BatchNormDx {
    const NAME: &'static str = "batch_norm_dx";
    const INPUTS: &'static [&'static str] = &["gy", "stats", "gamma"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        positive(Self::NAME, self.eps)?;
        let gy = image(Self::NAME, inputs, 0)?;
        has_stats(Self::NAME, inputs, 1, gy.c())?;
        has_vector(Self::NAME, inputs, 2, gy.c())?;
        Ok(Type::batched(gy))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A difference, a root, two or three products.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let [gy, stats, gamma, ..] = run.inputs;
        batch_norm::norm_dx(run.cpu, extent(run, 0), self.eps, gy, stats, gamma, run.output);
    }
}

impl Operation for BatchNormDstats {
    const NAME: &'static str = "batch_norm_dstats";
    const INPUTS: &'static [&'static str] = &["gy", "x", "stats", "gamma"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        positive(Self::NAME, self.eps)?;
        let (gy, x) = (image(Self::NAME, inputs, 0)?, image(Self::NAME, inputs, 1)?);
        Check(Self::NAME).same("gy and x have one shape", gy, x)?;
        has_stats(Self::NAME, inputs, 2, x.c())?;
        has_vector(Self::NAME, inputs, 3, x.c())?;
        Ok(Type::single(pairs(x.c())))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).positions())
    }

    fn run(&self, run: &mut Run<'_>) {
        let [gy, x, stats, gamma, ..] = run.inputs;
        batch_norm::norm_dstats(run.cpu, extent(run, 0), self.eps, gy, x, stats, gamma, run.output);
    }
}

impl Operation for BatchNormDgamma {
    const NAME: &'static str = "batch_norm_dgamma";
    const INPUTS: &'static [&'static str] = &["gy", "x", "stats"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        positive(Self::NAME, self.eps)?;
        let (gy, x) = (image(Self::NAME, inputs, 0)?, image(Self::NAME, inputs, 1)?);
        Check(Self::NAME).same("gy and x have one shape", gy, x)?;
        has_stats(Self::NAME, inputs, 2, x.c())?;
        Ok(Type::single(Shape::vector(x.c())))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 0).positions())
    }

    fn run(&self, run: &mut Run<'_>) {
        let [gy, x, stats, ..] = run.inputs;
        batch_norm::norm_dgamma(run.cpu, extent(run, 0), self.eps, gy, x, stats, run.output);
    }
}
