//! PatchCore: a memory of good features, and the distance of each position to the nearest of them (Roth et al. 2022).
//!
//! Taps joined to a grid are whitened (`density/gaussian.rs`), which makes distances comparable between channels; of the
//! training images' vectors a coreset is kept (`density/coreset.rs`). Unless told otherwise a position is compared with vectors that were
//! taken at most one cell away: where parts are aligned what is good in one place may be a defect in another. Of images that are cut into
//! tiles the whole memory is searched. The map is the distance, the score the mean of the largest distances.
//!
//! The publication averages taps over 3×3 positions, does not whiten, searches everywhere, and weights the score by the
//! neighbourhood in the memory.

use crate::detect::choices::Radius;
use crate::detect::density::coreset::k_centre;
use crate::detect::density::gaussian::{emit_white, whiten};
use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::features::grid;
use crate::detect::features::stream;
use crate::detect::job::Job;
use crate::detect::method::{Ability, Defaults, Definition, Detector, Feature, Fitting, Method, Scored, Tiles};
use crate::detect::observer::{Phase, report};
use crate::graph::TensorId;
use crate::op::{EVERYWHERE, Nearest, TopMean};
use crate::rng::Rng;
use crate::shape::Shape;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

impl Method {
    /// PatchCore: the distance of each position to the nearest of a memory of good features.
    pub const PATCHCORE: Method = Method(&Definition {
        name: "patchcore",
        number: 9,
        summary: "Distance to the nearest of a memory of good features (Roth et al. 2022)",
        tiles: Tiles::Taps(|backbone| [backbone.grids().concat(), backbone.roles().colour.to_vec()].concat()),
        can: &[Ability::Remembers],
        defaults: |backbone, _| Defaults { size: if backbone.roles().trained { 224 } else { 448 }, ..Defaults::COMMON },
        detector: &PatchCore,
    });
}

/// Channels that are drawn from those of the taps; more make a larger memory, not a better one.
const CHANNELS: u32 = 160;
/// Vectors that are chosen from where the whole memory is searched, and how many of them are kept at most.
const CANDIDATES: usize = 20_000;
const KEPT: usize = 2_000;
/// Images that are whitened at once.
const BATCH: usize = 16;
/// Share of the grid whose mean distance is the score.
const TOP: f64 = 0.01;

/// Cells in each direction, as the op has it.
fn radius(job: &Job<'_>) -> u32 {
    match job.setup.radius {
        Radius::Same => 0,
        Radius::One => 1,
        Radius::Two => 2,
        Radius::All => EVERYWHERE,
    }
}

/// Replaces the features of training images by whitened ones.
fn whiten_features(fitting: &mut Fitting<'_, '_>) -> Result<()> {
    let shape = fitting.features[0].shape;
    let program = fitting.program("white", |e| {
        let x = e.g.input("features", shape);
        let white = emit_white(e, "memory", "white", x)?;
        e.g.output("white", white);
        Ok(())
    })?;
    let mut executor = fitting.job.device.executor(&fitting.params.pack(), 0, 0)?;
    // Of an image with several views the first is remembered.
    let (len, step) = (shape.len(), shape.len() * fitting.data.views);
    for rows in fitting.data.train.chunks(BATCH) {
        let prepared = executor.prepare(program.program(), rows.len())?;
        for (to, row) in executor.input(prepared, "features").chunks_exact_mut(len).zip(rows) {
            to.copy_from_slice(&fitting.data.features[row * step..][..len]);
        }
        executor.run(prepared)?;
        for (from, row) in executor.output(prepared, "white").chunks_exact(len).zip(rows) {
            fitting.data.features[row * step..][..len].copy_from_slice(from);
        }
    }
    Ok(())
}

/// The vectors at positions of the training images.
fn vectors(fitting: &Fitting<'_, '_>, at: &[(usize, usize)]) -> Vec<f32> {
    let (shape, data) = (fitting.features[0].shape, &*fitting.data);
    let of = |&(image, position): &(usize, usize)| {
        data.row(image, 0)[position..].iter().step_by(shape.positions()).copied().take(shape.c() as usize)
    };
    at.iter().flat_map(of).collect()
}

