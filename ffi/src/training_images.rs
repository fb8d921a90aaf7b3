//! Copies the caller's images, because training reads each of them several times.

use crate::failure::{Failure, fail};
use adflow_core::image::{Image, ImageView, Sample, SampleType};

/// Copies an image and gives it a name for messages. Refuses floats that are not finite, so that training need not.
pub(crate) fn copy(name: String, samples: SampleType, view: &ImageView<'_>) -> Result<(String, Image), Failure> {
    let image = match samples {
        // Integers are exact in f32.
        SampleType::U8 => store(view, collect(view, |s| s as u8)?),
        SampleType::U16 => store(view, collect(view, |s| s as u16)?),
        SampleType::F32 => {
            let values = collect(view, |s| s)?;
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                let (at, width) = (at / view.order().channels(), view.width() as usize);
                let (x, y) = (at % width, at / width);
                return Err(fail!(Image, "{name}: pixel ({x}, {y}) is not a finite number"));
            }
            store(view, values)
        }
    };
    Ok((name, image?))
}

fn store<T: Sample>(view: &ImageView<'_>, samples: Vec<T>) -> Result<Image, Failure> {
    let image = Image::new(view.width(), view.height(), view.order(), samples);
    image.and_then(|image| image.with_white(view.white())).map_err(|error| fail!(Internal, "internal error: {error}"))
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
