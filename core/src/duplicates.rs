//! Which images show the same part, so that they are held out together.
//!
//! A part photographed six times under different exposures gives six images that are not independent. If some are trained
//! on and others held out, the held-out ones look better than a new part will, and the threshold comes out too low. So
//! siblings are found first ([`groups`]) and held out together ([`hold_out`]).
//!
//! What makes two images siblings is not that they are alike (all good parts are) but that they are alike *where these
//! parts differ*. Thumbnails of 16×16 grey pixels are brought to zero mean and unit length, which removes exposure, then
//! the mean thumbnail is subtracted and the rest whitened by the covariance of all thumbnails, Σ + λ·(tr Σ/256)·I with
//! λ = 128/N, as fewer images say less about Σ. Siblings then have a cosine near 1, others near 0. Pairs above 0.45 are
//! joined from the most alike on, unless the mean cosine between the two groups is below 0.7·0.45: a limit against chains.
//!
//! Measured on the 952 good images of MTD (each tile under six exposures; by the file numbers, 2369 pairs show the same
//! tile): of the pairs put in one group 0.79 are such pairs, of such pairs 0.93 are in one group, and 80 of the 926 images
//! with siblings have one outside their group; 0.15 s. Normalised cross-correlation of the same thumbnails, with the best
//! threshold in hindsight, reaches 0.85 and 0.65. The precision is better than it looks: of twelve wrong pairs looked at, eight
//! plainly show one tile photographed again later, which file numbers do not tell. Of fewer parts (10 to 80 of the tiles)
//! 0.85 to 1 and 0.93 to 0.98. The settings were chosen on these same images, so expect somewhat less elsewhere.
//!
//! Too large a group costs a little of the training data; too small a one costs the threshold its honesty.

use crate::image::Preprocess;
use crate::linalg::{Moments, add_to_diagonal, cholesky, invert_lower};
use crate::rng::Rng;
use alloc::{vec, vec::Vec};

/// Width and height of a thumbnail.
pub const SIZE: u32 = 16;
/// Elements of a thumbnail.
pub const LEN: usize = (SIZE * SIZE) as usize;

/// Least cosine of siblings.
const ALIKE: f32 = 0.45;
/// Part of `ALIKE` that the mean cosine between two groups must reach.
const LINK: f32 = 0.7;
/// λ·N.
const PRIOR: f64 = 0.5 * LEN as f64;
/// Earlier images an image can be joined to directly; bounds memory at 16 pairs an image.
const NEAREST: usize = 16;

/// How to make a thumbnail of an image: 16×16, grey.
#[must_use]
pub const fn thumbnail() -> Preprocess {
    Preprocess::new(SIZE, 1)
}

