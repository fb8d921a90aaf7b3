//! Metrics of maps: every pixel of every test image, good ones included, in one ranking.
//!
//! Per-region overlap (Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021): at a threshold t, `PRO(t)` is
//! the share of a region that scores ≥ t, averaged over regions, so that a small defect counts as much as a large one.
//! AUPRO is the area under PRO over the false-positive rate up to a limit L, divided by L. Computed exactly: going down
//! the ranking, a good pixel adds 1/(good pixels) to the rate and a region's pixel adds 1/(its size · regions) to PRO;
//! equal scores move together; the last segment is cut at L by linear interpolation.

use super::mask::{label_regions, resize_mask};
use super::ranking::{Ranking, key, tagged};
use crate::image::{Plane, PlaneMut, resize_bilinear};
use alloc::{vec, vec::Vec};
use core::fmt;

/// Why an image's pixels were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricsError {
    /// A map or mask does not have width·height elements, or has none.
    Length {
        /// Elements that width and height ask for.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// The map has a NaN.
    NotANumber {
        /// Position of the value, row by row.
        index: usize,
    },
    /// More than 2³² − 1 regions.
    TooManyRegions,
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, found } => write!(f, "map or mask should have {expected} pixels, has {found}"),
            Self::NotANumber { index } => write!(f, "pixel {index} of the map is not a number"),
            Self::TooManyRegions => write!(f, "too many regions"),
        }
    }
}

impl core::error::Error for MetricsError {}

/// What the pixels of a test set say. Undefined values are NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelMetrics {
    /// Area under the ROC curve of all pixels.
    pub auroc: f64,
    /// Average precision of all pixels.
    pub average_precision: f64,
    /// Greatest F1 over thresholds.
    pub f1: f64,
    /// Smallest threshold with that F1.
    pub f1_threshold: f32,
    /// Area under the per-region overlap up to the limit, divided by the limit.
    pub aupro: f64,
    /// Number of defect regions.
    pub regions: usize,
    /// Number of defective pixels.
    pub defective: u64,
    /// Number of all pixels.
    pub pixels: u64,
}

/// The pixels of a test set, image by image: 4 bytes for a good one, 8 for a defective one.
///
/// ```
/// use adflow::metrics::Pixels;
/// let mut pixels = Pixels::new();
/// pixels.push(2, 2, &[0.9, 0.2, 0.1, 0.1], &[true, false, false, false])?; // a defect, found
/// pixels.push(2, 2, &[0.2, 0.3, 0.1, 0.0], &[])?; // a good image
/// let metrics = pixels.finish(0.3);
/// assert_eq!((metrics.auroc, metrics.aupro, metrics.regions), (1.0, 1.0, 1));
/// # Ok::<(), adflow::metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pixels {
    good: Vec<u32>,
    /// Tagged with the region.
    defects: Vec<u64>,
    /// Pixels of each region.
    sizes: Vec<u32>,
}

impl Pixels {
    /// Width and height at which [`Self::push_resized`] compares.
    pub const SIZE: usize = 256;

