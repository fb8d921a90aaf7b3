//! What the commands print and write: lines, JSON, pictures, the report.

use std::fs;

use crate::common::{Fixture, adflow, arg};
use serde_json::Value;

fn inspect(args: &[&str]) -> Vec<Value> {
    let f = Fixture::get();
    let run = adflow([&["inspect", "--json", arg(f.model())], args].concat()).ok();
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn inspect_tells_good_from_defective() {
    let f = Fixture::get();
    let (good, bad) = (f.data().join("test/good"), f.data().join("test/blot"));
    let lines = inspect(&[arg(&bad)]);
    assert_eq!(lines.len(), 5);
    for line in &lines {
        assert_eq!(line["verdict"], "defective", "{line}");
        assert!(line["score"].as_f64() > line["threshold"].as_f64() && line["ms"].is_number());
    }
    let highest = inspect(&[arg(&good)]).iter().map(|l| l["score"].as_f64().unwrap()).fold(f64::MIN, f64::max);
    let lowest = lines.iter().map(|l| l["score"].as_f64().unwrap()).fold(f64::MAX, f64::min);
    assert!(highest < lowest, "{highest} {lowest}");
    let run = adflow(["inspect", arg(f.model()), arg(&bad.join("0.png"))]).ok();
    assert!(run.stdout.starts_with("defective ") && run.stdout.ends_with("0.png\n"), "{}", run.stdout);
}

#[test]
fn threads_do_not_change_scores() {
    let f = Fixture::get();
    let images = f.data().join("test/blot");
    let scores =
        |threads| inspect(&[arg(&images), "--threads", threads]).iter().map(|l| l["score"].clone()).collect::<Vec<_>>();
    assert_eq!(scores("1"), scores("3"));
}

#[test]
fn the_threshold_can_be_moved() {
    let f = Fixture::get();
    let image = f.data().join("test/blot/0.png");
    let score = inspect(&[arg(&image)])[0]["score"].as_f64().unwrap();
    let above = format!("{}", score * 2.0 + 1.0);
    assert_eq!(inspect(&[arg(&image), "--threshold", &above])[0]["verdict"], "good");
    adflow(["inspect", arg(f.model()), arg(&image), "--fail-on-defect"]).fails_with(3, &[]);
    adflow(["inspect", arg(f.model()), arg(&image), "--fail-on-defect", "--threshold", &above]).ok();

    let dir = tempfile::tempdir().unwrap();
    let moved = dir.path().join("moved.adflow");
    adflow(["threshold", arg(f.model()), "--set", &above, "-o", arg(&moved)]).ok();
    let run = adflow(["inspect", "--json", arg(&moved), arg(&image)]).ok();
    let line: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((line["verdict"].as_str(), line["score"].as_f64()), (Some("good"), Some(score)));
    assert!(adflow(["info", arg(&moved)]).ok().stdout.contains("set by hand"));
    // Back to what the held-out parts say, with a grey zone.
    let args = ["threshold", arg(&moved), "--false-reject", "0.01", "--grey-zone", "0.5"];
    assert!(adflow(args).ok().stdout.contains("unsure above"));
    let run = adflow(["inspect", "--json", arg(&moved), arg(&image)]).ok();
    let line: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(line["verdict"], "defective");
}

#[test]
fn heat_maps_have_the_size_of_the_image() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("maps");
    let (a, b) = (f.data().join("test/blot/0.png"), f.data().join("test/good/0.png"));
    adflow(["inspect", arg(f.model()), arg(&a), arg(&b), "--heatmaps", arg(&folder)]).ok();
    // Both files are called 0.png: none overwrites the other.
    let hot = image::open(folder.join("0.png")).unwrap().to_rgb8();
    let calm = image::open(folder.join("0-2.png")).unwrap().to_rgb8();
    assert_eq!((hot.dimensions(), calm.dimensions()), ((48, 40), (48, 40)));
    let coloured = |i: &image::RgbImage| i.pixels().filter(|p| p.0[0] > p.0[2].saturating_add(40)).count();
    assert!(coloured(&hot) > 10 && coloured(&calm) < coloured(&hot), "{} {}", coloured(&hot), coloured(&calm));
}

#[test]
fn eval_writes_figures_and_a_report_that_needs_nothing_else() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("f.json");
    let run = adflow(["eval", arg(f.model()), arg(f.data()), "--json", arg(&json), "--report", arg(dir.path())]).ok();
    assert!(run.stdout.contains("blot") && run.stdout.contains("ms per image"), "{}", run.stdout);
    let figures: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    for key in ["image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_max", "threshold"] {
        assert!(figures[key].is_number(), "{key}: {}", figures[key]);
    }
    assert_eq!(figures["image_auroc"], 1.0);
    assert!(figures["pixel_auroc"].as_f64().unwrap() > 0.8, "{}", figures["pixel_auroc"]);
    assert_eq!(figures["classes"]["blot"]["rejected"], 5);
    assert!(figures.as_object().unwrap().contains_key("train_seconds"));
    let ms = &figures["ms_per_image"];
    assert!(ms["p50"].as_f64().unwrap() > 0.0 && ms["p50"].as_f64() <= ms["p99"].as_f64());
    assert!(ms["p99"].as_f64() <= ms["max"].as_f64());

    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for needle in ["Finds 5 of 5", "Histogram of scores", "ROC curve", "data:image/jpeg;base64,", "256x256"] {
        assert!(page.contains(needle), "no {needle}");
    }
    for outside in ["http://", "https://", "<script", "src=\"/", "url("] {
        assert!(!page.contains(outside), "the page must need nothing else, found {outside}");
    }
    let text: String =
        page.split("data:image/jpeg;base64,").map(|part| part.split_once('"').map_or("", |p| p.1)).collect();
    assert!(!text.contains("NaN") && !text.contains(" inf"), "an undefined figure reached the page");
}

#[test]
fn bench_reports_every_case() {
    let f = Fixture::get();
    let run =
        adflow(["bench", arg(f.model()), "--json", "--seconds", "0.05", "--threads", "2", "--camera", "640x480"]).ok();
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["cases"].as_array().unwrap().len(), 4);
    for case in report["cases"].as_array().unwrap() {
        assert!(case["ms_per_image"]["p50"].as_f64().unwrap() > 0.0 && case["work_bytes"].as_u64().unwrap() > 0);
    }
    assert!(adflow(["bench", arg(f.model()), "--seconds", "0.05"]).ok().stdout.contains("p99"));
}

#[test]
fn info_and_dump_say_what_the_model_is() {
    let f = Fixture::get();
    let info = adflow(["info", arg(f.model())]).ok().stdout;
    for needle in ["method", "gauss", "builtin", "64x64", "seed", "threshold", "working memory"] {
        assert!(info.contains(needle), "no {needle} in {info}");
    }
    assert!(adflow(["dump", arg(f.model())]).ok().stdout.contains("score"));
}
