//! How far a metric might have been off with another sample of the same size.
//!
//! The percentile bootstrap (Efron 1979): draw as many images as there are, with replacement, and compute the metric;
//! many times; the middle 95 % of the values are the interval. It covers the choice of images, not that of the training
//! run.

use crate::rng::Rng;
use alloc::vec::Vec;

/// An interval of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The central interval of `level` (say 0.95) over `resamples` (say 2000) draws of `metric(scores, labels)`.
///
/// Draws without a value (a class missing) are left out. `None` if more than half are, lengths differ, or `level` is not
/// inside 0..1. The same seed gives the same interval.
///
/// ```
/// use adflow::metrics::{bootstrap, image_auroc};
/// let scores: Vec<f32> = (0..50).map(|i| (i * 7 % 50 + i / 2) as f32).collect();
/// let labels: Vec<bool> = (0..50).map(|i| i >= 25).collect();
/// let auroc = image_auroc(&scores, &labels);
/// let interval = bootstrap(&scores, &labels, 500, 0.95, 1, image_auroc).unwrap();
/// assert!(interval.low < auroc && auroc < interval.high);
/// ```
#[must_use]
pub fn bootstrap(
    scores: &[f32],
    labels: &[bool],
    resamples: u32,
    level: f64,
    seed: u64,
    metric: impl Fn(&[f32], &[bool]) -> f64,
) -> Option<Interval> {
    let n = u32::try_from(scores.len()).ok().filter(|&n| n > 0)?;
    let inside = level > 0.0 && level < 1.0;
    if labels.len() != scores.len() || !inside {
        return None;
    }
    let (mut drawn_scores, mut drawn_labels) = (scores.to_vec(), labels.to_vec());
    let mut values = Vec::with_capacity(resamples as usize);
    for draw in 0..resamples {
        let mut rng = Rng::new(seed, u64::from(draw), 0);
        for (s, l) in drawn_scores.iter_mut().zip(&mut drawn_labels) {
            let i = rng.below(n) as usize;
            (*s, *l) = (scores[i], labels[i]);
        }
        let value = metric(&drawn_scores, &drawn_labels);
        if !value.is_nan() {
            values.push(value);
        }
    }
    if values.is_empty() || values.len() * 2 < resamples as usize {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    Some(Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) })
}

/// Linear between order statistics.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let low = (at as usize).min(sorted.len() - 1);
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::super::image_auroc;
    use super::*;
    use alloc::vec;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.0), 1.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), 4.0);
        assert_eq!(quantile(&[5.0], 0.3), 5.0);
    }

    #[test]
    fn the_interval_covers_the_truth() {
        // Two normal classes one standard deviation apart: AUROC = Φ(1/√2) = 0.7602.
        let truth = 0.760_249_938_906_523;
        let trials = 200;
        let mut covered = 0;
        for trial in 0..trials {
            let mut rng = Rng::new(9, trial, 1);
            let labels: Vec<bool> = (0..120).map(|i| i % 2 == 0).collect();
            let scores: Vec<f32> = labels.iter().map(|&l| (rng.normal() + f64::from(u8::from(l))) as f32).collect();
            let i = bootstrap(&scores, &labels, 300, 0.9, trial, image_auroc).unwrap();
            covered += u32::from(i.low <= truth && truth <= i.high);
        }
        assert!((165..=195).contains(&covered), "{covered} of {trials} intervals of 90 % cover the truth");
    }

    #[test]
    fn seeds_repeat_and_degenerate_input_gives_none() {
        let (scores, labels) = (vec![1.0, 2.0, 3.0, 4.0], vec![false, true, false, true]);
        let run = |seed| bootstrap(&scores, &labels, 200, 0.95, seed, image_auroc);
        assert_eq!(run(3), run(3));
        assert!(run(3).is_some());
        let none = |scores: &[f32], labels: &[bool], resamples, level| {
            bootstrap(scores, labels, resamples, level, 0, image_auroc).is_none()
        };
        assert!(none(&[], &[], 10, 0.95));
        assert!(none(&scores, &labels[..3], 10, 0.95));
        assert!(none(&scores, &labels, 0, 0.95));
        assert!(none(&scores, &labels, 10, 1.0));
        assert!(none(&scores, &labels, 10, f64::NAN));
        assert!(none(&scores, &[true; 4], 10, 0.95));
        assert!(none(&[f32::NAN; 4], &labels, 10, 0.95));
    }
}
