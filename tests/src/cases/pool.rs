//! Pooling, means over positions, and resize.

use super::{Case, Fill, SIZES, batched};
use adflow::op::{GlobalMean, GlobalMeanDx, Interpolation, MaxPool, MaxPoolDx, Resize, ResizeDx};
use adflow::shape::Shape;

/// Few values, so that most windows have ties.
const TIES: Fill = Fill::Levels(&[-1.0, 0.0, 1.0]);

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (k, stride, pad, h, w) in [
        (2, 2, 0, 8, 9),
        (3, 2, 0, 15, 17),
        (3, 2, 1, 16, 16),
        (3, 1, 1, 7, 3),
        (2, 1, 0, 9, 65),
        (1, 1, 0, 3, 3),
        (5, 3, 2, 17, 16),
        (2, 3, 1, 7, 8),
        (3, 2, 0, 3, 3),
    ] {
        for fill in [Fill::Uniform(-1.0, 1.0), TIES] {
            for c in [1, 5] {
                let x = batched(Shape::chw(c, h, w)).fill(fill.clone());
                let forward = Case::new(MaxPool { k, stride, pad }, [x.clone()]);
                let y = forward.op.output(&forward.types()).unwrap_or_else(|e| panic!("{forward}: {e}")).shape;
                out.push(forward);
                out.push(Case::new(MaxPoolDx { k, stride, pad }, [x, batched(y)]));
            }
        }
    }
    for n in SIZES {
        for x in [Shape::chw(n, 3, 5), Shape::chw(3, 1, n), Shape::chw(2, n, 9)] {
            // Biased, because an error is measured against the mean.
            out.push(Case::new(GlobalMean {}, [batched(x).fill(Fill::Uniform(-1.0, 3.0))]));
            out.push(Case::new(GlobalMeanDx { h: x.h(), w: x.w() }, [batched(Shape::vector(n))]));
        }
    }
    let sides = [
        (8, 8, 4, 4),
        (4, 4, 8, 8),
        (7, 9, 15, 16),
        (16, 17, 5, 3),
        (1, 1, 4, 3),
        (9, 8, 1, 1),
        (3, 65, 64, 7),
        (40, 41, 61, 63),
    ];
    for (h, w, oh, ow) in sides {
        for mode in [Interpolation::Nearest, Interpolation::Bilinear] {
            for c in [1, 3] {
                out.push(Case::new(Resize { h: oh, w: ow, mode }, [batched(Shape::chw(c, h, w))]));
                out.push(Case::new(ResizeDx { h, w, mode }, [batched(Shape::chw(c, oh, ow))]));
            }
        }
    }
    out
}
