//! What goes wrong on real computers: each case ends in a message that names the file, or in the right behaviour.

use std::fs;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use crate::common::{Fixture, QUICK, Run, adflow, arg, coloured, command, deep, finished, good_parts, photograph};
use image::{GrayImage, Luma};

fn train(data: &Path, model: &Path) -> Run {
    adflow([&["train", arg(data), "-o", arg(model)], &QUICK[..]].concat())
}

#[test]
fn empty_and_missing_folders() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.adflow");
    train(dir.path(), &model).fails_with(1, &["no images", "no train/good folder"]);
    train(&dir.path().join("nowhere"), &model).fails_with(1, &["nowhere: no such folder"]);
    fs::create_dir_all(dir.path().join("train")).unwrap();
    train(dir.path(), &model).fails_with(1, &["no folder `good`"]);
    fs::create_dir_all(dir.path().join("train/good")).unwrap();
    train(dir.path(), &model).fails_with(1, &["good: no images"]);
    let f = Fixture::get();
    adflow(["eval", arg(f.model()), arg(dir.path())]).fails_with(1, &["no test folder"]);
    adflow(["inspect", arg(f.model()), arg(&dir.path().join("train/good"))])
        .fails_with(1, &["no images in this folder"]);
    assert!(!model.exists());
}

#[test]
fn one_image_is_too_few() {
    let dir = tempfile::tempdir().unwrap();
    good_parts(dir.path(), 1);
    train(dir.path(), &dir.path().join("m.adflow")).fails_with(1, &["at least", "found 1"]);
}

#[test]
fn mixed_sizes_and_depths_train_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("parts");
    good_parts(&data, 12);
    for i in 0..4 {
        let image = photograph(50 + i, false);
        deep(&image).save(data.join(format!("deep{i}.tif"))).unwrap();
        coloured(&image).save(data.join(format!("colour{i}.jpg"))).unwrap();
        let large = image::imageops::resize(&image, 96, 80, image::imageops::FilterType::Triangle);
        large.save(data.join(format!("large{i}.bmp"))).unwrap();
    }
    let model = dir.path().join("m.adflow");
    let run = train(&data, &model).ok();
    for words in ["2 sizes (48x40 to 96x80)", "8 and 16 bits", "colour and"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    // 8 and 16 bits of the same picture are the same picture.
    photograph(7, false).save(dir.path().join("a.png")).unwrap();
    deep(&photograph(7, false)).save(dir.path().join("b.png")).unwrap();
    let run =
        adflow(["inspect", "--json", arg(&model), arg(&dir.path().join("a.png")), arg(&dir.path().join("b.png"))]).ok();
    let scores: Vec<f64> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["score"].as_f64().unwrap())
        .collect();
    assert!((scores[0] - scores[1]).abs() <= 1e-4 * scores[0].abs().max(1.0), "{scores:?}");
}

#[test]
fn corrupt_images_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("parts");
    good_parts(&data, 10);
    let whole = fs::read(data.join("3.png")).unwrap();
    fs::write(data.join("3.png"), &whole[..whole.len() / 2]).unwrap();
    train(&data, &dir.path().join("m.adflow")).fails_with(1, &["3.png: damaged"]);
    // Inspecting goes on with the others and says so in the exit code.
    let f = Fixture::get();
    let images = ["2.png", "3.png", "4.png"].map(|n| data.join(n));
    let args = [&["inspect", arg(f.model())], &images.iter().map(|p| arg(p)).collect::<Vec<_>>()[..]].concat();
    let run = adflow(args).fails_with(1, &["3.png: damaged"]);
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.stdout);
    let args =
        [&["inspect", "--json", arg(f.model())], &images.iter().map(|p| arg(p)).collect::<Vec<_>>()[..]].concat();
    let lines: Vec<serde_json::Value> =
        adflow(args).fails_with(1, &[]).stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1]["error"].as_str().unwrap().contains("damaged") && lines[2]["score"].is_number());
}

#[test]
fn other_files_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("parts");
    good_parts(&data, 12);
    fs::write(data.join("notes.txt"), "taken on Monday").unwrap();
    fs::write(data.join(".DS_Store"), "x").unwrap();
    let model = dir.path().join("m.adflow");
    let run = train(&data, &model).ok();
    assert!(run.stderr.contains("notes.txt is not an image, ignored") && !run.stderr.contains("DS_Store"));
    // Named on purpose, or named like an image, it is an error.
    adflow(["inspect", arg(&model), arg(&data.join("notes.txt"))]).fails_with(1, &["notes.txt: not an image"]);
    fs::write(data.join("fake.png"), "not a picture").unwrap();
    train(&data, &model).fails_with(1, &["fake.png: not an image"]);
    fs::write(data.join("fake.png"), "").unwrap();
    train(&data, &model).fails_with(1, &["fake.png: the file is empty"]);
}

