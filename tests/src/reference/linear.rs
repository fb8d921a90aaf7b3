//! Grouped linear layers and one linear map per position, by their definitions.
//!
//! `y[g·o + j] += w[g, j, i] · x[offset + ⌊g/share⌋·stride + i]`, and `y[j, p] += w[p, j, i] · x[i, p]`.

use super::Step;
use super::pointwise::act;
use adflow::op::{Linear, LinearDw, LinearDx};
use adflow::shape::Shape;

/// Calls f(index in x, index in w, index in y) for every product of one sample.
fn products(share: u32, offset: u32, stride: u32, w: Shape, mut f: impl FnMut(usize, usize, usize)) {
    let [groups, out, features, _] = w.0.map(|d| d as usize);
    for g in 0..groups {
        let window = offset as usize + g / share as usize * stride as usize;
        for j in 0..out {
            for i in 0..features {
                f(window + i, (g * out + j) * features + i, g * out + j);
            }
        }
    }
}

pub fn forward(a: Linear, step: &Step<'_>) -> Vec<f64> {
    let (x, w) = (step.input(0), step.input(1));
    step.per_sample(|n| {
        let mut y = vec![0.0; step.output_type.shape.len()];
        products(a.share, a.offset, a.stride, w.shape(), |xi, wi, yi| y[yi] += x.sample(n)[xi] * w.data[wi]);
        let bias = |i: usize| step.inputs[2].map_or(0.0, |b| b.data[i]);
        y.iter().enumerate().map(|(i, y)| act(a.act, y + bias(i))).collect()
    })
}

pub fn dx(a: LinearDx, step: &Step<'_>) -> Vec<f64> {
    let (gy, w) = (step.input(0), step.input(1));
    step.per_sample(|n| {
        let mut gx = vec![0.0; a.len as usize];
        products(a.share, a.offset, a.stride, w.shape(), |xi, wi, yi| gx[xi] += gy.sample(n)[yi] * w.data[wi]);
        gx
    })
}

pub fn dw(a: LinearDw, step: &Step<'_>) -> Vec<f64> {
    let (x, gy) = (step.input(0), step.input(1));
    let mut gw = step.zeros();
    for n in 0..step.batch {
        products(a.share, a.offset, a.stride, step.output_type.shape, |xi, wi, yi| {
            gw[wi] += x.sample(n)[xi] * gy.sample(n)[yi];
        });
    }
    gw
}

/// Calls f(index in x, index in w, index in y); w is positions×out×in.
fn position_products(w: Shape, mut f: impl FnMut(usize, usize, usize)) {
    let [positions, out, inner, _] = w.0.map(|d| d as usize);
    for p in 0..positions {
        for j in 0..out {
            for i in 0..inner {
                f(i * positions + p, (p * out + j) * inner + i, j * positions + p);
            }
        }
    }
}

pub fn per_position(step: &Step<'_>) -> Vec<f64> {
    let (x, w, b) = (step.input(0), step.input(1), step.input(2));
    let (positions, out) = (w.shape().0[0] as usize, w.shape().0[1] as usize);
    step.per_sample(|n| {
        let mut y: Vec<f64> = (0..out * positions).map(|at| b.data[at % positions * out + at / positions]).collect();
        position_products(w.shape(), |xi, wi, yi| y[yi] += x.sample(n)[xi] * w.data[wi]);
        y
    })
}

pub fn per_position_dx(step: &Step<'_>) -> Vec<f64> {
    let (gy, w) = (step.input(0), step.input(1));
    step.per_sample(|n| {
        let mut gx = vec![0.0; step.output_type.shape.len()];
        position_products(w.shape(), |xi, wi, yi| gx[xi] += gy.sample(n)[yi] * w.data[wi]);
        gx
    })
}
