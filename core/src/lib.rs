//! Anomaly detection for the inspection line: normalizing flows, trained from good parts only.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(feature = "alloc")]
mod autodiff;
#[cfg(feature = "alloc")]
pub mod backbones;
pub mod checksum;
pub mod cpu;
pub mod deadline;
#[cfg(feature = "alloc")]
pub mod detect;
#[cfg(feature = "alloc")]
pub mod duplicates;
pub mod executor;
#[cfg(feature = "std")]
pub mod file;
#[cfg(feature = "alloc")]
pub mod flows;
#[cfg(feature = "alloc")]
pub mod graph;
pub mod image;
#[doc(hidden)]
pub mod kernels;
#[cfg(feature = "alloc")]
pub mod linalg;
#[cfg(feature = "alloc")]
pub mod lockstep;
mod memory;
#[cfg(feature = "alloc")]
pub mod metrics;
pub mod model;
pub mod op;
#[cfg(feature = "alloc")]
pub mod params;
#[cfg(feature = "alloc")]
pub mod place;
pub mod plan;
pub mod rng;
pub mod score;
pub mod session;
pub mod shape;
#[doc(hidden)]
pub mod simd;
#[cfg(feature = "alloc")]
pub mod synth;
pub mod threads;
pub mod threshold;
pub mod tolerance;
pub mod validate;

/// Version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
