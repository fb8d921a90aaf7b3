//! Runs a model over a test set and measures.
//!
//! Two passes. The first takes up to 200 images one at a time and clocks the step a line waits for: decoded camera buffer
//! to verdict. The second scores every image with its map, several at once. Pixel figures compare at 256x256: maps are
//! resized bilinearly, masks by area (see `adflow::metrics`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use adflow::metrics::{self, Pixels};
use adflow::model::OwnedModel;
use adflow::threshold::{Threshold, Verdict};
use serde::Serialize;

use crate::compute::Compute;
use crate::dataset::{Listing, TestImage};
use crate::decode::{self, Decoded};
use crate::failure::{Context, Failure, Outcome};
use crate::heatmap::Scale;
use crate::inspector::Inspector;
use crate::interrupt;
use crate::progress::{Stage, note};

/// Largest number of images that are timed.
const CLOCKED: usize = 200;
/// False-positive rate up to which the per-region overlap counts.
const AUPRO_LIMIT: f64 = 0.3;

/// One scored test image.
#[derive(Debug)]
pub struct Shot {
    /// The image, with what the data set says about it.
    pub image: TestImage,
    /// Anomaly score.
    pub score: f32,
    /// Anomaly map, `map_size` values row by row; empty if the model makes no maps.
    pub map: Vec<f32>,
    /// The verdict, if the model has a threshold.
    pub verdict: Option<Verdict>,
}

/// Everything measured, for the table, the JSON file and the report.
#[derive(Debug)]
pub struct Evaluation {
    /// What `--json` writes.
    pub figures: Figures,
    /// Every test image in the data set's order.
    pub shots: Vec<Shot>,
    /// The threshold the verdicts come from.
    pub threshold: Option<Threshold>,
    /// Colours of the maps.
    pub scale: Scale,
    /// Width and height of the maps.
    pub map_size: (u32, u32),
    /// Facts about the model, for the report.
    pub about: Vec<(String, String)>,
    /// What was odd about the data.
    pub notes: Vec<String>,
}

/// The figures of an evaluation. Undefined ones (no defective images, no masks) are `null`.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// The model file; none where the model was not kept.
    pub model: Option<PathBuf>,
    pub data: PathBuf,
    pub method: String,
    pub backbone: String,
    pub input_size: u32,
    pub images: Counts,
    pub image_auroc: Option<f64>,
    /// 95 % interval, by bootstrap over images.
    pub image_auroc_interval: Option<[f64; 2]>,
    pub image_ap: Option<f64>,
    pub pixel_auroc: Option<f64>,
    pub pixel_ap: Option<f64>,
    pub aupro: Option<f64>,
    pub f1_max: Option<f64>,
    /// Threshold that maximises F1 on the test images; it depends on their labels, so never use it in production.
    pub f1_max_threshold: Option<f64>,
    /// Threshold of the model, found from good parts only.
    pub threshold: Option<f32>,
    pub accept: Option<f32>,
    pub false_reject: Option<f64>,
    pub confidence: Option<f64>,
    pub held_out: Option<u32>,
    pub at_threshold: Option<AtThreshold>,
    pub classes: BTreeMap<String, ClassFigures>,
    pub ms_per_image: Milliseconds,
    /// Device that scored, and its name.
    pub device: String,
    pub threads: usize,
    pub train_seconds: Option<f64>,
    pub pixel_protocol: &'static str,
}

impl Figures {
    /// The classes as a person reads them: good parts, then each defect by name.
    pub fn classes_good_first(&self) -> impl Iterator<Item = (&String, &ClassFigures)> {
        let good = |class: &ClassFigures| class.image_auroc.is_none();
        let first = self.classes.iter().filter(move |(_, c)| good(c));
        first.chain(self.classes.iter().filter(move |(_, c)| !good(c)))
    }
}

/// Number of test images.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    pub good: usize,
    pub defective: usize,
}

/// What the model's threshold does on the test images.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AtThreshold {
    /// Defective images judged good.
    pub missed: usize,
    /// Good images judged defective.
    pub false_rejects: usize,
    /// Images in the grey zone.
    pub unsure: usize,
}

