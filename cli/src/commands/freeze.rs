//! `adflow freeze MODEL -o BLOB`: strips a model to what scoring reads, for a microcontroller's flash.
//!
//! The blob is a model file: every command that scores takes it, and its scores are the model's.

use adflow::model::{OwnedModel, freeze};
use adflow::score::{Scorer, ScorerOptions};

use crate::args::Freeze;
use crate::failure::{Context, Failure, Outcome};
use crate::inspector::open_model;
use crate::output;
use crate::progress::bytes;

/// Runs the command.
pub fn run(args: &Freeze) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    output::check_writable(&args.out)?;
    let blob = freeze(&owned.model()).context(args.model.display())?;
    let frozen = OwnedModel::from_bytes(&blob).context("the frozen model does not load")?;
    let model = frozen.model();
    if let Some(limit) = args.max_bytes
        && blob.len() > limit
    {
        return Err(Failure::new(format!(
            "{} takes {} bytes when frozen, more than the {limit} allowed; train with a smaller --size or another method",
            args.model.display(),
            blob.len()
        )));
    }
    let memory = |map: bool| {
        let options = ScorerOptions::new().with_max_width(args.camera_width).with_map(map);
        Scorer::memory_len(&model, &options, 1).map(|floats| bytes(floats * 4)).context(args.model.display())
    };
    let (plain, maps) = (memory(false)?, if model.map_size().0 > 0 { Some(memory(true)?) } else { None });
    output::write(&args.out, &blob)?;
    println!("flash      {} (from {})", bytes(blob.len()), bytes(owned.bytes().len()));
    println!("parameters {}", bytes(model.params_bytes()));
    let maps = maps.map_or(String::new(), |bytes| format!(", {bytes} with maps"));
    println!("memory     at most {plain} for images up to {} pixels wide{maps}", args.camera_width);
    println!("written    {}", args.out.display());
    Ok(0)
}
