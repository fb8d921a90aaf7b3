//! Which test images the report shows, and how: the photograph beside its heat map, the true defect outlined.
//!
//! Mistakes come first, worst first, because they decide whether the model can be trusted; then a few of every class from
//! the lowest score to the highest, so that the choice flatters nobody.

use std::io::Cursor;

use adflow::threshold::Verdict;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::decode;
use crate::evaluate::{Evaluation, Mask, Shot};
use crate::failure::{Context, Outcome};
use crate::heatmap;

/// Longest side of a picture in the report.
const SIDE: u32 = 240;
/// Most mistakes shown of each kind.
const MISTAKES: usize = 12;
/// Images shown of each class.
const SAMPLES: usize = 6;
/// The outline of the true defect.
const OUTLINE: Rgb<u8> = Rgb([40, 255, 235]);

/// A heading and the images below it.
pub struct Group<'a> {
    /// The heading.
    pub title: String,
    /// One sentence below it.
    pub words: String,
    /// The images, in order.
    pub shots: Vec<&'a Shot>,
}

/// Chooses the images.
pub fn groups(e: &Evaluation) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let with = |defective: bool, verdict: Verdict, rising: bool| -> Vec<&Shot> {
        let chosen = e.shots.iter().filter(|s| s.image.defective == defective && s.verdict == Some(verdict));
        sorted(chosen, rising)
    };
    for (title, what, mut shots) in [
        ("Missed defects", "Defective parts judged good, the best hidden first.", with(true, Verdict::Good, true)),
        ("False rejects", "Good parts judged defective, the worst first.", with(false, Verdict::Defective, false)),
        ("Unsure", "Defective parts in the grey zone.", with(true, Verdict::Unsure, true)),
    ] {
        if !shots.is_empty() {
            let (all, shown) = (shots.len(), shots.len().min(MISTAKES));
            shots.truncate(MISTAKES);
            let words = if shown < all { format!("{what} {shown} of {all} shown.") } else { what.to_string() };
            groups.push(Group { title: format!("{title} ({all})"), words, shots });
        }
    }
    let mut classes: Vec<&str> = e.shots.iter().map(|s| s.image.class.as_str()).collect();
    classes.dedup();
    for class in classes {
        let members = sorted(e.shots.iter().filter(|s| s.image.class == class), true);
        let n = members.len();
        let picks: std::collections::BTreeSet<usize> =
            (0..SAMPLES.min(n)).map(|i| if n > 1 { i * (n - 1) / (SAMPLES.min(n) - 1).max(1) } else { 0 }).collect();
        let shots = picks.into_iter().map(|i| members[i]).collect();
        let words = format!("{n} images; shown from the lowest score to the highest.");
        groups.push(Group { title: class.to_string(), words, shots });
    }
    groups
}

fn sorted<'a>(shots: impl Iterator<Item = &'a Shot>, rising: bool) -> Vec<&'a Shot> {
    let mut shots: Vec<&Shot> = shots.collect();
    shots.sort_by(|a, b| if rising { a.score.total_cmp(&b.score) } else { b.score.total_cmp(&a.score) });
    shots
}

/// The photograph and its heat map as `data:` addresses, with their common size.
pub struct Pictures {
    /// The photograph.
    pub photograph: String,
    /// The photograph in grey, with the map's colours and the true defect's outline.
    pub heat: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

/// Draws both pictures of an image.
pub fn pictures(shot: &Shot, e: &Evaluation) -> Outcome<Pictures> {
    let full = decode::open(&shot.image.path)?.to_rgb8();
    let (w, h) = full.dimensions();
    let shrink = (f64::from(SIDE) / f64::from(w.max(h))).min(1.0);
    let size = ((f64::from(w) * shrink).round().max(1.0) as u32, (f64::from(h) * shrink).round().max(1.0) as u32);
    let small = if size == (w, h) { full } else { imageops::resize(&full, size.0, size.1, FilterType::Triangle) };
    let mut heat = heatmap::overlay(&small, &shot.map, e.map_size, &e.scale);
    if let Some(path) = &shot.image.mask {
        draw_outline(&mut heat, &Mask::open(path)?);
    }
    Ok(Pictures { photograph: data_address(&small)?, heat: data_address(&heat)?, size })
}

/// Draws the border just outside of the mask.
fn draw_outline(image: &mut RgbImage, mask: &Mask) {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let mut inside = vec![false; w * h];
    for (i, _) in mask.values.iter().enumerate().filter(|(_, m)| **m != 0) {
        let (x, y) = (i % mask.width, i / mask.width);
        inside[(y * h / mask.height) * w + x * w / mask.width] = true;
    }
    let grown = |by: isize| -> Vec<bool> {
        let mut out = vec![false; w * h];
        for (i, _) in inside.iter().enumerate().filter(|(_, m)| **m) {
            let (x, y) = ((i % w) as isize, (i / w) as isize);
            for yy in (y - by).max(0)..=(y + by).min(h as isize - 1) {
                for xx in (x - by).max(0)..=(x + by).min(w as isize - 1) {
                    out[yy as usize * w + xx as usize] = true;
                }
            }
        }
        out
    };
    let (outer, inner) = (grown(3), grown(2));
    for (i, pixel) in image.pixels_mut().enumerate() {
        if outer[i] && !inner[i] {
            *pixel = OUTLINE;
        }
    }
}

fn data_address(image: &RgbImage) -> Outcome<String> {
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, 88).encode_image(image).context("cannot encode JPEG")?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_surrounds_the_defect() {
        let mut image = RgbImage::new(20, 20);
        let mut mask = Mask { width: 40, height: 40, values: vec![0; 1600] };
        mask.values[20 * 40 + 20] = 255;
        draw_outline(&mut image, &mask);
        assert_eq!(image.get_pixel(10, 10).0, [0, 0, 0]);
        assert_eq!(*image.get_pixel(13, 10), OUTLINE);
        assert_eq!(image.pixels().filter(|p| **p == OUTLINE).count(), 24);
    }
}
