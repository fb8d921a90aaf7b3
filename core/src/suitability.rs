//! Whether an image can be what the model was trained on: a black frame, a lens out of focus or another camera gives no good part.
//!
//! Training notes the range of each number of [`Appearance`] over the good images and widens it: by half of the range and by what
//! an image may differ without anybody noticing. An image outside is *unsuitable*, whatever its score. Defects are far
//! smaller than what is noticed here; one that is not, as a part that is missing altogether, is not good either way.
//!
//! | what | in | margin beyond half of the range |
//! |---|---|---|
//! | aspect | ln | 0.1 |
//! | brightness, contrast | ln | ln 1.5 |
//! | sharpness above 1/16 | ln | ln 1.5 |
//! | share of black, of white pixels | share, upwards only | 0.1 |
//! | red, blue | share of white | 0.04 |
//! | layout | likeness to the mean of the good ones, downwards only | 0.1 |
//!
//! Likeness is measured against the mean of the *other* images; below 0.5 parts do not lie alike, and it says nothing.

use crate::appearance::{Appearance, CELLS};
use crate::choice;
use bytemuck::{Pod, Zeroable};

choice! {
    /// Why an image is not one of the part that the model was trained on.
    pub enum Unsuitable: "reason" {
        /// The frame is uniform: lens cap, no light, nothing in front of the camera.
        Uniform("uniform") = 1,
        /// The frame is darker than any in training.
        Dark("dark") = 2,
        /// The frame is brighter than any in training.
        Bright("bright") = 3,
        /// The frame has less or more contrast than any in training.
        Contrast("contrast") = 4,
        /// More of the frame is black or white than of any in training.
        Clipped("clipped") = 5,
        /// The frame is less sharp than any in training.
        Blurred("blurred") = 6,
        /// The frame is noisier or sharper than any in training.
        Noisy("noisy") = 7,
        /// The frame has other colours than those in training.
        Colour("colour") = 8,
        /// The frame is grey where those in training had colour, or the other way round.
        Channels("channels") = 9,
        /// The frame has another ratio of width and height than those in training.
        Aspect("aspect") = 10,
        /// Light and dark lie elsewhere than in training: turned, shifted, or another part.
        Layout("layout") = 11,
    }
}

/// Sharpness of what is out of focus.
const SMOOTH: f32 = 1.0 / 16.0;
/// Numbers of an appearance whose range is kept.
const NUMBERS: usize = 8;

/// What images of the part look like, as a model file keeps it: 1104 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SuitabilityRecord {
    /// 1: grey images were seen; 2: images of three channels; 3: both.
    pub channels: u32,
    /// Zero.
    pub reserved: u32,
    /// Lowest and highest value of each number, in the order of [`numbers`].
    ranges: [[f32; 2]; NUMBERS],
    /// Least likeness of a layout to the mean one, and zero; −1: layouts are not looked at.
    likeness: [f32; 2],
    /// The mean layout.
    layout: [f32; CELLS * CELLS],
}

/// The numbers whose range is kept: aspect, brightness, contrast, sharpness as logarithms; shares of black and of white; red, blue.
fn numbers(a: &Appearance) -> [f32; NUMBERS] {
    let ln = |v: f32| libm::logf(v.max(1e-6));
    [
        ln(a.aspect),
        ln(a.brightness),
        ln(a.contrast),
        ln((a.sharpness - SMOOTH).max(1e-3)),
        a.black,
        a.white,
        a.red,
        a.blue,
    ]
}

/// What an image may differ by beyond half of the range.
#[cfg(feature = "alloc")]
const MARGINS: [f32; NUMBERS] = [0.1, 0.405, 0.405, 0.405, 0.1, 0.1, 0.04, 0.04];
/// For the likeness of layouts.
#[cfg(feature = "alloc")]
const LIKENESS_MARGIN: f32 = 0.1;
/// Where good images are less alike than this, their layout says nothing.
#[cfg(feature = "alloc")]
const LEAST_LIKENESS: f32 = 0.5;
/// Contrast of a uniform frame, as a share of white, and of the lowest in training.
const UNIFORM: f32 = 0.004;
const UNIFORM_SHARE: f32 = 0.25;

impl SuitabilityRecord {
    /// Whether the values are what training writes.
    pub fn is_valid(&self) -> bool {
        let finite = self.ranges.iter().chain([&self.likeness]).flatten().chain(&self.layout).all(|v| v.is_finite());
        finite && (1..=3).contains(&self.channels) && self.reserved == 0
    }

    /// Why an image is unsuitable; `None`: it may be one of the part.
    ///
    /// Of an image that is looked at in part only (`whole` is false) there is less to say: whether it is uniform, and its channels.
    pub fn judge(&self, a: &Appearance, whole: bool) -> Option<Unsuitable> {
        let seen = if a.colour > 0.0 { 2 } else { 1 };
        if self.channels & seen == 0 {
            return Some(Unsuitable::Channels);
        }
        let values = numbers(a);
        let below = |n: usize| values[n] < self.ranges[n][0];
        let above = |n: usize| values[n] > self.ranges[n][1];
        let lowest_contrast = libm::expf(self.ranges[2][0]);
        if a.contrast < UNIFORM.min(lowest_contrast) || a.contrast < UNIFORM_SHARE * lowest_contrast {
            return Some(Unsuitable::Uniform);
        }
        let checks = [
            (below(0) || above(0), Unsuitable::Aspect),
            (below(1), Unsuitable::Dark),
            (above(1), Unsuitable::Bright),
            (above(4) || above(5), Unsuitable::Clipped),
            (below(2) || above(2), Unsuitable::Contrast),
            (below(3), Unsuitable::Blurred),
            (above(3), Unsuitable::Noisy),
            (below(6) || above(6) || below(7) || above(7), Unsuitable::Colour),
            (a.likeness(&self.layout) < self.likeness[0], Unsuitable::Layout),
        ];
        checks.into_iter().find(|(wrong, _)| whole && *wrong).map(|(_, reason)| reason)
    }
}

