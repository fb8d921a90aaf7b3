//! Training gives the same bytes whatever the threads, whether or not it was interrupted.

use std::fs;
use std::path::Path;

#[cfg(unix)]
use crate::common::interrupted;
use crate::common::{Fixture, QUICK, Run, adflow, arg};

/// A flow that trains for a few seconds, so that there is time to interrupt it.
const FLOW: [&str; 8] = ["--method", "cdnf", "--size", "64", "--held-out", "0.25", "--epochs", "40"];

fn train(model: &Path, options: &[&str]) -> Run {
    let data = Fixture::get().data();
    adflow([&["train", arg(data), "-o", arg(model)], options].concat())
}

#[test]
fn threads_do_not_change_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let short = ["--size", "64", "--held-out", "0.25", "--epochs", "3"];
    for method in ["gauss", "padim", "cdnf", "differnet"] {
        let made: Vec<Vec<u8>> = ["1", "2", "3"]
            .iter()
            .map(|threads| {
                let path = dir.path().join(format!("{method}{threads}"));
                train(&path, &[&["--method", method, "--threads", threads], &short[..]].concat()).ok();
                fs::read(path).unwrap()
            })
            .collect();
        assert!(made[0] == made[1] && made[0] == made[2], "{method}: models differ with the number of threads");
    }
}

/// A flow that starts from Gaussians has two parts to train, of different lengths.
#[test]
fn each_part_of_a_training_says_how_long_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--method", "posflow", "--size", "64", "--epochs", "3"];
    let run = train(&dir.path().join("m.adflow"), &options).ok();
    let totals: Vec<usize> =
        run.stderr.lines().filter_map(|line| line.strip_prefix("training: ")?.parse().ok()).collect();
    assert!(totals.len() >= 2 && totals.last() != totals.first(), "{}", run.stderr);
}

#[test]
fn another_seed_gives_another_flow() {
    let dir = tempfile::tempdir().unwrap();
    let made: Vec<Vec<u8>> = ["0", "1"]
        .iter()
        .map(|seed| {
            let path = dir.path().join(seed);
            train(&path, &["--method", "cdnf", "--size", "64", "--epochs", "1", "--seed", seed]).ok();
            fs::read(path).unwrap()
        })
        .collect();
    assert!(made[0] != made[1]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_checkpoint_and_resuming_gives_the_same_model() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, broken) = (dir.path().join("whole.adflow"), dir.path().join("broken.adflow"));
    let checkpoint = dir.path().join("broken.adflow.ckpt");
    train(&whole, &FLOW).ok();
    assert!(!dir.path().join("whole.adflow.ckpt").exists());

    let data = Fixture::get().data();
    let args = [&["train", arg(data), "-o", arg(&broken)], &FLOW[..]].concat();
    let run = interrupted(&args, |said| said.contains("training:"));
    run.fails_with(130, &["--resume", "broken.adflow.ckpt"]);
    assert!(checkpoint.exists() && !broken.exists());

    // Other options do not fit the checkpoint, and do not destroy it.
    train(&broken, &[&FLOW[..], &["--resume", "--seed", "9"]].concat()).fails_with(1, &["checkpoint"]);
    assert!(checkpoint.exists());

    train(&broken, &[&FLOW[..], &["--resume", "--threads", "1"]].concat()).ok();
    assert!(!checkpoint.exists(), "a finished training removes its checkpoint");
    assert!(fs::read(&whole).unwrap() == fs::read(&broken).unwrap(), "the resumed model differs");
}

#[test]
fn resume_without_a_checkpoint_starts_anew_and_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.adflow");
    let short = ["--method", "cdnf", "--size", "64", "--epochs", "2", "--resume"];
    let run = train(&model, &short).ok();
    assert!(run.stderr.contains("starting from the beginning"), "{}", run.stderr);
    fs::write(dir.path().join("m.adflow.ckpt"), "not a checkpoint").unwrap();
    train(&model, &short).fails_with(1, &["checkpoint"]);
}

#[test]
fn the_summary_is_machine_readable() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.adflow");
    let run = train(&model, &[&QUICK[..], &["--json", "-"]].concat()).ok();
    let summary: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(summary["method"], "gauss");
    assert_eq!(summary["images"], 24);
    assert!(summary["train_seconds"].as_f64().unwrap() > 0.0 && summary["threshold"].is_number());
    assert_eq!(summary["model_bytes"].as_u64().unwrap(), fs::metadata(&model).unwrap().len());
}
