//! EfficientNet-Lite0 and -Lite2 (the `lite` models of Google's EfficientNet repository, 2020; after Tan and Le 2019, arXiv
//! 1905.11946), batch normalisation (ε = 1e-3) folded.
//!
//! EfficientNet made for integer hardware: relu6 instead of silu, no gates, first and last layer of one size for all
//! variants. Blocks are those of MobileNetV2, with windows of 3×3 or 5×5: `expand → relu6 → depthwise → relu6 → project`,
//! and the input is added where it agrees in shape. Weights were trained in TensorFlow: padding is SAME (at stride 2 an
//! even side gets one zero fewer above and to the left than below and to the right), samples run from −1 to 1.
//!
//! Taps `blocks.0` to `blocks.6` are the outputs of stages: linear, signed. 2.96 million parameters up to the last one,
//! Lite2 has 4.36; what comes behind is ignored. An adaptation trains the stages behind `blocks.3`.
//!
//! Files have timm's names for `tf_efficientnet_lite0` (`conv_stem.weight`, `blocks.0.0.conv_dw.weight`, …) or those of the
//! package `efficientnet_lite_pytorch` (`_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`, …), where blocks are counted
//! through. timm's own `efficientnet_lite0`, trained in PyTorch, has the first names too but even padding, ε = 1e-5 and
//! another normalisation; it cannot be told from its tensors and must not be used here.

use super::batch_norm::NormedConv;
use super::{Adaptation, Alias, Architecture, BuildError, Emitter, Roles, TapInfo, Weights, WeightsError};
use crate::graph::TensorId;
use crate::kernels::activation::Activation;
use crate::op::Conv2d;
use crate::shape::Shape;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(super) const LITE0: Architecture = Architecture {
    name: "efficientnet_lite0",
    title: "EfficientNet-Lite0",
    marker: "blocks.0.0.conv_dw.weight",
    alias: Some(Alias { marker: "_blocks.0._depthwise_conv.weight", tensors: || tensors(SCALE0, Names::Package) }),
    closed: &["blocks.", "_blocks."],
    scale: [2.0; 3],
    shift: [-1.0; 3],
    taps: &SCALE0.taps(),
    pooled_taps: &["blocks.4", "blocks.5"],
    roles: Roles {
        levels: &["blocks.1", "blocks.2", "blocks.4"],
        grids: &[&["blocks.2"], &["blocks.2", "blocks.4"]],
        ..Roles::of(&["blocks.2", "blocks.4"])
    },
    centre: |weights, tap, side| centre(SCALE0, weights, tap, side),
    standardise_pooled: false,
    adaptation: Some(Adaptation { from: Some("blocks.3") }),
    tensors: || tensors(SCALE0, Names::Timm),
    fold: |weights| fold(SCALE0, weights),
    emit: |e, image| emit(SCALE0, e, image),
};

pub(super) const LITE2: Architecture = Architecture {
    name: "efficientnet_lite2",
    title: "EfficientNet-Lite2",
    marker: "blocks.1.2.conv_dw.weight",
    alias: Some(Alias { marker: "_blocks.16._depthwise_conv.weight", tensors: || tensors(SCALE2, Names::Package) }),
    taps: &SCALE2.taps(),
    centre: |weights, tap, side| centre(SCALE2, weights, tap, side),
    tensors: || tensors(SCALE2, Names::Timm),
    fold: |weights| fold(SCALE2, weights),
    emit: |e, image| emit(SCALE2, e, image),
    ..LITE0
};

/// Added to variances.
const EPS: f64 = 1e-3;
/// Channels of the first convolution.
const STEM: u32 = 32;

/// Table 1 of the paper, as for EfficientNet-B0: expansion, window, stride of the first block, channels, blocks.
const STAGES: [(u32, u32, u32, u32, u32); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];

/// Names of the taps.
const TAPS: [&str; 7] = ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5", "blocks.6"];

const SCALE0: Scale = Scale { width: 10, depth: 10 };
const SCALE2: Scale = Scale { width: 11, depth: 12 };

/// What tells the variants apart: factors for the table, in tenths.
#[derive(Clone, Copy)]
struct Scale {
    width: u32,
    depth: u32,
}

impl Scale {
    /// Channels of a stage: the nearest multiple of 8, or the next one where that is more than a tenth below.
    const fn channels(self, stage: usize) -> u32 {
        let tenths = STAGES[stage].3 * self.width;
        let rounded = (tenths + 40) / 80 * 8;
        if rounded * 100 < tenths * 9 { rounded + 8 } else { rounded }
    }

    /// Blocks of a stage; the first and the last stage are as they are.
    const fn blocks(self, stage: usize) -> u32 {
        let blocks = STAGES[stage].4;
        if stage == 0 || stage + 1 == STAGES.len() { blocks } else { (blocks * self.depth).div_ceil(10) }
    }

    const fn taps(self) -> [TapInfo; 7] {
        let mut taps = [TapInfo { name: "", channels: 0, stride: 0 }; 7];
        let (mut stage, mut stride) = (0, 2);
        while stage < STAGES.len() {
            stride *= STAGES[stage].2;
            taps[stage] = TapInfo { name: TAPS[stage], channels: self.channels(stage), stride };
            stage += 1;
        }
        taps
    }
}

