//! Convolutions: 1×1, odd kernels, strides, dilation, groups, depthwise, asymmetric padding, fused epilogues.

use super::{Case, SIZES, batched, single};
use adflow::kernels::activation::Activation;
use adflow::op::{Conv2d, Conv2dDw, Conv2dDx};
use adflow::shape::Shape;

/// The forward case with bias, and the gradients towards x and w on the same shapes.
fn three(out: &mut Vec<Case>, op: Conv2d, x: [u32; 3], o: u32, kh: u32, kw: u32) {
    let x = Shape::chw(x[0], x[1], x[2]);
    let w = Shape([o, x.c() / op.groups, kh, kw]);
    let forward = Case::new(op, [batched(x), single(w), single(Shape::vector(o))]);
    let y = op_output(&forward);
    let Conv2d { stride, dilation, groups, top, left, bottom, right, act: _ } = op;
    let dx = Conv2dDx { stride, dilation, groups, top, left, bottom, right, h: x.h(), w: x.w() };
    let dw = Conv2dDw { stride, dilation, groups, top, left, bottom, right, kh, kw };
    out.push(forward);
    out.push(Case::new(dx, [batched(y), single(w)]));
    out.push(Case::new(dw, [batched(x), batched(y)]));
}

fn op_output(case: &Case) -> Shape {
    case.op.output(&case.types()).unwrap_or_else(|e| panic!("{case}: {e}")).shape
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let plain = Conv2d::new;
    // 1×1: channels and positions around vector and tile edges.
    for c in SIZES {
        three(&mut out, plain(), [c, 3, 3], 5, 1, 1);
        three(&mut out, plain(), [5, 1, c], 17, 1, 1);
    }
    three(&mut out, plain(), [65, 7, 9], 63, 1, 1);
    three(&mut out, plain().stride(2), [9, 7, 8], 16, 1, 1);
    // k×k with zeros around.
    for (c, h, w, o) in [(1, 3, 3, 1), (3, 8, 9, 7), (8, 7, 15, 16), (15, 17, 16, 9), (16, 9, 9, 65), (65, 5, 4, 17)] {
        three(&mut out, plain().pad(1), [c, h, w], o, 3, 3);
    }
    for (k, stride, pad, x, o) in [
        (5, 1, 2, [3, 9, 9], 8),
        (7, 3, 2, [2, 17, 15], 5),
        (11, 4, 2, [3, 31, 27], 16),
        (3, 2, 0, [4, 8, 17], 9),
        (2, 2, 0, [7, 9, 8], 3),
        (3, 1, 2, [5, 4, 4], 6),
        (3, 4, 1, [3, 16, 9], 8),
    ] {
        three(&mut out, plain().stride(stride).pad(pad), x, o, k, k);
    }
    // TensorFlow's SAME: the odd zero goes below and right on even sizes.
    for (k, stride, h, w) in [(3, 2, 8, 9), (3, 2, 16, 16), (5, 2, 7, 8), (2, 1, 5, 5), (4, 3, 10, 11)] {
        three(&mut out, plain().stride(stride).same(k, h, w), [5, h, w], 8, k, k);
    }
    // Each side on its own, kernels that are not square, dilation.
    three(&mut out, Conv2d { top: 2, left: 0, bottom: 1, right: 3, ..plain() }, [3, 5, 6], 4, 3, 4);
    three(&mut out, Conv2d { top: 0, left: 4, bottom: 0, right: 4, ..plain() }, [3, 6, 17], 8, 1, 9);
    three(&mut out, Conv2d { top: 3, left: 0, bottom: 3, right: 0, stride: 2, ..plain() }, [2, 16, 5], 3, 7, 1);
    three(&mut out, Conv2d { dilation: 2, ..plain().pad(2) }, [4, 9, 9], 7, 3, 3);
    three(&mut out, Conv2d { dilation: 3, ..plain().stride(2).pad(3) }, [3, 15, 16], 5, 3, 3);
    three(&mut out, Conv2d { dilation: 8, ..plain().pad(8) }, [2, 9, 17], 3, 3, 3);
    // Groups: depthwise (also with a channel multiplier) and in between.
    for c in SIZES {
        three(&mut out, plain().pad(1).groups(c), [c, 5, 6], c, 3, 3);
    }
    three(&mut out, plain().stride(2).same(3, 16, 17).groups(17), [17, 16, 17], 17, 3, 3);
    three(&mut out, plain().stride(2).same(3, 65, 9).groups(8), [8, 65, 9], 8, 3, 3);
    three(&mut out, plain().pad(2).groups(9), [9, 7, 7], 9, 5, 5);
    three(&mut out, Conv2d { dilation: 2, ..plain().pad(2).groups(3) }, [3, 8, 8], 3, 3, 3);
    three(&mut out, plain().pad(16).groups(2), [2, 9, 33], 2, 33, 33);
    three(&mut out, plain().pad(1).groups(4), [4, 6, 6], 8, 3, 3);
    three(&mut out, plain().pad(1).groups(2), [6, 6, 5], 10, 3, 3);
    three(&mut out, plain().groups(4), [64, 4, 4], 32, 1, 1);
    // The epilogues: activation, no bias, residual, all of it.
    for (k, groups, c, o) in [(1, 1, 17, 16), (3, 1, 7, 9), (3, 8, 8, 8), (3, 2, 8, 6)] {
        let x = Shape::chw(c, 7, 9);
        let (w, b, y) = (Shape([o, c / groups, k, k]), Shape::vector(o), Shape::chw(o, 7, 9));
        let op = plain().same(k, 7, 9).groups(groups);
        // Not so wide that relu6 hides the size of the sums, against which errors are measured.
        let wide = super::Fill::Uniform(-2.0, 2.0);
        for act in [Activation::Relu, Activation::Relu6] {
            let x = batched(x).fill(wide.clone());
            out.push(Case::new(op.act(act), [x.clone(), single(w), single(b)]));
            let residual = Some(batched(y));
            out.push(Case::slots(op.act(act), [Some(x), Some(single(w)), Some(single(b)), residual]));
        }
        out.push(Case::new(op, [batched(x), single(w)]));
        out.push(Case::slots(op, [Some(batched(x)), Some(single(w)), None, Some(batched(y))]));
    }
    large(&mut out);
    out
}

/// Layers of MobileNetV2 and AlexNet on small images: large enough for every blocking and for work on all threads.
fn large(out: &mut Vec<Case>) {
    let first = out.len();
    let plain = Conv2d::new;
    three(out, plain().stride(2).same(3, 48, 48), [3, 48, 48], 32, 3, 3);
    three(out, plain().same(3, 28, 28).groups(96), [96, 28, 28], 96, 3, 3);
    three(out, plain().stride(2).same(3, 29, 30).groups(40), [40, 29, 30], 40, 3, 3);
    three(out, plain(), [32, 20, 21], 192, 1, 1);
    three(out, plain(), [192, 14, 14], 33, 1, 1);
    three(out, plain().pad(1), [24, 20, 19], 40, 3, 3);
    three(out, plain().stride(4).pad(2), [3, 67, 67], 64, 11, 11);
    three(out, plain().pad(2), [32, 13, 13], 48, 5, 5);
    for case in &mut out[first..] {
        case.batches = &[1, 2];
    }
}
