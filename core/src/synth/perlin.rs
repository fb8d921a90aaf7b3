//! Blobs of another texture: a Perlin mask says where, a texture says what.
//!
//! Gradient noise (Perlin, "Improving noise", SIGGRAPH 2002) on a lattice of 2ᵇ×2ᵃ cells, a and b drawn from 0..=5: with
//! unit gradients g at the corners of a cell and (u, v) inside it,
//!
//! `noise = √2 · lerp(lerp(g₀₀·(u,v), g₁₀·(u−1,v), f(u)), lerp(g₀₁·(u,v−1), g₁₁·(u−1,v−1), f(u)), f(v))`,
//! `f(t) = 6t⁵ − 15t⁴ + 10t³`, so |noise| ≤ 1.
//!
//! The noise is turned by up to ±90° and the mask is where it exceeds ½. Inside, `out = (1−β)·texture + β·image` with
//! β < 0.8. The recipe is that of DRAEM (Zavrtanik, Kristan, Skočaj, ICCV 2021), which blends photographs of textures; the
//! textures here may be photographs too or come from [`texture`](mod@super::texture).

use super::picture::Picture;
use super::{Anomaly, Kind};
use crate::rng::Rng;
use alloc::vec;
use alloc::vec::Vec;

/// Largest exponent of the number of cells along a side.
const MAX_EXPONENT: u32 = 5;
/// Noise above this is anomalous.
const THRESHOLD: f32 = 0.5;
/// Most of the image that may shine through.
const MAX_BETA: f32 = 0.8;
/// About one mask in twenty is empty, so that this many in a row happen on pictures of a few pixels only.
const DRAWS: usize = 32;

/// Gradient noise on a lattice of cells.
#[derive(Clone, Debug)]
pub struct Perlin {
    columns: usize,
    rows: usize,
    gradients: Vec<[f32; 2]>,
}

impl Perlin {
    /// Draws a gradient for each of the (columns+1)×(rows+1) corners.
    #[must_use]
    pub fn new(columns: usize, rows: usize, rng: &mut Rng) -> Self {
        let turn = |rng: &mut Rng| {
            let angle = rng.range(0.0..core::f32::consts::TAU);
            [libm::cosf(angle), libm::sinf(angle)]
        };
        Self { columns, rows, gradients: (0..(columns + 1) * (rows + 1)).map(|_| turn(rng)).collect() }
    }

    /// The noise at a place counted in cells, between −1 and 1; beyond the lattice it repeats.
    #[must_use]
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (libm::floorf(x), libm::floorf(y));
        let (u, v) = (x - left, y - top);
        let (x0, x1) = wrapped_pair(left, self.columns + 1);
        let (y0, y1) = wrapped_pair(top, self.rows + 1);
        let dot = |column: usize, row: usize, u: f32, v: f32| {
            let g = self.gradients[row * (self.columns + 1) + column];
            g[0] * u + g[1] * v
        };
        let above = lerp(dot(x0, y0, u, v), dot(x1, y0, u - 1.0, v), fade(u));
        let below = lerp(dot(x0, y1, u, v - 1.0), dot(x1, y1, u - 1.0, v - 1.0), fade(u));
        core::f32::consts::SQRT_2 * lerp(above, below, fade(v))
    }
}

/// A coordinate and its successor on a ring of `len` places.
pub(super) fn wrapped_pair(at: f32, len: usize) -> (usize, usize) {
    let first = (at as i64).rem_euclid(len as i64) as usize;
    (first, if first + 1 == len { 0 } else { first + 1 })
}

fn fade(t: f32) -> f32 {
    t * t * t * (t * (6.0 * t - 15.0) + 10.0)
}

fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Noise over a picture, turned by `degrees` about its middle; what turns in from outside is 0.
fn noise(width: usize, height: usize, degrees: f32, rng: &mut Rng) -> Vec<f32> {
    let mut exponent = || 1usize << rng.below(MAX_EXPONENT + 1);
    let (rows, columns) = (exponent(), exponent());
    let lattice = Perlin::new(columns, rows, rng);
    // Cells are whole pixels: a side that is no multiple is a part of the next power of two.
    let scale = |cells: usize, side: usize| {
        let whole = if side.is_multiple_of(cells) { side } else { side.next_power_of_two().max(cells) };
        cells as f32 / whole as f32
    };
    let (x_scale, y_scale) = (scale(columns, width), scale(rows, height));
    let (sin, cos) = (libm::sinf(degrees.to_radians()), libm::cosf(degrees.to_radians()));
    let (last_x, last_y) = ((width - 1) as f32, (height - 1) as f32);
    let mut out = vec![0.0; width * height];
    for (y, row) in out.chunks_exact_mut(width).enumerate() {
        for (x, o) in row.iter_mut().enumerate() {
            let (dx, dy) = (x as f32 - 0.5 * last_x, y as f32 - 0.5 * last_y);
            let (sx, sy) = (cos * dx + sin * dy + 0.5 * last_x, cos * dy - sin * dx + 0.5 * last_y);
            if (0.0..=last_x).contains(&sx) && (0.0..=last_y).contains(&sy) {
                *o = lattice.at(sx * x_scale, sy * y_scale);
            }
        }
    }
    out
}

