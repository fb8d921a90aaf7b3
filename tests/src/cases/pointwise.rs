//! Pointwise ops, sums per channel, magnitudes and the optimiser.

use super::{Case, Fill, Input, SIZES, batched, single};
use adflow::kernels::activation::Activation;
use adflow::kernels::smooth::Curve;
use adflow::op::{
    Activate, ActivateDx, Adam, Add, ChannelDot, ChannelScale, ChannelSum, Gain, GainDgamma, LayerNorm, LayerNormDx,
    Magnitude, MagnitudeDx, Multiply, Root, RootDx, Scale, ScaleShift, ScaleShiftDscale, ScaleShiftDx, Smooth,
    SmoothDx, SquareParts,
};
use adflow::shape::{Shape, Type};

/// Exactly on the kinks of relu6, around them, and beyond.
const KINKS: Fill = Fill::Levels(&[-2.0, -1e-30, 0.0, 1e-30, 0.5, 5.999_999_5, 6.0, 6.000_000_5, 7.0]);

/// Far out, where exponentials vanish, but not among the subnormals, which devices may flush.
const ENDS: Fill = Fill::Levels(&[-1000.0, -80.0, -20.0, -1e-30, 0.0, 1e-30, 1.0, 20.0, 80.0, 104.0, 1000.0]);

fn shapes() -> impl Iterator<Item = Shape> {
    let vectors = SIZES.into_iter().map(Shape::vector);
    let planes = [
        Shape::chw(3, 5, 7),
        Shape::chw(16, 1, 65),
        Shape::chw(1, 9, 15),
        Shape::chw(17, 8, 8),
        Shape::chw(24, 40, 41),
    ];
    vectors.chain(planes)
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let wide = Fill::Uniform(-9.0, 9.0);
    for shape in shapes() {
        let x = || batched(shape);
        for act in [Activation::None, Activation::Relu, Activation::Relu6] {
            out.push(Case::new(Activate { act }, [x().fill(wide.clone())]));
            out.push(Case::new(ActivateDx { act }, [x(), x().fill(KINKS)]));
        }
        out.push(Case::new(Activate { act: Activation::Relu6 }, [x().fill(KINKS)]));
        out.push(Case::new(Add {}, [x(), x()]));
        out.push(Case::new(Multiply {}, [x(), x()]));
        out.push(Case::new(Gain {}, [x(), single(Shape::SCALAR)]));
        // One sum of all: it must not cancel.
        let positive = || x().fill(Fill::Uniform(0.5, 2.0));
        out.push(Case::new(GainDgamma {}, [positive(), positive()]));
        for curve in [Curve::Silu, Curve::Sigmoid] {
            for fill in [wide.clone(), ENDS] {
                out.push(Case::new(Smooth { curve }, [x().fill(fill.clone())]));
                out.push(Case::new(SmoothDx { curve }, [x(), x().fill(fill)]));
            }
        }
        out.push(Case::new(ChannelScale {}, [x(), batched(Shape::vector(shape.c()))]));
        out.push(Case::new(ChannelDot {}, [x(), x()]));
        let per_channel = || single(Shape::vector(shape.c()));
        out.push(Case::new(ScaleShift { inverse: false }, [x(), per_channel(), per_channel()]));
        let scale = per_channel().fill(Fill::Uniform(0.5, 2.0));
        out.push(Case::new(ScaleShift { inverse: true }, [x(), scale, per_channel()]));
        out.push(Case::new(Scale { factor: 0.1 }, [x()]));
        for curve in [Curve::Gelu, Curve::GlobalScale] {
            let x = || x().fill(Fill::Uniform(-3.0, 6.0));
            out.push(Case::new(Smooth { curve }, [x()]));
            out.push(Case::new(SmoothDx { curve }, [batched(shape), x()]));
        }
        for per_position in [false, true] {
            let eps = 1e-3;
            let shifted = || x().fill(Fill::Uniform(0.0, 3.0));
            out.push(Case::new(LayerNorm { per_position, eps }, [shifted()]));
            out.push(Case::new(LayerNormDx { per_position, eps }, [x(), shifted()]));
        }
        out.push(Case::new(ScaleShiftDx {}, [x(), per_channel()]));
        out.push(Case::new(ScaleShiftDscale {}, [x(), x()]));
        out.push(Case::new(ChannelSum {}, [x()]));
        let complex = Shape::chw(2 * shape.c(), shape.h(), shape.w());
        out.push(Case::new(Magnitude {}, [batched(complex)]));
        let y = x().fill(Fill::Uniform(0.5, 2.0));
        out.push(Case::new(MagnitudeDx {}, [x(), batched(complex), y.clone()]));
        // On one side of the kink at 0 or the other.
        for fill in [Fill::Uniform(0.1, 2.0), Fill::Uniform(-2.0, -0.1)] {
            out.push(Case::new(Root {}, [x().fill(fill.clone())]));
            out.push(Case::new(RootDx {}, [x(), x().fill(fill), y.clone()]));
        }
    }
    out.extend(super::batch_norm::cases());
    // Sums of parameters are not batched.
    out.push(Case::new(Add {}, [single(Shape::vector(33)), single(Shape::vector(33))]));
    out.push(Case::new(Scale { factor: -3.0 }, [single(Shape::vector(33))]));
    out.push(Case::new(Smooth { curve: Curve::GlobalScale }, [single(Shape::vector(33))]));
    out.push(Case::new(SmoothDx { curve: Curve::GlobalScale }, [single(Shape::vector(33)), single(Shape::vector(33))]));
    // All zero: the square root's guard.
    out.push(Case::new(Magnitude {}, [batched(Shape::chw(4, 3, 3)).fill(Fill::Levels(&[0.0]))]));
    out.extend(SIZES.into_iter().chain([40_000]).map(|len| adam(len, 1.0)));
    out.extend([2.0, 3.0, 1000.0, 1e7].map(|step| adam(65, step)));
    out.extend([0.05, 1e6].map(clipped));
    out.extend([1, 63, 64, 65, 130, 300_000].map(|len| Case::new(SquareParts {}, [single(Shape::vector(len))])));
    out
}

/// A step on a range of `len`; the rate is large, so that an error in the step is seen next to the parameter.
fn adam(len: u32, step: f32) -> Case {
    let op = Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5, clip: 0.0 };
    let state = single(Shape::vector(2 * len)).fill(Fill::Uniform(0.01, 1.0));
    let control = Input { ty: Type::single(Shape::vector(2)), fill: Fill::Exactly(vec![0.25, step]) };
    let case = Case::new(op, [single(Shape::vector(len)), state, control]);
    Case { before: Some(single(Shape::vector(len))), ..case }
}

/// A step whose gradients are scaled down to a norm, or are smaller.
fn clipped(clip: f32) -> Case {
    let mut case = adam(65, 3.0);
    case.op = Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5, clip }.into();
    case.inputs[3] = Some(single(Shape::vector(SquareParts::PARTS)).fill(Fill::Uniform(0.1, 1.0)));
    case
}
