//! Ten ways to change a texture; three different ones, in random order, are applied to each.
//!
//! The set and the ranges are those of DRAEM (Zavrtanik, Kristan, Skočaj, ICCV 2021), here on floats in 0..1.

use super::picture::Picture;
use crate::rng::Rng;
use alloc::vec;

/// How many of them a texture gets.
const CHOSEN: usize = 3;
/// Levels of the histogram that [`Augmentation::Equalize`] flattens.
const LEVELS: usize = 256;

/// A change of a texture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Augmentation {
    /// `p^γ`, γ in 0.5..2, for each channel.
    Gamma,
    /// `b·p + a`, b in 0.8..1.2, a within ±30/255.
    Brightness,
    /// Away from or towards a smoothed copy.
    Sharpen,
    /// Hue and saturation each within ±50/255 of their range.
    HueSaturation,
    /// What is brighter than a limit in 32..128 of 255 is inverted.
    Solarize,
    /// One to seven bits a channel.
    Posterize,
    /// `1 − p`.
    Invert,
    /// Each channel stretched to 0..1, up to a fifth of its pixels cut off on each side.
    Autocontrast,
    /// Each channel's histogram made flat.
    Equalize,
    /// Turned by up to ±45° about the middle; mirrored beyond the border.
    Rotate,
}

impl Augmentation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Gamma,
        Self::Brightness,
        Self::Sharpen,
        Self::HueSaturation,
        Self::Solarize,
        Self::Posterize,
        Self::Invert,
        Self::Autocontrast,
        Self::Equalize,
        Self::Rotate,
    ];

    /// Applies it with random strength.
    pub fn apply(self, picture: &mut Picture, rng: &mut Rng) {
        match self {
            Self::Gamma => {
                let gamma: [f32; 3] = core::array::from_fn(|_| rng.range(0.5..2.0));
                picture.map(|p| core::array::from_fn(|c| libm::powf(p[c], gamma[c])));
            }
            Self::Brightness => {
                let (factor, add) = (rng.range(0.8..1.2), rng.range(-30.0 / 255.0..30.0 / 255.0));
                picture.map(|p| p.map(|v| factor * v + add));
            }
            Self::Sharpen => sharpen(picture, rng.range(0.1..1.9)),
            Self::HueSaturation => {
                let (hue, saturation) =
                    (rng.range(-50.0 / 255.0..50.0 / 255.0), rng.range(-50.0 / 255.0..50.0 / 255.0));
                picture.map(|p| {
                    let [h, s, v] = hsv(p);
                    rgb([h + hue, (s + saturation).clamp(0.0, 1.0), v])
                });
            }
            Self::Solarize => {
                let limit = rng.range(32.0 / 255.0..128.0 / 255.0);
                picture.map(|p| p.map(|v| if v >= limit { 1.0 - v } else { v }));
            }
            Self::Posterize => {
                let levels = (1u32 << (1 + rng.below(7))) as f32;
                picture.map(|p| p.map(|v| libm::floorf(v * levels).min(levels - 1.0) / levels));
            }
            Self::Invert => picture.map(|p| p.map(|v| 1.0 - v)),
            Self::Autocontrast => {
                let cut = rng.range(0.0..0.2);
                picture.channels_mut().for_each(|channel| autocontrast(channel, cut));
            }
            Self::Equalize => picture.channels_mut().for_each(equalize),
            Self::Rotate => rotate(picture, rng.range(-45.0..45.0)),
        }
    }
}

/// Applies three different augmentations.
pub fn augment(picture: &mut Picture, rng: &mut Rng) {
    let mut order = Augmentation::ALL;
    rng.shuffle(&mut order);
    for augmentation in &order[..CHOSEN] {
        augmentation.apply(picture, rng);
    }
}

/// `smooth + factor·(p − smooth)` with the 3×3 kernel (1 1 1; 1 5 1; 1 1 1)/13, the border left as it is.
fn sharpen(picture: &mut Picture, factor: f32) {
    let before = picture.clone();
    for y in 1..before.height().saturating_sub(1) {
        for x in 1..before.width().saturating_sub(1) {
            let old = before.get(x, y);
            let mut sum = old.map(|v| 4.0 * v);
            for j in y - 1..=y + 1 {
                for i in x - 1..=x + 1 {
                    let p = before.get(i, j);
                    (0..3).for_each(|c| sum[c] += p[c]);
                }
            }
            picture.set(x, y, core::array::from_fn(|c| sum[c] / 13.0 + factor * (old[c] - sum[c] / 13.0)));
        }
    }
}

fn rotate(picture: &mut Picture, degrees: f32) {
    let before = picture.clone();
    let (sin, cos) = (libm::sinf(degrees.to_radians()), libm::cosf(degrees.to_radians()));
    let (mx, my) = (0.5 * (before.width() - 1) as f32, 0.5 * (before.height() - 1) as f32);
    *picture = Picture::from_fn(before.width(), before.height(), |x, y| {
        let (dx, dy) = (x as f32 - mx, y as f32 - my);
        before.sample(cos * dx + sin * dy + mx, cos * dy - sin * dx + my)
    });
}

fn level(v: f32) -> usize {
    (v * (LEVELS - 1) as f32 + 0.5) as usize
}

