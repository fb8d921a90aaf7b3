//! `adflow export MODEL -o model.onnx`: the whole detector as one graph for ONNX Runtime, OpenVINO and the like.

use crate::args::{Export, Layout};
use crate::failure::{Context, Outcome};
use crate::inspector::open_model;
use crate::onnx::{self, Input};
use crate::output;
use crate::progress::{bytes, note};
use crate::promise;

/// Runs the command.
pub fn run(args: &Export) -> Outcome<u8> {
    output::check_writable(&args.out)?;
    let owned = open_model(&args.model)?;
    let model = owned.model();
    let (width, height) = args.image.unwrap_or_else(|| model.canvas());
    let input = Input { sample: args.r#type, order: args.order, nhwc: args.layout == Layout::Nhwc, width, height };
    let exported = onnx::export(&model, &input, !args.no_map).context(format_args!(
        "{}: method {}",
        args.model.display(),
        model.method()
    ))?;
    output::write(&args.out, &exported.bytes)?;
    if let Some(why) = exported.no_map {
        note(&format!("no map is exported, only the score: {why}"));
    }
    println!("graph      {} ({}): {} nodes", args.out.display(), bytes(exported.bytes.len()), exported.nodes);
    println!("image      {}", onnx::describe(&input));
    println!("score      1 number");
    match exported.map {
        Some((width, height)) => println!("map        1x1x{height}x{width}"),
        None => println!("map        none"),
    }
    println!("threshold  {}", promise::describe(model.threshold()));
    Ok(0)
}
