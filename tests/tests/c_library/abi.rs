//! The ABI does not break: against a baseline in the repository, and for a program built when there was less of it.
//!
//! A library of stubs with every function of `include/adflow.h` is compiled with debug information, because C compilers
//! describe C types better than Rust's does; that the real library exports the same functions is the matter of `c_abi.rs`.
//! libabigail compares it with `tests/abi/baseline.xml`; any change of a type shows, growth too. Beside it, layouts are
//! printed by a compiled program, from the header of today and the frozen one in `tests/abi`: what the old one says must
//! still be so. `ADFLOW_REWRITE=1` makes the baseline anew, for functions and fields that have been added.

use adflow_tests::programs::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The header without comments.
fn declarations(header: &str) -> String {
    let mut text = String::new();
    let mut rest = header;
    while let Some((before, after)) = rest.split_once("/*") {
        text.push_str(before);
        rest = after.split_once("*/").expect("comments end").1;
    }
    (text + rest).lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// `enum adflow_status adflow_f(..)` of every function.
fn prototypes(header: &str) -> Vec<String> {
    let text = declarations(header);
    let (_, functions) = text.split_once("extern \"C\" {").expect("functions for C");
    let (functions, _) = functions.split_once("}  // extern").expect("an end of them");
    functions.split(';').map(|f| f.trim().to_string()).filter(|f| f.contains('(')).collect()
}

/// Name and body of each `typedef enum` or `typedef struct` that has a body.
fn types(header: &str, kind: &str) -> Vec<(String, String)> {
    let (text, start) = (declarations(header), format!("typedef {kind} "));
    let parts = text.split(&start).skip(1).filter_map(|part| {
        let (name, body) = part.split_once(" {")?;
        if name.contains(';') {
            return None;
        }
        Some((name.trim().to_string(), body.split_once('}')?.0.to_string()))
    });
    parts.collect()
}

/// A shared library with stubs of all functions and a variable of each enum, in `folder`.
fn stubs(header: &str, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("adflow.h"), header).unwrap();
    let mut source = "#include \"adflow.h\"\n".to_string();
    for prototype in prototypes(header) {
        source += &format!("{prototype} {{ __builtin_unreachable(); }}\n");
    }
    for (name, _) in types(header, "enum") {
        source += &format!("enum {name} values_of_{name};\n");
    }
    fs::write(folder.join("stubs.c"), source).unwrap();
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    let library = folder.join(format!("libadflow.so.{major}"));
    let mut command = Command::new(compiler(false));
    command.args(["-std=c11", "-g", "-O0", "-w", "-fPIC", "-shared"]);
    command.arg(format!("-Wl,-soname,libadflow.so.{major}")).arg("-o").arg(&library).arg("stubs.c");
    // Not by its whole path, which would be in the description.
    run_command(command.current_dir(folder));
    library
}

fn current() -> String {
    fs::read_to_string(repository().join("include/adflow.h")).unwrap()
}

fn frozen() -> String {
    fs::read_to_string(repository().join("tests/abi/0.1/adflow.h")).unwrap()
}

