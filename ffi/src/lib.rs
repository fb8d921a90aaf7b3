//! The C ABI of adflow: `include/adflow.h` is generated from these files, so their docs are written for C programmers.
//!
//! Every export is an `unsafe extern "C" fn` whose body is one `guarded!` block (`guard.rs`): it turns NULL, errors and
//! panics into a status and a message, and hands the body a [`Caller`](guard::Caller), the only thing here that follows
//! pointers. Nothing is computed here. Next: `failure.rs` for errors, `image.rs` for pixels, then
//! `model.rs`, `session.rs` and `train.rs`.

// The names are those of the header.
#![allow(non_camel_case_types)]
// Exports and the pointers they are given; the promise behind each block is stated in `guard.rs`.
#![allow(unsafe_code)]
// What a caller must promise is in each function's doc and, for all of them, at the top of the header.
#![allow(clippy::missing_safety_doc)]

#[macro_use]
mod guard;
mod device;
mod diagnostics;
mod failure;
mod image;
mod log;
mod memory;
mod model;
mod session;
mod status;
mod train;
mod train_options;
mod training_images;
