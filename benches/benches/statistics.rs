//! What training of Gaussians and measuring of maps cost: covariance, Cholesky factor, and metrics of a whole test set.
//!
//! `cargo bench --bench statistics -- --quick`.
#![allow(missing_docs)] // The functions that criterion's macros make.

use adflow::linalg::{Moments, cholesky, invert_lower, shrink};
use adflow::metrics::Pixels;
use criterion::{Criterion, criterion_group, criterion_main};

fn numbers(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    }
}

fn gaussian(c: &mut Criterion) {
    let d = 768;
    let mut next = numbers(1);
    let samples: Vec<Vec<f32>> = (0..800).map(|_| (0..d).map(|_| next()).collect()).collect();
    let covariance = || {
        let mut moments = Moments::new(d);
        samples.iter().for_each(|s| moments.push(s));
        moments.covariance(1)
    };
    let mut group = c.benchmark_group("768 dimensions");
    group.sample_size(10);
    group.bench_function("covariance of 800", |bench| bench.iter(covariance));
    let mut whole = covariance();
    shrink(d, 0.01, &mut whole);
    group.bench_function("Cholesky factor and its inverse", |bench| {
        bench.iter(|| {
            let (mut factor, mut inverse) = (whole.clone(), vec![0.0; d * d]);
            cholesky(d, &mut factor).unwrap();
            invert_lower(d, &factor, &mut inverse);
            inverse
        });
    });
}

/// 583 maps of 256×256, as in the test part of the magnetic tile data set.
fn metrics(c: &mut Criterion) {
    let mut group = c.benchmark_group("583 maps");
    group.sample_size(10);
    group.bench_function("pixel AUROC and AUPRO", |bench| {
        bench.iter(|| {
            let (mut pixels, mut next) = (Pixels::with_capacity(583), numbers(2));
            let mut map = vec![0.0; 65536];
            let mask: Vec<bool> = (0..65536).map(|i| i % 256 < 30 && i / 256 < 40).collect();
            for image in 0..583 {
                map.iter_mut().for_each(|m| *m = next());
                pixels.push(256, 256, &map, if image % 3 == 0 { &mask } else { &[] }).unwrap();
            }
            pixels.finish(0.3)
        });
    });
}

criterion_group!(benches, gaussian, metrics);
criterion_main!(benches);
