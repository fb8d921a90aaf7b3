//! Losses, scores and means.

use super::Step;
use adflow::op::{CellHinge, CellHingeDn, FlowNllDj, SquareSum, SquareSumDx, TopMean, TopMeanDx};

fn squares(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

pub fn flow_nll(step: &Step<'_>) -> Vec<f64> {
    let (z, j) = (step.input(0), step.input(1));
    step.per_sample(|n| vec![(0.5 * squares(z.sample(n)) - j.sample(n)[0]) / z.shape().len() as f64])
}

pub fn flow_nll_dz(step: &Step<'_>) -> Vec<f64> {
    let (g, z) = (step.input(0), step.input(1));
    step.per_sample(|n| z.sample(n).iter().map(|z| g.sample(n)[0] * z / z_len(step)).collect())
}

fn z_len(step: &Step<'_>) -> f64 {
    step.output_type.shape.len() as f64
}

pub fn flow_nll_dj(a: FlowNllDj, step: &Step<'_>) -> Vec<f64> {
    step.input(0).data.iter().map(|g| -g / f64::from(a.dims)).collect()
}

pub fn cell_hinge(a: CellHinge, step: &Step<'_>) -> Vec<f64> {
    let (n, w) = (step.input(0), step.input(1));
    let limit = step.input(2).data[0] + f64::from(a.margin);
    step.per_sample(|s| {
        let term = |(n, w): (&f64, &f64)| if *w > 0.0 { w * n } else { -w * (limit - n).max(0.0) };
        vec![n.sample(s).iter().zip(w.sample(s)).map(term).sum()]
    })
}

pub fn cell_hinge_dn(a: CellHingeDn, step: &Step<'_>) -> Vec<f64> {
    let (g, n, w) = (step.input(0), step.input(1), step.input(2));
    let limit = step.input(3).data[0] + f64::from(a.margin);
    step.per_sample(|s| {
        let slope = |(n, w): (&f64, &f64)| if *w > 0.0 || *n < limit { g.sample(s)[0] * w } else { 0.0 };
        n.sample(s).iter().zip(w.sample(s)).map(slope).collect()
    })
}

pub fn square_sum(a: SquareSum, step: &Step<'_>) -> Vec<f64> {
    let (x, scale) = (step.input(0), f64::from(a.scale));
    let positions = x.shape().positions();
    let finish = |sum: f64| if a.root { (scale * sum).sqrt() } else { scale * sum };
    step.per_sample(|n| {
        let x = x.sample(n);
        if !a.per_position {
            return vec![finish(squares(x))];
        }
        (0..positions).map(|p| finish(x.iter().skip(p).step_by(positions).map(|x| x * x).sum())).collect()
    })
}

pub fn square_sum_dx(a: SquareSumDx, step: &Step<'_>) -> Vec<f64> {
    let (g, x) = (step.input(0), step.input(1));
    let positions = x.shape().positions();
    step.per_sample(|n| {
        let slope = |i: usize| {
            let at = if a.per_position { i % positions } else { 0 };
            let upstream = g.sample(n)[at];
            // With the root, d√u = du/(2y); nothing flows where y is zero.
            let root = step.inputs[2].map_or(1.0, |y| if y.sample(n)[at] > 0.0 { 0.5 / y.sample(n)[at] } else { 0.0 });
            2.0 * f64::from(a.scale) * upstream * root
        };
        x.sample(n).iter().enumerate().map(|(i, x)| slope(i) * x).collect()
    })
}

pub fn batch_mean(step: &Step<'_>) -> Vec<f64> {
    vec![step.input(0).data.iter().sum::<f64>() / step.batch as f64]
}

pub fn batch_mean_dx(step: &Step<'_>) -> Vec<f64> {
    vec![step.inputs[0].map_or(1.0, |g| g.data[0]) / step.batch as f64; step.batch]
}

/// Positions of the k largest; the sort is stable, so of equal values the first win.
fn largest(x: &[f64], k: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
    order.truncate(k as usize);
    order
}

pub fn top_mean(a: TopMean, step: &Step<'_>) -> Vec<f64> {
    let x = step.input(0);
    step.per_sample(|n| {
        let x = x.sample(n);
        vec![largest(x, a.k).into_iter().map(|i| x[i]).sum::<f64>() / f64::from(a.k)]
    })
}

pub fn top_mean_dx(a: TopMeanDx, step: &Step<'_>) -> Vec<f64> {
    let (g, x) = (step.input(0), step.input(1));
    step.per_sample(|n| {
        let mut gx = vec![0.0; x.shape().len()];
        for i in largest(x.sample(n), a.k) {
            gx[i] = g.sample(n)[0] / f64::from(a.k);
        }
        gx
    })
}

/// Parts of one length, the last ones shorter or empty.
pub fn square_parts(step: &Step<'_>) -> Vec<f64> {
    let (x, parts) = (step.input(0).data, step.output_type.shape.len());
    let len = x.len().div_ceil(parts);
    (0..parts).map(|k| x.iter().skip(k * len).take(len).map(|v| v * v).sum()).collect()
}
