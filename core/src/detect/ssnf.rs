//! SSNF's training: likelihood up on good parts, down on synthetic anomalies as far as a margin.
//!
//! A batch is good parts and as many anomalies (`synthetic.rs`). Level by level, with `n_q = (½‖z_q‖² − j_q)/C` of each cell:
//! `L_n` is the mean of n over normal cells, `L_a` the mean of `max(0, b + m − n_q)` over anomalous ones; b is a running mean
//! of L_n, m is 1 nat per dimension, and the loss is the sum over levels of `L_n + λ·L_a`. λ is 0 for the first tenth of the
//! steps, so that there is a density to measure by, then ½. Once an anomaly is beyond the margin its gradient is exactly 0:
//! without that the loss has no lower bound, and extreme anomalies would be all that the flow learns about.
//!
//! The op is `op/cell_hinge.rs`; its weights say which cell is what, see [`weigh`]. Scores and maps are FastFlow's (`map_flow.rs`).

use super::TrainError;
use super::checkpoint::LEVELS;
use super::data::Data;
use super::fit_flow::FlowInput;
use super::synthetic::{Cell, Synthetic};
use crate::executor::{Executor, Prepared};
use crate::flows::Ssnf;
use crate::graph::{Graph, TensorId};
use crate::op::{Add, CellHinge};
use crate::params::Params;
use crate::shape::Shape;
use alloc::format;
use alloc::string::{String, ToString};

/// m, nats per dimension.
const MARGIN: f32 = 1.0;
/// λ once it counts.
const LAMBDA: f32 = 0.5;
/// Share of b that stays from step to step.
const KEPT: f64 = 0.99;
/// One of so many steps comes before anomalies count.
const WARM_UP: u64 = 10;

/// Good parts in a batch, and anomalies beside them.
pub(super) const BATCH: usize = 8;

fn weights(level: &str) -> String {
    format!("weights.{level}")
}

fn baseline(level: &str) -> String {
    format!("baseline.{level}")
}

fn likelihoods(level: &str) -> String {
    format!("cells.{level}")
}

/// Emits the loss of each sample, of levels that are called `names` and features `xs`; the likelihoods of cells become outputs.
pub(super) fn loss(
    g: &mut Graph,
    params: &Params,
    attended: u32,
    names: &[String],
    xs: &[TensorId],
) -> Result<TensorId, TrainError> {
    if names.len() > LEVELS {
        return Err(TrainError::Internal("too many levels".to_string()));
    }
    let mut total: Option<TensorId> = None;
    for (name, &x) in names.iter().zip(xs) {
        let shape = g.shape(x);
        let flow = Ssnf::for_map(shape, attended);
        let normal = flow.normalise(g, name, x)?;
        let (z, j) = flow.forward_map(g, params, name, normal)?;
        let n = flow.likelihood(g, name, z, j)?;
        g.output(&likelihoods(name), n);
        let w = g.input(&weights(name), Shape::chw(1, shape.h(), shape.w()));
        let b = g.control(&baseline(name), Shape::SCALAR);
        let level = g.emit(&format!("{name}.hinge"), CellHinge { margin: MARGIN }, &[n, w, b])?;
        total = Some(match total {
            None => level,
            Some(other) => g.emit(&format!("{name}.sum"), Add {}, &[other, level])?,
        });
    }
    total.ok_or_else(|| TrainError::Internal("no levels".to_string()))
}

/// λ at a step, counted from 0, of so many.
pub(super) fn lambda(step: u64, steps: u64) -> f32 {
    if step < steps / WARM_UP { 0.0 } else { LAMBDA }
}

/// Weights of the cells of a batch of `samples`, so that the mean over the batch is `L_n + λ·L_a`: positive on normal cells,
/// negative on anomalous ones, 0 on those that are left out.
fn weigh(cells: impl Iterator<Item = Cell> + Clone, samples: usize, lambda: f32, out: &mut [f32]) {
    let count = |kind: Cell| cells.clone().filter(|c| *c == kind).count().max(1) as f32;
    let (normal, anomalous) = (count(Cell::Normal), count(Cell::Anomalous));
    for (w, cell) in out.iter_mut().zip(cells) {
        *w = match cell {
            Cell::Normal => samples as f32 / normal,
            Cell::Ignored => 0.0,
            Cell::Anomalous => -lambda * samples as f32 / anomalous,
        };
    }
}

