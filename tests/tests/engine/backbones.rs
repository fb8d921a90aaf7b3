//! Backbones against torch (`golden/backbones.txt`, made by `golden/make_backbones.py`), MobileNetV2 and the EfficientNet-Lites
//! against reference outputs of their trained weights where those are at hand, and files that must be refused.

use adflow::backbones::{Backbone, BuildError, Pooling, Weights, WeightsError, safetensors};
use adflow::graph::Graph;
use adflow::op::{BatchMean, SquareSum};
use adflow::params::Params;
use adflow::shape::Shape;
use adflow_tests::made_weights::{Tensors, architectures, backbone, formula, image, tensors_of, values, weights};
use adflow_tests::owned::run_graph;
use adflow_tests::shared_backbone;
use std::fmt::Write as _;

/// Largest difference, relative to the largest number expected.
fn error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs());
    worst.fold(0.0, |m: f64, v| if v.is_nan() { f64::INFINITY } else { m.max(v) }) / largest
}

struct Golden {
    network: &'static str,
    quantity: &'static str,
    arguments: Vec<u32>,
    shape: &'static str,
    every: usize,
    numbers: Vec<f64>,
}

fn golden() -> Vec<Golden> {
    lines_of(include_str!("../../golden/backbones.txt"))
}

fn lines_of(text: &'static str) -> Vec<Golden> {
    let line = |line: &'static str| {
        let (case, numbers) = line.split_once(" | ").unwrap();
        let words: Vec<&str> = case.split(' ').collect();
        let [network, quantity, arguments @ .., shape, every] = words.as_slice() else { panic!("{case}") };
        Golden {
            network,
            quantity,
            arguments: arguments.iter().map(|a| a.parse().unwrap()).collect(),
            shape,
            every: every.parse().unwrap(),
            numbers: numbers.split(' ').map(|n| n.parse().unwrap()).collect(),
        }
    };
    text.lines().map(line).collect()
}

/// Compares one tensor with its line, within `tolerance` of the largest number.
fn compare(want: &Golden, got: &(Shape, Vec<f32>), tolerance: f64) {
    let case = format!("{} {} {:?}", want.network, want.quantity, want.arguments);
    let shape: Vec<u32> = want.shape.split('x').map(|n| n.parse().unwrap()).collect();
    assert_eq!(&got.0.0[..shape.len()], shape.as_slice(), "{case}");
    let sampled: Vec<f32> = got.1.iter().step_by(want.every).copied().collect();
    let e = error(&sampled, &want.numbers);
    println!("{case}: {e:.1e}");
    assert!(e < tolerance, "{case}: off by {e:.1e} of the largest number");
}

#[test]
fn taps_agree_with_torch() {
    let lines = golden();
    for name in architectures().map(|a| a.name()) {
        let backbone = backbone(name);
        let taps: Vec<&str> = backbone.taps().iter().map(|t| t.name).collect();
        let of_tap = |l: &&Golden| l.network == name && taps.contains(&l.quantity);
        let lines: Vec<&Golden> = lines.iter().filter(of_tap).collect();
        assert!(lines.len() >= 2 * taps.len(), "{name}: {} lines", lines.len());
        for group in lines.chunks(taps.len()) {
            let (h, w) = (group[0].arguments[0], group[0].arguments[1]);
            let (mut g, mut params) = (Graph::new(), Params::new());
            let x = g.input("image", Shape::chw(3, h, w));
            let maps = backbone.emit(&mut g, &mut params, "backbone.", x, &taps).unwrap();
            for ((info, line), map) in
                backbone.taps().iter().zip(group).zip(run_graph(&mut g, &params, &image(h, w), 1, &maps))
            {
                assert_eq!((line.quantity, map.0.c()), (info.name, info.channels));
                compare(line, &map, 1e-5);
            }
        }
    }
}

