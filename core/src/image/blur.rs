//! Gaussian blur of a map.
//!
//! Separable, kernel exp(−i²/2σ²) cut at ⌊4σ + ½⌋ pixels and normalised, borders reflected with the edge pixel repeated
//! (d c b a | a b c d | d c b a): `scipy.ndimage.gaussian_filter` with its defaults.

use crate::deadline::Deadline;

/// Elements of scratch that [`gaussian_blur`] needs.
#[must_use]
pub fn gaussian_blur_scratch_len(width: usize, height: usize, sigma: f32) -> usize {
    let reach = reach(sigma);
    width.saturating_mul(height).saturating_add(width).saturating_add(reach.saturating_mul(3)).saturating_add(1)
}

fn reach(sigma: f32) -> usize {
    // A float cast saturates, and NaN becomes 0.
    (4.0 * sigma + 0.5) as usize
}

/// Blurs a `height`×`width` map in place; σ in pixels. σ ≤ 0 or NaN leaves it as it is.
///
/// ```
/// use adflow::image::{gaussian_blur, gaussian_blur_scratch_len};
/// let mut map = [0.0; 9 * 9];
/// map[4 * 9 + 4] = 1.0;
/// let mut scratch = vec![0.0; gaussian_blur_scratch_len(9, 9, 1.0)];
/// gaussian_blur(9, 9, 1.0, &mut map, &mut scratch);
/// assert!(map[4 * 9 + 4] < 0.2 && map[4 * 9 + 5] > 0.05);
/// assert!((map.iter().sum::<f32>() - 1.0).abs() < 1e-5);
/// ```
///
/// # Panics
/// If `map` is not height·width long or `scratch` is shorter than [`gaussian_blur_scratch_len`].
pub fn gaussian_blur(width: usize, height: usize, sigma: f32, map: &mut [f32], scratch: &mut [f32]) {
    gaussian_blur_until(width, height, sigma, &Deadline::none(), map, scratch);
}

/// [`gaussian_blur`] until a deadline; past it the map holds anything.
///
/// # Panics
/// As [`gaussian_blur`].
pub(crate) fn gaussian_blur_until(
    width: usize,
    height: usize,
    sigma: f32,
    until: &Deadline,
    map: &mut [f32],
    scratch: &mut [f32],
) {
    assert_eq!(map.len(), width * height, "map of gaussian_blur");
    let reach = reach(sigma);
    if reach == 0 || map.is_empty() {
        return;
    }
    assert!(scratch.len() >= gaussian_blur_scratch_len(width, height, sigma), "scratch of gaussian_blur");
    let (rows, rest) = scratch.split_at_mut(width * height);
    let (kernel, padded) = rest.split_at_mut(reach + 1);
    let padded = &mut padded[..width + 2 * reach];
    let mut sum = 0.0;
    for (i, k) in kernel.iter_mut().enumerate() {
        let t = i as f64 / f64::from(sigma);
        *k = libm::exp(-0.5 * t * t) as f32;
        sum += f64::from(*k) * if i == 0 { 1.0 } else { 2.0 };
    }
    kernel.iter_mut().for_each(|k| *k = (f64::from(*k) / sum) as f32);

    for (from, to) in map.chunks_exact(width).zip(rows.chunks_exact_mut(width)) {
        if until.passed() {
            return;
        }
        for (i, p) in padded.iter_mut().enumerate() {
            *p = from[reflect(i as isize - reach as isize, width)];
        }
        to.iter_mut().zip(&padded[reach..]).for_each(|(o, p)| *o = kernel[0] * p);
        for (i, &k) in kernel.iter().enumerate().skip(1) {
            let (left, right) = (&padded[reach - i..][..width], &padded[reach + i..][..width]);
            for ((o, l), r) in to.iter_mut().zip(left).zip(right) {
                *o += k * (l + r);
            }
        }
    }
    for (y, to) in map.chunks_exact_mut(width).enumerate() {
        if until.passed() {
            return;
        }
        let row = |dy: isize| &rows[reflect(y as isize + dy, height) * width..][..width];
        to.iter_mut().zip(row(0)).for_each(|(o, p)| *o = kernel[0] * p);
        for (i, &k) in kernel.iter().enumerate().skip(1) {
            for ((o, a), b) in to.iter_mut().zip(row(-(i as isize))).zip(row(i as isize)) {
                *o += k * (a + b);
            }
        }
    }
}

/// −1 → 0, len → len − 1, and so on.
fn reflect(i: isize, len: usize) -> usize {
    let period = 2 * len as isize;
    let i = i.rem_euclid(period);
    i.min(period - 1 - i) as usize
}
