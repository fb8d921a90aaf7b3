//! ResNet-18 and WideResNet-50-2 up to their third layer (He et al. 2016, arXiv 1512.03385; Zagoruyko and Komodakis 2016,
//! arXiv 1605.07146), batch normalisation (ε = 1e-5) folded.
//!
//! A 7×7 convolution of stride 2, a 3×3 maximum of stride 2, then layers of blocks `y = relu(F(x) + S(x))`: F is two 3×3
//! convolutions, or 1×1, 3×3, 1×1 with a bottleneck between; S is the identity, or a 1×1 convolution where the shape
//! changes. The stride lies in the first 3×3 convolution of a layer. Padding is half the window on every side. Tensors
//! have torchvision's names, and samples are normalised with ImageNet's mean and deviation. Taps are the outputs of
//! layers, after relu; `layer4` and `fc` are ignored, but a `layer1` to `layer3` with more blocks (ResNet-34,
//! WideResNet-101-2) is refused. Stem to tap `layer3`: 2.78 and 24.86 million parameters.

use super::batch_norm::NormedConv;
use super::{Adaptation, Architecture, BuildError, Emitter, Roles, TapInfo, Weights, WeightsError};
use crate::graph::TensorId;
use crate::kernels::activation::Activation;
use crate::op::{Activate, Conv2d, MaxPool};
use crate::shape::Shape;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

pub(super) const RESNET18: Architecture = Architecture {
    name: "resnet18",
    marker: "layer1.0.conv1.weight",
    taps: &taps(&BASIC),
    centre: |weights, tap, _| centre(&BASIC, weights, tap),
    // PaDiM's paper draws as many.
    roles: Roles { grid_channels: 100, ..COMMON.roles },
    tensors: || tensors(&BASIC),
    fold: |weights| fold(&BASIC, weights),
    emit: |e, image| emit(&BASIC, e, image),
    ..COMMON
};

pub(super) const WIDE_RESNET50_2: Architecture = Architecture {
    name: "wide_resnet50_2",
    marker: "layer1.0.conv3.weight",
    taps: &taps(&WIDE),
    centre: |weights, tap, _| centre(&WIDE, weights, tap),
    // PaDiM's paper draws 550, which would make a model of 340 MB.
    roles: Roles { grid_channels: 300, ..COMMON.roles },
    tensors: || tensors(&WIDE),
    fold: |weights| fold(&WIDE, weights),
    emit: |e, image| emit(&WIDE, e, image),
    ..COMMON
};

