//! `adflow compare`: the same figures as `train` and `eval`, one row a method, whatever happens to the others.

use std::fs;

#[cfg(unix)]
use crate::common::interrupted;
use crate::common::{Fixture, adflow, arg, data_set, good_parts};
use serde_json::Value;

const QUICK: [&str; 4] = ["--size", "64", "--epochs", "2"];

fn json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_figures_are_those_of_train_and_eval() {
    let data = Fixture::get().data();
    let dir = tempfile::tempdir().unwrap();
    let (out, models, report) = (dir.path().join("c.json"), dir.path().join("models"), dir.path().join("report"));
    let options = ["--methods", "padim,cdnf,padim", "--seeds", "0,7,0", "--json", arg(&out)];
    let folders = ["--models", arg(&models), "--report", arg(&report)];
    let run = adflow([&["compare", arg(data)], &options[..], &folders, &QUICK].concat()).ok();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with("padim") && lines[2].starts_with("cdnf"), "{}", run.stdout);
    let figures = json(&out);
    assert_eq!(figures["images"]["defective"], 5);
    let rows = figures["methods"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, method) in rows.iter().zip(["padim", "cdnf"]) {
        assert_eq!(row["method"], method);
        assert!(row["error"].is_null());
        let runs = row["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        let auroc = |run: &Value| run["image_auroc"].as_f64().unwrap();
        let mean = (auroc(&runs[0]) + auroc(&runs[1])) / 2.0;
        assert!((row["image_auroc"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{row}");
        assert!(row["image_auroc"]["sd"].is_number() && row["image_auroc_interval"][0].is_number());
        assert!(row["ms_per_image"]["mean"].as_f64().unwrap() > 0.0 && row["train_seconds"]["mean"].is_number());
        assert!(row["classes"]["blot"]["image_auroc"]["mean"].is_number(), "{row}");
        // The models are those of `train`, the figures those of `eval`.
        let (kept, alone) = (models.join(format!("{method}-seed7.adflow")), dir.path().join("alone.adflow"));
        let train = ["train", arg(data), "-o", arg(&alone), "--method", method, "--seed", "7"];
        adflow([&train, &QUICK[..]].concat()).ok();
        assert!(fs::read(&kept).unwrap() == fs::read(&alone).unwrap(), "{method}: another model than train's");
        assert_eq!(row["model_bytes"].as_u64().unwrap(), fs::metadata(&kept).unwrap().len());
        let alone_json = dir.path().join("alone.json");
        adflow(["eval", arg(&kept), arg(data), "--json", arg(&alone_json)]).ok();
        let eval = json(&alone_json);
        for key in ["image_auroc", "image_auroc_interval", "image_ap", "f1_max", "pixel_auroc", "aupro", "classes"] {
            assert_eq!(eval[key], runs[1][key], "{method}: {key}");
        }
        assert!(report.join(format!("{method}.html")).exists());
    }
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    assert!(page.contains("ranks best") && page.contains("href=\"cdnf.html\"") && !page.contains("NaN"), "{page}");
}

#[test]
fn a_method_that_fails_has_a_row_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    data_set(&data);
    // Too few to learn from: every method fails, each in its own row.
    for i in 4..24 {
        fs::remove_file(data.join(format!("train/good/{i}.png"))).unwrap();
    }
    let (out, report) = (dir.path().join("c.json"), dir.path().join("report"));
    let options = ["--methods", "gauss,padim", "--json", arg(&out), "--report", arg(&report)];
    let run = adflow([&["compare", arg(&data)], &options[..], &QUICK].concat()).fails_with(1, &["found 4"]);
    assert_eq!(run.stdout.matches("failed: training needs at least").count(), 2, "{}", run.stdout);
    let figures = json(&out);
    for row in figures["methods"].as_array().unwrap() {
        assert!(row["error"].as_str().unwrap().contains("found 4") && row["image_auroc"].is_null(), "{row}");
    }
    assert!(fs::read_to_string(report.join("report.html")).unwrap().contains("No method could be ranked"));
}

#[test]
fn wrong_words_and_empty_data() {
    let data = Fixture::get().data();
    for words in ["padim,resnet", "", "padim,,gauss"] {
        adflow(["compare", arg(data), "--methods", words]).fails_with(2, &["--methods", "padim", "all"]);
    }
    adflow(["compare", arg(data), "--seeds", "1,x"]).fails_with(2, &["--seeds"]);
    let dir = tempfile::tempdir().unwrap();
    adflow(["compare", arg(dir.path())]).fails_with(1, &["no images"]);
    good_parts(&dir.path().join("train/good"), 8);
    adflow(["compare", arg(dir.path())]).fails_with(1, &["no test folder"]);
    let json = dir.path().join("nowhere/f.json");
    let run = adflow(["compare", arg(data), "--json", arg(&json)]).fails_with(1, &["does not exist"]);
    assert!(!run.stderr.contains("reading images"), "{}", run.stderr);
}

#[test]
fn methods_with_maps_do_not_mind_how_others_pool() {
    let data = Fixture::get().data();
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let options = ["--methods", "gauss,padim", "--pooling", "statistics", "--models", arg(&models)];
    let run = adflow([&["compare", arg(data)], &options[..], &QUICK].concat());
    let run = run.fails_with(1, &["builtin.layout has one only"]);
    assert!(run.stdout.contains("\npadim "), "{}", run.stdout);
    assert!(models.join("padim.adflow").exists() && !models.join("gauss.adflow").exists());
    adflow(["train", arg(data), "-o", arg(&models.join("p.adflow")), "--pooling", "statistics"])
        .fails_with(1, &["only cdnf, differnet and gauss pool"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_rows_that_were_finished() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("c.json");
    let options = ["--methods", "gauss,cdnf", "--size", "64", "--epochs", "2000", "--json", arg(&out)];
    let run = interrupted(&[&["compare", arg(Fixture::get().data())], &options[..]].concat(), |said| {
        said.split("cdnf, seed 0").nth(1).is_some_and(|after| after.contains("training:"))
    });
    let run = run.fails_with(130, &["interrupted; the table shows the methods that were finished"]);
    assert!(run.stdout.contains("\ngauss ") && !run.stdout.contains("cdnf"), "{}", run.stdout);
    let kept = fs::read_to_string(out).unwrap();
    assert!(kept.contains("\"method\": \"gauss\"") && !kept.contains("cdnf"), "{kept}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_goes_on_where_it_was() {
    let data = Fixture::get().data();
    let dir = tempfile::tempdir().unwrap();
    let (models, alone) = (dir.path().join("models"), dir.path().join("alone.adflow"));
    let training = ["--size", "64", "--epochs", "25"];
    let compare =
        [&["compare", arg(data), "--methods", "gauss,cdnf", "--models", arg(&models)], &training[..]].concat();
    let run = interrupted(&compare, |said| {
        said.split("cdnf, seed 0").nth(1).is_some_and(|after| after.contains("training:"))
    });
    run.fails_with(130, &["--resume to continue"]);
    let gauss = models.join("gauss.adflow");
    let written = fs::metadata(&gauss).unwrap().modified().unwrap();
    assert!(models.join("cdnf.adflow.ckpt").exists() && !models.join("cdnf.adflow").exists());

    let run = adflow([&compare[..], &["--resume"]].concat()).ok();
    assert!(run.stdout.contains("\ngauss ") && run.stdout.contains("\ncdnf "), "{}", run.stdout);
    assert_eq!(fs::metadata(&gauss).unwrap().modified().unwrap(), written, "gauss was trained again");
    assert!(!models.join("cdnf.adflow.ckpt").exists());
    adflow([&["train", arg(data), "-o", arg(&alone), "--method", "cdnf"], &training[..]].concat()).ok();
    assert!(fs::read(models.join("cdnf.adflow")).unwrap() == fs::read(&alone).unwrap(), "another model than train's");

    // What is there must be of this comparison.
    fs::copy(&gauss, models.join("cdnf.adflow")).unwrap();
    let run = adflow([&compare[..], &["--resume"]].concat())
        .fails_with(1, &["belongs to another comparison: its method is gauss"]);
    assert!(run.stdout.contains("cdnf           failed"), "{}", run.stdout);
    let other = ["compare", arg(data), "--methods", "gauss", "--models", arg(&models), "--resume"];
    adflow([&other[..], &["--size", "96"]].concat())
        .fails_with(1, &["gauss.adflow belongs to another comparison: its size is 64, not 96"]);
    adflow([&other[..], &["--pooling", "statistics"]].concat())
        .fails_with(1, &["gauss.adflow belongs to another comparison: its pooling is mean, not statistics"]);
    adflow(["compare", arg(data), "--resume"]).fails_with(2, &["--models"]);
}