fn histogram(channel: &[f32]) -> [usize; LEVELS] {
    let mut counts = [0; LEVELS];
    channel.iter().for_each(|&v| counts[level(v).min(LEVELS - 1)] += 1);
    counts
}

fn autocontrast(channel: &mut [f32], cut: f32) {
    let counts = histogram(channel);
    let limit = (cut * channel.len() as f32) as usize;
    let (low, high) = (past(limit, counts.iter()), LEVELS - 1 - past(limit, counts.iter().rev()));
    if high > low {
        let (low, high) = (low as f32 / (LEVELS - 1) as f32, high as f32 / (LEVELS - 1) as f32);
        channel.iter_mut().for_each(|v| *v = ((*v - low) / (high - low)).clamp(0.0, 1.0));
    }
}

/// The level at which more than `limit` pixels have been seen.
fn past<'a>(limit: usize, counts: impl Iterator<Item = &'a usize>) -> usize {
    let mut seen = 0;
    let mut counts = counts.map(|count| {
        seen += count;
        seen > limit
    });
    counts.position(|enough| enough).unwrap_or(0)
}

fn equalize(channel: &mut [f32]) {
    let counts = histogram(channel);
    let mut rank = vec![0usize; LEVELS];
    let mut below = 0;
    for (r, count) in rank.iter_mut().zip(counts) {
        *r = below;
        below += count;
    }
    // The rank of a level below all others is 0, of one above all others 1.
    let first = counts.iter().copied().find(|&c| c > 0).unwrap_or(0);
    let last = counts.iter().rev().copied().find(|&c| c > 0).unwrap_or(0);
    if channel.len() <= first {
        return;
    }
    let span = (channel.len() - last) as f32;
    channel.iter_mut().for_each(|v| *v = (rank[level(*v).min(LEVELS - 1)] as f32 / span).min(1.0));
}

/// Hue in turns, saturation, value.
fn hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let range = high - low;
    if range <= 0.0 {
        return [0.0, 0.0, high];
    }
    let sector = if high == r {
        (g - b) / range
    } else if high == g {
        2.0 + (b - r) / range
    } else {
        4.0 + (r - g) / range
    };
    [sector / 6.0, range / high, high]
}

fn rgb([h, s, v]: [f32; 3]) -> [f32; 3] {
    // Smith's formula: each channel is a trapezoid over the hue, a third of a turn apart.
    [5.0, 3.0, 1.0].map(|n| {
        let k = n + 6.0 * h;
        let k = k - 6.0 * libm::floorf(k / 6.0);
        v - v * s * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Picture {
        let mut rng = Rng::new(8, 0, 0);
        Picture::from_fn(width, height, |_, _| [rng.f32(), 0.5 * rng.f32(), 0.3 + 0.4 * rng.f32()])
    }

    #[test]
    fn all_stay_in_range_and_most_change_something() {
        for (number, augmentation) in Augmentation::ALL.into_iter().enumerate() {
            for (w, h) in [(24, 17), (1, 1), (2, 3)] {
                for draw in 0..20 {
                    let before = noise(w, h);
                    let mut after = before.clone();
                    augmentation.apply(&mut after, &mut Rng::new(1, draw, number as u32));
                    assert!(after.planes().iter().all(|v| (0.0..=1.0).contains(v)), "{augmentation:?}");
                    assert!(w < 24 || after != before, "{augmentation:?}");
                }
            }
        }
    }

    #[test]
    fn flat_pictures_survive() {
        for level in [0.0, 0.5, 1.0] {
            for augmentation in Augmentation::ALL {
                let mut flat = Picture::from_fn(9, 9, |_, _| [level; 3]);
                augmentation.apply(&mut flat, &mut Rng::new(2, 0, 0));
                let even = |c: &[f32]| c.iter().all(|v| v.is_finite() && *v == c[0]);
                assert!(flat.channels().into_iter().all(even), "{augmentation:?}");
            }
        }
    }

    #[test]
    fn hue_and_back() {
        for colour in [[0.2, 0.5, 0.9], [0.9, 0.1, 0.1], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0], [0.7, 0.7, 0.1]] {
            let again = rgb(hsv(colour));
            assert!((0..3).all(|c| (again[c] - colour[c]).abs() < 1e-6), "{colour:?} {again:?}");
        }
        // A third of a turn: red becomes green.
        let [h, s, v] = hsv([1.0, 0.0, 0.0]);
        let green = rgb([h + 1.0 / 3.0, s, v]);
        assert!(green[0] < 1e-6 && green[1] == 1.0 && green[2] < 1e-6, "{green:?}");
    }

    #[test]
    fn histograms_become_flat() {
        let mut channel: Vec<f32> = (0..1000).map(|i| 0.2 + 0.3 * (i as f32 / 1000.0).powi(3)).collect();
        equalize(&mut channel);
        let mean = channel.iter().sum::<f32>() / 1000.0;
        assert!((channel[0], channel[999]) == (0.0, 1.0) && (mean - 0.5).abs() < 0.12, "{mean}");
        let mut channel = vec![0.4, 0.5, 0.6];
        autocontrast(&mut channel, 0.0);
        assert!(channel[0] < 0.01 && channel[2] > 0.99 && (channel[1] - 0.5).abs() < 0.01);
    }
}
