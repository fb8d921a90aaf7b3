//! ONNX files: a model written as one graph that other runtimes run (`export.rs`), and a network read as a backbone (`import.rs`).

mod emit;
mod export;
mod gradients;
mod graph;
mod image;
mod import;
mod matrix;
mod ops;
mod outputs;
mod proto;

pub use export::{describe, export};
pub use image::Input;
pub use import::import;