/// The memory, and the cells that its vectors come from, ascending.
fn memory(fitting: &mut Fitting<'_, '_>) -> Result<(Vec<f32>, Vec<u32>)> {
    let (shape, seed) = (fitting.features[0].shape, fitting.job.setup.seed);
    let (c, positions) = (shape.c() as usize, shape.positions());
    let train = fitting.data.train.clone();
    let most = (fitting.job.setup.memory_bytes / (c * size_of::<f32>())).max(positions);
    let (mut memory, mut cells) = (Vec::new(), Vec::new());
    if radius(fitting.job) == EVERYWHERE {
        let counts = |image: usize, p: usize| fitting.data.counted(image).get(p).is_none_or(|counts| *counts);
        let mut all: Vec<(usize, usize)> =
            train.iter().flat_map(|&i| (0..positions).map(move |p| (i, p))).filter(|&(i, p)| counts(i, p)).collect();
        Rng::new(seed, 0, stream::MEMORY).shuffle(&mut all);
        all.truncate(CANDIDATES);
        let candidates = vectors(fitting, &all);
        for chosen in k_centre(&candidates, c, most.min(KEPT), 0) {
            memory.extend_from_slice(&candidates[chosen * c..][..c]);
        }
        return Ok((memory, cells));
    }
    for position in 0..positions {
        if position % 32 == 0 {
            report(fitting.observer, Phase::Train, position, positions)?;
        }
        let here: Vec<(usize, usize)> = train.iter().map(|&image| (image, position)).collect();
        let candidates = vectors(fitting, &here);
        let first = Rng::new(seed, position as u64, stream::MEMORY).below(here.len() as u32) as usize;
        for chosen in k_centre(&candidates, c, most / positions, first) {
            memory.extend_from_slice(&candidates[chosen * c..][..c]);
            cells.push(position as u32);
        }
    }
    Ok((memory, cells))
}

struct PatchCore;

impl Detector for PatchCore {
    fn features(&self, e: &mut Emit<'_>, image: TensorId) -> Result<Vec<Feature>> {
        let grid = e.job.backbone.grids().pop().unwrap_or_default();
        let taps = [grid, if e.job.colour { e.job.backbone.roles().colour } else { &[] }].concat();
        let maps = e.backbone(image, &taps)?;
        let maps: Vec<(&str, TensorId)> = taps.into_iter().zip(maps).collect();
        let grid = grid::join(e, "grid", &maps)?;
        let tensor = grid::draw(e, "memory", grid.features, CHANNELS)?;
        Ok(vec![Feature { name: "features".to_string(), tensor, place: Some(grid.place) }])
    }

    fn fit(&self, fitting: &mut Fitting<'_, '_>) -> Result<()> {
        let (job, features) = (fitting.job, fitting.features);
        let c = features[0].shape.c();
        let trained = job.backbone.roles().trained;
        fitting.observer.note(&format!(
            "the memory will take at most {:.1} MB, vectors of {c} numbers",
            1e-6 * job.setup.memory_bytes.max(features[0].shape.len() * size_of::<f32>()) as f64
        ));
        whiten(fitting, &features[0], "memory", if trained { 0.5 } else { 0.0 })?;
        whiten_features(fitting)?;
        let (memory, cells) = memory(fitting)?;
        fitting.params.add("memory.vectors", Shape([memory.len() as u32 / c, c, 1, 1]), false, memory)?;
        if !cells.is_empty() {
            fitting.params.add_index("memory.cells", &cells)?;
        }
        Ok(())
    }

    fn score(&self, e: &mut Emit<'_>, features: &[TensorId]) -> Result<Scored> {
        let radius = radius(e.job);
        let white = emit_white(e, "memory", "white", features[0])?;
        let mut inputs = vec![white, e.param("memory.vectors")?];
        if radius != EVERYWHERE {
            inputs.push(e.param("memory.cells")?);
        }
        let distance = e.op("distance", Nearest { radius, root: true }, &inputs)?;
        let top = grid::positions(TOP, e.job.setup, e.g.shape(distance).h());
        Ok(Scored { score: e.op("score", TopMean { k: top }, &[distance])?, map: Some(distance), top })
    }
}
