//! Scores of good parts that the model has not seen, and what can be promised from them.
//!
//! Photographs of one part are not independent: what counts are parts. Of each part the share of its images above a limit is
//! taken, and these shares are added up, as if one image of each part were drawn: m of n parts lie above. Then
//!
//! `P(p ≤ r) = 1 − Σ_{i ≤ m} C(n, i) rⁱ (1 − r)ⁿ⁻ⁱ = I_r(m + 1, n − m)`
//!
//! is the probability that at most the share r of all good parts is rejected, whatever the distribution of scores: a one-sided
//! tolerance limit (Wilks 1941), with the incomplete beta function for an m that is no whole number. With few parts even the highest
//! score gives less than what is asked for: 1 − (1 − r)ⁿ, 95 % for 1 in 100 needs 299 parts.
//!
//! The promise covers parts that vary as those in training do, each inspected once.

use crate::threshold::Threshold;

/// Scores of good images, ascending, and the part that each shows.
///
/// ```
/// use adflow::calibration::Calibration;
/// // Sixty parts with two photographs each; part 59 scores highest.
/// let scores: Vec<f32> = (0..120).map(|i| i as f32).collect();
/// let parts: Vec<u32> = (0..120).map(|i| i / 2).collect();
/// let calibration = Calibration::new(&scores, &parts).expect("ascending scores");
/// assert_eq!((calibration.images(), calibration.parts()), (120, 60));
/// let threshold = calibration.threshold(0.05, 0.95).expect("there are parts");
/// assert_eq!((threshold.reject, threshold.held_out), (119.0, 60)); // half a part above would be too much
/// assert!(threshold.confidence > 0.95 && threshold.confidence < 0.96);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration<'c> {
    scores: &'c [f32],
    parts: &'c [u32],
}

impl<'c> Calibration<'c> {
    /// Scores with the numbers of parts, which are 0, 1, … without gaps; no numbers: each image shows a part of its own.
    ///
    /// `None` if scores are not ascending or not finite, or numbers do not fit.
    #[must_use]
    pub fn new(scores: &'c [f32], parts: &'c [u32]) -> Option<Self> {
        let ascending = scores.iter().all(|s| s.is_finite()) && scores.is_sorted();
        let fits = parts.is_empty() || parts.len() == scores.len();
        let numbered = u32::try_from(scores.len()).is_ok_and(|images| parts.iter().all(|part| *part < images));
        (ascending && fits && numbered).then_some(Self { scores, parts })
    }