#[test]
fn pooled_features_and_their_gradient_agree_with_torch() {
    let mut cases = 0;
    for pair in golden().windows(2) {
        let (pooling, numbers) = match pair[0].quantity {
            "pooled" => (Pooling::Mean, 1),
            "statistics" => (Pooling::Statistics, 2),
            _ => continue,
        };
        let [h, w, scales] = pair[0].arguments[..] else { panic!() };
        let backbone = backbone(pair[0].network);
        let (mut g, mut params) = (Graph::new(), Params::new());
        let x = g.input("image", Shape::chw(3, h, w));
        let taps = backbone.pooled_taps();
        let pooled = backbone.pooled(&mut g, &mut params, "", x, scales, taps, pooling).unwrap();
        let channels: u32 = taps.iter().map(|t| backbone.tap(t).unwrap().channels).sum();
        assert_eq!(g.shape(pooled), Shape::vector(channels * scales * numbers));
        let sum = g.emit("sum", SquareSum { scale: 0.5, per_position: false, root: false }, &[pooled]).unwrap();
        let loss = g.emit("loss", BatchMean {}, &[sum]).unwrap();
        let gradient = g.backward(loss, &[x]).unwrap()[0].unwrap();
        let got = run_graph(&mut g, &params, &image(h, w), 1, &[pooled, gradient]);
        compare(&pair[0], &got[0], 1e-5);
        compare(&pair[1], &got[1], 1e-4);
        cases += 1;
    }
    assert_eq!(cases, 18);
}

#[test]
fn networks_are_torchvisions_and_timms() {
    // With two parameters a channel of batch normalisation, of which one is left when it is folded.
    for (name, params) in [
        ("alexnet", 2_469_696),
        ("resnet18", 2_782_784),
        ("wide_resnet50_2", 24_862_528),
        ("efficientnet_b5", 17_543_204),
        ("tf_efficientnet_b5", 17_543_204),
        ("efficientnet_lite0", 2_958_848),
        ("efficientnet_lite2", 4_357_952),
    ] {
        let normed = tensors_of(name).iter().filter(|t| t.0.ends_with("running_var")).map(|t| t.1[0]).sum::<usize>();
        let params = params - normed;
        let backbone = backbone(name);
        assert_eq!((backbone.name(), backbone.param_count()), (name, params));
        let lines = golden();
        let find = |quantity| &lines.iter().find(|l| (l.network, l.quantity) == (name, quantity)).unwrap().numbers;
        let (scale, shift) = backbone.normalisation();
        for c in 0..3 {
            let (mean, std) = (find("mean")[c], find("std")[c]);
            assert!((f64::from(scale[c]) - 1.0 / std).abs() < 1e-6);
            assert!((f64::from(shift[c]) + mean / std).abs() < 1e-6);
        }
    }
}

#[test]
fn only_weights_up_to_the_deepest_tap_are_added_and_each_once() {
    let backbone = backbone("mobilenet_v2");
    let (mut g, mut params) = (Graph::new(), Params::new());
    let big = g.input("image", Shape::chw(3, 64, 48));
    let small = g.input("small", Shape::chw(3, 31, 17));
    let maps = backbone.emit(&mut g, &mut params, "net.", big, &["features.3", "features.1"]).unwrap();
    assert_eq!(maps.iter().map(|m| g.shape(*m)).collect::<Vec<_>>(), [Shape::chw(24, 16, 12), Shape::chw(16, 32, 24)]);
    let count = params.iter().count();
    assert_eq!(count, 2 * (1 + 2 + 3 + 3));
    assert!(params.iter().all(|p| !p.trainable && p.name.starts_with("net.features.")));
    backbone.emit(&mut g, &mut params, "net.", small, &["features.3"]).unwrap();
    assert_eq!(params.iter().count(), count);
    backbone.emit(&mut g, &mut params, "net.", small, &["features.4"]).unwrap();
    assert_eq!(params.iter().count(), count + 6);
    // The 1.32 M parameters up to features.16.
    backbone.pooled(&mut g, &mut params, "other.", big, 3, backbone.pooled_taps(), Pooling::Mean).unwrap();
    let pooled: usize = params.iter().filter(|p| p.name.starts_with("other.")).map(|p| p.data.len()).sum();
    assert!((1_310_000..1_330_000).contains(&pooled), "{pooled}");
}

#[test]
fn mistakes_are_named() {
    let backbone = backbone("alexnet");
    let emit = |shape: Shape, tap: &str| {
        let (mut g, mut params) = (Graph::new(), Params::new());
        let x = g.input("image", shape);
        backbone.emit(&mut g, &mut params, "", x, &[tap]).unwrap_err()
    };
    let tap = emit(Shape::chw(3, 64, 64), "features.13");
    assert_eq!(
        tap.to_string(),
        "alexnet has no tap \"features.13\"; it has conv1, pool1, conv2, pool2, conv3, conv4, conv5, pool5"
    );
    assert!(matches!(emit(Shape::chw(1, 64, 64), "pool5"), BuildError::Image { .. }));
    let small = emit(Shape::chw(3, 62, 64), "pool5").to_string();
    assert_eq!(small, "tensor \"image.pool5\": max_pool: the window does not fit into the padded input, found 256×2×3");
}

