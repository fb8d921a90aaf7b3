//! Installed like a system library: `./install` into a prefix, then programs that find it through CMake and through
//! pkg-config; and the Debian package, unpacked by dpkg into a root of its own.

use adflow_tests::programs::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An empty scratch folder.
fn fresh(name: &str) -> PathBuf {
    let folder = scratch(name);
    fs::remove_dir_all(&folder).unwrap();
    scratch(name)
}

fn install(arguments: &[&str]) {
    command_line();
    let mut command = Command::new(repository().join("install"));
    run_command(command.arg("--from").arg(library()).args(arguments));
}

/// Runs a program that prints the bits of the score.
fn scores(program: &Path, libraries: Option<&Path>) {
    let e = expected();
    let mut command = Command::new(program);
    command.arg(&e.model);
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let printed = run_command(&mut command);
    assert!(printed.contains(&format!("{}: {:08x}", env!("CARGO_PKG_VERSION"), e.rgb)), "{printed}");
}

#[test]
fn into_a_prefix() {
    let prefix = fresh("prefix");
    let path = prefix.to_str().unwrap();
    install(&["--prefix", path]);
    let lib = prefix.join("lib");
    let (version, major) = (env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_VERSION_MAJOR"));
    assert!(fs::symlink_metadata(lib.join(format!("libadflow.so.{version}"))).unwrap().is_file());
    assert_eq!(fs::read_link(lib.join("libadflow.so")).unwrap().to_str().unwrap(), format!("libadflow.so.{major}"));
    let headers = ["adflow.h", "adflow.hpp", "adflow_heat.h", "adflow_opencv.hpp"].map(|h| format!("include/{h}"));
    for file in headers.iter().map(String::as_str).chain(["lib/libadflow.a", "bin/adflow"]) {
        assert!(prefix.join(file).is_file(), "{file}");
    }
    assert!(run(&prefix.join("bin/adflow"), &["--version"]).contains(version));
    // Twice is the same as once.
    install(&["--prefix", path]);

    if available("cmake", "find_package(adflow CONFIG)") && available("make", "find_package(adflow CONFIG)") {
        let build = fresh("cmake");
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(repository().join("tests/install")).arg("-B").arg(&build);
        run_command(configure.arg(format!("-DCMAKE_PREFIX_PATH={path}")));
        run_command(Command::new("cmake").arg("--build").arg(&build));
        scores(&build.join("consumer"), None);
        scores(&build.join("consumer_static"), None);
        // Another version is not taken for this one.
        for wrong in ["0.2", "1.0", "0.1.99"] {
            let folder = fresh("cmake-wrong");
            let text = format!(
                "cmake_minimum_required(VERSION 3.16)\nproject(p C)\nfind_package(adflow {wrong} CONFIG REQUIRED)\n"
            );
            fs::write(folder.join("CMakeLists.txt"), text).unwrap();
            let mut configure = Command::new("cmake");
            configure.arg("-S").arg(&folder).arg("-B").arg(folder.join("b"));
            let output = configure.arg(format!("-DCMAKE_PREFIX_PATH={path}")).output().unwrap();
            assert!(!output.status.success(), "adflow {wrong} was found");
        }
    }

    if available("pkg-config", "adflow.pc") && available(&compiler(true), "adflow.pc") {
        let flags = |more: &[&str]| {
            let mut command = Command::new("pkg-config");
            command.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).args(["--cflags", "--libs"]).args(more).arg("adflow");
            run_command(&mut command).split_whitespace().map(String::from).collect::<Vec<_>>()
        };
        let program = fresh("pkg-config").join("consumer");
        let source = repository().join("tests/install/consumer.cpp");
        let mut compile = Command::new(compiler(true));
        run_command(compile.args(["-std=c++17", "-o"]).arg(&program).arg(&source).args(flags(&[])));
        scores(&program, Some(&lib));
    }
}

#[test]
fn nonsense_is_refused() {
    for (arguments, says) in
        [(&["--prefix", "relative"][..], "absolute"), (&["--colour"], "--colour"), (&["--prefix"], "needs a value")]
    {
        let output = Command::new(repository().join("install")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(says));
    }
}

#[test]
fn as_a_debian_package() {
    for tool in ["dpkg-deb", "dpkg", "strip"] {
        if !available(tool, "the Debian package") {
            return;
        }
    }
    let folder = fresh("debian");
    let package = folder.join("adflow.deb");
    install(&["--deb", package.to_str().unwrap()]);
    let contents = run_command(Command::new("dpkg-deb").arg("--contents").arg(&package));
    let version = env!("CARGO_PKG_VERSION");
    for file in ["./usr/bin/adflow", "./usr/include/adflow.hpp", &format!("/libadflow.so.{version}"), "/adflow.pc"] {
        assert!(contents.contains(file), "{file} is not in\n{contents}");
    }
    // A root of its own, with a database of its own; the packages that it depends on are the machine's.
    let root = fresh("debian-root");
    for part in ["info", "updates", "triggers"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(part)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = |action: &[&str]| {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display()));
        command.arg(format!("--log={}", folder.join("dpkg.log").display()));
        command.args(["--force-depends", "--force-not-root"]).args(action);
        // Debian keeps these beside the user's own.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
        run_command(&mut command)
    };
    dpkg(&["--install", package.to_str().unwrap()]);
    assert!(dpkg(&["--status", "adflow"]).contains("install ok installed"));
    assert!(run(&root.join("usr/bin/adflow"), &["--version"]).contains(version));
    if available(&compiler(true), "the Debian package") {
        let found = run_command(Command::new("find").arg(root.join("usr/lib")).args(["-name", "libadflow.so"]));
        let lib = Path::new(found.trim()).parent().unwrap().to_path_buf();
        let program = folder.join("consumer");
        let mut compile = Command::new(compiler(true));
        compile.arg("-std=c++17").arg("-I").arg(root.join("usr/include")).arg("-o").arg(&program);
        compile.arg(repository().join("tests/install/consumer.cpp")).arg("-L").arg(&lib).arg("-ladflow");
        run_command(&mut compile);
        scores(&program, Some(&lib));
    }
    dpkg(&["--remove", "adflow"]);
    assert!(!root.join("usr/bin/adflow").exists());
}