    /// Scores of the images, ascending.
    #[must_use]
    pub fn scores(&self) -> &'c [f32] {
        self.scores
    }

    /// How many images were scored.
    #[must_use]
    pub fn images(&self) -> u32 {
        self.scores.len() as u32
    }

    /// How many parts they show: what a promise depends on.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.parts.iter().max().map_or(self.images(), |last| last + 1)
    }

    /// The part that an image shows, by its place among the scores.
    #[must_use]
    pub fn part(&self, image: usize) -> u32 {
        self.parts.get(image).copied().unwrap_or(image as u32)
    }

    /// Images from the highest score down, each with how many parts lie above: of each part the share of its images.
    fn above(&self) -> impl Iterator<Item = (f32, f64)> + use<'c> {
        let this = *self;
        let weight = move |image: usize| match this.parts.get(image) {
            None => 1.0,
            Some(part) => 1.0 / this.parts.iter().filter(|other| *other == part).count() as f64,
        };
        (0..this.scores.len()).rev().scan(0.0, move |above, image| {
            let here = *above;
            *above += weight(image);
            Some((this.scores[image], here))
        })
    }

    /// The lowest limit above which at most the share `false_reject` of all good parts lies, with at least `confidence`; the
    /// highest score, with the confidence that it really has, if there are too few parts.
    ///
    /// `None` without scores, or if a rate is not inside 0..1.
    #[must_use]
    pub fn threshold(&self, false_reject: f64, confidence: f64) -> Option<Threshold> {
        if self.scores.is_empty() || !inside(false_reject) || !inside(confidence) {
            return None;
        }
        let held_out = self.parts();
        let promised = |above: f64| confidence_of(held_out, above, false_reject);
        let mut found = None;
        for (reject, above) in self.above() {
            let achieved = promised(above);
            if found.is_some() && achieved < confidence {
                break;
            }
            found = Some((reject, achieved));
        }
        let (reject, confidence) = found?;
        Some(Threshold { reject, accept: None, false_reject, confidence, held_out })
    }

    /// Adds a grey zone below a limit, so that at most the share `unsure` of good parts is unsure or defective, with the
    /// confidence of the limit, as far as there are enough parts. An `unsure` below its `false_reject` gives an empty grey zone.
    ///
    /// `None` where [`Self::threshold`] would give none.
    ///
    /// ```
    /// use adflow::calibration::Calibration;
    /// let scores: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    /// let good = Calibration::new(&scores, &[]).expect("ascending scores");
    /// let threshold = good.threshold(0.01, 0.95).and_then(|limit| good.with_grey_zone(limit, 0.05));
    /// // At most 1 % of good parts are rejected and at most 5 % are looked at, with 95 % confidence each.
    /// assert_eq!(threshold.map(|t| (t.accept, t.reject)), Some((Some(963.0), 995.0)));
    /// ```
    #[must_use]
    pub fn with_grey_zone(&self, limit: Threshold, unsure: f64) -> Option<Threshold> {
        let confidence = if inside(limit.confidence) { limit.confidence } else { 0.95 };
        let accept = self.threshold(unsure, confidence)?.reject;
        Some(Threshold { accept: Some(accept.min(limit.reject)), ..limit })
    }

    /// Whether a limit promises what these scores say: if not, it was set by hand.
    #[must_use]
    pub fn confirms(&self, threshold: &Threshold) -> bool {
        let found = self.threshold(threshold.false_reject, threshold.confidence);
        found.is_some_and(|found| {
            found.reject <= threshold.reject
                && found.held_out == threshold.held_out
                && threshold.confidence <= found.confidence + 1e-9
        })
    }
}

fn inside(p: f64) -> bool {
    p > 0.0 && p < 1.0
}

/// The smallest share of good parts that n of them can promise with a confidence: `1 − (1 − c)^(1/n)`.
///
/// ```
/// use adflow::calibration::smallest_rate;
/// assert!((smallest_rate(59, 0.95) - 0.0495).abs() < 1e-4);
/// ```
#[must_use]
pub fn smallest_rate(parts: u32, confidence: f64) -> f64 {
    -libm::expm1(libm::log1p(-confidence) / f64::from(parts.max(1)))
}

/// How many parts it takes to promise a share with a confidence: the least n with `1 − (1 − r)ⁿ ≥ c`.
///
/// ```
/// use adflow::calibration::parts_needed;
/// assert_eq!((parts_needed(0.05, 0.95), parts_needed(0.01, 0.95)), (59, 299));
/// ```
#[must_use]
pub fn parts_needed(false_reject: f64, confidence: f64) -> u32 {
    libm::ceil(libm::log1p(-confidence) / libm::log1p(-false_reject)).clamp(1.0, f64::from(u32::MAX)) as u32
}

/// Probability that at most the share `rate` of all parts is above what `above` of `parts` are above: `I_r(m + 1, n − m)`.
fn confidence_of(parts: u32, above: f64, rate: f64) -> f64 {
    let n = f64::from(parts);
    match above >= n - 1e-9 {
        true => 0.0,
        // 1 − (1 − r)ⁿ without cancellation.
        false if above == 0.0 => -libm::expm1(n * libm::log1p(-rate)),
        false => incomplete_beta(above + 1.0, n - above, rate),
    }
}

