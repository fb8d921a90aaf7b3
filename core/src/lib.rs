//! Anomaly detection for the inspection line.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod checksum;
pub mod rng;
