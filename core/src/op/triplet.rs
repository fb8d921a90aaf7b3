//! Exponential-kernel triplet loss with every pair of normal samples and every anomaly of a batch (CDNF, eq. 3, with the sign
//! that its text describes: anomalies are pushed away).
//!
//! From cosines between samples ([`Cosine`](super::Cosine)), `d = √max(2 − 2cos, 1e-12)`, `P_ij = e^{−d_ij/σ}` between
//! normal ones, `Q_ik = e^{−d_ik/σ}` towards anomalies: for a normal sample i
//!
//! `y_i = N_batch/(N(N − 1)K) · Σ_{j≠i} Σ_k max(Q_ik − P_ij + m, 0)`
//!
//! and 0 for others, so that the mean over the batch is the mean over all triplets. Row i of p holds the cosines with the
//! samples, that of q those with their mixtures ([`BatchMix`](super::BatchMix)), which are further anomalies. `role` says for
//! each sample what it is (above 0 normal, below 0 an anomaly, 0 neither) and whether its mixture counts (above 0).
//! Gradient, with n_ij the number of k (n_ik of j) whose hinge is open: `∂y_i/∂cos_ij = −c·n_ij·P_ij/(σ·d_ij)`,
//! `∂y_i/∂cos_ik = c·n_ik·Q_ik/(σ·d_ik)`, and 0 where d is at its least.

use super::cosine;
use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::triplet::{self, Rows};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// The loss of each sample, from p, q and role.
    Triplet {
        /// σ, positive.
        sigma: f32,
        /// m, positive.
        margin: f32,
    }
}

record! {
    /// Gradient of [`Triplet`] towards p or q.
    TripletDcos {
        /// σ, positive.
        sigma: f32,
        /// m, positive.
        margin: f32,
        /// Towards q rather than p.
        mixed: bool,
    }
}

/// Checks p, q and role from slot `first` on; returns the shape of p.
fn check(name: &'static str, inputs: &Types, first: usize, sigma: f32, margin: f32) -> Result<Shape, ShapeError> {
    let check = Check(name);
    check.that(sigma > 0.0 && margin > 0.0, "σ and the margin must be positive")?;
    let p = check.batched(inputs, first)?;
    check.same("p has a cosine for each sample", Shape::vector(p.c()), p)?;
    check.that(p.c() <= cosine::MOST, "a batch has 1 to 1024 samples")?;
    check.same("p and q are alike", p, check.batched(inputs, first + 1)?)?;
    check.same("role holds two numbers", Shape::vector(2), check.batched(inputs, first + 2)?)?;
    Ok(p)
}

fn rows<'r>(run: &Run<'r>, first: usize, sigma: f32, margin: f32) -> Rows<'r> {
    let [p, q, role] = [first, first + 1, first + 2].map(|slot| run.inputs[slot]);
    Rows { samples: run.shape(first).len(), batch: run.batch, sigma, margin, p, q, role }
}

impl Operation for Triplet {
    const NAME: &'static str = "triplet";
    const INPUTS: &'static [&'static str] = &["p", "q", "role"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        check(Self::NAME, inputs, 0, self.sigma, self.margin)?;
        Ok(Type::batched(Shape::SCALAR))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A root and an exponential inside.
        Tolerance::Scaled(2e-6)
    }

    fn scratch(&self, inputs: &Types, _: Type, _: usize, _: usize) -> usize {
        inputs[0].map_or(0, |p| 2 * p.shape.len())
    }

    fn run(&self, run: &mut Run<'_>) {
        triplet::triplet(&rows(run, 0, self.sigma, self.margin), run.scratch, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        if g.needs(2) {
            return g.refuse("what samples are");
        }
        let Triplet { sigma, margin } = *self;
        let inputs = [g.upstream(), g.input(0), g.input(1), g.input(2)];
        for (slot, mixed) in [(0, false), (1, true)] {
            g.give(slot, TripletDcos { sigma, margin, mixed }, &inputs);
        }
    }
}

impl Operation for TripletDcos {
    const NAME: &'static str = "triplet_dcos";
    const INPUTS: &'static [&'static str] = &["g", "p", "q", "role"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let p = check(Self::NAME, inputs, 1, self.sigma, self.margin)?;
        let check = Check(Self::NAME);
        check.same("g is one number per sample", Shape::SCALAR, check.batched(inputs, 0)?)?;
        Ok(Type::batched(p))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // A root and an exponential inside.
        Tolerance::Scaled(2e-6)
    }

    fn scratch(&self, inputs: &Types, _: Type, _: usize, _: usize) -> usize {
        inputs[1].map_or(0, |p| 2 * p.shape.len())
    }

    fn run(&self, run: &mut Run<'_>) {
        let rows = rows(run, 1, self.sigma, self.margin);
        triplet::triplet_dcos(&rows, self.mixed, run.inputs[0], run.scratch, run.output);
    }
}
