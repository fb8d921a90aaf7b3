//! A view of somebody else's image: samples, size, and where each of them lies.
//!
//! Sample (x, y, c) is element `origin + x·pixel_stride + y·row_stride + c·plane_stride`. That one formula covers planar
//! and interleaved images, padded rows, regions of interest, unused alpha bytes, and images stored bottom-up or
//! mirrored (negative strides). [`ImageView::new`] proves that all of them lie inside the slice; nothing fails after it.
//! Planes that were allocated apart have a slice each: [`ImageView::planes`].

use crate::choice;
use crate::cpu::Isa;
use crate::simd::{Op, Simd};
use core::fmt;
use core::ops::Range;

/// The samples of an image as they lie in memory, for [`ImageView::new`].
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// 8 bits.
    U8(&'a [u8]),
    /// Up to 16 bits, in native byte order.
    U16(&'a [u16]),
    /// Floats; must be finite where the view reads them.
    F32(&'a [f32]),
}

impl Samples<'_> {
    fn len(&self) -> usize {
        match self {
            Self::U8(s) => s.len(),
            Self::U16(s) => s.len(),
            Self::F32(s) => s.len(),
        }
    }
}

choice! {
    /// Type of an image's samples.
    pub enum SampleType: "samples", default U8 {
        /// 8 bits.
        U8("u8") = 0,
        /// Up to 16 bits, in the byte order of the machine.
        U16("u16") = 1,
        /// 32-bit floats.
        F32("f32") = 2,
    }
}

impl SampleType {
    /// The sample that means white unless an image says otherwise: 255, 65535 or 1.
    #[must_use]
    pub const fn white(self) -> f32 {
        match self {
            Self::U8 => 255.0,
            Self::U16 => 65535.0,
            Self::F32 => 1.0,
        }
    }

    /// Bytes of a sample: 1, 2 or 4.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::F32 => 4,
        }
    }
}

choice! {
    /// What the channels of an image mean, in the order in which they lie in memory.
    pub enum ChannelOrder: "channels" {
        /// One channel.
        Grey("grey") = 0,
        /// Red, green, blue.
        Rgb("rgb") = 1,
        /// Blue, green, red, as OpenCV keeps them.
        Bgr("bgr") = 2,
    }
}

impl ChannelOrder {
    /// 1 or 3.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb | Self::Bgr => 3,
        }
    }
}

/// What is wrong with an image, or with the memory offered for it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ImageError {
    /// Width or height is 0.
    Empty {
        /// Width found.
        width: u32,
        /// Height found.
        height: u32,
    },
    /// Some pixel would lie outside the samples.
    OutOfBounds {
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
        /// Least element the view would read.
        least: i128,
        /// Greatest element the view would read.
        greatest: i128,
        /// Number of samples there are.
        samples: usize,
    },
    /// The value that means 1.0 is not a positive finite number.
    White(f32),
    /// A sample is NaN, infinite, or beyond 10³⁰ times white.
    NonFinite {
        /// Column of the pixel.
        x: u32,
        /// Row of the pixel.
        y: u32,
    },
    /// The preprocessing itself is not usable.
    Options(&'static str),
    /// The scratch is too short.
    Scratch {
        /// Elements needed.
        needed: usize,
        /// Elements found.
        found: usize,
    },
    /// The output does not have the right length.
    Output {
        /// Elements needed.
        needed: usize,
        /// Elements found.
        found: usize,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty { width, height } => write!(f, "image of {width}×{height} pixels has no pixels"),
            Self::OutOfBounds { width, height, least, greatest, samples } => {
                write!(
                    f,
                    "image of {width}×{height} pixels needs samples {least} to {greatest}, but there are {samples}"
                )
            }
            Self::White(white) => write!(f, "white is {white}; it must be a positive number"),
            Self::NonFinite { x, y } => write!(f, "pixel ({x}, {y}) is not a usable number"),
            Self::Options(what) => write!(f, "preprocessing: {what}"),
            Self::Scratch { needed, found } => write!(f, "scratch needs {needed} elements, found {found}"),
            Self::Output { needed, found } => write!(f, "output needs {needed} elements, found {found}"),
        }
    }
}

impl core::error::Error for ImageError {}

/// A checked view of an image in the caller's memory. Copying it copies no pixels.
///
/// ```
/// use adflow::image::ImageView;
/// let pixels = [0u8; 4 * 2 * 3];
/// let view = ImageView::rgb_u8(4, 2, &pixels)?;
/// assert_eq!((view.width(), view.height()), (4, 2));
/// assert!(ImageView::rgb_u8(4, 3, &pixels).is_err());
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    /// The samples of each channel; the same slice three times unless the planes lie apart.
    samples: [Samples<'a>; 3],
    width: u32,
    height: u32,
    order: ChannelOrder,
    origin: usize,
    pixel_stride: isize,
    row_stride: isize,
    plane_stride: isize,
    white: f32,
}