/// The group of each of `thumbnails.len()/LEN` images, numbered from 0 in order of first appearance.
///
/// Takes time proportional to the square of the number of images: 0.1 s for a thousand. A thumbnail with NaN is alone.
///
/// ```
/// use adflow::Image;
/// use adflow::duplicates::{LEN, groups, hold_out, thumbnail};
///
/// // Ten parts, each photographed twice: the second time under a brighter light.
/// let pixel = |p: u32, part: u32| (p + 977 * part).wrapping_mul(0x9E37_79B1) >> 26;
/// let photograph = |n: u32| (0..32 * 32).map(|p| (pixel(p / 8, n / 2) * (2 + n % 2)) as u8).collect();
/// let images = (0..20).map(|n| Image::grey(32, 32, photograph(n))).collect::<Result<Vec<_>, _>>()?;
///
/// let small = thumbnail();
/// let mut thumbnails = vec![0.0; images.len() * LEN];
/// let mut scratch = vec![0.0; small.scratch_len(32, 32)];
/// for (image, out) in images.iter().zip(thumbnails.chunks_exact_mut(LEN)) {
///     small.apply(&image.view(), &mut scratch, out)?;
/// }
/// let groups = groups(&thumbnails);
/// assert_eq!(groups[..6], [0, 0, 1, 1, 2, 2]);
/// let held = hold_out(&groups, 0.2, 0);
/// assert!((0..10).all(|part| held[2 * part] == held[2 * part + 1]), "both photographs of a part, or neither");
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
///
/// # Panics
/// If `thumbnails` is not a whole number of thumbnails long.
#[must_use]
pub fn groups(thumbnails: &[f32]) -> Vec<u32> {
    assert!(thumbnails.len().is_multiple_of(LEN), "thumbnails are not 16×16");
    let codes = whiten(thumbnails);
    let codes = codes.as_chunks::<LEN>().0;
    let mut pairs: Vec<(f32, u32, u32)> = Vec::new();
    let mut nearest: Vec<(f32, u32, u32)> = Vec::new();
    for (i, code) in codes.iter().enumerate() {
        nearest.clear();
        for (j, other) in codes[..i].iter().enumerate() {
            let cosine = dot(code, other);
            if cosine >= ALIKE {
                nearest.push((cosine, i as u32, j as u32));
            }
        }
        nearest.sort_unstable_by(most_alike_first);
        pairs.extend(nearest.iter().take(NEAREST));
    }
    pairs.sort_unstable_by(most_alike_first);

    // Union-find; a root carries the sum of its members' codes, so that the mean cosine between two groups is one product.
    let mut parent: Vec<u32> = (0..codes.len() as u32).collect();
    let mut members = vec![1.0f32; codes.len()];
    let mut sums = codes.to_vec();
    for &(_, i, j) in &pairs {
        let (a, b) = (root(&mut parent, i) as usize, root(&mut parent, j) as usize);
        if a == b || dot(&sums[a], &sums[b]) < LINK * ALIKE * members[a] * members[b] {
            continue;
        }
        let (first, second) = (a.min(b), a.max(b));
        parent[second] = first as u32;
        members[first] += members[second];
        let added = sums[second];
        sums[first].iter_mut().zip(added).for_each(|(s, a)| *s += a);
    }
    // Roots are the first of their group.
    let mut next = 0;
    let mut numbers = vec![0; codes.len()];
    for i in 0..codes.len() {
        let root = root(&mut parent, i as u32) as usize;
        if root == i {
            numbers[i] = next;
            next += 1;
        } else {
            numbers[i] = numbers[root];
        }
    }
    numbers
}

/// Chooses about the share `share` of images to hold out, whole groups at a time, at random by `seed`: `true` for held out.
///
/// Never more than the share, unless the smallest group is; never everything; nothing if `share` is not above 0 or there
/// is only one group.
#[must_use]
pub fn hold_out(groups: &[u32], share: f64, seed: u64) -> Vec<bool> {
    let mut held = vec![false; groups.len()];
    let count = groups.iter().max().map_or(0, |&last| last as usize + 1);
    // A group number beyond the number of images cannot come from `groups`.
    if count < 2 || count > groups.len() || share.is_nan() || share <= 0.0 {
        return held;
    }
    let mut sizes = vec![0usize; count];
    groups.iter().for_each(|&g| sizes[g as usize] += 1);
    let mut order = vec![0; count];
    Rng::new(seed, 0, 0).permutation(&mut order);
    let wanted = libm::round(share.min(1.0) * groups.len() as f64) as usize;
    let (mut chosen, mut taken, mut kept) = (vec![false; count], 0, count);
    for &g in &order {
        let size = sizes[g as usize];
        if kept > 1 && size > 0 && taken + size <= wanted {
            chosen[g as usize] = true;
            taken += size;
            kept -= 1;
        }
    }
    if taken == 0 {
        let smallest = order.iter().filter(|&&g| sizes[g as usize] > 0).min_by_key(|&&g| sizes[g as usize]);
        if let Some(&g) = smallest {
            chosen[g as usize] = true;
        }
    }
    held.iter_mut().zip(groups).for_each(|(h, &g)| *h = chosen[g as usize]);
    held
}

