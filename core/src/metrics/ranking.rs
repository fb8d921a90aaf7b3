//! Metrics of a ranking: ROC, average precision, F1.
//!
//! Everything follows from one pass over the scores from high to low in groups of equal score. A score and its tag (0 for
//! good, else defective) are packed into one `u64` whose ascending order is descending score, so that sorting is fast and
//! the 38 million pixels of a test set need 8 bytes each.

use alloc::vec::Vec;

/// Scores from high to low. The tag is 0 for good; defects may use it to say which region they belong to.
pub(super) struct Ranking(Vec<u64>);

impl Ranking {
    /// `None` if lengths differ or a score is NaN.
    fn new(scores: &[f32], labels: &[bool]) -> Option<Self> {
        if scores.len() != labels.len() || scores.iter().any(|s| s.is_nan()) {
            return None;
        }
        Some(Self::sorted(scores.iter().zip(labels).map(|(&s, &l)| pack(s, u32::from(l))).collect()))
    }

    pub(super) fn sorted(mut packed: Vec<u64>) -> Self {
        packed.sort_unstable();
        Self(packed)
    }

    /// Groups of equal score, highest first; each lists its packed entries by ascending tag.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[u64]> {
        self.0.chunk_by(|a, b| a >> 32 == b >> 32)
    }

    fn totals(&self) -> (u64, u64) {
        count(&self.0)
    }

    /// Σ over pairs (defect, good) of [s⁺ > s⁻] + ½[s⁺ = s⁻], divided by their number.
    pub(super) fn auroc(&self) -> f64 {
        let (mut above, mut doubled) = (0u128, 0u128);
        for group in self.groups() {
            let (good, defective) = count(group);
            doubled += u128::from(good) * (2 * above + u128::from(defective));
            above += u128::from(defective);
        }
        let (good, defective) = self.totals();
        doubled as f64 / (2.0 * good as f64 * defective as f64)
    }

    /// Σ (Rₖ − Rₖ₋₁)·Pₖ over distinct scores.
    pub(super) fn average_precision(&self) -> f64 {
        let (_, defects) = self.totals();
        if defects == 0 {
            return f64::NAN;
        }
        let (mut found, mut taken, mut sum) = (0, 0, 0.0);
        for group in self.groups() {
            let (_, defective) = count(group);
            found += defective;
            taken += group.len() as u64;
            sum += defective as f64 * (found as f64 / taken as f64);
        }
        sum / defects as f64
    }

    pub(super) fn f1_max(&self) -> (f64, f32) {
        let (_, defects) = self.totals();
        let (mut found, mut taken) = (0, 0);
        // F1 = 2·found/(taken + defects), compared as fractions; a tie goes to the smaller threshold.
        let mut best = (0u64, 1u64, f32::NAN);
        for group in self.groups() {
            found += count(group).1;
            taken += group.len() as u64;
            let (over, under) = (2 * found, taken + defects);
            if defects > 0 && u128::from(over) * u128::from(best.1) >= u128::from(best.0) * u128::from(under) {
                best = (over, under, score(group[0]));
            }
        }
        if defects == 0 { (f64::NAN, f32::NAN) } else { (best.0 as f64 / best.1 as f64, best.2) }
    }
}

/// (good, defective) entries.
pub(super) fn count(packed: &[u64]) -> (u64, u64) {
    let good = packed.iter().filter(|&&p| p as u32 == 0).count() as u64;
    (good, packed.len() as u64 - good)
}

/// Ascending order of the result is descending score, then ascending tag. `score` must not be NaN; −0 becomes 0.
pub(super) fn pack(score: f32, tag: u32) -> u64 {
    let bits = (score + 0.0).to_bits();
    // Flip so that unsigned order is the order of floats, then once more to descend.
    let key = if bits >> 31 == 1 { bits } else { !bits & 0x7FFF_FFFF };
    u64::from(key) << 32 | u64::from(tag)
}

/// The score in a packed entry.
pub(super) fn score(packed: u64) -> f32 {
    let key = (packed >> 32) as u32;
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
#[must_use]
pub fn average_precision(scores: &[f32], labels: &[bool]) -> f64 {
    Ranking::new(scores, labels).map_or(f64::NAN, |r| r.average_precision())
}

/// The greatest F1 over thresholds θ ("defective if score ≥ θ", θ among the scores), and the smallest θ that has it.
///
/// θ has seen the labels: for deployment take it from other data, or use [`Threshold`](crate::threshold::Threshold).
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
#[must_use]
pub fn roc(scores: &[f32], labels: &[bool]) -> Vec<RocPoint> {
    let Some(ranking) = Ranking::new(scores, labels) else { return Vec::new() };
    let (goods, defects) = ranking.totals();
    if goods == 0 || defects == 0 {
        return Vec::new();
    }
    let mut points =
        alloc::vec![RocPoint { false_positive_rate: 0.0, true_positive_rate: 0.0, threshold: f32::INFINITY }];
    let mut seen = (0, 0);
    for group in ranking.groups() {
        let (good, defective) = count(group);
        seen = (seen.0 + good, seen.1 + defective);
        points.push(RocPoint {
            false_positive_rate: seen.0 as f64 / goods as f64,
            true_positive_rate: seen.1 as f64 / defects as f64,
            threshold: score(group[0]),
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
    fn packing_keeps_order_and_scores() {
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
            assert_eq!(score(pack(a, 7)), a);
            for &b in &order[i + 1..] {
                assert!(pack(a, u32::MAX) < pack(b, 0), "{a} before {b}");
            }
        }
        assert_eq!(pack(0.0, 1), pack(-0.0, 1));
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