#[test]
fn all_black_images() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("parts");
    fs::create_dir_all(&data).unwrap();
    for i in 0..12 {
        GrayImage::new(48, 40).save(data.join(format!("{i}.png"))).unwrap();
    }
    let model = dir.path().join("m.adflow");
    train(&data, &model).fails_with(1, &["12 of 12 images have one value", "nothing to learn"]);
    assert!(!model.exists());
    // A lamp that failed on a running line is a defect, not an error.
    let f = Fixture::get();
    let run = adflow(["inspect", arg(f.model()), arg(&data.join("0.png"))]).ok();
    assert!(run.stdout.starts_with("defective"), "{}", run.stdout);
}

#[test]
fn not_a_number_in_a_float_image() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("parts");
    good_parts(&data, 10);
    let path = data.join("depth.tif");
    let mut samples = vec![0.5f32; 48 * 40];
    samples[48 * 3 + 5] = f32::NAN;
    tiff::encoder::TiffEncoder::new(BufWriter::new(fs::File::create(&path).unwrap()))
        .unwrap()
        .write_image::<tiff::encoder::colortype::Gray32Float>(48, 40, &samples)
        .unwrap();
    train(&data, &dir.path().join("m.adflow")).fails_with(1, &["depth.tif", "(5, 3)"]);
    adflow(["inspect", arg(Fixture::get().model()), arg(&path)]).fails_with(1, &["depth.tif", "(5, 3)"]);
}

#[test]
fn no_defective_test_images() {
    let dir = tempfile::tempdir().unwrap();
    let (data, json) = (dir.path().join("data"), dir.path().join("figures.json"));
    good_parts(&data.join("test/good"), 6);
    let f = Fixture::get();
    let report = dir.path().join("report");
    let run = adflow(["eval", arg(f.model()), arg(&data), "--json", arg(&json), "--report", arg(&report)]).ok();
    assert!(run.stderr.contains("no defective test images"), "{}", run.stderr);
    let figures: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    for key in ["image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_max"] {
        assert!(figures[key].is_null(), "{key}: {}", figures[key]);
    }
    assert!(figures["at_threshold"]["false_rejects"].is_number());
    assert!(fs::read_to_string(report.join("report.html")).unwrap().contains("not measurable"));
}

#[test]
fn unwritable_outputs_are_found_before_the_work() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    for (model, words) in [
        (dir.path().join("nowhere/m.adflow"), "does not exist"),
        (dir.path().to_path_buf(), "it is a folder"),
        (Path::new("/proc/m.adflow").to_path_buf(), "cannot write /proc/m.adflow"),
    ] {
        let run = train(f.data(), &model).fails_with(1, &[words]);
        assert!(!run.stderr.contains("reading images"), "{}", run.stderr);
    }
    let json = dir.path().join("nowhere/f.json");
    let model = dir.path().join("m.adflow");
    let args = ["train", arg(f.data()), "-o", arg(&model), "--json", arg(&json)];
    let run = adflow([&args, &QUICK[..]].concat()).fails_with(1, &["f.json", "does not exist"]);
    assert!(!run.stderr.contains("reading images") && !model.exists());
    fs::write(dir.path().join("file"), "x").unwrap();
    let folder = dir.path().join("file/report");
    adflow(["eval", arg(f.model()), arg(f.data()), "--report", arg(&folder)]).fails_with(1, &["cannot make folder"]);
}

/// A small memory file system; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs", arg(dir.path())]).output();
        mounted.is_ok_and(|o| o.status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_no_half_file() {
    let Some(disk) = SmallDisk::mount("64k") else {
        println!("skipped: a_full_disk_leaves_no_half_file: cannot mount a tmpfs (not root)");
        return;
    };
    let f = Fixture::get();
    let path = disk.0.path();
    let left = || fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert!(fs::metadata(f.model()).unwrap().len() > 65_536, "the model must not fit");
    train(f.data(), &path.join("m.adflow")).fails_with(1, &["cannot write", "m.adflow", "No space left"]);
    assert!(left().is_empty(), "{:?}", left());
    adflow(["eval", arg(f.model()), arg(f.data()), "--report", arg(path)])
        .fails_with(1, &["report.html", "No space left"]);
    assert!(left().is_empty(), "{:?}", left());
    // An old file stays whole.
    fs::write(path.join("m.adflow"), "old").unwrap();
    train(f.data(), &path.join("m.adflow")).fails_with(1, &["No space left"]);
    assert_eq!(fs::read_to_string(path.join("m.adflow")).unwrap(), "old");
    // So does a folder of pictures: what was written is complete.
    fs::remove_file(path.join("m.adflow")).unwrap();
    let image = dir_with_large_image();
    adflow(["inspect", arg(f.model()), arg(&image.path().join("large.png")), "--heatmaps", arg(path)])
        .fails_with(1, &["cannot write", "No space left"]);
    assert!(left().is_empty(), "{:?}", left());
}

fn dir_with_large_image() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = adflow::rng::Rng::new(1, 0, 0);
    GrayImage::from_fn(400, 400, |_, _| Luma([rng.u32() as u8])).save(dir.path().join("large.png")).unwrap();
    dir
}

