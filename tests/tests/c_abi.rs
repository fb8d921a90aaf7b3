//! The C ABI as C and C++ programs see it.
//!
//! The library is built, the programs in `tests/c` and the examples are compiled against its shared and its static form
//! with every warning an error, and run; their scores must be those of the Rust scorer, bit for bit. `ffi/src`, the
//! symbols of the shared library and `include/adflow.h` must tell of the same functions. `ADFLOW_REWRITE=1` rewrites the
//! header. Where a compiler is missing, the test says so loudly and passes.

use adflow::backbones::Backbone;
use adflow::cpu::Cpu;
use adflow::detect::{Images, Method, Silent, TrainOptions, train};
use adflow::image::{ImageView, Plane, PlaneMut, resize_bilinear};
use adflow::model::OwnedModel;
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const WIDTH: u32 = 60;
const HEIGHT: u32 = 44;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The source files of the ABI, in the order of the header.
fn sources() -> Vec<PathBuf> {
    ["status", "device", "image", "model", "session", "train"]
        .map(|name| repository().join(format!("ffi/src/{name}.rs")))
        .to_vec()
}

/// The folder with libadflow.so, libadflow.a and the program `adflow`, built as this test was.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        let folder = exe.parent().and_then(Path::parent).unwrap().to_path_buf();
        let profile = match folder.file_name().and_then(|n| n.to_str()).unwrap() {
            "debug" => "dev",
            other => other,
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "adflow-ffi", "-p", "adflow-cli", "--profile", profile, "--target-dir"]);
        cargo.arg(folder.parent().unwrap()).current_dir(repository());
        assert!(cargo.status().unwrap().success(), "library and program do not build");
        folder
    })
}

/// A folder for the files of one test, inside the target folder.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn available(tool: &str, needed_for: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        println!("skipped: {needed_for}: there is no {tool}");
    }
    there
}

fn compiler(cpp: bool) -> String {
    let (variable, default) = if cpp { ("CXX", "g++") } else { ("CC", "gcc") };
    std::env::var(variable).unwrap_or_else(|_| default.into())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Shared,
    Static,
}

/// Compiles one program of the repository, every warning an error; `None` without a compiler.
fn compile(source: &str, link: Link, to: &Path) -> Option<PathBuf> {
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
    command.args(["-lpthread", "-ldl", "-lm"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{source}:\n{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// A folder where the shared library has the name that programs ask for.
fn so_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch("lib");
        fs::copy(library().join("libadflow.so"), folder.join("libadflow.so.0")).unwrap();
        folder
    })
}

/// Runs a program and gives what it printed; it must end well.
fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {arguments:?}: {}\n{out}{err}", program.display(), output.status);
    out.into_owned()
}

/// Compiles a program against both forms of the library and runs it.
fn run_both(source: &str, name: &str, arguments: &[&str], expected: &str) {
    for link in [Link::Shared, Link::Static] {
        if let Some(program) = compile(source, link, &scratch(name)) {
            let printed = run(&program, arguments);
            assert!(printed.contains(expected), "{source} printed {printed:?}");
        }
    }
}

/// What `pixel` of `c/check.h` says.
fn pixels(channels: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..HEIGHT as usize {
        for x in 0..WIDTH as usize {
            pixels.extend((0..channels).map(|c| (x * x * 3 + y * 7 + c * 31 + x * y) as u8));
        }
    }
    pixels
}

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

/// A small model and what Rust makes of the test images.
struct Expected {
    model: String,
    grey: u32,
    rgb: u32,
    rgb_score: f32,
    /// File with the map of the colour image, 50×40.
    map: String,
    /// The colour image as a PPM file.
    picture: String,
    /// The same as a BMP file, which the command line reads.
    bitmap: String,
    /// The largest value of the map at the image's own size, and where it is.
    strangest: (f32, usize),
}

