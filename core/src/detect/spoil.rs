//! From what a network sees to a picture that can be spoilt (`synth`), and back. Nothing changes outside of a region of interest.

use super::error::{Result, TrainError};
use crate::image::Preprocess;
use crate::synth::Picture;
use alloc::string::ToString;

/// The planes that a network sees as a picture in 0..1.
pub(super) fn picture(how: &Preprocess, base: &[f32]) -> Result<Picture> {
    let (side, pixels) = (how.size as usize, base.len() / 3);
    let value = |(i, v): (usize, &f32)| ((v - how.shift[i / pixels]) / how.scale[i / pixels]).clamp(0.0, 1.0);
    let planes = base.iter().enumerate().map(value).collect();
    Picture::new(side, side, planes).map_err(|e| TrainError::Internal(e.to_string()))
}

/// Writes to `planes`, a good image, what is new in its spoilt picture, and takes out of the mask what is not kept.
pub(super) fn spoil(
    how: &Preprocess,
    keep: Option<&[f32]>,
    good: &Picture,
    bad: &Picture,
    planes: &mut [f32],
    mask: &mut [f32],
) {
    let pixels = mask.len();
    let kept = |p: usize| keep.is_none_or(|k| k[p] != 0.0);
    for (i, plane) in planes.iter_mut().enumerate() {
        let (c, p) = (i / pixels, i % pixels);
        if kept(p) && bad.planes()[i] != good.planes()[i] {
            *plane = bad.planes()[i] * how.scale[c] + how.shift[c];
        }
    }
    mask.iter_mut().enumerate().filter(|(p, _)| !kept(*p)).for_each(|(_, m)| *m = 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn nothing_changes_where_nothing_is_kept() {
        let how = Preprocess::imagenet(4);
        let good = Picture::new(4, 4, vec![0.25; 48]).unwrap();
        let bad = Picture::new(4, 4, vec![0.75; 48]).unwrap();
        let mut planes: Vec<f32> = (0..48).map(|i| 0.25 * how.scale[i / 16] + how.shift[i / 16]).collect();
        let before = planes.clone();
        assert_eq!(picture(&how, &planes).unwrap().planes()[7], 0.25);
        let (keep, mut mask): (Vec<f32>, _) =
            ((0..16).map(|p| f32::from(u8::from(p % 4 < 2))).collect(), vec![1.0; 16]);
        spoil(&how, Some(&keep), &good, &bad, &mut planes, &mut mask);
        for (i, (new, old)) in planes.iter().zip(&before).enumerate() {
            assert_eq!(new == old, i % 4 >= 2, "pixel {i}");
            assert_eq!(mask[i % 16] == 1.0, i % 4 < 2);
        }
    }
}
