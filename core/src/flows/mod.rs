//! Normalizing flows: invertible maps from features to a standard normal, built from couplings.
//!
//! Every flow has a forward direction (features to latent z, with the log-determinant of each sample) and an inverse,
//! over the same parameters. Two laws hold: `inverse(forward(x)) = x`, and log_det is the logarithm of the absolute value of the
//! Jacobian's determinant. The negative log-likelihood of features is `½‖z‖² − log_det`, up to a constant.
//!
//! | flow | of | source |
//! |---|---|---|
//! | [`DenseFlow`] | vectors | CDNF |
//! | [`DifferNetFlow`] | vectors | Rudolph et al., WACV 2021 |
//! | [`CsFlow`] | maps at three scales | Rudolph et al., WACV 2022 |
//! | [`FastFlow`] | one map | Yu et al., 2021 |
//! | [`Ssnf`] | one map, with attention | SSNF |
//! | [`PositionFlow`] | whitened maps, with positions | `docs/methods.md` of the repository |

mod csflow;
mod dense;
mod differnet;
mod fastflow;
mod position;
mod ssnf;
mod step;

pub use csflow::{CsFlow, SCALES};
pub use dense::DenseFlow;
pub use differnet::DifferNetFlow;
pub use fastflow::{FastFlow, Kernels};
pub use position::PositionFlow;
pub use ssnf::Ssnf;

use crate::graph::{Graph, GraphError, TensorId};
use crate::op::LogDet;
use crate::params::{ParamError, Params};
use crate::rng::Rng;
use crate::shape::Shape;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Why a flow cannot be built.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowError {
    /// The graph refuses an op, for example because features have other dimensions than the flow.
    Graph(GraphError),
    /// A parameter cannot be added.
    Param(ParamError),
    /// The configuration is out of range, for the reason given.
    Config(&'static str),
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlowError::Graph(e) => write!(f, "{e}"),
            FlowError::Param(e) => write!(f, "{e}"),
            FlowError::Config(rule) => f.write_str(rule),
        }
    }
}

impl core::error::Error for FlowError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            FlowError::Graph(error) => Some(error),
            FlowError::Param(error) => Some(error),
            FlowError::Config(_) => None,
        }
    }
}

impl From<GraphError> for FlowError {
    fn from(error: GraphError) -> FlowError {
        FlowError::Graph(error)
    }
}

impl From<ParamError> for FlowError {
    fn from(error: ParamError) -> FlowError {
        FlowError::Param(error)
    }
}

/// Emits the log-determinant of a coupling with scale and translation `st`, added to that of the couplings before it.
fn add_log_det(
    g: &mut Graph,
    name: &str,
    op: LogDet,
    st: TensorId,
    before: Option<TensorId>,
) -> Result<TensorId, GraphError> {
    match before {
        Some(j) => g.emit(name, op, &[st, j]),
        None => g.emit(name, op, &[st]),
    }
}

/// How a linear layer starts.
#[derive(Clone, Copy, PartialEq)]
enum Init {
    /// Weight and bias uniform in ±1/√fan_in, the default of the frameworks the papers used.
    Uniform,
    /// Zeros: a coupling whose last layer is zero is the identity.
    Zero,
}

/// Adds weight (groups×out×in) and bias (groups·out) of a grouped linear layer as `name.w` and `name.b`.
fn add_linear(params: &mut Params, name: &str, dims: [u32; 3], init: Init, rng: &mut Rng) -> Result<(), FlowError> {
    let [groups, out, features] = dims;
    let bound = 1.0 / libm::sqrtf(features as f32);
    let mut draw = |n: usize| -> Vec<f32> {
        match init {
            Init::Zero => vec![0.0; n],
            Init::Uniform => (0..n).map(|_| rng.range(-bound..bound)).collect(),
        }
    };
    let (w, b) = (Shape([groups, out, features, 1]), Shape::vector(groups * out));
    let values = draw(w.len());
    params.add(&alloc::format!("{name}.w"), w, true, values)?;
    let values = draw(b.len());
    params.add(&alloc::format!("{name}.b"), b, true, values)?;
    Ok(())
}
