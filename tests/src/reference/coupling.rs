//! Affine coupling with soft clamp and its log-determinant.
//!
//! `σ(s) = (2α/π)·atan(s/α)`, `σ'(s) = (2/π)/(1 + (s/α)²)`, or `α·tanh(s)`, `α·(1 − tanh²(s))`; on active channels `y = x·e^σ + t`, and back.

use super::Step;
use adflow::kernels::coupling::SoftClamp;
use adflow::op::{Coupling, CouplingDst, CouplingDx, LogDet, LogDetDst, LogScale, LogScaleDscale};
use std::f64::consts::FRAC_2_PI;

fn sigma((form, clamp): (SoftClamp, f32), s: f64) -> f64 {
    let a = f64::from(clamp);
    match form {
        SoftClamp::Atan => FRAC_2_PI * a * (s / a).atan(),
        SoftClamp::Tanh => a * s.tanh(),
    }
}

fn slope((form, clamp): (SoftClamp, f32), s: f64) -> f64 {
    let a = f64::from(clamp);
    match form {
        SoftClamp::Atan => FRAC_2_PI / (1.0 + (s / a).powi(2)),
        SoftClamp::Tanh => a / s.cosh().powi(2),
    }
}

/// Calls f(index in x, index of s, index of t) for every active element of one sample.
fn active(
    groups: u32,
    channels: u32,
    offset: u32,
    active: u32,
    positions: usize,
    mut f: impl FnMut(usize, usize, usize),
) {
    let (size, active) = ((channels / groups) as usize, active as usize);
    for g in 0..groups as usize {
        for k in 0..active {
            for p in 0..positions {
                let x = (g * size + offset as usize + k) * positions + p;
                let s = (g * 2 * active + k) * positions + p;
                f(x, s, s + active * positions);
            }
        }
    }
}

pub fn forward(a: Coupling, step: &Step<'_>) -> Vec<f64> {
    let (x, st) = (step.input(0), step.input(1));
    let shape = x.shape();
    step.per_sample(|n| {
        let (mut y, st) = (x.sample(n).to_vec(), st.sample(n));
        active(a.groups, shape.c(), a.offset, a.active, shape.positions(), |x, s, t| {
            let scale = sigma((a.form, a.clamp), st[s]);
            y[x] = if a.inverse { (y[x] - st[t]) * (-scale).exp() } else { y[x] * scale.exp() + st[t] };
        });
        y
    })
}

pub fn dx(a: CouplingDx, step: &Step<'_>) -> Vec<f64> {
    let (gy, st) = (step.input(0), step.input(1));
    let shape = gy.shape();
    step.per_sample(|n| {
        let (mut gx, st) = (gy.sample(n).to_vec(), st.sample(n));
        active(a.groups, shape.c(), a.offset, a.active, shape.positions(), |x, s, _| {
            gx[x] *= sigma((a.form, a.clamp), st[s]).exp();
        });
        gx
    })
}

pub fn dst(a: CouplingDst, step: &Step<'_>) -> Vec<f64> {
    let (gy, x, st) = (step.input(0), step.input(1), step.input(2));
    let shape = gy.shape();
    step.per_sample(|n| {
        let (gy, values, st) = (gy.sample(n), x.sample(n), st.sample(n));
        let mut gst = vec![0.0; st.len()];
        active(a.groups, shape.c(), a.offset, a.active, shape.positions(), |x, s, t| {
            gst[t] = gy[x];
            gst[s] = gy[x] * values[x] * sigma((a.form, a.clamp), st[s]).exp() * slope((a.form, a.clamp), st[s]);
        });
        gst
    })
}

pub fn log_det(a: LogDet, step: &Step<'_>) -> Vec<f64> {
    let st = step.input(0);
    let (count, positions) = (st.shape().c() / a.groups / 2, st.shape().positions());
    step.per_sample(|n| {
        let len = if a.per_position { positions } else { 1 };
        let mut j = step.inputs[1].map_or_else(|| vec![0.0; len], |j| j.sample(n).to_vec());
        active(a.groups, a.groups * count, 0, count, positions, |_, s, _| {
            j[s % positions % len] += sigma((a.form, a.clamp), st.sample(n)[s]);
        });
        j
    })
}

pub fn log_det_dst(a: LogDetDst, step: &Step<'_>) -> Vec<f64> {
    let (g, st) = (step.input(0), step.input(1));
    let (count, positions) = (st.shape().c() / a.groups / 2, st.shape().positions());
    step.per_sample(|n| {
        let (mut gst, g) = (vec![0.0; st.shape().len()], g.sample(n));
        active(a.groups, a.groups * count, 0, count, positions, |_, s, _| {
            gst[s] = g[s % positions % g.len()] * slope((a.form, a.clamp), st.sample(n)[s]);
        });
        gst
    })
}

pub fn log_scale(a: LogScale, step: &Step<'_>) -> Vec<f64> {
    let total: f64 = step.input(1).data.iter().map(|s| s.ln()).sum();
    step.input(0).data.iter().map(|j| j + f64::from(a.factor) * total).collect()
}

pub fn log_scale_dscale(a: LogScaleDscale, step: &Step<'_>) -> Vec<f64> {
    let total: f64 = step.input(0).data.iter().sum();
    step.input(1).data.iter().map(|s| f64::from(a.factor) * total / s).collect()
}