/// What libabigail says of going from one library or description to another; `Err` if something breaks.
fn compare(old: &Path, new: &Path) -> Result<(), String> {
    let mut command = Command::new("abidiff");
    command.arg("--no-added-syms").arg(old).arg(new);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Ways to break it, as replacements in the header.
const BREAKS: [(&str, &str, &str); 6] = [
    (
        "fields change places",
        "    uint32_t width;\n    /**\n     * Height in pixels, at least 1.\n     */\n    uint32_t height;\n    /**\n     * Value of a white",
        "    uint32_t height;\n    /**\n     * Height in pixels, at least 1.\n     */\n    uint32_t width;\n    /**\n     * Value of a white",
    ),
    ("a field becomes wider", "    float white;", "    double white;"),
    ("an enumerator gets another number", "ADFLOW_STATUS_BUSY = 9", "ADFLOW_STATUS_BUSY = 90"),
    ("an argument changes its type", "adflow_device_info(uint32_t index,", "adflow_device_info(uint64_t index,"),
    ("a function is gone", "const char *adflow_version(void);", ""),
    ("a field is gone", "    ptrdiff_t pixel_stride;\n", ""),
];

#[test]
fn libabigail_finds_no_break() {
    for tool in ["abidiff", "abidw", &compiler(false)] {
        if !available(tool, "comparison with the ABI's baseline") {
            return;
        }
    }
    let folder = scratch("abi");
    let now = stubs(&current(), &folder.join("now"));
    let baseline = repository().join("tests/abi/baseline.xml");
    if std::env::var_os("ADFLOW_REWRITE").is_some() {
        let mut command = Command::new("abidw");
        command.args(["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed", "--out-file"]);
        run_command(command.arg(&baseline).arg(&now));
    }
    compare(&baseline, &now).unwrap_or_else(|said| {
        panic!("the ABI is not that of tests/abi/baseline.xml; if it has only grown, ADFLOW_REWRITE=1:\n{said}")
    });
    for (what, from, to) in BREAKS {
        let header = current();
        assert!(header.contains(from), "{what}: the header has changed");
        let broken = stubs(&header.replacen(from, to, 1), &folder.join("broken"));
        assert!(compare(&now, &broken).is_err(), "not noticed: {what}");
    }
    // Everything of today is in the baseline: what is new must be put there.
    let missing = prototypes(&current()).into_iter().find(|p| {
        let name = p.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap();
        !fs::read_to_string(&baseline).unwrap().contains(&format!("'{name}'"))
    });
    assert_eq!(missing, None, "ADFLOW_REWRITE=1 cargo test -p adflow-tests --test c_library libabigail");
}

/// Offset and size of every field, and every enumerator, one a line, as the compiler has them.
fn layout(header: &str, folder: &Path) -> Vec<String> {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("adflow.h"), header).unwrap();
    let mut source =
        "#include \"adflow.h\"\n#include <stdio.h>\n#define F(s, f) printf(#s \".\" #f \" %zu %zu\\n\", offsetof(s, f), \
         sizeof(((s *)0)->f));\n#define E(e) printf(#e \" %d\\n\", (int)e);\nint main(void) {\n"
            .to_string();
    for (name, body) in types(header, "struct") {
        for field in body.split(';').map(str::trim).filter(|f| !f.is_empty()) {
            let field = field.split('[').next().unwrap().rsplit([' ', '*']).next().unwrap();
            source += &format!("F({name}, {field})\n");
        }
    }
    for (_, body) in types(header, "enum") {
        for value in body.split(',').map(str::trim).filter(|v| !v.is_empty()) {
            source += &format!("E({})\n", value.split(' ').next().unwrap());
        }
    }
    let (file, program) = (folder.join("layout.c"), folder.join("layout"));
    fs::write(&file, source + "return 0; }\n").unwrap();
    run_command(Command::new(compiler(false)).args(["-std=c11", "-Wall", "-Werror", "-o"]).arg(&program).arg(&file));
    run(&program, &[]).lines().map(String::from).collect()
}

#[test]
fn layouts_only_grow() {
    if !available(&compiler(false), "layouts of the header's structs") {
        return;
    }
    let folder = scratch("layouts");
    let lost = |old: &[String], new: &[String]| old.iter().find(|line| !new.contains(line)).cloned();
    let (old, new) = (layout(&frozen(), &folder.join("old")), layout(&current(), &folder.join("new")));
    assert!(old.len() > 120 && old.iter().any(|l| l == "adflow_image.width 12 4"), "{old:?}");
    assert_eq!(lost(&old, &new), None, "a field or an enumerator is not what it was in 0.1");
    for (what, from, to) in BREAKS.iter().filter(|(what, ..)| what.contains("field") || what.contains("enumerator")) {
        let broken = layout(&current().replacen(from, to, 1), &folder.join("broken"));
        assert!(lost(&old, &broken).is_some(), "not noticed: {what}");
    }
    let mut signatures = prototypes(&current());
    signatures.iter_mut().for_each(|s| *s = s.split_whitespace().collect::<Vec<_>>().join(" "));
    for old in prototypes(&frozen()) {
        let old = old.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(signatures.contains(&old), "{old} is not there any more");
    }
}

#[test]
fn a_program_built_for_an_older_release_runs() {
    if !available(&compiler(false), "a program built for an older release") {
        return;
    }
    let folder = scratch("old-program");
    let old = stubs(&frozen(), &folder);
    let program = folder.join("consumer");
    let mut command = Command::new(compiler(false));
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(&folder).arg("-o").arg(&program);
    run_command(command.arg(repository().join("tests/abi/0.1/consumer.c")).arg(&old));
    let e = expected();
    let mut command = Command::new(&program);
    command.args([&e.model, &format!("{:08x}", e.rgb)]).env("LD_LIBRARY_PATH", so_folder());
    assert!(run_command(&mut command).contains("as ever"));
}
