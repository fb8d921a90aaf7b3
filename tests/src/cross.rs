//! Cargo for processors other than the host's.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the toolchain that runs the tests.
pub fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().into())
}

/// `cargo` for a target: the toolchain's own where it has that target (`rustup target add`), else Debian's `cargo-web`, which
/// builds the crates `library` of the standard library from `rust-web-src`. `None` without both.
pub fn cargo(target: &str, library: &str) -> Option<Command> {
    let mut cargo;
    if sysroot()?.join("lib/rustlib").join(target).is_dir() {
        cargo = Command::new("cargo");
    } else {
        let source = Path::new("/usr/lib/rustlib/src/rust/library/core");
        if !source.is_dir() || !Path::new("/usr/bin/cargo").exists() {
            return None;
        }
        cargo = Command::new("/usr/bin/cargo");
        cargo.arg(format!("-Zbuild-std={library}")).env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    }
    // What the test's own cargo has set is meant for the host.
    for name in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"]
    {
        cargo.env_remove(name);
    }
    Some(cargo)
}
