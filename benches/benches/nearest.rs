//! Nearest neighbours in a bank: the sizes of PatchCore on maps of 28×28, beside a loop over all vectors.
//!
//! `cargo bench --bench nearest -- --quick`. Throughput is in multiply-adds of the whole search; within a radius fewer are done.
#![allow(missing_docs)] // The functions that criterion's macros make.

use adflow::cpu::Cpu;
use adflow::kernels::nearest::{NearestShape, nearest, nearest_scratch};
use adflow::rng::Rng;
use adflow::threads::Threads;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Channels of the map, vectors of the bank.
const SIZES: [(usize, usize); 3] = [(128, 2000), (448, 2000), (128, 20000)];

/// What anybody would write.
fn naive(s: &NearestShape, x: &[f32], bank: &[f32], y: &mut [f32]) {
    let plane = s.h * s.w;
    for (p, y) in y.iter_mut().enumerate() {
        let column: Vec<f32> = (0..s.d).map(|c| x[c * plane + p]).collect();
        let distance = |m: &[f32]| column.iter().zip(m).map(|(x, m)| (x - m) * (x - m)).sum::<f32>();
        *y = bank.chunks_exact(s.d).map(distance).fold(f32::INFINITY, f32::min);
    }
}

fn search(c: &mut Criterion) {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    for (d, m) in SIZES {
        let s = NearestShape { n: 1, d, h: 28, w: 28, m, radius: None };
        let mut rng = Rng::new(1, 0, 0);
        let mut normal = |len: usize| (0..len).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
        let (x, bank) = (normal(784 * d), normal(m * d));
        let cells: Vec<f32> = (0..m).map(|i| f32::from_bits((i * 784 / m) as u32)).collect();
        let mut y = vec![0.0; 784];
        let mut group = c.benchmark_group("nearest");
        group.throughput(Throughput::Elements((784 * m * d) as u64));
        let name = |what: &str| BenchmarkId::new(what, format!("784 of {d} in {m}"));
        for (what, radius) in [("whole bank", None), ("radius 1", Some(1)), ("radius 2", Some(2))] {
            let s = NearestShape { radius, ..s };
            let mut scratch = vec![0.0; nearest_scratch(&s, threads.count())];
            group.bench_function(name(&format!("{what}, {}", cpu.isa().name())), |bench| {
                bench.iter(|| nearest(cpu, &mut scratch, &s, false, &x, &bank, &cells, &mut y));
            });
        }
        group.bench_function(name("loop"), |bench| bench.iter(|| naive(&s, &x, &bank, &mut y)));
        group.finish();
    }
}

criterion_group!(benches, search);
criterion_main!(benches);
