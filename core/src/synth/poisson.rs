//! Seamless blending: a patch keeps its gradients and takes its level from the surroundings.
//!
//! Poisson image editing (Pérez, Gangnet, Blake, SIGGRAPH 2003): with source s and destination d, find f on a rectangle with
//! Δf = Δs inside and f = d on its border of one pixel. Then u = f − s is harmonic, Δu = 0, and equals d − s on the border:
//! a membrane, which [`Membrane::fill`] finds directly instead of by iterations.
//!
//! Along a row, sines diagonalise the 5-point Laplacian: with û_k(y) = Σ_x u(y,x)·sin(πkx/(m+1)), each frequency k is an
//! equation between neighbouring rows alone, `−û(y−1) + (4 − 2cos(πk/(m+1)))·û(y) − û(y+1) = border term`, and elimination
//! solves it. What remains is one sum of m sines for each of n·m pixels.

use alloc::vec;
use alloc::vec::Vec;

/// Harmonic functions on a rectangle of one size, from their values on its border: patches without a seam.
///
/// ```
/// use adflow::synth::poisson::Membrane;
/// // A border that rises from left to right makes an inside that does.
/// let mut plane: Vec<f32> = (0..5 * 4).map(|i| (i % 5) as f32).collect();
/// (1..3).for_each(|y| plane[5 * y + 1..5 * y + 4].fill(0.0));
/// Membrane::new(5, 4).fill(&mut plane);
/// assert!((plane[5 + 2] - 2.0).abs() < 1e-5);
/// ```
#[derive(Debug)]
pub struct Membrane {
    /// Columns and rows inside the border.
    m: usize,
    n: usize,
    /// sin(πkx/(m+1)) for k, x in 1..=m.
    sines: Vec<f32>,
}

impl Membrane {
    /// Prepares for rectangles of `width`×`height` pixels, the border of one pixel included.
    #[must_use]
    pub fn new(width: usize, height: usize) -> Self {
        let (m, n) = (width.saturating_sub(2), height.saturating_sub(2));
        let one_turn = 2 * (m + 1);
        let sine = |i: usize| libm::sin(core::f64::consts::TAU * i as f64 / one_turn as f64) as f32;
        let wave: Vec<f32> = (0..one_turn).map(sine).collect();
        let sines = (1..=m).flat_map(|k| (1..=m).map(move |x| (k, x))).map(|(k, x)| wave[k * x % one_turn]).collect();
        Self { m, n, sines }
    }

    /// Fills the inside of `plane`, height×width values, with what solves u(x−1) + u(x+1) + u(y−1) + u(y+1) = 4u there; its
    /// border is read and kept.
    ///
    /// # Panics
    /// If `plane` has not the size that was prepared for.
    pub fn fill(&self, plane: &mut [f32]) {
        let (m, n, width) = (self.m, self.n, self.m + 2);
        if m == 0 || n == 0 {
            return;
        }
        assert_eq!(plane.len(), width * (n + 2), "plane of Membrane::fill");
        // Row y of `spectrum` holds û_k(y) for all k: first the border terms, then the forward sweep, then the solution.
        let mut spectrum = vec![0.0f64; n * m];
        for (y, row) in spectrum.chunks_exact_mut(m).enumerate() {
            let line = &plane[(y + 1) * width..][..width];
            let (left, right) = (f64::from(line[0]), f64::from(line[width - 1]));
            for (k, r) in row.iter_mut().enumerate() {
                *r = f64::from(self.sines[k * m]) * left + f64::from(self.sines[k * m + m - 1]) * right;
            }
        }
        for (border, y) in [(0, 0), (n + 1, n - 1)] {
            let line = &plane[border * width + 1..][..m];
            for (k, sines) in self.sines.chunks_exact(m).enumerate() {
                let term: f64 = sines.iter().zip(line).map(|(&s, &v)| f64::from(s) * f64::from(v)).sum();
                spectrum[y * m + k] += term;
            }
        }
        let diagonal = |k: usize| 4.0 - 2.0 * libm::cos(core::f64::consts::PI * (k + 1) as f64 / (m + 1) as f64);
        let diagonals: Vec<f64> = (0..m).map(diagonal).collect();
        // Thomas' elimination; `pivots` are the diagonals left after it.
        let mut pivots = vec![0.0f64; n * m];
        pivots[..m].copy_from_slice(&diagonals);
        for y in 1..n {
            for k in 0..m {
                let above = pivots[(y - 1) * m + k];
                pivots[y * m + k] = diagonals[k] - 1.0 / above;
                spectrum[y * m + k] += spectrum[(y - 1) * m + k] / above;
            }
        }
        for y in (0..n).rev() {
            for k in 0..m {
                let below = if y + 1 < n { spectrum[(y + 1) * m + k] } else { 0.0 };
                spectrum[y * m + k] = (spectrum[y * m + k] + below) / pivots[y * m + k];
            }
        }
        let scale = 2.0 / (m + 1) as f64;
        for (y, row) in spectrum.chunks_exact(m).enumerate() {
            let inside = &mut plane[(y + 1) * width + 1..][..m];
            inside.fill(0.0);
            for (&amplitude, sines) in row.iter().zip(self.sines.chunks_exact(m)) {
                let amplitude = (amplitude * scale) as f32;
                inside.iter_mut().zip(sines).for_each(|(o, s)| *o += amplitude * s);
            }
        }
    }

