//! Triplet loss over all pairs and anomalies of a batch. A batch has some 64 normal samples and 50 anomalies, 200 thousand
//! triplets: plain loops, sums in f64. Comparisons are written so that NaN passes.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

/// Least squared distance; below it there is no direction to pull in.
const LEAST: f32 = 1e-12;

/// Cosines of each sample with samples and mixtures, and what they are.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'r> {
    /// Length of a row.
    pub samples: usize,
    /// Number of rows.
    pub batch: usize,
    /// Width of the kernel.
    pub sigma: f32,
    /// m.
    pub margin: f32,
    /// Cosines with samples, `[batch, samples]`.
    pub p: &'r [f32],
    /// Cosines with mixtures.
    pub q: &'r [f32],
    /// Above 0 normal, below 0 an anomaly; above 0: the mixture counts. `[batch, 2]`.
    pub role: &'r [f32],
}

/// `(e^{−d/σ}, d)`
fn kernel(cos: f32, sigma: f32) -> (f32, f32) {
    let squared = 2.0 - 2.0 * cos;
    let d = libm::sqrtf(if squared < LEAST { LEAST } else { squared });
    (libm::expf(-d / sigma), d)
}

impl Rows<'_> {
    /// Samples that have a column.
    fn seen(&self) -> usize {
        self.batch.min(self.samples)
    }

    fn is_normal(&self, n: usize) -> bool {
        self.role[2 * n] > 0.0
    }

    fn is_anomaly(&self, n: usize) -> bool {
        self.role[2 * n] < 0.0
    }

    fn is_mixed(&self, n: usize) -> bool {
        self.role[2 * n + 1] > 0.0
    }

    /// Normal samples, and anomalies with mixtures.
    fn counts(&self) -> (usize, usize) {
        let count = |f: &dyn Fn(usize) -> bool| (0..self.seen()).filter(|&n| f(n)).count();
        (count(&|n| self.is_normal(n)), count(&|n| self.is_anomaly(n)) + count(&|n| self.is_mixed(n)))
    }

    /// The factor in front of the sums; 0 where there is no triplet.
    fn factor(&self) -> f32 {
        let (normal, anomalies) = self.counts();
        if normal < 2 || anomalies == 0 {
            return 0.0;
        }
        (self.batch as f64 / (normal as f64 * (normal - 1) as f64 * anomalies as f64)) as f32
    }

    /// Kernels of row i into `near` (normal samples but i, and anomalies) and `mixed`.
    fn kernels(&self, i: usize, near: &mut [f32], mixed: &mut [f32]) {
        let (p, q) = (&self.p[i * self.samples..], &self.q[i * self.samples..]);
        for (n, (near, mixed)) in near.iter_mut().zip(mixed).enumerate().take(self.seen()) {
            *near = kernel(p[n], self.sigma).0;
            *mixed = kernel(q[n], self.sigma).0;
        }
    }

    /// Runs `f` with the kernel of each anomaly of a row.
    fn anomalies(&self, near: &[f32], mixed: &[f32], mut f: impl FnMut(f32)) {
        for k in 0..self.seen() {
            if self.is_anomaly(k) {
                f(near[k]);
            }
            if self.is_mixed(k) {
                f(mixed[k]);
            }
        }
    }

    fn is_open(&self, hinge: f32) -> bool {
        !(hinge <= 0.0)
    }

    /// Share of all triplets whose hinge is open. `scratch` holds 2·`samples`.
    pub fn active(&self, scratch: &mut [f32]) -> f64 {
        let (near, mixed) = scratch.split_at_mut(self.samples);
        let (normal, anomalies) = self.counts();
        let mut open = 0u64;
        for i in (0..self.seen()).filter(|&i| self.is_normal(i)) {
            self.kernels(i, near, mixed);
            for j in (0..self.seen()).filter(|&j| j != i && self.is_normal(j)) {
                self.anomalies(near, mixed, |q| open += u64::from(self.is_open(q - near[j] + self.margin)));
            }
        }
        open as f64 / (normal * normal.saturating_sub(1) * anomalies).max(1) as f64
    }
}

/// The loss of each sample. `scratch` holds 2·`samples`.
pub fn triplet(r: &Rows<'_>, scratch: &mut [f32], y: &mut [f32]) {
    assert_eq!(y.len(), r.batch, "length of y");
    let (near, rest) = scratch.split_at_mut(r.samples);
    let mixed = &mut rest[..r.samples];
    let factor = r.factor();
    y.fill(0.0);
    if factor == 0.0 {
        return;
    }
    for i in (0..r.seen()).filter(|&i| r.is_normal(i)) {
        r.kernels(i, near, mixed);
        let mut total = 0.0f64;
        for j in (0..r.seen()).filter(|&j| j != i && r.is_normal(j)) {
            r.anomalies(near, mixed, |q| {
                let hinge = q - near[j] + r.margin;
                if r.is_open(hinge) {
                    total += f64::from(hinge);
                }
            });
        }
        y[i] = (f64::from(factor) * total) as f32;
    }
}

/// Gradient of [`triplet`] by p, or by q where `towards_mixed`. g has one element a sample.
pub fn triplet_dcos(r: &Rows<'_>, towards_mixed: bool, g: &[f32], scratch: &mut [f32], out: &mut [f32]) {
    assert_eq!((g.len(), out.len()), (r.batch, r.batch * r.samples), "lengths of g and the output");
    let (near, rest) = scratch.split_at_mut(r.samples);
    let mixed = &mut rest[..r.samples];
    let factor = r.factor();
    out.fill(0.0);
    if factor == 0.0 {
        return;
    }
    // ∂/∂cos of e^{−d/σ}, times how many hinges it is in.
    let slope = |cos: f32, count: usize| {
        let (e, d) = kernel(cos, r.sigma);
        if 2.0 - 2.0 * cos < LEAST { 0.0 } else { count as f32 * e / (r.sigma * d) }
    };
    for i in (0..r.seen()).filter(|&i| r.is_normal(i)) {
        r.kernels(i, near, mixed);
        let normal = |j: usize| j != i && r.is_normal(j);
        // How many normal samples an anomaly is not far enough from.
        let of_anomaly = |q: f32| (0..r.seen()).filter(|&j| normal(j) && r.is_open(q - near[j] + r.margin)).count();
        let row = &mut out[i * r.samples..][..r.samples];
        for (n, value) in row.iter_mut().enumerate().take(r.seen()) {
            let sum = if towards_mixed {
                let cos = r.q[i * r.samples + n];
                if r.is_mixed(n) { slope(cos, of_anomaly(mixed[n])) } else { 0.0 }
            } else {
                let cos = r.p[i * r.samples + n];
                if normal(n) {
                    let mut count = 0;
                    r.anomalies(near, mixed, |q| count += usize::from(r.is_open(q - near[n] + r.margin)));
                    -slope(cos, count)
                } else if r.is_anomaly(n) {
                    slope(cos, of_anomaly(near[n]))
                } else {
                    0.0
                }
            };
            *value = g[i] * factor * sum;
        }
    }
}
