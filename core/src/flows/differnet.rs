//! DifferNet's flow: blocks of a fixed permutation and a two-sided affine coupling (RealNVP/Glow).
//!
//! With the permuted features split into halves x₁, x₂ and subnets N₁, N₂ that give s‖t:
//! `y₁ = x₁·exp(σ(s₂)) + t₂` with (s₂, t₂) = N₂(x₂), then `y₂ = x₂·exp(σ(s₁)) + t₁` with (s₁, t₁) = N₁(y₁).
//! Subnets: three hidden layers with relu. Permutations are those of NumPy's legacy generator seeded with the block's
//! number, because published weights rely on them and do not contain them.

use super::{FlowError, Init, add_linear, add_log_det};
use crate::graph::{Graph, TensorId};
use crate::kernels::activation::Activation;
use crate::kernels::coupling::SoftClamp;
use crate::op::{Coupling, Linear, LogDet, Permute};
use crate::params::Params;
use crate::rng::{Rng, numpy_permutation};
use alloc::format;
use alloc::vec;

/// Configuration of DifferNet's flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DifferNetFlow {
    /// D, dimension of the features; even.
    pub dims: u32,
    /// Number of coupling blocks.
    pub blocks: u32,
    /// Width of the subnets' hidden layers.
    pub width: u32,
    /// α of the soft clamp.
    pub clamp: f32,
}

impl DifferNetFlow {
    /// The setting of the paper: 8 blocks of width 2048, α = 3.
    pub fn paper(dims: u32) -> DifferNetFlow {
        DifferNetFlow { dims, blocks: 8, width: 2048, clamp: 3.0 }
    }

    fn check(&self) -> Result<(), FlowError> {
        let fine = self.dims >= 2
            && self.dims.is_multiple_of(2)
            && self.dims <= 1 << 16
            && self.blocks >= 1
            && self.blocks <= 64;
        if !fine || self.width == 0 || self.width > 1 << 16 || !(self.clamp > 0.0 && self.clamp.is_finite()) {
            return Err(FlowError::Config(
                "DifferNet's flow needs even dims, 1..=64 blocks, a width and a positive clamp",
            ));
        }
        Ok(())
    }

    /// Adds the flow's parameters, drawn from `seed`.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Param`] where a parameter of such a name is there.
    pub fn init(&self, params: &mut Params, seed: u64) -> Result<(), FlowError> {
        self.check()?;
        let (half, h) = (self.dims / 2, self.width);
        for block in 0..self.blocks {
            let mut index = vec![0; self.dims as usize];
            numpy_permutation(block, &mut index);
            params.add_index(&format!("block{block}.permutation"), &index)?;
            for subnet in [2, 1] {
                let mut rng = Rng::new(seed, u64::from(block), subnet);
                for (layer, (out, features)) in [(h, half), (h, h), (h, h), (self.dims, h)].into_iter().enumerate() {
                    let name = format!("block{block}.subnet{subnet}.{}", layer + 1);
                    add_linear(params, &name, [1, out, features], Init::Uniform, &mut rng)?;
                }
            }
        }
        Ok(())
    }

    /// Subnet 2 reads the second half and changes the first; subnet 1 the other way.
    fn coupling(
        &self,
        g: &mut Graph,
        params: &Params,
        at: (u32, u32),
        x: TensorId,
        inverse: bool,
    ) -> Result<(TensorId, TensorId), FlowError> {
        let (block, subnet) = at;
        let half = self.dims / 2;
        let (reads, changes) = if subnet == 2 { (half, 0) } else { (0, half) };
        let mut h = x;
        for layer in 1..=4 {
            let name = format!("block{block}.subnet{subnet}.{layer}");
            let (w, b) = (g.param(params, &format!("{name}.w"))?, g.param(params, &format!("{name}.b"))?);
            let act = if layer < 4 { Activation::Relu } else { Activation::None };
            let offset = if layer == 1 { reads } else { 0 };
            h = g.emit(&name, Linear { share: 1, offset, stride: 0, act }, &[h, w, b])?;
        }
        let coupling =
            Coupling { groups: 1, offset: changes, active: half, clamp: self.clamp, inverse, form: SoftClamp::Atan };
        Ok((g.emit(&format!("block{block}.half{subnet}"), coupling, &[x, h])?, h))
    }

    /// Emits the forward direction: latent z and log_det (one number per sample) of features x.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn forward(&self, g: &mut Graph, params: &Params, x: TensorId) -> Result<(TensorId, TensorId), FlowError> {
        self.check()?;
        let (mut h, mut j) = (x, None);
        for block in 0..self.blocks {
            let index = g.param(params, &format!("block{block}.permutation"))?;
            h = g.emit(&format!("block{block}.permuted"), Permute { inverse: false }, &[h, index])?;
            for subnet in [2, 1] {
                let (y, st) = self.coupling(g, params, (block, subnet), h, false)?;
                h = y;
                let op = LogDet { groups: 1, clamp: self.clamp, form: SoftClamp::Atan, per_position: false };
                j = Some(add_log_det(g, &format!("block{block}.log_det{subnet}"), op, st, j)?);
            }
        }
        j.map(|j| (h, j)).ok_or(FlowError::Config("the flow needs at least one block"))
    }

    /// Emits the inverse direction: features of latent z.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn inverse(&self, g: &mut Graph, params: &Params, z: TensorId) -> Result<TensorId, FlowError> {
        self.check()?;
        let mut h = z;
        for block in (0..self.blocks).rev() {
            for subnet in [1, 2] {
                (h, _) = self.coupling(g, params, (block, subnet), h, true)?;
            }
            let index = g.param(params, &format!("block{block}.permutation"))?;
            h = g.emit(&format!("block{block}.unpermuted"), Permute { inverse: true }, &[h, index])?;
        }
        Ok(h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_flow_has_the_papers_parameters() {
        let mut params = Params::new();
        DifferNetFlow { width: 512, ..DifferNetFlow::paper(768) }.init(&mut params, 0).unwrap();
        assert_eq!(params.trainable_count(), 17_862_656);
        // The full width is 688 MB; its count follows from the layers.
        let (d, h) = (768u64, 2048u64);
        let subnet = d / 2 * h + h + 2 * (h * h + h) + h * d + d;
        assert_eq!(16 * subnet, 172_077_056);
    }
}
