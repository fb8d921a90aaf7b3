//! From what the plan gives for each view or tile to one score and one map, as `score.rs` of the library does it.
//!
//! All of it is linear but for the largest values: views are averaged, tiles joined, grids enlarged and blurred by one matrix
//! for rows and one for columns. What is kept of a region of interest is known when exporting, since the image's size is.

use adflow::image::{GridPlace, d4_inverse};
use adflow::model::{MapKind, Model, Tiles, ViewKind};
use adflow::score::top_of_map;

use super::graph::{GraphBuilder, Tensor};
use super::image::{Symmetry, kept_of_view};
use super::matrix::Matrix;

/// The region leaves nothing.
const NOTHING_INSIDE: &str = "nothing of the model's region of interest is inside at this image size";

/// Why there is no map.
pub fn why_no_map(model: &Model<'_>) -> Option<&'static str> {
    let d = model.detector();
    if d.map_kind() == MapKind::None {
        return Some("the model has none");
    }
    let turned = d.views > 1 && d.view_kind() == ViewKind::Rotations;
    turned.then_some("its views are rotations, and turning maps back by splines is not exported")
}

/// Score of shape 1; `score` and `map` are the program's outputs.
pub fn score(
    g: &mut GraphBuilder,
    model: &Model<'_>,
    score: &Tensor,
    map: Option<&Tensor>,
    kept: Option<&[Vec<bool>]>,
) -> Result<Tensor, String> {
    g.scope("score");
    let score = match model.tiles() {
        Some(tiles) => score_of_tiles(g, model, tiles, score, map, kept)?,
        None => score_of_views(g, model, score, map, kept)?,
    };
    Ok(g.reshape(&score, &[1]))
}

fn score_of_views(
    g: &mut GraphBuilder,
    model: &Model<'_>,
    score: &Tensor,
    map: Option<&Tensor>,
    kept: Option<&[Vec<bool>]>,
) -> Result<Tensor, String> {
    let d = model.detector();
    let top = model.program("score").and_then(|program| top_of_map(&program));
    let (Some([kept]), Some(k), Some(map)) = (kept, top, map) else {
        return Ok(g.mean(score, &[0]));
    };
    // The mean of the same share of the positions whose centre is kept.
    let (steps, size) = (d.map_steps as usize, d.size as usize);
    let place = GridPlace { first: d.map_first, stride: d.map_stride };
    let flat = g.reshape(map, &[d.views as usize, steps * steps]);
    let mut scores = Vec::new();
    for view in 0..d.views as usize {
        let kept = kept_of_view(model, view, kept);
        let inside = |at: &usize| kept[place.pixel(at / steps, size) * size + place.pixel(at % steps, size)];
        let at: Vec<usize> = (0..steps * steps).filter(inside).collect();
        if !at.is_empty() {
            let values = g.slice(&flat, 0, view, view + 1);
            let values = g.gather(&values, 1, &at);
            scores.push(g.mean_of_largest(&values, (k as usize * at.len() / (steps * steps)).clamp(1, at.len())));
        }
    }
    if scores.is_empty() {
        return Err(NOTHING_INSIDE.into());
    }
    let scores = g.concat(&scores, 0);
    Ok(g.mean(&scores, &[0]))
}

/// The grid of the canvas, 1×1×rows×columns, from the maps of all tiles.
fn join(g: &mut GraphBuilder, tiles: &Tiles, map: &Tensor) -> Tensor {
    let (owned, margin) = (tiles.owned_steps(), tiles.margin_steps());
    let ((columns, rows), tiling) = (tiles.grid(), tiles.tiling());
    let middle = g.slice(map, 2, margin, margin + owned);
    let middle = g.slice(&middle, 3, margin, margin + owned);
    let (down, across) = (tiling.down(), tiling.across());
    let middle = g.reshape(&middle, &[down, across, owned, owned]);
    let grid = g.transpose(&middle, &[0, 2, 1, 3]);
    let grid = g.reshape(&grid, &[1, 1, down * owned, across * owned]);
    let grid = g.slice(&grid, 2, 0, rows);
    g.slice(&grid, 3, 0, columns)
}

/// The tile that owns a step of the grid, and the step in the tile's own map.
fn owner(tiles: &Tiles, x: usize, y: usize) -> (usize, usize, usize) {
    let (owned, margin) = (tiles.owned_steps(), tiles.margin_steps());
    (y / owned * tiles.tiling().across() + x / owned, x % owned + margin, y % owned + margin)
}

fn score_of_tiles(
    g: &mut GraphBuilder,
    model: &Model<'_>,
    tiles: &Tiles,
    score: &Tensor,
    map: Option<&Tensor>,
    kept: Option<&[Vec<bool>]>,
) -> Result<Tensor, String> {
    let ((columns, rows), size, place) = (tiles.grid(), model.input_size() as usize, tiles.place());
    let counts = |at: usize| {
        let (tile, x, y) = owner(tiles, at % columns, at / columns);
        kept.is_none_or(|kept| kept[tile][place.pixel(y, size) * size + place.pixel(x, size)])
    };
    let at: Vec<usize> = (0..rows * columns).filter(|at| counts(*at)).collect();
    if at.is_empty() {
        return Err(NOTHING_INSIDE.into());
    }
    let Some(top) = tiles.top() else {
        let mut owners: Vec<usize> = at.iter().map(|at| owner(tiles, at % columns, at / columns).0).collect();
        owners.sort_unstable();
        owners.dedup();
        let scores = if owners.len() == score.dims[0] { score.clone() } else { g.gather(score, 0, &owners) };
        return Ok(g.largest(&scores, &[0]));
    };
    let map = map.ok_or("the program of a tile has no map")?;
    let grid = join(g, tiles, map);
    let flat = g.reshape(&grid, &[1, rows * columns]);
    let values = if at.len() == rows * columns { flat } else { g.gather(&flat, 1, &at) };
    // Where a region leaves less than a tile's middle, fewer steps are that share of it.
    let all = tiles.owned_steps().pow(2).min(rows * columns);
    let k = if at.len() < all { (top * at.len() / all).clamp(1, at.len()) } else { top.min(at.len()) };
    Ok(g.mean_of_largest(&values, k))
}

/// The map, 1×1×height×width, of a program that gives a grid.
pub fn map(g: &mut GraphBuilder, model: &Model<'_>, map: &Tensor, kept: Option<&[Vec<bool>]>) -> Tensor {
    g.scope("map");
    let d = model.detector();
    let (width, height) = (d.map_width as usize, d.map_height as usize);
    let (blur_rows, blur_columns) = (Matrix::blur(height, d.map_blur), Matrix::blur(width, d.map_blur));
    if let Some(tiles) = model.tiles() {
        let ((columns, rows), place) = (tiles.grid(), tiles.place_in_map());
        let mut grid = join(g, tiles, map);
        if let Some(kept) = kept {
            // Tiles that the library does not run have nothing to show.
            let run: Vec<bool> = kept.iter().map(|tile| tile.contains(&true)).collect();
            let at = |at: usize| run[owner(tiles, at % columns, at / columns).0];
            let mask = g.flags(&[1, 1, rows, columns], &(0..rows * columns).map(at).collect::<Vec<_>>());
            grid = g.select(&mask, &grid, 0.0);
        }
        let rows = blur_rows.after(&Matrix::enlarge(place, rows, height));
        let columns = blur_columns.after(&Matrix::enlarge(place, columns, width));
        let map = g.resample(&grid, &rows, &columns);
        return masked(g, &map, kept.map(|kept| keep_of_map(model, tiles, kept)));
    }
    let place = GridPlace { first: d.map_first, stride: d.map_stride };
    let enlarge = Matrix::enlarge(place, d.map_steps as usize, width);
    let map = if d.views == 1 {
        g.resample(map, &blur_rows.after(&enlarge), &blur_columns.after(&enlarge))
    } else {
        let large = g.resample(map, &enlarge, &enlarge);
        let back = turn_back(g, &large);
        let mean = g.mean(&back, &[0]);
        g.resample(&mean, &blur_rows, &blur_columns)
    };
    masked(g, &map, kept.map(|kept| kept[0].clone()))
}

/// The map of a gradient, V×C×S×S: blurred, its magnitude averaged over views and channels, squared.
pub fn gradient_map(g: &mut GraphBuilder, model: &Model<'_>, gradient: &Tensor, kept: Option<&[Vec<bool>]>) -> Tensor {
    g.scope("map");
    let d = model.detector();
    let blur = Matrix::blur(d.map_width as usize, d.map_blur);
    // The loss is the mean over views, so each gradient is that much smaller.
    let whole = g.with("Mul", gradient, d.views as f32);
    let smooth = g.resample(&whole, &blur, &blur);
    let size = g.map("Abs", &smooth);
    let back = if d.views == 1 { size } else { turn_back(g, &size) };
    let mean = g.mean(&back, &[0, 1]);
    let square = g.zip("Mul", &mean, &mean);
    masked(g, &square, kept.map(|kept| kept[0].clone()))
}

/// Each view turned back into the image's frame.
fn turn_back(g: &mut GraphBuilder, views: &Tensor) -> Tensor {
    let turned: Vec<Tensor> = (0..views.dims[0])
        .map(|view| {
            let one = g.slice(views, 0, view, view + 1);
            Symmetry::of(d4_inverse(view)).apply(g, &one)
        })
        .collect();
    g.concat(&turned, 0)
}

fn masked(g: &mut GraphBuilder, map: &Tensor, kept: Option<Vec<bool>>) -> Tensor {
    let Some(kept) = kept else { return map.clone() };
    let mask = g.flags(&[1, 1, map.dims[2], map.dims[3]], &kept);
    g.select(&mask, map, 0.0)
}

/// Pixels of a canvas's map whose centre is kept.
fn keep_of_map(model: &Model<'_>, tiles: &Tiles, kept: &[Vec<bool>]) -> Vec<bool> {
    let (tiling, side, reduce) = (tiles.tiling(), model.input_size() as usize, tiles.reduce() as usize);
    let ((width, height), owned) = (tiling.canvas(), tiling.owned() as usize);
    let (columns, rows) = model.map_size();
    let centre = |pixel: usize, of: u32| (pixel * reduce + reduce / 2).min(of as usize - 1);
    let mut keep = Vec::with_capacity(columns as usize * rows as usize);
    for y in (0..rows as usize).map(|y| centre(y, height)) {
        for x in (0..columns as usize).map(|x| centre(x, width)) {
            let tile = y / owned * tiling.across() + x / owned;
            let window = tiling.window(tile);
            let (line, at) = ((y as i64 - window.y) as usize, (x as i64 - window.x) as usize);
            keep.push(kept[tile][line * side + at]);
        }
    }
    keep
}
