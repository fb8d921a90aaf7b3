//! `adflow demo`: everything once, without any data: a made-up product line, a model trained on its good parts, figures
//! and a report page.

use std::path::Path;
use std::time::Instant;

use adflow::detect::TrainOptions;

use super::{eval, train};
use crate::args::Demo;
use crate::failure::Outcome;
use crate::product_line::{self, Sizes};
use crate::progress::{self, Stage};
use crate::training::{self, OtherImages, Training};
use crate::{dataset, evaluate, interrupt, output};

/// Runs the command.
pub fn run(args: &Demo) -> Outcome<u8> {
    let started = Instant::now();
    let compute = args.compute.open()?;
    output::make_folder(&args.out)?;
    if let Some(json) = &args.json {
        output::check_writable(json)?;
    }
    interrupt::listen();
    let backbone = args.method.backbone.open()?;
    let data = args.out.join("data");
    let sizes = Sizes::default();
    {
        let stage = Stage::new("drawing parts", product_line::count(sizes));
        product_line::write(&data, args.seed, sizes, compute.threads, &|done| stage.set(done))?;
    }
    let model_path = args.out.join("flange.adflow");
    // A third of 180 parts set aside is what it takes to promise 5 % with 95 % confidence: 1 − 0.95⁵⁹ = 0.951.
    let options = TrainOptions {
        method: args.method.method,
        seed: args.seed,
        size: args.size,
        held_out: 0.34,
        false_reject: 0.05,
        ..TrainOptions::default()
    };
    let listing = dataset::training(&data)?;
    // Says so if a checkpoint is left over.
    let state = training::read_checkpoint(&training::checkpoint_path(&model_path), false)?;
    let training_started = Instant::now();
    let images = training::load(listing, &compute)?;
    let others = OtherImages::default();
    let training =
        Training { images: &images, others: &others, backbone: &backbone, options: &options, compute: &compute };
    let (summary, model) = train::train(&training, &model_path, state.as_deref(), training_started)?;
    let quiet = args.json.as_deref() == Some(Path::new("-"));
    if !quiet {
        train::print_summary(&summary, &model);
    }
    let mut evaluation = evaluate::run(&model, Some(&model_path), &data, dataset::test(&data)?, None, &compute)?;
    evaluation.figures.train_seconds = Some(summary.train_seconds);
    if !quiet {
        eval::print_figures(&evaluation);
    }
    eval::write_report(&evaluation, &args.out.join("report.html"))?;
    if let Some(json) = &args.json {
        output::write_json(json, &evaluation.figures)?;
    }
    eprintln!(
        "done in {}; open {}",
        progress::seconds(started.elapsed().as_secs_f64()),
        args.out.join("report.html").display()
    );
    eprintln!("next: adflow inspect {} {}", model_path.display(), data.join("test/crack").display());
    Ok(0)
}
