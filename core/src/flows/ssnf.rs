//! The flow of SSNF, trained to give synthetic anomalies a low likelihood: steps whose subnets stack convolutions and
//! self-attention with residual connections.
//!
//! With h channels inside, the subnet is `f = relu(conv(x₁))`; some times `f ← f + conv(relu(conv(f)))`; some times, with
//! layer normalisation over channels LN, `f ← f + W·(attention(Q·LN(f)) + depthwise conv of the values)` and
//! `f ← f + W₂·gelu(W₁·LN(f))`; then a convolution that starts at zero. All convolutions are 3×3. Attention is quadratic in
//! the number of positions, so large maps have none. The step is in `step.rs`; the loss per cell uses
//! [`Ssnf::likelihood`] and `op/cell_hinge.rs`.

use super::step::{self, Step, Steps, Subnet, add_conv, conv, step_name};
use super::{FlowError, Init};
use crate::graph::{Graph, TensorId};
use crate::kernels::activation::Activation;
use crate::kernels::smooth::Curve;
use crate::op::{Add, Attention, Conv2d, LayerNorm, Scale, ScaleShift, Slice, Smooth, SquareSum};
use crate::params::Params;
use crate::rng::Rng;
use crate::shape::Shape;
use alloc::format;
use alloc::vec;

/// Configuration of SSNF's flow on one map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ssnf {
    /// C, channels of the map.
    pub channels: u32,
    /// K, number of steps.
    pub steps: u32,
    /// h, channels inside the subnets.
    pub width: u32,
    /// Residual blocks of two convolutions in each subnet.
    pub convolutions: u32,
    /// Self-attention blocks in each subnet.
    pub attentions: u32,
    /// α of the soft clamp.
    pub clamp: f32,
    /// Whether the last layer of every subnet starts at zero.
    pub zero_last: bool,
}

impl Ssnf {
    /// The setting for a map of C×H×W: 4 steps, one convolution block, one attention block where there are at most `attended`
    /// positions, as many channels inside as the subnet sees but 32 to 128.
    pub fn for_map(map: Shape, attended: u32) -> Ssnf {
        let seen = map.c() - map.c() / 2;
        let attentions = u32::from(map.positions() <= attended as usize);
        let width = seen.clamp(32, 128);
        Ssnf { channels: map.c(), steps: 4, width, convolutions: 1, attentions, clamp: 2.0, zero_last: true }
    }

    fn check(&self) -> Result<(), FlowError> {
        step::check(self.channels, self.steps, self.clamp)?;
        if !(1..=4096).contains(&self.width) || self.convolutions > 16 || self.attentions > 16 {
            return Err(FlowError::Config("SSNF needs a width of 1..=4096 and at most 16 blocks of each kind"));
        }
        Ok(())
    }

    fn step(&self) -> Step {
        Step { channels: self.channels, clamp: self.clamp }
    }

    /// Heads of 32 channels or more, as many as divide the width.
    fn heads(&self) -> u32 {
        (1..=(self.width / 32).max(1)).rev().find(|heads| self.width.is_multiple_of(*heads)).unwrap_or(1)
    }

    /// Adds the flow's parameters, drawn from `seed`; their names begin with `name`. Maps of one model need a seed each.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Param`] where a parameter of such a name is there.
    pub fn init(&self, params: &mut Params, name: &str, seed: u64) -> Result<(), FlowError> {
        self.check()?;
        let h = self.width;
        for k in 0..self.steps {
            let (at, block) = (step_name(name, k), self.step());
            block.init(params, &at, &mut Rng::new(seed, u64::from(k), 0))?;
            let rng = &mut Rng::new(seed, u64::from(k), 1);
            let mut add =
                |layer: &str, dims: [u32; 3], init: Init| add_conv(params, &format!("{at}.{layer}"), dims, init, rng);
            add("first", [h, block.seen(), 3], Init::Uniform)?;
            for i in 0..self.convolutions {
                add(&format!("conv{i}.1"), [h, h, 3], Init::Uniform)?;
                add(&format!("conv{i}.2"), [h, h, 3], Init::Uniform)?;
            }
            for i in 0..self.attentions {
                add(&format!("attention{i}.qkv"), [3 * h, h, 1], Init::Uniform)?;
                add(&format!("attention{i}.position"), [h, 1, 3], Init::Uniform)?;
                add(&format!("attention{i}.out"), [h, h, 1], Init::Uniform)?;
                add(&format!("attention{i}.1"), [2 * h, h, 1], Init::Uniform)?;
                add(&format!("attention{i}.2"), [h, 2 * h, 1], Init::Uniform)?;
            }
            let last = if self.zero_last { Init::Zero } else { Init::Uniform };
            add("last", [2 * block.active(), h, 3], last)?;
            for i in 0..self.attentions {
                for norm in ["norm1", "norm2"] {
                    let (name, shape) = (format!("{at}.attention{i}.{norm}"), Shape::vector(h));
                    params.add(&format!("{name}.scale"), shape, true, vec![1.0; h as usize])?;
                    params.add(&format!("{name}.shift"), shape, true, vec![0.0; h as usize])?;
                }
            }
        }
        Ok(())
    }

