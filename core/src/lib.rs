//! Finds defective parts on an inspection line, and learns from images of good parts only.
//!
//! Defects are rare, varied and unknown in advance; good parts are plentiful. So a detector describes what *good* looks like: a
//! network with fixed weights turns an image into features, a Gaussian or a normalizing flow learns how these are distributed,
//! and an unlikely image is a strange one. The result for an image is a score, a verdict, and on request a map of where it
//! looks strange.
//!
//! The crate both trains and inspects, on the CPU or, with `adflow-vulkan`, on any GPU with a Vulkan driver. There is no
//! Python, no export step, no download: the default backbone is computed, not trained.
//!
//! # Train, save, open, inspect
//!
//! ```
//! use adflow::{Image, Inspector, Trainer};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // In place of a camera: grey photographs of 96×96 pixels, a gradient with noise.
//!     let pixel = |p: u32, n: u32| 40 + p % 96 + p / 96 + ((p + 9973 * n).wrapping_mul(0x9E37_79B1) >> 28);
//!     let photograph = |n| Image::grey(96, 96, (0..96 * 96).map(|p| pixel(p, n) as u8).collect());
//!
//!     let good = (0..60).map(photograph).collect::<Result<Vec<_>, _>>()?;
//!     let file = "part.adflow";
//! #   let folder = std::env::temp_dir().join(format!("adflow-doc-{}", std::process::id()));
//! #   std::fs::create_dir_all(&folder)?;
//! #   let file = &folder.join(file);
//!     Trainer::new().train(&good)?.save(file)?;
//!     let mut inspector = Inspector::open(file)?;
//!     let inspection = inspector.inspect(&photograph(60)?.view())?;
//!     println!("{inspection}"); // good, score 13.77
//! #   assert_eq!(inspection.verdict, Some(adflow::Verdict::Good));
//! #   std::fs::remove_dir_all(&folder)?;
//!     Ok(())
//! }
//! ```
//!
//! [`Trainer`] takes a slice of [`Image`]s or of views of your own buffers; to read images one at a time from disk,
//! implement [`detect::Images`]. [`Inspector`] owns its model, memory and threads, so it can be kept in a struct and sent to
//! another thread, and it allocates nothing while it inspects.
//!
//! # Where is the defect?
//!
//! ```
//! # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
//! use adflow::{ImageView, Inspector};
//!
//! let mut inspector = Inspector::new(model)?;
//! # let view = good[0].view();
//! # let mut frame: Vec<u8> = (0..64 * 64).map(|p| view.sample(p % 64, p / 64, 0).unwrap() as u8).collect();
//! // `frame` is the camera's buffer, 64×64 grey pixels. A scratch, from (40, 20) down:
//! (20..32).for_each(|y| frame[y * 64 + 40] = 255);
//! let (inspection, map) = inspector.inspect_with_map(&ImageView::grey_u8(64, 64, &frame)?)?;
//! assert!(inspection.is_defective());
//! let (x, y) = map.peak_in(64, 64);
//! assert!(x.abs_diff(40) < 8 && y.abs_diff(26) < 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`ImageView`] looks at samples where they lie: 8 and 16 bits or floats, grey, RGB or BGR, interleaved or planar, with
//! strides. A [`Region`](image::Region) restricts an inspection to a part of the image.
//!
//! # Without an allocator
//!
//! Without default features the crate is `no_std` and neither allocates nor starts threads. A model is read in place, for
//! example from flash, and [`Scorer`](score::Scorer) works in memory that it is given:
//!
//! ```
//! # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
//! # let (bytes, image) = (model.bytes(), good[0].view());
//! use adflow::{cpu::Cpu, model::Model, score::{Scorer, ScorerOptions}, threads::Threads};
//!
//! let model = Model::parse(bytes)?; // validated once; nothing panics after this, whatever the bytes were
//! let options = ScorerOptions::new().with_max_width(64).with_map(false);
//! let threads = Threads::serial();
//! let mut memory = vec![0.0; Scorer::memory_len(&model, &options, 1)?]; // or a static array
//! let mut scorer = Scorer::new(model, &options, Cpu::detect(&threads), &mut memory)?;
//! let score = scorer.score(&image)?;
//! let verdict = model.threshold().map(|threshold| threshold.verdict(score));
//! # assert!(verdict.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Why this crate
//!
//! - **The threshold is a promise.** Whole groups of near-duplicate good images are set aside and never train. The threshold
//!   is chosen from their scores so that at most the share asked for of good parts is rejected, with the confidence asked for;
//!   where there are too few parts for that, the crate says what confidence they give ([`calibration`]).
//! - **Results can be repeated.** The same images, options and seed give the same model file, byte for byte, with any number
//!   of threads, and also after an interruption. On one processor a score is the same bits on every path to it.
//! - **It holds a cycle time.** Memory is taken once and its size can be asked for beforehand; inspecting allocates nothing on
//!   the CPU, and gives up in time if there is a [limit](Inspector::set_time_limit).
//! - **A model file is data.** It is validated once. No bytes make it panic, read out of bounds or run anything.
//! - **Figures come with commands.** `benches/RESULTS.md` of the repository has accuracy and speed on public data, each with the
//!   command that measures it; `docs/methods.md` has the formulas of all methods and their sources.
//!
//! # Which method?
//!
//! [`Padim`](detect::Method::PADIM), the default, is for parts that are always in the same place: it learns a Gaussian at each
//! position, gives sharp maps and trains in seconds. [`PosFlow`](detect::Method::POSFLOW) starts from these Gaussians and takes minutes, with a
//! trained backbone. [`Cdnf`](detect::Method::CDNF) looks at the whole appearance, of few views or of parts that are turned.
//! To choose, measure on parts with known defects: `adflow compare` on the command line trains all methods and says how sure
//! the ranking is; [`metrics`] has what it takes to do that in Rust.
//!
//! # Features
//!
//! | feature | what it adds | needs |
//! |---|---|---|
//! | `std` (default) | files, threads, detection of the processor's vector instructions, [`Inspector`], [`Trainer`] | `alloc` |
//! | `alloc` | training: backbones, flows, graphs, metrics | an allocator |
//! | `safetensors` | backbones from safetensors files, as PyTorch users keep them | `std` |
//! | none | reading and running a model in memory that is given | nothing |
//!
//! # Modules
//!
//! | to inspect | |
//! |---|---|
//! | [`inspector`] | a model with memory and threads of its own |
//! | [`image`](mod@image) | views of camera buffers, regions of interest, resizing |
//! | [`model`] | model files: open, validate, describe, freeze for flash |
//! | [`threshold`] | from scores to verdicts |
//! | [`calibration`] | what a limit promises about good parts, of which there may be several images each |
//! | [`appearance`], [`suitability`] | what images of the part look like, and whether another can be one |
//! | [`score`] | inspecting in memory of the caller's |
//!
//! | to train and to measure | |
//! |---|---|
//! | [`detect`] | methods, their options, progress and checkpoints |
//! | [`backbones`] | networks with fixed weights that turn images into features |
//! | [`synth`] | synthetic defects made from good images |
//! | [`metrics`] | AUROC, average precision, per-region overlap, bootstrap intervals |
//! | [`duplicates`] | which images show the same part |
//! | [`file`](mod@file) | files that are never half written |
//!
//! | to run programs on a device | |
//! |---|---|
//! | [`executor`] | what a device must do; the CPU's answer |
//! | [`session`] | one program bound to memory |
//! | [`cpu`], [`threads`], [`deadline`] | vector instructions, worker threads, when to give up |
//!
//! | to build a method | |
//! |---|---|
//! | [`graph`], [`params`], [`op`], [`shape`] | named tensors, the ops between them, parameters |
//! | [`place`](mod@place), [`plan`] | a graph becomes a program: plain data with an offset for each tensor |
//! | [`flows`] | normalizing flows, forward and inverse |
//! | [`linalg`], [`rng`] | covariances, counted random numbers |
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod appearance;
#[cfg(feature = "alloc")]
mod autodiff;
#[cfg(feature = "alloc")]
pub mod backbones;
#[doc(hidden)]
pub mod calibration;
pub mod checksum;
pub mod choice;
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
#[cfg(feature = "alloc")]
mod images;
#[cfg(feature = "std")]
pub mod inspector;
#[doc(hidden)]
pub mod kernels;
#[cfg(feature = "alloc")]
pub mod linalg;
#[cfg(feature = "alloc")]
#[doc(hidden)]
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
pub mod suitability;
#[cfg(feature = "alloc")]
pub mod synth;
pub mod threads;
pub mod threshold;
#[doc(hidden)]
pub mod tolerance;
#[cfg(feature = "std")]
mod trainer;
#[doc(hidden)]
pub mod validate;

#[cfg(feature = "alloc")]
#[doc(inline)]
pub use image::Image;
#[doc(inline)]
pub use image::ImageView;
#[cfg(feature = "std")]
#[doc(inline)]
pub use inspector::{AnomalyMap, Inspection, Inspector};
#[doc(inline)]
pub use threshold::Verdict;
#[cfg(feature = "std")]
pub use trainer::Trainer;

/// Version of this library, as `1.2.3`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
