//! Metrics of a ranking: ROC, average precision, F1.
//!
//! A score becomes a `u32` whose ascending order is descending score. Good parts are kept as such keys alone, defects with
//! a tag. Every metric changes its course only where a defect lies, so after sorting one walk over the defects is enough;
//! the good ones between them are counted by bisection. The 38 million pixels of a test set cost 4 bytes each and one sort.

use alloc::vec::Vec;

/// Scores from high to low.
pub(super) struct Ranking {
    good: Vec<u32>,
    /// Key in the upper half, tag in the lower.
    defects: Vec<u64>,
}

/// The defects of one score, and the good ones before them.
pub(super) struct Step<'a> {
    key: u32,
    /// Good ones with a higher score.
    pub(super) good_above: u64,
    /// Good ones with the same score.
    pub(super) good_equal: u64,
    /// The defects by ascending tag, which is the lower half.
    pub(super) defects: &'a [u64],
}

impl Ranking {
    /// `None` if lengths differ or a score is NaN.
    fn new(scores: &[f32], labels: &[bool]) -> Option<Self> {
        if scores.len() != labels.len() || scores.iter().any(|s| s.is_nan()) {
            return None;
        }
        let labelled = |label: bool| scores.iter().zip(labels).filter(move |(_, l)| **l == label).map(|(&s, _)| s);
        Some(Self::sorted(labelled(false).map(key).collect(), labelled(true).map(|s| tagged(s, 0)).collect()))
    }

    /// Of keys and tagged keys in any order.
    pub(super) fn sorted(mut good: Vec<u32>, mut defects: Vec<u64>) -> Self {
        good.sort_unstable();
        defects.sort_unstable();
        Self { good, defects }
    }

    /// The distinct scores of defects, highest first.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let mut rest = &self.good[..];
        self.defects.chunk_by(|a, b| a >> 32 == b >> 32).map(move |defects| {
            let key = (defects[0] >> 32) as u32;
            rest = &rest[leading(rest, |g| g < key)..];
            let good_above = (self.good.len() - rest.len()) as u64;
            let equal = leading(rest, |g| g == key);
            rest = &rest[equal..];
            Step { key, good_above, good_equal: equal as u64, defects }
        })
    }

    /// (good, defective)
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.good.len() as u64, self.defects.len() as u64)
    }

    /// Σ over pairs (defect, good) of [s⁺ > s⁻] + ½[s⁺ = s⁻], divided by their number.
    pub(super) fn auroc(&self) -> f64 {
        let (good, defects) = self.totals();
        let pairs = |s: Step<'_>| s.defects.len() as u128 * u128::from(2 * (good - s.good_above) - s.good_equal);
        let doubled: u128 = self.steps().map(pairs).sum();
        doubled as f64 / (2.0 * good as f64 * defects as f64)
    }

    /// Σ (Rₖ − Rₖ₋₁)·Pₖ over distinct scores.
    pub(super) fn average_precision(&self) -> f64 {
        let (mut found, mut sum) = (0, 0.0);
        for s in self.steps() {
            found += s.defects.len() as u64;
            sum += s.defects.len() as f64 * (found as f64 / (found + s.good_above + s.good_equal) as f64);
        }
        // 0/0 is the NaN that is promised.
        sum / self.defects.len() as f64
    }

    pub(super) fn f1_max(&self) -> (f64, f32) {
        let (_, defects) = self.totals();
        let mut found = 0;
        // F1 = 2·found/(taken + defects), compared as fractions; a tie goes to the smaller threshold.
        let mut best = (0u64, 1u64, f32::NAN);
        for s in self.steps() {
            found += s.defects.len() as u64;
            let (over, under) = (2 * found, found + s.good_above + s.good_equal + defects);
            if u128::from(over) * u128::from(best.1) >= u128::from(best.0) * u128::from(under) {
                best = (over, under, score(s.key));
            }
        }
        if defects == 0 { (f64::NAN, f32::NAN) } else { (best.0 as f64 / best.1 as f64, best.2) }
    }
}

/// How many of the first `keys` hold, where those that hold come first: by doubling strides, as they are usually few.
fn leading(keys: &[u32], holds: impl Fn(u32) -> bool) -> usize {
    let mut reach = 1;
    while reach < keys.len() && holds(keys[reach]) {
        reach *= 2;
    }
    keys[..keys.len().min(reach + 1)].partition_point(|&k| holds(k))
}