    /// Blends `source` into `target`, both height×width values: Δf = Δ`source` inside, `target` on the border.
    pub fn blend(&self, source: &[f32], target: &mut [f32]) {
        target.iter_mut().zip(source).for_each(|(t, s)| *t -= s);
        self.fill(target);
        target.iter_mut().zip(source).for_each(|(t, s)| *t += s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The obvious way: average the neighbours until nothing changes.
    fn relaxed(width: usize, height: usize, plane: &[f32]) -> Vec<f64> {
        let mut u: Vec<f64> = plane.iter().map(|&v| f64::from(v)).collect();
        for y in 1..height - 1 {
            u[y * width + 1..(y + 1) * width - 1].fill(0.5);
        }
        loop {
            let mut change = 0.0f64;
            for y in 1..height - 1 {
                for x in 1..width - 1 {
                    let i = y * width + x;
                    let next = 0.25 * (u[i - 1] + u[i + 1] + u[i - width] + u[i + width]);
                    change = change.max((next - u[i]).abs());
                    u[i] = next;
                }
            }
            if change < 1e-10 {
                return u;
            }
        }
    }

    #[test]
    fn the_direct_solution_is_the_relaxed_one() {
        let mut rng = Rng::new(1, 0, 0);
        for (w, h) in [(3, 3), (4, 3), (3, 7), (8, 5), (17, 30), (33, 20)] {
            let mut plane: Vec<f32> = (0..w * h).map(|_| rng.f32()).collect();
            let want = relaxed(w, h, &plane);
            let before = plane.clone();
            Membrane::new(w, h).fill(&mut plane);
            for i in 0..w * h {
                assert!((f64::from(plane[i]) - want[i]).abs() < 2e-6, "{w}×{h} at {i}: {} {}", plane[i], want[i]);
                let inside = (1..w - 1).contains(&(i % w)) && (1..h - 1).contains(&(i / w));
                assert!(inside || plane[i] == before[i]);
            }
        }
    }

    #[test]
    fn large_patches_satisfy_the_equation() {
        let (w, h) = (210, 150);
        let mut rng = Rng::new(2, 0, 0);
        let mut plane: Vec<f32> = (0..w * h).map(|_| rng.f32()).collect();
        Membrane::new(w, h).fill(&mut plane);
        for y in 1..h - 1 {
            for x in 1..w - 1 {
                let i = y * w + x;
                let residual = plane[i - 1] + plane[i + 1] + plane[i - w] + plane[i + w] - 4.0 * plane[i];
                assert!(residual.abs() < 2e-5, "{residual} at ({x}, {y})");
            }
        }
        // Exact where the answer is known: planes and x² − y² are harmonic on the grid.
        let known = |i: usize| {
            let (x, y) = ((i % w) as f32 / w as f32, (i / w) as f32 / w as f32);
            0.3 + 0.2 * x - 0.5 * y + x * x - y * y
        };
        let mut plane: Vec<f32> = (0..w * h).map(known).collect();
        for y in 1..h - 1 {
            plane[y * w + 1..(y + 1) * w - 1].fill(9.0);
        }
        Membrane::new(w, h).fill(&mut plane);
        assert!((0..w * h).all(|i| (plane[i] - known(i)).abs() < 1e-5));
    }

    #[test]
    fn a_constant_source_gives_the_membrane_and_no_seam() {
        let (w, h) = (64, 48);
        let ramp = |i: usize| 0.2 + 0.25 * (i % w) as f32 / w as f32 + 0.2 * (i / w) as f32 / h as f32;
        for level in [0.0, 0.7, 1.0] {
            let mut target: Vec<f32> = (0..w * h).map(ramp).collect();
            Membrane::new(w, h).blend(&vec![level; w * h], &mut target);
            // The surroundings are harmonic themselves, so the blend restores them.
            assert!((0..w * h).all(|i| (target[i] - ramp(i)).abs() < 1e-5));
        }
        // A bump keeps its shape and meets the border without a step.
        let bump = |i: usize| {
            let (x, y) = ((i % w) as f32 / (w - 1) as f32, (i / w) as f32 / (h - 1) as f32);
            0.9 - 6.0 * x * (1.0 - x) * y * (1.0 - y)
        };
        let source: Vec<f32> = (0..w * h).map(bump).collect();
        let mut target: Vec<f32> = (0..w * h).map(ramp).collect();
        Membrane::new(w, h).blend(&source, &mut target);
        let seam = |f: &dyn Fn(usize) -> f32| {
            let rows = (1..w - 1).flat_map(|x| [(x, x + w), (x + (h - 1) * w, x + (h - 2) * w)]);
            let columns = (1..h - 1).flat_map(|y| [(y * w, y * w + 1), (y * w + w - 1, y * w + w - 2)]);
            // The step across the border beyond what the source itself has there.
            rows.chain(columns).map(|(o, i)| (f(i) - f(o) - (source[i] - source[o])).abs()).fold(0.0, f32::max)
        };
        assert!(seam(&|i| target[i]) < 2.0 / 255.0, "{}", seam(&|i| target[i]) * 255.0);
        let pasted = |i: usize| {
            let inside = (1..w - 1).contains(&(i % w)) && (1..h - 1).contains(&(i / w));
            if inside { source[i] } else { ramp(i) }
        };
        assert!(seam(&pasted) > 0.2);
    }

    #[test]
    fn rectangles_without_an_inside_are_left_alone() {
        for (w, h) in [(0, 0), (1, 5), (2, 2), (9, 2)] {
            let mut plane = vec![0.5; w * h];
            Membrane::new(w, h).fill(&mut plane);
            assert_eq!(plane, vec![0.5; w * h]);
        }
    }
}
