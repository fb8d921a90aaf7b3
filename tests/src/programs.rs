//! Programs outside Rust that tests build and run: the C library and the command line, a C and a C++ compiler, other
//! tools, and the small model and pictures that they are given.
//!
//! The idea: what a C program prints is held against what Rust computes for the same pixels, so both must be made from one
//! description. Where a tool is missing, the test says `skipped:` and passes; where `ADFLOW_REQUIRE_TOOLS` is set, as
//! `./check` does, it fails instead. Next: `tests/c_library`.

use adflow::backbones::Backbone;
use adflow::cpu::Cpu;
use adflow::detect::{Images, Method, TrainOptions, train};
use adflow::image::{ImageView, Plane, PlaneMut, resize_bilinear};
use adflow::model::OwnedModel;
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Width of the test picture; `tests/c/check.h` has the same.
pub const WIDTH: u32 = 60;
/// Height of the test picture.
pub const HEIGHT: u32 = 44;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the repository").to_path_buf()
}

/// The folder that this test was built into, such as `target/debug`.
fn built_into() -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its file");
    exe.parent().and_then(Path::parent).expect("target/<profile>/deps").to_path_buf()
}

/// Builds a package of the workspace as this test was built, and gives the folder where it lies.
pub fn build(package: &str) -> PathBuf {
    let folder = built_into();
    let profile = match folder.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", package, "--profile", profile, "--target-dir"]);
    cargo.arg(folder.parent().expect("a target folder")).current_dir(repository());
    assert!(cargo.status().expect("cargo runs").success(), "{package} does not build");
    folder
}

/// The folder with `libadflow.so` and `libadflow.a`, built as this test was.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("adflow-ffi"))
}

/// The program `adflow`, built as this test was.
pub fn command_line() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("adflow-cli").join("adflow"))
}

/// A folder where the shared library has the name that programs ask for when they start, for `LD_LIBRARY_PATH`.
pub fn so_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch("lib");
        let name = format!("libadflow.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
        fs::copy(library().join("libadflow.so"), folder.join(name)).expect("libadflow.so can be copied");
        folder
    })
}

/// A folder for the files of one test, inside the target folder and kept from run to run. Names must differ between tests.
pub fn scratch(name: &str) -> PathBuf {
    let target = built_into();
    let test = std::env::current_exe().expect("a test knows its file");
    // "c_library-0123456789abcdef": other tests have folders of their own.
    let test = test.file_stem().and_then(OsStr::to_str).and_then(|n| n.split('-').next()).unwrap_or("test").to_string();
    let folder = target.parent().expect("a target folder").join("tmp").join("programs").join(test).join(name);
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    folder
}

/// Says that `what` was not tested, and why; a failure where `ADFLOW_REQUIRE_TOOLS` is set.
pub fn skip(what: &str, why: &str) {
    assert!(std::env::var_os("ADFLOW_REQUIRE_TOOLS").is_none(), "{what}: {why}");
    eprintln!("skipped: {what}: {why}");
}

/// Whether a tool that knows `--version` is there; says so where it is not, see [`skip`].
pub fn available(tool: &str, needed_for: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        skip(needed_for, &format!("there is no {tool}"));
    }
    there
}

/// What `pkg-config --cflags --libs` says of a package, or `None`, said as [`skip`] does.
pub fn package(name: &str, needed_for: &str) -> Option<Vec<String>> {
    if !available("pkg-config", needed_for) {
        return None;
    }
    let output = Command::new("pkg-config").args(["--cflags", "--libs", name]).output().expect("pkg-config runs");
    if !output.status.success() {
        skip(needed_for, &format!("pkg-config does not know {name}"));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).split_whitespace().map(String::from).collect())
}

/// The compiler of C++ or C: `CXX` or `CC` of the environment, else gcc.
pub fn compiler(cpp: bool) -> String {
    let (variable, default) = if cpp { ("CXX", "g++") } else { ("CC", "gcc") };
    std::env::var(variable).unwrap_or_else(|_| default.into())
}

/// How a program is linked to the library.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// To `libadflow.so`.
    Shared,
    /// To `libadflow.a`.
    Static,
}

/// Compiles one C or C++ file of the repository into the folder `to`, every warning an error; `None` without a compiler.
pub fn compile(source: &str, link: Link, to: &Path) -> Option<PathBuf> {
    compile_with(source, link, to, &[])
}

