//! Shared pieces of the adflow benches.
