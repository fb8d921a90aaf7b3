//! `adflow inspect MODEL IMAGE...`: a score and a verdict for each image, one line each.
//!
//! ```text
//! defective  12.84  photos/17.png
//! ```
//!
//! or, with `--json`, one object per line with the keys `image`, `score`, `verdict`, `threshold`, `ms` (or `image`,
//! `error`). An image that cannot be read is reported and the rest is still inspected; the exit code is then 1.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adflow::threshold::{Threshold, Verdict};
use serde_json::json;

use crate::args::Inspect;
use crate::failure::{DEFECTIVE, ERROR, Failure, Outcome};
use crate::heatmap::Scale;
use crate::inspector::{Inspector, open_model};
use crate::progress::{note, short};
use crate::{dataset, decode, heatmap, output, print};

/// Runs the command.
pub fn run(args: &Inspect) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let listing = dataset::expand(&args.images)?;
    listing.notes.iter().for_each(|text| note(text));
    if let Some(folder) = &args.heatmaps {
        if owned.model().map_size().0 == 0 {
            return Err(Failure::new(format!("{}: this model makes no maps", args.model.display())));
        }
        output::make_folder(folder)?;
    }
    let roi = args.roi.open()?;
    let mut reporter = Reporter {
        args,
        inspector: Inspector::new(&owned, &args.compute.open()?, args.heatmaps.is_some(), roi.as_ref())?,
        threshold: args.threshold.map(Threshold::manual).or(owned.model().threshold()),
        scale: Scale::of(&owned.model()),
        map_size: owned.model().map_size(),
        taken: BTreeSet::new(),
    };
    if reporter.threshold.is_none() {
        note("the model has no threshold, so there are no verdicts; --threshold X sets one");
    }
    let (mut failed, mut defective) = (false, false);
    for path in &listing.items {
        let line = match reporter.inspect(path) {
            Ok((line, verdict)) => {
                defective |= verdict == Some(Verdict::Defective);
                line
            }
            Err(failure) => {
                failed = true;
                eprintln!("error: {}", failure.message);
                if !args.json {
                    continue;
                }
                json!({ "image": path, "error": failure.message }).to_string()
            }
        };
        println!("{line}");
        if print::failed() {
            return Ok(0);
        }
    }
    Ok(match (failed, defective && args.fail_on_defect) {
        (true, _) => ERROR,
        (false, true) => DEFECTIVE,
        (false, false) => 0,
    })
}

/// Inspects images one after the other, and makes the line and the heat map of each.
struct Reporter<'a> {
    args: &'a Inspect,
    inspector: Inspector<'a>,
    threshold: Option<Threshold>,
    scale: Scale,
    map_size: (u32, u32),
    taken: BTreeSet<PathBuf>,
}

impl Reporter<'_> {
    fn inspect(&mut self, path: &Path) -> Outcome<(String, Option<Verdict>)> {
        let image = decode::open(path)?;
        let named = |why: String| Failure::new(format!("{}: {why}", path.display()));
        let started = Instant::now();
        let (score, map) = match &self.args.heatmaps {
            None => (self.inspector.score(&image).map_err(named)?, None),
            Some(_) => self.inspector.score_with_map(&image).map(|(s, m)| (s, Some(m))).map_err(named)?,
        };
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let verdict = self.threshold.map(|t| t.verdict(score));
        if let (Some(folder), Some(map)) = (&self.args.heatmaps, map) {
            let picture = heatmap::overlay(&image.to_rgb8(), &map, self.map_size, &self.scale);
            output::write(&self.heatmap_path(folder, path), &heatmap::png(&picture)?)?;
        }
        let line = if self.args.json {
            let verdict = verdict.map(Verdict::as_str);
            let threshold = self.threshold.map(|t| t.reject);
            json!({ "image": path, "score": score, "verdict": verdict, "threshold": threshold, "ms": ms }).to_string()
        } else {
            let word = verdict.map_or("-", Verdict::as_str);
            format!("{word:<9}  {:>9}  {}", short(score.into()), path.display())
        };
        Ok((line, verdict))
    }

    /// Path of a heat map, `DIR/<stem>.png`; images of the same name from several folders get a number.
    fn heatmap_path(&mut self, folder: &Path, image: &Path) -> PathBuf {
        let stem = image.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let mut path = folder.join(format!("{stem}.png"));
        let mut n = 2;
        while !self.taken.insert(path.clone()) {
            path = folder.join(format!("{stem}-{n}.png"));
            n += 1;
        }
        path
    }
}