    /// No pixels yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { good: Vec::new(), defects: Vec::new(), sizes: Vec::new() }
    }

    /// No pixels yet, memory for `images` images of [`Self::SIZE`].
    #[must_use]
    pub fn with_capacity(images: usize) -> Self {
        Self { good: Vec::with_capacity(images.saturating_mul(Self::SIZE * Self::SIZE)), ..Self::new() }
    }

    /// Adds an image as it is. An empty mask means a good image.
    ///
    /// # Errors
    /// [`MetricsError::Length`] and [`MetricsError::NotANumber`], or [`MetricsError::TooManyRegions`]; nothing is added then.
    pub fn push(&mut self, width: usize, height: usize, map: &[f32], mask: &[bool]) -> Result<(), MetricsError> {
        check(width, height, map.len())?;
        if let Some(index) = map.iter().position(|s| s.is_nan()) {
            return Err(MetricsError::NotANumber { index });
        }
        if mask.is_empty() {
            self.good.extend(map.iter().map(|&s| key(s)));
            return Ok(());
        }
        check(width, height, mask.len())?;
        let mut labels = vec![0; mask.len()];
        let regions = label_regions(width, mask, &mut labels);
        let before = u32::try_from(self.sizes.len()).map_err(|_| MetricsError::TooManyRegions)?;
        before.checked_add(regions).ok_or(MetricsError::TooManyRegions)?;
        self.sizes.resize(self.sizes.len() + regions as usize, 0);
        for (&s, &label) in map.iter().zip(&labels) {
            if label == 0 {
                self.good.push(key(s));
            } else {
                let region = before + label - 1;
                self.sizes[region as usize] += 1;
                self.defects.push(tagged(s, region));
            }
        }
        Ok(())
    }

    /// Adds an image at 256×256: the map is resized bilinearly, the mask (defective where not 0) by area without losing
    /// a region. An empty mask means a good image.
    ///
    /// ```
    /// use adflow::metrics::Pixels;
    /// let mut pixels = Pixels::new();
    /// let (map, mut mask) = ([0.0, 0.0, 0.0, 9.0], vec![0u8; 1000 * 800]);
    /// mask[700 * 1000 + 900] = 255; // a pinhole of one pixel, kept although it is smaller than a pixel at 256×256
    /// pixels.push_resized((2, 2), &map, (1000, 800), &mask)?;
    /// let metrics = pixels.finish(0.3);
    /// assert_eq!((metrics.regions, metrics.defective), (1, 1));
    /// assert!(metrics.auroc > 0.9);
    /// # Ok::<(), adflow::metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Self::push`].
    pub fn push_resized(
        &mut self,
        (map_width, map_height): (usize, usize),
        map: &[f32],
        (mask_width, mask_height): (usize, usize),
        mask: &[u8],
    ) -> Result<(), MetricsError> {
        check(map_width, map_height, map.len())?;
        let mut resized = vec![0.0; Self::SIZE * Self::SIZE];
        resize_bilinear(Plane::new(map_width, map_height, map), PlaneMut::new(Self::SIZE, Self::SIZE, &mut resized));
        if mask.is_empty() {
            return self.push(Self::SIZE, Self::SIZE, &resized, &[]);
        }
        check(mask_width, mask_height, mask.len())?;
        let mask = resize_mask(mask_width, mask_height, mask, Self::SIZE, Self::SIZE);
        self.push(Self::SIZE, Self::SIZE, &resized, &mask)
    }

    /// Adds an image at the size of its mask: the map is resized bilinearly to it.
    ///
    /// # Errors
    /// Those of [`Self::push`], and [`MetricsError::Length`] for an empty mask.
    pub fn push_native(
        &mut self,
        (map_width, map_height): (usize, usize),
        map: &[f32],
        (mask_width, mask_height): (usize, usize),
        mask: &[u8],
    ) -> Result<(), MetricsError> {
        check(map_width, map_height, map.len())?;
        check(mask_width, mask_height, mask.len())?;
        let mut resized = vec![0.0; mask.len()];
        resize_bilinear(Plane::new(map_width, map_height, map), PlaneMut::new(mask_width, mask_height, &mut resized));
        let mask: Vec<bool> = mask.iter().map(|&m| m > 0).collect();
        self.push(mask_width, mask_height, &resized, &mask)
    }

    /// The metrics of all pixels added, AUPRO up to a false-positive rate of `limit` (usually 0.3).
    #[must_use]
    pub fn finish(self, limit: f64) -> PixelMetrics {
        let ranking = Ranking::sorted(self.good, self.defects);
        let (good, defective) = ranking.totals();
        let (f1, f1_threshold) = ranking.f1_max();
        PixelMetrics {
            auroc: ranking.auroc(),
            average_precision: ranking.average_precision(),
            f1,
            f1_threshold,
            aupro: region_overlap_area(&ranking, &self.sizes, limit),
            regions: self.sizes.len(),
            defective,
            pixels: good + defective,
        }
    }
}

fn check(width: usize, height: usize, found: usize) -> Result<(), MetricsError> {
    match width.checked_mul(height) {
        Some(expected) if expected == found && found > 0 => Ok(()),
        expected => Err(MetricsError::Length { expected: expected.unwrap_or(usize::MAX), found }),
    }
}

