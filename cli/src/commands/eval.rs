//! `adflow eval MODEL DATA`: how well a model tells good from defective, and where it sees the defect.

use std::path::Path;

use crate::args::Eval;
use crate::evaluate::{self, Evaluation};
use crate::failure::Outcome;
use crate::inspector::open_model;
use crate::progress::note;
use crate::{dataset, output, promise, report};

/// Runs the command.
pub fn run(args: &Eval) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let listing = dataset::test(&args.data)?;
    listing.notes.iter().for_each(|text| note(text));
    if let Some(folder) = &args.report {
        output::make_folder(folder)?;
    }
    if let Some(json) = &args.json {
        output::check_writable(json)?;
    }
    let roi = args.roi.open()?;
    let compute = args.compute.open()?;
    let evaluation = evaluate::run(&owned, Some(&args.model), &args.data, listing, roi.as_ref(), &compute)?;
    if let Some(json) = &args.json {
        output::write_json(json, &evaluation.figures)?;
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        print_figures(&evaluation);
    }
    if let Some(folder) = &args.report {
        write_report(&evaluation, &folder.join("report.html"))?;
    }
    Ok(0)
}

/// Writes the page and says so.
pub fn write_report(evaluation: &Evaluation, page: &Path) -> Outcome<()> {
    output::write(page, report::page(evaluation)?.as_bytes())?;
    eprintln!("report: {}", page.display());
    Ok(())
}

/// The figures as a table on standard output.
pub fn print_figures(evaluation: &Evaluation) {
    let f = &evaluation.figures;
    let cell = |x: Option<f64>| x.map_or("      -".to_string(), |x| format!("{x:7.4}"));
    println!("{:<16} {:>7} {:>7} {:>7} {:>7} {:>9}", "class", "images", "image", "pixel", "AUPRO", "rejected");
    for (name, class) in f.classes_good_first() {
        let rejected = class.rejected.map_or("-".into(), |n| format!("{n}"));
        println!(
            "{name:<16} {:>7} {} {} {} {rejected:>9}",
            class.images,
            cell(class.image_auroc),
            cell(class.pixel_auroc),
            cell(class.aupro)
        );
    }
    let all = f.images.good + f.images.defective;
    println!("{:<16} {all:>7} {} {} {}", "all (AUROC)", cell(f.image_auroc), cell(f.pixel_auroc), cell(f.aupro));
    if let Some([low, high]) = f.image_auroc_interval {
        println!("image AUROC      95 % interval {low:.3} to {high:.3} (bootstrap over images)");
    }
    println!("image AP         {}   pixel AP {}", cell(f.image_ap), cell(f.pixel_ap));
    println!(
        "F1-max           {}   at score {}",
        cell(f.f1_max),
        f.f1_max_threshold.map_or("-".into(), |t| format!("{t:.4}"))
    );
    println!("threshold        {}", promise::describe(evaluation.threshold));
    if let Some(at) = &f.at_threshold {
        println!(
            "                 misses {} of {} defective, rejects {} of {} good",
            at.missed, f.images.defective, at.false_rejects, f.images.good
        );
    }
    let ms = &f.ms_per_image;
    println!(
        "ms per image     p50 {:.2}, p99 {:.2}, max {:.2} ({}, {} threads)",
        ms.p50, ms.p99, ms.max, f.device, f.threads
    );
}
