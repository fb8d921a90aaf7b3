//! A flow over feature maps that knows where it is: dense couplings of 1×1 convolutions, conditioned on the position.
//!
//! All positions share one flow, as in CFLOW-AD (Gudovskiy et al. 2022, "conditional normalizing flows"), but its input is
//! whitened by the Gaussian of its own position first (PaDiM), so that a fresh flow, whose couplings are the identity, is
//! that Gaussian, and training can only add what a Gaussian misses. Each block permutes the channels and runs a tree of
//! couplings as in [`DenseFlow`](super::DenseFlow), `depth` levels below the root: `w ← w·exp(σ(s)) + t` with
//! `[s ‖ t] = N([u ‖ code])`, N two 1×1 convolutions with a ReLU between them. The code of a position is sines and cosines of
//! its row and column, in three octaves: smooth, so that a position learns from its neighbours.

use super::step::{add_conv, conv};
use super::{FlowError, Init, add_log_det};
use crate::graph::{Graph, TensorId};
use crate::kernels::activation::Activation;
use crate::kernels::coupling::SoftClamp;
use crate::op::{Concat, Coupling, LogDet, Permute, Slice};
use crate::params::Params;
use crate::rng::Rng;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Octaves of the code of a position.
const OCTAVES: u32 = 3;

/// Configuration of a position-conditioned flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositionFlow {
    /// C, channels of the map.
    pub channels: u32,
    /// K, number of blocks.
    pub blocks: u32,
    /// Hidden channels of the subnets at the root; half as many a level further down, at least 8.
    pub width: u32,
    /// Levels of couplings below the root: 0 is one coupling a block.
    pub depth: u32,
    /// α of the soft clamp.
    pub clamp: f32,
    /// Whether the last layer of every subnet starts at zero.
    pub zero_last: bool,
}

/// A coupling of a tree: its channels, and its level.
#[derive(Clone, Copy, Debug)]
struct Node {
    first: u32,
    size: u32,
    level: u32,
}

impl Node {
    fn condition(&self) -> u32 {
        self.size / 2
    }
}

impl PositionFlow {
    /// Channels of the code of a position.
    pub const CODE: u32 = 4 * OCTAVES;

