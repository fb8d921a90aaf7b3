//! CS-Flow: one flow over the feature maps of an image at three scales, each half as large as the one before (Rudolph et al.
//! 2022, "Fully convolutional cross-scale-flows").
//!
//! Each block permutes the channels of every scale and splits them in halves x₁ and x₂. A subnet sees the second halves of all
//! scales and gives scale and translation for the first ones of all: `y₁ = x₁·exp(σ(s₂)) + t₂` with `[s₂ ‖ t₂] = N₂(x₂)`;
//! then `y₂ = x₂·exp(σ(s₁)) + t₁` with `[s₁ ‖ t₁] = N₁(y₁)`. In a subnet a convolution and a leaky relu (slope 0.1) widen each
//! scale; its output is a convolution of that plus one of the next coarser scale, enlarged twofold, plus one of stride 2
//! of the next finer scale; all times γ, a learned number a scale that starts at zero. The inverse undoes the second half first:
//! y₁ is x₁ still transformed when N₁ needs it.

use super::step::{add_conv, conv};
use super::{FlowError, Init, add_log_det};
use crate::graph::{Graph, TensorId};
use crate::kernels::activation::Activation;
use crate::kernels::coupling::SoftClamp;
use crate::op::{Activate, Add, Conv2d, Coupling, Gain, Interpolation, LogDet, Permute, Resize, Scale, Slice};
use crate::params::Params;
use crate::rng::Rng;
use crate::shape::Shape;
use alloc::format;
use alloc::vec;

/// Number of scales.
pub const SCALES: usize = 3;
/// Slope of the leaky relu below zero.
const SLOPE: f32 = 0.1;

/// Configuration of CS-Flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CsFlow {
    /// C, channels of each map; even.
    pub channels: u32,
    /// Number of blocks.
    pub blocks: u32,
    /// Channels inside the subnets.
    pub width: u32,
    /// α of the soft clamp.
    pub clamp: f32,
}

impl CsFlow {
    /// The setting of the paper: 4 blocks of width 1024, α = 3.
    pub fn paper(channels: u32) -> CsFlow {
        CsFlow { channels, blocks: 4, width: 1024, clamp: 3.0 }
    }

    fn check(&self) -> Result<(), FlowError> {
        let fine = self.channels.is_multiple_of(2) && (2..=1 << 14).contains(&self.channels);
        if !fine || !(1..=64).contains(&self.blocks) || !(1..=1 << 14).contains(&self.width) {
            return Err(FlowError::Config("CS-Flow needs 2..=16384 channels, even, 1..=64 blocks and a width"));
        }
        if !(self.clamp > 0.0 && self.clamp.is_finite()) {
            return Err(FlowError::Config("CS-Flow needs a positive clamp"));
        }
        Ok(())
    }

    /// Side of the kernels: 3, and 5 in the last block.
    fn kernel(&self, block: u32) -> u32 {
        if block + 1 == self.blocks { 5 } else { 3 }
    }

    /// Adds the flow's parameters, called `name` and so on, drawn from `seed`.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Param`] where a parameter of such a name is there.
    pub fn init(&self, params: &mut Params, name: &str, seed: u64) -> Result<(), FlowError> {
        self.check()?;
        let (half, width) = (self.channels / 2, self.width);
        for block in 0..self.blocks {
            let mut rng = Rng::new(seed, u64::from(block), 0);
            for scale in 0..SCALES {
                let mut index = vec![0; self.channels as usize];
                rng.permutation(&mut index);
                params.add_index(&format!("{name}.block{block}.permutation{scale}"), &index)?;
            }
            let k = self.kernel(block);
            for net in 1..=2 {
                let net = format!("{name}.block{block}.net{net}");
                for scale in 0..SCALES {
                    add_conv(params, &format!("{net}.in{scale}"), [width, half, k], Init::Uniform, &mut rng)?;
                    add_conv(params, &format!("{net}.out{scale}"), [2 * half, width, k], Init::Uniform, &mut rng)?;
                    params.add(&format!("{net}.gamma{scale}"), Shape::SCALAR, true, vec![0.0])?;
                }
                for path in ["up0", "up1", "down1", "down2"] {
                    add_conv(params, &format!("{net}.{path}"), [2 * half, width, k], Init::Uniform, &mut rng)?;
                }
            }
        }
        Ok(())
    }

    /// Scale and translation for one half of all scales, from the other half.
    fn subnet(
        &self,
        g: &mut Graph,
        params: &Params,
        net: &str,
        xs: [TensorId; SCALES],
    ) -> Result<[TensorId; SCALES], FlowError> {
        let mut ys = xs;
        for (scale, y) in ys.iter_mut().enumerate() {
            let name = format!("{net}.in{scale}");
            let x = conv(g, params, &name, *y, Activation::None)?;
            // leaky(x) = slope·x + (1 − slope)·relu(x)
            let relu = g.emit(&format!("{name}.relu"), Activate { act: Activation::Relu }, &[x])?;
            let high = g.emit(&format!("{name}.high"), Scale { factor: 1.0 - SLOPE }, &[relu])?;
            let low = g.emit(&format!("{name}.low"), Scale { factor: SLOPE }, &[x])?;
            *y = g.emit(&format!("{name}.leaky"), Add {}, &[high, low])?;
        }
        let mut out = ys;
        for (scale, out) in out.iter_mut().enumerate() {
            let mut sum = conv(g, params, &format!("{net}.out{scale}"), ys[scale], Activation::None)?;
            if scale > 0 {
                // From the finer scale; a convolution adds what it is given as a residual.
                let name = format!("{net}.down{scale}");
                let (w, b) = (g.param(params, &format!("{name}.w"))?, g.param(params, &format!("{name}.b"))?);
                let op = Conv2d::new().stride(2).pad(g.shape(w).0[2] / 2);
                sum = g.emit(&name, op, &[ys[scale - 1], w, b, sum])?;
            }
            if scale + 1 < SCALES {
                let name = format!("{net}.up{scale}");
                let (h, w) = (g.shape(sum).h(), g.shape(sum).w());
                let resize = Resize { h, w, mode: Interpolation::Bilinear };
                let large = g.emit(&format!("{name}.large"), resize, &[ys[scale + 1]])?;
                let (w, b) = (g.param(params, &format!("{name}.w"))?, g.param(params, &format!("{name}.b"))?);
                sum = g.emit(&name, Conv2d::new().pad(g.shape(w).0[2] / 2), &[large, w, b, sum])?;
            }
            let gamma = g.param(params, &format!("{net}.gamma{scale}"))?;
            *out = g.emit(&format!("{net}.st{scale}"), Gain {}, &[sum, gamma])?;
        }
        Ok(out)
    }

