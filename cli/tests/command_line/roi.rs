//! `--roi`: what lies outside the region of interest changes nothing that the command writes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{QUICK, adflow, arg, data_set, photograph};
use adflow::rng::Rng;
use image::{GrayImage, Luma};
use serde_json::Value;
use tempfile::TempDir;

/// White but for a band on the left and a block below.
fn mask() -> GrayImage {
    GrayImage::from_fn(48, 40, |x, y| Luma([if x < 10 || (y > 30 && x < 24) { 0 } else { 255 }]))
}

/// The image with other pixels where the mask is black.
fn disturbed(image: &GrayImage, seed: u64) -> GrayImage {
    let mut rng = Rng::new(8, seed, 0);
    let mask = mask();
    GrayImage::from_fn(48, 40, |x, y| {
        let noise = rng.u32() as u8;
        if mask.get_pixel(x, y).0[0] == 0 { Luma([noise]) } else { *image.get_pixel(x, y) }
    })
}

/// A data set, the same with other pixels outside, and the mask.
struct Sets {
    folder: TempDir,
    calm: PathBuf,
    wild: PathBuf,
    mask: PathBuf,
}

fn sets() -> Sets {
    let folder = tempfile::tempdir().unwrap();
    let [calm, wild, mask_path] = ["calm", "wild", "mask.png"].map(|name| folder.path().join(name));
    data_set(&calm);
    data_set(&wild);
    mask().save(&mask_path).unwrap();
    for part in ["train/good", "test/good", "test/blot"] {
        for (i, entry) in fs::read_dir(wild.join(part)).unwrap().enumerate() {
            let path = entry.unwrap().path();
            disturbed(&image::open(&path).unwrap().to_luma8(), i as u64).save(&path).unwrap();
        }
    }
    Sets { folder, calm, wild, mask: mask_path }
}

fn scores(args: &[&str]) -> Vec<Value> {
    let run = adflow([&["inspect", "--json"], args].concat()).ok();
    run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].clone()).collect()
}

#[test]
fn pixels_outside_change_neither_model_nor_score_nor_map() {
    let s = sets();
    let at = |name: &str| s.folder.path().join(name);
    for method in ["gauss", "padim"] {
        let train = |data: &Path, name: &str| {
            let options = ["--method", method, "--size", "64", "--held-out", "0.25", "--roi", arg(&s.mask)];
            adflow([&["train", arg(data), "-o", arg(&at(name))], &options[..]].concat()).ok();
            fs::read(at(name)).unwrap()
        };
        assert!(train(&s.calm, "a.adflow") == train(&s.wild, "b.adflow"), "{method}: the models differ");
        // The model keeps its region: no option is needed to inspect.
        let (model, calm, wild) = (at("a.adflow"), s.calm.join("test/blot"), s.wild.join("test/blot"));
        let maps = [at("maps-a"), at("maps-b")];
        let a = scores(&[arg(&model), arg(&calm), "--heatmaps", arg(&maps[0])]);
        assert_eq!(a, scores(&[arg(&model), arg(&wild), "--heatmaps", arg(&maps[1])]), "{method}");
        assert!(a.len() == 5 && a.iter().all(Value::is_number));
        let info = adflow(["info", arg(&model)]).ok().stdout;
        assert!(info.contains("roi"), "{info}");
        for dir in maps {
            fs::remove_dir_all(dir).unwrap();
        }
    }
}

#[test]
fn a_model_for_whole_images_can_be_given_a_region() {
    let s = sets();
    let model = s.folder.path().join("m.adflow");
    adflow([&["train", arg(&s.calm), "-o", arg(&model)], &QUICK[..]].concat()).ok();
    let (calm, wild) = (s.calm.join("test/blot"), s.wild.join("test/blot"));
    let [a, b] = [&calm, &wild].map(|images| scores(&[arg(&model), arg(images), "--roi", arg(&s.mask)]));
    assert_eq!(a, b);
    assert_ne!(scores(&[arg(&model), arg(&calm)]), scores(&[arg(&model), arg(&wild)]));
    // The defect lies inside the region, and is found there; eval agrees for both sets.
    let figures = [&s.calm, &s.wild].map(|data| {
        let run = adflow(["eval", arg(&model), arg(data), "--roi", arg(&s.mask), "--json", "-"]).ok();
        let figures: Value = serde_json::from_str(&run.stdout).unwrap();
        ["image_auroc", "pixel_auroc", "aupro", "classes"].map(|key| figures[key].clone())
    });
    assert_eq!(figures[0], figures[1]);
    let args = ["compare", arg(&s.wild), "--methods", "gauss", "--size", "64", "--roi", arg(&s.mask), "--json", "-"];
    let compared: Value = serde_json::from_str(&adflow(args).ok().stdout).unwrap();
    assert!(compared["methods"][0]["image_auroc"]["mean"].as_f64().unwrap() > 0.9, "{compared}");
}

#[test]
fn regions_that_make_no_sense_are_refused() {
    let s = sets();
    let (model, bad) = (s.folder.path().join("m.adflow"), s.folder.path().join("bad.png"));
    let train =
        |roi: &Path| adflow([&["train", arg(&s.calm), "-o", arg(&model), "--roi", arg(roi)], &QUICK[..]].concat());
    GrayImage::new(48, 40).save(&bad).unwrap();
    train(&bad).fails_with(1, &["bad.png", "no pixel", "white"]);
    train(&s.folder.path().join("none.png")).fails_with(1, &["none.png"]);
    let mut dot = GrayImage::new(48, 40);
    dot.put_pixel(20, 20, Luma([255]));
    dot.save(&bad).unwrap();
    train(&bad).fails_with(1, &["too small or too thin"]);
    assert!(!model.exists());
    train(&s.mask).ok();
    // For scoring it must fit each image; the others are still inspected.
    GrayImage::from_pixel(40, 48, Luma([255])).save(&bad).unwrap();
    let image = s.folder.path().join("part.png");
    photograph(3, false).save(&image).unwrap();
    adflow(["inspect", arg(&model), arg(&image), "--roi", arg(&bad)]).fails_with(1, &["part.png", "size of the image"]);
    adflow(["eval", arg(&model), arg(&s.calm), "--roi", arg(&bad)]).fails_with(1, &["size of the image"]);
}