fn region_overlap_area(ranking: &Ranking, sizes: &[u32], limit: f64) -> f64 {
    let (good, _) = ranking.totals();
    let inside = limit > 0.0 && limit <= 1.0;
    if sizes.is_empty() || good == 0 || !inside {
        return f64::NAN;
    }
    let share: Vec<f64> = sizes.iter().map(|&s| 1.0 / (f64::from(s) * sizes.len() as f64)).collect();
    let mut curve = Curve { rate: 0.0, overlap: 0.0, area: 0.0, limit };
    for step in ranking.steps() {
        curve.to(step.good_above as f64 / good as f64, curve.overlap);
        // Tags are sorted in a step, so the order of this sum does not depend on the order of the images' pixels.
        let found: f64 = step.defects.iter().map(|&d| share[d as u32 as usize]).sum();
        curve.to((step.good_above + step.good_equal) as f64 / good as f64, curve.overlap + found);
    }
    curve.to(1.0, curve.overlap);
    curve.area / limit
}

/// The area under straight pieces, up to a limit.
struct Curve {
    rate: f64,
    overlap: f64,
    area: f64,
    limit: f64,
}

impl Curve {
    fn to(&mut self, rate: f64, overlap: f64) {
        let end = rate.min(self.limit);
        if end > self.rate {
            let part = (end - self.rate) / (rate - self.rate);
            self.area += (end - self.rate) * (self.overlap + 0.5 * part * (overlap - self.overlap));
        }
        (self.rate, self.overlap) = (rate, overlap);
    }
}

