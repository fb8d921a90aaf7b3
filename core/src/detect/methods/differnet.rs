//! DifferNet: a RealNVP flow on pooled multi-scale features (Rudolph et al. 2021).

use crate::detect::choices::Preset;
use crate::detect::density::pooled_flow::{PooledFlow, VectorFlow, defaults};
use crate::detect::method::{Ability, Definition, Method, ONE_VECTOR};
use crate::flows::{DifferNetFlow, FlowError};
use crate::graph::{Graph, TensorId};
use crate::params::Params;
use alloc::boxed::Box;

impl Method {
    /// DifferNet: a RealNVP flow on pooled multi-scale features.
    pub const DIFFERNET: Method = Method(&Definition {
        name: "differnet",
        number: 2,
        summary: "RealNVP flow on pooled features of several scales (Rudolph et al. 2021)",
        tiles: ONE_VECTOR,
        can: &[Ability::Pools],
        defaults: |_, preset| defaults(preset, 64, 192),
        detector: &PooledFlow { flow },
    });
}

/// The published flow, or one with a quarter of the width, a tenth of the parameters: DifferNet's advice for small machines.
fn flow(dims: u32, preset: Preset) -> Box<dyn VectorFlow> {
    let paper = DifferNetFlow::paper(dims);
    Box::new(match preset {
        Preset::Paper => paper,
        Preset::Fast => DifferNetFlow { width: 512, ..paper },
    })
}

impl VectorFlow for DifferNetFlow {
    fn init(&self, params: &mut Params, seed: u64) -> Result<(), FlowError> {
        DifferNetFlow::init(self, params, seed)
    }

    fn forward(&self, g: &mut Graph, params: &Params, x: TensorId) -> Result<(TensorId, TensorId), FlowError> {
        DifferNetFlow::forward(self, g, params, x)
    }

    fn inverse(&self, g: &mut Graph, params: &Params, z: TensorId) -> Result<TensorId, FlowError> {
        DifferNetFlow::inverse(self, g, params, z)
    }
}
