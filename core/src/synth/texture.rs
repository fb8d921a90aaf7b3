//! Textures out of nothing, for those who have no folder of photographs of textures.
//!
//! A random scalar field — clouds, marble, stripes, cells, cracks, weave or grain — is turned, stretched to 0..1 and sent
//! through a gradient of two to five random colours; fine grain is added. Clouds are octaves of [`Perlin`] noise, cells and
//! cracks come from the nearest and second nearest of scattered points (Worley, "A cellular texture basis function",
//! SIGGRAPH 1996).

use super::perlin::{Perlin, wrapped_pair};
use super::picture::Picture;
use crate::rng::Rng;
use alloc::vec;
use alloc::vec::Vec;

/// Cells along a side of the lattices; fields are looked up at a scale of their own, and repeat.
const LATTICE: usize = 64;
/// Most grain, as a part of the range.
const MOST_GRAIN: f32 = 0.15;

/// What a texture looks like before it has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Octaves of noise.
    Clouds,
    /// Waves bent by noise.
    Marble,
    /// Straight stripes of two widths.
    Stripes,
    /// Distance to the nearest of scattered points.
    Cells,
    /// The lines between cells.
    Cracks,
    /// Threads over and under each other.
    Weave,
    /// Specks of a few pixels.
    Grain,
}

impl Pattern {
    /// All patterns.
    pub const ALL: [Self; 7] =
        [Self::Clouds, Self::Marble, Self::Stripes, Self::Cells, Self::Cracks, Self::Weave, Self::Grain];
}

/// A texture of any pattern with any colours.
#[must_use]
pub fn texture(width: usize, height: usize, rng: &mut Rng) -> Picture {
    let pattern = Pattern::ALL[rng.below(Pattern::ALL.len() as u32) as usize];
    textured(pattern, width, height, rng)
}

/// A texture of one pattern with any colours.
#[must_use]
pub fn textured(pattern: Pattern, width: usize, height: usize, rng: &mut Rng) -> Picture {
    let field = field(pattern, width, height, rng);
    let colours: Vec<[f32; 3]> = (0..2 + rng.below(4)).map(|_| [rng.f32(), rng.f32(), rng.f32()]).collect();
    let grain = rng.range(0.0..MOST_GRAIN);
    Picture::from_fn(width, height, |x, y| {
        let at = field[y * width + x] + grain * (rng.f32() - 0.5);
        gradient(&colours, at)
    })
}

/// A point of a gradient whose colours lie evenly between 0 and 1.
fn gradient(colours: &[[f32; 3]], at: f32) -> [f32; 3] {
    let at = at.clamp(0.0, 1.0) * (colours.len() - 1) as f32;
    let i = (at as usize).min(colours.len() - 2);
    let t = at - i as f32;
    core::array::from_fn(|c| colours[i][c] + (colours[i + 1][c] - colours[i][c]) * t)
}

