//! `adflow synth`: what it writes, that it repeats, and what it refuses.

use std::fs;
use std::path::Path;

use crate::common::{Fixture, Run, adflow, arg, good_parts};
use tempfile::TempDir;

fn parts() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    good_parts(&dir.path().join("good"), 3);
    dir
}

fn synth(dir: &Path, out: &str, more: &[&str]) -> Run {
    let (good, out) = (dir.join("good"), dir.join(out));
    let args = ["synth", arg(&good), "--out", arg(&out), "--size", "64"];
    adflow([&args, more].concat())
}

#[test]
fn images_masks_and_sheet() {
    let dir = parts();
    let run = synth(dir.path(), "out", &["--count", "4"]).ok();
    let out = dir.path().join("out");
    for kind in ["cutpaste", "scar", "perlin", "nsa"] {
        assert!(run.stdout.contains(&format!("{kind:<9} 4 images")), "{}", run.stdout);
        for i in 0..4 {
            let image = image::open(out.join(format!("test/{kind}/{i:03}.png"))).unwrap().into_rgb8();
            let mask = image::open(out.join(format!("ground_truth/{kind}/{i:03}_mask.png"))).unwrap().into_luma8();
            assert_eq!((image.dimensions(), mask.dimensions()), ((64, 64), (64, 64)));
            assert!(mask.pixels().any(|p| p.0[0] == 255) && mask.pixels().all(|p| p.0[0] == 0 || p.0[0] == 255));
            // Grey parts have grey defects.
            assert!(image.pixels().all(|p| p.0[0].abs_diff(p.0[1]).max(p.0[1].abs_diff(p.0[2])) <= 1), "{kind} {i}");
        }
        assert!(!out.join(format!("test/{kind}/004.png")).exists());
    }
    let sheet = image::open(out.join("sheet.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (9 * 68 + 4, 4 * 68 + 4));
    // The folder is a data set.
    let f = Fixture::get();
    let figures = adflow(["eval", arg(f.model()), arg(&out), "--json", "-"]).ok();
    let figures: serde_json::Value = serde_json::from_str(&figures.stdout).unwrap();
    assert_eq!(figures["images"]["defective"].as_u64().or(figures["images"].as_u64()), Some(16), "{figures}");
}

#[test]
fn the_same_seed_gives_the_same_files() {
    let dir = parts();
    let files = |out: &str, more: &[&str]| {
        synth(dir.path(), out, more).ok();
        ["test/perlin/001.png", "ground_truth/perlin/001_mask.png", "test/nsa/000.png", "sheet.png"]
            .map(|name| fs::read(dir.path().join(out).join(name)).unwrap())
    };
    let first = files("a", &["--count", "2"]);
    assert_eq!(first, files("b", &["--count", "2"]));
    let other = files("c", &["--count", "2", "--seed", "1"]);
    assert!((0..4).all(|i| first[i] != other[i]));
}

#[test]
fn one_kind_and_given_textures() {
    let dir = parts();
    let textures = dir.path().join("textures");
    fs::create_dir_all(&textures).unwrap();
    image::RgbImage::from_pixel(20, 10, image::Rgb([255, 255, 255])).save(textures.join("white.png")).unwrap();
    let run = synth(dir.path(), "out", &["--kind", "perlin", "--count", "3", "--textures", arg(&textures)]).ok();
    assert!(run.stdout.starts_with("perlin    3 images") && !run.stdout.contains("nsa"), "{}", run.stdout);
    assert!(!dir.path().join("out/test/nsa").exists());
    let empty = dir.path().join("empty");
    fs::create_dir_all(&empty).unwrap();
    synth(dir.path(), "x", &["--textures", arg(&empty)]).fails_with(1, &["no images in this folder"]);
    synth(dir.path(), "x", &["--textures", arg(&dir.path().join("none"))]).fails_with(1, &["none: no such folder"]);
    fs::write(empty.join("torn.png"), "not a picture").unwrap();
    synth(dir.path(), "x", &["--textures", arg(&empty)]).fails_with(1, &["torn.png: not an image"]);
}

#[test]
fn one_flat_image_leaves_no_patch_to_see() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("good")).unwrap();
    image::GrayImage::from_pixel(40, 40, image::Luma([99])).save(dir.path().join("good/flat.png")).unwrap();
    let run = synth(dir.path(), "out", &["--kind", "nsa", "--count", "2"]).ok();
    assert!(run.stdout.contains("nsa       0 images"), "{}", run.stdout);
    for words in ["one good image", "2 nsa images were left out"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}

#[test]
fn bad_input_is_named() {
    let dir = parts();
    let good = dir.path().join("good");
    let out = dir.path().join("out");
    let empty = dir.path().join("empty");
    fs::create_dir_all(&empty).unwrap();
    adflow(["synth", arg(&empty), "--out", arg(&out)]).fails_with(1, &["no images", "no train/good folder"]);
    adflow(["synth", arg(&dir.path().join("nowhere")), "--out", arg(&out)]).fails_with(1, &["nowhere: no such folder"]);
    assert!(!out.exists());
    synth(dir.path(), "out", &["--kind", "magic"]).fails_with(2, &["cutpaste", "perlin", "nsa"]);
    synth(dir.path(), "out", &["--size", "7"]).fails_with(2, &["size"]);
    synth(dir.path(), "out", &["--count", "0"]).fails_with(2, &["count"]);
    adflow(["synth", arg(&good)]).fails_with(2, &["--out"]);
    // Places that cannot be written.
    fs::write(dir.path().join("file"), "x").unwrap();
    synth(dir.path(), "file", &[]).fails_with(1, &["cannot make folder"]);
    synth(dir.path(), "file/below", &[]).fails_with(1, &["cannot make folder"]);
    // The data itself.
    synth(dir.path(), "good", &[]).fails_with(1, &["the folder of the data"]);
    assert_eq!(fs::read_dir(&good).unwrap().count(), 3);
    // An image that cannot be read.
    let whole = fs::read(good.join("1.png")).unwrap();
    fs::write(good.join("1.png"), &whole[..whole.len() / 2]).unwrap();
    synth(dir.path(), "out", &[]).fails_with(1, &["1.png: damaged"]);
}