/// AUPRO up to `limit` of maps and masks that lie one after another, each `width`×`height`.
///
/// NaN if there is no region or no good pixel, lengths differ, or a map has a NaN.
///
/// ```
/// use adflow::metrics::aupro;
/// // Two defects in one image of 4×1 pixels; the map finds one of them.
/// let (map, mask) = ([0.9, 0.2, 0.1, 0.0], [true, false, false, true]);
/// assert_eq!(aupro(4, 1, &map, &mask, 0.3), 0.5);
/// ```
#[must_use]
pub fn aupro(width: usize, height: usize, maps: &[f32], masks: &[bool], limit: f64) -> f64 {
    let area = width.saturating_mul(height);
    if area == 0 || maps.len() != masks.len() || !maps.len().is_multiple_of(area) {
        return f64::NAN;
    }
    let mut pixels = Pixels::new();
    for (map, mask) in maps.chunks_exact(area).zip(masks.chunks_exact(area)) {
        if pixels.push(width, height, map, mask).is_err() {
            return f64::NAN;
        }
    }
    pixels.finish(limit).aupro
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn perfect_constant_and_random_maps() {
        let mask: Vec<bool> = (0..64 * 64).map(|i| i / 64 < 9 && i % 64 < 17 || i % 64 == 40).collect();
        let perfect: Vec<f32> = mask.iter().map(|&m| f32::from(u8::from(m))).collect();
        assert!((aupro(64, 64, &perfect, &mask, 0.3) - 1.0).abs() < 1e-12);
        assert!((aupro(64, 64, &perfect, &mask, 1.0) - 1.0).abs() < 1e-12);
        assert!((aupro(64, 64, &[0.5; 4096], &mask, 0.3) - 0.15).abs() < 1e-12);
        let mut rng = Rng::new(5, 0, 0);
        let mut pixels = Pixels::new();
        for _ in 0..30 {
            let random: Vec<f32> = mask.iter().map(|_| rng.f32()).collect();
            pixels.push(64, 64, &random, &mask).unwrap();
        }
        let m = pixels.finish(0.3);
        assert!((m.aupro - 0.15).abs() < 0.01 && (m.auroc - 0.5).abs() < 0.01, "{m:?}");
        assert_eq!((m.regions, m.pixels, m.defective), (60, 30 * 4096, 30 * (9 * 17 + 64)));
    }

    #[test]
    fn a_small_region_counts_as_much_as_a_large_one() {
        // 100 pixels found before any good pixel, 1 pixel never found before the limit.
        let mask: Vec<bool> = (0..400).map(|i| i % 20 < 10 && i / 20 < 10 || i == 399).collect();
        let map: Vec<f32> = (0..400)
            .map(|i| {
                if i == 399 {
                    -1e9
                } else if mask[i] {
                    1.0
                } else {
                    -(i as f32)
                }
            })
            .collect();
        assert!((aupro(20, 20, &map, &mask, 0.3) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn equals_the_definition_at_every_threshold() {
        for seed in 0..30 {
            let mut rng = Rng::new(seed, 1, 0);
            let (w, h, images) = (9, 7, 3);
            let mask: Vec<bool> = (0..images * w * h).map(|_| rng.below(6) == 0).collect();
            let map: Vec<f32> = mask.iter().map(|&m| (rng.below(15) + 4 * u32::from(m)) as f32).collect();
            let (mut regions, mut labels) = (Vec::new(), [0; 63]);
            for image in 0..images {
                let n = label_regions(w, &mask[image * 63..][..63], &mut labels);
                for r in 1..=n {
                    regions.push((0..63).filter(|&i| labels[i] == r).map(|i| image * 63 + i).collect::<Vec<_>>());
                }
            }
            let mut points = vec![(0.0, 0.0)];
            for threshold in (0..20).rev() {
                let above = |i: usize| map[i] >= threshold as f32;
                let share = |of: &[usize]| of.iter().filter(|&&i| above(i)).count() as f64 / of.len() as f64;
                let good: Vec<usize> = (0..mask.len()).filter(|&i| !mask[i]).collect();
                points.push((share(&good), regions.iter().map(|r| share(r)).sum::<f64>() / regions.len() as f64));
            }
            for limit in [0.05, 0.3, 1.0] {
                let mut area = 0.0;
                for p in points.windows(2) {
                    let (x0, x1) = (p[0].0.min(limit), p[1].0.min(limit));
                    let at = |x: f64| {
                        if p[1].0 > p[0].0 {
                            p[0].1 + (p[1].1 - p[0].1) * (x - p[0].0) / (p[1].0 - p[0].0)
                        } else {
                            0.0
                        }
                    };
                    area += (x1 - x0) * (at(x0) + at(x1)) / 2.0;
                }
                let got = aupro(w, h, &map, &mask, limit);
                assert!((got - area / limit).abs() < 1e-12, "seed {seed} limit {limit}: {got} {}", area / limit);
            }
        }
    }

    #[test]
    fn hostile_input_is_refused() {
        let mut p = Pixels::new();
        assert_eq!(p.push(2, 2, &[0.0; 3], &[]), Err(MetricsError::Length { expected: 4, found: 3 }));
        assert_eq!(p.push(2, 2, &[0.0; 4], &[true; 3]), Err(MetricsError::Length { expected: 4, found: 3 }));
        assert_eq!(p.push(0, 0, &[], &[]), Err(MetricsError::Length { expected: 0, found: 0 }));
        assert!(p.push(usize::MAX, 3, &[0.0; 4], &[]).is_err());
        assert_eq!(p.push(2, 1, &[0.0, f32::NAN], &[]), Err(MetricsError::NotANumber { index: 1 }));
        assert!(p.push_resized((1, 1), &[0.0], (3, 3), &[1; 8]).is_err());
        assert!(p.push_native((1, 1), &[0.0], (0, 0), &[]).is_err());
        let m = p.finish(0.3);
        assert!(m.auroc.is_nan() && m.aupro.is_nan() && m.f1.is_nan() && m.average_precision.is_nan() && m.pixels == 0);
        assert!(aupro(1, 2, &[0.0, 1.0], &[false; 2], 0.3).is_nan());
        assert!(aupro(1, 2, &[0.0, 1.0], &[true; 2], 0.3).is_nan());
        assert!(aupro(0, 0, &[], &[], 0.3).is_nan());
        for limit in [0.0, -1.0, 1.1, f64::NAN] {
            assert!(aupro(1, 2, &[0.0, 1.0], &[false, true], limit).is_nan());
        }
    }

    #[test]
    fn sizes_follow_the_convention() {
        let mut p = Pixels::new();
        let mut mask = vec![0; 600 * 500];
        mask[300 * 600 + 77] = 1; // a speck that averaging would lose
        p.push_resized((7, 5), &[1.0; 35], (600, 500), &mask).unwrap();
        p.push_resized((3, 3), &[0.0; 9], (0, 0), &[]).unwrap();
        let m = p.finish(0.3);
        assert_eq!((m.regions, m.defective, m.pixels), (1, 1, 2 * 65536));
        let mut p = Pixels::with_capacity(0);
        p.push_native((7, 5), &[1.0; 35], (600, 500), &mask).unwrap();
        assert_eq!(p.finish(0.3).pixels, 300_000);
    }
}
