//! Where to look: a region of interest, and which cells of a resized image are free of everything outside of it.
//!
//! A pixel outside the region must not change a score. Resizing mixes neighbours, so it is not enough to blank the cells
//! outside: a cell of the resized image is *kept* only if every pixel that its resampling window reads lies inside. All
//! others get one constant and are not even computed. A region of another resolution is stretched to the image; a pixel is
//! then inside only if every cell of the region that it overlaps is.

use super::preprocess::Window;
use super::tiling::CanvasWindow;
use super::view::{ChannelOrder, ImageView};
use crate::cpu::Isa;

/// A region as one bit a cell, row by row, the lowest bit of a byte first; 1 is inside. Borrowed, for example from a model.
///
/// ```
/// use adflow::image::RoiBits;
/// let bits = RoiBits::new(3, 2, &[0b011_110]).expect("six bits");
/// assert!(!bits.inside(0, 0) && bits.inside(1, 0) && bits.inside(0, 1));
/// assert_eq!(bits.share(), 4.0 / 6.0);
/// ```
#[derive(Clone, Copy, PartialEq)]
pub struct RoiBits<'a> {
    width: u32,
    height: u32,
    bits: &'a [u8],
}

impl<'a> RoiBits<'a> {
    /// Checks that there are as many bits as cells, that at least one cell is inside, and that the bits behind the last are 0.
    pub fn new(width: u32, height: u32, bits: &'a [u8]) -> Option<RoiBits<'a>> {
        let cells = (width as usize).checked_mul(height as usize)?;
        let last = bits.last()?;
        let spare = if cells.is_multiple_of(8) { 0 } else { 0xFFu8 << (cells % 8) };
        let fits = bits.len() == cells.div_ceil(8) && last & spare == 0 && bits.iter().any(|b| *b != 0);
        fits.then_some(RoiBits { width, height, bits })
    }

    /// Cells in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bits.
    pub fn bytes(&self) -> &'a [u8] {
        self.bits
    }

    /// Share of cells inside, above 0.
    pub fn share(&self) -> f64 {
        let inside: u64 = self.bits.iter().map(|b| u64::from(b.count_ones())).sum();
        inside as f64 / (f64::from(self.width) * f64::from(self.height))
    }

    /// Sets to 0 every cell of a window of `size`×`size` cells whose own resampling window in an image of `image` = width×height
    /// pixels reads anything outside; leaves the others. `scratch` is 4 rows of the region long.
    ///
    /// # Panics
    /// If `keep` is not size² long or `scratch` is too short.
    pub fn keep(&self, image: (u32, u32), window: &CanvasWindow, size: u32, scratch: &mut [f32], keep: &mut [f32]) {
        keep_window(self, image, window, size, scratch, keep);
    }

    /// Whether a cell is inside; `false` beyond the edges.
    pub fn inside(&self, x: u32, y: u32) -> bool {
        let at = y as usize * self.width as usize + x as usize;
        x < self.width && y < self.height && self.bits[at / 8] >> (at % 8) & 1 == 1
    }
}

impl core::fmt::Debug for RoiBits<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The digest goes into that of a training's settings.
        write!(f, "Roi({}x{}, {:08x})", self.width, self.height, crate::checksum::crc32(self.bits))
    }
}

/// Rows that say where to look.
pub(crate) trait Rows {
    /// Cells in a row and rows.
    fn extent(&self) -> (u32, u32);
    /// Writes 1 to `outside[x]` for each cell `first + x` of row `y` that is outside; `scratch` is 3 rows long.
    fn mark(&self, y: u32, first: u32, scratch: &mut [f32], outside: &mut [u32]);
}

impl Rows for RoiBits<'_> {
    fn extent(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn mark(&self, y: u32, first: u32, _: &mut [f32], outside: &mut [u32]) {
        for (x, o) in (first..).zip(outside) {
            *o |= u32::from(!self.inside(x, y));
        }
    }
}

