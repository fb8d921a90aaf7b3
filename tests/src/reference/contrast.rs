//! Cosines between samples, the triplet loss over them, and mixtures of samples.

use super::Step;
use adflow::op::{Triplet, TripletDcos};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The vector at length 1; zeros where it has no length.
fn unit(v: &[f64]) -> (Vec<f64>, f64) {
    let length = dot(v, v).sqrt();
    if length <= 1e-12 { (vec![0.0; v.len()], 0.0) } else { (v.iter().map(|v| v / length).collect(), length) }
}

pub fn cosine(step: &Step<'_>) -> Vec<f64> {
    let (x, w, samples) = (step.input(0), step.input(1), step.output_type.shape.len());
    let cos = |n: usize, m: usize| dot(&unit(x.sample(n)).0, &unit(w.sample(m)).0);
    step.per_sample(|n| (0..samples).map(|m| if m < step.batch { cos(n, m) } else { 0.0 }).collect())
}

/// `(G − (G·û)û)/‖u‖`
fn project(g: &[f64], own: &[f64]) -> Vec<f64> {
    let (direction, length) = unit(own);
    let along = dot(g, &direction);
    let project = |(g, u): (&f64, &f64)| if length == 0.0 { 0.0 } else { (g - along * u) / length };
    g.iter().zip(&direction).map(project).collect()
}

pub fn cosine_d(towards_w: bool, step: &Step<'_>) -> Vec<f64> {
    let (g, x, w) = (step.input(0), step.input(1), step.input(2));
    let samples = g.shape().len();
    step.per_sample(|own| {
        let mut total = vec![0.0; x.shape().len()];
        for other in 0..step.batch {
            let (n, m) = if towards_w { (other, own) } else { (own, other) };
            if m < samples {
                let v = unit(if towards_w { x.sample(other) } else { w.sample(other) }).0;
                total.iter_mut().zip(&v).for_each(|(t, v)| *t += g.sample(n)[m] * v);
            }
        }
        project(&total, if towards_w { w.sample(own) } else { x.sample(own) })
    })
}

/// A triplet (i, j, where the anomaly's cosine is): row, normal column, whether of q, column.
struct Open {
    i: usize,
    j: usize,
    mixed: bool,
    k: usize,
    hinge: f64,
}

fn kernel(cos: f64, sigma: f64) -> f64 {
    (-(2.0 - 2.0 * cos).max(1e-12).sqrt() / sigma).exp()
}

/// All triplets whose hinge is open, and the factor in front of their sum.
fn triplets(step: &Step<'_>, first: usize, sigma: f64, margin: f64) -> (Vec<Open>, f64) {
    let [p, q, role] = [first, first + 1, first + 2].map(|slot| step.input(slot));
    let seen = step.batch.min(p.shape().len());
    let normal: Vec<usize> = (0..seen).filter(|&n| role.sample(n)[0] > 0.0).collect();
    let own = (0..seen).filter(|&n| role.sample(n)[0] < 0.0).map(|n| (false, n));
    let anomalies: Vec<(bool, usize)> =
        own.chain((0..seen).filter(|&n| role.sample(n)[1] > 0.0).map(|n| (true, n))).collect();
    let mut open = Vec::new();
    for &i in &normal {
        for &j in normal.iter().filter(|&&j| j != i) {
            for &(mixed, k) in &anomalies {
                let cos = if mixed { q.sample(i)[k] } else { p.sample(i)[k] };
                let hinge = kernel(cos, sigma) - kernel(p.sample(i)[j], sigma) + margin;
                if hinge > 0.0 {
                    open.push(Open { i, j, mixed, k, hinge });
                }
            }
        }
    }
    let count = normal.len() * normal.len().saturating_sub(1) * anomalies.len();
    (open, step.batch as f64 / count.max(1) as f64)
}

pub fn triplet(a: Triplet, step: &Step<'_>) -> Vec<f64> {
    let (open, factor) = triplets(step, 0, f64::from(a.sigma), f64::from(a.margin));
    step.per_sample(|n| vec![factor * open.iter().filter(|t| t.i == n).map(|t| t.hinge).sum::<f64>()])
}

pub fn triplet_dcos(a: TripletDcos, step: &Step<'_>) -> Vec<f64> {
    let sigma = f64::from(a.sigma);
    let (open, factor) = triplets(step, 1, sigma, f64::from(a.margin));
    let (g, p, q) = (step.input(0), step.input(1), step.input(2));
    let slope = |cos: f64| {
        let squared = 2.0 - 2.0 * cos;
        if squared < 1e-12 { 0.0 } else { kernel(cos, sigma) / (sigma * squared.sqrt()) }
    };
    step.per_sample(|n| {
        let mut row = vec![0.0; p.shape().len()];
        for t in open.iter().filter(|t| t.i == n) {
            let weight = g.sample(n)[0] * factor;
            if t.mixed == a.mixed {
                row[t.k] += weight * slope(if t.mixed { q.sample(n)[t.k] } else { p.sample(n)[t.k] });
            }
            if !a.mixed {
                row[t.j] -= weight * slope(p.sample(n)[t.j]);
            }
        }
        row
    })
}

fn other(pair: &[f64], batch: usize) -> usize {
    (pair[0] as usize).min(batch - 1)
}

pub fn batch_mix(step: &Step<'_>) -> Vec<f64> {
    let (x, pair) = (step.input(0), step.input(1));
    step.per_sample(|n| {
        let share = pair.sample(n)[1];
        let with = x.sample(other(pair.sample(n), step.batch));
        x.sample(n).iter().zip(with).map(|(a, b)| share * a + (1.0 - share) * b).collect()
    })
}

pub fn batch_mix_dx(step: &Step<'_>) -> Vec<f64> {
    let (g, pair) = (step.input(0), step.input(1));
    step.per_sample(|m| {
        let mut out: Vec<f64> = g.sample(m).iter().map(|g| pair.sample(m)[1] * g).collect();
        for n in (0..step.batch).filter(|&n| other(pair.sample(n), step.batch) == m) {
            let share = pair.sample(n)[1];
            out.iter_mut().zip(g.sample(n)).for_each(|(o, g)| *o += (1.0 - share) * g);
        }
        out
    })
}
