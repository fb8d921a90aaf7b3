//! Resize, normalise, reorder: from any view to the C×S×S planes a model reads.
//!
//! Bilinear resampling with antialiasing: output pixel i covers the triangle |t − (i+½)·r| < max(r, 1) of the input, where
//! r = input/output size, weights normalised over the samples that exist. This is what Pillow's `resize(BILINEAR)` does,
//! hence what most backbones saw in training; but in floats throughout, so the input keeps its 16 bits. The aspect ratio
//! is not kept (squash).
//!
//! A window of a larger canvas (`tiling.rs`) is made in the same way, of the pixels that it needs only.
//!
//! Rows are streamed. For each output row the few input rows under its triangle are summed into one row of scratch, in
//! the samples' own layout so that the loop runs over consecutive memory; that row alone is then resized horizontally.

use super::tiling::CanvasWindow;
use super::view::{ChannelOrder, ImageError, ImageView};
use crate::cpu::Isa;
use crate::deadline::Deadline;
use core::ops::Range;

/// Samples beyond this many times white are refused together with NaN and infinity; scaling them could overflow.
const LIMIT: f32 = 1e30;

/// Luma of ITU-R BT.601.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// How an image becomes a tensor: `channels` planes of `size`×`size`, `x·scale[c] + shift[c]` with x = sample/white.
///
/// ```
/// use adflow::image::{ImageView, Preprocess};
/// let pixels = [255u8; 6 * 4];
/// let view = ImageView::grey_u8(6, 4, &pixels)?;
/// let to_tensor = Preprocess::new(2, 3);
/// let mut scratch = [0.0; 64];
/// let mut planes = [0.0; 3 * 2 * 2];
/// assert!(to_tensor.scratch_len(6, 4) <= scratch.len());
/// to_tensor.apply(&view, &mut scratch, &mut planes)?;
/// assert!(planes.iter().all(|p| (p - 1.0).abs() < 1e-6));
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// Width and height of the planes.
    pub size: u32,
    /// 1 (colour becomes luma 0.299 R + 0.587 G + 0.114 B) or 3 (R, G, B; grey is repeated).
    pub channels: u32,
    /// Factor for each channel.
    pub scale: [f32; 3],
    /// Added to each channel after scaling; also what black becomes, hence the fill of rotated views.
    pub shift: [f32; 3],
}

impl Preprocess {
    /// Planes in 0..1, not normalised.
    #[must_use]
    pub const fn new(size: u32, channels: u32) -> Self {
        Self { size, channels, scale: [1.0; 3], shift: [0.0; 3] }
    }

    /// Three planes normalised by the mean and standard deviation of ImageNet, as torchvision's backbones expect.
    #[must_use]
    pub const fn imagenet(size: u32) -> Self {
        let (mean, sd) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let mut scale = [0.0; 3];
        let mut shift = [0.0; 3];
        let mut c = 0;
        while c < 3 {
            scale[c] = (1.0 / sd[c]) as f32;
            shift[c] = (-mean[c] / sd[c]) as f32;
            c += 1;
        }
        Self { size, channels: 3, scale, shift }
    }

