//! CDNF: a continuous dense normalizing flow on pooled multi-scale features, and before it, where the user asks for it, a
//! contrastive phase that adapts the backbone (`training/contrastive/`).

use crate::detect::density::pooled_flow::{PooledFlow, VectorFlow, defaults};
use crate::detect::method::{Ability, Definition, Method, ONE_VECTOR};
use crate::flows::{DenseFlow, FlowError};
use crate::graph::{Graph, TensorId};
use crate::params::Params;
use alloc::boxed::Box;

impl Method {
    /// CDNF: a continuous dense flow on pooled multi-scale features.
    pub const CDNF: Method = Method(&Definition {
        name: "cdnf",
        number: 1,
        summary: "Continuous dense flow on pooled features of several scales",
        tiles: ONE_VECTOR,
        can: &[Ability::Pools, Ability::Adapts],
        defaults: |_, preset| defaults(preset, 48, 280),
        detector: &PooledFlow { flow: |dims, _| Box::new(DenseFlow::paper(dims)) },
    });
}

impl VectorFlow for DenseFlow {
    fn init(&self, params: &mut Params, seed: u64) -> Result<(), FlowError> {
        DenseFlow::init(self, params, seed)
    }

    fn forward(&self, g: &mut Graph, params: &Params, x: TensorId) -> Result<(TensorId, TensorId), FlowError> {
        DenseFlow::forward(self, g, params, x)
    }

    fn inverse(&self, g: &mut Graph, params: &Params, z: TensorId) -> Result<TensorId, FlowError> {
        DenseFlow::inverse(self, g, params, z)
    }
}
