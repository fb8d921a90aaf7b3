//! A graph in the making.

use super::error::Result;
use super::job::Job;
use crate::graph::{Graph, TensorId};
use crate::op::Op;
use crate::params::Params;
use alloc::vec::Vec;

/// A graph in the making, its parameters, and what it is for.
pub(super) struct Emit<'e> {
    pub job: &'e Job<'e>,
    pub g: &'e mut Graph,
    pub params: &'e mut Params,
}

impl Emit<'_> {
    /// A parameter by name.
    pub fn param(&mut self, name: &str) -> Result<TensorId> {
        Ok(self.g.param(self.params, name)?)
    }

    /// An op.
    pub fn op(&mut self, name: &str, op: impl Into<Op>, inputs: &[TensorId]) -> Result<TensorId> {
        Ok(self.g.emit(name, op, inputs)?)
    }

    /// Maps of taps of the backbone, in the order asked for.
    pub fn backbone(&mut self, image: TensorId, taps: &[&str]) -> Result<Vec<TensorId>> {
        Ok(self.job.backbone.emit(self.g, self.params, "backbone.", image, taps)?)
    }
}