/// A mask image: inside where every channel is at least half of white.
impl Rows for ImageView<'_> {
    fn extent(&self) -> (u32, u32) {
        (self.width(), self.height())
    }

    fn mark(&self, y: u32, first: u32, scratch: &mut [f32], outside: &mut [u32]) {
        let width = outside.len();
        let row = &mut scratch[..self.order().channels() * width];
        row.fill(0.0);
        self.columns(first..first + width as u32).add_row(Isa::detect(), y, 1.0 / self.white(), row);
        // Not a number is not inside.
        let inside = |v: f32| v >= 0.5;
        match (self.order(), self.interleaved()) {
            (ChannelOrder::Rgb | ChannelOrder::Bgr, true) => {
                for (o, pixel) in outside.iter_mut().zip(row.as_chunks::<3>().0) {
                    *o |= u32::from(!pixel.iter().all(|v| inside(*v)));
                }
            }
            _ => {
                for plane in row.chunks_exact(width) {
                    outside.iter_mut().zip(plane).for_each(|(o, v)| *o |= u32::from(!inside(*v)));
                }
            }
        }
    }
}

/// Neighbours in one row that are inside: columns `first` to `last`, both of them. Parts beyond the image do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// The row.
    pub row: i32,
    /// The leftmost column.
    pub first: i32,
    /// The rightmost column.
    pub last: i32,
}

/// The part of one image that is inspected, in the form in which the caller has it: a mask, run lengths, a rectangle.
///
/// ```
/// use adflow::image::{ImageView, Region, Roi, Span};
/// let mask = [0u8, 255, 255, 0, 255, 0];
/// let mask = ImageView::grey_u8(3, 2, &mask)?;
/// let spans = [Span { row: 0, first: 1, last: 2 }, Span { row: 1, first: 1, last: 1 }];
/// let spans = Region::spans(3, 2, &spans).expect("in order");
/// assert_eq!(Roi::from_region(&Region::Mask(&mask)), Roi::from_region(&spans));
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
#[derive(Clone, Copy)]
pub enum Region<'r> {
    /// Inside where every channel of an image is at least half of white.
    Mask(&'r ImageView<'r>),
    /// Runs in the order of their rows, as [`Region::spans`] has checked.
    Spans(Spans<'r>),
}

/// Run lengths of a region that have been checked: [`Region::spans`].
#[derive(Clone, Copy)]
pub struct Spans<'r> {
    spans: &'r [Span],
    /// One span for each of so many rows from that of the first on: a rectangle.
    rows: u32,
    width: u32,
    height: u32,
}

impl<'r> Region<'r> {
    /// Run lengths over an image of `width`×`height`; `None` unless in the order of rows and, in a row, of columns, apart.
    pub fn spans(width: u32, height: u32, spans: &'r [Span]) -> Option<Region<'r>> {
        let ordered = spans.iter().all(|s| s.first <= s.last)
            && spans.windows(2).all(|w| w[0].row < w[1].row || w[0].row == w[1].row && w[0].last < w[1].first);
        ordered.then_some(Region::Spans(Spans { spans, rows: 0, width, height }))
    }

    /// A rectangle over an image of `width`×`height`: `top` is its first row, and there are `rows`.
    pub fn rectangle(width: u32, height: u32, top: &'r Span, rows: u32) -> Region<'r> {
        Region::Spans(Spans { spans: core::slice::from_ref(top), rows: rows.max(1), width, height })
    }
}

impl Spans<'_> {
    fn of_row(&self, y: u32) -> &[Span] {
        let row = |s: &Span| i64::from(s.row);
        let y = i64::from(y);
        if self.rows > 0 {
            let top = self.spans.first().map_or(0, row);
            return if y >= top && y < top + i64::from(self.rows) { self.spans } else { &[] };
        }
        let from = self.spans.partition_point(|s| row(s) < y);
        let rest = &self.spans[from..];
        &rest[..rest.partition_point(|s| row(s) == y)]
    }
}

impl Rows for Spans<'_> {
    fn extent(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn mark(&self, y: u32, first: u32, _: &mut [f32], outside: &mut [u32]) {
        let (first, len) = (i64::from(first), outside.len());
        let at = |column: i64| (column - first).clamp(0, len as i64) as usize;
        let mut from = 0;
        for span in self.of_row(y) {
            let (begin, end) = (at(span.first.into()), at(i64::from(span.last) + 1));
            outside[from..begin.max(from)].fill(1);
            from = from.max(end);
        }
        outside[from..].fill(1);
    }
}

impl Rows for Region<'_> {
    fn extent(&self) -> (u32, u32) {
        match self {
            Region::Mask(mask) => mask.extent(),
            Region::Spans(spans) => spans.extent(),
        }
    }

