//! Which rectangle goes where when one image lends a patch to another, and which pixels belong to the object.
//!
//! As in NSA (Schlüter, Tan, Hou, Kainz, "Natural synthetic anomalies", ECCV 2022): half the patch's side along each axis is
//! `clip((0.03 + Gamma(shape 2, scale 0.05)) · side, lo, hi)`; it is resized by `clip(N(1, ½), lo, hi)` and put at a uniform
//! place. Where the object lies in front of a plain background, patches must show enough of it and land on it.

use super::picture::Picture;
use crate::rng::Rng;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

const GAMMA_OFFSET: f32 = 0.03;
const GAMMA_SCALE: f64 = 0.05;
/// Places tried until a patch shows the object and lands on it.
const TRIES: usize = 200;
/// Window of the median that cleans the object's mask: 7×7.
const OBJECT_REACH: usize = 3;

/// How patches are drawn. The default is NSA's without knowledge of the object's class.
///
/// ```
/// use adflow::synth::{Kind, Patches, Synth, patches::Object};
/// // Small screws on a black table: patches must show a screw and land on one.
/// let screw = Object { background: 0.0, tolerance: 0.1, least_source: 0.25, least_target: 0.25 };
/// let mut synth = Synth::new(0, &[Kind::Nsa]);
/// synth.patches = Patches::default().with_most(4).with_half_side(0.05..0.2).with_object(Some(screw));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Patches {
    /// Most patches in an image: the first is always tried, each further one with probability ½.
    pub most: u32,
    /// Least and greatest half side of a patch, as parts of the image's width and height.
    pub half_side: [Range<f32>; 2],
    /// Least and greatest factor by which a patch is resized.
    pub resize: Range<f32>,
    /// How the object is told from its background; `None` where it fills the image.
    pub object: Option<Object>,
}

impl Default for Patches {
    fn default() -> Self {
        Self { most: 3, half_side: [0.03..0.4, 0.03..0.4], resize: 0.7..1.3, object: None }
    }
}

impl Patches {
    /// Sets the most patches of an image.
    #[must_use]
    pub fn with_most(self, most: u32) -> Self {
        Self { most, ..self }
    }

    /// Sets the least and greatest half side of a patch, as parts of the image's width and height.
    #[must_use]
    pub fn with_half_side(self, range: Range<f32>) -> Self {
        Self { half_side: [range.clone(), range], ..self }
    }

    /// Sets the least and greatest factor by which a patch is resized.
    #[must_use]
    pub fn with_resize(self, resize: Range<f32>) -> Self {
        Self { resize, ..self }
    }

    /// Sets how the object is told from its background; `None` where it fills the image.
    #[must_use]
    pub fn with_object(self, object: Option<Object>) -> Self {
        Self { object, ..self }
    }
}

/// An object in front of a background of nearly one brightness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Brightness of the background, in 0..1.
    pub background: f32,
    /// Pixels whose mean channel is that close to it are background.
    pub tolerance: f32,
    /// Least share of a patch that shows the object.
    pub least_source: f32,
    /// Least share of a patch's place that lies on the object.
    pub least_target: f32,
}

impl Object {
    /// 1 on the object, 0 on the background, smoothed by a median of 7×7.
    #[must_use]
    pub fn mask(&self, picture: &Picture) -> Vec<f32> {
        let [r, g, b] = picture.channels();
        let mut mask: Vec<f32> = r
            .iter()
            .zip(g)
            .zip(b)
            .map(|((r, g), b)| {
                let mean = (r + g + b) / 3.0;
                f32::from(u8::from((mean - self.background).abs() > self.tolerance))
            })
            .collect();
        median(picture.width(), &mut mask, OBJECT_REACH);
        mask
    }
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Rectangle {
    fn share(&self, mask: &[f32], columns: usize) -> f32 {
        let rows = (self.y..self.y + self.height).map(|y| &mask[y * columns + self.x..][..self.width]);
        rows.flatten().sum::<f32>() / (self.width * self.height) as f32
    }
}

/// From where in the source to where in the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Part of the source image.
    pub from: Rectangle,
    /// Where that part goes in the destination, usually of another size.
    pub to: Rectangle,
}

impl Patches {
    /// Width and height of a patch to cut from an image of that size.
    fn size(&self, width: usize, height: usize, rng: &mut Rng) -> (usize, usize) {
        let mut along = |side: usize, limits: &Range<f32>| {
            // Gamma with shape 2: the sum of two exponential draws.
            let gamma = -GAMMA_SCALE * libm::log((1.0 - rng.f64()) * (1.0 - rng.f64()));
            let half = (GAMMA_OFFSET + gamma as f32).max(limits.start).min(limits.end);
            (libm::roundf(2.0 * half * side as f32) as usize).clamp(1, side)
        };
        (along(width, &self.half_side[0]), along(height, &self.half_side[1]))
    }

    fn place(&self, width: usize, height: usize, rng: &mut Rng) -> Transfer {
        let (w, h) = self.size(width, height, rng);
        let factor = (1.0 + 0.5 * rng.normal() as f32).max(self.resize.start).min(self.resize.end);
        let resized = |part: usize, side: usize| (libm::roundf(part as f32 * factor) as usize).clamp(1, side);
        let mut put = |w: usize, h: usize| {
            let x = rng.below((width - w + 1) as u32) as usize;
            Rectangle { x, y: rng.below((height - h + 1) as u32) as usize, width: w, height: h }
        };
        Transfer { from: put(w, h), to: put(resized(w, width), resized(h, height)) }
    }

