//! From a camera's image to the input of a network, and a map on its way back.
//!
//! `cargo bench --bench image -- --quick`. One thread, as in scoring.
#![allow(missing_docs)] // The functions that criterion's macros make.

use adflow::image::{ImageView, Preprocess, gaussian_blur, gaussian_blur_scratch_len, rotate_cubic, rotate_nearest};
use criterion::{Criterion, criterion_group, criterion_main};

fn preprocess(c: &mut Criterion) {
    let (width, height) = (2048, 1536);
    let bytes: Vec<u8> = (0..width * height * 3).map(|i| (i * 7 % 251) as u8).collect();
    let views = [
        ("grey", ImageView::grey_u8(width as u32, height as u32, &bytes).unwrap()),
        ("rgb", ImageView::rgb_u8(width as u32, height as u32, &bytes).unwrap()),
    ];
    let how = Preprocess::imagenet(224);
    let mut scratch = vec![0.0; how.scratch_len(width as u32, height as u32)];
    let mut planes = vec![0.0; how.output_len()];
    let mut group = c.benchmark_group("2048x1536 to 224x224");
    for (name, view) in views {
        group.bench_function(name, |bench| bench.iter(|| how.apply(&view, &mut scratch, &mut planes).unwrap()));
    }
}

fn views(c: &mut Criterion) {
    let planes: Vec<f32> = (0..3 * 224 * 224).map(|i| (i % 97) as f32).collect();
    let (mut view, mut map) = (vec![0.0; planes.len()], planes[..224 * 224].to_vec());
    let mut turned = map.clone();
    let mut blur = vec![0.0; gaussian_blur_scratch_len(224, 224, 4.0)];
    let mut group = c.benchmark_group("224x224");
    group.bench_function("rotate_nearest, three planes", |bench| {
        bench.iter(|| rotate_nearest(224, 224, 30.0, &[0.0; 3], &planes, &mut view));
    });
    group.bench_function("rotate_cubic", |bench| bench.iter(|| rotate_cubic(224, 224, 30.0, &mut map, &mut turned)));
    group.bench_function("gaussian_blur, sigma 4", |bench| {
        bench.iter(|| gaussian_blur(224, 224, 4.0, &mut turned, &mut blur));
    });
}

criterion_group!(benches, preprocess, views);
criterion_main!(benches);
