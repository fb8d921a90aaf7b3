//! Shared pieces of the adflow tests.
