//! Image files to sample buffers: PNG, JPEG, BMP and TIFF; 8 and 16 bit, and 32-bit float TIFF; grey and colour.
//!
//! Samples keep their depth, so a 16-bit camera loses nothing on the way to the model. Alpha is dropped (a camera has
//! none), palettes are expanded, CMYK becomes RGB. The format is recognised by content, not by name. A decoder may use at
//! most 1 GiB, so that a small file that claims to be huge is refused instead of filling memory.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use adflow::image::{ChannelOrder, ImageView, Samples};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use crate::failure::{Context, Failure, Outcome};

/// Longest side that is read.
pub const MAX_SIDE: u32 = 65_535;
/// Most memory that decoding one file may take.
const MAX_BYTES: u64 = 1 << 30;

/// File names that are taken for images when a folder is listed.
pub const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];

/// Samples of one image, interleaved when there are three channels, rows without padding.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// 8 bit; white is 255.
    U8(Vec<u8>),
    /// 16 bit; white is 65535.
    U16(Vec<u16>),
    /// Float; white is 1.
    F32(Vec<f32>),
}

/// A decoded image file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// True for RGB, false for grey.
    pub colour: bool,
    /// The samples, `width * height * (1 or 3)` of them.
    pub pixels: Pixels,
}

impl Decoded {
    /// The same samples as the library sees them. Fails where the library refuses the image, e.g. for a NaN sample.
    pub fn view(&self) -> Result<ImageView<'_>, adflow::image::ImageError> {
        let (samples, white) = match &self.pixels {
            Pixels::U8(s) => (Samples::U8(s), 255.0),
            Pixels::U16(s) => (Samples::U16(s), 65535.0),
            Pixels::F32(s) => (Samples::F32(s), 1.0),
        };
        let (order, channels) = if self.colour { (ChannelOrder::Rgb, 3) } else { (ChannelOrder::Grey, 1) };
        let row = self.width as isize * channels;
        ImageView::new(samples, self.width, self.height, order, 0, channels, row, 1, white)
    }

    /// Bytes held by the samples.
    pub fn bytes(&self) -> usize {
        match &self.pixels {
            Pixels::U8(s) => s.len(),
            Pixels::U16(s) => 2 * s.len(),
            Pixels::F32(s) => 4 * s.len(),
        }
    }

    /// Bits a sample, for messages.
    pub fn depth(&self) -> u32 {
        match self.pixels {
            Pixels::U8(_) => 8,
            Pixels::U16(_) => 16,
            Pixels::F32(_) => 32,
        }
    }

    /// The image as 8-bit RGB for a person to look at; float samples are clipped to 0..1.
    pub fn to_rgb8(&self) -> image::RgbImage {
        let byte = |i: usize| match &self.pixels {
            Pixels::U8(s) => s[i],
            Pixels::U16(s) => (s[i] >> 8) as u8,
            Pixels::F32(s) => (s[i].clamp(0.0, 1.0) * 255.0 + 0.5) as u8,
        };
        image::RgbImage::from_fn(self.width, self.height, |x, y| {
            let at = y as usize * self.width as usize + x as usize;
            image::Rgb(if self.colour { [byte(3 * at), byte(3 * at + 1), byte(3 * at + 2)] } else { [byte(at); 3] })
        })
    }
}

/// True when the name ends like an image file's.
pub fn looks_like_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// Reads and decodes one file; the error names the file.
pub fn open(path: &Path) -> Outcome<Decoded> {
    let bytes = fs::read(path).context(path.display())?;
    decode(&bytes).map_err(|why| Failure::new(format!("{}: {why}", path.display())))
}

/// Decodes a file's bytes.
pub fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let Some(format) = reader.format().filter(|f| f.reading_enabled()) else {
        return Err("not an image this program reads (PNG, JPEG, BMP, TIFF)".into());
    };
    if format == ImageFormat::Tiff
        && let Some(image) = grey_float_tiff(bytes)?
    {
        return Ok(image);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let name = format.extensions_str()[0].to_uppercase();
    let image = reader.decode().map_err(|error| format!("damaged or unsupported {name} image: {error}"))?;
    let (width, height) = (image.width(), image.height());
    if width == 0 || height == 0 {
        return Err(format!("{name} image of {width}x{height} pixels"));
    }
    let (colour, pixels) = match image {
        DynamicImage::ImageLuma8(i) => (false, Pixels::U8(i.into_raw())),
        DynamicImage::ImageLumaA8(i) => (false, Pixels::U8(first_of::<2, 1, _>(&i.into_raw()))),
        DynamicImage::ImageRgb8(i) => (true, Pixels::U8(i.into_raw())),
        DynamicImage::ImageRgba8(i) => (true, Pixels::U8(first_of::<4, 3, _>(&i.into_raw()))),
        DynamicImage::ImageLuma16(i) => (false, Pixels::U16(i.into_raw())),
        DynamicImage::ImageLumaA16(i) => (false, Pixels::U16(first_of::<2, 1, _>(&i.into_raw()))),
        DynamicImage::ImageRgb16(i) => (true, Pixels::U16(i.into_raw())),
        DynamicImage::ImageRgba16(i) => (true, Pixels::U16(first_of::<4, 3, _>(&i.into_raw()))),
        DynamicImage::ImageRgb32F(i) => (true, Pixels::F32(i.into_raw())),
        DynamicImage::ImageRgba32F(i) => (true, Pixels::F32(first_of::<4, 3, _>(&i.into_raw()))),
        other => return Err(format!("pixel format {:?} is not supported", other.color())),
    };
    Ok(Decoded { width, height, colour, pixels })
}

