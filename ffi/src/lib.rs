//! C ABI of adflow.
