//! Good parts become likelier, synthetic anomalies unlikelier as far as a margin: how SSNF is trained.
//!
//! A batch is good parts and as many anomalies (`anomalies.rs`). Level by level, with `n_q = (½‖z_q‖² − j_q)/C` of each cell:
//! `L_n` is the mean of n over normal cells, `L_a` the mean of `max(0, b + m − n_q)` over anomalous ones; b is a running mean
//! of L_n, m is 1 nat per dimension, and the loss is the sum over levels of `L_n + λ·L_a`. λ is 0 for the first tenth of the
//! steps, so that there is a density to measure by, then ½. Once an anomaly is beyond the margin its gradient is exactly 0:
//! without that the loss has no lower bound, and extreme anomalies would be all that the flow learns about.
//!
//! The op is `op/cell_hinge.rs`; its weights say which cell is what, see [`weigh`].

use super::batches::FeatureInput;
use super::likelihood::{FREE, Likelihood};
use super::objective::{Loss, Memory, Now, Objective, Verdict};
use crate::detect::anomalies::{Anomalies, Cell};
use crate::detect::emit::Emit;
use crate::detect::error::{Result, TrainError};
use crate::executor::{Executor, Prepared};
use crate::graph::TensorId;
use crate::op::{Add, CellHinge};
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
pub const BATCH: usize = 8;

fn weights(level: &str) -> String {
    format!("weights.{level}")
}

fn baseline(level: &str) -> String {
    format!("baseline.{level}")
}

fn likelihoods(level: &str) -> String {
    format!("cells.{level}")
}

/// Emits the loss of each sample. `nll` emits n of a level, 1×H×W, which becomes an output.
pub fn loss(
    e: &mut Emit<'_>,
    levels: &[String],
    mut nll: impl FnMut(&mut Emit<'_>, usize) -> Result<TensorId>,
) -> Result<TensorId> {
    if levels.len() > FREE.len() {
        return Err(TrainError::Internal("too many levels".to_string()));
    }
    let mut total: Option<TensorId> = None;
    for (level, name) in levels.iter().enumerate() {
        let n = nll(e, level)?;
        let shape = e.g.shape(n);
        e.g.output(&likelihoods(name), n);
        let w = e.g.input(&weights(name), Shape::chw(1, shape.h(), shape.w()));
        let b = e.g.control(&baseline(name), Shape::SCALAR);
        let level = e.op(&format!("{name}.hinge"), CellHinge { margin: MARGIN }, &[n, w, b])?;
        total = Some(match total {
            None => level,
            Some(other) => e.op(&format!("{name}.sum"), Add {}, &[other, level])?,
        });
    }
    total.ok_or_else(|| TrainError::Internal("no levels".to_string()))
}

/// λ at a step, counted from 0, of so many.
fn lambda(step: u64, steps: u64) -> f32 {
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

/// Maximum likelihood on good parts, and a hinge on anomalies.
pub struct Hinge<'h, 'e> {
    pub likelihood: Likelihood<'h, 'e>,
    pub anomalies: &'h Anomalies,
}

impl<'h> Hinge<'h, '_> {
    fn inputs(&self) -> &'h [FeatureInput] {
        self.likelihood.programs.inputs
    }

    /// Images with their views, as often as they are in each half of the batch.
    fn views<'i>(&self, images: &'i [usize]) -> impl Iterator<Item = (usize, usize)> + Clone + use<'i> {
        let views = self.likelihood.batches.data.views;
        images.iter().flat_map(move |&image| (0..views).map(move |view| (image, view)))
    }

    /// Cells of the whole batch on a level.
    fn cells<'i>(
        &self,
        images: &'i [usize],
        epoch: u64,
        level: usize,
    ) -> impl Iterator<Item = Cell> + Clone + use<'i, 'h> {
        let (anomalies, data) = (self.anomalies, self.likelihood.batches.data);
        let good = self.views(images).count() * anomalies.level_cells(level);
        let of = move |(image, view)| anomalies.cells(data, image, epoch, view, level);
        core::iter::repeat_n(Cell::Normal, good).chain(self.views(images).flat_map(of).copied())
    }

    /// Writes the second half of the batch, the anomalies, and what the loss needs to know.
    fn fill(&self, images: &[usize], now: Now, memory: &Memory, executor: &mut dyn Executor, program: Prepared) {
        let half = self.views(images).count();
        let lambda = lambda(now.step, now.steps);
        for (level, (input, b)) in self.inputs().iter().zip(&memory[FREE]).enumerate() {
            let rows = executor.input(program, &input.name).chunks_exact_mut(input.len).skip(half);
            for (row, (image, view)) in rows.zip(self.views(images)) {
                let from = self.anomalies.row(self.likelihood.batches.data, image, now.epoch, view);
                row.copy_from_slice(&from[input.first..][..input.len]);
            }
            let cells = self.cells(images, now.epoch, level);
            weigh(cells, 2 * half, lambda, executor.input(program, &weights(&input.name)));
            // Before the first step there is none.
            let b = if b.is_nan() { 0.0 } else { *b as f32 };
            executor.input(program, &baseline(&input.name)).fill(b);
        }
    }

    /// Follows L_n of each level after a step.
    fn follow(&self, images: &[usize], epoch: u64, memory: &mut Memory, executor: &dyn Executor, program: Prepared) {
        for (level, (input, b)) in self.inputs().iter().zip(&mut memory[FREE]).enumerate() {
            let n = executor.output(program, &likelihoods(&input.name)).iter().zip(self.cells(images, epoch, level));
            let normal = n.filter(|(_, cell)| *cell == Cell::Normal).map(|(n, _)| f64::from(*n));
            let (sum, count) = normal.fold((0.0, 0.0), |(sum, count), n| (sum + n, count + 1.0));
            let mean = sum / f64::max(count, 1.0);
            *b = if b.is_nan() { mean } else { KEPT * *b + (1.0 - KEPT) * mean };
        }
    }
}

impl Objective for Hinge<'_, '_> {
    fn start(&self) -> Memory {
        self.likelihood.start()
    }

    fn batches(&self) -> usize {
        self.likelihood.batches()
    }

    fn begin(&mut self, epoch: u64) {
        self.likelihood.begin(epoch);
    }

    fn step(&mut self, now: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Loss> {
        let (program, images) = self.likelihood.prepare(now, 2, executor)?;
        self.fill(&images, now, memory, executor, program);
        let loss = self.likelihood.run(now, images.len(), executor, program)?;
        self.follow(&images, now.epoch, memory, executor, program);
        Ok(loss)
    }

    fn end(&mut self, now: Now, memory: &mut Memory, executor: &mut dyn Executor) -> Result<Verdict> {
        // Until anomalies count, good parts have it too easy.
        if lambda(now.step.saturating_sub(1), now.steps) == 0.0 {
            return Ok(Verdict::default());
        }
        self.likelihood.end(now, memory, executor)
    }

    fn reason(&self) -> String {
        self.likelihood.reason()
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
