//! Ground-truth masks: connected regions, and resizing that loses none of them.
//!
//! A region is a set of defective pixels connected by sides or corners (8 neighbours). Resizing averages the mask over
//! the area of each output pixel, in whole numbers, and calls it defective from one half; a thin scratch or a small hole
//! would vanish in that, so a region that leaves no trace marks the one output pixel it covers most.

use alloc::{vec, vec::Vec};

/// Numbers the regions of a `width`-wide mask from 1 in reading order of their first pixels, 0 where there is none, and
/// returns their number.
///
/// ```
/// use adflow::metrics::label_regions;
/// let mask = [true, false, false, true, true, false, false, false]; // 4×2; corners connect
/// let mut labels = [0; 8];
/// assert_eq!(label_regions(4, &mask, &mut labels), 2);
/// assert_eq!(labels, [1, 0, 0, 2, 1, 0, 0, 0]);
/// ```
///
/// # Panics
/// If `labels` is not as long as `mask`, or that is not a whole number of rows.
pub fn label_regions(width: usize, mask: &[bool], labels: &mut [u32]) -> u32 {
    assert_eq!(mask.len(), labels.len(), "labels of label_regions");
    if mask.is_empty() {
        return 0;
    }
    assert!(width > 0 && mask.len().is_multiple_of(width), "mask of label_regions is not made of rows");
    let height = mask.len() / width;
    labels.fill(0);
    let mut regions = 0;
    let mut open = Vec::new();
    for first in 0..mask.len() {
        if !mask[first] || labels[first] != 0 {
            continue;
        }
        regions += 1;
        labels[first] = regions;
        open.push(first);
        while let Some(at) = open.pop() {
            let (x, y) = (at % width, at / width);
            for v in y.saturating_sub(1)..(y + 2).min(height) {
                for u in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = v * width + u;
                    if mask[next] && labels[next] == 0 {
                        labels[next] = regions;
                        open.push(next);
                    }
                }
            }
        }
    }
    regions
}

/// Resizes a `width`×`height` mask (defective where not 0) to `to_width`×`to_height`.
///
/// An output pixel is defective if at least half of its area is. A region of which no overlapped output pixel is
/// defective marks the one it covers most, the first of equals.
///
/// ```
/// use adflow::metrics::resize_mask;
/// let scratch = [0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // one pixel of 4×4
/// assert_eq!(resize_mask(4, 4, &scratch, 2, 2), [true, false, false, false]);
/// ```
///
/// # Panics
/// If `mask` is not width·height long, or the mask is empty and the output is not.
#[must_use]
pub fn resize_mask(width: usize, height: usize, mask: &[u8], to_width: usize, to_height: usize) -> Vec<bool> {
    assert_eq!(mask.len(), width * height, "mask of resize_mask");
    let mut out = vec![false; to_width * to_height];
    if out.is_empty() {
        return out;
    }
    assert!(!mask.is_empty(), "cannot enlarge an empty mask");
    let defective: Vec<bool> = mask.iter().map(|&m| m > 0).collect();
    let mut labels = vec![0; mask.len()];
    let regions = label_regions(width, &defective, &mut labels);
    if regions == 0 {
        return out;
    }
    let columns = overlaps(width, to_width);
    let rows = overlaps(height, to_height);
    // Calls f(output pixel, overlap) for every output pixel under input pixel `at`; overlaps sum to width·height in each.
    let each = |at: usize, f: &mut dyn FnMut(usize, u64)| {
        for &(y, tall) in &rows[at / width] {
            for &(x, wide) in &columns[at % width] {
                f(y * to_width + x, tall * wide);
            }
        }
    };
    let mut covered = vec![0u64; out.len()];
    let mut pixels: Vec<usize> = (0..mask.len()).filter(|&at| labels[at] > 0).collect();
    for &at in &pixels {
        each(at, &mut |o, area| covered[o] += area);
    }
    let whole = width as u64 * height as u64;
    for (o, &c) in out.iter_mut().zip(&covered) {
        *o = 2 * c >= whole;
    }
    // The vanished: what each of them covers by itself. Stable, so pixels stay in reading order.
    let averaged = out.clone();
    pixels.sort_by_key(|&at| labels[at]);
    let mut own = covered;
    own.fill(0);
    for region in pixels.chunk_by(|&a, &b| labels[a] == labels[b]) {
        let mut seen = false;
        for &at in region {
            each(at, &mut |o, area| {
                own[o] += area;
                seen |= averaged[o];
            });
        }
        let mut most = (0, 0);
        for &at in region {
            each(at, &mut |o, _| {
                if own[o] > most.1 || (own[o] == most.1 && o < most.0) {
                    most = (o, own[o]);
                }
            });
        }
        if !seen {
            out[most.0] = true;
        }
        for &at in region {
            each(at, &mut |o, _| own[o] = 0);
        }
    }
    out
}