/// A mask of blobs, 1 inside and 0 outside, never empty.
///
/// ```
/// use adflow::rng::Rng;
/// let mask = adflow::synth::perlin::mask(40, 30, &mut Rng::new(1, 0, 0));
/// assert!(mask.len() == 1200 && mask.contains(&1.0));
/// ```
#[must_use]
pub fn mask(width: usize, height: usize, rng: &mut Rng) -> Vec<f32> {
    let mut noise_now = Vec::new();
    for _ in 0..DRAWS {
        let degrees = rng.range(-90.0..90.0);
        noise_now = noise(width, height, degrees, rng);
        if noise_now.iter().any(|&n| n > THRESHOLD) {
            return noise_now.iter().map(|&n| f32::from(u8::from(n > THRESHOLD))).collect();
        }
    }
    // Only where a picture has fewer pixels than a lattice has cells: the highest place.
    let highest = noise_now.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    noise_now.iter().map(|&n| f32::from(u8::from(n >= highest))).collect()
}

/// Puts blobs of `texture` into `base`. The texture is resized to the picture, and grey where the picture is.
///
/// ```
/// use adflow::rng::Rng;
/// use adflow::synth::{Picture, augment, perlin, texture};
/// let good = Picture::new(64, 64, vec![0.5; 3 * 64 * 64])?;
/// let rng = &mut Rng::new(7, 0, 0);
/// let mut surface = texture(64, 64, rng); // made up; or a photograph of any surface
/// augment(&mut surface, rng);
/// let anomaly = perlin(&good, &surface, rng);
/// assert!(anomaly.image != good && anomaly.mask.contains(&1.0));
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
#[must_use]
pub fn perlin(base: &Picture, texture: &Picture, rng: &mut Rng) -> Anomaly {
    let mask = mask(base.width(), base.height(), rng);
    let beta = rng.range(0.0..MAX_BETA);
    let texture = texture.resized(base.width(), base.height());
    let grey = base.is_grey();
    let mut image = base.clone();
    for (at, _) in mask.iter().enumerate().filter(|&(_, &m)| m > 0.0) {
        let (x, y) = (at % base.width(), at / base.width());
        let (old, mut new) = (base.get(x, y), texture.get(x, y));
        if grey {
            new = [new.iter().zip(super::picture::LUMA).map(|(v, w)| v * w).sum(); 3];
        }
        image.set(x, y, core::array::from_fn(|c| (1.0 - beta) * new[c] + beta * old[c]));
    }
    Anomaly { kind: Kind::Perlin, image, mask }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_zero_on_the_lattice_and_below_one() {
        let mut rng = Rng::new(1, 0, 0);
        let lattice = Perlin::new(4, 8, &mut rng);
        for y in -3..12 {
            for x in -3..12 {
                assert_eq!(lattice.at(x as f32, y as f32), 0.0);
            }
        }
        let mut extreme = 0.0f32;
        for draw in 0..200 {
            let values = noise(256, 64, 0.0, &mut Rng::new(2, draw, 0));
            extreme = values.iter().fold(extreme, |m, n| m.max(n.abs()));
        }
        assert!(extreme <= 1.0 && extreme > 0.85, "{extreme}");
        // Continuous across cells and across the seam of the repetition.
        for i in 0..400 {
            let x = i as f32 * 0.05 - 6.0;
            assert!((lattice.at(x, 0.37) - lattice.at(x + 1e-3, 0.37)).abs() < 8e-3, "{x}");
        }
    }

    /// What a prototype of the recipe gave over 1500 draws at 256²: 5.5 % on average, 0.5 to 10 % between the quantiles of 5
    /// and 95 %, 4 to 5 % empty.
    #[test]
    fn coverage_has_the_statistics_of_the_recipe() {
        let mut shares: Vec<f64> = (0..1500)
            .map(|draw| {
                let values = noise(256, 256, 0.0, &mut Rng::new(3, draw, 0));
                values.iter().filter(|&&n| n > THRESHOLD).count() as f64 / 65536.0
            })
            .collect();
        shares.sort_by(f64::total_cmp);
        let mean = shares.iter().sum::<f64>() / 1500.0;
        let empty = shares.iter().filter(|&&s| s == 0.0).count() as f64 / 1500.0;
        let (low, high) = (shares[75], shares[1425]);
        println!("mean {mean:.4} empty {empty:.4} quantiles {low:.4} {high:.4}");
        assert!((0.05..=0.06).contains(&mean), "mean {mean}");
        assert!((0.03..=0.06).contains(&empty), "empty {empty}");
        assert!(low < 0.01 && (0.08..0.12).contains(&high), "quantiles {low} {high}");
    }

    #[test]
    fn masks_are_never_empty_whatever_the_size() {
        for draw in 0..300 {
            assert!(mask(64, 48, &mut Rng::new(4, draw, 0)).contains(&1.0));
        }
        for (w, h) in [(1, 1), (2, 1), (3, 5), (16, 16), (100, 30)] {
            for draw in 0..5 {
                let m = mask(w, h, &mut Rng::new(5, draw, 0));
                assert!(m.len() == w * h && m.contains(&1.0), "{w}×{h}");
            }
        }
    }

    #[test]
    fn only_the_mask_changes_and_grey_stays_grey() {
        let base = Picture::from_fn(40, 30, |x, y| [(x + y) as f32 / 70.0; 3]);
        let texture = Picture::from_fn(9, 9, |x, y| [x as f32 / 8.0, y as f32 / 8.0, 0.0]);
        for draw in 0..20 {
            let a = perlin(&base, &texture, &mut Rng::new(6, draw, 0));
            assert!(a.image.is_grey());
            for (i, &m) in a.mask.iter().enumerate() {
                assert!(m == 0.0 || m == 1.0);
                assert!(m == 1.0 || a.image.planes()[i] == base.planes()[i]);
            }
        }
    }
}