/// Unit vectors in which siblings are near each other and all else is near orthogonal; zeros where there is nothing to say.
fn whiten(thumbnails: &[f32]) -> Vec<f32> {
    let mut codes = thumbnails.to_vec();
    let mut moments = Moments::new(LEN);
    for code in codes.as_chunks_mut::<LEN>().0 {
        // One NaN would spoil the covariance.
        if !code.iter().all(|v| v.is_finite()) {
            code.fill(f32::NAN);
            continue;
        }
        centre(code);
        moments.push(code);
    }
    let mean = moments.mean();
    let mut factor = moments.covariance(0);
    let trace: f64 = factor.iter().step_by(LEN + 1).sum();
    let lambda = PRIOR / moments.count() as f64;
    add_to_diagonal(LEN, lambda * trace / LEN as f64, &mut factor);
    if trace <= 0.0 || cholesky(LEN, &mut factor).is_err() {
        // All alike: one group.
        codes.as_chunks_mut::<LEN>().0.iter_mut().for_each(|code| {
            let usable = !code[0].is_nan();
            code.fill(0.0);
            code[0] = f32::from(u8::from(usable));
        });
        return codes;
    }
    let mut inverse = vec![0.0; LEN * LEN];
    invert_lower(LEN, &factor, &mut inverse);
    let inverse: Vec<f32> = inverse.iter().map(|&v| v as f32).collect();
    let mean: [f32; LEN] = core::array::from_fn(|i| mean[i] as f32);
    for code in codes.as_chunks_mut::<LEN>().0 {
        let centred: [f32; LEN] = core::array::from_fn(|i| code[i] - mean[i]); // NaN becomes zeros in `unit`
        for (o, row) in code.iter_mut().zip(inverse.as_chunks::<LEN>().0) {
            *o = dot(row, &centred);
        }
        unit(code);
    }
    codes
}

/// Zero mean and unit length, which removes brightness and contrast; zeros for a flat or unusable thumbnail.
fn centre(code: &mut [f32; LEN]) {
    let mean = code.iter().map(|&v| f64::from(v)).sum::<f64>() / LEN as f64;
    code.iter_mut().for_each(|v| *v = (f64::from(*v) - mean) as f32);
    unit(code);
}

fn unit(code: &mut [f32; LEN]) {
    let square = code.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let scale = if square > 1e-12 && square.is_finite() { 1.0 / libm::sqrt(square) } else { 0.0 };
    code.iter_mut().for_each(|v| *v = if scale > 0.0 { (f64::from(*v) * scale) as f32 } else { 0.0 });
}

fn dot(a: &[f32; LEN], b: &[f32; LEN]) -> f32 {
    let mut lanes = [0.0; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for k in 0..16 {
            lanes[k] += a[k] * b[k];
        }
    }
    lanes.iter().sum()
}

fn most_alike_first(a: &(f32, u32, u32), b: &(f32, u32, u32)) -> core::cmp::Ordering {
    b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
}

