//! Large images in overlapping tiles of one size.
//!
//! The image, resized to a *canvas* of W×H pixels, is cut into squares of `side` pixels whose middles, `side − 2·margin` wide,
//! lie side by side: each pixel of the canvas is *owned* by exactly one tile. Beyond its edges the canvas goes on as its mirror
//! image, so the outermost tiles see pictures of the same kind as the others and no tile's middle is near a border of zeros.
//! The canvas is never made: a window of it is computed from the image (`preprocess.rs`).

/// A square part of a canvas. Beyond the edges the canvas goes on as its mirror image.
///
/// ```
/// use adflow::image::CanvasWindow;
/// let window = CanvasWindow { canvas: (100, 80), x: -2, y: 0 };
/// assert_eq!([0, 1, 2, 3].map(|i| window.column(i)), [1, 0, 0, 1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanvasWindow {
    /// Width and height of the canvas, above 0.
    pub canvas: (u32, u32),
    /// First column; may lie left of the canvas.
    pub x: i64,
    /// First row; may lie above the canvas.
    pub y: i64,
}

impl CanvasWindow {
    /// All of a square canvas.
    pub fn whole(side: u32) -> CanvasWindow {
        CanvasWindow { canvas: (side, side), x: 0, y: 0 }
    }

    /// The canvas's column under column `i` of the window.
    pub fn column(&self, i: usize) -> usize {
        reflect(self.x + i as i64, self.canvas.0)
    }

    /// The canvas's row under row `i` of the window.
    pub fn row(&self, i: usize) -> usize {
        reflect(self.y + i as i64, self.canvas.1)
    }
}

/// −1 → 0, len → len − 1, and so on.
fn reflect(i: i64, len: u32) -> usize {
    let period = 2 * i64::from(len);
    let i = i.rem_euclid(period);
    i.min(period - 1 - i) as usize
}

/// How a canvas is cut into tiles. All sizes in pixels of the canvas.
///
/// ```
/// use adflow::image::Tiling;
/// let tiling = Tiling::new((8000, 2000), 512, 64).expect("sizes that fit");
/// assert_eq!((tiling.across(), tiling.down(), tiling.count()), (21, 6, 126));
/// assert_eq!((tiling.window(0).x, tiling.window(1).x), (-64, 320));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    canvas: (u32, u32),
    side: u32,
    margin: u32,
}

impl Tiling {
    /// Longest side of a canvas.
    pub const MAX_CANVAS: u32 = 65_536;
    /// Most tiles of a canvas.
    pub const MAX_TILES: usize = 1 << 16;

    /// Tiles of `side` pixels, of which `margin` at each edge are context for the network and never scored; `None` if nothing
    /// else is left, or if the canvas is empty or too large.
    pub fn new(canvas: (u32, u32), side: u32, margin: u32) -> Option<Tiling> {
        let sides = 1..=Tiling::MAX_CANVAS;
        let fits = sides.contains(&canvas.0) && sides.contains(&canvas.1) && sides.contains(&side);
        let tiling = Tiling { canvas, side, margin };
        (fits && margin < side.div_ceil(2) && tiling.count() <= Tiling::MAX_TILES).then_some(tiling)
    }

    /// Width and height of the canvas.
    pub fn canvas(&self) -> (u32, u32) {
        self.canvas
    }

    /// Side of a tile.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Overlap around each tile, in pixels: context for the network, scored by the neighbours or lying beyond the canvas.
    pub fn margin(&self) -> u32 {
        self.margin
    }

    /// Side of the middle of a tile, which is what it is scored by.
    pub fn owned(&self) -> u32 {
        self.side - 2 * self.margin
    }

    /// Tiles in a row.
    pub fn across(&self) -> usize {
        self.canvas.0.div_ceil(self.owned()) as usize
    }

    /// Rows of tiles.
    pub fn down(&self) -> usize {
        self.canvas.1.div_ceil(self.owned()) as usize
    }

    /// Number of tiles.
    pub fn count(&self) -> usize {
        self.across() * self.down()
    }

    /// Column and row of a tile among the tiles.
    pub fn at(&self, tile: usize) -> (usize, usize) {
        (tile % self.across(), tile / self.across())
    }

    /// What a tile sees, row by row.
    pub fn window(&self, tile: usize) -> CanvasWindow {
        let (column, row) = self.at(tile);
        let first = |n: usize| n as i64 * i64::from(self.owned()) - i64::from(self.margin);
        CanvasWindow { canvas: self.canvas, x: first(column), y: first(row) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pixel_is_owned_once_and_seen_with_its_surroundings() {
        for (canvas, side, margin) in [((100, 37), 32, 8), ((5, 5), 32, 8), ((64, 64), 32, 0), ((1, 90), 31, 15)] {
            let tiling = Tiling::new(canvas, side, margin).unwrap();
            for (x, y) in (0..canvas.0).flat_map(|x| (0..canvas.1).map(move |y| (x, y))) {
                let owners = (0..tiling.count()).filter(|&tile| {
                    let window = tiling.window(tile);
                    let inside = |at: u32, first: i64| {
                        let local = i64::from(at) - first;
                        local >= i64::from(margin) && local < i64::from(side - margin)
                    };
                    inside(x, window.x) && inside(y, window.y)
                });
                assert_eq!(owners.count(), 1, "{canvas:?} {side} {margin}: {x} {y}");
            }
        }
    }

    #[test]
    fn beyond_the_edges_lies_the_mirror_image() {
        let window = CanvasWindow { canvas: (3, 2), x: -4, y: -1 };
        let columns: [usize; 11] = core::array::from_fn(|i| window.column(i));
        assert_eq!(columns, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
        assert_eq!([0, 1, 2, 3].map(|i| window.row(i)), [0, 0, 1, 1]);
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for (canvas, side, margin) in
            [((0, 5), 8, 1), ((5, 0), 8, 1), ((70_000, 5), 8, 1), ((9, 9), 0, 0), ((9, 9), 8, 4), ((9, 9), 8, u32::MAX)]
        {
            assert_eq!(Tiling::new(canvas, side, margin), None);
        }
        assert_eq!(Tiling::new((65_536, 65_536), 3, 1), None, "too many tiles");
        assert_eq!(Tiling::new((65_536, 65_536), 1024, 128).unwrap().count(), 86 * 86);
    }
}