fn expected() -> &'static Expected {
    static MODEL: OnceLock<Expected> = OnceLock::new();
    MODEL.get_or_init(|| {
        let options =
            TrainOptions { method: Method::Gauss, size: Some(64), seed: 7, held_out: 0.3, ..TrainOptions::default() };
        let trained =
            train(&Parts, &Backbone::builtin(), &options, &Cpu::detect(&Threads::all()), &mut Silent, None).unwrap();
        let owned = OwnedModel::from_bytes(&trained.model).unwrap();
        assert!(owned.model().threshold().is_some());
        let threads = Threads::serial();
        let cpu = Cpu::detect(&threads);
        let options = ScorerOptions::default();
        let mut memory = vec![0.0; Scorer::memory_len(&owned.model(), &options, 1).unwrap()];
        let mut scorer = Scorer::new(owned.model(), &options, cpu, &mut memory).unwrap();
        let (grey, rgb) = (pixels(1), pixels(3));
        let grey = scorer.score(&ImageView::grey_u8(WIDTH, HEIGHT, &grey).unwrap()).unwrap();
        let (width, height) = owned.model().map_size();
        let mut map = vec![0.0; (width * height) as usize];
        let score = scorer.score_with_map(&ImageView::rgb_u8(WIDTH, HEIGHT, &rgb).unwrap(), &mut map).unwrap();
        let resized = |w: usize, h: usize| {
            let mut to = vec![0.0f32; w * h];
            resize_bilinear(Plane::new(width as usize, height as usize, &map), PlaneMut::new(w, h, &mut to));
            to
        };
        let full = resized(WIDTH as usize, HEIGHT as usize);
        let most = full.iter().copied().fold(f32::MIN, f32::max);
        let strangest = (most, full.iter().position(|v| *v == most).unwrap());
        let folder = scratch("model");
        let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
        let bytes: Vec<u8> = resized(50, 40).iter().flat_map(|v| v.to_ne_bytes()).collect();
        fs::write(path("map"), bytes).unwrap();
        fs::write(path("part.adflow"), &trained.model).unwrap();
        fs::write(path("part.bmp"), bitmap(&rgb)).unwrap();
        fs::write(path("part.ppm"), [format!("P6\n{WIDTH} {HEIGHT}\n255\n").into_bytes(), rgb].concat()).unwrap();
        Expected {
            model: path("part.adflow"),
            grey: grey.to_bits(),
            rgb: score.to_bits(),
            rgb_score: score,
            map: path("map"),
            picture: path("part.ppm"),
            bitmap: path("part.bmp"),
            strangest,
        }
    })
}

/// A colour image as an uncompressed BMP file.
fn bitmap(rgb: &[u8]) -> Vec<u8> {
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

fn hex(bits: u32) -> String {
    format!("{bits:08x}")
}

#[test]
fn contract() {
    let e = expected();
    let folder = scratch("contract");
    let arguments: [&str; 5] = [&e.model, &hex(e.grey), &hex(e.rgb), &e.map, folder.to_str().unwrap()];
    run_both("tests/c/contract.c", "contract", &arguments, "contract holds");
}

#[test]
fn threads() {
    let e = expected();
    run_both("tests/c/threads.c", "threads", &[&e.model, &hex(e.rgb)], "threads agree");
}

#[test]
fn device() {
    let e = expected();
    run_both("tests/c/device.c", "device", &[&e.model, &hex(e.rgb)], "device holds");
}

#[test]
fn scoring_allocates_nothing() {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        println!("skipped: the counting malloc needs glibc");
        return;
    }
    let e = expected();
    run_both("tests/c/no_alloc.c", "no_alloc", &[&e.model, &hex(e.rgb)], "nothing allocated");
}

#[test]
fn training() {
    let folder = scratch("training");
    run_both("tests/c/training.c", "training", &[folder.to_str().unwrap()], "training holds");
}

#[test]
fn wrapper() {
    let e = expected();
    let folder = scratch("wrapper");
    run_both("tests/c/wrapper.cpp", "wrapper", &[&e.model, &hex(e.rgb), folder.to_str().unwrap()], "wrapper holds");
}

#[test]
fn example_inspect() {
    let e = expected();
    let (score, (most, at)) = (e.rgb_score, e.strangest);
    for link in [Link::Shared, Link::Static] {
        let Some(program) = compile("examples/c/inspect.c", link, &scratch("inspect")) else { return };
        let printed = run(&program, &[&e.model, &e.picture]);
        // Nine digits say every bit of a float.
        let found: f32 = printed.split([' ', ':']).nth(1).unwrap().parse().unwrap();
        assert_eq!(found.to_bits(), score.to_bits(), "{printed}");
        let place = format!("strangest at ({}, {}): ", at % WIDTH as usize, at / WIDTH as usize);
        let found: f32 = printed.split(&place).nth(1).expect(&printed).trim().parse().unwrap();
        assert_eq!(found.to_bits(), most.to_bits(), "{printed}");
        for (model, picture) in [("no such file", &e.picture), (e.picture.as_str(), &e.picture), (&e.model, &e.model)] {
            let output = Command::new(&program).args([model, picture]).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            assert!(!output.stderr.is_empty() && output.stdout.is_empty());
        }
    }
}

/// What the C example prints, the command line prints: both come from the same bits.
#[test]
fn c_scores_are_those_of_the_command_line() {
    let e = expected();
    let printed = run(&library().join("adflow"), &["inspect", &e.model, &e.bitmap, "--json"]);
    let after = printed.split("\"score\":").nth(1).expect(&printed);
    let found: f32 = after.trim_start().split([',', '}', '\n']).next().unwrap().trim().parse().expect(&printed);
    assert_eq!(found.to_bits(), e.rgb, "{printed}");
    let Some(program) = compile("examples/c/inspect.c", Link::Shared, &scratch("command_line")) else { return };
    let from_c = run(&program, &[&e.model, &e.picture]);
    let in_c: f32 = from_c.split([' ', ':']).nth(1).unwrap().parse().unwrap();
    assert_eq!(in_c.to_bits(), found.to_bits(), "{from_c}{printed}");
}

