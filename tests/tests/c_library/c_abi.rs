//! The C ABI as C and C++ programs see it.
//!
//! The library is built, the programs in `tests/c` and the examples are compiled against its shared and its static form
//! with every warning an error, and run; their scores must be those of the Rust scorer, bit for bit. `ffi/src`, the
//! symbols of the shared library and `include/adflow.h` must tell of the same functions. `ADFLOW_REWRITE=1` rewrites the
//! header. Where a compiler is missing, the test says so loudly and passes.

use adflow_tests::c_enums::{self, CEnum};
use adflow_tests::programs::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The source files of the ABI, in the order of the header.
fn sources() -> Vec<PathBuf> {
    ["status", "diagnostics", "log", "device", "image", "memory", "model", "session", "train_options", "train"]
        .map(|name| repository().join(format!("ffi/src/{name}.rs")))
        .to_vec()
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
fn interface() {
    let e = expected();
    let debug = if cfg!(debug_assertions) { "1" } else { "0" };
    run_both("tests/c/interface.c", "interface", &[&e.model, &hex(e.rgb), debug], "interface holds");
}

#[test]
fn deadline() {
    run_both("tests/c/deadline.c", "deadline", &[], "deadlines hold");
}

#[test]
fn memory_does_not_grow() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: resident memory is read from /proc");
        return;
    }
    let Some(program) = compile("tests/c/soak.c", Link::Shared, &scratch("soak")) else { return };
    println!("{}", run(&program, &["100000"]));
}

/// The C side with the compiler's sanitizers. The library is Rust without them: what they see are the program's own
/// accesses, the library's calls of malloc and free, and the memory that both share.
#[test]
fn sanitizers() {
    let e = expected();
    let debug = if cfg!(debug_assertions) { "1" } else { "0" };
    let (rgb, grey, folder) = (hex(e.rgb), hex(e.grey), scratch("sanitized"));
    let runs: [(&str, &str, &[&str]); 3] = [
        ("address,undefined", "interface", &[&e.model, &rgb, debug]),
        ("address,undefined", "contract", &[&e.model, &grey, &rgb, &e.map, folder.to_str().unwrap()]),
        ("thread", "threads", &[&e.model, &rgb]),
    ];
    for (sanitizer, program, arguments) in runs {
        let to = scratch(&format!("sanitized-{sanitizer}"));
        let flags = [format!("-fsanitize={sanitizer}"), "-fno-sanitize-recover=all".to_string()];
        let source = format!("tests/c/{program}.c");
        let Some(program) = compile_with(&source, Link::Shared, &to, &flags) else { return };
        let mut command = Command::new(program);
        // The thread sanitizer does not see how uninstrumented Rust synchronises, and would call all of it a race.
        command.args(arguments).env("TSAN_OPTIONS", "ignore_noninstrumented_modules=1");
        // No drivers: Mesa's software driver may lose 128 bytes when it is unloaded, whoever loaded it.
        command.env("VK_DRIVER_FILES", "none").env("VK_ICD_FILENAMES", "none");
        let printed = run_command(&mut command);
        assert!(printed.contains("hold") || printed.contains("agree"), "{printed}");
    }
}