/// Figures of one folder of test images, each against all good ones.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClassFigures {
    pub images: usize,
    pub image_auroc: Option<f64>,
    pub pixel_auroc: Option<f64>,
    pub pixel_ap: Option<f64>,
    pub aupro: Option<f64>,
    /// Images judged defective.
    pub rejected: Option<usize>,
    /// Images in the grey zone.
    pub unsure: Option<usize>,
    pub lowest_score: Option<f32>,
    pub highest_score: Option<f32>,
}

/// Wall time from decoded buffer to score.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Milliseconds {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Milliseconds {
    /// Percentiles by nearest rank; zeros for no measurements.
    pub fn of(times: &[f64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = |q: f64| sorted.get(((q * sorted.len() as f64).ceil() as usize).max(1) - 1).copied().unwrap_or(0.0);
        Self { p50: rank(0.5), p99: rank(0.99), max: rank(1.0) }
    }
}

const PIXEL_PROTOCOL: &str = "256x256: maps bilinear, masks by area without losing a region, masks > 0 are defect; \
     AUROC and AP pool all pixels of all images, good ones included; AUPRO up to a false-positive rate of 0.3, exact";

/// Evaluates `model` on the images of `listing`, inside `roi` where there is one.
pub fn run(
    owned: &OwnedModel,
    model_path: Option<&Path>,
    data: &Path,
    listing: Listing<TestImage>,
    roi: Option<&Decoded>,
    compute: &Compute,
) -> Outcome<Evaluation> {
    let model = owned.model();
    let threshold = model.threshold();
    let (times, clocked) = clock(owned, &listing.items, roi, compute)?;
    let maps = owned.model().map_size().0 > 0;
    let shots = score_all(owned, listing.items, roi, compute, threshold, maps)?;
    if let Some(odd) = clocked.iter().find(|(i, score)| shots[*i].score.to_bits() != score.to_bits()) {
        note(&format!("{}: the scores with and without a map differ", shots[odd.0].image.path.display()));
    }
    let mut notes = listing.notes;
    let measured = Measured::new(&shots, model.map_size(), &mut notes)?;
    let (scores, labels) = (measured.scores, measured.labels);
    let (f1_max, f1_threshold) = metrics::f1_max(&scores, &labels);
    let good = labels.iter().filter(|&&l| !l).count();
    let figures = Figures {
        model: model_path.map(Path::to_path_buf),
        data: data.to_path_buf(),
        method: model.method().to_string(),
        backbone: model.backbone().to_string(),
        input_size: model.input_size(),
        images: Counts { good, defective: labels.len() - good },
        image_auroc: defined(metrics::image_auroc(&scores, &labels)),
        image_auroc_interval: auroc_interval(&[&scores], &labels),
        image_ap: defined(metrics::average_precision(&scores, &labels)),
        pixel_auroc: measured.all.pixel_auroc,
        pixel_ap: measured.all.pixel_ap,
        aupro: measured.all.aupro,
        f1_max: defined(f1_max),
        f1_max_threshold: defined(f1_threshold.into()),
        threshold: threshold.map(|t| t.reject),
        accept: threshold.and_then(|t| t.accept),
        false_reject: threshold.map(|t| t.false_reject),
        confidence: threshold.map(|t| t.confidence),
        held_out: threshold.map(|t| t.held_out),
        at_threshold: threshold.map(|_| at_threshold(&shots)),
        classes: measured.classes,
        ms_per_image: Milliseconds::of(&times),
        device: compute.describe(),
        threads: compute.threads,
        train_seconds: None,
        pixel_protocol: PIXEL_PROTOCOL,
    };
    Ok(Evaluation {
        figures,
        shots,
        threshold,
        scale: Scale::of(&model),
        map_size: model.map_size(),
        about: model.about().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        notes,
    })
}

/// 95 % interval of the image AUROC, bootstrap over images. Of several models' scores for the same images it is that of
/// their mean AUROC: each draw takes the same images for all of them.
pub fn auroc_interval(scores: &[&[f32]], labels: &[bool]) -> Option<[f64; 2]> {
    // Image numbers are drawn in place of scores; f32 holds them exactly up to 2²⁴.
    let images: Vec<f32> = (0..labels.len()).map(|i| i as f32).collect();
    let mean = |drawn: &[f32], labels: &[bool]| {
        let of = |scores: &&[f32]| {
            let scores: Vec<f32> = drawn.iter().map(|&i| scores[i as usize]).collect();
            metrics::image_auroc(&scores, labels)
        };
        scores.iter().map(of).sum::<f64>() / scores.len() as f64
    };
    metrics::bootstrap(&images, labels, 1000, 0.95, 1, mean).map(|i| [i.low, i.high])
}