/// The regularised incomplete beta function `I_x(a, b)` by its continued fraction (DLMF 8.17.22), evaluated from the front
/// (Lentz 1976).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x);
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - libm::exp(front) * beta_fraction(b, a, 1.0 - x) / b;
    }
    libm::exp(front) * beta_fraction(a, b, x) / a
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut value = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = value;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            value *= c * d;
        }
        if (value - before).abs() < 1e-15 * value.abs() {
            break;
        }
    }
    value
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::vec::Vec;

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

    /// How many of n parts lie above the limit.
    fn above(n: usize, rate: f64, confidence: f64) -> (usize, f64) {
        let scores: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let t = Calibration::new(&scores, &[]).unwrap().threshold(rate, confidence).unwrap();
        (n - 1 - t.reject as usize, t.confidence)
    }

    #[test]
    fn known_sample_sizes() {
        // Wilks: 95 %/95 % needs 59 for the largest, 93 for the second largest, 124 for the third; 99 %/95 % needs 299.
        for (n, rate, m) in
            [(59, 0.05, 0), (92, 0.05, 0), (93, 0.05, 1), (123, 0.05, 1), (124, 0.05, 2), (299, 0.01, 0)]
        {
            let (found, confidence) = above(n, rate, 0.95);
            assert_eq!(found, m, "n {n}");
            assert!(confidence >= 0.95);
        }
        assert!(above(58, 0.05, 0.95).1 < 0.95);
        assert!(above(298, 0.01, 0.95).1 < 0.95);
        assert_eq!((parts_needed(0.05, 0.95), parts_needed(0.01, 0.95)), (59, 299));
    }

    #[test]
    fn equals_the_direct_sum_and_is_the_best() {
        for n in [1, 2, 10, 59, 100, 333, 1000] {
            for rate in [0.001, 0.01, 0.1, 0.5, 0.9] {
                for confidence in [0.5, 0.9, 0.99] {
                    let (m, achieved) = above(n, rate, confidence);
                    let slow = slow_confidence(n as u32, m as u32, rate);
                    assert!((achieved - slow).abs() < 1e-10, "{n} {rate} {confidence}");
                    assert!(m == 0 || achieved >= confidence);
                    if m + 1 < n && achieved >= confidence {
                        let next = slow_confidence(n as u32, m as u32 + 1, rate);
                        assert!(next < confidence + 1e-9, "{n} {rate} {confidence}: {m} is not the best");
                    }
                }
            }
        }
        // Normal approximation: 10⁴ − 1.645·√9900 = 9836.
        let million = |above| confidence_of(1_000_000, above, 0.01);
        assert!(million(9834.0) > 0.95 && million(9840.0) < 0.95);
        assert!(confidence_of(u32::MAX, 0.0, 1e-9) > 0.9 && confidence_of(u32::MAX, 1.0, 1e-9) > 0.8);
        assert!(confidence_of(1, 0.0, f64::MIN_POSITIVE) > 0.0);
        assert_eq!(confidence_of(5, 5.0, 0.5), 0.0);
    }

    #[test]
    fn between_whole_numbers_confidence_falls() {
        for n in [7, 59, 300] {
            for rate in [0.01, 0.05, 0.3] {
                let values: Vec<f64> = (0..24).map(|k| confidence_of(n, f64::from(k) / 4.0, rate)).collect();
                assert!(values.is_sorted_by(|a, b| a >= b), "{n} {rate}: {values:?}");
            }
        }
    }

    #[test]
    fn the_confidence_holds_where_images_of_a_part_are_alike() {
        // A part has six images; what they share is a share of the variance. A new part is one image.
        for (case, shared) in [0.0, 0.5, 0.9, 1.0].into_iter().enumerate() {
            let (parts, images, rate, draws) = (100usize, 6usize, 0.05, 1500);
            let (own, common) = (libm::sqrt(1.0 - shared) as f32, libm::sqrt(shared) as f32);
            let mut held = 0;
            for draw in 0..draws {
                let mut rng = Rng::new(12, draw, case as u32);
                let mut scores: Vec<(f32, u32)> = (0..parts * images).map(|i| (0.0, (i / images) as u32)).collect();
                for part in scores.chunks_mut(images) {
                    let common = common * rng.normal() as f32;
                    part.iter_mut().for_each(|(score, _)| *score = common + own * rng.normal() as f32);
                }
                scores.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (scores, parts): (Vec<f32>, Vec<u32>) = scores.into_iter().unzip();
                let t = Calibration::new(&scores, &parts).unwrap().threshold(rate, 0.95).unwrap();
                let rejected = 0.5 * libm::erfc(f64::from(t.reject) / core::f64::consts::SQRT_2);
                held += u32::from(rejected <= rate);
            }
            let share = f64::from(held) / draws as f64;
            assert!(share > 0.94, "{shared} of the variance is shared: held in {share}");
        }
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
                let t = Calibration::new(scores, &[]).unwrap().threshold(rate, confidence).unwrap();
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
    fn a_part_counts_once() {
        let scores = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let c = Calibration::new(&scores, &[0, 1, 1, 2, 0, 2]).unwrap();
        assert_eq!((c.images(), c.parts()), (6, 3));
        assert!(c.above().eq([(6.0, 0.0), (5.0, 0.5), (4.0, 1.0), (3.0, 1.5), (2.0, 2.0), (1.0, 2.5)]));
        let t = c.threshold(0.5, 0.49).unwrap();
        // With one of three parts above: P = 1 − (1/8 + 3/8) = 1/2.
        assert_eq!((t.reject, t.held_out), (4.0, 3));
        assert!((t.confidence - 0.5).abs() < 1e-12);
        // 76 images of 13 tiles promise what 13 parts do.
        let scores: [f32; 76] = core::array::from_fn(|i| i as f32);
        let parts: [u32; 76] = core::array::from_fn(|i| i as u32 % 13);
        let t = Calibration::new(&scores, &parts).unwrap().threshold(0.01, 0.95).unwrap();
        assert_eq!((t.reject, t.held_out), (75.0, 13));
        assert!((t.confidence - (1.0 - libm::pow(0.99, 13.0))).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (scores, parts) in
            [(&[2.0, 1.0][..], &[][..]), (&[f32::NAN], &[]), (&[1.0], &[0, 0]), (&[1.0, 2.0], &[0, 2])]
        {
            assert_eq!(Calibration::new(scores, parts), None);
        }
        let none = Calibration::new(&[], &[]).unwrap();
        assert_eq!((none.parts(), none.threshold(0.1, 0.9)), (0, None));
    }

    #[test]
    fn a_promise_is_confirmed_and_a_claim_is_not() {
        let scores: [f32; 100] = core::array::from_fn(|i| i as f32);
        let c = Calibration::new(&scores, &[]).unwrap();
        let t = c.threshold(0.05, 0.95).unwrap();
        assert!(c.confirms(&t));
        // A higher limit rejects no more; a lower one might.
        assert!(c.confirms(&Threshold { reject: t.reject + 1.0, ..t }));
        assert!(!c.confirms(&Threshold { reject: t.reject - 1.0, ..t }));
        assert!(!c.confirms(&Threshold { held_out: 300, ..t }));
        assert!(!c.confirms(&Threshold { confidence: 0.999, ..t }));
        assert!(!c.confirms(&Threshold::manual(50.0)));
        let few = c.threshold(0.001, 0.95).unwrap();
        assert!(few.confidence < 0.1 && c.confirms(&few));
    }

    #[test]
    fn grey_zone_and_refusals() {
        let scores: [f32; 300] = core::array::from_fn(|i| i as f32);
        let good = Calibration::new(&scores, &[]).unwrap();
        let t = good.threshold(0.01, 0.95).unwrap();
        let grey = good.with_grey_zone(t, 0.1).unwrap();
        assert_eq!((t.reject, t.accept, t.held_out), (299.0, None, 300));
        assert!(grey.accept.unwrap() > 270.0 && grey.accept.unwrap() < 285.0 && grey.reject == t.reject);
        assert_eq!(good.with_grey_zone(t, 0.001).unwrap().accept, Some(299.0));
        assert_eq!(Calibration::new(&[], &[]).and_then(|c| c.threshold(0.1, 0.9)), None);
        assert_eq!(Calibration::new(&[2.0, 1.0], &[]).and_then(|c| c.threshold(0.1, 0.9)), None);
        assert_eq!(Calibration::new(&[1.0, f32::NAN], &[]).and_then(|c| c.threshold(0.1, 0.9)), None);
        assert_eq!(Calibration::new(&[1.0, f32::INFINITY], &[]).and_then(|c| c.threshold(0.1, 0.9)), None);
        for bad in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Calibration::new(&[1.0], &[]).and_then(|c| c.threshold(bad, 0.9)), None);
            assert_eq!(Calibration::new(&[1.0], &[]).and_then(|c| c.threshold(0.1, bad)), None);
            assert_eq!(good.with_grey_zone(t, bad), None);
        }
    }
}
