//! EfficientNet-B5 up to its sixth stage (Tan and Le 2019, arXiv 1905.11946), batch normalisation (ε = 1e-3) folded.
//!
//! Blocks are those of MobileNetV2 with silu and a gate: `expand → silu → depthwise → silu → ·s → project`, where
//! `s = σ(W₂·silu(W₁·mean + b₁) + b₂)` is one number per channel from the mean over positions, and the squeeze W₁ has a
//! quarter as many outputs as the block has inputs. Where input and output agree in shape the input is added. Taps
//! `features.1` to `features.6` are the outputs of stages: linear, signed; the last, 304 channels at stride 32, is what
//! CS-Flow reads (last of block 35). 17.5 million parameters; what comes behind is ignored. Samples are normalised with
//! ImageNet's mean and deviation.
//!
//! Two sets of weights are in use, which give nonsense when mixed up, so names decide:
//! - `efficientnet_b5`: torchvision's names `features.0.0.weight`, …; zeros are padded evenly, `⌊k/2⌋` on every side;
//! - `tf_efficientnet_b5`: timm's names `conv_stem.weight`, `blocks.0.0.conv_dw.weight`, …; weights trained in TensorFlow,
//!   padding is SAME: at stride 2 an even side gets one zero fewer above and to the left than below and to the right.
//!
//! timm's own `efficientnet_b5`, trained in PyTorch, has the names of the second but the padding of the first and
//! ε = 1e-5; it cannot be told from its tensors and must not be used here.

use super::batch_norm::NormedConv;
use super::{Architecture, BuildError, Emitter, Roles, TapInfo, Weights, WeightsError, conv_tensors};
use crate::graph::TensorId;
use crate::kernels::smooth::Curve;
use crate::op::{ChannelScale, Conv2d, GlobalMean, Smooth};
use crate::shape::Shape;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(super) const TORCHVISION: Architecture = Architecture {
    name: "efficientnet_b5",
    marker: "features.1.0.block.0.0.weight",
    closed: &["features.1.", "features.2.", "features.3.", "features.4.", "features.5.", "features.6."],
    scale: [1.0 / 0.229, 1.0 / 0.224, 1.0 / 0.225],
    shift: [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
    taps: &TAPS,
    pooled_taps: &["features.6"],
    roles: Roles {
        levels: &["features.2", "features.3", "features.6"],
        grid_channels: 200,
        grids: &[&["features.3"], &["features.3", "features.5"]],
        ..Roles::of(&["features.3", "features.5"])
    },
    centre: |weights, tap, side| centre(Source::Torchvision, weights, tap, side),
    standardise_pooled: false,
    adaptation: None,
    tensors: || tensors(Source::Torchvision),
    fold: |weights| fold(Source::Torchvision, weights),
    emit: |e, image| emit(Source::Torchvision, e, image),
};

pub(super) const TENSORFLOW: Architecture = Architecture {
    name: "tf_efficientnet_b5",
    marker: "blocks.0.0.conv_dw.weight",
    closed: &["blocks.0.", "blocks.1.", "blocks.2.", "blocks.3.", "blocks.4.", "blocks.5."],
    centre: |weights, tap, side| centre(Source::Tensorflow, weights, tap, side),
    tensors: || tensors(Source::Tensorflow),
    fold: |weights| fold(Source::Tensorflow, weights),
    emit: |e, image| emit(Source::Tensorflow, e, image),
    ..TORCHVISION
};

/// Added to variances.
const EPS: f64 = 1e-3;
/// Channels of the first convolution.
const STEM: u32 = 48;

/// Table 1 of the paper, widths times 1.6, depths times 2.2: expansion, window, stride of the first block, channels, blocks.
const STAGES: [(u32, u32, u32, u32, u32); 6] =
    [(1, 3, 1, 24, 3), (6, 3, 2, 40, 5), (6, 5, 2, 64, 5), (6, 3, 2, 128, 7), (6, 5, 1, 176, 7), (6, 5, 2, 304, 9)];

const fn tap(name: &'static str, channels: u32, stride: u32) -> TapInfo {
    TapInfo { name, channels, stride }
}

const TAPS: [TapInfo; 6] = [
    tap("features.1", 24, 2),
    tap("features.2", 40, 4),
    tap("features.3", 64, 8),
    tap("features.4", 128, 16),
    tap("features.5", 176, 16),
    tap("features.6", 304, 32),
];

/// Whose weights: decides names and padding.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Torchvision,
    Tensorflow,
}

