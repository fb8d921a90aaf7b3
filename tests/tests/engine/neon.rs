//! The kernels for NEON, on a processor that has none: the cases of `cpu_ops.rs` are built for aarch64 and run in QEMU.
//!
//! Needs `qemu-user`, a C compiler that links for aarch64 (`gcc-aarch64-linux-gnu`), and a Rust compiler for it: the
//! toolchain's own after `rustup target add aarch64-unknown-linux-gnu`, or Debian's `rustc-web` with `rust-web-src`.

use adflow_tests::cross;
use adflow_tests::programs::{available, repository, run_command, skip};
use std::path::Path;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";

#[test]
fn kernels_agree_with_the_reference_in_an_emulator() {
    if cfg!(target_arch = "aarch64") {
        return; // cpu_ops.rs has run them.
    }
    let what = "NEON kernels";
    if !available("qemu-aarch64", what) || !available(LINKER, what) {
        return;
    }
    let Some(mut cargo) = cross::cargo(TARGET, "std,panic_unwind,test") else {
        return skip(what, &format!("there is no compiler for {TARGET}"));
    };
    cargo.current_dir(repository()).env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("neon"));
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu");
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.args(["test", "--quiet", "--locked", "--target", TARGET, "-p", "adflow-tests", "--test", "engine"]);
    // The portable kernels are the same code here as there.
    let said = run_command(cargo.args(["--", "--nocapture", "cpu_ops::"]).env("ADFLOW_ISA", "neon"));
    assert!(said.contains("instruction sets: neon"), "{said}");
    assert!(said.contains("0 failed"), "{said}");
}
