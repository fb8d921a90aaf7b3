//! `adflow compare DATA --methods a,b,c`: which method suits these parts.
//!
//! All methods are trained and measured under one protocol (`comparison`). A method that fails has a row that says why; the exit
//! code is then 1. The JSON file and the report are rewritten after each method, so that a failure of a later one loses nothing.
//! Ctrl-C prints the rows that are finished; with `--models` the same command with `--resume` continues.

use std::path::Path;

use adflow::detect::{Method, TrainOptions};

use crate::args::{Compare, chosen};
use crate::comparison::{Comparison, Protocol, Spread};
use crate::evaluate::Evaluation;
use crate::failure::{ERROR, Failure, Outcome};
use crate::progress::{bytes, note, seconds, short};
use crate::{dataset, interrupt, output, report, training};

use super::eval;

/// Runs the command.
pub fn run(args: &Compare) -> Outcome<u8> {
    let listing = dataset::training(&args.data)?;
    let test = dataset::test(&args.data)?;
    for folder in [&args.report, &args.models].into_iter().flatten() {
        output::make_folder(folder)?;
    }
    if let Some(json) = &args.json {
        output::check_writable(json)?;
    }
    let backbone = args.backbone.open()?;
    let roi = args.roi.for_training()?;
    let compute = args.compute.open()?;
    interrupt::listen();
    test.notes.iter().for_each(|text| note(text));
    let images = training::load(listing, &compute)?;
    let protocol = Protocol {
        data: &args.data,
        images: &images,
        test: &test,
        backbone: &backbone,
        options: TrainOptions { roi, ..args.training.options() },
        compute: &compute,
        models: args.models.as_deref(),
        resume: args.resume,
    };
    let mut seeds: Vec<u64> = Vec::new();
    args.seeds.iter().for_each(|seed| {
        if !seeds.contains(seed) {
            seeds.push(*seed)
        }
    });
    let mut show = |method: Method, evaluation: &Evaluation| match &args.report {
        Some(folder) => eval::write_report(evaluation, &folder.join(format!("{method}.html"))),
        None => Ok(()),
    };
    let mut keep = |so_far: &Comparison| {
        let json = args.json.as_deref().filter(|path| *path != Path::new("-"));
        json.map_or(Ok(()), |path| output::write_json(path, so_far))?;
        let page = args.report.as_ref().map(|folder| folder.join("report.html"));
        page.map_or(Ok(()), |page| output::write(&page, report::comparison_page(so_far).as_bytes()))
    };
    let (comparison, interrupted) = protocol.run(&chosen(&args.methods), &seeds, &mut show, &mut keep)?;
    if args.json.as_deref() != Some(Path::new("-")) || interrupted {
        print_table(&comparison);
    }
    if interrupted {
        let resume = if args.models.is_some() { "; run the same command with --resume to continue" } else { "" };
        return Err(Failure::interrupted(format!(
            "interrupted; the table shows the methods that were finished{resume}"
        )));
    }
    if args.json.as_deref() == Some(Path::new("-")) {
        output::write_json(Path::new("-"), &comparison)?;
    }
    if let Some(folder) = &args.report {
        eprintln!("report: {}", folder.join("report.html").display());
    }
    Ok(if comparison.methods.iter().any(|row| row.error.is_some()) { ERROR } else { 0 })
}

/// Prints a table with one line per method on standard output.
fn print_table(comparison: &Comparison) {
    let cell = |x: Option<Spread>| x.map_or("-".into(), |x| format!("{:.4}", x.mean));
    println!(
        "{:<14} {:>7} {:>14} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}",
        "method", "AUROC", "95 %", "sd", "AP", "F1-max", "pixel", "AUPRO", "ms/image", "model", "training"
    );
    for row in &comparison.methods {
        if let Some(error) = &row.error {
            println!("{:<14} failed: {error}", row.method);
            continue;
        }
        let interval = row.image_auroc_interval.map_or("-".into(), |[low, high]| format!("{low:.3} to {high:.3}"));
        println!(
            "{:<14} {:>7} {interval:>14} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}",
            row.method,
            cell(row.image_auroc),
            row.image_auroc.and_then(|x| x.sd).map_or("-".into(), |sd| format!("{sd:.4}")),
            cell(row.image_ap),
            cell(row.f1_max),
            cell(row.pixel_auroc),
            cell(row.aupro),
            row.ms_per_image.map_or("-".into(), |x| short(x.mean)),
            row.model_bytes.map_or("-".into(), bytes),
            row.train_seconds.map_or("-".into(), |x| seconds(x.mean)),
        );
    }
}
