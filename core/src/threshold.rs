//! From a score to a verdict. What a limit promises about good parts is in [`calibration`](crate::calibration).

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
    /// Probability, over the draw of the good parts behind it, that `false_reject` holds. 0..1.
    pub confidence: f64,
    /// Number of good parts behind the threshold, scored by models that have not seen them; 0 for one set by hand.
    pub held_out: u32,
}

impl Threshold {
    /// A threshold set by hand, which promises nothing.
    #[must_use]
    pub const fn manual(reject: f32) -> Self {
        Self { reject, accept: None, false_reject: 1.0, confidence: 0.0, held_out: 0 }
    }

    /// Whether another threshold rejects no more than this one and claims no more.
    #[must_use]
    pub fn promises(&self, other: &Threshold) -> bool {
        self.held_out == other.held_out
            && self.reject <= other.reject
            && self.false_reject <= other.false_reject
            && self.confidence >= other.confidence
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
