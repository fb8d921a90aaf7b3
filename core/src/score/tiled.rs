//! Scoring an image in tiles: one program, run for each tile, whose maps are joined.
//!
//! Each tile's input is computed straight from the camera buffer. Of its map the steps of its middle are copied to the grid of
//! the canvas; the rest is there because the network needs surroundings. The score is the mean of the largest steps of the
//! whole grid (or the highest score of a tile), the map the grid enlarged and blurred as that of a small image is. With a
//! region of interest, steps whose centre is not kept are left out, and tiles of which nothing is kept are not run.
//!
//! Memory is that of one tile's program, the grid, and three planes of the map's size where a map is wanted.

use super::kept::{keep_of, mean_of_largest};
use super::{NOTHING_INSIDE, Outputs, Runner, ScoreError, ScorerOptions, Which};
use crate::deadline::Deadline;
use crate::image::{
    ImageError, ImageView, Preprocess, Region, enlarge, gaussian_blur_scratch_len, gaussian_blur_until,
    keep_scratch_len,
};
use crate::model::{Model, Tiles};
use core::cell::RefCell;

/// Most tiles that a device runs at once.
const MAX_BATCH: usize = 64;

/// Floats of each part of the memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TiledLayout {
    scratch: usize,
    /// The joined grid.
    grid: usize,
    /// What counts of it.
    values: usize,
    /// What is kept of a tile, and of the map.
    keep: usize,
    map_keep: usize,
    /// Rows of the grid enlarged.
    rows: usize,
    blur: usize,
}

impl TiledLayout {
    pub fn of(model: &Model<'_>, tiles: &Tiles, options: &ScorerOptions, map: bool, regions: bool) -> TiledLayout {
        let d = model.detector();
        let ((columns, rows), (width, height)) = (tiles.grid(), (d.map_width as usize, d.map_height as usize));
        let canvas = tiles.tiling().canvas().0;
        let keep_scratch = if regions { keep_scratch_len(options.max_width.max(canvas)) } else { 0 };
        let if_map = |len: usize| if map { len } else { 0 };
        TiledLayout {
            scratch: model.preprocess().window_scratch_len(options.max_width, canvas).max(keep_scratch),
            grid: if_map(columns * rows),
            values: columns * rows,
            keep: if regions { (d.size as usize).pow(2) } else { 0 },
            map_keep: if regions { if_map(width * height) } else { 0 },
            rows: if_map(rows * width),
            blur: if_map(gaussian_blur_scratch_len(width, height, d.map_blur)),
        }
    }

    pub fn total(&self) -> usize {
        [self.scratch, self.grid, self.values, self.keep, self.map_keep, self.rows, self.blur]
            .into_iter()
            .fold(0usize, usize::saturating_add)
    }
}

/// Tiles that a device runs at once.
pub(super) fn tiles_at_once(tiles: &Tiles, preferred_batch: usize) -> usize {
    preferred_batch.clamp(1, MAX_BATCH).min(tiles.tiling().count())
}

/// An image, and where to look in it.
#[derive(Clone, Copy)]
pub(super) struct Scene<'s> {
    pub image: &'s ImageView<'s>,
    pub region: Option<&'s Region<'s>>,
}

/// What is filled while tiles are run.
struct Joined<'j> {
    grid: &'j mut [f32],
    values: &'j mut [f32],
    counted: usize,
    map_keep: &'j mut [f32],
    highest: Option<f32>,
}

/// Scratch, and what is kept of a tile.
type Work<'w> = (&'w mut [f32], &'w mut [f32]);

/// One image on its way through the tiles.
struct Pass<'p> {
    model: Model<'p>,
    tiles: Tiles,
    how: Preprocess,
    scene: Scene<'p>,
    /// Whether anything is left out.
    partly: bool,
    until: &'p Deadline,
}

