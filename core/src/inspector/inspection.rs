//! What an inspection gives: score, verdict, map.

use crate::threshold::Verdict;
use core::fmt;

/// What an [`Inspector`](super::Inspector) says of one image.
///
/// ```
/// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// # let mut inspector = adflow::Inspector::new(model)?;
/// let inspection = inspector.inspect(&good[0].view())?;
/// match inspection.verdict {
///     Some(verdict) => println!("{verdict} at {:.2}", inspection.score),
///     None => println!("{:.2}; the model has no threshold", inspection.score),
/// }
/// assert!(!inspection.is_defective());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Inspection {
    /// The anomaly score: larger is stranger. Each model has a scale of its own.
    pub score: f32,
    /// What to do with the part; `None` where the inspector has no threshold.
    pub verdict: Option<Verdict>,
}

impl Inspection {
    /// Whether the verdict is [`Verdict::Defective`]; without a threshold nothing is.
    #[must_use]
    pub fn is_defective(&self) -> bool {
        self.verdict == Some(Verdict::Defective)
    }
}

/// `defective, score 12.84`, or without a threshold `score 12.84`.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(verdict) = self.verdict {
            write!(f, "{verdict}, ")?;
        }
        write!(f, "score {:.2}", self.score)
    }
}

/// How strange each part of an image is: values over the whole image, at the model's own resolution.
///
/// It lies in the inspector's memory and lasts until the next inspection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnomalyMap<'i> {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) values: &'i [f32],
}

impl<'i> AnomalyMap<'i> {
    /// Values in a row.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The values row by row: larger is stranger, 0 outside the region of interest.
    /// [`Model::map_scale`](crate::model::Model::map_scale) says which values are usual on good parts.
    #[must_use]
    pub fn values(&self) -> &'i [f32] {
        self.values
    }

    /// Where the highest value lies: (column, row) in the pixels of an image of `width`×`height`.
    #[must_use]
    pub fn peak_in(&self, width: u32, height: u32) -> (u32, u32) {
        let highest = |best: usize, at: usize| if self.values[at] > self.values[best] { at } else { best };
        let at = (0..self.values.len()).fold(0, highest) as u32;
        let pixel = |step: u32, steps: u32, pixels: u32| {
            let middle = (2 * u64::from(step) + 1) * u64::from(pixels) / (2 * u64::from(steps.max(1)));
            (middle as u32).min(pixels.saturating_sub(1))
        };
        (pixel(at % self.width, self.width, width), pixel(at / self.width, self.height, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_found_in_pixels_of_the_image() {
        let values = [0.0, 1.0, 0.0, 0.0, 0.0, 9.0];
        let map = AnomalyMap { width: 3, height: 2, values: &values };
        assert_eq!(map.peak_in(3, 2), (2, 1));
        assert_eq!(map.peak_in(300, 20), (250, 15));
        assert_eq!(map.peak_in(1, 1), (0, 0));
    }
}
