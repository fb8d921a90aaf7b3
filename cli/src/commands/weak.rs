//! `adflow weak DATA`: does a handful of known defects help to find the others?
//!
//! Defective test images of at most two types are drawn to train `cdnf --contrastive`, which is compared with `cdnf` trained from
//! good parts alone. Photographs of one part are not independent, so a whole group of near-duplicates leaves the test once one of
//! them is drawn. The first figure is measured on the images that are left, the second only on types of which none was drawn. The
//! third, on all images, allows comparison with publications that measure so; it is contaminated by the images that trained.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adflow::detect::{Method, TrainOptions};
use adflow::duplicates;
use adflow::metrics::image_auroc;
use adflow::model::OwnedModel;
use adflow::rng::Rng;
use serde::Serialize;

use crate::args::Weak;
use crate::dataset::{Listing, TestImage};
use crate::failure::{Context, Failure, Outcome};
use crate::progress::{Stage, note, seconds};
use crate::training::{self, OtherImages, Training};
use crate::{dataset, decode, evaluate, interrupt, output};

/// Most types that anomalies are drawn from.
const TYPES: usize = 2;
/// Random streams that the types and the groups are drawn from.
const TYPE_STREAM: u32 = 0x7765_0001;
const GROUP_STREAM: u32 = 0x7765_0002;

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Summary {
    data: PathBuf,
    backbone: String,
    device: String,
    threads: usize,
    runs: Vec<DrawOutcome>,
}

/// What training with the defects of one draw, and without them, came to.
#[derive(Debug, Serialize)]
struct DrawOutcome {
    seed: u64,
    types: Vec<String>,
    /// Defective images that were trained on.
    drawn: Vec<PathBuf>,
    /// Number of defective images taken out of the test, including those drawn.
    out_of_test: usize,
    rows: Vec<Row>,
    train_seconds: [f64; 2],
}

/// Image AUROC of both models on one selection of test images.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    good: usize,
    defective: usize,
    unsupervised: Option<f64>,
    weakly_supervised: Option<f64>,
}

/// Which defective images are trained on, and which are taken out of the test.
struct Draw {
    types: Vec<String>,
    /// Images to train on, as positions in the test listing.
    train: Vec<usize>,
    out: BTreeSet<usize>,
}

/// Runs the command.
pub fn run(args: &Weak) -> Outcome<u8> {
    let listing = dataset::training(&args.data)?;
    let test = dataset::test(&args.data)?;
    if let Some(folder) = &args.models {
        output::make_folder(folder)?;
    }
    if let Some(json) = &args.json {
        output::check_writable(json)?;
    }
    let backbone = training::open_backbone(&args.backbone)?;
    backbone.adaptable().map_err(|error| Failure::new(error.to_string()))?;
    let compute = args.compute.open()?;
    interrupt::listen();
    test.notes.iter().for_each(|text| note(text));
    let groups = groups(&test.items)?;
    let images = training::load(listing, &compute)?;
    let textures = OtherImages::open(args.contrast.textures.as_deref(), &compute)?;
    let mut others = OtherImages { defects: None, textures };
    let mut summary = Summary {
        data: args.data.clone(),
        backbone: backbone.name().to_string(),
        device: compute.describe(),
        threads: compute.threads,
        runs: Vec::new(),
    };
    for &seed in &args.seeds {
        let draw = draw(&test.items, &groups, args, seed)?;
        let drawn: Vec<PathBuf> = draw.train.iter().map(|&i| test.items[i].path.clone()).collect();
        eprintln!("seed {seed}: {} images of {}", drawn.len(), draw.types.join(" and "));
        if let Some(folder) = &args.models {
            let lines: Vec<String> =
                drawn.iter().map(|path| path.canonicalize().unwrap_or(path.clone()).display().to_string()).collect();
            output::write(&folder.join(format!("drawn-seed{seed}.txt")), (lines.join("\n") + "\n").as_bytes())?;
        }
        others.defects = Some(training::load(Listing { items: drawn.clone(), notes: Vec::new() }, &compute)?);
        let mut scores = Vec::new();
        let mut train_seconds = [0.0; 2];
        for (at, contrastive) in [None, Some(args.contrast.options())].into_iter().enumerate() {
            let options = TrainOptions { method: Method::CDNF, seed, contrastive, ..args.training.options() };
            let name = if contrastive.is_some() { "contrastive" } else { "cdnf" };
            let path = args.models.as_ref().map(|folder| folder.join(format!("{name}-seed{seed}.adflow")));
            let none = OtherImages::default();
            let others = if contrastive.is_some() { &others } else { &none };
            let training =
                Training { images: &images, others, backbone: &backbone, options: &options, compute: &compute };
            let started = Instant::now();
            let model = fit(&training, path.as_deref())?;
            train_seconds[at] = started.elapsed().as_secs_f64();
            scores.push(evaluate::scores(&model, test.items.clone(), &compute)?);
        }
        let outcome = DrawOutcome {
            seed,
            rows: rows(&test.items, &draw, &scores),
            types: draw.types,
            drawn,
            out_of_test: draw.out.len(),
            train_seconds,
        };
        if args.json.as_deref() != Some(Path::new("-")) {
            print_outcome(&outcome);
        }
        summary.runs.push(outcome);
    }
    if let Some(json) = &args.json {
        output::write_json(json, &summary)?;
    }
    Ok(0)
}