    /// Elements [`Self::apply`] writes: channels·size². Saturates at `usize::MAX`.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let size = self.size as usize;
        (self.channels as usize).saturating_mul(size).saturating_mul(size)
    }

    /// Elements of scratch for any image of `width`×`height`: about 5·width + 5·size, whatever the height.
    #[must_use]
    pub fn scratch_len(&self, width: u32, height: u32) -> usize {
        let _ = height;
        self.window_scratch_len(width, self.size)
    }

    /// Elements of scratch for [`Self::apply_window`] of an image of that width on a canvas of that width.
    pub(crate) fn window_scratch_len(&self, width: u32, canvas: u32) -> usize {
        let weights = (taps(width, canvas) + 2).saturating_mul(self.size as usize);
        (width as usize).saturating_mul(3).saturating_add(weights)
    }

    /// Writes the planes of `view` to `out`. Allocates nothing.
    ///
    /// # Errors
    /// `NonFinite` names a pixel that is NaN, infinite or absurdly large; `Options`, `Scratch` and `Output` name what does
    /// not fit. `out` may have been written in part.
    pub fn apply(&self, view: &ImageView<'_>, scratch: &mut [f32], out: &mut [f32]) -> Result<(), ImageError> {
        self.apply_window(view, &CanvasWindow::whole(self.size), None, &Deadline::none(), scratch, out)
    }

    /// [`Self::apply`] until a deadline; past it `out` holds anything.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(crate) fn apply_until(
        &self,
        view: &ImageView<'_>,
        until: &Deadline,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        self.apply_window(view, &CanvasWindow::whole(self.size), None, until, scratch, out)
    }

    /// [`Self::apply_until`] for the cells of the planes that `keep`, size² values, does not set to 0. The others become 0 after
    /// normalisation, and what only they would have read may hold anything, NaN too.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(crate) fn apply_kept(
        &self,
        view: &ImageView<'_>,
        keep: &[f32],
        until: &Deadline,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        self.apply_window(view, &CanvasWindow::whole(self.size), Some(keep), until, scratch, out)
    }

    /// [`Self::apply_until`], or with `keep` [`Self::apply_kept`], of a window of the image resized to a canvas.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(crate) fn apply_window(
        &self,
        view: &ImageView<'_>,
        window: &CanvasWindow,
        keep: Option<&[f32]>,
        until: &Deadline,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        self.check()?;
        let (height, size, canvas) = (view.height(), self.size as usize, window.canvas);
        let source_channels = view.order().channels();
        let needed = self.window_scratch_len(view.width(), canvas.0);
        if scratch.len() < needed {
            return Err(ImageError::Scratch { needed, found: scratch.len() });
        }
        if out.len() != self.output_len() {
            return Err(ImageError::Output { needed: self.output_len(), found: out.len() });
        }
        // The columns of the image that the window needs.
        let columns = (0..size).map(|x| Window::range_of(window.column(x), view.width(), canvas.0));
        let (left, right) = columns.fold((usize::MAX, 0), |(l, r), (from, to)| (l.min(from), r.max(to)));
        let part = view.columns(left as u32..right as u32);
        let width = right - left;
        let (row, weights) = scratch.split_at_mut(3 * width);
        let row = &mut row[..source_channels * width];
        // Of each column of the window: bits of the first element of the row and of how many, then their weights.
        let column_len = taps(view.width(), canvas.0) + 2;
        for (x, w) in weights.chunks_exact_mut(column_len).take(size).enumerate() {
            let window = Window::new(window.column(x), view.width(), canvas.0);
            w[0] = f32::from_bits((window.start - left) as u32);
            w[1] = f32::from_bits(window.count as u32);
            for (i, w) in w[2..].iter_mut().take(window.count).enumerate() {
                *w = window.weight(i);
            }
        }
        // How the row lies: elements from pixel to pixel and from channel to channel, channels in the order R, G, B.
        let (pixel, plane) = if view.interleaved() { (3, 1) } else { (1, width) };
        let start = match view.order() {
            ChannelOrder::Grey => [0; 3],
            ChannelOrder::Rgb => [0, plane, 2 * plane],
            ChannelOrder::Bgr => [2 * plane, plane, 0],
        };
        let isa = Isa::detect();
        if keep.is_some() {
            out.fill(0.0);
        }
        for y in 0..size {
            let kept = keep.map(|keep| &keep[y * size..][..size]);
            if kept.is_some_and(|kept| kept.iter().all(|k| *k == 0.0)) {
                continue;
            }
            if until.passed() {
                return Ok(());
            }
            let rows = Window::new(window.row(y), height, canvas.1);
            row.fill(0.0);
            for i in 0..rows.count {
                part.add_row(isa, (rows.start + i) as u32, rows.weight(i) / view.white(), row);
            }
            if kept.is_none() && !row.iter().fold(true, |usable, v| usable & (v.abs() <= LIMIT)) {
                return Err(blame(view, &rows, left as u32..right as u32));
            }
            for (x, column) in weights.chunks_exact(column_len).take(size).enumerate() {
                if kept.is_some_and(|kept| kept[x] == 0.0) {
                    continue;
                }
                let (first, count) = (column[0].to_bits() as usize, column[1].to_bits() as usize);
                let weights = &column[2..][..count];
                let values = match (source_channels, pixel) {
                    (1, _) => [dot(weights, &row[first..]); 3],
                    (_, 1) => start.map(|start| dot(weights, &row[start + first..])),
                    _ => {
                        let pixels = dot_pixels(weights, &row[3 * first..]);
                        start.map(|channel| pixels[channel])
                    }
                };
                if kept.is_some() && !values.iter().all(|v| v.abs() <= LIMIT) {
                    let from = left + first;
                    return Err(blame(view, &rows, from as u32..(from + count) as u32));
                }
                let at = y * size + x;
                match (source_channels, self.channels) {
                    (1, channels) => {
                        for c in 0..channels as usize {
                            out[c * size * size + at] = values[c] * self.scale[c] + self.shift[c];
                        }
                    }
                    (_, 1) => {
                        let v = LUMA[0] * values[0] + LUMA[1] * values[1] + LUMA[2] * values[2];
                        out[at] = v * self.scale[0] + self.shift[0];
                    }
                    _ => {
                        for c in 0..3 {
                            out[c * size * size + at] = values[c] * self.scale[c] + self.shift[c];
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ImageError> {
        if self.size == 0 {
            return Err(ImageError::Options("size is 0"));
        }
        if self.channels != 1 && self.channels != 3 {
            return Err(ImageError::Options("channels must be 1 or 3"));
        }
        if !self.scale.iter().chain(&self.shift).all(|v| v.abs() <= 1e6) {
            return Err(ImageError::Options("scale and shift must be numbers within ±1e6"));
        }
        Ok(())
    }
}

/// What sample `index` of an axis resized from `input` to `output` samples is made of: the first sample it reads, and the weight
/// of that one and those behind it. [`Preprocess`] resizes both axes so.
pub fn resample_weights(index: usize, input: u32, output: u32) -> (usize, impl Iterator<Item = f32>) {
    let window = Window::new(index, input, output);
    (window.start, (0..window.count).map(move |i| window.weight(i)))
}

/// Elements of the longest window along an axis.
fn taps(input: u32, output: u32) -> usize {
    let ratio = f64::from(input) / f64::from(output.max(1));
    2 * libm::ceil(ratio.max(1.0)) as usize + 1
}

/// The input samples under one output sample and their weights, as Pillow computes them.
pub(super) struct Window {
    start: usize,
    count: usize,
    centre: f64,
    inverse: f64,
    norm: f64,
}

impl Window {
    pub(super) fn new(index: usize, input: u32, output: u32) -> Self {
        let mut window = Self::unweighted(index, input, output);
        window.norm = 1.0 / (0..window.count).map(|i| window.triangle(i)).sum::<f64>();
        window
    }

    fn unweighted(index: usize, input: u32, output: u32) -> Self {
        let ratio = f64::from(input) / f64::from(output);
        let support = ratio.max(1.0);
        let centre = (index as f64 + 0.5) * ratio;
        // Casts from a float saturate, so the first also clamps to 0.
        let start = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(input as usize);
        Self { start, count: end - start, centre, inverse: 1.0 / support, norm: 1.0 }
    }

    /// First sample under an output sample and the one behind the last.
    pub(super) fn range_of(index: usize, input: u32, output: u32) -> (usize, usize) {
        let window = Self::unweighted(index, input, output);
        (window.start, window.start + window.count)
    }

    fn triangle(&self, i: usize) -> f64 {
        let t = ((self.start + i) as f64 - self.centre + 0.5) * self.inverse;
        (1.0 - t.abs()).max(0.0)
    }

    fn weight(&self, i: usize) -> f32 {
        (self.triangle(i) * self.norm) as f32
    }
}

fn dot(weights: &[f32], values: &[f32]) -> f32 {
    weights.iter().zip(values).map(|(w, v)| w * v).sum()
}

/// [`dot`] for the three channels of pixels whose channels lie side by side.
fn dot_pixels(weights: &[f32], values: &[f32]) -> [f32; 3] {
    let mut sums = [0.0; 3];
    for (w, pixel) in weights.iter().zip(values.chunks_exact(3)) {
        sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += w * v);
    }
    sums
}

/// The first pixel under the window of rows and the columns that cannot be used.
fn blame(view: &ImageView<'_>, window: &Window, columns: Range<u32>) -> ImageError {
    for y in window.start..window.start + window.count {
        for x in columns.clone() {
            let usable = |c| view.sample(x, y as u32, c).is_some_and(|s| (s / view.white()).abs() <= 0.9 * LIMIT);
            if !(0..view.order().channels()).all(usable) {
                return ImageError::NonFinite { x, y: y as u32 };
            }
        }
    }
    ImageError::NonFinite { x: columns.start, y: window.start as u32 }
}

#[cfg(test)]
mod tests {
    use super::super::view::Samples;
    use super::*;

    /// The definition, in f64, one output pixel at a time.
    fn slow(view: &ImageView<'_>, size: u32, channel: usize, x: u32, y: u32) -> f64 {
        let axis = |i: u32, input: u32, t: u32| {
            let ratio = f64::from(input) / f64::from(size);
            let at = (f64::from(t) + 0.5 - (f64::from(i) + 0.5) * ratio) / ratio.max(1.0);
            (1.0 - at.abs()).max(0.0)
        };
        let (mut sum, mut norm) = (0.0, 0.0);
        for v in 0..view.height() {
            for u in 0..view.width() {
                let weight = axis(x, view.width(), u) * axis(y, view.height(), v);
                sum += weight * f64::from(view.sample(u, v, channel).unwrap() / view.white());
                norm += weight;
            }
        }
        sum / norm
    }

    fn run<const N: usize>(preprocess: Preprocess, view: &ImageView<'_>) -> Result<[f32; N], ImageError> {
        let mut scratch = [f32::NAN; 400];
        let mut out = [f32::NAN; N];
        let scratch = &mut scratch[..preprocess.scratch_len(view.width(), view.height())];
        preprocess.apply(view, scratch, &mut out).map(|()| out)
    }

    #[test]
    fn layouts_types_and_directions_agree_with_the_definition() {
        let noise = |i: usize| (i * 7919 + i * i * 31) % 251;
        for (w, h) in [(5u32, 3u32), (4, 8), (1, 1), (17, 2), (9, 16)] {
            let area = (w * h) as usize;
            let bytes: [u8; 4 * 144] = core::array::from_fn(|i| noise(i) as u8);
            let words: [u16; 4 * 144] = core::array::from_fn(|i| noise(i) as u16);
            let floats: [f32; 4 * 144] = core::array::from_fn(|i| noise(i) as f32);
            let (wi, n) = (w as isize, area as isize);
            use ChannelOrder::{Bgr, Grey, Rgb};
            // order, origin, pixel stride, row stride, plane stride
            let layouts = [
                (Rgb, 0, 3, 3 * wi, 1),
                (Bgr, 0, 3, 3 * wi, 1),
                (Bgr, 1, 4, 4 * wi, 1),
                (Rgb, 0, 1, wi, n),
                (Bgr, 3 * area - 1, -1, -wi, -n),
                (Rgb, 3 * area - 3, -3, -3 * wi, 1),
                (Grey, 2, 1, wi, 0),
                (Grey, area - 1, -1, -wi, 0),
                (Grey, 0, n / wi, 1, 0),
            ];
            for (order, origin, pixel, row, plane) in layouts {
                for samples in [Samples::U8(&bytes), Samples::U16(&words), Samples::F32(&floats)] {
                    let Ok(view) = ImageView::new(samples, w, h, order, origin, pixel, row, plane, 251.0) else {
                        assert_eq!(origin, 1, "only the four-channel layout may need more than there is");
                        continue;
                    };
                    let three: [f32; 48] =
                        run(Preprocess { scale: [2.0, 3.0, 4.0], ..Preprocess::new(4, 3) }, &view).unwrap();
                    let one: [f32; 16] =
                        run(Preprocess { shift: [0.5, 9.0, 9.0], ..Preprocess::new(4, 1) }, &view).unwrap();
                    for y in 0..4 {
                        for x in 0..4 {
                            let rgb: [f64; 3] = core::array::from_fn(|c| {
                                let stored = if order == Bgr { 2 - c } else { c };
                                slow(&view, 4, if order == Grey { 0 } else { stored }, x, y)
                            });
                            let at = (y * 4 + x) as usize;
                            for c in 0..3 {
                                let want = rgb[c] * (c as f64 + 2.0);
                                assert!(
                                    (f64::from(three[c * 16 + at]) - want).abs() < 1e-5,
                                    "{w}×{h} {order:?} {x} {y} {c}"
                                );
                            }
                            let luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] + 0.5;
                            assert!((f64::from(one[at]) - luma).abs() < 1e-5, "{w}×{h} {order:?} {x} {y}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_bad_pixel_is_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            for (x, y) in [(0, 0), (6, 0), (3, 4), (6, 8)] {
                for size in [1, 2, 5, 20] {
                    let mut floats = [0.5; 7 * 9];
                    floats[y * 7 + x] = bad;
                    let view = ImageView::grey_f32(7, 9, &floats).unwrap();
                    let mut scratch = [0.0; 200];
                    let mut out = [0.0; 400];
                    let size = Preprocess::new(size, 1);
                    let e = size.apply(&view, &mut scratch, &mut out[..size.output_len()]);
                    assert_eq!(e, Err(ImageError::NonFinite { x: x as u32, y: y as u32 }));
                }
            }
        }
    }

    #[test]
    fn wrong_options_and_memory_are_errors() {
        let view = ImageView::grey_u8(2, 2, &[0; 4]).unwrap();
        let good = Preprocess::new(2, 1);
        for bad in [
            Preprocess { size: 0, ..good },
            Preprocess { channels: 2, ..good },
            Preprocess { scale: [f32::NAN; 3], ..good },
            Preprocess { shift: [f32::INFINITY; 3], ..good },
        ] {
            assert!(matches!(bad.apply(&view, &mut [0.0; 99], &mut [0.0; 4]), Err(ImageError::Options(_))));
        }
        assert_eq!(good.apply(&view, &mut [0.0; 99], &mut [0.0; 5]), Err(ImageError::Output { needed: 4, found: 5 }));
        let needed = good.scratch_len(2, 2);
        assert_eq!(good.apply(&view, &mut [], &mut [0.0; 4]), Err(ImageError::Scratch { needed, found: 0 }));
        let huge = Preprocess::new(u32::MAX, 3);
        assert!(huge.output_len() > usize::MAX / 2 || huge.output_len() == 3 * (u32::MAX as usize).pow(2));
        assert!(huge.scratch_len(u32::MAX, u32::MAX) > 3 * u32::MAX as usize);
    }

    #[test]
    fn memory_does_not_grow_with_height() {
        let p = Preprocess::imagenet(224);
        assert_eq!(p.scratch_len(1000, 1), p.scratch_len(1000, 100_000));
        assert!(p.scratch_len(1000, 1000) < 6 * 1000 + 3 * 224);
    }
}