    /// Emits the normalisation that comes before the flow.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn normalise(&self, g: &mut Graph, name: &str, x: TensorId) -> Result<TensorId, FlowError> {
        step::normalise(g, name, x)
    }

    /// Emits the forward direction: latent z, as large as x, and log_det, one number per sample.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn forward(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        x: TensorId,
    ) -> Result<(TensorId, TensorId), FlowError> {
        self.steps()?.forward(g, params, name, x, false)
    }

    /// Emits the forward direction with what each position adds to log_det, 1×H×W.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn forward_map(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        x: TensorId,
    ) -> Result<(TensorId, TensorId), FlowError> {
        self.steps()?.forward(g, params, name, x, true)
    }

    fn steps(&self) -> Result<Steps<'_>, FlowError> {
        self.check()?;
        Ok(Steps { step: self.step(), count: self.steps, subnet: self })
    }

    /// Emits the inverse direction: the normalised map of latent z.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn inverse(&self, g: &mut Graph, params: &Params, name: &str, z: TensorId) -> Result<TensorId, FlowError> {
        self.steps()?.inverse(g, params, name, z)
    }

    /// Emits the negative log-likelihood of each cell and channel up to a constant, `n_q = (½‖z_q‖² − j_q)/C`, 1×H×W, from the
    /// outputs of [`Ssnf::forward_map`].
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn likelihood(&self, g: &mut Graph, name: &str, z: TensorId, j: TensorId) -> Result<TensorId, FlowError> {
        let share = 1.0 / self.channels as f32;
        let squares = SquareSum { scale: 0.5 * share, per_position: true, root: false };
        let squares = g.emit(&format!("{name}.squares"), squares, &[z])?;
        let j = g.emit(&format!("{name}.minus_j"), Scale { factor: -share }, &[j])?;
        Ok(g.emit(&format!("{name}.nll"), Add {}, &[squares, j])?)
    }
}

impl Subnet for Ssnf {
    fn subnet(&self, g: &mut Graph, params: &Params, name: &str, x: TensorId) -> Result<TensorId, FlowError> {
        let mut f = conv(g, params, &format!("{name}.first"), x, Activation::Relu)?;
        for i in 0..self.convolutions {
            let h = conv(g, params, &format!("{name}.conv{i}.1"), f, Activation::Relu)?;
            f = residual(g, params, &format!("{name}.conv{i}.2"), h, f)?;
        }
        for i in 0..self.attentions {
            let at = format!("{name}.attention{i}");
            let normal = norm(g, params, &format!("{at}.norm1"), f)?;
            let qkv = conv(g, params, &format!("{at}.qkv"), normal, Activation::None)?;
            let o = g.emit(&format!("{at}.heads"), Attention { heads: self.heads() }, &[qkv])?;
            let values = Slice { first: 2 * self.width, count: self.width };
            let v = g.emit(&format!("{at}.values"), values, &[qkv])?;
            let position = format!("{at}.position");
            let (w, b) = (g.param(params, &format!("{position}.w"))?, g.param(params, &format!("{position}.b"))?);
            let o = g.emit(&position, Conv2d::new().pad(1).groups(self.width), &[v, w, b, o])?;
            f = residual(g, params, &format!("{at}.out"), o, f)?;
            let normal = norm(g, params, &format!("{at}.norm2"), f)?;
            let h = conv(g, params, &format!("{at}.1"), normal, Activation::None)?;
            let h = g.emit(&format!("{at}.gelu"), Smooth { curve: Curve::Gelu }, &[h])?;
            f = residual(g, params, &format!("{at}.2"), h, f)?;
        }
        conv(g, params, &format!("{name}.last"), f, Activation::None)
    }
}

/// `r + conv(x)`.
fn residual(g: &mut Graph, params: &Params, name: &str, x: TensorId, r: TensorId) -> Result<TensorId, FlowError> {
    let (w, b) = (g.param(params, &format!("{name}.w"))?, g.param(params, &format!("{name}.b"))?);
    Ok(g.emit(name, Conv2d::new().pad(g.shape(w).0[2] / 2), &[x, w, b, r])?)
}

/// Layer normalisation over channels with a trainable scale and shift.
fn norm(g: &mut Graph, params: &Params, name: &str, x: TensorId) -> Result<TensorId, FlowError> {
    let normal = g.emit(&format!("{name}.normal"), LayerNorm { per_position: true, eps: 1e-5 }, &[x])?;
    let (scale, shift) = (g.param(params, &format!("{name}.scale"))?, g.param(params, &format!("{name}.shift"))?);
    Ok(g.emit(name, ScaleShift { inverse: false }, &[normal, scale, shift])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_many_as_computed_by_hand() {
        for (maps, count) in [([256, 512, 1024], 17_021_440), ([64, 128, 256], 4_550_272), ([24, 32, 96], 775_328)] {
            let mut params = Params::new();
            for (channels, side) in maps.into_iter().zip([64, 32, 16]) {
                let flow = Ssnf::for_map(Shape::chw(channels, side, side), 1024);
                flow.init(&mut params, &format!("map{channels}"), 0).unwrap();
            }
            assert_eq!(params.trainable_count(), count);
        }
    }

    #[test]
    fn heads_divide_the_width() {
        let flow = |width| Ssnf { width, ..Ssnf::for_map(Shape::chw(64, 8, 8), 1024) };
        let heads = [1, 32, 48, 64, 72, 97, 128].map(|w| flow(w).heads());
        assert_eq!(heads, [1, 1, 1, 2, 2, 1, 4]);
    }
}
