//! What an image looks like, in a few numbers: how bright, how sharp, which colour, where light and dark lie.
//!
//! They are taken from at most 64 rows and 128 pixels of each, and their neighbours, whatever the size of the image, so that they cost a fraction of a
//! millisecond, and from the camera's own pixels, in which a lens out of focus shows.

use crate::image::{ChannelOrder, ImageView, SampleType};
use bytemuck::{Pod, Zeroable};

/// Rows that are looked at, and pixels in each.
const ROWS: u32 = 64;
const COLUMNS: u32 = 128;
/// Distance of the pixels that neighbours are compared with.
const APART: u32 = 4;
/// Cells of the layout in each direction.
pub const CELLS: usize = 16;

/// Samples, as a share of white, up to which a pixel is black, and from which on it is white.
const BLACK: f32 = 0.004;
const WHITE: f32 = 0.996;

/// What an image looks like.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Appearance {
    /// Width over height.
    pub aspect: f32,
    /// 1 for an image of three channels, else 0.
    pub colour: f32,
    /// The sample that means white.
    pub white_level: f32,
    /// Mean of the channels' mean, as a share of white.
    pub brightness: f32,
    /// Standard deviation of the channels' mean, as a share of white.
    pub contrast: f32,
    /// Mean square of the difference between neighbours over that between pixels four apart, along rows and columns: 1 for noise,
    /// 1/16 for what is out of focus, whatever the contrast.
    pub sharpness: f32,
    /// Share of pixels that are black.
    pub black: f32,
    /// Share of pixels with a channel at white.
    pub white: f32,
    /// Mean of red less the brightness, as a share of white.
    pub red: f32,
    /// Mean of blue less the brightness, as a share of white.
    pub blue: f32,
    /// Where light and dark lie: means of [`CELLS`]×[`CELLS`] cells, row by row, brought to mean 0 and length 1.
    pub layout: [f32; CELLS * CELLS],
}

impl Appearance {
    /// Looks at the pixels for which `inside` holds; `None` if there are none, or samples are not numbers.
    pub fn of(view: &ImageView<'_>, inside: impl Fn(u32, u32) -> bool) -> Option<Appearance> {
        let (width, height, white) = (view.width(), view.height(), view.white());
        let channels = view.order().channels();
        // Of channels in the order red, green, blue.
        let stored = |channel: usize| if view.order() == ChannelOrder::Bgr { 2 - channel } else { channel };
        let pixel = |x: u32, y: u32| -> [f32; 3] {
            let sample = |channel: usize| view.sample(x, y, stored(channel)).unwrap_or(0.0) / white;
            if channels == 1 { [sample(0); 3] } else { [sample(0), sample(1), sample(2)] }
        };
        let (rows, columns) = (ROWS.min(height), COLUMNS.min(width));
        let place =
            |n: u32, of: u32, pixels: u32| (u64::from(2 * n + 1) * u64::from(pixels) / u64::from(2 * of)) as u32;
        let cell = |n: u32, of: u32| (u64::from(n) * CELLS as u64 / u64::from(of)) as usize;
        let (mut count, mut black, mut at_white) = (0u32, 0u32, 0u32);
        let (mut sum, mut square, mut red, mut blue) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        let (mut near, mut apart, mut compared) = (0.0f64, 0.0f64, 0u32);
        let (mut cells, mut counts) = ([0.0f32; CELLS * CELLS], [0u32; CELLS * CELLS]);
        for row in 0..rows {
            let y = place(row, rows, height);
            for column in 0..columns {
                let x = place(column, columns, width);
                if !inside(x, y) {
                    continue;
                }
                let [r, g, b] = pixel(x, y);
                let grey = (r + g + b) / 3.0;
                let here = cell(row, rows) * CELLS + cell(column, columns);
                (cells[here], counts[here], count) = (cells[here] + grey, counts[here] + 1, count + 1);
                sum += f64::from(grey);
                square += f64::from(grey) * f64::from(grey);
                (red, blue) = (red + f64::from(r - grey), blue + f64::from(b - grey));
                black += u32::from(r.max(g).max(b) <= BLACK);
                at_white += u32::from(r.max(g).max(b) >= WHITE);
                for (dx, dy) in [(1, 0), (0, 1)] {
                    let (far_x, far_y) = (x + APART * dx, y + APART * dy);
                    if far_x < width && far_y < height && inside(x + dx, y + dy) && inside(far_x, far_y) {
                        let step = |x, y| {
                            let [r, g, b] = pixel(x, y);
                            f64::from((r + g + b) / 3.0 - grey)
                        };
                        let (a, b) = (step(x + dx, y + dy), step(far_x, far_y));
                        (near, apart, compared) = (near + a * a, apart + b * b, compared + 1);
                    }
                }
            }
        }
        if count == 0 || !square.is_finite() || !(near + apart).is_finite() {
            return None;
        }
        let n = f64::from(count);
        let mean = sum / n;
        let variance = (square / n - mean * mean).max(0.0);
        // Rounding adds a twelfth of a step squared to each sample, which is most of what is left of a picture out of focus.
        let step = if view.sample_type() == SampleType::F32 { 0.0 } else { 1.0 / f64::from(white) };
        let rounding = f64::from(compared) * step * step / 6.0;
        let (near, apart) = ((near - rounding).max(0.0), apart - rounding);
        let share = |of: u32| (f64::from(of) / n) as f32;
        Some(Appearance {
            aspect: width as f32 / height as f32,
            colour: if channels == 3 { 1.0 } else { 0.0 },
            white_level: white,
            brightness: mean as f32,
            contrast: libm::sqrt(variance) as f32,
            sharpness: if apart > 0.0 { (near / apart) as f32 } else { 0.0 },
            black: share(black),
            white: share(at_white),
            red: (red / n) as f32,
            blue: (blue / n) as f32,
            layout: normalised(cells, &counts),
        })
    }

