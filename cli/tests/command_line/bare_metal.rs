//! A model trained on the demo's product line, frozen, built into the example for a Cortex-M4 and run in QEMU: its scores are the
//! host's, and it fits 512 KiB of flash and 256 KiB of RAM.
//!
//! Needs `qemu-system-arm` and a compiler for `thumbv7em-none-eabihf`: the toolchain's own after `rustup target add`, or Debian's
//! `rustc-web` with `rust-web-src`. `docs/bare-metal.md` explains the steps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Fixture, adflow, arg};
use adflow::checksum::crc32;
use adflow::cpu::Cpu;
use adflow::image::ImageView;
use adflow::model::{OwnedModel, freeze};
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;
use adflow_tests::cross;
use adflow_tests::programs::{available, skip};
use serde_json::Value;

const TARGET: &str = "thumbv7em-none-eabihf";
const FLASH: usize = 512 * 1024;
const RAM: usize = 256 * 1024;
/// Side of the model's input in pixels.
const SIZE: &str = "64";

/// `cargo` for the target; `None` without a compiler or a linker.
fn cargo() -> Option<Command> {
    let mut cargo = cross::cargo(TARGET, "core")?;
    // Debian's compiler has no linker for bare metal. The toolchain has one, else lld.
    let host = std::env::consts::ARCH.to_string() + "-unknown-linux-gnu";
    let own = cross::sysroot()?.join("lib/rustlib").join(host).join("bin/rust-lld");
    let linker = if own.exists() { own } else { PathBuf::from("/usr/bin/ld.lld") };
    if !linker.exists() {
        return None;
    }
    cargo.env("CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER", linker);
    cargo.args(["build", "--release", "--quiet", "--locked", "--target", TARGET]);
    Some(cargo)
}

/// Builds the example with a blob and photographs.
fn build(blob: &Path, photographs: &Path) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare-metal");
    let mut cargo = cargo()?;
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bare-metal"));
    cargo.env("CARGO_TARGET_DIR", &target).env("ADFLOW_BLOB", blob).env("ADFLOW_PHOTOGRAPHS", photographs);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "the example does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    Some(target.join(TARGET).join("release/adflow-bare-metal"))
}

/// Runs the program in QEMU, one instruction a nanosecond; gives whether it ended well and what it printed.
fn emulate(program: &Path) -> (bool, String) {
    let mut qemu = Command::new("qemu-system-arm");
    qemu.args(["-M", "mps2-an386", "-nographic", "-icount", "shift=0", "-monitor", "none", "-serial", "none"]);
    qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel", arg(program)]);
    let mut child =
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("QEMU starts");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("QEMU can be waited for") {
            break status;
        }
        if started.elapsed() > Duration::from_secs(300) {
            child.kill().expect("QEMU can be stopped");
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let output = child.wait_with_output().expect("QEMU has ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (status.success(), said)
}

/// The number after a word.
fn after(text: &str, word: &str) -> usize {
    let mut words = text.split_whitespace().skip_while(|w| *w != word);
    let number = words.nth(1).and_then(|n| n.parse().ok());
    number.unwrap_or_else(|| panic!("no number after \"{word}\" in {text}"))
}

fn scores(model: &Path, photographs: &[PathBuf]) -> Vec<f64> {
    let paths = photographs.iter().map(|p| arg(p));
    let run = adflow(["inspect", "--json", "--device", "cpu", arg(model)].into_iter().chain(paths)).ok();
    let lines = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| line["score"].as_f64().expect("a score")).collect()
}

#[test]
fn a_frozen_model_scores_on_a_microcontroller_as_on_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let (demo, blob, figures) =
        (dir.path().join("demo"), dir.path().join("blob.adflow"), dir.path().join("figures.json"));
    adflow(["demo", "--size", SIZE, "--device", "cpu", "--out", arg(&demo)]).ok();
    let (model, data) = (demo.join("flange.adflow"), demo.join("data"));
    adflow(["freeze", arg(&model), "-o", arg(&blob), "--max-bytes", "400000"]).ok();

    // The blob is a model like any other, and finds the demo's defects.
    adflow(["eval", arg(&blob), arg(&data), "--device", "cpu", "--json", arg(&figures)]).ok();
    let read: Value = serde_json::from_slice(&fs::read(&figures).unwrap()).unwrap();
    let auroc = read["image_auroc"].as_f64().expect("an AUROC");
    assert!(auroc >= 0.9, "AUROC {auroc}");

    let kinds = ["good", "crack", "dent", "missing_hole", "scratch", "stain"];
    let photographs: Vec<PathBuf> = kinds
        .iter()
        .flat_map(|kind| ["000.png", "001.png"].map(|name| data.join("test").join(kind).join(name)))
        .collect();
    let host = scores(&blob, &photographs);
    assert_eq!(host, scores(&model, &photographs), "freezing has changed scores");

    if !available("qemu-system-arm", "bare metal") {
        return;
    }
    let pixels: Vec<u8> =
        photographs.iter().flat_map(|path| image::open(path).expect("a photograph").to_rgb8().into_raw()).collect();
    let camera = dir.path().join("photographs.rgb");
    fs::write(&camera, pixels).unwrap();
    let Some(program) = build(&blob, &camera) else {
        return skip("bare metal", &format!("there is no compiler for {TARGET}"));
    };
    let (ended, said) = emulate(&program);
    assert!(ended, "{said}");
    eprint!("image AUROC {auroc:.4}\n{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("score ")).collect();
    assert_eq!(lines.len(), host.len(), "{said}");
    for (line, want) in lines.iter().zip(&host) {
        let got: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a score");
        assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{got} on the device, {want} on the host");
        assert!(after(line, "instructions") > 0, "{line}");
    }
    assert!(after(&said, "flash") <= FLASH, "{said}");
    assert!(after(&said, "ram") + after(&said, "stack") <= RAM, "{said}");

    // A damaged blob is an error there too.
    let mut damaged = fs::read(&blob).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&blob, damaged).unwrap();
    let program = build(&blob, &camera).expect("it was built before");
    let (ended, said) = emulate(&program);
    assert!(!ended && said.contains("error: model: the model is damaged"), "{said}");
}

