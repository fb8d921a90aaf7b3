//! Exported graphs give our scores and maps in ONNX Runtime and OpenVINO.
//!
//! Needs Python with `onnx`, `onnxruntime` and `openvino`: `ADFLOW_PYTHON` names the interpreter, else `python3` is tried.
//! Where they are missing the tests say so and pass, unless `ADFLOW_REQUIRE_TOOLS` is set.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Fixture, adflow, arg, coloured, data_set, photograph};
use crate::runtimes::{self, Job, Kind};
use adflow::cpu::Cpu;
use adflow::detect::{Method, Pooling, TrainOptions, train};
use adflow::image::ImageView;
use adflow::threads::Threads;
use adflow_tests::made_weights;
use adflow_tests::parts::shapes;
use tempfile::TempDir;

/// Models whose map is a gradient.
const GRADIENTS: [&str; 4] = ["gauss", "cdnf", "differnet", "symmetries"];

/// A data set, and models and graphs beside it.
struct Bench {
    folder: TempDir,
    jobs: Vec<Expected>,
}

/// A graph to run, and what it has to give.
struct Expected {
    name: String,
    job: Job,
    score: f32,
    map: Option<Vec<f32>>,
}

/// How the camera gives its images.
struct Camera {
    options: &'static [&'static str],
    kind: Kind,
    planar: bool,
    bgr: bool,
    grey: bool,
}

const RGB: Camera = Camera { options: &[], kind: Kind::U8, planar: true, bgr: false, grey: false };
const OPENCV: Camera =
    Camera { options: &["--layout", "nhwc", "--order", "bgr"], kind: Kind::U8, planar: false, bgr: true, grey: false };
const DEEP: Camera =
    Camera { options: &["--type", "u16", "--order", "grey"], kind: Kind::U16, planar: true, bgr: false, grey: true };
const FLOAT: Camera =
    Camera { options: &["--type", "f32", "--layout", "nhwc"], kind: Kind::F32, planar: false, bgr: false, grey: false };

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        data_set(&folder.path().join("data"));
        Self { folder, jobs: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, name: &str, options: &[&str]) -> PathBuf {
        let (data, model) = (self.path("data"), self.path(name));
        let common = ["--held-out", "0.25", "--device", "cpu"];
        adflow([&["train", arg(&data), "-o", arg(&model)], options, &common[..]].concat()).ok();
        model
    }

    /// Exports a model for a camera of 48×40 pixels, and scores a photograph with the library.
    fn export(&mut self, name: &str, model: &Path, camera: &Camera, map: bool) {
        let graph = self.path(&format!("{name}.onnx"));
        let run =
            adflow([&["export", arg(model), "-o", arg(&graph), "--image", "48x40"], camera.options].concat()).ok();
        assert_eq!(run.stdout.contains("map        none"), !map, "{}", run.stdout);

        let grey = photograph(7, true);
        let mut colour = coloured(&grey);
        // Channels that differ.
        colour.pixels_mut().enumerate().for_each(|(i, p)| p.0[2] = p.0[2].wrapping_mul(3) ^ i as u8);
        let values: Vec<u8> = if camera.grey { grey.as_raw().clone() } else { colour.as_raw().clone() };
        let deep: Vec<u16> = values.iter().map(|v| u16::from(*v) * 251).collect();
        let floats: Vec<f32> = values.iter().map(|v| f32::from(*v) / 250.0).collect();
        let view = match (camera.kind, camera.grey) {
            (Kind::U8, true) => ImageView::grey_u8(48, 40, &values),
            (Kind::U8, false) => ImageView::rgb_u8(48, 40, &values),
            (Kind::U16, true) => ImageView::grey_u16(48, 40, &deep),
            (Kind::U16, false) => ImageView::rgb_u16(48, 40, &deep),
            (Kind::F32, true) => ImageView::grey_f32(48, 40, &floats),
            (Kind::F32, false) => ImageView::rgb_f32(48, 40, &floats),
        };
        let (score, map) = runtimes::score(model, &view.unwrap(), map);

        let channels = if camera.grey { 1 } else { 3 };
        let reorder = |at: usize| {
            let (pixel, channel) = if camera.planar { (at % 1920, at / 1920) } else { (at / channels, at % channels) };
            pixel * channels + if camera.bgr { channels - 1 - channel } else { channel }
        };
        let order = (0..values.len()).map(reorder);
        let bytes: Vec<u8> = match camera.kind {
            Kind::U8 => order.map(|at| values[at]).collect(),
            Kind::U16 => order.flat_map(|at| deep[at].to_le_bytes()).collect(),
            Kind::F32 => order.flat_map(|at| floats[at].to_le_bytes()).collect(),
        };
        let image = self.path(&format!("{name}.bin"));
        fs::write(&image, bytes).unwrap();
        let job = Job { graph, image, kind: camera.kind, out: self.path(name) };
        self.jobs.push(Expected { name: name.to_string(), job, score, map });
    }

    /// Runs all graphs in both runtimes and compares.
    fn compare(self) {
        let jobs: Vec<&Job> = self.jobs.iter().map(|e| &e.job).collect();
        if !runtimes::run(self.folder.path(), &jobs) {
            return;
        }
        for Expected { name, job, score, map } in &self.jobs {
            for runtime in runtimes::NAMES {
                let given = job.output(runtime, "score");
                let off = runtimes::distance(&given, &[*score]);
                assert!(off <= 1e-4, "{name} in {runtime}: score {given:?}, ours {score:?}");
                let mut far = 0.0;
                if let Some(map) = map {
                    let given = job.output(runtime, "map");
                    far = runtimes::distance(&given, map);
                    // A gradient jumps where a unit of a relu is just open or just closed; distances and energies do not.
                    let gradient = GRADIENTS.iter().any(|m| name.starts_with(m));
                    let (limit, mean) = (if gradient { 0.1 } else { 1e-4 }, runtimes::mean_distance(&given, map));
                    assert!(
                        far <= limit && mean <= limit / 50.0,
                        "{name} in {runtime}: map off by {far:.1e}, mean {mean:.1e}"
                    );
                }
                eprintln!("{name} in {runtime}: score off by {off:.1e}, map by {far:.1e}");
            }
        }
    }
}

