//! Synthetic anomalies for a trainer: training images with patches of each other (`synth/nsa.rs`), as features, and which cells
//! of each level they make anomalous.
//!
//! They are made once, at the size of the network's input, and kept like the features of good parts; epochs take them in turn.
//! Only training images lend and get patches, so held-out parts are as unknown to the flow as they were. Nothing changes
//! outside of a region of interest.
//!
//! A cell is anomalous if at least half of its pixels are; it is left out if some are or if it touches an anomalous one,
//! since the network sees further than a cell; otherwise it is normal.

use super::error::{Result, TrainError};
use super::features::data::Data;
use super::features::extractor::{self, Extractor};
use super::job::Job;
use super::method::FeatureRow;
use super::observer::{Observer, Phase, report};
use super::spoil::{picture, spoil};
use crate::image::{GridPlace, Preprocess};
use crate::model::DetectorRecord;
use crate::score::Views;
use crate::shape::Shape;
use crate::synth::{Kind, Synth};
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// Anomalies of an image where there are many images.
const ROUNDS: usize = 4;
/// Where there are few, there are so many of all.
const FEW: usize = 256;
/// Bytes that the features of all anomalies may take, unless one of each image takes more.
const BYTES: usize = 1 << 31;

/// What a cell teaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cell {
    Normal,
    Ignored,
    Anomalous,
}

/// Where the cells of a level lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelGrid {
    pub shape: Shape,
    pub place: GridPlace,
}

impl LevelGrid {
    /// The grid of a feature that has places.
    pub fn of(feature: &FeatureRow) -> Option<LevelGrid> {
        feature.place.map(|place| LevelGrid { shape: feature.shape, place })
    }

    fn cells(&self) -> usize {
        self.shape.positions()
    }

    /// The pixels of a step, of `side` along an axis; at least one.
    fn pixels(&self, step: usize, side: usize) -> (usize, usize) {
        // Casts saturate, so that what lies left of the first pixel begins with it.
        let edge = |step: f32| libm::ceilf(self.place.first + self.place.stride * (step - 0.5)) as usize;
        let from = edge(step as f32).min(side - 1);
        (from, edge(step as f32 + 1.0).clamp(from + 1, side))
    }

    /// Appends the cells under a mask of `side`² pixels.
    fn label(&self, mask: &[f32], side: usize, out: &mut Vec<Cell>) {
        let (rows, columns) = (self.shape.h() as usize, self.shape.w() as usize);
        let share = |at: usize| {
            let ((y0, y1), (x0, x1)) = (self.pixels(at / columns, side), self.pixels(at % columns, side));
            let ones: f32 = (y0..y1).map(|y| mask[y * side + x0..y * side + x1].iter().sum::<f32>()).sum();
            ones / ((y1 - y0) * (x1 - x0)) as f32
        };
        let shares: Vec<f32> = (0..rows * columns).map(share).collect();
        let around = |i: usize, len: usize| i.saturating_sub(1)..(i + 2).min(len);
        out.extend(shares.iter().enumerate().map(|(at, &share)| {
            let touches = || {
                around(at / columns, rows)
                    .any(|y| around(at % columns, columns).any(|x| shares[y * columns + x] >= 0.5))
            };
            match share {
                s if s >= 0.5 => Cell::Anomalous,
                s if s > 0.0 || touches() => Cell::Ignored,
                _ => Cell::Normal,
            }
        }));
    }
}

/// The anomalies of all training images.
pub(super) struct Anomalies {
    /// Image after training image, round after round, view after view.
    features: Vec<f32>,
    /// Likewise, level after level.
    cells: Vec<Cell>,
    /// First cell and number of cells of each level.
    levels: Vec<(usize, usize)>,
    rounds: usize,
    views: usize,
    len: usize,
}

impl Anomalies {
    /// Position of a view of the anomaly that a training image has in an epoch.
    fn at(&self, data: &Data, image: usize, epoch: u64, view: usize) -> usize {
        let position = data.train.partition_point(|&i| i < image);
        (position * self.rounds + epoch as usize % self.rounds) * self.views + view
    }

    /// Features of a view of the anomaly that a training image has in an epoch.
    pub fn row(&self, data: &Data, image: usize, epoch: u64, view: usize) -> &[f32] {
        &self.features[self.at(data, image, epoch, view) * self.len..][..self.len]
    }

    /// Cells of a level.
    pub fn level_cells(&self, level: usize) -> usize {
        self.levels[level].1
    }

    /// Cells, on a level, of a view of that anomaly.
    pub fn cells(&self, data: &Data, image: usize, epoch: u64, view: usize, level: usize) -> &[Cell] {
        let all = self.levels.last().map_or(0, |l| l.0 + l.1);
        let (first, count) = self.levels[level];
        &self.cells[self.at(data, image, epoch, view) * all + first..][..count]
    }
}

