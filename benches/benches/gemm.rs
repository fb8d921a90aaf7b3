//! Matrix products: the sizes of dense couplings in training (96 rows) and of convolutions seen as products.
//!
//! `cargo bench --bench gemm -- --quick`. Throughput is in multiply-adds, two floating-point operations each.
#![allow(missing_docs)] // The functions that criterion's macros make.

use adflow::cpu::Cpu;
use adflow::kernels::gemm::{Gemm, Matrix, gemm, gemm_scratch};
use adflow::threads::Threads;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(usize, usize, usize); 10] = [
    (64, 64, 64),
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (96, 384, 384),
    (96, 768, 768),
    (96, 1536, 1536),
    (1536, 1536, 96),
    (144, 6400, 24),
    (96, 3025, 363),
];

fn products(c: &mut Criterion) {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    for (m, n, k) in SIZES {
        let (a, b) = (vec![0.5; m * k], vec![0.25; k * n]);
        let (mut out, mut scratch) = (vec![0.0; m * n], vec![0.0; gemm_scratch(m, n, k, threads.count())]);
        let mut group = c.benchmark_group("gemm");
        group.throughput(Throughput::Elements((m * n * k) as u64));
        for (name, a, b) in [
            ("A·B", Matrix::rows(&a, k), Matrix::rows(&b, n)),
            ("A·Bᵀ", Matrix::rows(&a, k), Matrix::transposed(&b, k)),
            ("Aᵀ·B", Matrix::transposed(&a, m), Matrix::rows(&b, n)),
        ] {
            let g = Gemm::new(m, n, k, a, b);
            group.bench_function(BenchmarkId::new(name, format!("{m}x{n}x{k}")), |bench| {
                bench.iter(|| gemm(cpu, &mut scratch, &g, &mut out));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
