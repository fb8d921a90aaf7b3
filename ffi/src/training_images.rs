//! Copies of the caller's images, which training reads several times.

use crate::image::adflow_samples;
use crate::status::{Failure, fail};
use adflow_core::detect::Images;
use adflow_core::image::{ChannelOrder, ImageView, Samples};

/// A copied image: samples of their own type, channels side by side, no padding.
pub(crate) struct Image {
    name: String,
    width: u32,
    height: u32,
    order: ChannelOrder,
    white: f32,
    pixels: Pixels,
}

enum Pixels {
    U8(Vec<u8>),
    U16(Vec<u16>),
    F32(Vec<f32>),
}

impl Image {
    /// Copies an image. Floats must be finite, so that no error is left for later.
    pub fn copy(name: String, samples: adflow_samples, view: &ImageView<'_>) -> Result<Image, Failure> {
        let (width, height, order) = (view.width(), view.height(), view.order());
        let pixels = match samples {
            // Integers are exact in f32.
            adflow_samples::U8 => Pixels::U8(collect(view, |s| s as u8)?),
            adflow_samples::U16 => Pixels::U16(collect(view, |s| s as u16)?),
            adflow_samples::F32 => Pixels::F32(collect(view, |s| s)?),
        };
        if let Pixels::F32(values) = &pixels
            && let Some(at) = values.iter().position(|v| !v.is_finite())
        {
            let at = at / order.channels();
            let (x, y) = (at % width as usize, at / width as usize);
            return Err(fail!(Image, "{name}: pixel ({x}, {y}) is not a finite number"));
        }
        Ok(Image { name, width, height, order, white: view.white(), pixels })
    }
}

fn collect<T>(view: &ImageView<'_>, convert: impl Fn(f32) -> T) -> Result<Vec<T>, Failure> {
    let (width, height, channels) = (view.width(), view.height(), view.order().channels());
    let len = width as usize * height as usize * channels;
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| fail!(OutOfMemory, "no memory for an image of {width}x{height}"))?;
    for y in 0..height {
        for x in 0..width {
            values.extend((0..channels).filter_map(|c| view.sample(x, y, c)).map(&convert));
        }
    }
    Ok(values)
}

/// Copied images, as training reads them.
pub(crate) struct Stored<'s>(pub &'s [Image]);

impl Images for Stored<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> String {
        self.0[index].name.clone()
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        let image = &self.0[index];
        let samples = match &image.pixels {
            Pixels::U8(values) => Samples::U8(values),
            Pixels::U16(values) => Samples::U16(values),
            Pixels::F32(values) => Samples::F32(values),
        };
        let channels = image.order.channels() as isize;
        let row = image.width as isize * channels;
        let view = ImageView::new(samples, image.width, image.height, image.order, 0, channels, row, 1, image.white);
        f(&view.map_err(|error| error.to_string())?);
        Ok(())
    }
}
