//! `adflow`: train from good parts, inspect images, measure, report.
//!
//! A thin shell around the library. `args` defines the commands and their options, `commands` has one file for each command, and
//! the rest is what commands share: `decode` and `dataset` read images, `training` trains, `evaluate` measures a model and
//! `comparison` several methods, `heatmap` and `report` show results, `product_line` draws the images of `adflow demo`.

#[macro_use]
mod print;

mod args;
mod commands;
mod comparison;
mod compute;
mod dataset;
mod decode;
mod evaluate;
mod failure;
mod heatmap;
mod inspector;
mod interrupt;
mod onnx;
mod output;
mod product_line;
mod progress;
mod promise;
mod report;
mod training;
mod training_images;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let done = commands::run(cli.command);
    match done.and_then(|code| print::finish().map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