    /// How alike two layouts are: 1 for the same, about 0 for unrelated ones.
    pub fn likeness(&self, layout: &[f32; CELLS * CELLS]) -> f32 {
        self.layout.iter().zip(layout).map(|(a, b)| a * b).sum()
    }
}

/// Means of cells, brought to mean 0 and length 1; all 0 where there is nothing to see.
fn normalised(mut cells: [f32; CELLS * CELLS], counts: &[u32; CELLS * CELLS]) -> [f32; CELLS * CELLS] {
    let seen = counts.iter().filter(|count| **count > 0).count().max(1) as f32;
    cells.iter_mut().zip(counts).filter(|(_, count)| **count > 0).for_each(|(cell, count)| *cell /= *count as f32);
    let mean = cells.iter().sum::<f32>() / seen;
    cells.iter_mut().zip(counts).filter(|(_, count)| **count > 0).for_each(|(cell, _)| *cell -= mean);
    to_unit_length(&mut cells);
    cells
}

/// Scales values to length 1; leaves zeros.
pub fn to_unit_length(values: &mut [f32]) {
    let length = libm::sqrtf(values.iter().map(|v| v * v).sum());
    if length > 1e-4 {
        values.iter_mut().for_each(|v| *v /= length);
    } else {
        values.fill(0.0);
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::vec::Vec;

    const ALL: fn(u32, u32) -> bool = |_, _| true;

    /// A disc on a ramp with noise.
    fn picture(width: u32, height: u32) -> Vec<u8> {
        let mut rng = crate::rng::Rng::new(1, 0, 0);
        let pixel = |p: u32, rng: &mut crate::rng::Rng| {
            let (x, y) = ((p % width) as f32 / width as f32, (p / width) as f32 / height as f32);
            let disc = (x - 0.4).powi(2) + (y - 0.3).powi(2) < 0.04;
            (60.0 + 60.0 * y + if disc { 80.0 } else { 0.0 } + rng.range(-6.0..6.0)) as u8
        };
        (0..width * height).map(|p| pixel(p, &mut rng)).collect()
    }

    #[test]
    fn known_pictures() {
        let flat = [51u8; 100 * 40];
        let a = Appearance::of(&ImageView::grey_u8(100, 40, &flat).unwrap(), ALL).unwrap();
        assert_eq!((a.aspect, a.colour, a.contrast, a.sharpness), (2.5, 0.0, 0.0, 0.0));
        assert!((a.brightness - 0.2).abs() < 1e-6 && a.layout.iter().all(|v| *v == 0.0));
        let checks: Vec<u8> = (0..64 * 64).map(|p| if (p % 64 + p / 64) % 2 == 0 { 0 } else { 255 }).collect();
        let a = Appearance::of(&ImageView::grey_u8(64, 64, &checks).unwrap(), ALL).unwrap();
        assert_eq!((a.black, a.white), (0.5, 0.5), "{a:?}");
        let ramp: Vec<u8> = (0..64 * 64).map(|p| (3 * (p % 64)) as u8).collect();
        let a = Appearance::of(&ImageView::grey_u8(64, 64, &ramp).unwrap(), ALL).unwrap();
        assert!((a.sharpness - 1.0 / 16.0).abs() < 0.01, "{a:?}");
        let mut rng = crate::rng::Rng::new(3, 0, 0);
        let noise: Vec<u8> = (0..64 * 64).map(|_| rng.below(256) as u8).collect();
        let a = Appearance::of(&ImageView::grey_u8(64, 64, &noise).unwrap(), ALL).unwrap();
        assert!((a.sharpness - 1.0).abs() < 0.05, "{a:?}");
        let orange = [200u8, 100, 0].repeat(50);
        let rgb = Appearance::of(&ImageView::rgb_u8(10, 5, &orange).unwrap(), ALL).unwrap();
        assert!((rgb.red - 100.0 / 255.0).abs() < 1e-6 && (rgb.blue + 100.0 / 255.0).abs() < 1e-6 && rgb.colour == 1.0);
    }

    #[test]
    fn layout_knows_up_from_down_and_not_light_from_dim() {
        let (w, h) = (300, 200);
        let upright = picture(w, h);
        let of = |p: &[u8]| Appearance::of(&ImageView::grey_u8(w, h, p).unwrap(), ALL).unwrap();
        let mut turned = upright.clone();
        turned.reverse();
        let dim: Vec<u8> = upright.iter().map(|v| v / 2).collect();
        let a = of(&upright);
        assert!((a.likeness(&a.layout) - 1.0).abs() < 1e-4);
        assert!(of(&dim).likeness(&a.layout) > 0.99);
        assert!(of(&turned).likeness(&a.layout) < 0.0);
    }

    #[test]
    fn only_pixels_inside_count() {
        let (w, h) = (120, 90);
        let a = picture(w, h);
        let mut b = a.clone();
        let inside = |x: u32, y: u32| x > 30 && y > 20;
        for (p, v) in b.iter_mut().enumerate() {
            if !inside(p as u32 % w, p as u32 / w) {
                *v = 255 - *v;
            }
        }
        let of = |p: &[u8]| Appearance::of(&ImageView::grey_u8(w, h, p).unwrap(), inside).unwrap();
        assert_eq!(of(&a), of(&b));
        assert_eq!(Appearance::of(&ImageView::grey_u8(w, h, &a).unwrap(), |_, _| false), None);
        let broken = [f32::NAN; 4];
        assert_eq!(Appearance::of(&ImageView::grey_f32(2, 2, &broken).unwrap(), ALL), None);
    }
}