/// A field stretched to 0..1.
fn field(pattern: Pattern, width: usize, height: usize, rng: &mut Rng) -> Vec<f32> {
    let angle = rng.range(0.0..core::f32::consts::TAU);
    let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
    // Periods over the picture, most often few: uniform in the logarithm.
    let frequency = 4.0 * libm::expf(rng.range(0.0..libm::logf(8.0)));
    let shift = [rng.range(0.0..LATTICE as f32), rng.range(0.0..LATTICE as f32)];
    let noise = Perlin::new(LATTICE, LATTICE, rng);
    let (bend, share) = (rng.range(0.3..2.0), rng.range(0.2..0.8));
    let points = match pattern {
        Pattern::Cells | Pattern::Cracks => Points::new(rng),
        _ => Points::default(),
    };
    let wave = |t: f32| 0.5 + 0.5 * libm::sinf(core::f32::consts::TAU * t);
    let clouds = |x: f32, y: f32| {
        (0..5).map(|o| noise.at(x * (1 << o) as f32, y * (1 << o) as f32) / (1 << o) as f32).sum::<f32>()
    };
    let unit = frequency / width.max(height) as f32;
    let mut out = vec![0.0; width * height];
    for (i, o) in out.iter_mut().enumerate() {
        let (px, py) = ((i % width) as f32 * unit, (i / width) as f32 * unit);
        let (x, y) = (cos * px + sin * py + shift[0], cos * py - sin * px + shift[1]);
        *o = match pattern {
            Pattern::Clouds => clouds(x, y),
            Pattern::Marble => wave(0.5 * x + bend * clouds(0.5 * x, 0.5 * y)),
            Pattern::Stripes => (8.0 * (wave(x) - share)).clamp(-1.0, 1.0) + 0.3 * wave(0.37 * x),
            Pattern::Cells => points.nearest(x, y)[0],
            Pattern::Cracks => {
                let [first, second] = points.nearest(x, y);
                ((second - first) * 6.0).min(1.0) + 0.2 * noise.at(x, y)
            }
            Pattern::Weave => {
                let (column, row) = (libm::floorf(x), libm::floorf(y));
                let over = (column + row) as i64 & 1 == 0;
                let thread = |t: f32| libm::sinf(core::f32::consts::PI * t);
                let (u, v) = (thread(x - column), thread(y - row));
                if over { 0.6 * u + 0.4 * v } else { 0.4 * (1.0 - u) + 0.3 * v }
            }
            Pattern::Grain => noise.at(8.0 * x, 8.0 * y) + 0.5 * noise.at(23.0 * x, 23.0 * y),
        };
    }
    let (low, high) = out.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |m, &v| (m.0.min(v), m.1.max(v)));
    let span = (high - low).max(f32::MIN_POSITIVE);
    out.iter_mut().for_each(|v| *v = (*v - low) / span);
    out
}

/// One scattered point in each cell of a lattice that repeats.
#[derive(Default)]
struct Points {
    offsets: Vec<[f32; 2]>,
}

impl Points {
    fn new(rng: &mut Rng) -> Self {
        Self { offsets: (0..LATTICE * LATTICE).map(|_| [rng.f32(), rng.f32()]).collect() }
    }

    /// Distances to the nearest and the second nearest point.
    fn nearest(&self, x: f32, y: f32) -> [f32; 2] {
        let mut best = [f32::INFINITY; 2];
        for dy in -1..=1i8 {
            for dx in -1..=1i8 {
                let (column, row) = (libm::floorf(x) + f32::from(dx), libm::floorf(y) + f32::from(dy));
                let at = wrapped_pair(row, LATTICE).0 * LATTICE + wrapped_pair(column, LATTICE).0;
                let (u, v) = (column + self.offsets[at][0] - x, row + self.offsets[at][1] - y);
                let distance = libm::sqrtf(u * u + v * v);
                if distance < best[0] {
                    best = [distance, best[0]];
                } else if distance < best[1] {
                    best[1] = distance;
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_varies_and_stays_in_range() {
        for (number, pattern) in Pattern::ALL.into_iter().enumerate() {
            for draw in 0..12 {
                let f = field(pattern, 96, 64, &mut Rng::new(1, draw, number as u32));
                let (low, high) = f.iter().fold((9.0f32, -9.0f32), |m, &v| (m.0.min(v), m.1.max(v)));
                assert!(low == 0.0 && (high - 1.0).abs() < 1e-6, "{pattern:?}");
                let mean = f.iter().sum::<f32>() / f.len() as f32;
                let deviation = f.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / f.len() as f32;
                assert!(deviation > 0.05 * 0.05, "{pattern:?} {deviation}");
                let p = textured(pattern, 96, 64, &mut Rng::new(1, draw, number as u32));
                assert!(p.planes().iter().all(|v| (0.0..=1.0).contains(v)), "{pattern:?}");
            }
        }
        assert_eq!(texture(1, 1, &mut Rng::new(2, 0, 0)).planes().len(), 3);
    }

    #[test]
    fn gradients_pass_through_their_colours() {
        let colours = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        assert_eq!(gradient(&colours, 0.0), colours[0]);
        assert_eq!(gradient(&colours, 0.5), colours[1]);
        assert_eq!(gradient(&colours, 2.0), colours[2]);
        assert_eq!(gradient(&colours, 0.25), [0.5, 0.0, 0.5]);
    }
}