fn defined(x: f64) -> Option<f64> {
    Some(x).filter(|x| x.is_finite())
}

/// Times in milliseconds, and scores with the index of their image.
type Clocked = (Vec<f64>, Vec<(usize, f32)>);
/// A score and its map.
type Scored = (f32, Vec<f32>);

/// Times up to [`CLOCKED`] images spread over the set, one at a time.
fn clock(owned: &OwnedModel, images: &[TestImage], roi: Option<&Decoded>, compute: &Compute) -> Outcome<Clocked> {
    let mut inspector = Inspector::new(owned, compute, false, roi)?;
    let count = images.len().min(CLOCKED);
    let stage = Stage::new("clocking", count);
    let (mut times, mut scores) = (Vec::new(), Vec::new());
    for n in 0..count {
        interrupt::check()?;
        let i = n * images.len() / count;
        let named = |why: String| Failure::new(format!("{}: {why}", images[i].path.display()));
        let image = decode::open(&images[i].path)?;
        if n == 0 {
            for _ in 0..3 {
                inspector.score(&image).map_err(named)?;
            }
        }
        let started = Instant::now();
        let score = inspector.score(&image).map_err(named)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        scores.push((i, score));
        stage.set(n + 1);
    }
    Ok((times, scores))
}

/// Scores images without maps; the scores have the order of the images.
pub fn scores(owned: &OwnedModel, images: Vec<TestImage>, compute: &Compute) -> Outcome<Vec<f32>> {
    let shots = score_all(owned, images, None, compute, None, false)?;
    Ok(shots.into_iter().map(|shot| shot.score).collect())
}

fn score_all(
    owned: &OwnedModel,
    images: Vec<TestImage>,
    roi: Option<&Decoded>,
    compute: &Compute,
    threshold: Option<Threshold>,
    maps: bool,
) -> Outcome<Vec<Shot>> {
    let stage = Stage::new("inspecting", images.len());
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let slots: Vec<Mutex<Option<Outcome<Scored>>>> = images.iter().map(|_| Mutex::new(None)).collect();
    let work = || -> Outcome<()> {
        let mut inspector = Inspector::new(owned, &Compute { threads: 1, ..compute.clone() }, maps, roi)?;
        while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < images.len()) {
            interrupt::check()?;
            let path = &images[i].path;
            let scored = decode::open(path).and_then(|image| {
                let scored = match maps {
                    true => inspector.score_with_map(&image),
                    false => inspector.score(&image).map(|score| (score, Vec::new())),
                };
                scored.context(path.display())
            });
            *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(scored);
            stage.set(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Outcome<()> {
        let workers: Vec<_> = (0..compute.threads.clamp(1, images.len().max(1))).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| Failure::new("a scoring thread failed"))??;
        }
        Ok(())
    })?;
    let mut shots = Vec::new();
    for (image, slot) in images.into_iter().zip(slots) {
        let scored = slot.into_inner().unwrap_or_else(|e| e.into_inner());
        let (score, map) = scored.unwrap_or_else(|| Err(Failure::new("the image was not scored")))?;
        let verdict = threshold.map(|t| t.verdict(score));
        shots.push(Shot { image, score, map, verdict });
    }
    Ok(shots)
}

fn at_threshold(shots: &[Shot]) -> AtThreshold {
    let count = |defective: bool, verdict: Verdict| {
        shots.iter().filter(|s| s.image.defective == defective && s.verdict == Some(verdict)).count()
    };
    AtThreshold {
        missed: count(true, Verdict::Good),
        false_rejects: count(false, Verdict::Defective),
        unsure: count(true, Verdict::Unsure) + count(false, Verdict::Unsure),
    }
}

struct Measured {
    scores: Vec<f32>,
    labels: Vec<bool>,
    all: ClassFigures,
    classes: BTreeMap<String, ClassFigures>,
}

