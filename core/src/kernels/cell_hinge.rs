//! Weighed likelihoods of cells, those of negative weight as far as a limit. The maps are small: plain loops, sums in f64.
//! Comparisons are written so that NaN passes.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

/// `y = Σ w·n` over cells with w > 0, plus `Σ −w·max(0, limit − n)` over those with w < 0, of each sample. y has one element a
/// sample.
pub fn cell_hinge(limit: f32, n: &[f32], w: &[f32], y: &mut [f32]) {
    assert_eq!(n.len(), w.len(), "length of the weights");
    let len = n.len() / y.len().max(1);
    for (y, (n, w)) in y.iter_mut().zip(n.chunks_exact(len.max(1)).zip(w.chunks_exact(len.max(1)))) {
        let total: f64 = n.iter().zip(w).map(|(n, w)| f64::from(term(limit, *n, *w))).sum();
        *y = total as f32;
    }
}

fn term(limit: f32, n: f32, w: f32) -> f32 {
    if w > 0.0 {
        w * n
    } else if w < 0.0 && !(n >= limit) {
        -w * (limit - n)
    } else {
        0.0
    }
}

/// Gradient of [`cell_hinge`] by n: `g·w`, 0 where w < 0 and n is not below the limit. g has one element a sample.
pub fn cell_hinge_dn(limit: f32, g: &[f32], n: &[f32], w: &[f32], gn: &mut [f32]) {
    assert_eq!((n.len(), w.len()), (gn.len(), gn.len()), "lengths of n and the weights");
    let len = (gn.len() / g.len().max(1)).max(1);
    for (i, (gn, (n, w))) in gn.iter_mut().zip(n.iter().zip(w)).enumerate() {
        *gn = if *w > 0.0 || (*w < 0.0 && !(*n >= limit)) { g[i / len] * w } else { 0.0 };
    }
}