/// Good parts that make a batch with their anomalies.
pub(super) struct Batch<'b> {
    pub synthetic: &'b Synthetic,
    pub data: &'b Data,
    pub images: &'b [usize],
    /// One a level.
    pub inputs: &'b [FlowInput],
    pub epoch: u64,
}

impl Batch<'_> {
    /// Images with their views, as often as they are in each half of the batch.
    fn views(&self) -> impl Iterator<Item = (usize, usize)> + Clone {
        let views = self.data.views;
        self.images.iter().flat_map(move |&image| (0..views).map(move |view| (image, view)))
    }

    /// Cells of the whole batch on a level.
    fn cells(&self, level: usize) -> impl Iterator<Item = Cell> + Clone {
        let good = self.views().count() * self.synthetic.level_cells(level);
        let of = move |(image, view)| self.synthetic.cells(self.data, image, self.epoch, view, level);
        core::iter::repeat_n(Cell::Normal, good).chain(self.views().flat_map(of).copied())
    }

    /// Writes the second half of the batch, the anomalies, and what the loss needs to know.
    pub fn fill(&self, baselines: &[f64; LEVELS], lambda: f32, executor: &mut dyn Executor, program: Prepared) {
        let half = self.views().count();
        for (level, (input, b)) in self.inputs.iter().zip(baselines).enumerate() {
            let rows = executor.input(program, &input.name).chunks_exact_mut(input.len).skip(half);
            for (row, (image, view)) in rows.zip(self.views()) {
                let from = self.synthetic.row(self.data, image, self.epoch, view);
                row.copy_from_slice(&from[input.first..][..input.len]);
            }
            weigh(self.cells(level), 2 * half, lambda, executor.input(program, &weights(&input.name)));
            // Before the first step there is none.
            let b = if b.is_nan() { 0.0 } else { *b as f32 };
            executor.input(program, &baseline(&input.name)).fill(b);
        }
    }

    /// Follows L_n of each level after a step.
    pub fn follow(&self, baselines: &mut [f64; LEVELS], executor: &dyn Executor, program: Prepared) {
        for (level, (input, b)) in self.inputs.iter().zip(baselines).enumerate() {
            let n = executor.output(program, &likelihoods(&input.name)).iter().zip(self.cells(level));
            let normal = n.filter(|(_, cell)| *cell == Cell::Normal).map(|(n, _)| f64::from(*n));
            let (sum, count) = normal.fold((0.0, 0.0), |(sum, count), n| (sum + n, count + 1.0));
            let mean = sum / f64::max(count, 1.0);
            *b = if b.is_nan() { mean } else { KEPT * *b + (1.0 - KEPT) * mean };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn weights_make_the_mean_of_each_kind() {
        use Cell::{Anomalous as A, Ignored as I, Normal as N};
        let cells = [N, N, N, N, N, N, I, A, A, N, N, I];
        let mut w = vec![9.0; 12];
        weigh(cells.into_iter(), 3, 0.5, &mut w);
        // Three samples of four cells: 8 normal, 2 anomalous.
        let (n, a) = (3.0 / 8.0, -0.5 * 3.0 / 2.0);
        assert_eq!(w, [n, n, n, n, n, n, 0.0, a, a, n, n, 0.0]);
        weigh(cells.into_iter(), 3, 0.0, &mut w);
        assert!(w.iter().all(|w| *w >= 0.0));
        weigh([N, I].into_iter(), 1, 0.5, &mut w[..2]);
        assert_eq!(w[..2], [1.0, 0.0]);
    }

    #[test]
    fn anomalies_count_after_a_tenth() {
        assert_eq!([0, 9, 10, 99].map(|step| lambda(step, 100)), [0.0, 0.0, 0.5, 0.5]);
        assert_eq!(lambda(0, 7), 0.5);
    }
}
