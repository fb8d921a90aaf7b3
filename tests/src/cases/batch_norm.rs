//! Batch normalisation.

use super::{Case, Fill, SIZES, batched, single};
use adflow::op::{BatchNorm, BatchNormDgamma, BatchNormDstats, BatchNormDx, BatchStats, BatchStatsDx};
use adflow::shape::Shape;

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let vectors = SIZES.into_iter().map(Shape::vector);
    let planes = [(1, 3, 3), (3, 5, 7), (16, 1, 65), (5, 8, 8), (24, 40, 41)].map(|(c, h, w)| Shape::chw(c, h, w));
    for shape in vectors.chain(planes) {
        let eps = 1e-3;
        let x = || batched(shape);
        let stats = || single(Shape([shape.c(), 2, 1, 1])).fill(Fill::Uniform(0.5, 2.0));
        let vector = || single(Shape::vector(shape.c()));
        // Once around zero, once far from it for its spread.
        for fill in [Fill::Uniform(-1.0, 1.0), Fill::Uniform(3.0, 4.0)] {
            out.push(Case::new(BatchStats {}, [x().fill(fill)]));
        }
        let g = single(Shape([shape.c(), 2, 1, 1]));
        out.push(Case::new(BatchStatsDx {}, [g, x(), stats()]));
        out.push(Case::new(BatchNorm { eps }, [x(), stats(), vector(), vector()]));
        out.push(Case::new(BatchNormDx { eps }, [x(), stats(), vector()]));
        out.push(Case::new(BatchNormDstats { eps }, [x(), x(), stats(), vector()]));
        out.push(Case::new(BatchNormDgamma { eps }, [x(), x(), stats()]));
    }
    out
}
