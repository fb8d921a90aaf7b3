//! Hands `memory.x`, the model and the photographs to the build: `ADFLOW_BLOB` and `ADFLOW_PHOTOGRAPHS` name the files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg=-Tlink.x");
    for (variable, name) in [("ADFLOW_BLOB", "model.adflow"), ("ADFLOW_PHOTOGRAPHS", "photographs.rgb")] {
        println!("cargo:rerun-if-env-changed={variable}");
        let from = env::var(variable).unwrap_or_else(|_| name.to_string());
        println!("cargo:rerun-if-changed={from}");
        copy(Path::new(&from), &out.join(name));
    }
    println!("cargo:rerun-if-changed=memory.x");
    copy(Path::new("memory.x"), &out.join("memory.x"));
}

fn copy(from: &Path, to: &Path) {
    if let Err(error) = fs::copy(from, to) {
        panic!("{}: {error}; docs/bare-metal.md says how to make it", from.display());
    }
}