    /// One patch between two images of the same size, or none where the object was not met in 200 tries.
    pub(super) fn draw(&self, size: (usize, usize), masks: Option<&Masks>, rng: &mut Rng) -> Option<Transfer> {
        let Some(masks) = masks else { return Some(self.place(size.0, size.1, rng)) };
        (0..TRIES).map(|_| self.place(size.0, size.1, rng)).find(|transfer| {
            transfer.from.share(&masks.source, size.0) > masks.object.least_source
                && transfer.to.share(&masks.target, size.0) > masks.object.least_target
        })
    }
}

/// Where the object is in both images.
pub(super) struct Masks {
    pub object: Object,
    pub source: Vec<f32>,
    pub target: Vec<f32>,
}

/// Median of a 0-and-1 mask over (2·reach+1)² pixels, in place; at the border over those that exist. A tie is 0.
pub(super) fn median(width: usize, mask: &mut [f32], reach: usize) {
    let height = mask.len() / width.max(1);
    // Sums along rows, then along columns; small whole numbers, so exact.
    let mut rows = vec![0.0f32; mask.len()];
    let window = |i: usize, len: usize| i.saturating_sub(reach)..(i + reach + 1).min(len);
    for (from, to) in mask.chunks_exact(width).zip(rows.chunks_exact_mut(width)) {
        for (x, t) in to.iter_mut().enumerate() {
            *t = from[window(x, width)].iter().sum();
        }
    }
    for (y, to) in mask.chunks_exact_mut(width).enumerate() {
        let lines = window(y, height);
        for (x, t) in to.iter_mut().enumerate() {
            let ones: f32 = lines.clone().map(|line| rows[line * width + x]).sum();
            *t = f32::from(u8::from(2.0 * ones > (lines.len() * window(x, width).len()) as f32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_sides_are_gamma_draws_within_their_limits() {
        let (patches, mut rng) = (Patches::default(), Rng::new(1, 0, 0));
        let (n, mut mean, mut square, mut clipped) = (20_000, 0.0, 0.0, 0);
        for _ in 0..n {
            let (w, h) = patches.size(1000, 500, &mut rng);
            assert!((60..=800).contains(&w) && (30..=400).contains(&h), "{w}×{h}");
            let half = w as f64 / 2000.0;
            mean += half / f64::from(n);
            square += half * half / f64::from(n);
            clipped += u32::from(w == 800);
        }
        // 0.03 + Gamma(2, 0.05): mean 0.13, deviation 0.0707, P(> 0.4) = e^−7.4·8.4 = 0.0051.
        assert!((mean - 0.13).abs() < 0.002, "{mean}");
        assert!(((square - mean * mean).sqrt() - 0.0700).abs() < 0.002);
        assert!((f64::from(clipped) / f64::from(n) - 0.0051).abs() < 0.002, "{clipped}");
    }

    #[test]
    fn transfers_lie_inside_and_keep_to_the_resize_limits() {
        let patches = Patches::default();
        let mut factors = Vec::new();
        for (w, h) in [(256, 256), (300, 64), (7, 5), (1, 1)] {
            for draw in 0..500 {
                let t = patches.draw((w, h), None, &mut Rng::new(2, draw, 0)).unwrap();
                for r in [t.from, t.to] {
                    assert!(r.width > 0 && r.height > 0 && r.x + r.width <= w && r.y + r.height <= h, "{t:?}");
                }
                if w == 256 && t.from.width > 60 && t.to.width < 256 {
                    factors.push(t.to.width as f32 / t.from.width as f32);
                }
            }
        }
        let (low, high) = factors.iter().fold((9.0f32, 0.0f32), |m, &f| (m.0.min(f), m.1.max(f)));
        assert!((0.69..0.72).contains(&low) && (1.28..1.31).contains(&high), "{low} {high}");
    }

    #[test]
    fn patches_meet_the_object() {
        let object = Object { background: 0.1, tolerance: 0.1, least_source: 0.5, least_target: 0.25 };
        let disc = |cx: i32, cy: i32| {
            Picture::from_fn(128, 128, |x, y| {
                let inside = (x as i32 - cx).pow(2) + (y as i32 - cy).pow(2) < 30 * 30;
                // One bright speck in the background, which the median removes.
                if inside || (x, y) == (3, 100) { [0.8, 0.7, 0.6] } else { [0.15, 0.1, 0.05] }
            })
        };
        let (source, target) = (object.mask(&disc(40, 40)), object.mask(&disc(80, 70)));
        assert_eq!(source[100 * 128 + 3], 0.0);
        assert!((source.iter().sum::<f32>() - 2827.0).abs() < 60.0);
        let masks = Masks { object, source, target };
        for draw in 0..100 {
            let t = Patches::default().draw((128, 128), Some(&masks), &mut Rng::new(3, draw, 0)).unwrap();
            assert!(t.from.share(&masks.source, 128) > 0.5 && t.to.share(&masks.target, 128) > 0.25);
        }
        let nothing = Masks { target: vec![0.0; 128 * 128], ..masks };
        assert_eq!(Patches::default().draw((128, 128), Some(&nothing), &mut Rng::new(3, 0, 0)), None);
    }

    #[test]
    fn the_median_is_the_majority() {
        let mut rng = Rng::new(4, 0, 0);
        for (w, h) in [(1, 1), (3, 9), (20, 13)] {
            let mask: Vec<f32> = (0..w * h).map(|_| rng.below(2) as f32).collect();
            let mut fast = mask.clone();
            median(w, &mut fast, 2);
            for y in 0..h {
                for x in 0..w {
                    let mut window = Vec::new();
                    for j in y.saturating_sub(2)..(y + 3).min(h) {
                        for i in x.saturating_sub(2)..(x + 3).min(w) {
                            window.push(mask[j * w + i]);
                        }
                    }
                    let ones = window.iter().filter(|&&m| m == 1.0).count();
                    assert_eq!(fast[y * w + x] == 1.0, 2 * ones > window.len());
                }
            }
        }
    }
}
