//! Ops that couple the samples of a batch: cosines, the triplet loss, mixtures.

use super::{Case, Fill, Input, SIZES, batched};
use adflow::op::{BatchMix, BatchMixDx, Cosine, CosineDw, CosineDx, Triplet, TripletDcos};
use adflow::shape::Shape;

const BATCHES: &[usize] = &[1, 2, 5, 9];

fn triplets(out: &mut Vec<Case>, samples: u32, role: &Input, margin: f32) {
    let sigma = 0.5;
    let cosines = || batched(Shape::vector(samples)).fill(Fill::Uniform(-0.9, 0.9));
    let inputs = || [cosines(), cosines().fill(Fill::Uniform(-0.7, 0.95)), role.clone()];
    out.push(Case::new(Triplet { sigma, margin }, inputs()).batches(BATCHES));
    for mixed in [false, true] {
        let [p, q, role] = inputs();
        let g = batched(Shape::SCALAR);
        out.push(Case::new(TripletDcos { sigma, margin, mixed }, [g, p, q, role]).batches(BATCHES));
    }
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for n in SIZES {
        // All positive, as means behind relu6 are: products that cancel say nothing about a tolerance.
        let x = || batched(Shape::vector(n)).fill(Fill::Uniform(0.1, 1.0));
        // Fewer columns than samples, as many, and more.
        for samples in [1, 4, 9, 70] {
            let g = || batched(Shape::vector(samples));
            // One number has a cosine of 1 or −1, and no gradient.
            if n > 1 {
                out.push(Case::new(Cosine { samples }, [x(), x()]).batches(BATCHES));
                out.push(Case::new(CosineDx {}, [g(), x(), x()]).batches(BATCHES));
                out.push(Case::new(CosineDw {}, [g(), x(), x()]).batches(BATCHES));
            }
        }
        let pair = || batched(Shape::vector(2)).fill(Fill::Uniform(0.0, 2.0));
        let map = || batched(Shape::chw(n, 2, 3));
        out.push(Case::new(BatchMix {}, [map(), pair()]).batches(BATCHES));
        out.push(Case::new(BatchMixDx {}, [map(), pair()]).batches(BATCHES));
        // Normal samples only, whose mixtures are the anomalies, then all kinds.
        let roles = |low| batched(Shape::vector(2)).fill(Fill::Uniform(low, 1.0));
        triplets(&mut out, n, &roles(0.1), 0.5);
        triplets(&mut out, n, &roles(-1.0), 0.5);
    }
    let roles = batched(Shape::vector(2)).fill(Fill::Levels(&[-1.0, 0.0, 1.0]));
    triplets(&mut out, 96, &roles, 0.25);
    out
}
