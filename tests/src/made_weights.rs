//! Weights made by a formula: networks of the right architecture whose numbers every language can make again
//! (`golden/make_backbones.py`).

use adflow::backbones::{Backbone, Weights};

/// `count` numbers in −1..1, the same as in `make_backbones.py`.
pub fn values(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let start = name.bytes().fold(0x811C_9DC5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    (0..count as u32).map(move |i| {
        let x = i.wrapping_add(start);
        let x = (x ^ x >> 16).wrapping_mul(0x7FEB_352D);
        let x = (x ^ x >> 15).wrapping_mul(0x846C_A68B);
        f64::from((x ^ x >> 16) >> 8) / f64::from(1 << 23) - 1.0
    })
}

/// Values of a tensor, of a size that keeps activations neither vanishing nor exploding.
pub fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let gain = if name.contains("project") { 3.0 } else { 6.0 };
    let fan_in: usize = shape[1..].iter().product();
    let bound = if name.ends_with("bias") { 0.1 } else { (gain / fan_in as f64).sqrt() };
    values(name, shape.iter().product()).map(|v| (v * bound) as f32).collect()
}

/// Names and shapes of the tensors in a file.
pub type Tensors = Vec<(String, Vec<usize>)>;

/// Names and shapes of AlexNet's tensors.
pub fn alexnet_tensors() -> Tensors {
    let convs = [(0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3)];
    let pair = |(i, o, c, k): (usize, usize, usize, usize)| {
        [(format!("features.{i}.weight"), vec![o, c, k, k]), (format!("features.{i}.bias"), vec![o])]
    };
    convs.into_iter().flat_map(pair).collect()
}

/// Names and shapes of MobileNetV2's tensors up to the last tap.
pub fn mobilenet_v2_tensors() -> Tensors {
    let mut tensors = Vec::new();
    let mut conv = |name: String, shape: [usize; 4]| {
        tensors.push((format!("{name}.weight"), shape.to_vec()));
        tensors.push((format!("{name}.bias"), vec![shape[0]]));
    };
    conv("features.0.conv".into(), [32, 3, 3, 3]);
    let (mut i, mut cin) = (1, 32);
    for (t, cout, n) in [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)] {
        for _ in 0..n {
            if t > 1 {
                conv(format!("features.{i}.expand"), [t * cin, cin, 1, 1]);
            }
            conv(format!("features.{i}.dw"), [t * cin, 1, 3, 3]);
            conv(format!("features.{i}.project"), [cout, t * cin, 1, 1]);
            (i, cin) = (i + 1, cout);
        }
    }
    tensors
}

/// Tensors of `alexnet` or `mobilenet_v2`.
pub fn tensors_of(name: &str) -> Tensors {
    if name == "alexnet" { alexnet_tensors() } else { mobilenet_v2_tensors() }
}

/// Those tensors, filled.
pub fn weights(tensors: &[(String, Vec<usize>)]) -> Weights {
    let mut weights = Weights::new();
    for (name, shape) in tensors {
        weights.insert(name, shape, formula(name, shape)).unwrap();
    }
    weights
}

/// `alexnet` or `mobilenet_v2` with made weights.
pub fn backbone(name: &str) -> Backbone {
    Backbone::from_weights(weights(&tensors_of(name))).unwrap()
}