// Files ---------------------------------------------------------------------------------------------------------------

/// A safetensors file written out by hand.
fn file(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut header = String::from("{");
    let mut at = 0;
    for (i, (name, dtype, shape, data)) in tensors.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let end = at + data.len();
        write!(header, "{comma}\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}")
            .unwrap();
        at = end;
    }
    header.push('}');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    tensors.iter().for_each(|t| bytes.extend_from_slice(&t.3));
    bytes
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn files_of_all_three_types_are_read() {
    let halves: Vec<u8> = [0x3C00u16, 0xC000, 0x0001].iter().flat_map(|v| v.to_le_bytes()).collect();
    let brains: Vec<u8> = [0x3F80u16, 0xC000].iter().flat_map(|v| v.to_le_bytes()).collect();
    let bytes = file(&[
        ("a", "F32", &[2, 1], bytes_of(&[0.5, -3.25])),
        ("b", "F16", &[3], halves),
        ("c", "BF16", &[1, 2], brains),
        ("d", "I64", &[1], vec![0; 8]),
    ]);
    let weights = safetensors::read(&bytes).unwrap();
    assert_eq!(weights.get("a", Shape::vector(2)).unwrap(), [0.5, -3.25]);
    assert_eq!(weights.get("b", Shape::vector(3)).unwrap(), [1.0, -2.0, f32::powi(2.0, -24)]);
    assert_eq!(weights.get("c", Shape([1, 2, 1, 1])).unwrap(), [1.0, -2.0]);
    let error = weights.get("d", Shape::SCALAR).unwrap_err().to_string();
    assert_eq!(error, "tensor \"d\": expected values of type F32, F16 or BF16, found I64");
    let mut digest = adflow::checksum::Digest::new(0);
    digest.write(&bytes);
    assert_eq!(weights.digest(), digest.finish());
}

#[test]
fn wrong_weights_are_refused_with_tensor_expected_and_found() {
    let tensors = tensors_of("alexnet");
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut t = tensors.clone();
        change(&mut t);
        Backbone::from_weights(weights(&t)).unwrap_err().to_string()
    };
    assert_eq!(
        with(&|t| t[0].1 = vec![64, 3, 7, 7]),
        "tensor \"features.0.weight\": expected shape 64×3×11×11, found 64×3×7×7"
    );
    assert_eq!(with(&|t| t[9].1 = vec![255]), "tensor \"features.10.bias\": expected shape 256, found 255");
    assert_eq!(with(&|t| drop(t.remove(4))), "tensor \"features.6.weight\" is missing; expected shape 384×192×3×3");
    assert_eq!(
        with(&|t| t.iter_mut().for_each(|t| t.0.insert_str(0, "model."))),
        "no known network has these tensors; expected one of \"features.0.conv.weight\" (mobilenet_v2) \
         \"features.0.weight\" (alexnet) \"layer1.0.conv3.weight\" (wide_resnet50_2) \"layer1.0.conv1.weight\" (resnet18) \
         \"features.1.0.block.0.0.weight\" (efficientnet_b5) \"blocks.0.0.se.conv_reduce.weight\" (tf_efficientnet_b5) \
         \"blocks.1.2.conv_dw.weight\" (efficientnet_lite2) \"_blocks.16._depthwise_conv.weight\" (efficientnet_lite2) \
         \"blocks.0.0.conv_dw.weight\" (efficientnet_lite0) \"_blocks.0._depthwise_conv.weight\" (efficientnet_lite0) \
         \"builtin.bank.weight\" (builtin), found for example \"model.features.0.bias\""
    );
    let mut w = weights(&tensors);
    let mut bias = formula("features.8.bias", &[256]);
    bias[17] = f32::INFINITY;
    w.insert("features.8.bias", &[256], bias).unwrap();
    let error = Backbone::from_weights(w).unwrap_err().to_string();
    assert_eq!(error, "tensor \"features.8.bias\": value 17 is not a finite number");
    // VGG shares AlexNet's first name; its shape tells.
    let mut vgg = Weights::new();
    vgg.insert("features.0.weight", &[64, 3, 3, 3], vec![0.0; 1728]).unwrap();
    let error = Backbone::from_weights(vgg).unwrap_err().to_string();
    assert_eq!(error, "tensor \"features.0.weight\": expected shape 64×3×11×11, found 64×3×3×3");
}