    fn mark(&self, y: u32, first: u32, scratch: &mut [f32], outside: &mut [u32]) {
        match self {
            Region::Mask(mask) => mask.mark(y, first, scratch, outside),
            Region::Spans(spans) => spans.mark(y, first, scratch, outside),
        }
    }
}

/// The cells of `rows`, of which there are `of` along an axis, that pixels `from..to` of `pixels` overlap.
fn overlap(from: usize, to: usize, pixels: u32, of: u32) -> (usize, usize) {
    let (pixels, of) = (u64::from(pixels), u64::from(of));
    let (from, to) = (from as u64 * of / pixels, (to as u64 * of).div_ceil(pixels));
    (from as usize, to.min(of) as usize)
}

/// Floats of scratch for [`keep_window`].
pub(crate) fn keep_scratch_len(width: u32) -> usize {
    (width as usize).saturating_mul(4)
}

/// Sets to 0 every cell of a window of `size`×`size` cells whose own resampling window in an image of `image` = width×height
/// pixels reads anything outside; leaves the others. `scratch` is 4 rows of the region long.
pub(crate) fn keep_window(
    rows: &impl Rows,
    image: (u32, u32),
    window: &CanvasWindow,
    size: u32,
    scratch: &mut [f32],
    keep: &mut [f32],
) {
    let (columns, lines) = window.canvas;
    let column = |i: usize| Window::range_of(window.column(i), image.0, columns);
    let row = |i: usize| Window::range_of(window.row(i), image.1, lines);
    keep_where(rows, image, column, row, size, scratch, keep);
}

/// [`keep_window`] with windows of any kind: `columns` and `rows` give the pixels of each cell, `width` is that of `keep`.
pub(crate) fn keep_where(
    region: &impl Rows,
    image: (u32, u32),
    columns: impl Fn(usize) -> (usize, usize),
    rows: impl Fn(usize) -> (usize, usize),
    width: u32,
    scratch: &mut [f32],
    keep: &mut [f32],
) {
    let extent = region.extent();
    let cells = |x: usize| {
        let (from, to) = columns(x);
        overlap(from, to, image.0, extent.0)
    };
    // What the window needs of a row of the region.
    let needed = (0..width as usize).map(cells);
    let (left, right) = needed.fold((extent.0 as usize, 0), |(l, r), (from, to)| (l.min(from), r.max(to)));
    let (counts, scratch) = scratch.split_at_mut(right.saturating_sub(left));
    let counts: &mut [u32] = bytemuck::cast_slice_mut(counts);
    for (y, line) in keep.chunks_exact_mut(width as usize).enumerate() {
        let (from, to) = rows(y);
        let (from, to) = overlap(from, to, image.1, extent.1);
        counts.fill(0);
        for row in from..to {
            region.mark(row as u32, left as u32, scratch, counts);
        }
        let mut sum = 0;
        for count in &mut *counts {
            sum += *count;
            *count = sum;
        }
        let up_to = |cell: usize| if cell == left { 0 } else { counts[cell - left - 1] };
        for (x, cell) in line.iter_mut().enumerate() {
            let (from, to) = cells(x);
            if to > from && up_to(to) > up_to(from) {
                *cell = 0.0;
            }
        }
    }
}

