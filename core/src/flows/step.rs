//! The step that flows on feature maps share: the all-in-one block of FrEIA (one-sided coupling, global affine, permutation).
//!
//! The channels split into the first C − ⌊C/2⌋, x₁, and the rest, x₂. With (s, t) = 0.1·N(x₁) of a subnet N:
//! `x₂ ← x₂·exp(σ(s)) + t`, `σ(s) = α·tanh(s)`; then every channel is scaled and shifted, `x ← x·ψ(g) + o` with
//! `ψ(g) = 0.2·ln(1 + e^{g/2})`, trainable, 1 and 0 at first; then a fixed permutation of the channels. The log-determinant
//! is `Σ σ(s) + H·W·Σ ln ψ(g)`; what a position adds to it is `Σ_c σ(s[c, p]) + Σ ln ψ(g)`.

use super::{FlowError, Init, add_log_det};
use crate::graph::{Graph, TensorId};
use crate::kernels::activation::Activation;
use crate::kernels::coupling::SoftClamp;
use crate::kernels::smooth::Curve;
use crate::op::{Conv2d, Coupling, LayerNorm, LogDet, LogScale, Permute, Scale, ScaleShift, Slice, Smooth};
use crate::params::Params;
use crate::rng::Rng;
use crate::shape::Shape;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// What is taken of the subnet's output.
const SHARE: f32 = 0.1;
/// g for a scale of 1: 2·ln(e⁵ − 1).
const ONE: f32 = 9.986_479;

/// One step on maps of so many channels.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub channels: u32,
    /// α of the soft clamp.
    pub clamp: f32,
}

/// Steps and channels that a flow may have.
pub(super) fn check(channels: u32, steps: u32, clamp: f32) -> Result<(), FlowError> {
    let fine = (2..=1 << 13).contains(&channels) && (1..=64).contains(&steps);
    if !fine || !(1e-3..=1e3).contains(&clamp) {
        return Err(FlowError::Config(
            "a flow on a map needs 2..=8192 channels, 1..=64 steps and a clamp in 0.001..=1000",
        ));
    }
    Ok(())
}

impl Step {
    /// Channels that the subnet sees.
    pub fn seen(&self) -> u32 {
        self.channels - self.active()
    }

    /// Channels that the coupling changes; the subnet gives twice as many.
    pub fn active(&self) -> u32 {
        self.channels / 2
    }

    /// Adds scale, shift and permutation as `name.scale`, `name.shift`, `name.permutation`.
    pub fn init(&self, params: &mut Params, name: &str, rng: &mut Rng) -> Result<(), FlowError> {
        let c = self.channels;
        params.add(&format!("{name}.scale"), Shape::vector(c), true, vec![ONE; c as usize])?;
        params.add(&format!("{name}.shift"), Shape::vector(c), true, vec![0.0; c as usize])?;
        let mut index = vec![0; c as usize];
        rng.permutation(&mut index);
        params.add_index(&format!("{name}.permutation"), &index)?;
        Ok(())
    }

    /// Scale and translation from what the subnet makes of the channels that it sees.
    fn scale_translation(
        &self,
        g: &mut Graph,
        name: &str,
        x: TensorId,
        subnet: impl FnOnce(&mut Graph, TensorId) -> Result<TensorId, FlowError>,
    ) -> Result<TensorId, FlowError> {
        let seen = g.emit(&format!("{name}.seen"), Slice { first: 0, count: self.seen() }, &[x])?;
        let a = subnet(g, seen)?;
        Ok(g.emit(&format!("{name}.st"), Scale { factor: SHARE }, &[a])?)
    }

    fn coupling(&self, inverse: bool) -> Coupling {
        let (offset, active) = (self.seen(), self.active());
        Coupling { groups: 1, offset, active, clamp: self.clamp, inverse, form: SoftClamp::Tanh }
    }

    /// ψ(g), the shift and the permutation.
    fn affine(&self, g: &mut Graph, params: &Params, name: &str) -> Result<[TensorId; 3], FlowError> {
        let raw = g.param(params, &format!("{name}.scale"))?;
        let scale = g.emit(&format!("{name}.psi"), Smooth { curve: Curve::GlobalScale }, &[raw])?;
        let shift = g.param(params, &format!("{name}.shift"))?;
        Ok([scale, shift, g.param(params, &format!("{name}.permutation"))?])
    }

