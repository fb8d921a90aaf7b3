//! Ops that look at one element at a time, sums per channel, and the optimiser.

use super::Step;
use adflow::kernels::activation::Activation;
use adflow::kernels::smooth::Curve;
use adflow::op::{Adam, Scale, ScaleShift};

/// The activation itself.
pub fn act(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
    }
}

pub fn activate(kind: Activation, step: &Step<'_>) -> Vec<f64> {
    step.input(0).data.iter().map(|&x| act(kind, x)).collect()
}

pub fn activate_dx(kind: Activation, step: &Step<'_>) -> Vec<f64> {
    let slope = |y: f64| match kind {
        Activation::None => 1.0,
        Activation::Relu => f64::from(u8::from(y > 0.0)),
        Activation::Relu6 => f64::from(u8::from(y > 0.0 && y < 6.0)),
    };
    step.input(0).data.iter().zip(step.input(1).data).map(|(g, &y)| g * slope(y)).collect()
}

pub fn add(step: &Step<'_>) -> Vec<f64> {
    step.input(0).data.iter().zip(step.input(1).data).map(|(a, b)| a + b).collect()
}

/// Channel of element `i` of a tensor like slot 0, batch included.
fn channel(step: &Step<'_>, i: usize) -> usize {
    let shape = step.input(0).shape();
    i / (shape.len() / shape.c() as usize) % shape.c() as usize
}

pub fn scale(a: Scale, step: &Step<'_>) -> Vec<f64> {
    step.input(0).data.iter().map(|x| f64::from(a.factor) * x).collect()
}

pub fn gain(step: &Step<'_>) -> Vec<f64> {
    let gamma = step.input(1).data[0];
    step.input(0).data.iter().map(|x| gamma * x).collect()
}

pub fn multiply(step: &Step<'_>) -> Vec<f64> {
    step.input(0).data.iter().zip(step.input(1).data).map(|(a, b)| a * b).collect()
}

/// `ln(1 + e^x)`, also where e^x is too large or too small.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Φ(x) of the standard normal distribution.
fn normal_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

pub fn scale_shift(a: ScaleShift, step: &Step<'_>) -> Vec<f64> {
    let (scale, shift) = (step.input(1).data, step.input(2).data);
    let y = |(i, x): (usize, &f64)| {
        let (scale, shift) = (scale[channel(step, i)], shift[channel(step, i)]);
        if a.inverse { (x - shift) / scale } else { x * scale + shift }
    };
    step.input(0).data.iter().enumerate().map(y).collect()
}

pub fn scale_shift_dx(step: &Step<'_>) -> Vec<f64> {
    let scale = step.input(1).data;
    step.input(0).data.iter().enumerate().map(|(i, g)| g * scale[channel(step, i)]).collect()
}

pub fn scale_shift_dscale(step: &Step<'_>) -> Vec<f64> {
    let mut out = step.zeros();
    for (i, (g, x)) in step.input(0).data.iter().zip(step.input(1).data).enumerate() {
        out[channel(step, i)] += g * x;
    }
    out
}

pub fn channel_sum(step: &Step<'_>) -> Vec<f64> {
    let mut out = step.zeros();
    for (i, x) in step.input(0).data.iter().enumerate() {
        out[channel(step, i)] += x;
    }
    out
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub fn smooth(curve: Curve, step: &Step<'_>) -> Vec<f64> {
    let f = |&x: &f64| match curve {
        Curve::Silu => x * sigmoid(x),
        Curve::Sigmoid => sigmoid(x),
        Curve::Gelu => x * normal_below(x),
        Curve::GlobalScale => 0.2 * softplus(0.5 * x),
    };
    step.input(0).data.iter().map(f).collect()
}

pub fn smooth_dx(curve: Curve, step: &Step<'_>) -> Vec<f64> {
    let slope = |x: f64| match curve {
        Curve::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
        Curve::Sigmoid => sigmoid(x) * sigmoid(-x),
        Curve::Gelu => normal_below(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt(),
        Curve::GlobalScale => 0.1 * sigmoid(0.5 * x),
    };
    step.input(0).data.iter().zip(step.input(1).data).map(|(g, &x)| g * slope(x)).collect()
}

pub fn channel_scale(step: &Step<'_>) -> Vec<f64> {
    let (x, s) = (step.input(0), step.input(1));
    let positions = x.shape().positions();
    x.data.iter().enumerate().map(|(i, x)| x * s.data[i / positions]).collect()
}

pub fn channel_dot(step: &Step<'_>) -> Vec<f64> {
    let (a, b) = (step.input(0), step.input(1));
    let products: Vec<f64> = a.data.iter().zip(b.data).map(|(a, b)| a * b).collect();
    products.chunks(a.shape().positions()).map(|plane| plane.iter().sum()).collect()
}

const MAGNITUDE_EPS: f64 = 1e-12;

pub fn magnitude(step: &Step<'_>) -> Vec<f64> {
    step.per_sample(|n| {
        let x = step.input(0).sample(n).to_vec();
        let (re, im) = x.split_at(x.len() / 2);
        re.iter().zip(im).map(|(re, im)| (re * re + im * im + MAGNITUDE_EPS).sqrt()).collect()
    })
}

pub fn magnitude_dx(step: &Step<'_>) -> Vec<f64> {
    let (gy, x, y) = (step.input(0), step.input(1), step.input(2));
    step.per_sample(|n| {
        let half = y.shape().len();
        (0..2 * half).map(|i| gy.sample(n)[i % half] * x.sample(n)[i] / y.sample(n)[i % half]).collect()
    })
}

pub fn root(step: &Step<'_>) -> Vec<f64> {
    step.inputs[0].expect("x").data.iter().map(|x| (x.max(0.0) + 1e-6).sqrt()).collect()
}

pub fn root_dx(step: &Step<'_>) -> Vec<f64> {
    let [gy, x, y] = [0, 1, 2].map(|slot| step.inputs[slot].expect("gy, x and y").data);
    (0..x.len()).map(|i| if x[i] > 0.0 { gy[i] / (2.0 * y[i]) } else { 0.0 }).collect()
}

/// `g ← g·min(1, clip/‖g‖) + λθ; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − lr·m̂/(√v̂ + ε)`.
pub fn adam(a: Adam, step: &mut Step<'_>) -> Vec<f64> {
    let (grads, control) = (step.inputs[0].expect("grads").data, step.inputs[2].expect("control").data);
    let (rate, t) = (control[0], control[1].max(1.0));
    let [beta1, beta2, eps, decay] = [a.beta1, a.beta2, a.eps, a.weight_decay].map(f64::from);
    let len = step.before.len();
    let norm = step.inputs[3].map_or(0.0, |squares| squares.data.iter().sum::<f64>().sqrt());
    let clip = f64::from(a.clip);
    let grad_scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
    let mut params = step.before.to_vec();
    for (i, p) in params.iter_mut().enumerate() {
        let g = grad_scale * grads[i] + decay * *p;
        let m = beta1 * step.state[i] + (1.0 - beta1) * g;
        let v = beta2 * step.state[len + i] + (1.0 - beta2) * g * g;
        step.state[i] = m;
        step.state[len + i] = v;
        *p -= rate * (m / (1.0 - beta1.powf(t))) / ((v / (1.0 - beta2.powf(t))).sqrt() + eps);
    }
    params
}
