//! Max pooling and the mean over positions.

use super::Step;
use adflow::op::{MaxPool, MaxPoolDx};
use adflow::shape::Shape;

/// For each output of one sample, the first largest element of its window.
fn winners(a: MaxPool, x: Shape, y: Shape, data: &[f64]) -> Vec<usize> {
    let (h, w) = (x.h() as i64, x.w() as i64);
    let mut out = Vec::new();
    for c in 0..x.c() as i64 {
        for i in 0..i64::from(y.h()) {
            for j in 0..i64::from(y.w()) {
                let mut best: Option<usize> = None;
                for u in 0..i64::from(a.k) {
                    for v in 0..i64::from(a.k) {
                        let row = i64::from(a.stride) * i + u - i64::from(a.pad);
                        let column = i64::from(a.stride) * j + v - i64::from(a.pad);
                        if row < 0 || column < 0 || row >= h || column >= w {
                            continue;
                        }
                        let at = ((c * h + row) * w + column) as usize;
                        if best.is_none_or(|b| data[at] > data[b]) {
                            best = Some(at);
                        }
                    }
                }
                out.push(best.expect("padding is at most half a window, so each window meets x"));
            }
        }
    }
    out
}

pub fn max(a: MaxPool, step: &Step<'_>) -> Vec<f64> {
    let x = step.input(0);
    step.per_sample(|n| {
        let data = x.sample(n);
        winners(a, x.shape(), step.output_type.shape, data).into_iter().map(|at| data[at]).collect()
    })
}

pub fn max_dx(a: MaxPoolDx, step: &Step<'_>) -> Vec<f64> {
    let (x, gy) = (step.input(0), step.input(1));
    let forward = MaxPool { k: a.k, stride: a.stride, pad: a.pad };
    step.per_sample(|n| {
        let mut gx = vec![0.0; x.shape().len()];
        for (o, at) in winners(forward, x.shape(), gy.shape(), x.sample(n)).into_iter().enumerate() {
            gx[at] += gy.sample(n)[o];
        }
        gx
    })
}

pub fn mean(step: &Step<'_>) -> Vec<f64> {
    let x = step.input(0);
    let positions = x.shape().len() / x.shape().c() as usize;
    x.data.chunks(positions).map(|plane| plane.iter().sum::<f64>() / positions as f64).collect()
}

pub fn mean_dx(step: &Step<'_>) -> Vec<f64> {
    let positions = step.output_type.shape.positions();
    step.input(0).data.iter().flat_map(|g| std::iter::repeat_n(g / positions as f64, positions)).collect()
}
