//! Self-attention, head by head: scores, their softmax, and the gradient by the chain rule.

use super::Step;
use adflow::op::{Attention, AttentionDx, AttentionLse};
use adflow::shape::Shape;

/// One head of one sample: q, k and v by channel and position, and the probabilities by query and key.
struct Head {
    depth: usize,
    tokens: usize,
    qkv: [Vec<f64>; 3],
    scores: Vec<f64>,
    weights: Vec<f64>,
}

impl Head {
    fn new(qkv: &[f64], shape: Shape, heads: u32, head: usize) -> Head {
        let (channels, tokens) = (shape.c() as usize / 3, shape.positions());
        let depth = channels / heads as usize;
        let qkv = [0, 1, 2].map(|part| qkv[(part * channels + head * depth) * tokens..][..depth * tokens].to_vec());
        let mut scores = vec![0.0; tokens * tokens];
        for i in 0..tokens {
            for j in 0..tokens {
                let dot: f64 = (0..depth).map(|c| qkv[0][c * tokens + i] * qkv[1][c * tokens + j]).sum();
                scores[i * tokens + j] = dot / (depth as f64).sqrt();
            }
        }
        let lse: Vec<f64> = scores.chunks(tokens).map(log_sum).collect();
        let weights = scores.iter().enumerate().map(|(at, s)| (s - lse[at / tokens]).exp()).collect();
        Head { depth, tokens, qkv, scores, weights }
    }
}

fn log_sum(row: &[f64]) -> f64 {
    let top = row.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
    top + row.iter().map(|s| (s - top).exp()).sum::<f64>().ln()
}

pub fn forward(a: Attention, step: &Step<'_>) -> Vec<f64> {
    let qkv = step.input(0);
    step.per_sample(|n| {
        let mut y = Vec::new();
        for head in 0..a.heads as usize {
            let Head { depth, tokens, qkv: [_, _, v], weights, .. } =
                Head::new(qkv.sample(n), qkv.shape(), a.heads, head);
            for c in 0..depth {
                for i in 0..tokens {
                    y.push((0..tokens).map(|j| weights[i * tokens + j] * v[c * tokens + j]).sum());
                }
            }
        }
        y
    })
}

pub fn lse(a: AttentionLse, step: &Step<'_>) -> Vec<f64> {
    let qkv = step.input(0);
    step.per_sample(|n| {
        let head = |head| Head::new(qkv.sample(n), qkv.shape(), a.heads, head);
        (0..a.heads as usize)
            .flat_map(|h| head(h).scores.chunks(qkv.shape().positions()).map(log_sum).collect::<Vec<_>>())
            .collect()
    })
}

/// From gy and qkv by the chain rule through the softmax. The output and l are what the forward op would give, but in cases they
/// are any numbers: then they take part as in the formula of the op.
pub fn dx(a: AttentionDx, step: &Step<'_>) -> Vec<f64> {
    let (gy, qkv, y, lse) = (step.input(0), step.input(1), step.input(2), step.input(3));
    step.per_sample(|n| {
        let mut out = vec![0.0; qkv.shape().len()];
        let part = out.len() / 3;
        for head in 0..a.heads as usize {
            let Head { depth, tokens, qkv: [q, k, v], scores, .. } =
                Head::new(qkv.sample(n), qkv.shape(), a.heads, head);
            let at = head * depth * tokens;
            let (g, y, l) = (&gy.sample(n)[at..], &y.sample(n)[at..], &lse.sample(n)[head * tokens..]);
            for i in 0..tokens {
                let level: f64 = (0..depth).map(|c| g[c * tokens + i] * y[c * tokens + i]).sum();
                for j in 0..tokens {
                    let p = (scores[i * tokens + j] - l[i]).exp();
                    let dp: f64 = (0..depth).map(|c| g[c * tokens + i] * v[c * tokens + j]).sum();
                    let e = p * (dp - level) / (depth as f64).sqrt();
                    for c in (0..depth).map(|c| c * tokens) {
                        out[at + c + i] += e * k[c + j];
                        out[part + at + c + j] += e * q[c + i];
                        out[2 * part + at + c + j] += p * g[c + i];
                    }
                }
            }
        }
        out
    })
}
