//! Convolutions: every layer of MobileNetV2 up to `features.13` at 320×320, one after the other as in the network and each alone,
//! and the convolutions of AlexNet at 224×224. One sample, one thread.
//!
//! `cargo bench --bench conv2d -- --quick`. Throughput is in multiply-adds, two floating-point operations each.
#![allow(missing_docs)] // The functions that criterion's macros make.

use adflow::cpu::Cpu;
use adflow::kernels::conv2d::{Conv2dShape, conv2d, conv2d_dw, conv2d_dx, conv2d_scratch};
use adflow::kernels::{Activation, Pass};
use adflow::threads::Threads;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

struct Layer {
    name: String,
    s: Conv2dShape,
    act: Activation,
    /// Whether the input of the block is added.
    residual: bool,
}

/// Expansion, output channels and stride of the blocks `features.1` to `features.13`.
const BLOCKS: [(usize, usize, usize); 13] = [
    (1, 16, 1),
    (6, 24, 2),
    (6, 24, 1),
    (6, 32, 2),
    (6, 32, 1),
    (6, 32, 1),
    (6, 64, 2),
    (6, 64, 1),
    (6, 64, 1),
    (6, 64, 1),
    (6, 96, 1),
    (6, 96, 1),
    (6, 96, 1),
];

/// A square image, TensorFlow's "same" padding.
fn same(cin: usize, cout: usize, side: usize, k: usize, stride: usize, groups: usize) -> Conv2dShape {
    let out = side.div_ceil(stride);
    let pad = ((out - 1) * stride + k).saturating_sub(side) / 2;
    let (pad_top, pad_left, dilation) = (pad, pad, 1);
    Conv2dShape {
        n: 1,
        cin,
        h: side,
        w: side,
        cout,
        oh: out,
        ow: out,
        kh: k,
        kw: k,
        stride,
        pad_top,
        pad_left,
        dilation,
        groups,
    }
}

fn mobilenet(mut side: usize) -> Vec<Layer> {
    let relu6 = Activation::Relu6;
    let stem = same(3, 32, side, 3, 2, 1);
    let mut layers = vec![Layer { name: "stem".into(), s: stem, act: relu6, residual: false }];
    side = side.div_ceil(2);
    let mut cin = 32;
    for (i, (expansion, cout, stride)) in BLOCKS.into_iter().enumerate() {
        let hidden = cin * expansion;
        let mut push = |what: &str, s, act, residual| {
            layers.push(Layer { name: format!("{}.{what}", i + 1), s, act, residual });
        };
        if expansion > 1 {
            push("expand", same(cin, hidden, side, 1, 1, 1), relu6, false);
        }
        push("dw", same(hidden, hidden, side, 3, stride, hidden), relu6, false);
        side = side.div_ceil(stride);
        push("project", same(hidden, cout, side, 1, 1, 1), Activation::None, stride == 1 && cin == cout);
        cin = cout;
    }
    layers
}

/// Multiply-adds of a layer.
fn work(s: &Conv2dShape) -> u64 {
    (s.weight_len() * s.oh * s.ow * s.n) as u64
}

/// Tensors of a layer and the room it needs.
struct Data {
    weight: Vec<f32>,
    bias: Vec<f32>,
    scratch: Vec<f32>,
}

fn data(s: &Conv2dShape) -> Data {
    let weight = (0..s.weight_len()).map(|i| (i % 17) as f32 * 0.02 - 0.16).collect();
    Data { weight, bias: vec![0.1; s.cout], scratch: vec![0.0; conv2d_scratch(s, Pass::Forward, 1)] }
}