#[test]
fn valgrind() {
    let e = expected();
    if !available("valgrind", "leaks and wrong accesses of the C programs") {
        return;
    }
    let folder = scratch("valgrind");
    let link = Link::Shared;
    let Some(program) = compile("tests/c/interface.c", link, &folder) else { return };
    let Some(inspect) = compile("examples/c/inspect.c", link, &folder) else { return };
    // The portable kernels, because valgrind does not know every instruction of a new processor; their scores may differ
    // from those of others in the last bits.
    let said = run_command(Command::new(inspect).args([&e.model, &e.picture]).env("ADFLOW_ISA", "portable"));
    let score: f32 = said.split([' ', ':']).nth(1).unwrap().parse().unwrap();
    let mut command = Command::new("valgrind");
    command.args(["--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite", "--quiet"]);
    command.arg(program).args([&e.model, &hex(score.to_bits()), "0"]).env("ADFLOW_ISA", "portable");
    // No drivers: valgrind takes what the loader of libraries does with theirs for wrong accesses.
    command.env("VK_DRIVER_FILES", "none").env("VK_ICD_FILENAMES", "none");
    assert!(run_command(&mut command).contains("interface holds"));
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
        eprintln!("skipped: the counting malloc needs glibc");
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

/// The wrapper as later standards have it, with spans, and without exceptions.
#[test]
fn wrapper_of_other_kinds() {
    let e = expected();
    for (source, flags) in [
        ("tests/c/wrapper.cpp", &["-std=c++20"][..]),
        ("tests/c/expected.cpp", &["-std=c++17", "-fno-exceptions"]),
        ("tests/c/expected.cpp", &["-std=c++20"]),
    ] {
        let flags: Vec<String> = flags.iter().map(|f| f.to_string()).collect();
        let Some(program) = compile_with(source, Link::Shared, &scratch("wrapper-20"), &flags) else { return };
        let printed = run(&program, &[&e.model, &hex(e.rgb), scratch("wrapper-20").to_str().unwrap()]);
        assert!(printed.contains("holds"), "{printed}");
    }
}

/// What docs/c-api.md shows is what it says: a whole program.
#[test]
fn the_program_in_the_documentation() {
    let e = expected();
    let text = fs::read_to_string(repository().join("docs/c-api.md")).unwrap();
    let code = text.split("```cpp\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a program in C++");
    assert!(code.lines().filter(|l| !l.trim().is_empty()).count() <= 20, "twenty lines were promised");
    let folder = scratch("documentation");
    let source = folder.join("verdict.cpp");
    fs::write(&source, code).unwrap();
    let Some(program) = compile(source.to_str().unwrap(), Link::Shared, &folder) else { return };
    let printed = run(&program, &[&e.model, &e.picture]);
    let score: f32 = printed.split_whitespace().nth(1).expect(&printed).parse().expect(&printed);
    assert!((score - e.rgb_score).abs() <= 1e-4 * e.rgb_score.abs(), "{printed} {}", e.rgb_score);
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
    let printed = run(command_line(), &["inspect", &e.model, &e.bitmap, "--json"]);
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

#[test]
fn example_latency() {
    let e = expected();
    for link in [Link::Shared, Link::Static] {
        let Some(program) = compile("examples/c/latency.c", link, &scratch("latency")) else { return };
        let printed = run(&program, &[&e.model, "24", "8"]);
        assert!(printed.contains("p99.9") && printed.contains("all scores agree"), "{printed}");
        let output = Command::new(&program).arg("no such file").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
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
    let mut config = cbindgen::Config::from_file(repository().join("ffi/cbindgen.toml")).unwrap();
    let enums = scratch("enums").join("enums.rs");
    fs::write(&enums, c_enums::enums().iter().map(CEnum::source).collect::<String>()).unwrap();
    config.export.include.extend(c_enums::enums().into_iter().map(|e| e.name));
    let builder = sources()
        .into_iter()
        .chain([enums])
        .fold(cbindgen::Builder::new().with_config(config), |b, path| b.with_src(path));
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let path = repository().join("include/adflow.h");
    if std::env::var_os("ADFLOW_REWRITE").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/adflow.h is not what ffi/src and the library's choices say; ADFLOW_REWRITE=1 cargo test -p adflow-tests --test c_library header"
    );
}

#[test]
fn headers_compile_without_warnings() {
    let folder = scratch("headers");
    let warnings =
        ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror", "-fsyntax-only"];
    for (name, header, standard) in [
        ("plain.c", "adflow.h", "-std=c99"),
        ("plain.c", "adflow.h", "-std=c11"),
        ("plain.cpp", "adflow.h", "-std=c++11"),
        ("plain.cpp", "adflow.h", "-std=c++20"),
        ("plain.c", "adflow_heat.h", "-std=c99"),
        ("plain.cpp", "adflow_heat.h", "-std=c++11"),
        ("wrapper.cpp", "adflow.hpp", "-std=c++17"),
        ("wrapper.cpp", "adflow.hpp", "-std=c++20"),
    ] {
        let source = folder.join(name);
        fs::write(&source, format!("#include \"{header}\"\n#include \"{header}\"\nint main(void) {{ return 0; }}\n"))
            .unwrap();
        let cpp = name.ends_with(".cpp");
        for compiler in [compiler(cpp), if cpp { "clang++".into() } else { "clang".to_string() }] {
            if !available(&compiler, header) {
                continue;
            }
            for more in [None, Some("-fno-exceptions")].into_iter().take(if cpp { 2 } else { 1 }) {
                let mut command = Command::new(&compiler);
                command.arg(standard).args(warnings).args(more).arg("-I").arg(repository().join("include"));
                let output = command.arg(&source).output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{header} {compiler} {standard} {more:?}: {said}");
            }
        }
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