/// Makes the anomalies; `grids` says where the cells of the levels lie.
pub(super) fn make(
    job: &Job<'_>,
    data: &Data,
    grids: &[LevelGrid],
    extractor: &mut Extractor<'_>,
    observer: &mut dyn Observer,
) -> Result<Anomalies> {
    let (images, setup, backbone) = (job.images, job.setup, job.backbone);
    let (count, views, len, side) = (data.train.len(), data.views, data.len, setup.size as usize);
    let wanted = ROUNDS.max(FEW / (count * views).max(1));
    let bytes = (count * views).saturating_mul(len).saturating_mul(size_of::<f32>()).max(1);
    let rounds = (BYTES / bytes).clamp(1, wanted);
    let too_large = || {
        TrainError::Options(format!(
            "there is no memory for the features of {} synthetic anomalies: try a smaller size",
            count * views * rounds
        ))
    };
    let total = (count * views * rounds).checked_mul(len).ok_or_else(too_large)?;
    let mut features: Vec<f32> = Vec::new();
    features.try_reserve_exact(total).map_err(|_| too_large())?;
    let mut levels = Vec::new();
    let mut first = 0;
    for grid in grids {
        levels.push((first, grid.cells()));
        first += grid.cells();
    }
    let mut cells = Vec::with_capacity(count * views * rounds * first);

    let how = extractor::preprocess(setup, backbone);
    let record = extractor::training_views(setup, backbone, views);
    let fixed = Views { detector: &record, preprocess: &how };
    // Masks have one channel, and nothing is anomalous where a turned view has no image.
    let (mask_record, mask_how) = (DetectorRecord { channels: 1, ..record }, Preprocess::new(setup.size, 1));
    let fixed_mask = Views { detector: &mask_record, preprocess: &mask_how };
    let synth = Synth::new(setup.seed, &[Kind::Nsa]);
    let (mut visible, mut anomalous) = (0usize, 0usize);
    let mut turned = vec![0.0; side * side];
    for (position, &index) in data.train.iter().enumerate() {
        report(observer, Phase::Features, position, count)?;
        extractor.load(images, index)?;
        let base = extractor.base().to_vec();
        let keep = extractor.kept().map(<[f32]>::to_vec);
        let good = picture(&how, &base)?;
        for number in 0..rounds * views {
            let draw = synth.draw(number as u64, position as u32);
            extractor.load(images, data.train[draw.source(count, position)])?;
            let anomaly = synth.make(&draw, &good, &picture(&how, extractor.base())?, None);
            let (mut planes, mut mask) = (base.clone(), anomaly.mask);
            spoil(&how, keep.as_deref(), &good, &anomaly.image, &mut planes, &mut mask);
            visible += usize::from(mask.contains(&1.0));
            let (view, at) = (number % views, features.len());
            features.resize(at + len, 0.0);
            extractor.features(&mut |_, image| fixed.write(view, &planes, image), &mut features[at..])?;
            if features[at..].iter().any(|f| !f.is_finite()) {
                let error = "the features of a synthetic anomaly are not finite".to_string();
                return Err(TrainError::Image { name: images.name(index), error });
            }
            fixed_mask.write(view, &mask, &mut turned);
            let known = cells.len();
            grids.iter().for_each(|grid| grid.label(&turned, side, &mut cells));
            anomalous += cells[known..].iter().filter(|c| **c == Cell::Anomalous).count();
        }
    }
    report(observer, Phase::Features, count, count)?;
    let made = count * rounds * views;
    observer.note(&format!(
        "{visible} of {made} synthetic anomalies can be seen ({:.0} %); {:.1} % of their cells are anomalous",
        100.0 * visible as f64 / made.max(1) as f64,
        100.0 * anomalous as f64 / cells.len().max(1) as f64
    ));
    Ok(Anomalies { features, cells, levels, rounds, views, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(grid: &LevelGrid, side: usize, marked: impl Fn(usize, usize) -> bool) -> Vec<Cell> {
        let mask: Vec<f32> = (0..side * side).map(|i| f32::from(u8::from(marked(i % side, i / side)))).collect();
        let mut out = Vec::new();
        grid.label(&mask, side, &mut out);
        out
    }

    #[test]
    fn cells_are_labelled_by_area_with_a_band_around() {
        let grid = LevelGrid { shape: Shape::chw(3, 6, 6), place: GridPlace { first: 3.5, stride: 8.0 } };
        let steps: Vec<(usize, usize)> = (0..6).map(|s| grid.pixels(s, 48)).collect();
        assert_eq!(steps, [(0, 8), (8, 16), (16, 24), (24, 32), (32, 40), (40, 48)]);
        // All of cell (2, 2), half of (3, 2), and a corner of (5, 5).
        let all = labels(&grid, 48, |x, y| ((16..28).contains(&x) && (16..24).contains(&y)) || (x, y) == (47, 47));
        for (at, cell) in all.iter().enumerate() {
            let (x, y) = (at % 6, at / 6);
            let want = match (x, y) {
                (2 | 3, 2) => Cell::Anomalous,
                (5, 5) => Cell::Ignored,
                _ if (1..=4).contains(&x) && (1..=3).contains(&y) => Cell::Ignored,
                _ => Cell::Normal,
            };
            assert_eq!(*cell, want, "({x}, {y})");
        }
        assert!(labels(&grid, 48, |_, _| false).iter().all(|c| *c == Cell::Normal));
        assert!(labels(&grid, 48, |_, _| true).iter().all(|c| *c == Cell::Anomalous));
    }

    #[test]
    fn every_pixel_belongs_to_a_step_wherever_the_grid_lies() {
        for (first, stride, steps, side) in
            [(0.0, 4.0, 16, 64), (7.5, 16.0, 4, 64), (-3.0, 8.0, 9, 64), (10.0, 12.0, 4, 64)]
        {
            let grid = LevelGrid { shape: Shape::chw(1, steps, steps), place: GridPlace { first, stride } };
            for step in 0..steps as usize {
                let (from, to) = grid.pixels(step, side);
                assert!(from < to && to <= side);
                let next = grid.pixels(step + 1, side);
                assert!(next.0 == to || next.1 == side, "steps meet");
            }
        }
    }
}
