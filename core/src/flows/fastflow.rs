//! FastFlow: steps on a feature map whose subnets are two convolutions (Yu et al. 2021; numbers and constants of the widely
//! used implementation by gathierry, on FrEIA's all-in-one block).
//!
//! The subnet is conv k×k, relu, conv k×k, with k = 3 in every step or 3 and 1 in turn. The map is first normalised over the
//! whole sample, without parameters. A flow has one map; names of its parameters begin with what the caller says. The step is
//! in `step.rs`.

use super::step::{self, Step, Steps, Subnet, add_conv, conv, step_name};
use super::{FlowError, Init};
use crate::graph::{Graph, TensorId};
use crate::kernels::activation::Activation;
use crate::params::Params;
use crate::rng::Rng;
use alloc::format;

/// Sides of the kernels from step to step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernels {
    /// 3 in every step.
    Three,
    /// 3 in the first step, 1 in the second, and so on.
    ThreeOne,
}

/// Configuration of FastFlow on one map.
///
/// ```
/// use adflow::flows::{FastFlow, FlowError};
/// use adflow::graph::Graph;
/// use adflow::params::Params;
/// use adflow::shape::Shape;
/// let flow = FastFlow { steps: 4, ..FastFlow::paper(64) };
/// let (mut params, mut graph) = (Params::new(), Graph::new());
/// flow.init(&mut params, "fine", 0)?;
/// let map = graph.input("map", Shape::chw(64, 28, 28));
/// let normal = flow.normalise(&mut graph, "fine.normal", map)?;
/// let (z, log_det) = flow.forward_map(&mut graph, &params, "fine", normal)?;
/// assert_eq!((graph.shape(z), graph.shape(log_det)), (Shape::chw(64, 28, 28), Shape::chw(1, 28, 28)));
/// # Ok::<(), FlowError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FastFlow {
    /// C, channels of the map.
    pub channels: u32,
    /// K, number of steps.
    pub steps: u32,
    /// Kernels of the subnets.
    pub kernels: Kernels,
    /// Channels between the two convolutions, as a share of those that the subnet sees.
    pub ratio: f32,
    /// α of the soft clamp.
    pub clamp: f32,
}

impl FastFlow {
    /// The setting for convolutional backbones: 8 steps, kernels 3 and 1 in turn, α = 2.
    pub fn paper(channels: u32) -> FastFlow {
        FastFlow { channels, steps: 8, kernels: Kernels::ThreeOne, ratio: 1.0, clamp: 2.0 }
    }

    fn check(&self) -> Result<(), FlowError> {
        step::check(self.channels, self.steps, self.clamp)?;
        if !(self.ratio > 0.0 && self.ratio <= 16.0) {
            return Err(FlowError::Config("FastFlow needs a hidden ratio in 0..=16"));
        }
        Ok(())
    }

    fn step(&self) -> Step {
        Step { channels: self.channels, clamp: self.clamp }
    }

    fn hidden(&self) -> u32 {
        ((self.step().seen() as f32 * self.ratio) as u32).max(1)
    }

    fn kernel(&self, step: u32) -> u32 {
        if self.kernels == Kernels::ThreeOne && step % 2 == 1 { 1 } else { 3 }
    }

    /// Adds the flow's parameters, drawn from `seed`; their names begin with `name`. Maps of one model need a seed each.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Param`] where a parameter of such a name is there.
    pub fn init(&self, params: &mut Params, name: &str, seed: u64) -> Result<(), FlowError> {
        self.check()?;
        for k in 0..self.steps {
            let (at, block) = (step_name(name, k), self.step());
            block.init(params, &at, &mut Rng::new(seed, u64::from(k), 0))?;
            let (h, side, mut rng) = (self.hidden(), self.kernel(k), Rng::new(seed, u64::from(k), 1));
            add_conv(params, &format!("{at}.1"), [h, block.seen(), side], Init::Uniform, &mut rng)?;
            add_conv(params, &format!("{at}.2"), [2 * block.active(), h, side], Init::Uniform, &mut rng)?;
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
}

impl Subnet for FastFlow {
    fn subnet(&self, g: &mut Graph, params: &Params, name: &str, x: TensorId) -> Result<TensorId, FlowError> {
        let h = conv(g, params, &format!("{name}.1"), x, Activation::Relu)?;
        conv(g, params, &format!("{name}.2"), h, Activation::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_many_as_published() {
        let (resnet, mobilenet) = ([64, 128, 256], [24, 32, 96]);
        for (maps, kernels, count) in [
            (resnet, Kernels::Three, 4_657_408),
            (resnet, Kernels::ThreeOne, 2_593_024),
            (mobilenet, Kernels::ThreeOne, 328_736),
            (mobilenet, Kernels::Three, 588_320),
        ] {
            let mut params = Params::new();
            for channels in maps {
                let flow = FastFlow { kernels, ..FastFlow::paper(channels) };
                flow.init(&mut params, &format!("map{channels}"), 0).unwrap();
            }
            assert_eq!(params.trainable_count(), count);
        }
    }
}
