//! `adflow dump MODEL`: the programs in a model, as text that can be compared with `diff`.

use crate::args::Dump;
use crate::failure::{Context, Outcome};
use crate::inspector::open_model;

/// Runs the command.
pub fn run(args: &Dump) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let mut text = String::new();
    owned.model().dump(&mut text).context("cannot print this model")?;
    print!("{text}");
    Ok(0)
}