/// Ascending order of the result is descending score. `score` must not be NaN; −0 becomes 0.
pub(super) fn key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    // Flip so that unsigned order is the order of floats, then once more to descend.
    if bits >> 31 == 1 { bits } else { !bits & 0x7FFF_FFFF }
}

/// A key with a tag, ordered by key first.
pub(super) fn tagged(score: f32, tag: u32) -> u64 {
    u64::from(key(score)) << 32 | u64::from(tag)
}

fn score(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key } else { !key & 0x7FFF_FFFF })
}

/// Area under the ROC curve: the probability that a defect scores above a good part, ties counting half.
///
/// ```
/// use adflow::metrics::image_auroc;
/// assert_eq!(image_auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), 0.75);
/// ```
#[must_use]
pub fn image_auroc(scores: &[f32], labels: &[bool]) -> f64 {
    Ranking::new(scores, labels).map_or(f64::NAN, |r| r.auroc())
}

/// Average precision: Σ (Rₖ − Rₖ₋₁)·Pₖ over distinct scores from high to low, without interpolation.
///
/// ```
/// use adflow::metrics::average_precision;
/// // The two defects come first and third: precision 1, then 2/3.
/// let precision = average_precision(&[0.9, 0.8, 0.7, 0.1], &[true, false, true, false]);
/// assert!((precision - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
/// assert!(average_precision(&[0.9, 0.8], &[false, false]).is_nan(), "undefined without defects");
/// ```
#[must_use]
pub fn average_precision(scores: &[f32], labels: &[bool]) -> f64 {
    Ranking::new(scores, labels).map_or(f64::NAN, |r| r.average_precision())
}

/// The greatest F1 over thresholds θ ("defective if score ≥ θ", θ among the scores), and the smallest θ that has it.
///
/// θ has seen the labels: for deployment take it from other data, or use [`Threshold`](crate::threshold::Threshold).
///
/// ```
/// use adflow::metrics::f1_max;
/// let (f1, threshold) = f1_max(&[0.9, 0.8, 0.7, 0.1], &[true, false, true, false]);
/// assert_eq!((f1, threshold), (0.8, 0.7)); // both defects found, one good part rejected
/// ```
#[must_use]
pub fn f1_max(scores: &[f32], labels: &[bool]) -> (f64, f32) {
    Ranking::new(scores, labels).map_or((f64::NAN, f32::NAN), |r| r.f1_max())
}

/// One point of a ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Share of good parts with score ≥ threshold.
    pub false_positive_rate: f64,
    /// Share of defects with score ≥ threshold.
    pub true_positive_rate: f64,
    /// The threshold; +∞ for the first point.
    pub threshold: f32,
}