impl Source {
    fn stem(self) -> NormedConv {
        let (conv, norm) = match self {
            Source::Torchvision => ("features.0.0", "features.0.1"),
            Source::Tensorflow => ("conv_stem", "bn1"),
        };
        NormedConv { conv: conv.to_string(), norm: norm.to_string(), weight: Shape([STEM, 3, 3, 3]) }
    }

    /// A convolution of k×k as it pads an image of h×w.
    fn conv(self, k: u32, stride: u32, h: u32, w: u32) -> Conv2d {
        let conv = Conv2d::new().stride(stride);
        match self {
            Source::Torchvision => conv.pad(k / 2),
            Source::Tensorflow => conv.same(k, h, w),
        }
    }
}

/// One block with the names of its parts.
struct Block {
    name: String,
    expand: Option<NormedConv>,
    dw: NormedConv,
    stride: u32,
    squeeze: (String, Shape),
    excite: (String, Shape),
    project: NormedConv,
    residual: bool,
    /// Where it is the last of its stage.
    tap: Option<&'static str>,
}

impl Block {
    fn new(source: Source, stage: usize, i: u32, cin: u32) -> Block {
        let (expansion, k, stride, cout, count) = STAGES[stage];
        let (stride, wide, squeezed) = (if i == 0 { stride } else { 1 }, cin * expansion, cin / 4);
        let widens = expansion > 1;
        let name = match source {
            Source::Torchvision => format!("features.{}.{i}", stage + 1),
            Source::Tensorflow => format!("blocks.{stage}.{i}"),
        };
        let [expand, dw, project] = match (source, widens) {
            (Source::Torchvision, true) => {
                [("block.0.0", "block.0.1"), ("block.1.0", "block.1.1"), ("block.3.0", "block.3.1")]
            }
            (Source::Torchvision, false) => [("", ""), ("block.0.0", "block.0.1"), ("block.2.0", "block.2.1")],
            (Source::Tensorflow, true) => [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")],
            (Source::Tensorflow, false) => [("", ""), ("conv_dw", "bn1"), ("conv_pw", "bn2")],
        };
        let [squeeze, excite] = match (source, widens) {
            (Source::Torchvision, true) => ["block.2.fc1", "block.2.fc2"],
            (Source::Torchvision, false) => ["block.1.fc1", "block.1.fc2"],
            (Source::Tensorflow, _) => ["se.conv_reduce", "se.conv_expand"],
        };
        let conv = |(conv, norm): (&str, &str), weight: Shape| NormedConv {
            conv: format!("{name}.{conv}"),
            norm: format!("{name}.{norm}"),
            weight,
        };
        Block {
            expand: widens.then(|| conv(expand, Shape([wide, cin, 1, 1]))),
            dw: conv(dw, Shape([wide, 1, k, k])),
            stride,
            squeeze: (format!("{name}.{squeeze}"), Shape([squeezed, wide, 1, 1])),
            excite: (format!("{name}.{excite}"), Shape([wide, squeezed, 1, 1])),
            project: conv(project, Shape([cout, wide, 1, 1])),
            residual: stride == 1 && cin == cout,
            tap: (i + 1 == count).then_some(TAPS[stage].name),
            name,
        }
    }

    fn convs(&self) -> impl Iterator<Item = &NormedConv> {
        self.expand.iter().chain([&self.dw, &self.project])
    }
}

fn blocks(source: Source) -> Vec<Block> {
    let mut all = Vec::new();
    let mut cin = STEM;
    for (stage, &(_, _, _, cout, count)) in STAGES.iter().enumerate() {
        for i in 0..count {
            all.push(Block::new(source, stage, i, cin));
            cin = cout;
        }
    }
    all
}

fn tensors(source: Source) -> Vec<(String, Shape)> {
    let mut all = source.stem().tensors().to_vec();
    for b in blocks(source) {
        all.extend(b.convs().flat_map(NormedConv::tensors));
        for (name, weight) in [&b.squeeze, &b.excite] {
            all.extend(conv_tensors(name, *weight));
        }
    }
    all
}

fn fold(source: Source, weights: &mut Weights) -> Result<(), WeightsError> {
    source.stem().fold(weights, EPS)?;
    blocks(source).iter().flat_map(Block::convs).try_for_each(|c| c.fold(weights, EPS))
}

fn centre(source: Source, weights: &Weights, tap: &str, side: u32) -> Result<f32, WeightsError> {
    let (mut centre, mut step, mut side) = (0.0, 1.0, side);
    let mut look = |c: &NormedConv, stride: u32| -> Result<(), WeightsError> {
        let middle = weights.middle(&format!("{}.weight", c.conv), c.weight)?;
        centre += step * (middle - source.conv(c.weight.0[3], stride, side, side).top as f32);
        (step, side) = (step * stride as f32, side.div_ceil(stride));
        Ok(())
    };
    look(&source.stem(), 2)?;
    for b in blocks(source) {
        look(&b.dw, b.stride)?;
        if b.tap == Some(tap) {
            break;
        }
    }
    Ok(centre)
}

/// A convolution and silu.
fn conv_silu(e: &mut Emitter<'_>, name: &str, op: Conv2d, weight: Shape, x: TensorId) -> Result<TensorId, BuildError> {
    let x = e.conv(name, op, weight, x, None)?;
    e.op(&format!("{name}.silu"), Smooth { curve: Curve::Silu }, &[x])
}

/// `x · σ(W₂·silu(W₁·mean + b₁) + b₂)`.
fn gate(e: &mut Emitter<'_>, b: &Block, x: TensorId) -> Result<TensorId, BuildError> {
    let mean = e.op(&format!("{}.mean", b.name), GlobalMean {}, &[x])?;
    let squeezed = conv_silu(e, &b.squeeze.0, Conv2d::new(), b.squeeze.1, mean)?;
    let excited = e.conv(&b.excite.0, Conv2d::new(), b.excite.1, squeezed, None)?;
    let s = e.op(&format!("{}.gate", b.name), Smooth { curve: Curve::Sigmoid }, &[excited])?;
    e.op(&format!("{}.gated", b.name), ChannelScale {}, &[x, s])
}

fn emit(source: Source, e: &mut Emitter<'_>, image: TensorId) -> Result<(), BuildError> {
    let fit = |x: Shape, k: u32, stride: u32| source.conv(k, stride, x.h(), x.w());
    let stem = source.stem();
    let mut x = conv_silu(e, &stem.conv, fit(e.shape(image), 3, 2), stem.weight, image)?;
    for b in blocks(source) {
        let mut wide = x;
        if let Some(c) = &b.expand {
            wide = conv_silu(e, &c.conv, Conv2d::new(), c.weight, wide)?;
        }
        let [channels, _, k, _] = b.dw.weight.0;
        let dw = fit(e.shape(wide), k, b.stride).groups(channels);
        wide = conv_silu(e, &b.dw.conv, dw, b.dw.weight, wide)?;
        wide = gate(e, &b, wide)?;
        x = e.conv(&b.project.conv, Conv2d::new(), b.project.weight, wide, b.residual.then_some(x))?;
        if b.tap.is_some_and(|tap| e.tap(tap, x)) {
            break;
        }
    }
    Ok(())
}
