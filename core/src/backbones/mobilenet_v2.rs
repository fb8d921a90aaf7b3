//! MobileNetV2 1.0 with batch normalisation folded into the convolutions (Sandler et al. 2018, arXiv 1801.04381).
//!
//! An inverted residual block widens with a 1×1 convolution, filters each channel with a 3×3 one, and narrows with a 1×1
//! one that has no activation; where input and output agree in shape the input is added. relu6 elsewhere. Weights are
//! from TensorFlow, so padding is SAME: `⌈n/2⌉` outputs at stride 2, the odd zero below and to the right, and samples
//! run from −1 to 1. Tensors: `features.0.conv`, `features.{i}.{expand,dw,project}`, each `.weight` (OIHW) and `.bias`.
//! An adaptation trains the layers from `features.11` on. Taps are block outputs, after the residual: linear, signed.

use super::{Adaptation, Architecture, BuildError, Emitter, Roles, TapInfo, Weights, WeightsError, conv_tensors};
use crate::graph::TensorId;
use crate::kernels::activation::Activation;
use crate::op::Conv2d;
use crate::shape::Shape;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "mobilenet_v2",
    marker: "features.0.conv.weight",
    closed: &[],
    scale: [2.0; 3],
    shift: [-1.0; 3],
    taps: &TAPS,
    pooled_taps: &["features.13", "features.16"],
    roles: Roles {
        levels: &["features.3", "features.6", "features.13"],
        grids: &[&["features.6"], &["features.6", "features.13"]],
        ..Roles::of(&["features.6", "features.13"])
    },
    centre,
    standardise_pooled: false,
    adaptation: Some(Adaptation { from: Some("features.10") }),
    tensors,
    fold: |_| Ok(()),
    emit,
};

/// Channels of the first convolution.
const STEM: u32 = 32;

/// Table 2 of the paper: widening, channels, repeats, stride of the first; up to the last block.
const GROUPS: [(u32, u32, u32, u32); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

const TAPS: [TapInfo; 17] = taps();

/// `features.1` to `features.17`.
const NAMES: [&str; 17] = [
    "features.1",
    "features.2",
    "features.3",
    "features.4",
    "features.5",
    "features.6",
    "features.7",
    "features.8",
    "features.9",
    "features.10",
    "features.11",
    "features.12",
    "features.13",
    "features.14",
    "features.15",
    "features.16",
    "features.17",
];

const fn taps() -> [TapInfo; 17] {
    let mut taps = [TapInfo { name: "", channels: 0, stride: 2 }; 17];
    let (mut at, mut group, mut total) = (0, 0, 2);
    while group < GROUPS.len() {
        let (_, channels, repeats, stride) = GROUPS[group];
        total *= stride;
        let mut i = 0;
        while i < repeats {
            taps[at] = TapInfo { name: NAMES[at], channels, stride: total };
            at += 1;
            i += 1;
        }
        group += 1;
    }
    taps
}

/// One inverted residual block.
struct Block {
    name: &'static str,
    cin: u32,
    wide: u32,
    cout: u32,
    stride: u32,
}

fn blocks() -> impl Iterator<Item = Block> {
    let repeats = GROUPS.iter().flat_map(|&(t, c, n, s)| (0..n).map(move |i| (t, c, if i == 0 { s } else { 1 })));
    repeats.zip(NAMES).scan(STEM, |cin, ((t, cout, stride), name)| {
        let block = Block { name, cin: *cin, wide: *cin * t, cout, stride };
        *cin = cout;
        Some(block)
    })
}

impl Block {
    fn expand(&self) -> Option<Shape> {
        (self.wide != self.cin).then_some(Shape([self.wide, self.cin, 1, 1]))
    }

    fn dw(&self) -> Shape {
        Shape([self.wide, 1, 3, 3])
    }

    fn project(&self) -> Shape {
        Shape([self.cout, self.wide, 1, 1])
    }
}

const FIRST: Shape = Shape([STEM, 3, 3, 3]);

fn tensors() -> Vec<(String, Shape)> {
    let mut all = Vec::new();
    let mut conv = |name: &str, weight: Shape| all.extend(conv_tensors(name, weight));
    conv("features.0.conv", FIRST);
    for b in blocks() {
        if let Some(expand) = b.expand() {
            conv(&format!("{}.expand", b.name), expand);
        }
        conv(&format!("{}.dw", b.name), b.dw());
        conv(&format!("{}.project", b.name), b.project());
    }
    all
}

fn centre(weights: &Weights, tap: &str, side: u32) -> Result<f32, WeightsError> {
    let (mut centre, mut step, mut side) = (0.0, 1.0, side);
    let mut layer = |name: &str, shape: Shape, stride: u32| -> Result<f32, WeightsError> {
        let pad = Conv2d::new().stride(stride).same(3, side, side).top;
        centre += step * (weights.middle(&format!("{name}.weight"), shape)? - pad as f32);
        (step, side) = (step * stride as f32, side.div_ceil(stride));
        Ok(centre)
    };
    let mut at = layer("features.0.conv", FIRST, 2)?;
    for b in blocks() {
        at = layer(&format!("{}.dw", b.name), b.dw(), b.stride)?;
        if b.name == tap {
            break;
        }
    }
    Ok(at)
}

fn emit(e: &mut Emitter<'_>, image: TensorId) -> Result<(), BuildError> {
    let relu6 = Conv2d::new().act(Activation::Relu6);
    let same = |x: Shape, stride| relu6.stride(stride).same(3, x.h(), x.w());
    let (mut x, mut skipping) = (image, e.from.is_some());
    if !skipping {
        x = e.conv("features.0.conv", same(e.shape(image), 2), FIRST, image, None)?;
    }
    for b in blocks() {
        if e.skips(&mut skipping, Some(b.name)) {
            continue;
        }
        let mut wide = x;
        if let Some(expand) = b.expand() {
            wide = e.conv(&format!("{}.expand", b.name), relu6, expand, wide, None)?;
        }
        let dw = same(e.shape(wide), b.stride).groups(b.wide);
        wide = e.conv(&format!("{}.dw", b.name), dw, b.dw(), wide, None)?;
        let residual = (b.stride == 1 && b.cin == b.cout).then_some(x);
        x = e.conv(&format!("{}.project", b.name), Conv2d::new(), b.project(), wide, residual)?;
        if e.tap(b.name, x) {
            return Ok(());
        }
    }
    Ok(())
}