#[cfg(feature = "alloc")]
impl SuitabilityRecord {
    /// Learns what images of the part look like; `None` without any.
    pub fn learn(good: &[Appearance]) -> Option<SuitabilityRecord> {
        if good.is_empty() {
            return None;
        }
        let mut record = SuitabilityRecord::zeroed();
        let (mut low, mut high) = ([f32::INFINITY; NUMBERS], [f32::NEG_INFINITY; NUMBERS]);
        let mut sum = [0.0f32; CELLS * CELLS];
        for a in good {
            record.channels |= if a.colour > 0.0 { 2 } else { 1 };
            for (n, value) in numbers(a).into_iter().enumerate() {
                (low[n], high[n]) = (low[n].min(value), high[n].max(value));
            }
            sum.iter_mut().zip(&a.layout).for_each(|(sum, v)| *sum += v);
        }
        for (n, range) in record.ranges.iter_mut().enumerate() {
            let margin = MARGINS[n] + 0.5 * (high[n] - low[n]);
            *range = [low[n] - margin, high[n] + margin];
        }
        let others = |a: &Appearance| {
            let mut others = sum;
            others.iter_mut().zip(&a.layout).for_each(|(sum, v)| *sum -= v);
            crate::appearance::to_unit_length(&mut others);
            a.likeness(&others)
        };
        let least = good.iter().map(others).fold(1.0f32, f32::min);
        record.likeness[0] = match good.len() > 1 && least >= LEAST_LIKENESS {
            true => least - 0.5 * (1.0 - least) - LIKENESS_MARGIN,
            false => -1.0,
        };
        crate::appearance::to_unit_length(&mut sum);
        record.layout = sum;
        Some(record)
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::image::ImageView;
    use crate::rng::Rng;
    use std::vec::Vec;

    const SIZE: (u32, u32) = (160, 120);

    /// A disc off the middle, under a light that differs a little from image to image.
    fn part(index: u64) -> Vec<u8> {
        let mut rng = Rng::new(5, index, 0);
        let light = rng.range(0.9..1.1);
        let pixel = |p: u32, rng: &mut Rng| {
            let (x, y) = (p % SIZE.0, p / SIZE.0);
            let disc = x.abs_diff(60).pow(2) + y.abs_diff(40).pow(2) < 900;
            (light * if disc { 170.0 } else { 70.0 } + rng.range(-8.0..8.0)) as u8
        };
        (0..SIZE.0 * SIZE.1).map(|p| pixel(p, &mut rng)).collect()
    }

    fn look(pixels: &[u8]) -> Appearance {
        Appearance::of(&ImageView::grey_u8(SIZE.0, SIZE.1, pixels).unwrap(), |_, _| true).unwrap()
    }

    fn learned() -> SuitabilityRecord {
        let good: Vec<Appearance> = (0..20).map(|i| look(&part(i))).collect();
        SuitabilityRecord::learn(&good).unwrap()
    }

    #[test]
    fn other_good_parts_are_suitable() {
        let record = learned();
        assert!(record.is_valid());
        for index in 100..160 {
            assert_eq!(record.judge(&look(&part(index)), true), None, "part {index}");
        }
    }

    #[test]
    fn what_is_no_part_is_named() {
        let record = learned();
        let good = part(200);
        let each = |f: &dyn Fn(u8) -> u8| good.iter().map(|v| f(*v)).collect::<Vec<u8>>();
        let turned: Vec<u8> = good.iter().rev().copied().collect();
        let blurred: Vec<u8> = (0..good.len())
            .map(|p| {
                let row = &good[p - p % SIZE.0 as usize..][..SIZE.0 as usize];
                let around = &row[(p % 160).saturating_sub(8)..(p % 160 + 9).min(160)];
                (around.iter().map(|v| u32::from(*v)).sum::<u32>() / around.len() as u32) as u8
            })
            .collect();
        for (frame, reason) in [
            (each(&|_| 0), Unsuitable::Uniform),
            (each(&|_| 255), Unsuitable::Uniform),
            (each(&|_| 128), Unsuitable::Uniform),
            (each(&|v| v / 3), Unsuitable::Dark),
            (each(&|v| v / 2 + 127), Unsuitable::Bright),
            (turned, Unsuitable::Layout),
        ] {
            assert_eq!(record.judge(&look(&frame), true), Some(reason));
        }
        assert!(record.judge(&look(&blurred), true).is_some());
        let view = ImageView::grey_u8(SIZE.1, SIZE.0, &good).unwrap();
        let upright = Appearance::of(&view, |_, _| true).unwrap();
        assert_eq!(record.judge(&upright, true), Some(Unsuitable::Aspect));
        let rgb: Vec<u8> = good.iter().flat_map(|v| [*v; 3]).collect();
        let colour = Appearance::of(&ImageView::rgb_u8(SIZE.0, SIZE.1, &rgb).unwrap(), |_, _| true).unwrap();
        assert_eq!(record.judge(&colour, true), Some(Unsuitable::Channels));
        // Of a part of an image there is less to say.
        assert_eq!(record.judge(&look(&each(&|v| v / 3)), false), None);
        assert_eq!(record.judge(&look(&each(&|_| 0)), false), Some(Unsuitable::Uniform));
    }
}