    /// Emits the step; returns the map and the log-determinant so far, per sample or per position.
    pub fn forward(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        (x, j, per_position): (TensorId, Option<TensorId>, bool),
        subnet: impl FnOnce(&mut Graph, TensorId) -> Result<TensorId, FlowError>,
    ) -> Result<(TensorId, TensorId), FlowError> {
        let st = self.scale_translation(g, name, x, subnet)?;
        let y = g.emit(&format!("{name}.coupled"), self.coupling(false), &[x, st])?;
        let log_det = LogDet { groups: 1, clamp: self.clamp, form: SoftClamp::Tanh, per_position };
        let j = add_log_det(g, &format!("{name}.log_det"), log_det, st, j)?;
        let [scale, shift, index] = self.affine(g, params, name)?;
        let factor = if per_position { 1.0 } else { g.shape(x).positions() as f32 };
        let j = g.emit(&format!("{name}.log_scale"), LogScale { factor }, &[j, scale])?;
        let y = g.emit(&format!("{name}.scaled"), ScaleShift { inverse: false }, &[y, scale, shift])?;
        Ok((g.emit(&format!("{name}.permuted"), Permute { inverse: false }, &[y, index])?, j))
    }

    /// Emits the step backwards.
    pub fn inverse(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        y: TensorId,
        subnet: impl FnOnce(&mut Graph, TensorId) -> Result<TensorId, FlowError>,
    ) -> Result<TensorId, FlowError> {
        let [scale, shift, index] = self.affine(g, params, name)?;
        let x = g.emit(&format!("{name}.unpermuted"), Permute { inverse: true }, &[y, index])?;
        let x = g.emit(&format!("{name}.unscaled"), ScaleShift { inverse: true }, &[x, scale, shift])?;
        let st = self.scale_translation(g, name, x, subnet)?;
        Ok(g.emit(&format!("{name}.uncoupled"), self.coupling(true), &[x, st])?)
    }
}

/// Step `k` of the flow called `name`.
pub(super) fn step_name(name: &str, k: u32) -> String {
    format!("{name}.step{k}")
}

/// Emits the normalisation that comes before a flow: over the whole sample, without parameters.
pub(super) fn normalise(g: &mut Graph, name: &str, x: TensorId) -> Result<TensorId, FlowError> {
    Ok(g.emit(&format!("{name}.normal"), LayerNorm { per_position: false, eps: 1e-5 }, &[x])?)
}

/// What a flow computes scale and translation with.
pub(super) trait Subnet {
    /// Emits the subnet of the step called `name`.
    fn subnet(&self, g: &mut Graph, params: &Params, name: &str, x: TensorId) -> Result<TensorId, FlowError>;
}

/// Steps one after the other, each with a subnet of its own.
pub(super) struct Steps<'s> {
    pub step: Step,
    pub count: u32,
    pub subnet: &'s dyn Subnet,
}

impl Steps<'_> {
    /// Emits the forward direction: latent, and log_det per sample or per position.
    pub fn forward(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        x: TensorId,
        per_position: bool,
    ) -> Result<(TensorId, TensorId), FlowError> {
        let (mut h, mut j) = (x, None);
        for k in 0..self.count {
            let at = step_name(name, k);
            let subnet = |g: &mut Graph, x| self.subnet.subnet(g, params, &at, x);
            let (y, log_det) = self.step.forward(g, params, &at, (h, j, per_position), subnet)?;
            (h, j) = (y, Some(log_det));
        }
        j.map(|j| (h, j)).ok_or(FlowError::Config("the flow needs at least one step"))
    }

    /// Emits the inverse direction.
    pub fn inverse(&self, g: &mut Graph, params: &Params, name: &str, z: TensorId) -> Result<TensorId, FlowError> {
        let mut h = z;
        for k in (0..self.count).rev() {
            let at = step_name(name, k);
            h = self.step.inverse(g, params, &at, h, |g, x| self.subnet.subnet(g, params, &at, x))?;
        }
        Ok(h)
    }
}

/// Adds weight and bias of a convolution as `name.w` (out×in×k×k) and `name.b`.
pub(super) fn add_conv(
    params: &mut Params,
    name: &str,
    [out, features, k]: [u32; 3],
    init: Init,
    rng: &mut Rng,
) -> Result<(), FlowError> {
    let bound = match init {
        Init::Uniform => 1.0 / libm::sqrtf((features * k * k) as f32),
        Init::Zero => 0.0,
    };
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| bound * rng.range(-1.0..1.0)).collect() };
    let (w, b) = (Shape([out, features, k, k]), Shape::vector(out));
    let values = draw(w.len());
    params.add(&format!("{name}.w"), w, true, values)?;
    let values = draw(b.len());
    params.add(&format!("{name}.b"), b, true, values)?;
    Ok(())
}

/// A convolution of stride 1 that keeps the extents, kernels being odd.
pub(super) fn conv(
    g: &mut Graph,
    params: &Params,
    name: &str,
    x: TensorId,
    act: Activation,
) -> Result<TensorId, FlowError> {
    let (w, b) = (g.param(params, &format!("{name}.w"))?, g.param(params, &format!("{name}.b"))?);
    Ok(g.emit(name, Conv2d::new().pad(g.shape(w).0[2] / 2).act(act), &[x, w, b])?)
}