#[test]
fn freezing_changes_no_score_and_says_what_it_leaves_out() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    let (blob, twice) = (dir.path().join("blob.adflow"), dir.path().join("twice.adflow"));
    let said = adflow(["freeze", arg(f.model()), "-o", arg(&blob)]).ok().stdout;
    for word in ["flash", "parameters", "memory", "written"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    let photographs = [f.data().join("test/blot/0.png"), f.data().join("test/good/0.png")];
    assert_eq!(scores(&blob, &photographs), scores(f.model(), &photographs));
    let [before, after] = [f.model(), &blob].map(|path| fs::metadata(path).unwrap().len());
    assert!(after < before, "{after} bytes of {before}");
    let info = adflow(["info", arg(&blob)]).ok().stdout;
    // The map of a Gaussian on pooled features is a gradient; the threshold stays.
    assert!(info.contains("none") && !info.contains("scores without verdicts"), "{info}");
    adflow(["threshold", arg(&blob), "--false-reject", "0.1"]).fails_with(1, &["no scores of held-out good parts"]);
    adflow(["freeze", arg(&blob), "-o", arg(&twice)]).ok();
    assert!(fs::read(&blob).unwrap() == fs::read(&twice).unwrap(), "freezing twice is not freezing once");
    adflow(["freeze", arg(f.model()), "-o", arg(&twice), "--max-bytes", "1000"]).fails_with(1, &["smaller --size"]);
}

#[test]
fn a_hostile_blob_is_an_error_or_scores() {
    let owned = OwnedModel::open(Fixture::get().model()).unwrap();
    let blob = freeze(&owned.model()).unwrap();
    for len in (0..blob.len()).step_by(9973) {
        assert!(OwnedModel::from_bytes(&blob[..len]).is_err(), "{len} bytes of {}", blob.len());
    }
    let (threads, pixels) = (Threads::serial(), [128u8; 16 * 16]);
    let view = ImageView::grey_u8(16, 16, &pixels).unwrap();
    let options = ScorerOptions::new().with_max_width(16).with_map(false);
    // Every field of the head and the tables, and parameters here and there.
    let places = (8..6000).step_by(19).chain((6000..blob.len()).step_by(20_011));
    let mut accepted = 0;
    for at in places.filter(|at| !(24..28).contains(at)) {
        let mut forged = blob.clone();
        forged[at] ^= 0xff;
        assert!(OwnedModel::from_bytes(&forged).is_err(), "byte {at} is not covered by the checksum");
        forged[24..28].fill(0);
        let sum = crc32(&forged);
        forged[24..28].copy_from_slice(&sum.to_le_bytes());
        let Ok(model) = OwnedModel::from_bytes(&forged) else { continue };
        let model = model.model();
        let Ok(len) = Scorer::memory_len(&model, &options, 1) else { continue };
        if len > 1 << 22 {
            continue;
        }
        let mut memory = vec![0.0; len];
        if let Ok(mut scorer) = Scorer::new(model, &options, Cpu::detect(&threads), &mut memory) {
            let _ = scorer.score(&view);
            accepted += 1;
        }
    }
    assert!(accepted > 0, "no forged blob got as far as scoring");
}
