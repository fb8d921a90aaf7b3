//! Anomaly detection for the inspection line.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod checksum;
pub mod cpu;
#[doc(hidden)]
pub mod kernels;
pub mod image;
pub mod rng;
#[doc(hidden)]
pub mod simd;
pub mod threads;
