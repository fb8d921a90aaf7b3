//! Maps as colours, on one scale for all images of a model.
//!
//! The scale comes from good parts the model had not seen: `typical` is their median pixel, `limit` their highest. With
//! `level = (value − typical) / (limit − typical)` a pixel that a good part could have (level < 1) stays clear or faintly
//! blue; beyond the limit it is yellow, and every doubling of the level moves it on through orange and red to violet. A
//! picture of a good part therefore stays calm, which a scale stretched over each picture would never show.

use std::io::Cursor;

use adflow::image::{Plane, PlaneMut, resize_bilinear};
use adflow::model::Model;
use image::{ImageBuffer, ImageFormat, PixelWithColorType, Rgb, RgbImage};

use crate::failure::{Context, Outcome};

/// Where the colours of a model begin and where they warn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Median pixel of good parts.
    pub typical: f32,
    /// Highest pixel of good parts.
    pub limit: f32,
}

/// Colours beyond the limit: at 1, 2, 4 and 8 times.
const WARM: [[f32; 3]; 4] = [[255.0, 226.0, 60.0], [255.0, 150.0, 20.0], [232.0, 40.0, 30.0], [150.0, 10.0, 110.0]];
/// Colour below the limit.
const CALM: [f32; 3] = [90.0, 150.0, 255.0];
/// Level of the last colour.
pub const LAST_LEVEL: f32 = 8.0;

impl Scale {
    /// The scale stored in a model.
    pub fn of(model: &Model<'_>) -> Self {
        let (typical, limit) = model.map_scale();
        Self { typical, limit }
    }

    /// 0 at `typical`, 1 at `limit`. A value that is not a number is as strange as can be.
    pub fn level(&self, value: f32) -> f32 {
        let span = (self.limit - self.typical).max(f32::MIN_POSITIVE);
        let level = (value - self.typical) / span;
        if level.is_nan() { f32::INFINITY } else { level }
    }
}

/// The colour of a level and its opacity (0..1).
pub fn colour(level: f32) -> ([f32; 3], f32) {
    if level < 1.0 {
        let t = ((level - 0.3) / 0.7).clamp(0.0, 1.0);
        return (CALM, 0.30 * t * t);
    }
    let at = level.min(LAST_LEVEL).log2();
    let i = (at as usize).min(WARM.len() - 2);
    let t = at - i as f32;
    let mix = |c: usize| WARM[i][c] + (WARM[i + 1][c] - WARM[i][c]) * t;
    ([mix(0), mix(1), mix(2)], 0.50 + 0.09 * at)
}

/// `image` in grey with the map's colours over it, at the image's size; the image itself if there is no map.
pub fn overlay(image: &RgbImage, map: &[f32], (width, height): (u32, u32), scale: &Scale) -> RgbImage {
    let (w, h) = image.dimensions();
    if map.is_empty() {
        return image.clone();
    }
    let mut values = vec![0.0; w as usize * h as usize];
    resize_bilinear(
        Plane::new(width as usize, height as usize, map),
        PlaneMut::new(w as usize, h as usize, &mut values),
    );
    let mut out = image.clone();
    for (pixel, &value) in out.pixels_mut().zip(&values) {
        let (colour, alpha) = colour(scale.level(value));
        let [r, g, b] = pixel.0.map(f32::from);
        let grey = 0.299 * r + 0.587 * g + 0.114 * b;
        *pixel = Rgb(colour.map(|c| (grey * (1.0 - alpha) + c * alpha + 0.5) as u8));
    }
    out
}

/// Encodes as PNG.
pub fn png<P: PixelWithColorType<Subpixel = u8>>(image: &ImageBuffer<P, Vec<u8>>) -> Outcome<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).context("cannot encode PNG")?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_pixels_stay_calm_and_the_limit_is_visible() {
        let scale = Scale { typical: 2.0, limit: 6.0 };
        assert_eq!([scale.level(2.0), scale.level(6.0), scale.level(10.0)], [0.0, 1.0, 2.0]);
        assert_eq!(colour(0.2).1, 0.0);
        let (below, above) = (colour(0.999), colour(1.0));
        assert!(above.1 > below.1 + 0.15 && above.0[2] < below.0[2]);
        assert_eq!(colour(scale.level(f32::NAN)), colour(1e30));
        assert_eq!(colour(LAST_LEVEL).0, WARM[3]);
        // A degenerate scale (all maps equal) must not divide by zero.
        let flat = Scale { typical: 1.0, limit: 1.0 };
        assert_eq!(flat.level(1.0), 0.0);
        assert!(flat.level(2.0) > 1.0);
    }

    #[test]
    fn overlay_puts_the_colour_where_the_map_is_high() {
        let image = RgbImage::from_pixel(8, 8, Rgb([100, 100, 100]));
        let out = overlay(&image, &[0.0, 0.0, 0.0, 9.0], (2, 2), &Scale { typical: 0.0, limit: 1.0 });
        assert_eq!(out.get_pixel(0, 0).0, [100, 100, 100]);
        let hot = out.get_pixel(7, 7).0;
        assert!(hot[0] > hot[1] + 50, "{hot:?}");
    }
}