fn root(parent: &mut [u32], mut i: u32) -> u32 {
    while parent[i as usize] != i {
        let above = parent[parent[i as usize] as usize];
        parent[i as usize] = above;
        i = above;
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `parts` parts with `shots` thumbnails each: a common object, what is the part's own, exposure and noise.
    fn scene(parts: usize, shots: usize, noise: f64, seed: u64) -> Vec<f32> {
        let smooth = |rng: &mut Rng| -> Vec<f64> {
            let grid: Vec<f64> = (0..81).map(|_| rng.normal()).collect();
            (0..LEN).map(|i| grid[i / 32 * 9 + i % 16 / 2] + 0.3 * rng.normal()).collect()
        };
        let mut rng = Rng::new(seed, 0, 0);
        let object = smooth(&mut rng);
        let mut out = Vec::new();
        for _ in 0..parts {
            let own = smooth(&mut rng);
            for shot in 0..shots {
                let exposure = 0.1 + 0.05 * shot as f64;
                out.extend(
                    (0..LEN).map(|i| (exposure * (5.0 + object[i] + 0.15 * own[i] + noise * rng.normal())) as f32),
                );
            }
        }
        out
    }

    fn is_true(groups: &[u32], shots: usize) -> bool {
        groups.iter().enumerate().all(|(i, &g)| g as usize == i / shots)
    }

    #[test]
    fn exposures_of_a_part_are_one_group_though_all_parts_are_alike() {
        for (parts, shots) in [(40, 6), (25, 2), (100, 3), (60, 1), (300, 1)] {
            let groups = groups(&scene(parts, shots, 0.03, 7));
            assert!(is_true(&groups, shots), "{parts} parts, {shots} shots: {groups:?}");
        }
    }

    #[test]
    fn the_order_of_images_decides_numbers_only() {
        let thumbnails = scene(30, 3, 0.03, 8);
        let mut order = [0; 90];
        Rng::new(1, 0, 0).permutation(&mut order);
        let shuffled: Vec<f32> =
            order.iter().flat_map(|&i| thumbnails[i as usize * LEN..][..LEN].iter().copied()).collect();
        let groups = groups(&shuffled);
        assert_eq!(groups[0], 0);
        for a in 0..90 {
            for b in 0..90 {
                assert_eq!(groups[a] == groups[b], order[a] / 3 == order[b] / 3);
            }
        }
    }

    #[test]
    fn a_slow_drift_is_not_one_group() {
        // Each image is like the next, the first and the last have nothing in common.
        let (mut from, mut to) = (scene(1, 1, 0.0, 1), scene(1, 1, 0.0, 2));
        centre(from.as_chunks_mut().0.first_mut().unwrap());
        centre(to.as_chunks_mut().0.first_mut().unwrap());
        let mut rng = Rng::new(3, 0, 0);
        let thumbnails: Vec<f32> = (0..200)
            .flat_map(|k| {
                let t = k as f32 / 199.0;
                (0..LEN).map(|i| from[i] * (1.0 - t) + to[i] * t + 0.002 * rng.normal() as f32).collect::<Vec<_>>()
            })
            .collect();
        let groups = groups(&thumbnails);
        let largest = (0..200).map(|g| groups.iter().filter(|&&x| x == g).count()).max().unwrap();
        assert!(largest < 120, "a group of {largest} of 200");
    }

    #[test]
    fn hostile_thumbnails() {
        assert!(groups(&[]).is_empty());
        assert_eq!(groups(&[0.3; LEN]), [0]);
        assert_eq!(groups(&[0.3; 3 * LEN]), [0, 0, 0]);
        let same: Vec<f32> = scene(1, 1, 0.0, 5).repeat(4);
        assert_eq!(groups(&same), [0; 4]);
        let mut thumbnails = scene(40, 2, 0.03, 9);
        thumbnails[5] = f32::NAN;
        thumbnails[LEN * 3 + 5] = f32::INFINITY;
        let groups = groups(&thumbnails);
        assert_eq!(groups.len(), 80);
        assert_eq!(groups[10], groups[11]);
        for alone in [0, 3] {
            assert_eq!(groups.iter().filter(|&&g| g == groups[alone]).count(), 1);
        }
        assert_eq!(super::groups(&[f32::NAN; 2 * LEN]), [0, 1]);
    }

    #[test]
    fn groups_are_held_out_whole() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed, 2, 0);
            let n = 1 + rng.below(200) as usize;
            let mut groups: Vec<u32> = Vec::new();
            while groups.len() < n {
                let next = groups.last().map_or(0, |g| g + 1);
                groups.extend((0..=rng.below(6)).map(|_| next));
            }
            for share in [0.0, 0.05, 0.1, 0.5, 1.0, 7.0, f64::NAN] {
                let held = hold_out(&groups, share, seed);
                for a in 0..groups.len() {
                    for b in 0..groups.len() {
                        assert!(groups[a] != groups[b] || held[a] == held[b]);
                    }
                }
                let count = held.iter().filter(|&&h| h).count();
                if groups[groups.len() - 1] == 0 || share.is_nan() || share <= 0.0 {
                    assert_eq!(count, 0);
                } else {
                    assert!(count > 0 && count < groups.len(), "{count} of {} at {share}", groups.len());
                    assert!(count as f64 <= share * groups.len() as f64 + 0.5 || count <= 6);
                }
                assert_eq!(held, hold_out(&groups, share, seed));
            }
        }
        assert!(hold_out(&[], 0.1, 0).is_empty());
        assert_eq!(hold_out(&[9, 9], 0.5, 0), [false, false]);
    }
}