#[cfg(feature = "alloc")]
mod owned {
    use super::{Region, RoiBits, Rows, keep_where};
    use crate::image::ImageView;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::fmt;

    /// A region of interest that owns its bits.
    ///
    /// ```
    /// use adflow::image::{ImageView, Roi};
    /// let mask = [0, 0, 0, 255, 255, 255];
    /// let roi = Roi::from_mask(&ImageView::grey_u8(3, 2, &mask)?).expect("something is white");
    /// assert!(roi.bits().inside(0, 1) && !roi.bits().inside(0, 0));
    /// # Ok::<(), adflow::image::ImageError>(())
    /// ```
    #[derive(Clone, PartialEq)]
    pub struct Roi {
        width: u32,
        height: u32,
        bits: Vec<u8>,
    }

    impl Roi {
        /// Inside where every channel of the mask is at least half of white; `None` if that is nowhere.
        pub fn from_mask(mask: &ImageView<'_>) -> Option<Roi> {
            Roi::from_region(&Region::Mask(mask))
        }

        /// The part of an image that a region is; `None` if that is nowhere.
        pub fn from_region(region: &Region<'_>) -> Option<Roi> {
            let (width, height) = region.extent();
            let (mut scratch, mut outside) = (vec![0.0; 3 * width as usize], vec![0; width as usize]);
            let cells = (0..height).flat_map(|y| {
                outside.fill(0);
                region.mark(y, 0, &mut scratch, &mut outside);
                outside.iter().map(|o| *o == 0).collect::<Vec<_>>()
            });
            Roi::from_cells(width, height, cells)
        }

        fn from_cells(width: u32, height: u32, cells: impl Iterator<Item = bool>) -> Option<Roi> {
            let mut bits = vec![0u8; (width as usize * height as usize).div_ceil(8)];
            for (at, _) in cells.enumerate().filter(|(_, inside)| *inside) {
                bits[at / 8] |= 1 << (at % 8);
            }
            RoiBits::new(width, height, &bits)?;
            Some(Roi { width, height, bits })
        }

        /// The region in `width`×`height` cells: inside where everything below a cell is; `None` if that is nowhere.
        pub fn at(&self, width: u32, height: u32) -> Option<Roi> {
            let mut keep = vec![1.0; width as usize * height as usize];
            let mut scratch = vec![0.0; 4 * self.width as usize];
            // Each cell is its own window in an image of as many pixels.
            let own = |i: usize| (i, i + 1);
            keep_where(&self.bits(), (width, height), own, own, width, &mut scratch, &mut keep);
            Roi::from_cells(width, height, keep.iter().map(|k| *k != 0.0))
        }

        /// The bits.
        pub fn bits(&self) -> RoiBits<'_> {
            RoiBits { width: self.width, height: self.height, bits: &self.bits }
        }
    }

    impl fmt::Debug for Roi {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Debug::fmt(&self.bits(), f)
        }
    }
}