impl<'a> ImageView<'a> {
    /// Views `samples`; origin and strides count elements, not bytes. `white` is the sample that means 1.0: 255, 65535,
    /// 4095 for 12 bits in 16, often 1 for floats. A grey image ignores `plane_stride`.
    ///
    /// ```
    /// use adflow::image::{ChannelOrder, ImageView, Samples};
    /// // As OpenCV has it: 640×480 pixels of blue, green, red; rows padded to 2048 bytes.
    /// let frame = vec![0u8; 480 * 2048];
    /// let view = ImageView::new(Samples::U8(&frame), 640, 480, ChannelOrder::Bgr, 0, 3, 2048, 1, 255.0)?;
    /// // 100×100 pixels of it from (200, 50) on.
    /// let part = ImageView::new(Samples::U8(&frame), 100, 100, ChannelOrder::Bgr, 50 * 2048 + 200 * 3, 3, 2048, 1, 255.0)?;
    /// // A bitmap that is stored bottom-up: the first row is the last in memory.
    /// let bitmap = vec![0u8; 480 * 640];
    /// let view = ImageView::new(Samples::U8(&bitmap), 640, 480, ChannelOrder::Grey, 479 * 640, 1, -640, 0, 255.0)?;
    /// # Ok::<(), adflow::image::ImageError>(())
    /// ```
    ///
    /// # Errors
    /// [`ImageError::Empty`], [`ImageError::OutOfBounds`] and [`ImageError::White`]. Every address is checked here, so that no
    /// later use can fail.
    pub fn new(
        samples: Samples<'a>,
        width: u32,
        height: u32,
        order: ChannelOrder,
        origin: usize,
        pixel_stride: isize,
        row_stride: isize,
        plane_stride: isize,
        white: f32,
    ) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        if !(white.is_finite() && white > 0.0) {
            return Err(ImageError::White(white));
        }
        // Each product is below 2⁹⁶ and the sum below 2⁹⁸.
        let reach = [
            i128::from(width - 1) * pixel_stride as i128,
            i128::from(height - 1) * row_stride as i128,
            (order.channels() as i128 - 1) * plane_stride as i128,
        ];
        let least = reach.iter().fold(origin as i128, |at, &r| at + r.min(0));
        let greatest = reach.iter().fold(origin as i128, |at, &r| at + r.max(0));
        if least < 0 || greatest >= samples.len() as i128 {
            return Err(ImageError::OutOfBounds { width, height, least, greatest, samples: samples.len() });
        }
        let samples = [samples; 3];
        Ok(Self { samples, width, height, order, origin, pixel_stride, row_stride, plane_stride, white })
    }

    /// Views a colour image whose three planes lie anywhere, in the order of `order`, all with the same strides; else as
    /// [`ImageView::new`]. A grey image has only the first.
    ///
    /// ```
    /// use adflow::image::{ChannelOrder, ImageView, Samples};
    /// // As HALCON has it: three planes that were allocated apart.
    /// let (red, green, blue) = (vec![0u16; 64 * 48], vec![1u16; 64 * 48], vec![2u16; 64 * 48]);
    /// let planes = [Samples::U16(&red), Samples::U16(&green), Samples::U16(&blue)];
    /// let view = ImageView::planes(planes, 64, 48, ChannelOrder::Rgb, 0, 1, 64, 4095.0)?;
    /// assert_eq!(view.sample(63, 47, 2), Some(2.0));
    /// # Ok::<(), adflow::image::ImageError>(())
    /// ```
    ///
    /// # Errors
    /// As [`ImageView::new`], for each plane.
    pub fn planes(
        planes: [Samples<'a>; 3],
        width: u32,
        height: u32,
        order: ChannelOrder,
        origin: usize,
        pixel_stride: isize,
        row_stride: isize,
        white: f32,
    ) -> Result<Self, ImageError> {
        let view = |samples| Self::new(samples, width, height, order, origin, pixel_stride, row_stride, 0, white);
        let mut whole = view(planes[0])?;
        for (slot, samples) in whole.samples.iter_mut().zip(planes).take(order.channels()).skip(1) {
            view(samples)?;
            *slot = samples;
        }
        Ok(whole)
    }

    pub(super) fn dense(
        samples: Samples<'a>,
        width: u32,
        height: u32,
        order: ChannelOrder,
        white: f32,
    ) -> Result<Self, ImageError> {
        let channels = order.channels() as isize;
        // A row too long for isize is also too long for the samples.
        let row = (width as isize).saturating_mul(channels);
        Self::new(samples, width, height, order, 0, channels, row, 1, white)
    }

    /// A grey image of bytes without padding.
    ///
    /// # Errors
    /// As [`ImageView::new`].
    pub fn grey_u8(width: u32, height: u32, samples: &'a [u8]) -> Result<Self, ImageError> {
        Self::dense(Samples::U8(samples), width, height, ChannelOrder::Grey, 255.0)
    }

    /// Interleaved RGB bytes without padding.
    ///
    /// # Errors
    /// As [`ImageView::new`].
    pub fn rgb_u8(width: u32, height: u32, samples: &'a [u8]) -> Result<Self, ImageError> {
        Self::dense(Samples::U8(samples), width, height, ChannelOrder::Rgb, 255.0)
    }

    /// A grey image of 16-bit samples without padding; white is 65535.
    ///
    /// # Errors
    /// As [`ImageView::new`].
    pub fn grey_u16(width: u32, height: u32, samples: &'a [u16]) -> Result<Self, ImageError> {
        Self::dense(Samples::U16(samples), width, height, ChannelOrder::Grey, 65535.0)
    }

    /// Interleaved RGB samples of 16 bits without padding; white is 65535.
    ///
    /// # Errors
    /// As [`ImageView::new`].
    pub fn rgb_u16(width: u32, height: u32, samples: &'a [u16]) -> Result<Self, ImageError> {
        Self::dense(Samples::U16(samples), width, height, ChannelOrder::Rgb, 65535.0)
    }

    /// A grey image of floats without padding; white is 1.
    ///
    /// # Errors
    /// As [`ImageView::new`].
    pub fn grey_f32(width: u32, height: u32, samples: &'a [f32]) -> Result<Self, ImageError> {
        Self::dense(Samples::F32(samples), width, height, ChannelOrder::Grey, 1.0)
    }

    /// Interleaved RGB floats without padding; white is 1.
    ///
    /// # Errors
    /// As [`ImageView::new`].
    pub fn rgb_f32(width: u32, height: u32, samples: &'a [f32]) -> Result<Self, ImageError> {
        Self::dense(Samples::F32(samples), width, height, ChannelOrder::Rgb, 1.0)
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The meaning of the channels.
    #[must_use]
    pub fn order(&self) -> ChannelOrder {
        self.order
    }

    /// The type of the samples.
    #[must_use]
    pub fn sample_type(&self) -> SampleType {
        match self.samples[0] {
            Samples::U8(_) => SampleType::U8,
            Samples::U16(_) => SampleType::U16,
            Samples::F32(_) => SampleType::F32,
        }
    }

    /// The sample that means 1.0.
    #[must_use]
    pub fn white(&self) -> f32 {
        self.white
    }

    /// Sample (x, y, c) as stored, not divided by white; `None` outside the image. Channels are in stored order.
    #[must_use]
    pub fn sample(&self, x: u32, y: u32, channel: usize) -> Option<f32> {
        if x >= self.width || y >= self.height || channel >= self.order.channels() {
            return None;
        }
        let at = self.row_start(y, channel) + x as isize * self.pixel_stride;
        Some(match self.samples[channel] {
            Samples::U8(s) => f32::from(s[at as usize]),
            Samples::U16(s) => f32::from(s[at as usize]),
            Samples::F32(s) => s[at as usize],
        })
    }

    /// Some of the columns, which must exist and be at least one.
    pub(super) fn columns(&self, columns: Range<u32>) -> ImageView<'a> {
        // An element of the image, so it is not negative.
        let origin = (self.origin as isize + columns.start as isize * self.pixel_stride) as usize;
        ImageView { origin, width: columns.end - columns.start, ..*self }
    }

    /// Element of (0, y, channel). Fits isize: `new` has seen that it lies inside a slice.
    fn row_start(&self, y: u32, channel: usize) -> isize {
        self.origin as isize + y as isize * self.row_stride + channel as isize * self.plane_stride
    }

    /// Whether a row is one run of pixels with their channels side by side.
    pub(super) fn interleaved(&self) -> bool {
        self.order != ChannelOrder::Grey && self.plane_stride == 1 && self.pixel_stride == 3
    }

    /// `sum += weight · row y`. `sum` holds the row's channels side by side if [`Self::interleaved`], else as planes.
    pub(super) fn add_row(&self, isa: Isa, y: u32, weight: f32, sum: &mut [f32]) {
        if self.interleaved() {
            self.add_run(isa, 0, self.row_start(y, 0), weight, sum);
            return;
        }
        for (channel, plane) in sum.chunks_exact_mut(self.width as usize).enumerate() {
            self.add_run(isa, channel, self.row_start(y, channel), weight, plane);
        }
    }

    /// Adds samples from element `start` of a channel on: side by side if the row is interleaved, else a pixel apart.
    fn add_run(&self, isa: Isa, channel: usize, start: isize, weight: f32, sum: &mut [f32]) {
        let step = if self.interleaved() { 1 } else { self.pixel_stride };
        match self.samples[channel] {
            Samples::U8(samples) => isa.run(AddWeighted { samples, start, step, weight, sum }),
            Samples::U16(samples) => isa.run(AddWeighted { samples, start, step, weight, sum }),
            Samples::F32(samples) => isa.run(AddWeighted { samples, start, step, weight, sum }),
        }
    }
}

