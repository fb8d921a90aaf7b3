//! Finishes a detector: scores the parts that were set aside with the very program that will score at the line, chooses
//! the threshold from them, and writes the model.

use super::error::{Result, TrainError};
use super::features::extractor;
use super::images;
use super::job::Job;
use super::observer::{Observer, Phase, report};
use super::trained::Trained;
use crate::calibration::Calibration;
use crate::executor::Executor;
use crate::image::{GridPlace, ImageView, Tiling};
use crate::model::{DetectorRecord, MapKind, Model, ModelWriter, OwnedModel, TilesRecord};
use crate::params::Params;
use crate::place::OwnedProgram;
use crate::score::{ScoreError, Scorer, ScorerOptions};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bytemuck::Zeroable;

/// Held-out parts whose maps are measured.
const MAPS: usize = 24;

/// Longest side of a map of tiles.
const LARGEST_MAP: u32 = 4096;
/// Least blur of a map of tiles, in its pixels.
const LEAST_BLUR: f32 = 0.5;

/// Where a detector's map comes from.
pub(super) struct MapPlan {
    kind: MapKind,
    blur: f32,
    /// Side of the grid that is enlarged, and where it lies.
    grid: Option<(u32, GridPlace)>,
}

impl MapPlan {
    pub fn none() -> MapPlan {
        MapPlan { kind: MapKind::None, blur: 0.0, grid: None }
    }

    /// DifferNet's gradient map, σ = 3 pixels.
    pub fn gradient() -> MapPlan {
        MapPlan { kind: MapKind::Gradient, blur: 3.0, grid: None }
    }

    /// PaDiM's map, σ = 4 pixels.
    pub fn program(steps: u32, place: GridPlace) -> MapPlan {
        MapPlan { kind: MapKind::Program, blur: 4.0, grid: Some((steps, place)) }
    }

    /// Writes the map's part of the record; with tiles, `top` as in [`Uncalibrated`].
    fn apply(&self, d: &mut DetectorRecord, tiling: Option<&Tiling>, top: u32) -> Option<TilesRecord> {
        let side = if self.kind == MapKind::None { 0 } else { d.size };
        (d.map_kind, d.map_width, d.map_height, d.map_blur) = (self.kind as u32, side, side, self.blur);
        let (steps, place) = self.grid?;
        (d.map_steps, d.map_first, d.map_stride) = (steps, place.first, place.stride);
        let tiling = tiling?;
        let ((canvas_width, canvas_height), margin) = (tiling.canvas(), tiling.margin());
        // Four pixels a step show all that there is; a map for people need not be larger than their screens.
        let reduce = (place.stride as u32 / 4).max(canvas_width.max(canvas_height).div_ceil(LARGEST_MAP)).max(1);
        let columns = |pixels: u32| pixels.div_ceil((place.stride as u32).max(1));
        let top = top.min(columns(canvas_width).saturating_mul(columns(canvas_height)));
        let record = TilesRecord { canvas_width, canvas_height, margin, top, reduce, ..TilesRecord::zeroed() };
        (d.map_width, d.map_height) = record.map_size();
        d.map_blur = (self.blur / reduce as f32).max(LEAST_BLUR);
        Some(record)
    }
}

/// A fitted detector before calibration.
pub(super) struct Uncalibrated {
    pub params: Params,
    pub programs: Vec<OwnedProgram>,
    pub map: MapPlan,
    /// With tiles: positions of the canvas whose mean is the score, the largest; 0: the highest tile's score.
    pub tiles_top: u32,
    /// Images that were set aside.
    pub held_out: Vec<usize>,
    pub epochs: usize,
    pub final_loss: Option<f64>,
    /// `key=value` lines of the model.
    pub about: Vec<(String, String)>,
}