/// For each input pixel of an axis the output pixels over it and their common length, in units of 1/(to) input pixels.
fn overlaps(from: usize, to: usize) -> Vec<Vec<(usize, u64)>> {
    let (from, to) = (from as u64, to as u64);
    (0..from)
        .map(|i| {
            // Input pixel i is [i·to, (i+1)·to), output pixel o is [o·from, (o+1)·from).
            let (start, end) = (i * to, (i + 1) * to);
            (start / from..end.div_ceil(from))
                .map(|o| (o as usize, end.min((o + 1) * from) - start.max(o * from)))
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn picture(rows: &[&str]) -> Vec<bool> {
        rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect()
    }

    #[test]
    fn corners_connect() {
        let mask = picture(&["#..#.", ".#...", "#..##", ".....", "##..#"]);
        let mut labels = vec![9; 25];
        assert_eq!(label_regions(5, &mask, &mut labels), 5);
        assert_eq!(labels, [1, 0, 0, 2, 0, 0, 1, 0, 0, 0, 1, 0, 0, 3, 3, 0, 0, 0, 0, 0, 4, 4, 0, 0, 5]);
        assert_eq!(label_regions(0, &[], &mut []), 0);
        assert_eq!(label_regions(1, &[true, true, false, true], &mut [0; 4]), 2);
        assert_eq!(label_regions(4, &[true, true, false, true], &mut [0; 4]), 2);
    }

    #[test]
    fn a_spiral_is_one_region() {
        let mask = picture(&["#######", "......#", "#####.#", "#...#.#", "#.#.#.#", "#.###.#", "#.....#", "#######"]);
        assert_eq!(label_regions(7, &mask, &mut [0; 56]), 1);
    }

    #[test]
    fn averaging_by_area() {
        // Halves and whole multiples.
        assert_eq!(resize_mask(4, 2, &[1, 0, 9, 9, 0, 255, 0, 9], 2, 1), [true, true]);
        assert_eq!(resize_mask(2, 1, &[0, 1], 4, 2), [false, false, true, true, false, false, true, true]);
        // 3 → 2: each output pixel covers one and a half.
        assert_eq!(resize_mask(3, 1, &[1, 0, 0], 2, 1), [true, false]);
        assert_eq!(resize_mask(3, 1, &[0, 1, 0], 2, 1), [true, false]); // one third each: the first of equals
        assert_eq!(resize_mask(2, 2, &[0; 4], 3, 3), [false; 9]);
        assert_eq!(resize_mask(1, 1, &[1], 3, 2), [true; 6]);
        assert_eq!(resize_mask(0, 0, &[], 0, 5), Vec::<bool>::new());
        let same: Vec<u8> = (0..35).map(|i| u8::from(i * i % 5 < 2)).collect();
        assert!(resize_mask(7, 5, &same, 7, 5).iter().zip(&same).all(|(&a, &b)| a == (b > 0)));
    }

    #[test]
    fn no_region_vanishes() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed, 0, 0);
            let (w, h) = (1 + rng.below(40) as usize, 1 + rng.below(40) as usize);
            let (tw, th) = (1 + rng.below(20) as usize, 1 + rng.below(20) as usize);
            let mask: Vec<u8> = (0..w * h).map(|_| u8::from(rng.below(12) == 0)).collect();
            let out = resize_mask(w, h, &mask, tw, th);
            let defective: Vec<bool> = mask.iter().map(|&m| m > 0).collect();
            let mut labels = vec![0; w * h];
            let regions = label_regions(w, &defective, &mut labels);
            for region in 1..=regions {
                let traced = (0..w * h).filter(|&i| labels[i] == region).any(|i| {
                    let (x, y) = (i % w, i / w);
                    (y * th / h..((y + 1) * th).div_ceil(h))
                        .any(|v| (x * tw / w..((x + 1) * tw).div_ceil(w)).any(|u| out[v * tw + u]))
                });
                assert!(traced, "seed {seed}: region {region} of {w}×{h} lost at {tw}×{th}");
            }
        }
    }
}
