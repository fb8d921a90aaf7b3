//! From images to features: reading, regions of interest, tiles, and the ways in which maps of a backbone are put together.
//!
//! | file | idea |
//! |---|---|
//! | `pooled.rs` | one vector: statistics of taps at several scales |
//! | `grid.rs` | several taps joined on one grid |
//! | `standardise.rs` | mean 0 and deviation 1 per channel |
//! | `extractor.rs` | runs the backbone over views of an image |
//! | `data.rs`, `tiles.rs` | features of all images, or of all their tiles |
//! | `stream.rs` | numbers of random streams |
//! | `held_out.rs` | which parts are set aside |

pub(super) mod data;
pub(super) mod extractor;
pub(super) mod grid;
pub(super) mod held_out;
pub(super) mod pooled;
pub(super) mod standardise;
pub(super) mod stream;
pub(super) mod tiles;