impl Pass<'_> {
    /// What is kept of a tile; `false` if nothing is.
    fn keep(&self, tile: usize, scratch: &mut [f32], keep: &mut [f32]) -> bool {
        let window = self.tiles.tiling().window(tile);
        let Scene { image, region } = self.scene;
        !self.partly || keep_of(image, self.model.roi(), region, &window, self.how.size, scratch, keep)
    }

    fn write(&self, tile: usize, keep: &[f32], scratch: &mut [f32], input: &mut [f32]) -> Result<(), ImageError> {
        let window = self.tiles.tiling().window(tile);
        let keep = self.partly.then_some(keep);
        self.how.apply_window(self.scene.image, &window, keep, self.until, scratch, input)
    }

    /// Takes over the middle of a tile's map.
    fn join(&self, tile: usize, map: &[f32], score: f32, keep: &[f32], joined: &mut Joined<'_>) {
        let (tiles, d) = (&self.tiles, self.model.detector());
        let (steps, owned, margin) = (d.map_steps as usize, tiles.owned_steps(), tiles.margin_steps());
        let ((columns, rows), (column, row)) = (tiles.grid(), tiles.tiling().at(tile));
        let (side, place) = (d.size as usize, tiles.place());
        let mut counts = false;
        for y in (row * owned..rows.min((row + 1) * owned)).map(|y| (y, y - row * owned + margin)) {
            for x in (column * owned..columns.min((column + 1) * owned)).map(|x| (x, x - column * owned + margin)) {
                let value = map[y.1 * steps + x.1];
                if let Some(cell) = joined.grid.get_mut(y.0 * columns + x.0) {
                    *cell = value;
                }
                if !self.partly || keep[place.pixel(y.1, side) * side + place.pixel(x.1, side)] != 0.0 {
                    joined.values[joined.counted] = value;
                    joined.counted += 1;
                    counts = true;
                }
            }
        }
        if counts {
            joined.highest =
                Some(joined.highest.map_or(score, |h| if score.total_cmp(&h).is_gt() { score } else { h }));
        }
        if self.partly && !joined.map_keep.is_empty() {
            self.keep_map(tile, keep, joined.map_keep);
        }
    }

    /// Marks the pixels of the map whose centre is in a tile's middle and kept.
    fn keep_map(&self, tile: usize, keep: &[f32], map_keep: &mut [f32]) {
        let (tiling, d) = (self.tiles.tiling(), self.model.detector());
        let ((width, height), window) = (tiling.canvas(), tiling.window(tile));
        let (side, reduce, owned) = (d.size as usize, self.tiles.reduce() as usize, tiling.owned() as usize);
        let (column, row) = tiling.at(tile);
        let centre = |pixel: usize, of: u32| (pixel * reduce + reduce / 2).min(of as usize - 1);
        // Pixels of the map with a centre in the middle of the tile; the first and last may have it outside.
        let range = |n: usize, of: u32, pixels: u32| {
            let last = ((n + 1) * owned / reduce + 1).min(pixels as usize);
            (n * owned / reduce..last).filter(move |p| centre(*p, of) / owned == n)
        };
        for y in range(row, height, d.map_height) {
            let line = (centre(y, height) as i64 - window.y) as usize;
            for x in range(column, width, d.map_width) {
                let at = (centre(x, width) as i64 - window.x) as usize;
                map_keep[y * d.map_width as usize + x] = keep[line * side + at];
            }
        }
    }
}

