//! The `adflow` command.

fn main() {}
