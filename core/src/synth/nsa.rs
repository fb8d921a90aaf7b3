//! Patches of another good image, blended in without a seam.
//!
//! Natural synthetic anomalies (Schlüter, Tan, Hou, Kainz, ECCV 2022): a rectangle of a second normal image is resized and
//! put into the first by Poisson blending, so that what is wrong is the content, not an edge. Which pixels are anomalous is
//! then asked of the result: those whose mean channel changed by more than 1/255, smoothed by a median of 5×5, since a patch
//! of the same texture changes nothing that could be learned. See [`patches`](super::patches) for where, and
//! [`poisson`](super::poisson) for how.

use super::patches::{Masks, Patches, Rectangle, median};
use super::picture::Picture;
use super::poisson::Membrane;
use super::{Anomaly, Kind};
use crate::rng::Rng;
use alloc::vec;
use alloc::vec::Vec;

/// Mean change of the channels that counts.
const CHANGE: f32 = 1.0 / 255.0;
/// Window of the median that smooths the mask: 5×5.
const MASK_REACH: usize = 2;

/// Blends patches of `source` into `base`. The mask is empty where that leaves nothing visible: the images are alike, or no
/// patch met the object.
#[must_use]
pub fn nsa(base: &Picture, source: &Picture, patches: &Patches, rng: &mut Rng) -> Anomaly {
    let size = (base.width(), base.height());
    let resized;
    let source = if (source.width(), source.height()) == size {
        source
    } else {
        resized = source.resized(size.0, size.1);
        &resized
    };
    let masks = patches.object.map(|object| Masks { object, source: object.mask(source), target: object.mask(base) });
    let mut image = base.clone();
    let mut pasted = vec![false; base.pixels()];
    for number in 0..patches.most {
        if number > 0 && rng.below(2) == 0 {
            continue;
        }
        let Some(transfer) = patches.draw(size, masks.as_ref(), rng) else { continue };
        let (from, to) = (transfer.from, transfer.to);
        let patch = source.part(from.x, from.y, from.width, from.height).resized(to.width, to.height);
        blend(&patch, to, &mut image);
        for y in to.y..to.y + to.height {
            pasted[y * size.0 + to.x..][..to.width].fill(true);
        }
    }
    let mut mask = changed(base, &image);
    mask.iter_mut().zip(&pasted).for_each(|(m, &p)| *m = if p { *m } else { 0.0 });
    median(size.0, &mut mask, MASK_REACH);
    mask.iter_mut().zip(&pasted).for_each(|(m, &p)| *m = if p { *m } else { 0.0 });
    Anomaly { kind: Kind::Nsa, image, mask }
}

fn blend(patch: &Picture, to: Rectangle, image: &mut Picture) {
    let width = image.width();
    let membrane = Membrane::new(to.width, to.height);
    let mut target = vec![0.0; to.width * to.height];
    for (source, plane) in patch.channels().into_iter().zip(image.channels_mut()) {
        let row_of = |y: usize| (to.y + y) * width + to.x;
        for (y, row) in target.chunks_exact_mut(to.width).enumerate() {
            row.copy_from_slice(&plane[row_of(y)..][..to.width]);
        }
        membrane.blend(source, &mut target);
        // The border is the image's own, down to the last bit, and so is all of a patch without an inside.
        for y in 1..to.height.saturating_sub(1) {
            for x in 1..to.width.saturating_sub(1) {
                plane[row_of(y) + x] = target[y * to.width + x].clamp(0.0, 1.0);
            }
        }
    }
}

/// 1 where the mean channel differs visibly.
fn changed(before: &Picture, after: &Picture) -> Vec<f32> {
    let (b, a) = (before.channels(), after.channels());
    let change = |i: usize| (0..3).map(|c| (b[c][i] - a[c][i]).abs()).sum::<f32>() / 3.0;
    (0..before.pixels()).map(|i| f32::from(u8::from(change(i) > CHANGE))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smooth, different in level and pattern for each `phase`.
    fn picture(phase: f32) -> Picture {
        Picture::from_fn(96, 80, |x, y| {
            let (x, y) = (x as f32 * 0.03, y as f32 * 0.04);
            let wave = |k: f32| 0.5 + 0.2 * libm::sinf(k * x + phase) * libm::cosf(k * y - phase);
            [wave(0.5), wave(0.7), wave(0.9)]
        })
    }

    #[test]
    fn only_patches_change_and_the_mask_says_where() {
        let (base, source) = (picture(0.0), picture(2.0));
        let mut shares = 0.0;
        for draw in 0..60 {
            let a = nsa(&base, &source, &Patches::default(), &mut Rng::new(1, draw, 0));
            let share = a.mask.iter().sum::<f32>() / a.mask.len() as f32;
            shares += share / 60.0;
            for (i, &m) in a.mask.iter().enumerate() {
                let (x, y) = (i % 96, i / 96);
                let (old, new) = (base.get(x, y), a.image.get(x, y));
                let change = (0..3).map(|c| (old[c] - new[c]).abs()).sum::<f32>() / 3.0;
                assert!(m == 1.0 || m == 0.0);
                // Far from any marked pixel nothing changed visibly.
                let near = (y.saturating_sub(4)..(y + 5).min(80))
                    .any(|y| a.mask[y * 96 + x.saturating_sub(4)..y * 96 + (x + 5).min(96)].contains(&1.0));
                assert!(near || change <= 2.0 * CHANGE, "draw {draw} at ({x}, {y}): {change}");
                assert!(new.iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }
        assert!((0.03..0.25).contains(&shares), "{shares}");
    }

    #[test]
    fn there_is_no_seam() {
        let (base, source) = (picture(0.0), picture(2.0));
        let step = |p: &Picture| {
            let [plane, ..] = p.channels();
            let across = (0..80 * 96).filter(|i| i % 96 < 95).map(|i| (plane[i] - plane[i + 1]).abs());
            let down = (0..79 * 96).map(|i| (plane[i] - plane[i + 96]).abs());
            across.chain(down).fold(0.0, f32::max)
        };
        let natural = step(&base).max(step(&source));
        for draw in 0..60 {
            let a = nsa(&base, &source, &Patches::default(), &mut Rng::new(2, draw, 0));
            // Patches shrunk to 0.7 are steeper by 1/0.7.
            let extra = step(&a.image) - natural / 0.7;
            assert!(extra < 2.0 / 255.0, "draw {draw}: {}", extra * 255.0);
        }
    }

    #[test]
    fn the_same_flat_image_gives_an_empty_mask() {
        let flat = Picture::from_fn(40, 40, |_, _| [0.5; 3]);
        let a = nsa(&flat, &flat, &Patches::default(), &mut Rng::new(3, 0, 0));
        assert!(a.mask.iter().all(|&m| m == 0.0));
        assert!(a.image.planes().iter().all(|v| (v - 0.5).abs() < 1e-6));
    }

    #[test]
    fn sizes_may_differ_and_may_be_tiny() {
        for (w, h) in [(1, 1), (2, 5), (3, 3), (30, 4)] {
            let small = Picture::from_fn(w, h, |x, y| [(x + y) as f32 / 40.0; 3]);
            for draw in 0..20 {
                let a = nsa(&small, &picture(1.0), &Patches::default(), &mut Rng::new(4, draw, 0));
                assert_eq!((a.image.width(), a.image.height(), a.mask.len()), (w, h, w * h));
            }
        }
    }
}