impl Measured {
    fn new(shots: &[Shot], map_size: (u32, u32), notes: &mut Vec<String>) -> Outcome<Self> {
        let map_size = (map_size.0 as usize, map_size.1 as usize);
        let stage = Stage::new("measuring", shots.len());
        let mut goods = Pixels::new();
        let add = |pixels: &mut Pixels, shot: &Shot, mask: Option<&Mask>| {
            if shot.map.is_empty() {
                return Ok(());
            }
            let (size, values) = mask.map_or(((0, 0), &[][..]), |m| ((m.width, m.height), &m.values));
            pixels.push_resized(map_size, &shot.map, size, values).context(shot.image.path.display())
        };
        for shot in shots.iter().filter(|s| !s.image.defective) {
            add(&mut goods, shot, None)?;
        }
        let mut all = goods.clone();
        let mut classes: BTreeMap<String, ClassFigures> = BTreeMap::new();
        let mut names: Vec<&str> = shots.iter().map(|s| s.image.class.as_str()).collect();
        names.dedup();
        let (mut masks, mut done) = (0, 0);
        for name in names {
            let members: Vec<&Shot> = shots.iter().filter(|s| s.image.class == name).collect();
            let mut class = ClassFigures { images: members.len(), ..ClassFigures::default() };
            let scores = members.iter().map(|s| s.score);
            class.lowest_score = scores.clone().min_by(f32::total_cmp);
            class.highest_score = scores.max_by(f32::total_cmp);
            if members.iter().all(|s| s.verdict.is_some()) {
                let count = |v: Verdict| members.iter().filter(|s| s.verdict == Some(v)).count();
                class.rejected = Some(count(Verdict::Defective));
                class.unsure = Some(count(Verdict::Unsure));
            }
            if members.iter().any(|s| s.image.defective) {
                let against: Vec<&Shot> =
                    shots.iter().filter(|s| !s.image.defective || s.image.class == name).collect();
                let scores: Vec<f32> = against.iter().map(|s| s.score).collect();
                let labels: Vec<bool> = against.iter().map(|s| s.image.defective).collect();
                class.image_auroc = defined(metrics::image_auroc(&scores, &labels));
                let mut pixels = goods.clone();
                let mut here = 0;
                for shot in &members {
                    let Some(path) = &shot.image.mask else { continue };
                    let mask = Mask::open(path)?;
                    if mask.values.iter().all(|&m| m == 0) {
                        notes.push(format!("{}: the mask marks nothing", path.display()));
                    }
                    add(&mut pixels, shot, Some(&mask))?;
                    add(&mut all, shot, Some(&mask))?;
                    here += 1;
                }
                if here > 0 {
                    class.set_pixels(pixels);
                }
                masks += here;
            }
            done += members.len();
            stage.set(done);
            classes.insert(name.to_string(), class);
        }
        let mut total = ClassFigures::default();
        if masks > 0 {
            total.set_pixels(all);
        }
        let scores = shots.iter().map(|s| s.score).collect();
        let labels = shots.iter().map(|s| s.image.defective).collect();
        Ok(Self { scores, labels, all: total, classes })
    }
}

impl ClassFigures {
    fn set_pixels(&mut self, pixels: Pixels) {
        let m = pixels.finish(AUPRO_LIMIT);
        self.pixel_auroc = defined(m.auroc);
        self.pixel_ap = defined(m.average_precision);
        self.aupro = defined(m.aupro);
    }
}

/// A ground-truth mask: not 0 where the defect is.
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// One value a pixel.
    pub values: Vec<u8>,
}

impl Mask {
    /// Reads a mask file; any non-zero sample of any channel counts.
    pub fn open(path: &Path) -> Outcome<Self> {
        let Decoded { width, height, colour, pixels } = decode::open(path)?;
        let channels = if colour { 3 } else { 1 };
        let mark = |any: bool| u8::from(any);
        let values = match &pixels {
            decode::Pixels::U8(s) => s.chunks_exact(channels).map(|p| mark(p.iter().any(|&v| v != 0))).collect(),
            decode::Pixels::U16(s) => s.chunks_exact(channels).map(|p| mark(p.iter().any(|&v| v != 0))).collect(),
            decode::Pixels::F32(s) => s.chunks_exact(channels).map(|p| mark(p.iter().any(|&v| v != 0.0))).collect(),
        };
        Ok(Self { width: width as usize, height: height as usize, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let ms = Milliseconds::of(&times);
        assert_eq!((ms.p50, ms.p99, ms.max), (50.0, 99.0, 100.0));
        assert_eq!(Milliseconds::of(&[7.0]).p99, 7.0);
        assert_eq!(Milliseconds::of(&[]).max, 0.0);
    }
}
