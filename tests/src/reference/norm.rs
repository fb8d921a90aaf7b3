//! Layer normalisation of samples and of positions.

use super::{Step, Value};
use adflow::op::{LayerNorm, LayerNormDx};

/// For each sample the indices of elements that are normalised together.
fn sets(x: &Value<'_>, per_position: bool) -> Vec<Vec<usize>> {
    let (len, positions) = (x.shape().len(), x.shape().positions());
    if per_position {
        (0..positions).map(|p| (p..len).step_by(positions).collect()).collect()
    } else {
        vec![(0..len).collect()]
    }
}

/// Calls f(indices, x of these normalised, 1/√(v + ε)) for each set of a sample.
fn each(x: &[f64], sets: &[Vec<usize>], eps: f32, mut f: impl FnMut(&[usize], &[f64], f64)) {
    for set in sets {
        let count = set.len() as f64;
        let mean = set.iter().map(|&i| x[i]).sum::<f64>() / count;
        let variance = set.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>() / count;
        let inverse = 1.0 / (variance + f64::from(eps)).sqrt();
        let y: Vec<f64> = set.iter().map(|&i| (x[i] - mean) * inverse).collect();
        f(set, &y, inverse);
    }
}

pub fn layer_norm(a: LayerNorm, step: &Step<'_>) -> Vec<f64> {
    let x = step.input(0);
    let sets = sets(&x, a.per_position);
    step.per_sample(|n| {
        let mut out = vec![0.0; x.shape().len()];
        each(x.sample(n), &sets, a.eps, |set, y, _| set.iter().zip(y).for_each(|(&i, y)| out[i] = *y));
        out
    })
}

pub fn layer_norm_dx(a: LayerNormDx, step: &Step<'_>) -> Vec<f64> {
    let (gy, x) = (step.input(0), step.input(1));
    let sets = sets(&x, a.per_position);
    step.per_sample(|n| {
        let (mut gx, gy) = (vec![0.0; x.shape().len()], gy.sample(n));
        each(x.sample(n), &sets, a.eps, |set, y, inverse| {
            let mean = |f: &dyn Fn(usize) -> f64| (0..set.len()).map(f).sum::<f64>() / set.len() as f64;
            let level = mean(&|k| gy[set[k]]);
            let along = mean(&|k| gy[set[k]] * y[k]);
            for (k, &i) in set.iter().enumerate() {
                gx[i] = inverse * (gy[i] - level - y[k] * along);
            }
        });
        gx
    })
}
