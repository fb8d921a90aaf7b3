//! The command `adflow` as its users run it, and the ONNX graphs and frozen models that it writes.

mod bad_input;
mod bare_metal;
mod common;
mod compare;
mod devices;
mod figures;
mod onnx_export;
mod onnx_import;
mod roi;
mod runtimes;
mod synth;
mod training;