/// The ROC curve from (0, 0) to (1, 1), one point for each distinct score; empty where AUROC is undefined.
///
/// ```
/// use adflow::metrics::roc;
/// let curve = roc(&[0.9, 0.8, 0.7, 0.1], &[true, false, true, false]);
/// // Of thresholds that reject no good part, the one that finds most defects.
/// let best = curve.iter().rfind(|point| point.false_positive_rate == 0.0).expect("the first point");
/// assert_eq!((best.threshold, best.true_positive_rate), (0.9, 0.5));
/// ```
#[must_use]
pub fn roc(scores: &[f32], labels: &[bool]) -> Vec<RocPoint> {
    let Some(ranking) = Ranking::new(scores, labels) else { return Vec::new() };
    let (goods, defects) = ranking.totals();
    if goods == 0 || defects == 0 {
        return Vec::new();
    }
    // Both kinds in one list, 1 for defects.
    let mut all: Vec<(u32, u64)> = ranking.good.iter().map(|&k| (k, 0)).collect();
    all.extend(ranking.defects.iter().map(|&d| ((d >> 32) as u32, 1)));
    all.sort_unstable();
    let mut points =
        alloc::vec![RocPoint { false_positive_rate: 0.0, true_positive_rate: 0.0, threshold: f32::INFINITY }];
    let (mut taken, mut found) = (0, 0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        taken += group.len() as u64;
        found += group.iter().map(|g| g.1).sum::<u64>();
        points.push(RocPoint {
            false_positive_rate: (taken - found) as f64 / goods as f64,
            true_positive_rate: found as f64 / defects as f64,
            threshold: score(group[0].0),
        });
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::vec;

    fn random(n: usize, levels: u32, seed: u64) -> (Vec<f32>, Vec<bool>) {
        let mut rng = Rng::new(seed, 0, 0);
        (0..n).map(|_| (rng.below(levels) as f32 - 3.0, rng.below(3) == 0)).unzip()
    }

    #[test]
    fn keys_keep_order_and_scores() {
        let order = [
            f32::INFINITY,
            f32::MAX,
            1.5,
            1.0,
            f32::MIN_POSITIVE,
            1e-45,
            0.0,
            -1e-45,
            -1.0,
            f32::MIN,
            f32::NEG_INFINITY,
        ];
        for (i, &a) in order.iter().enumerate() {
            assert_eq!(score(key(a)), a);
            for &b in &order[i + 1..] {
                assert!(tagged(a, u32::MAX) < tagged(b, 0), "{a} before {b}");
            }
        }
        assert_eq!(key(0.0), key(-0.0));
    }

    #[test]
    fn auroc_equals_counting_pairs() {
        for seed in 0..20 {
            let (scores, labels) = random(200, 12, seed);
            let mut sum = 0.0;
            let mut pairs = 0.0;
            for i in 0..200 {
                for j in 0..200 {
                    if labels[i] && !labels[j] {
                        pairs += 1.0;
                        sum += if scores[i] > scores[j] {
                            1.0
                        } else if scores[i] == scores[j] {
                            0.5
                        } else {
                            0.0
                        };
                    }
                }
            }
            assert_eq!(image_auroc(&scores, &labels), sum / pairs);
            let curve = roc(&scores, &labels);
            let area: f64 = curve
                .windows(2)
                .map(|p| {
                    (p[1].false_positive_rate - p[0].false_positive_rate)
                        * (p[0].true_positive_rate + p[1].true_positive_rate)
                        / 2.0
                })
                .sum();
            assert!((area - sum / pairs).abs() < 1e-12);
            assert_eq!((curve[0].threshold, curve.last().unwrap().true_positive_rate), (f32::INFINITY, 1.0));
            assert_eq!(curve.len(), 13);
        }
    }

    #[test]
    fn f1_equals_trying_every_threshold() {
        for seed in 0..20 {
            let (scores, labels) = random(60, 9, seed);
            let mut best = (-1.0, f32::NAN);
            for step in (0..9).rev() {
                let threshold = step as f32 - 3.0;
                let marked = |i: usize| scores[i] >= threshold;
                let hits = (0..60).filter(|&i| marked(i) && labels[i]).count() as f64;
                let misses = (0..60).filter(|&i| marked(i) != labels[i]).count() as f64;
                let f1 = 2.0 * hits / (2.0 * hits + misses);
                if scores.contains(&threshold) && f1 >= best.0 {
                    best = (f1, threshold);
                }
            }
            assert_eq!(f1_max(&scores, &labels), best);
        }
    }

    #[test]
    fn known_values() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let labels = [true, false, true, false];
        close(average_precision(&[0.9, 0.8, 0.7, 0.6], &labels), 5.0 / 6.0);
        close(average_precision(&[0.5; 4], &labels), 0.5);
        assert_eq!(f1_max(&[2.0, 1.0, 2.5, 0.0], &labels), (1.0, 2.0));
        assert_eq!(image_auroc(&[0.5; 4], &labels), 0.5);
        // With one good score between, 2·1/(1+2) = 2·2/(4+2): the smaller threshold wins.
        assert_eq!(f1_max(&[3.0, 1.0, 0.0, 0.5], &labels), (2.0 / 3.0, 0.0));
    }

    #[test]
    fn undefined_is_nan() {
        let two = [0.1, 0.2];
        for labels in [[true, true], [false, false]] {
            assert!(image_auroc(&two, &labels).is_nan());
            assert!(roc(&two, &labels).is_empty());
        }
        assert!(average_precision(&two, &[false; 2]).is_nan() && f1_max(&two, &[false; 2]).0.is_nan());
        for (scores, labels) in
            [(vec![], vec![]), (vec![f32::NAN, 1.0], vec![true, false]), (vec![1.0], vec![true, false])]
        {
            assert!(image_auroc(&scores, &labels).is_nan());
            assert!(average_precision(&scores, &labels).is_nan());
            assert!(f1_max(&scores, &labels).0.is_nan());
            assert!(roc(&scores, &labels).is_empty());
        }
        assert_eq!(image_auroc(&[f32::INFINITY, f32::NEG_INFINITY], &[true, false]), 1.0);
    }
}
