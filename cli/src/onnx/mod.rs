//! ONNX files: a model written as one graph that other runtimes run (`export.rs`).

mod export;
mod gradients;
mod graph;
mod image;
mod matrix;
mod ops;
mod outputs;
mod proto;

pub use export::{describe, export};
pub use image::{Input, Order, Sample};
