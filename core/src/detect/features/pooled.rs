//! One vector for an image: statistics of a backbone's taps at three scales.

use crate::detect::error::TrainError;
use crate::detect::job::Job;
use crate::detect::method::Feature;
use crate::graph::{Graph, TensorId};
use crate::params::Params;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// Scales of the image: full, half, quarter.
pub const SCALES: u32 = 3;

/// Emits the pooled features of an image.
pub fn features(
    job: &Job<'_>,
    g: &mut Graph,
    params: &mut Params,
    image: TensorId,
) -> Result<Vec<Feature>, TrainError> {
    let (backbone, pooling) = (job.backbone, job.setup.pooling.unwrap_or_default());
    let tensor = backbone.pooled(g, params, "backbone.", image, SCALES, backbone.pooled_taps(), pooling)?;
    Ok(vec![Feature { name: "features".to_string(), tensor, place: None }])
}