#[test]
fn networks_of_another_size_are_refused() {
    let with = |name: &str, change: &dyn Fn(&mut Tensors)| {
        let mut t = tensors_of(name);
        change(&mut t);
        let mut ones = Weights::new();
        t.iter().for_each(|(name, shape)| ones.insert(name, shape, vec![1.0; shape.iter().product()]).unwrap());
        Backbone::from_weights(ones).map(|b| b.name()).map_err(|e| e.to_string())
    };
    let add = |name: &str, shape: &[usize]| {
        let tensor = (name.to_string(), shape.to_vec());
        move |t: &mut Tensors| t.push(tensor.clone())
    };
    assert_eq!(with("resnet18", &add("layer4.0.conv1.weight", &[512, 256, 3, 3])), Ok("resnet18"));
    assert_eq!(with("wide_resnet50_2", &add("layer1.0.bn1.num_batches_tracked", &[1])), Ok("wide_resnet50_2"));
    let refused = |r: Result<&str, String>, message: &str| assert_eq!(r.unwrap_err(), message);
    refused(
        with("resnet18", &add("layer1.2.conv1.weight", &[64, 64, 3, 3])),
        "tensor \"layer1.2.conv1.weight\" is not one of resnet18's: expected none of that name, found one",
    );
    refused(
        with("wide_resnet50_2", &add("layer3.6.bn1.bias", &[512])),
        "tensor \"layer3.6.bn1.bias\" is not one of wide_resnet50_2's: expected none of that name, found one",
    );
    // ResNet-50 is half as wide inside.
    refused(
        with("wide_resnet50_2", &|t| t[5].1 = vec![64, 64, 1, 1]),
        "tensor \"layer1.0.conv1.weight\": expected shape 128×64, found 64×64×1×1",
    );
    refused(with("resnet18", &|t| t[4].1 = vec![32]), "tensor \"bn1.running_var\": expected shape 64, found 32");
    // EfficientNet-B4 has fewer blocks and channels, B6 a wider stem.
    refused(
        with("efficientnet_b5", &|t| t.retain(|t| !t.0.starts_with("features.1.2."))),
        "tensor \"features.1.2.block.0.0.weight\" is missing; expected shape 24×1×3×3",
    );
    refused(
        with("tf_efficientnet_b5", &|t| t[0].1[0] = 56),
        "tensor \"conv_stem.weight\": expected shape 48×3×3×3, found 56×3×3×3",
    );
    refused(
        with("tf_efficientnet_b5", &add("blocks.5.9.conv_pw.weight", &[1824, 304, 1, 1])),
        "tensor \"blocks.5.9.conv_pw.weight\" is not one of tf_efficientnet_b5's: expected none of that name, found one",
    );
    // EfficientNet-Lite1 has the blocks of Lite2 and the channels of Lite0; EfficientNet-B0 is Lite0 with gates.
    refused(
        with("efficientnet_lite2", &|t| t.iter_mut().filter(|t| t.1[0] == 48).for_each(|t| t.1[0] = 40)),
        "tensor \"blocks.2.0.conv_pwl.weight\": expected shape 48×144, found 40×144×1×1",
    );
    refused(
        with("efficientnet_lite0", &add("blocks.3.3.conv_pw.weight", &[480, 80, 1, 1])),
        "tensor \"blocks.3.3.conv_pw.weight\" is not one of efficientnet_lite0's: expected none of that name, found one",
    );
    refused(
        with("efficientnet_lite0", &|t| {
            packages_names(t);
            t.push(("_blocks.0._se_reduce.weight".into(), vec![8, 32, 1, 1]));
        }),
        "tensor \"_blocks.0._se_reduce.weight\" is not one of efficientnet_lite0's: expected none of that name, found one",
    );
    refused(
        with("efficientnet_lite0", &|t| {
            packages_names(t);
            t.retain(|t| t.0 != "_blocks.5._bn1.bias");
        }),
        "tensor \"_blocks.5._bn1.bias\" is missing; expected shape 240",
    );
    refused(with("resnet18", &|t| drop(t.remove(3))), "tensor \"bn1.running_mean\" is missing; expected shape 64");
}

