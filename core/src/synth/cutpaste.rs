//! A piece of the same picture in the wrong place, lighter or darker, or a thin scar of it.
//!
//! CutPaste (Li, Sohn, Yoon, Pfister, CVPR 2021): a rectangle of area ratio 0.02 to 0.15 and aspect 0.3 to 1/0.3 (uniform
//! in its logarithm) is cut at one uniform place and pasted at another. A stronger photometric change than theirs is the
//! cue: brightness `p ← b·p`, then contrast `p ← (p−μ)·c + μ` about the patch's mean luma μ, b and c in 0.7..1.3.
//! The scar is theirs: 2 to 16 by 10 to 25 pixels of a picture of 256, turned by up to ±45°.

use super::picture::{LUMA, Picture};
use super::{Anomaly, Kind};
use crate::rng::Rng;
use alloc::vec;
use core::ops::Range;

const AREA: Range<f32> = 0.02..0.15;
const LEAST_ASPECT: f32 = 0.3;
const PHOTOMETRIC: Range<f32> = 0.7..1.3;
const SCAR_WIDTH: Range<f32> = 2.0..16.0;
const SCAR_HEIGHT: Range<f32> = 10.0..25.0;
const SCAR_ANGLE: Range<f32> = -45.0..45.0;
/// Side of the pictures for which a scar's sides are given.
const SCAR_SIDE: f32 = 256.0;

/// Width and height of the rectangle to cut.
fn cut_size(width: usize, height: usize, rng: &mut Rng) -> (usize, usize) {
    let area = rng.range(AREA) * (width * height) as f32;
    let widest = -libm::logf(LEAST_ASPECT);
    let aspect = libm::expf(rng.range(-widest..widest));
    let side = |length: f32, limit: usize| (libm::roundf(length) as usize).clamp(1, limit);
    (side(libm::sqrtf(area * aspect), width), side(libm::sqrtf(area / aspect), height))
}

/// A uniform corner at which `width`×`height` pixels lie inside the picture.
fn corner(picture: &Picture, width: usize, height: usize, rng: &mut Rng) -> (usize, usize) {
    let mut along = |side: usize, part: usize| rng.below((side - part + 1) as u32) as usize;
    (along(picture.width(), width), along(picture.height(), height))
}

/// Changes brightness, then contrast about the mean luma.
fn photometric(patch: &mut Picture, rng: &mut Rng) {
    let (brightness, contrast) = (rng.range(PHOTOMETRIC), rng.range(PHOTOMETRIC));
    patch.map(|p| p.map(|v| v * brightness));
    let sum: f64 = patch.channels().iter().zip(LUMA).map(|(c, w)| f64::from(w) * sum(c)).sum();
    let mean = (sum / patch.pixels() as f64) as f32;
    patch.map(|p| p.map(|v| (v - mean) * contrast + mean));
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum()
}

/// Pastes a rectangle of `base` elsewhere in it, lighter or darker.
#[must_use]
pub fn cutpaste(base: &Picture, rng: &mut Rng) -> Anomaly {
    let (width, height) = cut_size(base.width(), base.height(), rng);
    let from = corner(base, width, height, rng);
    let mut patch = base.part(from.0, from.1, width, height);
    photometric(&mut patch, rng);
    let to = corner(base, width, height, rng);
    let (mut image, mut mask) = (base.clone(), vec![0.0; base.pixels()]);
    for y in 0..height {
        for x in 0..width {
            image.set(to.0 + x, to.1 + y, patch.get(x, y));
            mask[(to.1 + y) * base.width() + to.0 + x] = 1.0;
        }
    }
    Anomaly { kind: Kind::CutPaste, image, mask }
}