/// Whose names tensors have.
#[derive(Clone, Copy)]
enum Names {
    Timm,
    /// `efficientnet_lite_pytorch`.
    Package,
}

impl Names {
    fn stem(self) -> NormedConv {
        let (conv, norm) = match self {
            Names::Timm => ("conv_stem", "bn1"),
            Names::Package => ("_conv_stem", "_bn0"),
        };
        NormedConv { conv: conv.to_string(), norm: norm.to_string(), weight: Shape([STEM, 3, 3, 3]) }
    }

    /// Convolution and normalisation of a block's three parts; the first is not there where a block does not widen.
    fn parts(self, widens: bool) -> [(&'static str, &'static str); 3] {
        match (self, widens) {
            (Names::Timm, true) => [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")],
            (Names::Timm, false) => [("", ""), ("conv_dw", "bn1"), ("conv_pw", "bn2")],
            (Names::Package, _) => [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")],
        }
    }
}

/// One inverted residual block.
struct Block {
    expand: Option<NormedConv>,
    dw: NormedConv,
    stride: u32,
    project: NormedConv,
    residual: bool,
    /// Where it is the last of its stage.
    tap: Option<&'static str>,
}

impl Block {
    fn convs(&self) -> impl Iterator<Item = &NormedConv> {
        self.expand.iter().chain([&self.dw, &self.project])
    }
}

fn blocks(scale: Scale, names: Names) -> Vec<Block> {
    let mut all = Vec::new();
    let mut cin = STEM;
    for (stage, &(expansion, k, stride, ..)) in STAGES.iter().enumerate() {
        let (cout, count) = (scale.channels(stage), scale.blocks(stage));
        for i in 0..count {
            let (stride, wide) = (if i == 0 { stride } else { 1 }, cin * expansion);
            let name = match names {
                Names::Timm => format!("blocks.{stage}.{i}"),
                Names::Package => format!("_blocks.{}", all.len()),
            };
            let [expand, dw, project] = names.parts(expansion > 1);
            let conv = |(conv, norm): (&str, &str), weight: [u32; 4]| NormedConv {
                conv: format!("{name}.{conv}"),
                norm: format!("{name}.{norm}"),
                weight: Shape(weight),
            };
            all.push(Block {
                expand: (expansion > 1).then(|| conv(expand, [wide, cin, 1, 1])),
                dw: conv(dw, [wide, 1, k, k]),
                stride,
                project: conv(project, [cout, wide, 1, 1]),
                residual: stride == 1 && cin == cout,
                tap: (i + 1 == count).then_some(TAPS[stage]),
            });
            cin = cout;
        }
    }
    all
}

fn tensors(scale: Scale, names: Names) -> Vec<(String, Shape)> {
    let mut all = names.stem().tensors().to_vec();
    for b in blocks(scale, names) {
        all.extend(b.convs().flat_map(NormedConv::tensors));
    }
    all
}

fn fold(scale: Scale, weights: &mut Weights) -> Result<(), WeightsError> {
    Names::Timm.stem().fold(weights, EPS)?;
    blocks(scale, Names::Timm).iter().flat_map(Block::convs).try_for_each(|c| c.fold(weights, EPS))
}

fn centre(scale: Scale, weights: &Weights, tap: &str, side: u32) -> Result<f32, WeightsError> {
    let (mut centre, mut step, mut side) = (0.0, 1.0, side);
    let mut look = |c: &NormedConv, stride: u32| -> Result<(), WeightsError> {
        let pad = Conv2d::new().stride(stride).same(c.weight.0[3], side, side).top;
        centre += step * (weights.middle(&format!("{}.weight", c.conv), c.weight)? - pad as f32);
        (step, side) = (step * stride as f32, side.div_ceil(stride));
        Ok(())
    };
    look(&Names::Timm.stem(), 2)?;
    for b in blocks(scale, Names::Timm) {
        look(&b.dw, b.stride)?;
        if b.tap == Some(tap) {
            break;
        }
    }
    Ok(centre)
}

fn emit(scale: Scale, e: &mut Emitter<'_>, image: TensorId) -> Result<(), BuildError> {
    let relu6 = Conv2d::new().act(Activation::Relu6);
    let same = |x: Shape, k: u32, stride: u32| relu6.stride(stride).same(k, x.h(), x.w());
    let (mut x, mut skipping) = (image, e.from.is_some());
    if !skipping {
        let stem = Names::Timm.stem();
        x = e.conv(&stem.conv, same(e.shape(image), 3, 2), stem.weight, image, None)?;
    }
    for b in blocks(scale, Names::Timm) {
        if e.skips(&mut skipping, b.tap) {
            continue;
        }
        let mut wide = x;
        if let Some(c) = &b.expand {
            wide = e.conv(&c.conv, relu6, c.weight, wide, None)?;
        }
        let [channels, _, k, _] = b.dw.weight.0;
        let dw = same(e.shape(wide), k, b.stride).groups(channels);
        wide = e.conv(&b.dw.conv, dw, b.dw.weight, wide, None)?;
        x = e.conv(&b.project.conv, Conv2d::new(), b.project.weight, wide, b.residual.then_some(x))?;
        if b.tap.is_some_and(|tap| e.tap(tap, x)) {
            break;
        }
    }
    Ok(())
}
