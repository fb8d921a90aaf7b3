//! AlexNet, the single-tower variant (Krizhevsky 2014, arXiv 1404.5997), up to the last pooling.
//!
//! Five convolutions with relu, three of them followed by a 3×3 maximum at stride 2 without padding. Tensors have
//! torchvision's names `features.{0,3,6,8,10}.{weight,bias}`, and samples are normalised with ImageNet's mean and
//! deviation; the classifier's tensors are ignored. 2,469,696 parameters. The smallest image is 63×63.

use super::{Adaptation, Architecture, BuildError, Emitter, Roles, TapInfo, Weights, WeightsError, conv_tensors};
use crate::graph::TensorId;
use crate::kernels::activation::Activation;
use crate::op::{Conv2d, MaxPool};
use crate::shape::Shape;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "alexnet",
    marker: "features.0.weight",
    closed: &[],
    scale: [1.0 / 0.229, 1.0 / 0.224, 1.0 / 0.225],
    shift: [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
    taps: &TAPS,
    pooled_taps: &["pool5"],
    roles: Roles { grids: &[&["conv5"]], ..Roles::of(&["conv5"]) },
    centre,
    standardise_pooled: false,
    // All of it, as in CDNF.
    adaptation: Some(Adaptation { from: None }),
    tensors,
    fold: |_| Ok(()),
    emit,
};

const fn tap(name: &'static str, channels: u32, stride: u32) -> TapInfo {
    TapInfo { name, channels, stride }
}

const TAPS: [TapInfo; 8] = [
    tap("conv1", 64, 4),
    tap("pool1", 64, 8),
    tap("conv2", 192, 8),
    tap("pool2", 192, 16),
    tap("conv3", 384, 16),
    tap("conv4", 256, 16),
    tap("conv5", 256, 16),
    tap("pool5", 256, 32),
];

/// A convolution, and the pooling behind it.
struct Layer {
    /// Tensors and op.
    name: &'static str,
    /// After relu.
    tap: &'static str,
    weight: Shape,
    stride: u32,
    pad: u32,
    pool: Option<&'static str>,
}

const LAYERS: [Layer; 5] = [
    layer("features.0", "conv1", Shape([64, 3, 11, 11]), 4, 2, Some("pool1")),
    layer("features.3", "conv2", Shape([192, 64, 5, 5]), 1, 2, Some("pool2")),
    layer("features.6", "conv3", Shape([384, 192, 3, 3]), 1, 1, None),
    layer("features.8", "conv4", Shape([256, 384, 3, 3]), 1, 1, None),
    layer("features.10", "conv5", Shape([256, 256, 3, 3]), 1, 1, Some("pool5")),
];

const fn layer(
    name: &'static str,
    tap: &'static str,
    weight: Shape,
    stride: u32,
    pad: u32,
    pool: Option<&'static str>,
) -> Layer {
    Layer { name, tap, weight, stride, pad, pool }
}

fn tensors() -> Vec<(String, Shape)> {
    LAYERS.iter().flat_map(|l| conv_tensors(l.name, l.weight)).collect()
}

fn centre(weights: &Weights, tap: &str, _side: u32) -> Result<f32, WeightsError> {
    let (mut centre, mut step) = (0.0, 1.0);
    for l in &LAYERS {
        centre += step * (weights.middle(&format!("{}.weight", l.name), l.weight)? - l.pad as f32);
        step *= l.stride as f32;
        if l.tap == tap {
            break;
        }
        if let Some(pool) = l.pool {
            // The middle of three.
            centre += step;
            step *= 2.0;
            if pool == tap {
                break;
            }
        }
    }
    Ok(centre)
}

fn emit(e: &mut Emitter<'_>, image: TensorId) -> Result<(), BuildError> {
    let mut x = image;
    for l in &LAYERS {
        let conv = Conv2d::new().stride(l.stride).pad(l.pad).act(Activation::Relu);
        x = e.conv(l.name, conv, l.weight, x, None)?;
        if e.tap(l.tap, x) {
            break;
        }
        if let Some(pool) = l.pool {
            x = e.op(pool, MaxPool { k: 3, stride: 2, pad: 0 }, &[x])?;
            if e.tap(pool, x) {
                break;
            }
        }
    }
    Ok(())
}