/// `sum[i] += weight · samples[start + i·step]`.
struct AddWeighted<'a, T> {
    samples: &'a [T],
    start: isize,
    step: isize,
    weight: f32,
    sum: &'a mut [f32],
}

impl<T: Copy + Into<f32>> Op for AddWeighted<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let AddWeighted { samples, start, step, weight, sum } = self;
        if step == 1 {
            let run = &samples[start as usize..start as usize + sum.len()];
            for (a, &s) in sum.iter_mut().zip(run) {
                *a += weight * s.into();
            }
        } else {
            for (i, a) in sum.iter_mut().enumerate() {
                *a += weight * samples[(start + i as isize * step) as usize].into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_checked() {
        let bytes = [0u8; 12];
        let view =
            |w, h, order, origin, p, r, c| ImageView::new(Samples::U8(&bytes), w, h, order, origin, p, r, c, 255.0);
        use ChannelOrder::{Bgr, Grey, Rgb};
        assert!(view(4, 3, Grey, 0, 1, 4, 0).is_ok());
        assert!(view(4, 3, Grey, 11, -1, -4, 0).is_ok());
        assert!(view(4, 3, Grey, 1, 1, 4, 0).is_err());
        assert!(view(4, 3, Grey, 10, -1, -4, 0).is_err());
        assert!(view(2, 2, Bgr, 0, 3, 6, 1).is_ok());
        assert!(view(2, 2, Rgb, 0, 1, 2, 4).is_ok());
        assert!(view(2, 2, Rgb, 0, 1, 2, 5).is_err());
        assert!(view(0, 1, Grey, 0, 1, 1, 0).is_err());
        assert!(view(1, 0, Grey, 0, 1, 1, 0).is_err());
        assert!(view(1, 1, Grey, 12, 1, 1, 0).is_err());
        assert!(view(1, 1, Grey, usize::MAX, 1, 1, 0).is_err());
        assert!(view(u32::MAX, u32::MAX, Rgb, usize::MAX, isize::MAX, isize::MAX, isize::MAX).is_err());
        assert!(view(u32::MAX, u32::MAX, Rgb, 0, isize::MIN, isize::MIN, isize::MIN).is_err());
        assert!(view(u32::MAX, u32::MAX, Rgb, 5, 0, 0, 0).is_ok());
        for white in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(ImageView::new(Samples::U8(&bytes), 1, 1, Grey, 0, 1, 1, 0, white).is_err());
        }
        assert!(ImageView::rgb_u8(u32::MAX, u32::MAX, &bytes).is_err());
        assert!(ImageView::grey_f32(1, 1, &[]).is_err());
    }

    #[test]
    fn strides_may_run_backwards() {
        let bytes: [u8; 6] = [1, 2, 3, 4, 5, 6];
        let v = ImageView::new(Samples::U8(&bytes), 3, 2, ChannelOrder::Grey, 5, -1, -3, 0, 255.0).unwrap();
        assert_eq!(v.sample(0, 0, 0), Some(6.0));
        assert_eq!(v.sample(2, 1, 0), Some(1.0));
        assert_eq!(v.sample(3, 0, 0), None);
        assert_eq!(v.sample(0, 0, 1), None);
        let mut sum = [10.0; 3];
        v.add_row(Isa::detect(), 0, 2.0, &mut sum);
        assert_eq!(sum, [22.0, 20.0, 18.0]);
    }

    #[test]
    fn planes_may_lie_apart() {
        let (b, g, r) = ([1u8, 2], [3u16, 4], [5.0f32, 6.0]);
        let planes = [Samples::U8(&b), Samples::U16(&g), Samples::F32(&r)];
        let view = |planes, w| ImageView::planes(planes, w, 1, ChannelOrder::Bgr, 0, 1, 2, 1.0);
        let v = view(planes, 2).unwrap();
        assert_eq!([0, 1, 2].map(|c| v.sample(1, 0, c)), [Some(2.0), Some(4.0), Some(6.0)]);
        let mut sum = [0.0; 6];
        v.add_row(Isa::detect(), 0, 1.0, &mut sum);
        assert_eq!(sum, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(view(planes, 3).is_err());
        assert!(view([planes[0], planes[1], Samples::F32(&r[..1])], 2).is_err());
    }
}