#[cfg(feature = "alloc")]
pub use owned::Roi;

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::vec;
    use alloc::vec::Vec;

    /// The definition: a cell is kept if no pixel of its window overlaps a cell of the region that is outside.
    fn slow(roi: &RoiBits<'_>, (w, h): (u32, u32), size: u32, x: usize, y: usize) -> bool {
        let (columns, rows) = (Window::range_of(x, w, size), Window::range_of(y, h, size));
        let apart = |pixel: u64, pixels: u32, cell: u64, cells: u32| {
            (pixel + 1) * u64::from(cells) <= cell * u64::from(pixels)
                || (cell + 1) * u64::from(pixels) <= pixel * u64::from(cells)
        };
        (rows.0..rows.1).all(|v| {
            (columns.0..columns.1).all(|u| {
                (0..roi.height()).all(|j| {
                    (0..roi.width()).all(|i| {
                        roi.inside(i, j)
                            || apart(u as u64, w, i.into(), roi.width())
                            || apart(v as u64, h, j.into(), roi.height())
                    })
                })
            })
        })
    }

    #[test]
    fn kept_cells_read_nothing_outside() {
        let mut rng = Rng::new(3, 1, 4);
        for (rw, rh, w, h, size) in [(9, 7, 9, 7, 5), (6, 6, 13, 8, 6), (20, 11, 7, 9, 12), (1, 1, 5, 5, 3)] {
            let mask: Vec<u8> = (0..rw * rh).map(|_| if rng.below(14) == 0 { 0 } else { 255 }).collect();
            let Some(roi) = Roi::from_mask(&ImageView::grey_u8(rw, rh, &mask).unwrap()) else { continue };
            let mut keep = vec![1.0; (size * size) as usize];
            let mut scratch = vec![f32::NAN; 4 * rw as usize];
            keep_window(&roi.bits(), (w, h), &CanvasWindow::whole(size), size, &mut scratch, &mut keep);
            for (at, kept) in keep.iter().enumerate() {
                let (x, y) = (at % size as usize, at / size as usize);
                assert_eq!(*kept == 1.0, slow(&roi.bits(), (w, h), size, x, y), "{rw}×{rh} {w}×{h} {size}: {x} {y}");
            }
        }
    }

    #[test]
    fn masks_of_any_layout() {
        let colours = [255u8, 255, 255, 255, 0, 255, 130, 200, 128, 127, 255, 255];
        let roi = Roi::from_mask(&ImageView::rgb_u8(4, 1, &colours).unwrap()).unwrap();
        assert_eq!([0, 1, 2, 3].map(|x| roi.bits().inside(x, 0)), [true, false, true, false]);
        assert!(!roi.bits().inside(4, 0) && !roi.bits().inside(0, 1) && roi.bits().share() == 0.5);
        let floats = [f32::NAN, 1.0, 0.4, f32::INFINITY];
        let roi = Roi::from_mask(&ImageView::grey_f32(2, 2, &floats).unwrap()).unwrap();
        assert_eq!([(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| roi.bits().inside(x, y)), [false, true, false, true]);
        assert!(Roi::from_mask(&ImageView::grey_u8(2, 1, &[0, 127]).unwrap()).is_none());
    }

    #[test]
    fn another_resolution_never_adds() {
        // One black pixel of 3×3 is a ninth of the area; every cell it touches is outside.
        let roi =
            Roi::from_mask(&ImageView::grey_u8(3, 3, &[9, 255, 255, 255, 255, 255, 255, 255, 255]).unwrap()).unwrap();
        let finer = roi.at(4, 4).unwrap();
        let inside: Vec<bool> = (0..16).map(|i| finer.bits().inside(i % 4, i / 4)).collect();
        assert_eq!(inside.iter().filter(|i| !**i).count(), 4);
        assert!(!inside[0] && !inside[1] && !inside[4] && !inside[5]);
        assert!(roi.at(1, 1).is_none());
    }

    #[test]
    fn bits_are_checked() {
        assert!(RoiBits::new(3, 3, &[0xFF, 0x01]).is_some());
        assert!(RoiBits::new(3, 3, &[0xFF, 0x02]).is_none(), "a bit behind the last cell");
        assert!(RoiBits::new(3, 3, &[0, 0]).is_none(), "nothing inside");
        assert!(RoiBits::new(3, 3, &[0xFF]).is_none() && RoiBits::new(3, 3, &[1, 1, 0]).is_none());
        assert!(RoiBits::new(0, 3, &[]).is_none() && RoiBits::new(u32::MAX, u32::MAX, &[1]).is_none());
    }
}