/// What the networks share.
const COMMON: Architecture = Architecture {
    name: "",
    marker: "",
    closed: &["layer1.", "layer2.", "layer3."],
    scale: [1.0 / 0.229, 1.0 / 0.224, 1.0 / 0.225],
    shift: [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
    taps: &[],
    pooled_taps: &["layer3"],
    roles: Roles { grids: &[&["layer2"], &["layer2", "layer3"]], ..Roles::of(&LAYERS) },
    centre: |_, _, _| Ok(0.0),
    standardise_pooled: false,
    adaptation: Some(Adaptation { from: Some(LAYERS[1]) }),
    tensors: Vec::new,
    fold: |_| Ok(()),
    emit: |_, _| Ok(()),
};

/// Added to variances.
const EPS: f64 = 1e-5;
/// Channels of the first convolution.
const STEM: u32 = 64;
const LAYERS: [&str; 3] = ["layer1", "layer2", "layer3"];

/// What tells the networks apart.
struct Network {
    /// Blocks of each layer.
    repeats: [u32; 3],
    /// Channels of each layer's output.
    channels: [u32; 3],
    /// Channels between the 1×1 convolutions of a block that has some, as a fraction of its output: 1/that.
    bottleneck: Option<u32>,
}

const BASIC: Network = Network { repeats: [2, 2, 2], channels: [64, 128, 256], bottleneck: None };
const WIDE: Network = Network { repeats: [3, 4, 6], channels: [256, 512, 1024], bottleneck: Some(2) };

const fn taps(net: &Network) -> [TapInfo; 3] {
    let [a, b, c] = net.channels;
    [
        TapInfo { name: LAYERS[0], channels: a, stride: 4 },
        TapInfo { name: LAYERS[1], channels: b, stride: 8 },
        TapInfo { name: LAYERS[2], channels: c, stride: 16 },
    ]
}

/// One convolution, padded by half its window.
struct Conv {
    tensors: NormedConv,
    stride: u32,
}

impl Conv {
    fn new(conv: String, norm: String, weight: Shape, stride: u32) -> Conv {
        Conv { tensors: NormedConv { conv, norm, weight }, stride }
    }

    fn name(&self) -> &str {
        &self.tensors.conv
    }

    fn pad(&self) -> u32 {
        self.tensors.weight.0[3] / 2
    }

    fn op(&self, act: Activation) -> Conv2d {
        Conv2d::new().stride(self.stride).pad(self.pad()).act(act)
    }
}

/// `relu(F(x) + S(x))`.
struct Block {
    name: String,
    f: Vec<Conv>,
    s: Option<Conv>,
    /// Where it is the last of a layer.
    tap: Option<&'static str>,
}

fn stem() -> Conv {
    Conv::new("conv1".to_string(), "bn1".to_string(), Shape([STEM, 3, 7, 7]), 2)
}

fn block(net: &Network, name: String, cin: u32, cout: u32, stride: u32, tap: Option<&'static str>) -> Block {
    let shapes = match net.bottleneck {
        None => vec![(Shape([cout, cin, 3, 3]), stride), (Shape([cout, cout, 3, 3]), 1)],
        Some(by) => {
            let mid = cout / by;
            vec![(Shape([mid, cin, 1, 1]), 1), (Shape([mid, mid, 3, 3]), stride), (Shape([cout, mid, 1, 1]), 1)]
        }
    };
    let conv = |(i, (weight, stride)): (usize, (Shape, u32))| {
        Conv::new(format!("{name}.conv{}", i + 1), format!("{name}.bn{}", i + 1), weight, stride)
    };
    let f = shapes.into_iter().enumerate().map(conv).collect();
    let shortcut = |i: u32| format!("{name}.downsample.{i}");
    let s = (stride != 1 || cin != cout).then(|| Conv::new(shortcut(0), shortcut(1), Shape([cout, cin, 1, 1]), stride));
    Block { name, f, s, tap }
}

fn blocks(net: &Network) -> Vec<Block> {
    let mut all = Vec::new();
    let mut cin = STEM;
    for (at, layer) in LAYERS.into_iter().enumerate() {
        for i in 0..net.repeats[at] {
            let stride = if at > 0 && i == 0 { 2 } else { 1 };
            let tap = (i + 1 == net.repeats[at]).then_some(layer);
            all.push(block(net, format!("{layer}.{i}"), cin, net.channels[at], stride, tap));
            cin = net.channels[at];
        }
    }
    all
}

fn convs(net: &Network) -> Vec<Conv> {
    let mut all = vec![stem()];
    all.extend(blocks(net).into_iter().flat_map(|b| b.f.into_iter().chain(b.s)));
    all
}

fn tensors(net: &Network) -> Vec<(String, Shape)> {
    convs(net).iter().flat_map(|c| c.tensors.tensors()).collect()
}

fn fold(net: &Network, weights: &mut Weights) -> Result<(), WeightsError> {
    convs(net).iter().try_for_each(|c| c.tensors.fold(weights, EPS))
}

fn centre(net: &Network, weights: &Weights, tap: &str) -> Result<f32, WeightsError> {
    let (mut centre, mut step) = (0.0, 1.0);
    let mut look = |c: &Conv, pool: u32| -> Result<(), WeightsError> {
        let middle = weights.middle(&format!("{}.weight", c.name()), c.tensors.weight)?;
        centre += step * (middle - c.pad() as f32);
        step *= (c.stride * pool) as f32;
        Ok(())
    };
    // The middle of the maximum's window is where its stride begins.
    look(&stem(), 2)?;
    for b in blocks(net) {
        b.f.iter().try_for_each(|c| look(c, 1))?;
        if b.tap == Some(tap) {
            break;
        }
    }
    Ok(centre)
}

fn emit(net: &Network, e: &mut Emitter<'_>, image: TensorId) -> Result<(), BuildError> {
    let conv =
        |e: &mut Emitter<'_>, c: &Conv, act, x, residual| e.conv(c.name(), c.op(act), c.tensors.weight, x, residual);
    let (mut x, mut skipping) = (image, e.from.is_some());
    if !skipping {
        x = conv(e, &stem(), Activation::Relu, x, None)?;
        x = e.op("maxpool", MaxPool { k: 3, stride: 2, pad: 1 }, &[x])?;
    }
    for b in blocks(net) {
        if e.skips(&mut skipping, b.tap) {
            continue;
        }
        let shortcut = match &b.s {
            Some(s) => conv(e, s, Activation::None, x, None)?,
            None => x,
        };
        for (i, c) in b.f.iter().enumerate() {
            let last = i + 1 == b.f.len();
            let act = if last { Activation::None } else { Activation::Relu };
            x = conv(e, c, act, x, last.then_some(shortcut))?;
        }
        x = e.op(&b.name, Activate { act: Activation::Relu }, &[x])?;
        if b.tap.is_some_and(|tap| e.tap(tap, x)) {
            break;
        }
    }
    Ok(())
}