/// Pastes a thin, turned strip of `base` elsewhere in it, with soft edges.
#[must_use]
pub fn scar(base: &Picture, rng: &mut Rng) -> Anomaly {
    let unit = base.width().min(base.height()) as f32 / SCAR_SIDE;
    let (w, h) = (rng.range(SCAR_WIDTH) * unit, rng.range(SCAR_HEIGHT) * unit);
    let degrees = rng.range(SCAR_ANGLE);
    let (sin, cos) = (libm::sinf(degrees.to_radians()), libm::cosf(degrees.to_radians()));
    let side = |length: f32, limit: usize| (libm::ceilf(length) as usize).clamp(1, limit);
    let (width, height) = (side(w, base.width()), side(h, base.height()));
    let from = corner(base, width, height, rng);
    let mut patch = base.part(from.0, from.1, width, height);
    photometric(&mut patch, rng);
    // The box around the turned strip; its middle pixel always belongs to it.
    let around = |a: f32, b: f32, limit: usize| side(a * cos + b * sin.abs() + 1.0, limit) | 1;
    let (box_width, box_height) = (around(w, h, base.width()), around(h, w, base.height()));
    let (box_width, box_height) = (box_width.min(base.width()), box_height.min(base.height()));
    let to = corner(base, box_width, box_height, rng);
    let (mut image, mut mask) = (base.clone(), vec![0.0; base.pixels()]);
    let middle = ((box_width / 2) as f32, (box_height / 2) as f32);
    for j in 0..box_height {
        for i in 0..box_width {
            let (dx, dy) = (i as f32 - middle.0, j as f32 - middle.1);
            let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
            // How much of the pixel the strip covers, from the distance to its edges.
            let cover = |t: f32, length: f32| (0.5 * length - t.abs() + 0.5).clamp(0.0, length.min(1.0));
            let alpha = if (i, j) == (box_width / 2, box_height / 2) { 1.0 } else { cover(u, w) * cover(v, h) };
            if alpha > 0.0 {
                let (x, y) = (to.0 + i, to.1 + j);
                let old = base.get(x, y);
                let new = patch.sample(u + 0.5 * (width - 1) as f32, v + 0.5 * (height - 1) as f32);
                image.set(x, y, core::array::from_fn(|c| old[c] + alpha * (new[c] - old[c])));
                mask[y * base.width() + x] = f32::from(u8::from(alpha >= 0.5));
            }
        }
    }
    Anomaly { kind: Kind::Scar, image, mask }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(width: usize, height: usize) -> Picture {
        let mut rng = Rng::new(9, 0, 0);
        Picture::from_fn(width, height, |x, y| [x as f32 / width as f32, y as f32 / height as f32, rng.f32()])
    }

    #[test]
    fn areas_and_aspects_fill_their_ranges() {
        let mut rng = Rng::new(1, 0, 0);
        let (mut areas, mut aspects) = ((1.0f32, 0.0f32, 0.0f64), (9.0f32, 0.0f32, 0.0f64));
        for _ in 0..4000 {
            let (w, h) = cut_size(256, 256, &mut rng);
            let (area, aspect) = ((w * h) as f32 / 65536.0, w as f32 / h as f32);
            areas = (areas.0.min(area), areas.1.max(area), areas.2 + f64::from(area) / 4000.0);
            aspects =
                (aspects.0.min(aspect), aspects.1.max(aspect), aspects.2 + f64::from(libm::logf(aspect)) / 4000.0);
        }
        assert!((0.0193..0.022).contains(&areas.0) && (0.148..0.1515).contains(&areas.1), "{areas:?}");
        assert!((areas.2 - 0.085).abs() < 0.003, "{areas:?}");
        assert!((0.29..0.32).contains(&aspects.0) && (3.2..3.45).contains(&aspects.1), "{aspects:?}");
        assert!(aspects.2.abs() < 0.05, "{aspects:?}");
    }

    #[test]
    fn the_mask_is_the_pasted_rectangle() {
        for (w, h) in [(64, 64), (100, 20), (20, 100), (3, 2), (1, 1)] {
            let base = base(w, h);
            for draw in 0..50 {
                let a = cutpaste(&base, &mut Rng::new(2, draw, 0));
                let (mut x, mut y) = ((w, 0), (h, 0));
                for (at, _) in a.mask.iter().enumerate().filter(|&(_, &m)| m == 1.0) {
                    x = (x.0.min(at % w), x.1.max(at % w + 1));
                    y = (y.0.min(at / w), y.1.max(at / w + 1));
                }
                assert_eq!(a.mask.iter().sum::<f32>() as usize, (x.1 - x.0) * (y.1 - y.0));
                for (i, (new, old)) in a.image.planes().iter().zip(base.planes()).enumerate() {
                    assert!(a.mask[i % (w * h)] == 1.0 || new == old);
                    assert!((0.0..=1.0).contains(new));
                }
            }
        }
    }

    #[test]
    fn photometric_change_keeps_to_its_factors() {
        for draw in 0..200 {
            let mut patch = Picture::from_fn(2, 1, |x, _| [[0.3; 3], [0.5; 3]][x]);
            photometric(&mut patch, &mut Rng::new(3, draw, 0));
            let [dark, light] = [patch.get(0, 0)[0], patch.get(1, 0)[0]];
            let (mean, spread) = ((dark + light) / 2.0, light - dark);
            assert!((0.7 * 0.4..=1.3 * 0.4).contains(&mean), "{mean}");
            let contrast = spread / (0.2 * mean / 0.4);
            assert!((0.699..=1.301).contains(&contrast), "{contrast}");
        }
    }

    #[test]
    fn scars_are_thin_and_never_nothing() {
        let base = base(256, 256);
        let (mut least, mut most) = (usize::MAX, 0);
        for draw in 0..400 {
            let a = scar(&base, &mut Rng::new(4, draw, 0));
            let pixels = a.mask.iter().sum::<f32>() as usize;
            (least, most) = (least.min(pixels), most.max(pixels));
        }
        assert!((15..60).contains(&least) && (300..460).contains(&most), "{least} {most}");
        for (w, h) in [(1, 1), (2, 9), (16, 16), (40, 300)] {
            let small = self::base(w, h);
            for draw in 0..50 {
                assert!(scar(&small, &mut Rng::new(5, draw, 0)).mask.contains(&1.0), "{w}×{h}");
            }
        }
    }
}