/// Keeps the first `KEEP` of every `OF` samples: drops alpha.
fn first_of<const OF: usize, const KEEP: usize, T: Copy>(samples: &[T]) -> Vec<T> {
    samples.chunks_exact(OF).flat_map(|pixel| pixel[..KEEP].iter().copied()).collect()
}

/// One-channel float TIFF (height and profile sensors write it), which the `image` crate does not decode.
fn grey_float_tiff(bytes: &[u8]) -> Result<Option<Decoded>, String> {
    use tiff::ColorType;
    use tiff::decoder::{Decoder, DecodingResult};
    let damaged = |error: tiff::TiffError| format!("damaged or unsupported TIFF image: {error}");
    let mut limits = tiff::decoder::Limits::default();
    limits.decoding_buffer_size = MAX_BYTES as usize;
    limits.intermediate_buffer_size = MAX_BYTES as usize;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(damaged)?.with_limits(limits);
    if !matches!(decoder.colortype(), Ok(ColorType::Gray(32))) {
        return Ok(None);
    }
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    match decoder.read_image().map_err(damaged)? {
        DecodingResult::F32(samples)
            if width > 0 && height > 0 && samples.len() as u64 == u64::from(width) * u64::from(height) =>
        {
            Ok(Some(Decoded { width, height, colour: false, pixels: Pixels::F32(samples) }))
        }
        _ => Err("TIFF image with 32-bit integer samples is not supported".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, ImageBuffer, Luma, Rgba};

    fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn depth_is_kept_and_alpha_dropped() {
        let deep = ImageBuffer::<Luma<u16>, _>::from_fn(3, 2, |x, y| Luma([(x * 1000 + y) as u16]));
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let got = decode(&encoded(deep.clone().into(), format)).unwrap();
            assert_eq!((got.width, got.height, got.colour), (3, 2, false));
            assert_eq!(got.pixels, Pixels::U16(vec![0, 1000, 2000, 1, 1001, 2001]));
        }
        let grey_alpha = GrayAlphaImage::from_raw(2, 1, vec![10, 0, 20, 255]).unwrap();
        let got = decode(&encoded(grey_alpha.into(), ImageFormat::Png)).unwrap();
        assert_eq!(got.pixels, Pixels::U8(vec![10, 20]));
        let rgba = ImageBuffer::<Rgba<u8>, _>::from_raw(1, 1, vec![1, 2, 3, 4]).unwrap();
        let got = decode(&encoded(rgba.into(), ImageFormat::Png)).unwrap();
        assert_eq!((got.colour, got.pixels), (true, Pixels::U8(vec![1, 2, 3])));
    }

    #[test]
    fn grey_float_tiff_is_read() {
        let mut out = Cursor::new(Vec::new());
        tiff::encoder::TiffEncoder::new(&mut out)
            .unwrap()
            .write_image::<tiff::encoder::colortype::Gray32Float>(2, 1, &[0.25, f32::NAN])
            .unwrap();
        let got = decode(&out.into_inner()).unwrap();
        let Pixels::F32(samples) = &got.pixels else { panic!("{got:?}") };
        assert!(samples[0] == 0.25 && samples[1].is_nan());
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(decode(b"").unwrap_err(), "the file is empty");
        assert!(decode(b"hello, I am text").unwrap_err().contains("not an image"));
        assert!(decode(b"GIF89a\x01\x00\x01\x00").unwrap_err().contains("not an image"));
        let whole = encoded(ImageBuffer::<Luma<u8>, _>::new(40, 40).into(), ImageFormat::Png);
        assert!(decode(&whole[..whole.len() / 2]).unwrap_err().contains("PNG"));
        // A header that promises 60000 x 60000 colour pixels.
        let mut bomb = b"BM".to_vec();
        bomb.extend([0u8; 8]);
        bomb.extend(54u32.to_le_bytes());
        bomb.extend(40u32.to_le_bytes());
        bomb.extend(60_000u32.to_le_bytes());
        bomb.extend(60_000u32.to_le_bytes());
        bomb.extend([1, 0, 24, 0]);
        bomb.extend([0u8; 24]);
        assert!(decode(&bomb).unwrap_err().contains("BMP"));
    }
}
