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

/// A normalised picture of 3 channels.
pub fn image(h: u32, w: u32) -> Vec<f32> {
    values(&format!("image {h} {w}"), (3 * h * w) as usize).map(|v| v as f32).collect()
}

/// Values of a tensor, of a size that keeps activations neither vanishing nor exploding.
pub fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    // Batch normalisation: variances and factors near 1.
    let near_one = match (name.ends_with(".running_var"), shape.len()) {
        (true, _) => Some(0.5),
        (_, 1) if name.ends_with(".weight") => Some(0.2),
        _ => None,
    };
    if let Some(bound) = near_one {
        return values(name, shape.iter().product()).map(|v| (1.0 + v * bound) as f32).collect();
    }
    let gain = if name.contains("project") { 3.0 } else { 6.0 };
    let fan_in: usize = shape[1..].iter().product();
    let bound = if shape.len() == 1 { 0.1 } else { (gain / fan_in as f64).sqrt() };
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

/// A convolution without bias and the batch normalisation behind it.
fn normed(tensors: &mut Tensors, conv: &str, norm: &str, shape: [usize; 4]) {
    tensors.push((format!("{conv}.weight"), shape.to_vec()));
    for what in ["weight", "bias", "running_mean", "running_var"] {
        tensors.push((format!("{norm}.{what}"), vec![shape[0]]));
    }
}

/// Names and shapes of the tensors of ResNet-18, or of WideResNet-50-2, up to the last tap.
pub fn resnet_tensors(wide: bool) -> Tensors {
    let mut tensors = Vec::new();
    normed(&mut tensors, "conv1", "bn1", [64, 3, 7, 7]);
    let mut cin = 64;
    let layers = if wide { [(3, 256), (4, 512), (6, 1024)] } else { [(2, 64), (2, 128), (2, 256)] };
    for (layer, (blocks, c)) in (1..).zip(layers) {
        for i in 0..blocks {
            let name = format!("layer{layer}.{i}");
            let shapes = if wide {
                vec![[c / 2, cin, 1, 1], [c / 2, c / 2, 3, 3], [c, c / 2, 1, 1]]
            } else {
                vec![[c, cin, 3, 3], [c, c, 3, 3]]
            };
            for (at, shape) in (1..).zip(shapes) {
                normed(&mut tensors, &format!("{name}.conv{at}"), &format!("{name}.bn{at}"), shape);
            }
            if i == 0 && (wide || layer > 1) {
                let shortcut = |at| format!("{name}.downsample.{at}");
                normed(&mut tensors, &shortcut(0), &shortcut(1), [c, cin, 1, 1]);
            }
            cin = c;
        }
    }
    tensors
}

/// Names and shapes of the tensors of EfficientNet-B5 up to the last tap, with timm's names or torchvision's.
pub fn efficientnet_b5_tensors(timm: bool) -> Tensors {
    let mut tensors = Vec::new();
    let (conv, norm) = if timm { ("conv_stem", "bn1") } else { ("features.0.0", "features.0.1") };
    normed(&mut tensors, conv, norm, [48, 3, 3, 3]);
    let mut cin = 48;
    let stages = [(1, 3, 24, 3), (6, 3, 40, 5), (6, 5, 64, 5), (6, 3, 128, 7), (6, 5, 176, 7), (6, 5, 304, 9)];
    for (stage, (t, k, c, blocks)) in stages.into_iter().enumerate() {
        for i in 0..blocks {
            let (wide, squeezed) = (cin * t, cin / 4);
            let mut convs = vec![("conv_dw", [wide, 1, k, k]), ("conv_pw", [c, wide, 1, 1])];
            if t > 1 {
                convs = vec![("conv_pw", [wide, cin, 1, 1]), ("conv_dw", convs[0].1), ("conv_pwl", convs[1].1)];
            }
            let last = convs.len() - 1;
            for (at, (part, shape)) in convs.into_iter().enumerate() {
                let (conv, norm) = if timm {
                    let name = format!("blocks.{stage}.{i}");
                    (format!("{name}.{part}"), format!("{name}.bn{}", at + 1))
                } else {
                    // The gate comes before the last.
                    let name = format!("features.{}.{i}.block.{}", stage + 1, at + usize::from(at == last));
                    (format!("{name}.0"), format!("{name}.1"))
                };
                normed(&mut tensors, &conv, &norm, shape);
            }
            let gate = if timm {
                ["reduce", "expand"].map(|n| format!("blocks.{stage}.{i}.se.conv_{n}"))
            } else {
                [1, 2].map(|n| format!("features.{}.{i}.block.{last}.fc{n}", stage + 1))
            };
            for (name, shape) in gate.into_iter().zip([[squeezed, wide, 1, 1], [wide, squeezed, 1, 1]]) {
                tensors.push((format!("{name}.weight"), shape.to_vec()));
                tensors.push((format!("{name}.bias"), vec![shape[0]]));
            }
            cin = c;
        }
    }
    tensors
}

/// Networks that are read from a file.
pub const NAMES: [&str; 6] =
    ["alexnet", "mobilenet_v2", "resnet18", "wide_resnet50_2", "efficientnet_b5", "tf_efficientnet_b5"];

/// Tensors of one of [`NAMES`].
pub fn tensors_of(name: &str) -> Tensors {
    match name {
        "alexnet" => alexnet_tensors(),
        "mobilenet_v2" => mobilenet_v2_tensors(),
        "resnet18" => resnet_tensors(false),
        "wide_resnet50_2" => resnet_tensors(true),
        "efficientnet_b5" => efficientnet_b5_tensors(false),
        "tf_efficientnet_b5" => efficientnet_b5_tensors(true),
        _ => panic!("no tensors for {name}"),
    }
}

/// Those tensors, filled.
pub fn weights(tensors: &[(String, Vec<usize>)]) -> Weights {
    let mut weights = Weights::new();
    for (name, shape) in tensors {
        weights.insert(name, shape, formula(name, shape)).unwrap();
    }
    weights
}

/// One of [`NAMES`] with made weights.
pub fn backbone(name: &str) -> Backbone {
    Backbone::from_weights(weights(&tensors_of(name))).unwrap()
}