    /// Transforms one half of the channels of all scales from the other, or undoes it. Half 1 is the first one.
    fn couple(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        half: u32,
        xs: [TensorId; SCALES],
        inverse: bool,
    ) -> Result<([TensorId; SCALES], [TensorId; SCALES]), FlowError> {
        let count = self.channels / 2;
        let (offset, seen) = if half == 1 { (0, count) } else { (count, 0) };
        // Net 2 sees the second half and transforms the first.
        let net = format!("{name}.net{}", 3 - half);
        let mut conditions = xs;
        for (scale, x) in conditions.iter_mut().enumerate() {
            *x = g.emit(&format!("{net}.seen{scale}"), Slice { first: seen, count }, &[*x])?;
        }
        let st = self.subnet(g, params, &net, conditions)?;
        let mut ys = xs;
        for (scale, y) in ys.iter_mut().enumerate() {
            let clamp = self.clamp;
            let op = Coupling { groups: 1, offset, active: count, clamp, inverse, form: SoftClamp::Atan };
            *y = g.emit(&format!("{net}.y{scale}"), op, &[*y, st[scale]])?;
        }
        Ok((ys, st))
    }

    /// Emits the forward direction: latents of the maps, finest first, each half as high and wide as the one before, and
    /// log_det of each sample over all of them.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn forward(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        xs: [TensorId; SCALES],
    ) -> Result<([TensorId; SCALES], TensorId), FlowError> {
        self.check()?;
        let halves =
            |a: Shape, b: Shape| b == Shape::chw(self.channels, a.h() / 2, a.w() / 2) && a.h().is_multiple_of(2);
        let shapes = xs.map(|x| g.shape(x));
        if shapes[0].c() != self.channels || !halves(shapes[0], shapes[1]) || !halves(shapes[1], shapes[2]) {
            return Err(FlowError::Config("CS-Flow needs maps each half as high and wide as the one before"));
        }
        let (mut hs, mut j) = (xs, None);
        for block in 0..self.blocks {
            let name = format!("{name}.block{block}");
            for (scale, h) in hs.iter_mut().enumerate() {
                let index = g.param(params, &format!("{name}.permutation{scale}"))?;
                *h = g.emit(&format!("{name}.permuted{scale}"), Permute { inverse: false }, &[*h, index])?;
            }
            for half in 1..=2 {
                let st;
                (hs, st) = self.couple(g, params, &name, half, hs, false)?;
                for (scale, st) in st.into_iter().enumerate() {
                    let op = LogDet { groups: 1, clamp: self.clamp, form: SoftClamp::Atan, per_position: false };
                    j = Some(add_log_det(g, &format!("{name}.log_det{half}.{scale}"), op, st, j)?);
                }
            }
        }
        j.map(|j| (hs, j)).ok_or(FlowError::Config("CS-Flow needs at least one block"))
    }

    /// Emits the inverse direction: maps of latents.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn inverse(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        zs: [TensorId; SCALES],
    ) -> Result<[TensorId; SCALES], FlowError> {
        self.check()?;
        let mut hs = zs;
        for block in (0..self.blocks).rev() {
            let name = format!("{name}.block{block}");
            for half in [2, 1] {
                (hs, _) = self.couple(g, params, &name, half, hs, true)?;
            }
            for (scale, h) in hs.iter_mut().enumerate() {
                let index = g.param(params, &format!("{name}.permutation{scale}"))?;
                *h = g.emit(&format!("{name}.unpermuted{scale}"), Permute { inverse: true }, &[*h, index])?;
            }
        }
        Ok(hs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_flow_has_the_papers_parameters() {
        // Without drawing 275 million numbers: a subnet's count is a formula of kernel, half and width.
        let mut params = Params::new();
        let flow = CsFlow { channels: 8, blocks: 2, width: 6, clamp: 3.0 };
        flow.init(&mut params, "cs", 0).unwrap();
        let subnet = |k: u64, half: u64, width: u64| {
            3 * (width * half * k * k + width) + 7 * (2 * half * width * k * k + 2 * half) + 3
        };
        assert_eq!(params.trainable_count() as u64, 2 * (subnet(3, 4, 6) + subnet(5, 4, 6)));
        let (three, five) = (subnet(3, 152, 1024), subnet(5, 152, 1024));
        assert_eq!((three, five), (23_819_347, 66_155_603));
        assert_eq!(2 * (3 * three + five), 275_227_288);
    }
}
