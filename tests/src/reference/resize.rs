//! Resize: for each output pixel, which input pixels it reads and with what weights; the gradient is the same list read
//! backwards.

use super::Step;
use adflow::op::{Interpolation, Resize, ResizeDx};
use adflow::shape::Shape;

/// The inputs that output `i` reads along one side, with their weights.
fn taps(mode: Interpolation, i: usize, input: usize, output: usize) -> Vec<(usize, f64)> {
    match mode {
        Interpolation::Nearest => vec![(i * input / output, 1.0)],
        Interpolation::Bilinear => {
            let last = (input - 1) as f64;
            let at = ((i as f64 + 0.5) * input as f64 / output as f64 - 0.5).clamp(0.0, last);
            let below = at.floor();
            vec![(below as usize, 1.0 - (at - below)), ((below + 1.0).min(last) as usize, at - below)]
        }
    }
}

/// Calls f(index in x, weight, index in y) for one sample.
fn products(mode: Interpolation, x: Shape, y: Shape, mut f: impl FnMut(usize, f64, usize)) {
    let [c, h, w, _] = x.0.map(|d| d as usize);
    let [_, oh, ow, _] = y.0.map(|d| d as usize);
    for c in 0..c {
        for i in 0..oh {
            for j in 0..ow {
                for (row, a) in taps(mode, i, h, oh) {
                    for (column, b) in taps(mode, j, w, ow) {
                        f((c * h + row) * w + column, a * b, (c * oh + i) * ow + j);
                    }
                }
            }
        }
    }
}

pub fn forward(a: Resize, step: &Step<'_>) -> Vec<f64> {
    let (x, y) = (step.input(0), step.output_type.shape);
    step.per_sample(|n| {
        let mut out = vec![0.0; y.len()];
        products(a.mode, x.shape(), y, |xi, weight, yi| out[yi] += weight * x.sample(n)[xi]);
        out
    })
}

pub fn dx(a: ResizeDx, step: &Step<'_>) -> Vec<f64> {
    let (gy, x) = (step.input(0), step.output_type.shape);
    step.per_sample(|n| {
        let mut gx = vec![0.0; x.len()];
        products(a.mode, x, gy.shape(), |xi, weight, yi| gx[xi] += weight * gy.sample(n)[yi]);
        gx
    })
}