/// The same with more arguments, which come last: other sources, libraries, a later `-std`.
pub fn compile_with(source: &str, link: Link, to: &Path, arguments: &[String]) -> Option<PathBuf> {
    let cpp = source.ends_with(".cpp");
    let compiler = compiler(cpp);
    if !available(&compiler, source) {
        return None;
    }
    let program = to.join(format!("{}-{link:?}", Path::new(source).file_stem()?.to_str()?));
    let mut command = Command::new(&compiler);
    command.args([if cpp { "-std=c++17" } else { "-std=c11" }, "-O1", "-g", "-Wall", "-Wextra", "-Werror"]);
    if source.starts_with("examples") {
        command.args(["-Wpedantic", "-Wconversion"]);
    }
    command.arg("-I").arg(repository().join("include")).arg("-o").arg(&program).arg(repository().join(source));
    match link {
        Link::Shared => {
            command.arg(library().join("libadflow.so"));
            command.arg(format!("-Wl,-rpath,{}", so_folder().display()));
        }
        Link::Static => {
            command.arg(library().join("libadflow.a"));
        }
    }
    command.args(["-lpthread", "-ldl", "-lm"]).args(arguments);
    let output = command.output().expect("the compiler runs");
    assert!(output.status.success(), "{source}:\n{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// Runs a program and gives what it printed; it must end well.
pub fn run(program: &Path, arguments: &[&str]) -> String {
    run_command(Command::new(program).args(arguments))
}

/// Runs a command and gives what it printed on standard output; it must end well.
pub fn run_command(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Compiles a program against both forms of the library into the scratch folder `name`, runs it, and looks for `expected`
/// in what it printed.
pub fn run_both(source: &str, name: &str, arguments: &[&str], expected: &str) {
    for link in [Link::Shared, Link::Static] {
        if let Some(program) = compile(source, link, &scratch(name)) {
            let printed = run(&program, arguments);
            assert!(printed.contains(expected), "{source} printed {printed:?}");
        }
    }
}

/// A small model and what Rust makes of the test picture. Paths are UTF-8.
pub struct Expected {
    /// The model file: one Gaussian over pooled features, 64×64, with a threshold and a map.
    pub model: String,
    /// Bits of the score of the grey picture.
    pub grey: u32,
    /// Bits of the score of the colour picture.
    pub rgb: u32,
    /// The score of the colour picture.
    pub rgb_score: f32,
    /// File with the map of the colour picture: 50×40 floats in the byte order of the machine.
    pub map: String,
    /// The colour picture as a PPM file.
    pub picture: String,
    /// The same as a BMP file, which the command line reads.
    pub bitmap: String,
    /// The largest value of the map at the picture's own size, and where it is.
    pub strangest: (f32, usize),
}

/// Trains the model and scores the pictures, once in a test program.
pub fn expected() -> &'static Expected {
    static MODEL: OnceLock<Expected> = OnceLock::new();
    MODEL.get_or_init(make)
}

fn make() -> Expected {
    let options =
        TrainOptions { method: Method::GAUSS, size: Some(64), seed: 7, held_out: 0.3, ..TrainOptions::default() };
    let all = Threads::all();
    let cpu = Cpu::detect(&all);
    let trained = train(&Parts, &Backbone::builtin(), &options, &cpu, &mut (), None).expect("parts train");
    let owned = OwnedModel::from_bytes(&trained.model).expect("a trained model is valid");
    assert!(owned.model().threshold().is_some());
    let threads = Threads::serial();
    let options = ScorerOptions::default();
    let len = Scorer::memory_len(&owned.model(), &options, 1).expect("a small model");
    let mut memory = vec![0.0; len];
    let mut scorer = Scorer::new(owned.model(), &options, Cpu::detect(&threads), &mut memory).expect("enough memory");
    let (grey, rgb) = (pixels(1), pixels(3));
    let view = ImageView::grey_u8(WIDTH, HEIGHT, &grey).expect("a picture");
    let grey = scorer.score(&view).expect("a score");
    let (width, height) = owned.model().map_size();
    let mut map = vec![0.0; (width * height) as usize];
    let view = ImageView::rgb_u8(WIDTH, HEIGHT, &rgb).expect("a picture");
    let score = scorer.score_with_map(&view, &mut map).expect("a score");
    let resized = |w: usize, h: usize| {
        let mut to = vec![0.0f32; w * h];
        resize_bilinear(Plane::new(width as usize, height as usize, &map), PlaneMut::new(w, h, &mut to));
        to
    };
    let full = resized(WIDTH as usize, HEIGHT as usize);
    let most = full.iter().copied().fold(f32::MIN, f32::max);
    let strangest = (most, full.iter().position(|v| *v == most).expect("a map has a maximum"));
    let folder = scratch("model");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).expect("the target folder can be written to");
        path.to_str().expect("a path in UTF-8").to_string()
    };
    let bytes: Vec<u8> = resized(50, 40).iter().flat_map(|v| v.to_ne_bytes()).collect();
    Expected {
        model: write("part.adflow", &trained.model),
        grey: grey.to_bits(),
        rgb: score.to_bits(),
        rgb_score: score,
        map: write("map", &bytes),
        bitmap: write("part.bmp", &bitmap(&rgb)),
        picture: write("part.ppm", &[format!("P6\n{WIDTH} {HEIGHT}\n255\n").into_bytes(), rgb].concat()),
        strangest,
    }
}

/// The test picture with this many channels side by side: what `pixel` of `tests/c/check.h` says.
pub fn pixels(channels: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..HEIGHT as usize {
        for x in 0..WIDTH as usize {
            pixels.extend((0..channels).map(|c| (x * x * 3 + y * 7 + c * 31 + x * y) as u8));
        }
    }
    pixels
}

/// A colour image of the size of the test picture as an uncompressed BMP file.
pub fn bitmap(rgb: &[u8]) -> Vec<u8> {
    assert!(WIDTH.is_multiple_of(4), "rows need padding");
    let words = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let pixels = rgb.len() as u32;
    let planes_and_bits = 1 | 24 << 16;
    let mut file = [&b"BM"[..], &words(&[54 + pixels, 0, 54])].concat();
    file.extend(words(&[40, WIDTH, HEIGHT, planes_and_bits, 0, pixels, 0, 0, 0, 0]));
    // Rows run upwards, samples are blue, green, red.
    let rows = rgb.chunks_exact(3 * WIDTH as usize).rev();
    file.extend(rows.flat_map(|row| row.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]])));
    file
}

/// Good parts: a ramp with noise.
struct Parts;

impl Images for Parts {
    fn len(&self) -> usize {
        40
    }

    fn name(&self, index: usize) -> String {
        format!("part {index}")
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        let mut state = index as u32 + 1;
        let bytes: Vec<u8> = (0..WIDTH * HEIGHT * 3)
            .map(|i| {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                (60 + i % 37 + (state >> 26)) as u8
            })
            .collect();
        f(&ImageView::rgb_u8(WIDTH, HEIGHT, &bytes).map_err(|e| e.to_string())?);
        Ok(())
    }
}
