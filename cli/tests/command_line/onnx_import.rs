//! Backbones from ONNX files: their taps give what ONNX Runtime gives, and nothing that a file holds makes the command fall.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{Fixture, Run, adflow, arg};
use crate::runtimes::{self, Job, Kind};
use adflow::cpu::Cpu;
use adflow::model::OwnedModel;
use adflow::rng::Rng;
use adflow::session::{Memory, Session, Sizes};
use adflow::threads::Threads;

fn train(backbone: &Path, model: &Path, options: &[&str]) -> Run {
    let data = Fixture::get().data();
    let common = ["--held-out", "0.25", "--device", "cpu", "--size", "64", "--backbone", arg(backbone)];
    adflow([&["train", arg(data), "-o", arg(model)], &common[..], options].concat())
}

/// What the program `features` of a model gives for a normalised image.
fn features(model: &Path, image: &[f32]) -> Vec<f32> {
    let owned = OwnedModel::open(model).unwrap();
    let model = owned.model();
    let program = model.program("features").unwrap();
    let sizes = Sizes::of(&program, 1, 1).unwrap();
    let mut memory = vec![0.0; sizes.total()];
    let threads = Threads::serial();
    let memory = Memory::carve(model.params(), &mut memory, &sizes).unwrap();
    let mut session = Session::new(program, 1, Cpu::detect(&threads), memory).unwrap();
    session.input("image").unwrap().copy_from_slice(image);
    session.run();
    session.output("features").unwrap().to_vec()
}

#[test]
fn taps_are_those_of_onnx_runtime() {
    let Some(python) = runtimes::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = Command::new(python).arg(runtimes::script()).arg("--make").arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let mut rng = Rng::new(3, 0, 0);
    let image: Vec<f32> = (0..3 * 64 * 64).map(|_| rng.range(-2.0..2.0)).collect();
    fs::write(path("image.bin"), image.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let job = Job { graph: path("tiny.onnx"), image: path("image.bin"), kind: Kind::F32, out: path("tiny") };
    assert!(runtimes::run(folder.path(), &[&job]));
    for tap in ["fine", "coarse"] {
        let model = path(&format!("{tap}.adflow"));
        train(&path("tiny.onnx"), &model, &["--method", "padim", "--taps", tap]).ok();
        let ours = features(&model, &image);
        for runtime in runtimes::NAMES {
            let off = runtimes::distance(&job.output(runtime, tap), &ours);
            assert!(off <= 1e-5, "{tap} in {runtime}: off by {off:.1e}");
            eprintln!("{tap} in {runtime}: off by {off:.1e}");
        }
    }

    // Methods find their way with taps that nobody has planned for, and what they make is a model like any other.
    for method in ["gauss", "fastflow", "posflow"] {
        let model = path(&format!("{method}.adflow"));
        train(&path("tiny.onnx"), &model, &["--method", method, "--taps", "coarse,fine", "--epochs", "1"]).ok();
        let info = adflow(["info", arg(&model)]).ok();
        assert!(info.stdout.contains("onnx"), "{}", info.stdout);
        adflow(["export", arg(&model), "-o", arg(&path("again.onnx"))]).ok();
    }

    let hostile = path("hostile.onnx");
    train(&hostile, &path("m"), &["--taps", "fine"]).fails_with(1, &["hostile.onnx", "\"odd\"", "LeakyRelu"]);
    train(&hostile, &path("m"), &["--taps", "c1"]).ok();
    train(&path("tiny.onnx"), &path("m"), &[]).fails_with(1, &["--taps", "coarse"]);
    train(&path("tiny.onnx"), &path("m"), &["--taps", "classes"]).fails_with(1, &["Flatten"]);
    train(&path("tiny.onnx"), &path("m"), &["--taps", "fine,none"]).fails_with(1, &["\"none\"", "coarse"]);
    train(&path("tiny.onnx"), &path("m"), &["--taps", "fine,fine"]).fails_with(1, &["twice"]);
}

#[test]
fn files_that_are_no_backbone_are_clear_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (file, out) = (path("other.onnx"), path("out.adflow"));
    let tried = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        train(&file, &out, &["--taps", "score"])
    };
    tried(b"").fails_with(1, &["other.onnx", "not an ONNX file"]);
    tried(b"these are words, and no graph").fails_with(1, &["other.onnx", "not an ONNX file"]);
    train(&path("none.onnx"), &out, &["--taps", "a"]).fails_with(1, &["none.onnx"]);
    let model = Fixture::get().model();
    train(model, &out, &["--taps", "a"]).fails_with(1, &["--taps", "ONNX"]);

    // A graph of another kind: our own detector.
    let graph = path("detector.onnx");
    adflow(["export", arg(model), "-o", arg(&graph), "--no-map"]).ok();
    let bytes = fs::read(&graph).unwrap();
    tried(&bytes).fails_with(1, &["node 0", "Cast"]);
    // Damaged everywhere: an error each time, or a network by luck, never a fall.
    let mut rng = Rng::new(9, 0, 0);
    for round in 0..40 {
        let mut bad = bytes.clone();
        if round % 4 == 0 {
            bad.truncate(rng.below(bytes.len() as u32) as usize);
        }
        // Most of a file are weights; what matters lies at the beginning and end.
        let reach = if round % 2 == 0 { bad.len().min(2000) } else { bad.len() };
        for _ in 0..8.min(reach) {
            let at = rng.below(reach as u32) as usize;
            bad[at] = rng.below(256) as u8;
        }
        let run = tried(&bad);
        assert!(run.code == 1 && !run.stderr.contains("panicked"), "round {round}: {}", run.stderr);
    }
    assert!(!out.exists());
}
