//! Ops that only move values.

use super::Step;
use adflow::op::{Embed, Permute, Slice};

pub fn concat(step: &Step<'_>) -> Vec<f64> {
    step.per_sample(|n| step.inputs.iter().flatten().flat_map(|x| x.sample(n).to_vec()).collect())
}

pub fn slice(a: Slice, step: &Step<'_>) -> Vec<f64> {
    let x = step.input(0);
    let plane = x.shape().len() / x.shape().c() as usize;
    step.per_sample(|n| x.sample(n)[a.first as usize * plane..][..a.count as usize * plane].to_vec())
}

pub fn embed(a: Embed, step: &Step<'_>) -> Vec<f64> {
    let x = step.input(0);
    let plane = x.shape().len() / x.shape().c() as usize;
    step.per_sample(|n| {
        let mut y = vec![0.0; a.count as usize * plane];
        y[a.first as usize * plane..][..x.shape().len()].copy_from_slice(x.sample(n));
        y
    })
}

pub fn permute(a: Permute, step: &Step<'_>) -> Vec<f64> {
    let (x, index) = (step.input(0), step.input(1));
    let plane = x.shape().len() / x.shape().c() as usize;
    step.per_sample(|n| {
        let (x, mut y) = (x.sample(n), vec![0.0; x.shape().len()]);
        for (c, bits) in index.data.iter().enumerate() {
            // Channel numbers travel as the bits of an f32; widening and narrowing keeps them.
            let other = (*bits as f32).to_bits() as usize;
            let (to, from) = if a.inverse { (other, c) } else { (c, other) };
            y[to * plane..][..plane].copy_from_slice(&x[from * plane..][..plane]);
        }
        y
    })
}

pub fn repeat(step: &Step<'_>) -> Vec<f64> {
    step.per_sample(|_| step.input(0).data.to_vec())
}