#[test]
fn every_method_gives_our_score_and_map() {
    let mut bench = Bench::new();
    let quick = ["--epochs", "2", "--method"];
    for (method, size, camera) in [
        ("gauss", "64", &RGB),
        ("cdnf", "64", &OPENCV),
        ("differnet", "64", &DEEP),
        ("padim", "96", &FLOAT),
        ("csflow", "128", &RGB),
        ("fastflow", "96", &RGB),
        ("posflow", "96", &DEEP),
        ("ssnf", "64", &OPENCV),
    ] {
        let model = bench.train(&format!("{method}.adflow"), &[&quick[..], &[method, "--size", size]].concat());
        bench.export(method, &model, camera, true);
    }
    bench.compare();
}

#[test]
fn views_regions_and_tiles_are_in_the_graph() {
    let mut bench = Bench::new();
    let mask = image::GrayImage::from_fn(48, 40, |x, y| image::Luma([if x + y > 30 && x < 44 { 255 } else { 0 }]));
    let roi = bench.path("roi.png");
    mask.save(&roi).unwrap();
    let roi = roi.to_str().unwrap().to_string();
    let flow = ["--method", "differnet", "--epochs", "1", "--size", "64", "--views"];
    for (name, options, map) in [
        ("symmetries", [&flow[..], &["8"]].concat(), true),
        ("rotations", [&flow[..], &["12"]].concat(), false),
        ("padim-views", vec!["--method", "padim", "--size", "96", "--views", "6"], true),
        ("padim-roi", vec!["--method", "padim", "--size", "96", "--views", "4", "--roi", &roi], true),
        ("gauss-roi", vec!["--method", "gauss", "--size", "64", "--roi", &roi], true),
        ("tiles", vec!["--method", "padim", "--canvas", "200x150", "--size", "128", "--margin", "32"], true),
        (
            "tiles-roi",
            vec!["--method", "padim", "--canvas", "200x150", "--size", "128", "--margin", "32", "--roi", &roi],
            true,
        ),
        (
            "csflow-tiles",
            vec!["--method", "csflow", "--epochs", "1", "--canvas", "200x150", "--size", "128", "--margin", "32"],
            true,
        ),
    ] {
        let model = bench.train(&format!("{name}.adflow"), &options);
        bench.export(name, &model, &RGB, map);
    }
    bench.compare();
}

/// Convolutions with as many channels in as out, and deviations beside the means.
#[test]
fn networks_from_files_are_in_the_graph() {
    let (mut bench, good, threads) = (Bench::new(), shapes(1, 12, false), Threads::new(2));
    for (network, pooling, side) in [("resnet18", Pooling::Statistics, 128), ("alexnet", Pooling::Mean, 256)] {
        let options = TrainOptions {
            method: Method::GAUSS,
            pooling,
            size: Some(side),
            views: Some(2),
            held_out: 0.0,
            ..TrainOptions::default()
        };
        let backbone = made_weights::backbone(network);
        let trained = train(&good, &backbone, &options, &Cpu::detect(&threads), &mut (), None).unwrap();
        let name = format!("gauss-{network}");
        let model = bench.path(&format!("{name}.adflow"));
        fs::write(&model, trained.model).unwrap();
        bench.export(&name, &model, &RGB, true);
    }
    bench.compare();
}

#[test]
fn what_cannot_be_exported_is_an_error_that_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.onnx");
    let model = Fixture::get().model();
    adflow(["export", arg(model), "-o", arg(&folder.path().join("absent/x.onnx"))]).fails_with(1, &["absent"]);
    adflow(["export", arg(&folder.path().join("none.adflow")), "-o", arg(&out)]).fails_with(1, &["none.adflow"]);
    adflow(["export", arg(model), "-o", arg(&out), "--image", "0x5"]).fails_with(2, &["1 to 16384"]);
    assert!(!out.exists());
    let run = adflow(["export", arg(model), "-o", arg(&out), "--no-map"]).ok();
    assert!(run.stdout.contains("map        none"), "{}", run.stdout);
    assert!(out.exists());
}
