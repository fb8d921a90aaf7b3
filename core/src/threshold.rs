//! From a score to a verdict, with a stated promise about good parts.
//!
//! n good parts that the model has not been trained on give n scores. If the line's good parts are like them, then the
//! share p of good parts that score above the k-th smallest of these scores is below r with probability
//!
//! `P(p ≤ r) = P(at least m + 1 of n scores lie in the top r) = 1 − Σ_{i ≤ m} C(n, i) rⁱ (1 − r)ⁿ⁻ⁱ`, m = n − k,
//!
//! whatever the distribution of scores: a one-sided tolerance limit (Wilks 1941). [`Threshold::from_held_out`] takes the
//! smallest k that gives the confidence asked for. With few parts even the largest score gives less: 1 − (1 − r)ⁿ,
//! 95 % for 1 in 100 needs 299 parts. Then the largest score is used and the confidence is reported as it is.
//!
//! The promise holds for parts drawn independently. Photographs of one part under several exposures are not; hold out
//! whole groups of them.

use crate::choice;

choice! {
    /// What to do with a part.
    ///
    /// Ordered: `Good < Unsure < Defective`.
    ///
    /// ```
    /// use adflow::Verdict;
    /// // Of a part that several cameras see, the worst counts.
    /// let cameras = [Verdict::Good, Verdict::Unsure, Verdict::Good];
    /// let part = cameras.into_iter().max().expect("a camera");
    /// assert_eq!(part.to_string(), "unsure");
    /// ```
    pub enum Verdict: "verdict" {
        /// The score is not above the threshold, nor in the grey zone.
        Good("good") = 1,
        /// The score lies in the grey zone: a person should look.
        Unsure("unsure") = 2,
        /// The score is above the threshold, or not a number.
        Defective("defective") = 3,
    }
}

/// A limit on the score and what it promises.
///
/// ```
/// use adflow::threshold::{Threshold, Verdict};
/// let threshold = Threshold::manual(12.5);
/// assert_eq!(threshold.verdict(12.5), Verdict::Good);
/// assert_eq!(threshold.verdict(12.6), Verdict::Defective);
/// assert_eq!(threshold.verdict(f32::NAN), Verdict::Defective);
/// // Between 10 and 12.5 a person looks.
/// let threshold = Threshold { accept: Some(10.0), ..threshold };
/// assert_eq!(threshold.verdict(11.0), Verdict::Unsure);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Scores above this are defective.
    pub reject: f32,
    /// Scores above this and not above `reject` are unsure. `None`: no grey zone.
    pub accept: Option<f32>,
    /// The share of good parts that are rejected is at most this, with `confidence`. 0..1.
    pub false_reject: f64,
    /// Probability, over the draw of the held-out parts, that `false_reject` holds. 0..1.
    pub confidence: f64,
    /// Number of held-out good parts behind the threshold; 0 for one set by hand.
    pub held_out: u32,
}

impl Threshold {
    /// A threshold set by hand, which promises nothing.
    #[must_use]
    pub const fn manual(reject: f32) -> Self {
        Self { reject, accept: None, false_reject: 1.0, confidence: 0.0, held_out: 0 }
    }

    /// The verdict on a score. NaN is defective.
    #[must_use]
    pub fn verdict(&self, score: f32) -> Verdict {
        // Written so that NaN fails both comparisons.
        if score <= self.accept.unwrap_or(self.reject).min(self.reject) {
            Verdict::Good
        } else if score <= self.reject {
            Verdict::Unsure
        } else {
            Verdict::Defective
        }
    }

    /// The smallest of the held-out scores above which at most the share `false_reject` of all good parts lies, with at
    /// least `confidence`; the largest score, with its true confidence, if there are too few.
    ///
    /// `None` if `sorted` is empty, not ascending or not finite, or a rate is not inside 0..1.
    ///
    /// ```
    /// use adflow::threshold::Threshold;
    /// let scores: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    /// let t = Threshold::from_held_out(&scores, 0.01, 0.95).unwrap();
    /// assert_eq!(t.reject, 995.0); // 4 of 1000 lie above it, not 10: the price of 95 %
    /// assert!(t.confidence >= 0.95);
    /// let t = Threshold::from_held_out(&scores[..100], 0.01, 0.95).unwrap();
    /// assert_eq!(t.reject, 99.0);
    /// assert!((t.confidence - (1.0 - 0.99f64.powi(100))).abs() < 1e-12); // 63 %
    /// ```
    #[must_use]
    pub fn from_held_out(sorted: &[f32], false_reject: f64, confidence: f64) -> Option<Self> {
        let inside = |p: f64| p > 0.0 && p < 1.0;
        let ascending = sorted.iter().all(|s| s.is_finite()) && sorted.is_sorted();
        if sorted.is_empty() || !ascending || !inside(false_reject) || !inside(confidence) {
            return None;
        }
        let n = u32::try_from(sorted.len()).ok()?;
        let (above, achieved) = order_statistic(n, false_reject, confidence);
        let reject = sorted[(n - 1 - above) as usize];
        Some(Self { reject, accept: None, false_reject, confidence: achieved, held_out: n })
    }

