//! Nearest neighbours by their definition: every vector of the bank that may be compared with, one after the other.

use super::Step;
use adflow::op::EVERYWHERE;

/// Squared distance to the nearest vector for position `at` of sample `n`, and which it is; x is input `first`.
fn nearest(step: &Step<'_>, first: usize, radius: u32, n: usize, at: usize) -> (f64, usize) {
    let (x, bank) = (step.input(first), step.input(first + 1));
    let (positions, columns) = (x.shape().positions(), x.shape().w() as usize);
    let [count, channels, ..] = bank.shape().0.map(|d| d as usize);
    let distance = |m: usize| {
        (0..channels).map(|c| (x.sample(n)[c * positions + at] - bank.data[m * channels + c]).powi(2)).sum::<f64>()
    };
    let near = |m: usize| {
        // Bits of indices were widened as if they were floats.
        let cell = step.inputs[first + 2].map_or(0, |cells| (cells.data[m] as f32).to_bits() as usize);
        let off = |a: usize, b: usize| a.abs_diff(b) as u64 <= u64::from(radius);
        radius == EVERYWHERE || off(cell / columns, at / columns) && off(cell % columns, at % columns)
    };
    let least = |all: Vec<usize>| all.into_iter().map(|m| (distance(m), m)).min_by(|a, b| a.0.total_cmp(&b.0));
    least((0..count).filter(|m| near(*m)).collect()).or_else(|| least((0..count).collect())).expect("a vector")
}

pub fn forward(radius: u32, root: bool, step: &Step<'_>) -> Vec<f64> {
    let value = |square: f64| if root { square.sqrt() } else { square };
    step.per_sample(|n| {
        (0..step.input(0).shape().positions()).map(|at| value(nearest(step, 0, radius, n, at).0)).collect()
    })
}

pub fn dx(radius: u32, root: bool, step: &Step<'_>) -> Vec<f64> {
    let (g, x, bank) = (step.input(0), step.input(1), step.input(2));
    let (positions, channels) = (x.shape().positions(), x.shape().c() as usize);
    step.per_sample(|n| {
        let mut gx = vec![0.0; channels * positions];
        for at in 0..positions {
            let (square, m) = nearest(step, 1, radius, n, at);
            let factor = match root {
                false => 2.0 * g.sample(n)[at],
                true if square > 0.0 => g.sample(n)[at] / square.sqrt(),
                true => 0.0,
            };
            for c in 0..channels {
                let i = c * positions + at;
                gx[i] = factor * (x.sample(n)[i] - bank.data[m * channels + c]);
            }
        }
        gx
    })
}