    /// The codes of a map's positions, [`CODE`](Self::CODE)×h×w: `sin(2ᵏ·π/2·q)` and `cos(2ᵏ·π/2·q)` for octaves k = 0, 1, 2
    /// and q the row, then the column, in −1..1.
    pub fn code(h: u32, w: u32) -> Vec<f32> {
        let place = |i: u32, n: u32| if n > 1 { 2.0 * f64::from(i) / f64::from(n - 1) - 1.0 } else { 0.0 };
        let mut out = Vec::with_capacity((Self::CODE * h * w) as usize);
        for channel in 0..Self::CODE {
            let angle = core::f64::consts::FRAC_PI_2 * f64::from(1u32 << (channel / 4));
            for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
                let q = if channel % 4 < 2 { place(i, h) } else { place(j, w) };
                out.push(if channel % 2 == 0 { libm::sin(angle * q) } else { libm::cos(angle * q) } as f32);
            }
        }
        out
    }

    fn check(&self) -> Result<(), FlowError> {
        let fine = (2..=1 << 14).contains(&self.channels) && (1..=64).contains(&self.blocks) && self.depth <= 16;
        if !fine || self.width == 0 || self.width > 1 << 14 || !(self.clamp > 0.0 && self.clamp.is_finite()) {
            return Err(FlowError::Config(
                "a position flow needs 2..=16384 channels, 1..=64 blocks, at most 16 levels, a width and a positive clamp",
            ));
        }
        Ok(())
    }

    /// The couplings of a block in the order they run: children before their parents.
    fn nodes(&self) -> Vec<Node> {
        fn visit(node: Node, depth: u32, out: &mut Vec<Node>) {
            if node.level < depth && node.size >= 4 {
                let half = node.condition();
                visit(Node { size: half, level: node.level + 1, ..node }, depth, out);
                visit(Node { first: node.first + half, size: node.size - half, level: node.level + 1 }, depth, out);
            }
            out.push(node);
        }
        let mut out = Vec::new();
        visit(Node { first: 0, size: self.channels, level: 0 }, self.depth, &mut out);
        out
    }

    /// Adds the flow's parameters, called `name` and so on, drawn from `seed`.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Param`] where a parameter of such a name is there.
    pub fn init(&self, params: &mut Params, name: &str, seed: u64) -> Result<(), FlowError> {
        self.check()?;
        for block in 0..self.blocks {
            let mut index = vec![0; self.channels as usize];
            let mut rng = Rng::new(seed, u64::from(block), self.channels);
            rng.permutation(&mut index);
            params.add_index(&format!("{name}.block{block}.permutation"), &index)?;
            for (n, node) in self.nodes().into_iter().enumerate() {
                let subnet = subnet(name, block, n);
                let (inputs, outputs) = (node.condition() + Self::CODE, 2 * (node.size - node.condition()));
                let width = (self.width >> node.level).max(8);
                let last = if self.zero_last { Init::Zero } else { Init::Uniform };
                add_conv(params, &format!("{subnet}.1"), [width, inputs, 1], Init::Uniform, &mut rng)?;
                add_conv(params, &format!("{subnet}.2"), [outputs, width, 1], last, &mut rng)?;
            }
        }
        Ok(())
    }

    /// One coupling over all channels; returns them and scale and translation.
    fn coupling(
        &self,
        g: &mut Graph,
        params: &Params,
        subnet: &str,
        node: Node,
        [x, code]: [TensorId; 2],
        inverse: bool,
    ) -> Result<(TensorId, TensorId), FlowError> {
        let slice =
            |g: &mut Graph, what: &str, first, count| g.emit(&format!("{subnet}.{what}"), Slice { first, count }, &[x]);
        let condition = slice(g, "condition", node.first, node.condition())?;
        let mut h = g.emit(&format!("{subnet}.in"), Concat {}, &[condition, code])?;
        for (layer, act) in [("1", Activation::Relu), ("2", Activation::None)] {
            h = conv(g, params, &format!("{subnet}.{layer}"), h, act)?;
        }
        let (offset, active) = (node.first + node.condition(), node.size - node.condition());
        let coupling = Coupling { groups: 1, offset, active, clamp: self.clamp, inverse, form: SoftClamp::Atan };
        Ok((g.emit(&format!("{subnet}.out"), coupling, &[x, h])?, h))
    }

    /// Emits the forward direction: latent z of whitened features x and log_det of each sample.
    /// `code` is batched, [`CODE`](Self::CODE)×H×W.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn forward(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        x: TensorId,
        code: TensorId,
    ) -> Result<(TensorId, TensorId), FlowError> {
        self.check()?;
        let (mut h, mut j) = (x, None);
        for block in 0..self.blocks {
            let index = g.param(params, &format!("{name}.block{block}.permutation"))?;
            h = g.emit(&format!("{name}.block{block}.permuted"), Permute { inverse: false }, &[h, index])?;
            for (n, node) in self.nodes().into_iter().enumerate() {
                let subnet = subnet(name, block, n);
                let st;
                (h, st) = self.coupling(g, params, &subnet, node, [h, code], false)?;
                let op = LogDet { groups: 1, clamp: self.clamp, form: SoftClamp::Atan, per_position: false };
                j = Some(add_log_det(g, &format!("{subnet}.log_det"), op, st, j)?);
            }
        }
        j.map(|j| (h, j)).ok_or(FlowError::Config("a position flow needs at least one coupling"))
    }

    /// Emits the inverse direction: whitened features of latent z.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn inverse(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        z: TensorId,
        code: TensorId,
    ) -> Result<TensorId, FlowError> {
        self.check()?;
        let mut h = z;
        for block in (0..self.blocks).rev() {
            for (n, node) in self.nodes().into_iter().enumerate().rev() {
                (h, _) = self.coupling(g, params, &subnet(name, block, n), node, [h, code], true)?;
            }
            let index = g.param(params, &format!("{name}.block{block}.permutation"))?;
            h = g.emit(&format!("{name}.block{block}.unpermuted"), Permute { inverse: true }, &[h, index])?;
        }
        Ok(h)
    }
}

fn subnet(name: &str, block: u32, node: usize) -> String {
    format!("{name}.block{block}.node{node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_positions_apart_and_lie_in_range() {
        let (h, w) = (7, 5);
        let code = PositionFlow::code(h, w);
        assert_eq!(code.len() as u32, PositionFlow::CODE * h * w);
        assert!(code.iter().all(|c| c.abs() <= 1.0));
        let at = |p: usize| -> Vec<f32> { code.iter().skip(p).step_by((h * w) as usize).copied().collect() };
        for p in 0..(h * w) as usize {
            assert!((0..p).all(|q| at(p).iter().zip(at(q)).any(|(a, b)| (a - b).abs() > 0.05)), "{p}");
        }
    }

    #[test]
    fn a_block_has_a_coupling_for_each_node_children_first() {
        let flow = PositionFlow { channels: 10, blocks: 1, width: 16, depth: 2, clamp: 1.0, zero_last: true };
        let nodes: Vec<(u32, u32)> = flow.nodes().iter().map(|n| (n.first, n.size)).collect();
        assert_eq!(nodes, [(0, 2), (2, 3), (0, 5), (5, 2), (7, 3), (5, 5), (0, 10)].map(|(f, s)| (f, s)).to_vec());
    }
}
