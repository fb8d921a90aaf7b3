//! A picture to spoil: three planes of floats, R, G, B, in 0..1, row-major.

use crate::image::{ImageError, ImageView, Plane, PlaneMut, Preprocess, resize_bilinear};
use alloc::vec;
use alloc::vec::Vec;

/// Difference between channels, in 0..1, from which a picture has colour. A grey camera's channels are equal but for rounding;
/// a colour camera's differ by more than this somewhere, if only by noise, also on a grey part.
const COLOUR: f32 = 2.0 / 255.0;

/// Luma of ITU-R BT.601.
pub(super) const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// An RGB picture of `height`×`width` pixels as 3×H×W floats, black 0, white 1: what synthetic anomalies are made of.
///
/// ```
/// use adflow::Image;
/// use adflow::synth::Picture;
/// let photograph = Image::grey(640, 480, vec![128u8; 640 * 480])?;
/// let picture = Picture::from_view(&photograph.view(), 256)?;
/// assert_eq!((picture.width(), picture.height(), picture.is_grey()), (256, 256, true));
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    planes: Vec<f32>,
}

impl Picture {
    /// Takes 3×`height`×`width` values.
    ///
    /// # Errors
    /// [`ImageError::Empty`] for a picture without pixels, [`ImageError::Output`] where `planes` has another length.
    pub fn new(width: usize, height: usize, planes: Vec<f32>) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width: width as u32, height: height as u32 });
        }
        let needed = width.saturating_mul(height).saturating_mul(3);
        if planes.len() != needed {
            return Err(ImageError::Output { needed, found: planes.len() });
        }
        Ok(Self { width, height, planes })
    }

    /// A camera's image brought to `size`×`size` pixels as for a model ([`Preprocess`]); grey is repeated.
    ///
    /// # Errors
    /// [`ImageError::NonFinite`] names a pixel that is no usable number; [`ImageError::Options`] where `size` is 0.
    pub fn from_view(view: &ImageView<'_>, size: u32) -> Result<Self, ImageError> {
        let how = Preprocess::new(size, 3);
        let mut scratch = vec![0.0; how.scratch_len(view.width(), view.height())];
        let mut planes = vec![0.0; how.output_len()];
        how.apply(view, &mut scratch, &mut planes)?;
        Self::new(size as usize, size as usize, planes)
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The 3×H×W values.
    #[must_use]
    pub fn planes(&self) -> &[f32] {
        &self.planes
    }

    /// Gives the 3×H×W values away.
    #[must_use]
    pub fn into_planes(self) -> Vec<f32> {
        self.planes
    }

    /// True if all channels are the same but for rounding.
    #[must_use]
    pub fn is_grey(&self) -> bool {
        let [r, g, b] = self.channels();
        r.iter().zip(g).zip(b).all(|((r, g), b)| (r - g).abs().max((g - b).abs()) <= COLOUR)
    }

    /// A picture with `f(x, y)` as the colour of each pixel.
    pub(super) fn from_fn(width: usize, height: usize, mut f: impl FnMut(usize, usize) -> [f32; 3]) -> Self {
        let mut picture = Self { width, height, planes: vec![0.0; 3 * width * height] };
        for y in 0..height {
            for x in 0..width {
                picture.set(x, y, f(x, y));
            }
        }
        picture
    }

    pub(super) fn pixels(&self) -> usize {
        self.width * self.height
    }

    pub(super) fn channels(&self) -> [&[f32]; 3] {
        let (r, rest) = self.planes.split_at(self.pixels());
        let (g, b) = rest.split_at(self.pixels());
        [r, g, b]
    }

    pub(super) fn channels_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let pixels = self.pixels();
        self.planes.chunks_exact_mut(pixels)
    }

    pub(super) fn get(&self, x: usize, y: usize) -> [f32; 3] {
        let at = y * self.width + x;
        [self.planes[at], self.planes[at + self.pixels()], self.planes[at + 2 * self.pixels()]]
    }

    /// Sets a pixel, clipped to 0..1.
    pub(super) fn set(&mut self, x: usize, y: usize, rgb: [f32; 3]) {
        let (at, pixels) = (y * self.width + x, self.pixels());
        for (c, v) in rgb.into_iter().enumerate() {
            self.planes[at + c * pixels] = v.clamp(0.0, 1.0);
        }
    }

    /// Changes each pixel, clipped to 0..1.
    pub(super) fn map(&mut self, f: impl Fn([f32; 3]) -> [f32; 3]) {
        for y in 0..self.height {
            for x in 0..self.width {
                self.set(x, y, f(self.get(x, y)));
            }
        }
    }

    /// The colour between pixels (pixel centres are whole numbers), bilinear; beyond the border the picture is mirrored.
    pub(super) fn sample(&self, x: f32, y: f32) -> [f32; 3] {
        let (x0, y0) = (libm::floorf(x), libm::floorf(y));
        let (u, v) = (x - x0, y - y0);
        let column = |dx: i64| mirror(x0 as i64 + dx, self.width);
        let row = |dy: i64| mirror(y0 as i64 + dy, self.height);
        let (left, right, above, below) = (column(0), column(1), row(0), row(1));
        let corners = [self.get(left, above), self.get(right, above), self.get(left, below), self.get(right, below)];
        core::array::from_fn(|c| {
            let top = corners[0][c] + (corners[1][c] - corners[0][c]) * u;
            let bottom = corners[2][c] + (corners[3][c] - corners[2][c]) * u;
            top + (bottom - top) * v
        })
    }

    /// The picture with other sides, bilinear.
    pub(super) fn resized(&self, width: usize, height: usize) -> Self {
        let mut out = Self { width, height, planes: vec![0.0; 3 * width * height] };
        for (from, to) in self.channels().into_iter().zip(out.channels_mut()) {
            resize_bilinear(Plane::new(self.width, self.height, from), PlaneMut::new(width, height, to));
        }
        out
    }

    /// The part of `width`×`height` pixels with its corner at (x, y); it must lie inside.
    pub(super) fn part(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        Self::from_fn(width, height, |i, j| self.get(x + i, y + j))
    }
}

/// −1 → 0, len → len − 1, and so on.
fn mirror(i: i64, len: usize) -> usize {
    let period = 2 * len as i64;
    let i = i.rem_euclid(period);
    i.min(period - 1 - i) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert!(Picture::new(2, 2, vec![0.0; 12]).is_ok());
        assert_eq!(Picture::new(2, 2, vec![0.0; 11]), Err(ImageError::Output { needed: 12, found: 11 }));
        assert!(matches!(Picture::new(0, 2, vec![]), Err(ImageError::Empty { .. })));
        assert!(matches!(Picture::new(usize::MAX, 2, vec![]), Err(ImageError::Output { .. })));
    }

    #[test]
    fn sampling_is_exact_on_pixels_and_mirrors() {
        let p = Picture::from_fn(3, 2, |x, y| [x as f32 * 0.25, y as f32 * 0.5, 0.5]);
        assert_eq!(p.sample(2.0, 1.0), [0.5, 0.5, 0.5]);
        assert_eq!(p.sample(0.5, 0.5), [0.125, 0.25, 0.5]);
        assert_eq!(p.sample(-1.0, 0.0), p.get(0, 0));
        assert_eq!(p.sample(3.0, 2.0), p.get(2, 1));
        assert_eq!(p.resized(3, 2), p);
        assert_eq!(p.part(1, 1, 2, 1).get(1, 0), p.get(2, 1));
        assert!(!p.is_grey() && Picture::from_fn(2, 2, |x, _| [x as f32; 3]).is_grey());
    }
}
