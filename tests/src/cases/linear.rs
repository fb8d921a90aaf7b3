//! Linear layers: dense, grouped, the windows of a recursive flow's levels, and one map per position.

use super::{Case, Fill, SIZES, batched, single};
use adflow::kernels::activation::Activation;
use adflow::op::{Linear, LinearDw, LinearDx, PositionLinear, PositionLinearDx};
use adflow::shape::Shape;

/// The forward case with bias and the gradients on the same shapes. x has `len` elements, w is groups×out×features.
fn three(out: &mut Vec<Case>, op: Linear, len: u32, [groups, outputs, features]: [u32; 3]) {
    let Linear { share, offset, stride, act: _ } = op;
    let (x, w, y) = (Shape::vector(len), Shape([groups, outputs, features, 1]), Shape::vector(groups * outputs));
    out.push(Case::new(op, [batched(x), single(w), single(y)]));
    out.push(Case::new(LinearDx { share, offset, stride, len }, [batched(y), single(w)]));
    out.push(Case::new(LinearDw { share, offset, stride, groups, features }, [batched(x), batched(y)]));
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let (act, dense) = (Activation::Relu, Linear::dense(Activation::None));
    for n in SIZES {
        three(&mut out, dense, n, [1, 9, n]);
        three(&mut out, dense, 9, [1, n, 9]);
    }
    three(&mut out, Linear::dense(Activation::Relu), 130, [1, 257, 130]);
    three(&mut out, Linear { offset: 3, ..dense }, 20, [1, 5, 16]);
    // First layer of a level ℓ of D = 24, 36 and 768: 2·2^ℓ subnets, two on each window, which is the first half of a node.
    for (d, level, hidden) in [(24, 0, 16), (24, 1, 8), (24, 2, 8), (24, 3, 8), (36, 2, 9), (768, 5, 24), (768, 8, 8)] {
        let (nodes, size) = (1 << level, d >> level);
        let half = size / 2;
        three(&mut out, Linear { share: 2, offset: 0, stride: size, act }, d, [2 * nodes, hidden, half]);
        // Second and third layer: every subnet on its own outputs.
        let groups = 2 * nodes;
        three(&mut out, Linear { share: 1, offset: 0, stride: hidden, act }, groups * hidden, [groups, hidden, hidden]);
        let last = Linear { share: 1, offset: 0, stride: hidden, act: Activation::None };
        three(&mut out, last, groups * hidden, [groups, size - half, hidden]);
    }
    // A training batch: products are blocked by samples then, and must still be those of each sample alone.
    let first = out.len();
    for groups in [[1, 257, 384], [1, 384, 130], [2, 64, 96], [8, 24, 12], [64, 8, 3]] {
        let [_, _, features] = groups;
        three(&mut out, Linear { share: 1, offset: 0, stride: features, act }, groups[0] * features, groups);
    }
    three(&mut out, Linear { share: 2, offset: 0, stride: 48, act }, 192, [8, 24, 24]);
    for case in &mut out[first..] {
        case.batches = &[1, 5, 16, 33, 96];
    }
    // Windows with gaps and an offset; shares of three.
    three(&mut out, Linear { share: 1, offset: 2, stride: 9, act: Activation::None }, 40, [4, 3, 7]);
    three(&mut out, Linear { share: 3, offset: 1, stride: 17, act: Activation::None }, 64, [9, 8, 16]);
    three(&mut out, Linear { share: 2, offset: 384, stride: 0, act: Activation::None }, 768, [2, 16, 384]);
    // Epilogues without bias and with the other activation.
    for act in [Activation::None, Activation::Relu, Activation::Relu6] {
        let x = batched(Shape::vector(17)).fill(Fill::Uniform(-9.0, 9.0));
        out.push(Case::new(Linear::dense(act), [x, single(Shape([1, 33, 17, 1]))]));
    }
    for (c, h, w, o) in [(1, 1, 1, 1), (3, 2, 3, 3), (8, 4, 4, 8), (7, 3, 5, 9), (17, 1, 16, 15), (16, 5, 13, 16)] {
        let (x, y, positions) = (Shape::chw(c, h, w), Shape::chw(o, h, w), h * w);
        let (weight, bias) = (Shape([positions, o, c, 1]), Shape([positions, o, 1, 1]));
        out.push(Case::new(PositionLinear {}, [batched(x), single(weight), single(bias)]));
        out.push(Case::new(PositionLinearDx { h, w }, [batched(y), single(weight)]));
    }
    out
}