/// Trains a model and keeps it at `path`, if there is one.
fn fit(training: &Training<'_>, path: Option<&Path>) -> Outcome<OwnedModel> {
    let trained = training.run()?;
    if let Some(path) = path {
        output::write(path, &trained.model)?;
    }
    OwnedModel::from_bytes(&trained.model).context("the trained model does not load")
}

/// The group of near-duplicates of each defective test image; `None` for good ones.
fn groups(images: &[TestImage]) -> Outcome<Vec<Option<u32>>> {
    let how = duplicates::thumbnail();
    let (mut thumbnails, mut scratch) = (Vec::new(), Vec::new());
    let stage = Stage::new("looking for near-duplicates", images.len());
    for (n, image) in images.iter().enumerate() {
        interrupt::check()?;
        stage.set(n + 1);
        if !image.defective {
            continue;
        }
        let decoded = decode::open(&image.path)?;
        let view = decoded.view().context(image.path.display())?;
        scratch.resize(how.scratch_len(view.width(), view.height()).max(scratch.len()), 0.0);
        let mut thumbnail = vec![0.0; duplicates::LEN];
        how.apply(&view, &mut scratch, &mut thumbnail).context(image.path.display())?;
        thumbnails.extend(thumbnail);
    }
    let mut groups = duplicates::groups(&thumbnails).into_iter();
    Ok(images.iter().map(|image| if image.defective { groups.next() } else { None }).collect())
}

fn draw(images: &[TestImage], groups: &[Option<u32>], args: &Weak, seed: u64) -> Outcome<Draw> {
    let mut known: Vec<String> = images.iter().filter(|i| i.defective).map(|i| i.class.clone()).collect();
    known.dedup();
    let types = if args.types.is_empty() {
        // Where there are few types, one is left that was never seen.
        let take = TYPES.min(known.len().saturating_sub(1)).max(1);
        let mut some = known.clone();
        Rng::new(seed, 0, TYPE_STREAM).shuffle(&mut some);
        some.truncate(take);
        some
    } else {
        args.types.clone()
    };
    if let Some(unknown) = types.iter().find(|t| !known.contains(t)) {
        return Err(Failure::new(format!(
            "\"{unknown}\" is not a type of defect in this data set, which has {}",
            known.join(", ")
        )));
    }
    if types.len() > TYPES {
        return Err(Failure::new("--types takes one or two types, so that others stay unseen"));
    }
    let mut order: Vec<u32> = groups.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    Rng::new(seed, 0, GROUP_STREAM).shuffle(&mut order);
    let (mut train, mut out) = (Vec::new(), BTreeSet::new());
    for (at, class) in types.iter().enumerate() {
        let quota = (args.count as usize + at) / types.len();
        let mut taken = 0;
        for group in &order {
            let members = || (0..images.len()).filter(|&i| groups[i] == Some(*group));
            let fresh: Vec<usize> = members().filter(|&i| images[i].class == *class).take(quota - taken).collect();
            if fresh.is_empty() {
                continue;
            }
            taken += fresh.len();
            train.extend(fresh);
            out.extend(members());
            if taken == quota {
                break;
            }
        }
    }
    train.sort_unstable();
    Ok(Draw { types, train, out })
}

