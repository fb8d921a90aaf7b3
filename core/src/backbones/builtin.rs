//! The backbone that needs no file: three convolutions with random filters, the same in every build.

use super::{Architecture, BuildError, Emitter, TapInfo, Weights, conv_tensors};
use crate::graph::TensorId;
use crate::kernels::activation::Activation;
use crate::op::Conv2d;
use crate::rng::Rng;
use crate::shape::Shape;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "builtin",
    marker: "builtin.0.weight",
    scale: [2.0; 3],
    shift: [-1.0; 3],
    taps: &TAPS,
    pooled_taps: &["builtin.1", "builtin.2"],
    tensors,
    emit,
};

const TAPS: [TapInfo; 3] = [
    TapInfo { name: "builtin.0", channels: 32, stride: 2 },
    TapInfo { name: "builtin.1", channels: 64, stride: 4 },
    TapInfo { name: "builtin.2", channels: 96, stride: 8 },
];

const LAYERS: [(&str, Shape); 3] =
    [("builtin.0", Shape([32, 3, 5, 5])), ("builtin.1", Shape([64, 32, 3, 3])), ("builtin.2", Shape([96, 64, 3, 3]))];

pub(super) fn weights() -> Weights {
    let mut weights = Weights::new();
    for (at, (name, shape)) in LAYERS.into_iter().enumerate() {
        let mut rng = Rng::new(1, 0, at as u32);
        let [o, i, h, w] = shape.0.map(|n| n as usize);
        let deviation = libm::sqrt(2.0 / (i * h * w) as f64);
        let data: Vec<f32> = (0..shape.len()).map(|_| (rng.normal() * deviation) as f32).collect();
        weights.insert(&format!("{name}.weight"), &[o, i, h, w], data).expect("one number per element");
        weights.insert(&format!("{name}.bias"), &[o], alloc::vec![0.0; o]).expect("one number per channel");
    }
    weights
}

fn tensors() -> Vec<(String, Shape)> {
    LAYERS.iter().flat_map(|(name, weight)| conv_tensors(name, *weight)).collect()
}

fn emit(e: &mut Emitter<'_>, image: TensorId) -> Result<(), BuildError> {
    let mut x = image;
    for (name, weight) in LAYERS {
        let s = e.shape(x);
        let conv = Conv2d::new().stride(2).same(weight.0[2], s.h(), s.w()).act(Activation::Relu);
        x = e.conv(name, conv, weight, x, None)?;
        if e.tap(name, x) {
            break;
        }
    }
    Ok(())
}
