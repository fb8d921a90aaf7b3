//! Couplings, log-determinants, losses and scores.

use super::{Case, Fill, SIZES, batched, single};
use adflow::kernels::coupling::SoftClamp;
use adflow::op::{
    BatchMean, BatchMeanDx, Coupling, CouplingDst, CouplingDx, FlowNll, FlowNllDj, FlowNllDz, LogDet, LogDetDst,
    LogScale, LogScaleDscale, SquareSum, SquareSumDx, TopMean, TopMeanDx,
};
use adflow::shape::Shape;

/// The coupling both ways, its log-determinant and all gradients. x is groups·size channels of h×w.
fn coupling(out: &mut Vec<Case>, [groups, size, offset, active]: [u32; 4], h: u32, w: u32, clamp: f32) {
    let x = || batched(Shape::chw(groups * size, h, w));
    for form in [SoftClamp::Atan, SoftClamp::Tanh] {
        // Well beyond the clamp on both sides; biased, because a log-determinant's error is measured against it.
        let range = if form == SoftClamp::Atan { Fill::Uniform(-1.5, 6.0) } else { Fill::Uniform(-0.7, 1.5) };
        let st = || batched(Shape::chw(groups * 2 * active, h, w)).fill(range.clone());
        for inverse in [false, true] {
            out.push(Case::new(Coupling { groups, offset, active, clamp, inverse, form }, [x(), st()]));
        }
        out.push(Case::new(CouplingDx { groups, offset, active, clamp, form }, [x(), st()]));
        out.push(Case::new(CouplingDst { groups, offset, active, clamp, form }, [x(), x(), st()]));
        for per_position in [false, true] {
            let j = || batched(if per_position { Shape::chw(1, h, w) } else { Shape::SCALAR });
            out.push(Case::new(LogDet { groups, clamp, form, per_position }, [st()]));
            out.push(Case::new(LogDet { groups, clamp, form, per_position }, [st(), j()]));
            out.push(Case::new(LogDetDst { groups, clamp, form, per_position }, [j(), st()]));
        }
    }
}

/// A per-channel scale in a log-determinant.
fn log_scale(out: &mut Vec<Case>, channels: u32, j: Shape) {
    let factor = 0.75;
    let scale = || single(Shape::vector(channels)).fill(Fill::Uniform(1.0, 3.0));
    let j = || batched(j).fill(Fill::Uniform(-0.5, 1.5));
    out.push(Case::new(LogScale { factor }, [j(), scale()]));
    out.push(Case::new(LogScaleDscale { factor }, [j(), scale()]));
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for a in SIZES {
        coupling(&mut out, [1, 2 * a, a, a], 1, 1, 2.0);
        coupling(&mut out, [3, a + 2, 1, a], 1, 1, 2.0);
        coupling(&mut out, [2, 3, 0, 2], 1, a, 3.0);
    }
    // The levels of a flow on 24 and 768 channels, down to leaves of three: one conditions two.
    for (d, level) in [(24, 0), (24, 1), (24, 2), (24, 3), (768, 4), (768, 8)] {
        let size = d >> level;
        coupling(&mut out, [1 << level, size, size / 2, size - size / 2], 1, 1, 2.0);
    }
    coupling(&mut out, [2, 5, 2, 2], 4, 4, 0.5);
    coupling(&mut out, [1, 4, 0, 4], 7, 9, 1.9);
    // A training batch of the method's size, and features that keep their positions.
    let first = out.len();
    coupling(&mut out, [1, 768, 384, 384], 1, 1, 2.0);
    coupling(&mut out, [2, 32, 16, 16], 14, 14, 2.0);
    out.push(Case::new(FlowNll {}, [batched(Shape::vector(768)), batched(Shape::SCALAR)]));
    out.push(Case::new(BatchMean {}, [batched(Shape::SCALAR)]));
    for case in &mut out[first..] {
        case.batches = &[1, 31, 96];
    }
    for n in SIZES {
        log_scale(&mut out, n, Shape::SCALAR);
        log_scale(&mut out, 5, Shape::chw(1, 3, n));
        let (one, vector) = (|| batched(Shape::SCALAR), || batched(Shape::vector(n)));
        out.push(Case::new(FlowNll {}, [vector(), one()]));
        out.push(Case::new(FlowNllDz {}, [one(), vector()]));
        out.push(Case::new(FlowNllDj { dims: n }, [one()]));
        for x in [Shape::vector(n), Shape::chw(n, 3, 3), Shape::chw(3, 1, n)] {
            for per_position in [false, true] {
                let scale = 0.7;
                let y = if per_position { Shape::chw(1, x.h(), x.w()) } else { Shape::SCALAR };
                for root in [false, true] {
                    out.push(Case::new(SquareSum { scale, per_position, root }, [batched(x)]));
                }
                let (square, root) =
                    (SquareSumDx { scale, per_position, root: false }, SquareSumDx { scale, per_position, root: true });
                out.push(Case::new(square, [batched(y), batched(x)]));
                let roots = batched(y).fill(Fill::Levels(&[0.0, 0.25, 1.5]));
                out.push(Case::new(root, [batched(y), batched(x), roots]));
            }
        }
        for k in [1, 2, n / 2, n] {
            if k == 0 || k > n {
                continue;
            }
            for fill in [Fill::Uniform(-1.0, 3.0), Fill::Levels(&[-1.0, 0.5, 2.0])] {
                let x = vector().fill(fill);
                out.push(Case::new(TopMean { k }, [x.clone()]));
                out.push(Case::new(TopMeanDx { k }, [one(), x]));
            }
        }
    }
    out.push(Case::new(FlowNll {}, [batched(Shape::chw(5, 4, 3)), batched(Shape::SCALAR)]));
    out.push(Case::new(TopMean { k: 30 }, [batched(Shape::chw(1, 40, 40))]));
    out.push(Case::new(BatchMean {}, [batched(Shape::SCALAR)]));
    out.push(Case::new(BatchMeanDx {}, []));
    out.push(Case::new(BatchMeanDx {}, [single(Shape::SCALAR)]));
    out
}
