//! One vector for an image: statistics of a backbone's taps at three scales.

use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::method::Feature;
use crate::graph::TensorId;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// Scales of the image: full, half, quarter.
pub const SCALES: u32 = 3;

/// Emits the pooled features of an image.
pub fn features(e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
    let (backbone, pooling) = (e.job.backbone, e.job.setup.pooling.unwrap_or_default());
    let tensor = backbone.pooled(e.g, e.params, "backbone.", image, SCALES, backbone.pooled_taps(), pooling)?;
    Ok(vec![Feature { name: "features".to_string(), tensor, place: None }])
}
