//! `adflow info MODEL`: what a model is and how it was made.

use crate::args::Info;
use crate::compute::Compute;
use crate::failure::Outcome;
use crate::inspector::{Inspector, device_bytes, open_model};
use crate::progress::{self, bytes, short};
use crate::promise;

/// Runs the command.
pub fn run(args: &Info) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let model = owned.model();
    let (width, height) = model.map_size();
    let (typical, limit) = model.map_scale();
    let row = |key: &str, value: String| println!("{key:<16} {value}");
    row("method", model.method().to_string());
    row("backbone", model.backbone().to_string());
    let kind = if model.channels() == 1 { "grey" } else { "colour" };
    row("input", format!("{}, {kind}", progress::input(&model)));
    row("views", format!("{}", model.views()));
    let scale = format!("typical {}, limit {}", short(typical.into()), short(limit.into()));
    row("map", if width > 0 { format!("{width}x{height}; good parts: {scale}") } else { "none".into() });
    row("threshold", promise::describe(model.threshold()));
    row("parameters", bytes(model.params_bytes()));
    row(
        "working memory",
        format!("{} on one thread", bytes(Inspector::new(&owned, &Compute::cpu(1), width > 0, None)?.memory_bytes())),
    );
    row("GPU memory", bytes(device_bytes(&owned, width > 0)?));
    for (key, value) in model.about().filter(|(key, _)| !["method", "backbone", "size"].contains(key)) {
        row(key, value.to_string());
    }
    Ok(0)
}