/// Turns timm's names of an EfficientNet-Lite's tensors into those of `efficientnet_lite_pytorch`.
fn packages_names(tensors: &mut Tensors) {
    let (mut block, mut last) = (0, "0.0".to_string());
    for (name, _) in tensors {
        *name = match name.strip_prefix("blocks.") {
            None => name.replace("conv_stem", "_conv_stem").replace("bn1", "_bn0"),
            Some(rest) => {
                let [stage, i, part, value] = rest.split('.').collect::<Vec<_>>()[..] else { panic!("{rest}") };
                if last != format!("{stage}.{i}") {
                    (block, last) = (block + 1, format!("{stage}.{i}"));
                }
                // The first stage does not widen: its parts are counted from the second.
                let part = match (part, stage) {
                    ("conv_dw", _) => "_depthwise_conv",
                    ("conv_pw", "0") | ("conv_pwl", _) => "_project_conv",
                    ("conv_pw", _) => "_expand_conv",
                    ("bn2", "0") | ("bn3", _) => "_bn2",
                    ("bn1", "0") | ("bn2", _) => "_bn1",
                    _ => "_bn0",
                };
                format!("_blocks.{block}.{part}.{value}")
            }
        };
    }
}

#[test]
fn names_of_the_package_are_those_of_timm() {
    for name in ["efficientnet_lite0", "efficientnet_lite2"] {
        let timm = tensors_of(name);
        let mut package = timm.clone();
        packages_names(&mut package);
        let mut renamed = Weights::new();
        for ((ours, shape), (theirs, _)) in timm.iter().zip(&package) {
            assert_ne!(ours, theirs);
            renamed.insert(theirs, shape, formula(ours, shape)).unwrap();
        }
        let features = |backbone: Backbone| {
            assert_eq!(backbone.name(), name);
            let (mut g, mut params) = (Graph::new(), Params::new());
            let x = g.input("image", Shape::chw(3, 33, 40));
            let taps: Vec<&str> = backbone.taps().iter().map(|t| t.name).collect();
            let maps = backbone.emit(&mut g, &mut params, "", x, &taps).unwrap();
            (
                params.iter().map(|p| p.name.clone()).collect::<Vec<_>>(),
                run_graph(&mut g, &params, &image(33, 40), 1, &maps),
            )
        };
        assert_eq!(features(Backbone::from_weights(renamed).unwrap()), features(backbone(name)));
    }
}