/// Scores what was set aside, chooses the threshold, and writes the model.
pub(super) fn finish(job: &Job<'_>, fitted: Uncalibrated, observer: &mut dyn Observer) -> Result<Trained> {
    let Job { setup, backbone, .. } = *job;
    let mut detector = extractor::detector(setup, backbone);
    let tiles = fitted.map.apply(&mut detector, setup.tiling.as_ref(), fitted.tiles_top);
    let mut writer = ModelWriter {
        detector,
        about: fitted.about,
        params: &fitted.params,
        held_out_scores: Vec::new(),
        tiles,
        roi: setup.roi.as_ref(),
        programs: fitted.programs.iter().collect(),
    };
    let model = OwnedModel::from_bytes(&writer.write()?)?;
    let measured = measure(job, &model, &fitted.held_out, observer)?;
    drop(model);
    (writer.detector.map_typical, writer.detector.map_limit) = measured.map_scale;
    let calibration = Calibration::new(&measured.scores, &[]);
    let threshold = calibration.and_then(|good| good.threshold(setup.false_reject, setup.confidence));
    writer.detector.set_threshold(threshold.as_ref());
    writer.about.push(("held_out".to_string(), measured.scores.len().to_string()));
    writer.held_out_scores.clone_from(&measured.scores);
    if let Some(t) = &threshold
        && t.confidence < setup.confidence
    {
        observer.note(&format!(
            "{} held-out parts are too few for {:.0} % confidence in a false-reject rate of {}: the threshold is the highest of their scores, with {:.0} %",
            t.held_out,
            100.0 * setup.confidence,
            setup.false_reject,
            100.0 * t.confidence,
        ));
    }
    if threshold.is_none() {
        observer.note("no parts were held out, so the model has no threshold");
    }
    Ok(Trained {
        model: writer.write()?,
        epochs: fitted.epochs,
        final_loss: fitted.final_loss,
        held_out_scores: measured.scores,
    })
}

struct Measured {
    scores: Vec<f32>,
    map_scale: (f32, f32),
}

fn measure(job: &Job<'_>, model: &OwnedModel, held_out: &[usize], observer: &mut dyn Observer) -> Result<Measured> {
    let (images, model) = (job.images, model.model());
    let (width, height) = model.map_size();
    let mut map = vec![0.0; width as usize * height as usize];
    let mut executor = job.device.executor(model.params(), 0, 0)?;
    let mut memory = Vec::new();
    let (mut scores, mut typical, mut limit) = (Vec::new(), Vec::new(), 0.0f32);
    for (n, &index) in held_out.iter().enumerate() {
        report(observer, Phase::Calibrate, n, held_out.len())?;
        let with_map = !map.is_empty() && n < MAPS;
        scores.push(images::read(images, index, &mut |view| {
            score(view, &model, &mut *executor, &mut memory, with_map.then_some(map.as_mut_slice()))
                .map_err(|error| TrainError::Image { name: images.name(index), error: error.to_string() })
        })?);
        if with_map {
            limit = map.iter().fold(limit, |l, m| l.max(*m));
            // Outside of a region of interest the map is 0.
            let mut seen: Vec<f32> = map.iter().copied().filter(|m| model.roi().is_none() || *m != 0.0).collect();
            seen.sort_unstable_by(f32::total_cmp);
            typical.extend(seen.get(seen.len() / 2));
        }
    }
    report(observer, Phase::Calibrate, held_out.len(), held_out.len())?;
    scores.sort_unstable_by(f32::total_cmp);
    typical.sort_unstable_by(f32::total_cmp);
    Ok(Measured { scores, map_scale: (typical.get(typical.len() / 2).copied().unwrap_or(0.0), limit) })
}

fn score(
    view: &ImageView<'_>,
    model: &Model<'_>,
    executor: &mut dyn Executor,
    memory: &mut Vec<f32>,
    map: Option<&mut [f32]>,
) -> Result<f32, ScoreError> {
    let options = ScorerOptions { max_width: view.width().max(16384), map: map.is_some(), ..ScorerOptions::default() };
    let needed = Scorer::memory_len_on_device(model, &options)?;
    if memory.len() < needed {
        memory.resize(needed, 0.0);
    }
    let mut scorer = Scorer::on_device(*model, &options, executor, memory)?;
    match map {
        Some(map) => scorer.score_with_map(view, map),
        None => scorer.score(view),
    }
}