#[test]
fn models_that_are_none() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.adflow");
    let image = f.data().join("test/good/0.png");
    let good = fs::read(f.model()).unwrap();
    let try_with = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let run = adflow(["inspect", arg(&path), arg(&image)]).fails_with(1, &["m.adflow"]);
        adflow(["info", arg(&path)]).fails_with(1, &["m.adflow"]);
        run
    };
    let mut other = good.clone();
    other[8..12].copy_from_slice(&999u32.to_le_bytes());
    try_with(&other).fails_with(1, &["version 999", "reads version"]);
    try_with(b"").fails_with(1, &[]);
    try_with(b"a text file that somebody gave instead of a model").fails_with(1, &["not an adflow model"]);
    try_with(&good[..good.len() - 100]).fails_with(1, &["truncated"]);
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    try_with(&damaged).fails_with(1, &["damaged"]);
    adflow(["info", arg(&dir.path().join("none.adflow"))]).fails_with(1, &["none.adflow"]);
    adflow(["info", arg(dir.path())]).fails_with(1, &["is a folder"]);
}

#[test]
fn wrong_weights_are_refused() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("w.safetensors");
    fs::write(&weights, "not weights").unwrap();
    let model = dir.path().join("m.adflow");
    let args = ["train", arg(f.data()), "-o", arg(&model), "--backbone", arg(&weights)];
    adflow(args).fails_with(1, &["w.safetensors"]);
}

#[test]
#[cfg(target_os = "linux")]
fn standard_output_may_close_or_be_full() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.adflow");
    let picture = f.data().join("test/good/0.png");
    let train = ["train", arg(f.data()), "-o", arg(&model), "--method", "gauss"];
    let (info, dump) = (["info", arg(f.model())], ["dump", arg(f.model())]);
    for arguments in [&info[..], &dump, &["inspect", arg(f.model()), arg(&picture)], &train] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = finished(command(arguments).stdout(writer).output().unwrap());
        assert!(run.code == 0 && !run.stderr.contains("panicked"), "{arguments:?}: {}", run.stderr);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = finished(command(arguments).stdout(full).output().unwrap());
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        run.fails_with(1, &["standard output"]);
    }
    assert!(model.exists(), "the training was for nothing");
}

#[test]
fn wrong_usage_is_code_2() {
    adflow(["train"]).fails_with(2, &["Usage"]);
    adflow(["train", "x", "-o", "y", "--false-reject", "1.5"]).fails_with(2, &["between 0 and 1"]);
    adflow(["train", "x", "-o", "y", "--method", "magic"]).fails_with(2, &["cdnf", "padim"]);
    adflow(["inspect", "m", "i", "--threshold", "NaN"]).fails_with(2, &["finite"]);
    adflow(["train", "x", "-o", "y", "--threads", "0"]).fails_with(2, &["threads"]);
}

#[test]
fn a_contrastive_phase_needs_cdnf_and_a_backbone_that_can_be_adapted() {
    let f = Fixture::get();
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.adflow");
    let train = ["train", arg(f.data()), "-o", arg(&model)];
    let cdnf = ["--method", "cdnf", "--contrastive"];
    adflow([&train, &cdnf[..]].concat()).fails_with(1, &["builtin cannot be adapted", "mobilenet_v2"]);
    adflow([&train[..], &["--contrastive"]].concat()).fails_with(1, &["only cdnf"]);
    adflow([&train[..], &["--defects", "bad"]].concat()).fails_with(2, &["--contrastive"]);
    adflow([&train[..], &["--contrastive-epochs", "2"]].concat()).fails_with(1, &["need --contrastive"]);
    let list = dir.path().join("list.txt");
    fs::write(&list, "# nothing yet\n\n").unwrap();
    let defects = [&train[..], &cdnf, &["--defects", arg(&list)]].concat();
    adflow(&defects).fails_with(1, &["list.txt: lists no images"]);
    fs::write(&list, "bad/dent.png\n").unwrap();
    adflow(&defects).fails_with(1, &["dent.png: no such file, named in"]);
    adflow(["weak", arg(f.data()), "--backbone", "builtin"]).fails_with(1, &["builtin cannot be adapted"]);
    assert!(!model.exists());
}