/// Rows for the images left in the test, those of types never drawn, and all images.
fn rows(images: &[TestImage], draw: &Draw, scores: &[Vec<f32>]) -> Vec<Row> {
    let left = |i: usize| !draw.out.contains(&i);
    let unseen = |i: usize| left(i) && !draw.types.contains(&images[i].class);
    let choices: [(&str, &dyn Fn(usize) -> bool); 3] =
        [("what is left", &left), ("types never drawn", &unseen), ("everything (contaminated)", &|_| true)];
    let row = |(what, choice): (&str, &dyn Fn(usize) -> bool)| {
        let chosen: Vec<usize> = (0..images.len()).filter(|&i| choice(i)).collect();
        let labels: Vec<bool> = chosen.iter().map(|&i| images[i].defective).collect();
        let defective = labels.iter().filter(|l| **l).count();
        let auroc = |scores: &Vec<f32>| {
            let scores: Vec<f32> = chosen.iter().map(|&i| scores[i]).collect();
            Some(image_auroc(&scores, &labels)).filter(|a| a.is_finite())
        };
        Row {
            what: what.to_string(),
            good: labels.len() - defective,
            defective,
            unsupervised: scores.first().and_then(auroc),
            weakly_supervised: scores.get(1).and_then(auroc),
        }
    };
    choices.into_iter().map(row).collect()
}

fn print_outcome(outcome: &DrawOutcome) {
    let cell = |x: Option<f64>| x.map_or("-".to_string(), |x| format!("{x:.4}"));
    println!(
        "seed {}: {} images of {} trained, {} out of the test; trainings took {} and {}",
        outcome.seed,
        outcome.drawn.len(),
        outcome.types.join(" and "),
        outcome.out_of_test,
        seconds(outcome.train_seconds[0]),
        seconds(outcome.train_seconds[1]),
    );
    println!(
        "{:<28} {:>5} {:>9} {:>12} {:>17}",
        "image AUROC", "good", "defective", "unsupervised", "weakly supervised"
    );
    for row in &outcome.rows {
        println!(
            "{:<28} {:>5} {:>9} {:>12} {:>17}",
            row.what,
            row.good,
            row.defective,
            cell(row.unsupervised),
            cell(row.weakly_supervised)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn images() -> (Vec<TestImage>, Vec<Option<u32>>) {
        let image = |class: &str, n: usize| TestImage {
            path: PathBuf::from(format!("{class}/{n}.png")),
            class: class.to_string(),
            defective: class != "good",
            mask: None,
        };
        // Groups of three, the last of which spans two types.
        let mut all: Vec<TestImage> = (0..4).map(|n| image("good", n)).collect();
        let mut groups = vec![None; 4];
        for class in ["a", "b", "c"] {
            for n in 0..9 {
                all.push(image(class, n));
                groups.push(Some(match (class, n) {
                    ("a", 8) | ("b", 0) => 100,
                    (_, n) => u32::from(class.as_bytes()[0]) * 3 + n as u32 / 3 - 291,
                }));
            }
        }
        (all, groups)
    }

    fn args(text: &[&str]) -> Weak {
        let all = [&["adflow", "weak", "DATA", "--backbone", "FILE"], text].concat();
        match crate::args::Cli::try_parse_from(all).unwrap().command {
            crate::args::Command::Weak(args) => args,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn whole_groups_leave_the_test() {
        let (images, groups) = images();
        for seed in 0..20 {
            let draw = draw(&images, &groups, &args(&["--types", "a,b", "--count", "5"]), seed).unwrap();
            assert_eq!(draw.train.len(), 5);
            assert!(draw.train.iter().all(|i| draw.out.contains(i) && ["a", "b"].contains(&&*images[*i].class)));
            for (i, group) in groups.iter().enumerate() {
                let touched = draw.train.iter().any(|&t| groups[t] == *group);
                assert_eq!(draw.out.contains(&i), touched, "seed {seed}, image {i}");
            }
            let scores: Vec<f32> = images.iter().map(|i| if i.defective { 1.0 } else { 0.0 }).collect();
            let rows = rows(&images, &draw, &[scores.clone(), scores]);
            assert_eq!((rows[1].good, rows[1].defective, rows[1].unsupervised), (4, 9, Some(1.0)));
            assert_eq!(rows[0].defective, 27 - draw.out.len());
            assert_eq!(rows[2].defective, 27);
        }
    }

    #[test]
    fn types_are_drawn_where_none_are_named_and_must_exist() {
        let (images, groups) = images();
        let seen: BTreeSet<Vec<String>> =
            (0..20).map(|seed| draw(&images, &groups, &args(&[]), seed).unwrap().types).collect();
        assert!(seen.len() > 2 && seen.iter().all(|types| types.len() == 2), "{seen:?}");
        let error = |types: &str| draw(&images, &groups, &args(&["--types", types]), 0).err().unwrap().message;
        assert!(error("a,z").contains("\"z\" is not a type of defect in this data set, which has a, b, c"));
        assert!(error("a,b,c").contains("one or two types"));
    }
}