#[test]
fn truncated_and_mutated_files_are_errors_and_never_panic() {
    let small = file(&[
        ("features.0.weight", "F32", &[2, 3], bytes_of(&[1.0; 6])),
        ("features.0.bias", "F16", &[2], vec![0; 4]),
        ("features.3.weight", "BF16", &[1, 2, 2], vec![0; 8]),
    ]);
    assert!(safetensors::read(&small).is_ok());
    for len in 0..small.len() {
        let error = safetensors::read(&small[..len]).unwrap_err();
        assert!(matches!(error, WeightsError::File(_)), "{len}: {error}");
    }
    let mut refused = 0;
    for (i, v) in values("mutations", 3 * 20_000).collect::<Vec<_>>().chunks(3).enumerate() {
        let mut bytes = small.clone();
        let at = ((v[0] + 1.0) / 2.0 * bytes.len() as f64) as usize % bytes.len();
        bytes[at] = if i % 2 == 0 { bytes[at] ^ (1 << (i / 2 % 8)) } else { (v[1] * 128.0) as i8 as u8 };
        if i % 3 == 0 {
            let at = ((v[2] + 1.0) * 40.0) as usize % bytes.len();
            bytes[at] = b"0123456789[]{},:\""[i / 3 % 17];
        }
        refused += usize::from(safetensors::read(&bytes).and_then(Backbone::from_weights).is_err());
    }
    assert_eq!(refused, 20_000, "none of these is a whole AlexNet");
    let huge = [u64::MAX, 1 << 40, 1 << 63, 99_999_999].map(|n| [n.to_le_bytes().as_slice(), b"{}"].concat());
    assert!(huge.iter().all(|bytes| safetensors::read(bytes).is_err()));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let path = std::env::temp_dir().join(format!("adflow-backbones-{}.safetensors", std::process::id()));
    let error = Backbone::open(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    std::fs::write(&path, b"not weights at all").unwrap();
    let error = Backbone::open(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains(&*path.to_string_lossy()) && error.contains("not a whole safetensors file"), "{error}");
    assert!(Backbone::open(std::env::temp_dir()).is_err());
}

// Trained weights -------------------------------------------------------------------------------------------------------

/// A picture of triangles and a texture, 0..255: its formula stands beside the reference outputs.
fn picture(h: u32, w: u32) -> Vec<u32> {
    let tri = |n: u32, p: u32| (n % (2 * p)).abs_diff(p);
    let pixel = |c: u32, y: u32, x: u32| {
        (3 * tri(x + 16 * c, 32) + 4 * tri(y + ((x * y) >> 6), 24) + ((x ^ y) & 15) + 20 * c) & 255
    };
    let planes = (0..3).flat_map(|c| (0..h).flat_map(move |y| (0..w).map(move |x| pixel(c, y, x))));
    planes.collect()
}

/// That picture as a backbone wants it.
fn normalised_picture(backbone: &Backbone, h: u32, w: u32) -> Vec<f32> {
    let (scale, shift) = backbone.normalisation();
    let plane = (h * w) as usize;
    let sample = |(i, v): (usize, u32)| v as f32 / 255.0 * scale[i / plane] + shift[i / plane];
    picture(h, w).into_iter().enumerate().map(sample).collect()
}

#[test]
fn efficientnet_lites_reproduce_timm() {
    let lines = lines_of(include_str!("../../golden/efficientnet_lite.txt"));
    for name in ["efficientnet_lite0", "efficientnet_lite2"] {
        // Made by `docs/efficientnet_lite.py`.
        let Some(file) = shared_backbone(&format!("{name}.safetensors")) else { continue };
        let backbone = Backbone::open(&file).unwrap();
        assert_eq!(backbone.name(), name);
        let lines: Vec<&Golden> = lines.iter().filter(|l| l.network == name).collect();
        let taps: Vec<&str> = lines.iter().map(|l| l.quantity).collect();
        assert_eq!(taps, backbone.taps().iter().map(|t| t.name).collect::<Vec<_>>());
        let (mut g, mut params) = (Graph::new(), Params::new());
        let image = g.input("image", Shape::chw(3, 75, 96));
        let maps = backbone.emit(&mut g, &mut params, "", image, &taps).unwrap();
        let got = run_graph(&mut g, &params, &normalised_picture(&backbone, 75, 96), 1, &maps);
        for (line, map) in lines.iter().zip(&got) {
            compare(line, map, 1e-5);
        }
    }
}

#[test]
fn mobilenet_v2_reproduces_its_reference() {
    let name = |suffix| format!("mobilenet_v2_1.0_224.{suffix}");
    let (Some(file), Some(reference)) =
        (shared_backbone(&name("safetensors")), shared_backbone(&name("reference.safetensors")))
    else {
        return;
    };
    let backbone = Backbone::open(&file).unwrap();
    assert_eq!(backbone.name(), "mobilenet_v2");
    let (h, w) = (75, 96);
    assert_eq!(picture(h, w).iter().sum::<u32>(), 2_613_468);
    let x = normalised_picture(&backbone, h, w);
    let taps = ["features.3", "features.6", "features.13", "features.17"];
    let (mut g, mut params) = (Graph::new(), Params::new());
    let image = g.input("image", Shape::chw(3, h, w));
    let maps = backbone.emit(&mut g, &mut params, "", image, &taps).unwrap();
    let got = run_graph(&mut g, &params, &x, 1, &maps);
    let reference = safetensors::open(&reference).unwrap();
    for (tap, (shape, map)) in taps.iter().zip(&got) {
        let want = reference.get(&format!("tap.{tap}"), *shape).unwrap();
        let worst = map.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{tap}: within {worst:.1e}");
        assert!(worst <= 1e-3, "{tap}: {worst}");
    }
    // The classifier, in plain loops: 1×1 convolution with relu6, mean, linear.
    let file = safetensors::open(&file).unwrap();
    let get = |name: &str, shape| file.get(name, shape).unwrap();
    let (w18, b18) =
        (get("features.18.conv.weight", Shape([1280, 320, 1, 1])), get("features.18.conv.bias", Shape::vector(1280)));
    let map = &got[3].1;
    let mean = |o: usize| {
        let at = |p: usize| (0..320).map(|c| f64::from(w18[o * 320 + c]) * f64::from(map[c * 9 + p])).sum::<f64>();
        (0..9).map(|p| (at(p) + f64::from(b18[o])).clamp(0.0, 6.0)).sum::<f64>() / 9.0
    };
    let means: Vec<f64> = (0..1280).map(mean).collect();
    let (wc, bc) = (get("classifier.weight", Shape([1001, 1280, 1, 1])), get("classifier.bias", Shape::vector(1001)));
    let logit = |o: usize| f64::from(bc[o]) + (0..1280).map(|i| f64::from(wc[o * 1280 + i]) * means[i]).sum::<f64>();
    let want = reference.get("logits", Shape::vector(1001)).unwrap();
    let worst = (0..1001).map(|o| (logit(o) - f64::from(want[o])).abs()).fold(0.0, f64::max);
    println!("logits: within {worst:.1e}");
    assert!(worst <= 1e-3, "logits: {worst}");
    assert!(logit(507) > 14.1);
}

// Where taps lie ------------------------------------------------------------------------------------------------------

/// Middle of the columns of an image that a tap's step depends on, found by changing one column after the other.
fn measured_centre(backbone: &Backbone, tap: &str, side: u32, step: usize, expected: f32) -> f32 {
    let emit = |g: &mut Graph, params: &mut Params| {
        let x = g.input("image", Shape::chw(3, side, side));
        backbone.emit(g, params, "", x, &[tap]).unwrap()
    };
    let plain = image(side, side);
    let mut reached = Vec::new();
    let near = (expected as usize).saturating_sub(140)..(expected as usize + 141).min(side as usize);
    let (mut g, mut params) = (Graph::new(), Params::new());
    let map = emit(&mut g, &mut params);
    let mut column_of_step = |x: &[f32]| -> Vec<f32> {
        let (shape, values) = run_graph(&mut g, &params, x, 1, &map).remove(0);
        values.into_iter().skip(step).step_by(shape.w() as usize).collect()
    };
    let before = column_of_step(&plain);
    for column in near {
        let mut changed = plain.clone();
        changed.iter_mut().skip(column).step_by(side as usize).for_each(|v| *v = 0.4 - 2.0 * *v);
        if column_of_step(&changed) != before {
            reached.push(column);
        }
    }
    (*reached.first().unwrap() + *reached.last().unwrap()) as f32 / 2.0
}

#[test]
fn taps_lie_where_they_say() {
    for (name, tap, side, step) in [
        ("alexnet", "conv1", 224, 20),
        ("alexnet", "conv5", 288, 8),
        ("resnet18", "layer2", 128, 8),
        ("efficientnet_b5", "features.2", 96, 10),
        ("tf_efficientnet_b5", "features.2", 95, 10),
        ("mobilenet_v2", "features.6", 160, 10),
        ("mobilenet_v2", "features.6", 157, 10),
        ("mobilenet_v2", "features.13", 288, 8),
        ("efficientnet_lite0", "blocks.2", 160, 10),
        ("efficientnet_lite2", "blocks.2", 157, 10),
    ] {
        // Weights of one size: then a filter looks at its middle.
        let mut even = Weights::new();
        for (name, shape) in tensors_of(name) {
            let values = formula(&name, &shape);
            // A gate looks at everything, so it is held open.
            let gate = name.ends_with("fc2.weight") || name.ends_with("conv_expand.weight");
            let values = if gate { vec![0.0; values.len()] } else { values };
            let size = values.iter().map(|v| v.abs()).sum::<f32>() / values.len() as f32;
            even.insert(&name, &shape, values.iter().map(|v| size.copysign(*v)).collect()).unwrap();
        }
        let backbone = Backbone::from_weights(even).unwrap();
        let info = backbone.tap(tap).unwrap();
        let expected = backbone.centre(&info, side).unwrap() + (info.stride as usize * step) as f32;
        let found = measured_centre(&backbone, tap, side, step, expected);
        assert!((found - expected).abs() < 1e-3, "{name} {tap} at {side}: {found} for {expected}");
    }
}
