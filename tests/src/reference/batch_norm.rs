//! Batch normalisation: statistics, normalisation and their gradients.

use super::Step;

/// Σ over batch and positions of `f(i)` per channel, for tensors like slot `like`.
fn sums(step: &Step<'_>, like: usize, f: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let x = step.input(like);
    let (c, positions) = (x.shape().c() as usize, x.shape().positions());
    let mut out = vec![0.0; c];
    for i in 0..x.data.len() {
        let channel = i / positions % c;
        out[channel] += f(i, channel);
    }
    out
}

/// Each element of a tensor like slot `like`, with its channel.
fn each(step: &Step<'_>, like: usize, f: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let x = step.input(like);
    let (c, positions) = (x.shape().c() as usize, x.shape().positions());
    (0..x.data.len()).map(|i| f(i, i / positions % c)).collect()
}

fn count(step: &Step<'_>, like: usize) -> f64 {
    (step.batch * step.input(like).shape().positions()) as f64
}

fn pairs(first: Vec<f64>, second: Vec<f64>) -> Vec<f64> {
    first.into_iter().zip(second).flat_map(|(a, b)| [a, b]).collect()
}

fn inverse(step: &Step<'_>, stats: usize, eps: f32, c: usize) -> f64 {
    1.0 / (step.input(stats).data[2 * c + 1] + f64::from(eps)).sqrt()
}

pub fn stats(step: &Step<'_>) -> Vec<f64> {
    let (x, m) = (step.input(0).data, count(step, 0));
    let mean: Vec<f64> = sums(step, 0, |i, _| x[i]).iter().map(|s| s / m).collect();
    let variance = sums(step, 0, |i, c| (x[i] - mean[c]).powi(2)).iter().map(|s| s / m).collect();
    pairs(mean, variance)
}

pub fn stats_dx(step: &Step<'_>) -> Vec<f64> {
    let [g, x, stats] = [0, 1, 2].map(|slot| step.input(slot).data);
    let m = count(step, 1);
    each(step, 1, |i, c| (g[2 * c] + 2.0 * g[2 * c + 1] * (x[i] - stats[2 * c])) / m)
}

pub fn norm(eps: f32, step: &Step<'_>) -> Vec<f64> {
    let [x, stats, gamma, beta] = [0, 1, 2, 3].map(|slot| step.input(slot).data);
    each(step, 0, |i, c| (x[i] - stats[2 * c]) * inverse(step, 1, eps, c) * gamma[c] + beta[c])
}

pub fn norm_dx(eps: f32, step: &Step<'_>) -> Vec<f64> {
    let (gy, gamma) = (step.input(0).data, step.input(2).data);
    each(step, 0, |i, c| gy[i] * gamma[c] * inverse(step, 1, eps, c))
}

pub fn norm_dstats(eps: f32, step: &Step<'_>) -> Vec<f64> {
    let [gy, x, stats, gamma] = [0, 1, 2, 3].map(|slot| step.input(slot).data);
    let mean = sums(step, 0, |i, c| -gy[i] * gamma[c] * inverse(step, 2, eps, c));
    let slope = |c: usize| -0.5 * gamma[c] * inverse(step, 2, eps, c).powi(3);
    pairs(mean, sums(step, 0, |i, c| gy[i] * (x[i] - stats[2 * c]) * slope(c)))
}

pub fn norm_dgamma(eps: f32, step: &Step<'_>) -> Vec<f64> {
    let [gy, x, stats] = [0, 1, 2].map(|slot| step.input(slot).data);
    sums(step, 0, |i, c| gy[i] * (x[i] - stats[2 * c]) * inverse(step, 2, eps, c))
}