/// Scores an image whose width has been checked. `memory` has the layout's length.
pub(super) fn run<'m>(
    model: &Model<'m>,
    tiles: &Tiles,
    layout: &TiledLayout,
    runner: &mut Runner<'m, '_>,
    memory: &mut [f32],
    scene: Scene<'_>,
    map: Option<&mut [f32]>,
) -> Result<f32, ScoreError> {
    let (scratch, rest) = memory.split_at_mut(layout.scratch);
    let (grid, rest) = rest.split_at_mut(layout.grid);
    let (values, rest) = rest.split_at_mut(layout.values);
    let (keep, rest) = rest.split_at_mut(layout.keep);
    let (map_keep, rest) = rest.split_at_mut(layout.map_keep);
    let (rows, blur) = rest.split_at_mut(layout.rows);
    let (d, how) = (*model.detector(), model.preprocess());
    let partly = model.roi().is_some() || scene.region.is_some();
    let pass = Pass { model: *model, tiles: *tiles, how, scene, partly, until: runner.until() };
    // Tiles that are not run have nothing to show.
    let grid = if map.is_some() { grid } else { &mut [] };
    let map_keep = if map.is_some() { map_keep } else { &mut [] };
    grid.fill(0.0);
    map_keep.fill(0.0);
    let mut joined = Joined { grid, values, counted: 0, map_keep, highest: None };
    let (batch, count) = (runner.batch(), tiles.tiling().count());
    let (mut queue, mut queued) = ([0; MAX_BATCH], 0);
    // Both what fills a program's inputs and what reads its outputs need it.
    let work = RefCell::new((scratch, keep));
    for tile in 0..count {
        let inside = {
            let (scratch, keep) = &mut *work.borrow_mut();
            pass.keep(tile, scratch, keep)
        };
        if inside {
            queue[queued] = tile;
            queued += 1;
        }
        if pass.until.passed() {
            return Err(ScoreError::TimedOut);
        }
        if queued < batch && tile + 1 < count || queued == 0 {
            continue;
        }
        let (queue, len) = (&queue[..queued], how.output_len());
        // `keep` is that of the last tile; where there are several it is worked out again.
        let keeps = |tile: usize, (scratch, keep): &mut Work<'_>| batch == 1 || pass.keep(tile, scratch, keep);
        let mut written = Ok(());
        let write = |inputs: &mut [f32]| {
            let work = &mut *work.borrow_mut();
            for (input, &tile) in inputs.chunks_exact_mut(len).zip(queue) {
                if keeps(tile, work) {
                    written = written.and_then(|()| pass.write(tile, work.1, work.0, input));
                }
            }
            // Inputs beyond the queue hold what they held; nobody looks at what becomes of them.
        };
        let read = |output: &Outputs<'_>| {
            let work = &mut *work.borrow_mut();
            let maps = output.get("map").chunks_exact((d.map_steps as usize).pow(2));
            for ((&tile, map), score) in queue.iter().zip(maps).zip(output.get("score")) {
                if keeps(tile, work) {
                    pass.join(tile, map, *score, work.1, &mut joined);
                }
            }
        };
        runner.run(model, Which::Score, write, read)?;
        written?;
        queued = 0;
    }
    let Joined { grid, values, counted, map_keep, highest } = joined;
    let (Some(highest), true) = (highest, counted > 0) else { return Err(ScoreError::Region(NOTHING_INSIDE)) };
    if let Some(map) = map {
        let size = (d.map_width as usize, d.map_height as usize);
        enlarge(tiles.place_in_map(), tiles.grid(), grid, size, rows, map);
        gaussian_blur_until(size.0, size.1, d.map_blur, pass.until, map, blur);
        map.iter_mut().filter(|m| !m.is_finite()).for_each(|m| *m = f32::MAX);
        if partly {
            map.iter_mut().zip(&*map_keep).filter(|(_, keep)| **keep == 0.0).for_each(|(m, _)| *m = 0.0);
        }
    }
    let score = match tiles.top() {
        None => highest,
        Some(top) => {
            // Where a region leaves less than a tile's middle, fewer steps are that share of it.
            let all = tiles.owned_steps().pow(2).min(tiles.grid().0 * tiles.grid().1);
            let k = if counted < all { (top * counted / all).clamp(1, counted) } else { top.min(counted) };
            mean_of_largest(&mut values[..counted], k)
        }
    };
    Ok(if score.is_finite() { score } else { f32::MAX })
}
