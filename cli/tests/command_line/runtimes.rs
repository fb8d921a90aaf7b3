//! Runs ONNX graphs in ONNX Runtime and OpenVINO through `onnx_run.py`, and scores with the library.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use adflow::cpu::Cpu;
use adflow::image::ImageView;
use adflow::model::OwnedModel;
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;

/// The runtimes.
pub const NAMES: [&str; 2] = ["onnxruntime", "openvino"];

/// Type of samples.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    U8,
    U16,
    F32,
}

/// A graph to run on an image.
pub struct Job {
    pub graph: PathBuf,
    pub image: PathBuf,
    pub kind: Kind,
    pub out: PathBuf,
}

impl Job {
    /// What a runtime gave under that name.
    pub fn output(&self, runtime: &str, name: &str) -> Vec<f32> {
        let path = format!("{}.{runtime}.{name}", self.out.display());
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}

/// The script beside the tests.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command_line/onnx_run.py")
}

/// A Python with the runtimes; says why there is none.
pub fn python() -> Option<String> {
    let python = env::var("ADFLOW_PYTHON").unwrap_or_else(|_| "python3".into());
    let why = match Command::new(&python).arg(script()).arg("--check").output() {
        Ok(output) if output.status.success() => return Some(python),
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(env::var_os("ADFLOW_REQUIRE_TOOLS").is_none(), "{python}: {why}");
    eprintln!("skipped: no ONNX runtimes in {python}: {why}");
    None
}

/// Runs jobs in both runtimes; `false` where there are none.
pub fn run(folder: &Path, jobs: &[&Job]) -> bool {
    let Some(python) = python() else { return false };
    let list: String = jobs
        .iter()
        .map(|job| {
            let kind = match job.kind {
                Kind::U8 => "u8",
                Kind::U16 => "u16",
                Kind::F32 => "f32",
            };
            format!("{}\t{}\t{kind}\t{}\n", job.graph.display(), job.image.display(), job.out.display())
        })
        .collect();
    let path = folder.join("jobs.tsv");
    fs::write(&path, list).unwrap();
    let output = Command::new(python).arg(script()).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// The library's score and map.
pub fn score(model: &Path, image: &ImageView<'_>, map: bool) -> (f32, Option<Vec<f32>>) {
    let owned = OwnedModel::open(model).unwrap();
    let model = owned.model();
    let options = ScorerOptions::new().with_max_width(image.width()).with_map(map);
    let mut memory = vec![0.0; Scorer::memory_len(&model, &options, 1).unwrap()];
    let threads = Threads::serial();
    let mut scorer = Scorer::new(model, &options, Cpu::detect(&threads), &mut memory).unwrap();
    if !map {
        return (scorer.score(image).unwrap(), None);
    }
    let (width, height) = model.map_size();
    let mut plane = vec![0.0; width as usize * height as usize];
    let score = scorer.score_with_map(image, &mut plane).unwrap();
    (score, Some(plane))
}

/// The largest difference, as a share of the largest of ours.
pub fn distance(given: &[f32], ours: &[f32]) -> f32 {
    assert_eq!(given.len(), ours.len(), "number of values");
    let largest = ours.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    let far = |(g, o): (&f32, &f32)| if g.is_nan() { f32::INFINITY } else { (g - o).abs() };
    given.iter().zip(ours).map(far).fold(0.0, f32::max) / largest
}

/// The mean difference, as a share of the largest of ours.
pub fn mean_distance(given: &[f32], ours: &[f32]) -> f32 {
    let largest = ours.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    let sum: f32 = given.iter().zip(ours).map(|(g, o)| (g - o).abs()).sum();
    sum / ours.len() as f32 / largest
}
