//! What runs a model: ops and their gradients, programs, flows, backbones, model files. Each is held against the `f64`
//! reference, against golden files, or against itself.
//!
//! One program, because each costs minutes of compiling and linking; `cargo test -p adflow-tests --test engine cpu_ops`
//! runs a part.

mod backbones;
mod builtin;
mod cpu_ops;
mod csflow;
mod flows;
mod golden_flows;
mod golden_image;
mod golden_metrics;
mod gradients;
mod model;
mod neon;
mod plan;
mod shape_rules;
mod vulkan_ops;