#[test]
fn example_train_and_inspect() {
    for link in [Link::Shared, Link::Static] {
        let folder = scratch("train_and_inspect");
        let Some(program) = compile("examples/cpp/train_and_inspect.cpp", link, &folder) else { return };
        let printed = run(&program, &[folder.join("part.adflow").to_str().unwrap()]);
        assert!(printed.contains("good part") && printed.contains(": defective"), "{printed}");
    }
}

/// Names of the functions in `text` that follow `before`.
fn functions(text: &str, before: &str) -> BTreeSet<String> {
    let name = |rest: &str| -> String { rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    text.match_indices(before).map(|(at, _)| name(&text[at + before.len()..])).collect()
}

#[test]
fn exports_are_guarded_declared_and_alone() {
    let mut exports = BTreeSet::new();
    for path in fs::read_dir(repository().join("ffi/src")).unwrap().map(|e| e.unwrap().path()) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(sources().contains(&path) || !text.contains("no_mangle"), "{} is not in the header", path.display());
        for item in text.split("#[unsafe(no_mangle)]").skip(1) {
            let item = &item[..item.find("\n}").unwrap()];
            let signature = "\npub unsafe extern \"C\" fn ";
            assert!(item.starts_with(signature), "{}: {item}", path.display());
            assert_eq!(item.matches("guarded!(").count(), 1, "an export without the guard:{item}");
            // Before the guard there may only be the declaration of what it fills in.
            let body = &item[item.find(" {\n").unwrap() + 3..item.find("guarded!(").unwrap()];
            assert!(["", "let mut text = core::ptr::null();"].contains(&body.trim()), "work before the guard:{item}");
            exports.extend(functions(item, signature));
        }
    }
    assert!(exports.len() >= 20 && exports.iter().all(|e| e.starts_with("adflow_")));
    let header = fs::read_to_string(repository().join("include/adflow.h")).unwrap();
    for name in &exports {
        assert!(header.contains(&format!("{name}(")), "{name} is not in include/adflow.h");
    }
    if !cfg!(target_os = "linux") || !available("nm", "symbols of the shared library") {
        return;
    }
    let symbols =
        Command::new("nm").args(["-D", "--defined-only"]).arg(library().join("libadflow.so")).output().unwrap();
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let symbols: BTreeSet<String> =
        symbols.lines().filter_map(|l| l.split(' ').next_back()).map(String::from).collect();
    assert_eq!(symbols, exports);
    if available("readelf", "name of the shared library") {
        let dynamic = Command::new("readelf").arg("-d").arg(library().join("libadflow.so")).output().unwrap();
        assert!(String::from_utf8_lossy(&dynamic.stdout).contains("[libadflow.so.0]"));
    }
}

#[test]
fn header_is_current() {
    let config = cbindgen::Config::from_file(repository().join("ffi/cbindgen.toml")).unwrap();
    let builder = sources().into_iter().fold(cbindgen::Builder::new().with_config(config), |b, path| b.with_src(path));
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let path = repository().join("include/adflow.h");
    if std::env::var_os("ADFLOW_REWRITE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/adflow.h is not what ffi/src says; ADFLOW_REWRITE=1 cargo test -p adflow-tests --test c_abi header"
    );
}

#[test]
fn headers_compile_without_warnings() {
    let folder = scratch("headers");
    for (name, header, standard) in [
        ("plain.c", "adflow.h", "-std=c11"),
        ("plain.cpp", "adflow.h", "-std=c++11"),
        ("wrapper.cpp", "adflow.hpp", "-std=c++17"),
    ] {
        let compiler = compiler(name.ends_with(".cpp"));
        if !available(&compiler, header) {
            continue;
        }
        let source = folder.join(name);
        fs::write(&source, format!("#include \"{header}\"\n#include \"{header}\"\nint main(void) {{ return 0; }}\n"))
            .unwrap();
        let warnings =
            ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror", "-fsyntax-only"];
        let mut command = Command::new(&compiler);
        command.arg(standard).args(warnings).arg("-I").arg(repository().join("include")).arg(&source);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{header}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_stripped_library_is_small() {
    if !available("strip", "size of the shared library") {
        return;
    }
    let stripped = scratch("size").join("libadflow.so");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(library().join("libadflow.so")).status().unwrap();
    assert!(status.success());
    let bytes = fs::metadata(&stripped).unwrap().len();
    println!("libadflow.so, stripped: {bytes} bytes");
    assert!(bytes < 6_000_000, "{bytes} bytes");
}