    /// Adds a grey zone below `reject`, so that at most the share `unsure` of good parts is unsure or defective, with the
    /// confidence with which `reject` was chosen, as far as there are enough scores.
    ///
    /// `None` where [`Self::from_held_out`] would give none. An `unsure` below `false_reject` gives an empty grey zone.
    ///
    /// ```
    /// use adflow::threshold::Threshold;
    /// let scores: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    /// let threshold = Threshold::from_held_out(&scores, 0.01, 0.95).and_then(|t| t.with_grey_zone(&scores, 0.05));
    /// let threshold = threshold.expect("scores in order");
    /// // At most 1 % of good parts are rejected and at most 5 % are looked at, with 95 % confidence each.
    /// assert_eq!((threshold.accept, threshold.reject), (Some(963.0), 995.0));
    /// ```
    #[must_use]
    pub fn with_grey_zone(self, sorted: &[f32], unsure: f64) -> Option<Self> {
        let confidence = if self.confidence > 0.0 && self.confidence < 1.0 { self.confidence } else { 0.95 };
        let accept = Self::from_held_out(sorted, unsure, confidence)?.reject;
        Some(Self { accept: Some(accept.min(self.reject)), ..self })
    }
}

/// The largest m for which `1 − P(Binomial(n, rate) ≤ m) ≥ confidence`, or 0, and the probability it has.
fn order_statistic(n: u32, rate: f64, confidence: f64) -> (u32, f64) {
    // ln of the binomial probabilities by their ratio: stable for every n and rate, and exact enough (the error grows by
    // one rounding a term; with n = 10⁶ it is below 10⁻⁹).
    let odds = libm::log(rate) - libm::log1p(-rate);
    let mut log_p = f64::from(n) * libm::log1p(-rate);
    let mut cumulative = libm::exp(log_p);
    // 1 − (1 − r)ⁿ without cancellation.
    let mut best = (0, -libm::expm1(log_p));
    for m in 1..n {
        log_p += odds + libm::log(f64::from(n - m + 1) / f64::from(m));
        cumulative += libm::exp(log_p);
        if 1.0 - cumulative < confidence {
            break;
        }
        if best.1 < confidence {
            break;
        }
        best = (m, 1.0 - cumulative);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Direct sum with products of whole numbers' ratios.
    fn slow_confidence(n: u32, above: u32, rate: f64) -> f64 {
        let mut sum = 0.0;
        for i in 0..=above {
            let mut term = libm::pow(1.0 - rate, f64::from(n - i));
            for j in 0..i {
                term *= rate * f64::from(n - j) / f64::from(j + 1);
            }
            sum += term;
        }
        1.0 - sum
    }

    #[test]
    fn known_sample_sizes() {
        // Wilks: 95 %/95 % needs 59 for the largest, 93 for the second largest, 124 for the third; 99 %/95 % needs 299.
        for (n, rate, above) in
            [(59, 0.05, 0), (92, 0.05, 0), (93, 0.05, 1), (123, 0.05, 1), (124, 0.05, 2), (299, 0.01, 0)]
        {
            let (m, confidence) = order_statistic(n, rate, 0.95);
            assert_eq!(m, above, "n {n}");
            assert!(confidence >= 0.95);
        }
        assert!(order_statistic(58, 0.05, 0.95).1 < 0.95);
        assert!(order_statistic(298, 0.01, 0.95).1 < 0.95);
    }

    #[test]
    fn equals_the_direct_sum_and_is_the_best() {
        for n in [1, 2, 10, 59, 100, 333, 1000] {
            for rate in [0.001, 0.01, 0.1, 0.5, 0.9] {
                for confidence in [0.5, 0.9, 0.99] {
                    let (m, achieved) = order_statistic(n, rate, confidence);
                    assert!((achieved - slow_confidence(n, m, rate)).abs() < 1e-10, "{n} {rate} {confidence}");
                    assert!(m == 0 || achieved >= confidence);
                    if m + 1 < n && achieved >= confidence {
                        assert!(
                            slow_confidence(n, m + 1, rate) < confidence + 1e-9,
                            "{n} {rate} {confidence}: {m} is not the best"
                        );
                    }
                }
            }
        }
        let (m, confidence) = order_statistic(1_000_000, 0.01, 0.95);
        // Normal approximation: 10⁴ − 1.645·√9900 = 9836.
        assert!(m.abs_diff(9836) < 4 && (0.95..0.951).contains(&confidence), "{m} {confidence}");
        assert!(order_statistic(u32::MAX, 1e-9, 0.9).1 > 0.9);
        assert!(order_statistic(1, f64::MIN_POSITIVE, 0.9).1 > 0.0);
    }

    #[test]
    fn the_confidence_holds_over_many_draws() {
        // Scores uniform in 0..1, so that the true share above a threshold t is 1 − t. Ties and shape do not matter to
        // order statistics of a continuous score.
        for (case, (n, rate, confidence)) in
            [(60, 0.05, 0.9), (299, 0.01, 0.95), (150, 0.1, 0.8), (40, 0.05, 0.95)].into_iter().enumerate()
        {
            let draws = 4000;
            let mut held = 0;
            let mut stated = 0.0;
            for draw in 0..draws {
                let mut rng = Rng::new(11, draw, case as u32);
                let mut scores = [0.0f32; 299];
                let scores = &mut scores[..n];
                scores.iter_mut().for_each(|s| *s = rng.f32());
                scores.sort_unstable_by(f32::total_cmp);
                let t = Threshold::from_held_out(scores, rate, confidence).unwrap();
                held += u32::from(1.0 - f64::from(t.reject) <= rate);
                stated = t.confidence;
            }
            let share = f64::from(held) / draws as f64;
            let error = 4.0 * libm::sqrt(stated * (1.0 - stated) / draws as f64);
            assert!((share - stated).abs() < error, "n {n}: stated {stated}, held in {share}");
            assert!(stated >= confidence || n == 40);
        }
    }

    #[test]
    fn verdicts() {
        let t = Threshold { accept: Some(1.0), ..Threshold::manual(2.0) };
        let cases = [
            (f32::NEG_INFINITY, Verdict::Good),
            (1.0, Verdict::Good),
            (1.5, Verdict::Unsure),
            (2.0, Verdict::Unsure),
            (2.1, Verdict::Defective),
            (f32::INFINITY, Verdict::Defective),
            (f32::NAN, Verdict::Defective),
        ];
        for (score, verdict) in cases {
            assert_eq!(t.verdict(score), verdict, "{score}");
        }
        assert_eq!(Threshold::manual(2.0).verdict(1.5), Verdict::Good);
        // A grey zone above the limit, or a limit that is no number, lets nothing pass.
        let upside_down = Threshold { accept: Some(3.0), ..Threshold::manual(2.0) };
        assert_eq!(upside_down.verdict(2.5), Verdict::Defective);
        assert_eq!(Threshold::manual(f32::NAN).verdict(0.0), Verdict::Defective);
        let no_number = Threshold { accept: Some(1.0), ..Threshold::manual(f32::NAN) };
        assert_eq!(no_number.verdict(2.0), Verdict::Defective);
    }

    #[test]
    fn grey_zone_and_refusals() {
        let scores: [f32; 300] = core::array::from_fn(|i| i as f32);
        let t = Threshold::from_held_out(&scores, 0.01, 0.95).unwrap();
        let grey = t.with_grey_zone(&scores, 0.1).unwrap();
        assert_eq!((t.reject, t.accept, t.held_out), (299.0, None, 300));
        assert!(grey.accept.unwrap() > 270.0 && grey.accept.unwrap() < 285.0 && grey.reject == t.reject);
        assert_eq!(t.with_grey_zone(&scores, 0.001).unwrap().accept, Some(299.0));
        assert_eq!(Threshold::from_held_out(&[], 0.1, 0.9), None);
        assert_eq!(Threshold::from_held_out(&[2.0, 1.0], 0.1, 0.9), None);
        assert_eq!(Threshold::from_held_out(&[1.0, f32::NAN], 0.1, 0.9), None);
        assert_eq!(Threshold::from_held_out(&[1.0, f32::INFINITY], 0.1, 0.9), None);
        for bad in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Threshold::from_held_out(&[1.0], bad, 0.9), None);
            assert_eq!(Threshold::from_held_out(&[1.0], 0.1, bad), None);
            assert_eq!(t.with_grey_zone(&scores, bad), None);
        }
    }
}
