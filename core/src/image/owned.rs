//! An image that owns its samples, for programs that keep images in memory.

use super::{ChannelOrder, ImageError, ImageView, SampleType, Samples};
use alloc::vec::Vec;

/// An image in memory of its own: grey or colour, 8 bits, 16 bits or floats, rows without padding, channels side by side.
///
/// It was checked when it was made, so [`Image::view`] cannot fail. A camera's buffer that need not be kept is looked at in
/// place by an [`ImageView`].
///
/// ```
/// use adflow::Image;
/// let frame = Image::grey(640, 480, vec![0u8; 640 * 480])?;
/// assert_eq!((frame.width(), frame.height()), (640, 480));
/// assert!(Image::rgb(640, 480, vec![0u8; 640 * 480]).is_err(), "too few samples for three channels");
/// // A camera with 12 bits in 16: 4095 is white.
/// let deep = Image::grey(2, 1, vec![0u16, 4095])?.with_white(4095.0)?;
/// assert_eq!(deep.view().white(), 4095.0);
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    samples: Stored,
    width: u32,
    height: u32,
    order: ChannelOrder,
    white: f32,
}

/// Type of an image's samples: `u8` (white is 255), `u16` (65535) or `f32` (1).
pub trait Sample: sealed::Stores {}

impl Sample for u8 {}
impl Sample for u16 {}
impl Sample for f32 {}

/// Samples of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    U8(Vec<u8>),
    U16(Vec<u16>),
    F32(Vec<f32>),
}

impl Stored {
    fn samples(&self) -> Samples<'_> {
        match self {
            Stored::U8(samples) => Samples::U8(samples),
            Stored::U16(samples) => Samples::U16(samples),
            Stored::F32(samples) => Samples::F32(samples),
        }
    }
}

mod sealed {
    use super::{SampleType, Stored, Vec};

    pub trait Stores: Sized {
        const WHITE: f32;
        fn store(samples: Vec<Self>) -> Stored;
    }

    impl Stores for u8 {
        const WHITE: f32 = SampleType::U8.white();
        fn store(samples: Vec<u8>) -> Stored {
            Stored::U8(samples)
        }
    }

    impl Stores for u16 {
        const WHITE: f32 = SampleType::U16.white();
        fn store(samples: Vec<u16>) -> Stored {
            Stored::U16(samples)
        }
    }

    impl Stores for f32 {
        const WHITE: f32 = SampleType::F32.white();
        fn store(samples: Vec<f32>) -> Stored {
            Stored::F32(samples)
        }
    }
}

impl Image {
    /// An image of `width`×`height` pixels whose channels are in `order`. There may be more samples than pixels need; the
    /// rest is ignored.
    ///
    /// # Errors
    /// [`ImageError::Empty`] without pixels, [`ImageError::OutOfBounds`] with too few samples.
    pub fn new<T: Sample>(width: u32, height: u32, order: ChannelOrder, samples: Vec<T>) -> Result<Image, ImageError> {
        Image { samples: T::store(samples), width, height, order, white: T::WHITE }.checked()
    }

    /// A grey image of `width`×`height` samples.
    ///
    /// # Errors
    /// [`ImageError::Empty`] without pixels, [`ImageError::OutOfBounds`] with too few samples.
    pub fn grey<T: Sample>(width: u32, height: u32, samples: Vec<T>) -> Result<Image, ImageError> {
        Image::new(width, height, ChannelOrder::Grey, samples)
    }

    /// A colour image of `width`×`height` pixels, three samples each: red, green, blue.
    ///
    /// # Errors
    /// [`ImageError::Empty`] without pixels, [`ImageError::OutOfBounds`] with too few samples.
    pub fn rgb<T: Sample>(width: u32, height: u32, samples: Vec<T>) -> Result<Image, ImageError> {
        Image::new(width, height, ChannelOrder::Rgb, samples)
    }

    /// A colour image of `width`×`height` pixels, three samples each: blue, green, red, as OpenCV keeps them.
    ///
    /// # Errors
    /// [`ImageError::Empty`] without pixels, [`ImageError::OutOfBounds`] with too few samples.
    pub fn bgr<T: Sample>(width: u32, height: u32, samples: Vec<T>) -> Result<Image, ImageError> {
        Image::new(width, height, ChannelOrder::Bgr, samples)
    }

    /// Sets the sample that means white: 4095 for 12 bits in 16.
    ///
    /// # Errors
    /// [`ImageError::White`] unless it is a positive finite number.
    pub fn with_white(self, white: f32) -> Result<Image, ImageError> {
        Image { white, ..self }.checked()
    }

    /// The image as the rest of the library takes it; no sample is copied.
    #[must_use]
    pub fn view(&self) -> ImageView<'_> {
        self.try_view().expect("the size was checked when the image was made")
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

    fn try_view(&self) -> Result<ImageView<'_>, ImageError> {
        ImageView::dense(self.samples.samples(), self.width, self.height, self.order, self.white)
    }

    fn checked(self) -> Result<Image, ImageError> {
        self.try_view()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn every_type_and_order_is_seen_as_it_was_stored() {
        let bytes = Image::bgr(2, 1, vec![1u8, 2, 3, 4, 5, 6]).unwrap();
        let view = bytes.view();
        assert_eq!((view.width(), view.height(), view.order(), view.white()), (2, 1, ChannelOrder::Bgr, 255.0));
        assert_eq!([0, 1, 2].map(|c| view.sample(1, 0, c)), [Some(4.0), Some(5.0), Some(6.0)]);
        let words = Image::grey(1, 2, vec![7u16, 9]).unwrap().with_white(1023.0).unwrap();
        assert_eq!((words.view().sample(0, 1, 0), words.view().white()), (Some(9.0), 1023.0));
        let floats = Image::rgb(1, 1, vec![0.5f32, 0.25, 1.0]).unwrap();
        assert_eq!((floats.view().sample(0, 0, 1), floats.view().white()), (Some(0.25), 1.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(matches!(Image::grey(0, 3, vec![0u8; 3]), Err(ImageError::Empty { .. })));
        assert!(matches!(Image::rgb(2, 2, vec![0u8; 11]), Err(ImageError::OutOfBounds { .. })));
        assert!(matches!(Image::grey(u32::MAX, u32::MAX, vec![0f32; 4]), Err(ImageError::OutOfBounds { .. })));
        let grey = Image::grey(1, 1, vec![0u8]).unwrap();
        assert_eq!(grey.with_white(0.0), Err(ImageError::White(0.0)));
    }
}