fn network(c: &mut Criterion) {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let layers = mobilenet(320);
    let mut data: Vec<Data> = layers.iter().map(|l| data(&l.s)).collect();
    let largest = layers.iter().map(|l| l.s.x_len().max(l.s.y_len())).max().unwrap_or(0);
    // Block input, current and next: three buffers in turn, as a plan would place them.
    let mut buffers = [vec![0.1; largest], vec![0.1; largest], vec![0.1; largest]];
    let mut group = c.benchmark_group("mobilenet-v2 to features.13, 320");
    group.throughput(Throughput::Elements(layers.iter().map(|l| work(&l.s)).sum()));
    group.bench_function("all", |bench| {
        bench.iter(|| {
            let (mut block, mut current) = (0, 0);
            for (l, d) in layers.iter().zip(&mut data) {
                if l.name.ends_with("expand") {
                    block = current;
                }
                let next = (0..3).find(|&i| i != block && i != current).unwrap_or(0);
                let mut y = core::mem::take(&mut buffers[next]);
                let x = &buffers[current][..l.s.x_len()];
                let residual = l.residual.then(|| &buffers[block][..l.s.y_len()]);
                conv2d(cpu, &mut d.scratch, &l.s, x, &d.weight, Some(&d.bias), residual, l.act, &mut y[..l.s.y_len()]);
                buffers[next] = y;
                current = next;
            }
        });
    });
    group.finish();
}

fn one_by_one(c: &mut Criterion) {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut layers: Vec<(String, Conv2dShape)> = mobilenet(320).into_iter().map(|l| (l.name, l.s)).collect();
    let mut seen = Vec::new();
    layers.retain(|(_, s)| {
        !seen.contains(s) && {
            seen.push(*s);
            true
        }
    });
    let first = Conv2dShape { oh: 55, ow: 55, pad_top: 2, pad_left: 2, ..same(3, 64, 224, 11, 4, 1) };
    layers.push(("alexnet 11x11".into(), first));
    layers.push(("alexnet 5x5".into(), same(64, 192, 27, 5, 1, 1)));
    layers.push(("alexnet 3x3".into(), same(192, 384, 13, 3, 1, 1)));
    let mut group = c.benchmark_group("conv2d");
    for (name, s) in &layers {
        let mut d = data(s);
        let (x, mut y) = (vec![0.1; s.x_len()], vec![0.0; s.y_len()]);
        group.throughput(Throughput::Elements(work(s)));
        group.bench_function(name, |bench| {
            bench.iter(|| conv2d(cpu, &mut d.scratch, s, &x, &d.weight, Some(&d.bias), None, Activation::Relu, &mut y));
        });
    }
    let batch = |s| Conv2dShape { n: 16, ..s };
    let trained = [
        ("3x3 64-64 @40", same(64, 64, 40, 3, 1, 1)),
        ("dw 192 @40", same(192, 192, 40, 3, 1, 192)),
        // CS-Flow's subnets, a batch.
        ("3x3 64-96 @16", batch(same(64, 96, 16, 3, 1, 1))),
        ("3x3 64-96 @4", batch(same(64, 96, 4, 3, 1, 1))),
        ("5x5 64-96 @16", batch(same(64, 96, 16, 5, 1, 1))),
        ("3x3 64-96 @16 /2", batch(same(64, 96, 16, 3, 2, 1))),
    ];
    for (name, s) in trained {
        let mut d = data(&s);
        if s.n > 1 {
            let (x, mut y) = (vec![0.1; s.x_len()], vec![0.0; s.y_len()]);
            group.throughput(Throughput::Elements(work(&s)));
            group.bench_function(format!("y {name}"), |bench| {
                bench.iter(|| conv2d(cpu, &mut d.scratch, &s, &x, &d.weight, None, None, Activation::None, &mut y));
            });
        }
        let (x, gy) = (vec![0.1; s.x_len()], vec![0.1; s.y_len()]);
        let (mut gx, mut gw) = (vec![0.0; s.x_len()], vec![0.0; s.weight_len()]);
        let mut scratch = vec![0.0; conv2d_scratch(&s, Pass::Dx, 1).max(conv2d_scratch(&s, Pass::Dw, 1))];
        group.throughput(Throughput::Elements(work(&s)));
        group.bench_function(format!("dx {name}"), |bench| {
            bench.iter(|| conv2d_dx(cpu, &mut scratch, &s, &gy, &d.weight, &mut gx));
        });
        group.bench_function(format!("dweight {name}"), |bench| {
            bench.iter(|| conv2d_dw(cpu, &mut scratch, &s, &x, &gy, &mut gw));
        });
    }
    group.finish();
}

criterion_group!(benches, network, one_by_one);
criterion_main!(benches);
