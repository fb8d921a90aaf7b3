//! Pictures of parts, made here: a bright square of varying place, size and brightness on noise; a circle is defective.

use adflow::detect::Images;
use adflow::image::ImageView;
use adflow::rng::Rng;

/// Side of a picture.
pub const SIDE: u32 = 96;

/// Grey frames of one size.
pub struct Frames(pub Vec<Vec<u8>>);

impl Images for Frames {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> String {
        format!("frame {index}")
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        f(&ImageView::grey_u8(SIDE, SIDE, &self.0[index]).map_err(|e| e.to_string())?);
        Ok(())
    }
}

fn shape(seed: u64, index: u64, circle: bool) -> Vec<u8> {
    let mut rng = Rng::new(seed, index, u32::from(circle));
    let (cx, cy) = (rng.range(38.0..58.0), rng.range(38.0..58.0));
    let (half, light) = (rng.range(18.0..26.0), rng.range(150.0..200.0));
    let pixel = |p: u32, rng: &mut Rng| {
        let (dx, dy) = ((p % SIDE) as f32 - cx, (p / SIDE) as f32 - cy);
        let inside = if circle { dx * dx + dy * dy < half * half * 1.27 } else { dx.abs().max(dy.abs()) < half };
        (if inside { light } else { 60.0 } + rng.range(-8.0..8.0)) as u8
    };
    (0..SIDE * SIDE).map(|p| pixel(p, &mut rng)).collect()
}

/// `count` pictures of squares, or of circles of the same area.
pub fn shapes(seed: u64, count: u64, circle: bool) -> Frames {
    Frames((0..count).map(|i| shape(seed, i, circle)).collect())
}
