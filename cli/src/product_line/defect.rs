//! Five ways in which the flange can be wrong. Each paints on the drawn part and marks where it did.
//!
//! Strengths are drawn over a range whose weak end is hard to see: a detector that finds everything here would not tell
//! anything about a real line.

use adflow::rng::Rng;

use super::noise::{Field, mix, smoothstep};
use super::part::{BORE, Canvas, FACE, HOLE, PLATE, Part, SIDE, SINK};

/// A kind of defect; its name is the folder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A dark, jagged line that starts at an edge of the metal.
    Crack,
    /// A shallow dimple: bright on the side that faces the light, dark on the other.
    Dent,
    /// A bolt hole that was never drilled.
    MissingHole,
    /// A thin, nearly straight line with a bright burr.
    Scratch,
    /// A translucent patch of oil or rust.
    Stain,
}

/// The region a defect covers, one value a pixel, 0..1.
pub type Mask = Vec<f32>;

impl Defect {
    /// All kinds, by name.
    pub const ALL: [Self; 5] = [Self::Crack, Self::Dent, Self::MissingHole, Self::Scratch, Self::Stain];

    /// The folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crack => "crack",
            Self::Dent => "dent",
            Self::MissingHole => "missing_hole",
            Self::Scratch => "scratch",
            Self::Stain => "stain",
        }
    }

    /// Draws `part` with this defect; returns the scene and the defect's region.
    pub fn draw(self, mut part: Part, rng: &mut Rng) -> (Part, Canvas, Mask) {
        if self == Self::MissingHole {
            part.missing_hole = Some(rng.below(4) as usize);
        }
        let mut canvas = part.draw();
        let mut mask = vec![0.0; SIDE * SIDE];
        match self {
            Self::Crack => crack(&part, &mut canvas, &mut mask, rng),
            Self::Dent => dent(&part, &mut canvas, &mut mask, rng),
            Self::MissingHole => missing_hole(&part, &mut mask),
            Self::Scratch => scratch(&part, &mut canvas, &mut mask, rng),
            Self::Stain => stain(&part, &mut canvas, &mut mask, rng),
        }
        (part, canvas, mask)
    }
}

/// Visits every pixel with its part position.
fn each_pixel(part: &Part, canvas: &mut Canvas, mask: &mut Mask, mut f: impl FnMut(f32, f32, &mut [f32; 3], &mut f32)) {
    for (i, (pixel, m)) in canvas.rgb.iter_mut().zip(mask.iter_mut()).enumerate() {
        let (x, y) = part.to_part((i % SIDE) as f32, (i / SIDE) as f32);
        f(x, y, pixel, m);
    }
}

fn place_on_metal(part: &Part, margin: f32, rng: &mut Rng) -> (f32, f32) {
    for _ in 0..200 {
        let (x, y) = (rng.range(-PLATE..PLATE), rng.range(-PLATE..PLATE));
        if part.is_metal(x, y, margin) {
            return (x, y);
        }
    }
    (0.0, -(BORE + FACE) / 2.0)
}

/// Nearest distance from (x, y) to a chain of points, and how far along the chain that is (0..1).
fn distance_to_chain(chain: &[(f32, f32)], x: f32, y: f32) -> (f32, f32) {
    let mut best = (f32::MAX, 0.0);
    let links = chain.len() - 1;
    for (i, pair) in chain.windows(2).enumerate() {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        let (ux, uy) = (bx - ax, by - ay);
        let t = (((x - ax) * ux + (y - ay) * uy) / (ux * ux + uy * uy).max(1e-6)).clamp(0.0, 1.0);
        let d = (x - ax - t * ux).hypot(y - ay - t * uy);
        if d < best.0 {
            best = (d, (i as f32 + t) / links as f32);
        }
    }
    best
}

fn scratch(part: &Part, canvas: &mut Canvas, mask: &mut Mask, rng: &mut Rng) {
    let (x0, y0) = place_on_metal(part, 8.0, rng);
    let (mut angle, bend) = (rng.range(0.0..std::f32::consts::TAU), rng.range(-0.02..0.02));
    let length = rng.range(35.0..110.0);
    let mut chain = vec![(x0, y0)];
    for _ in 0..12 {
        let (x, y) = chain[chain.len() - 1];
        angle += bend * length / 12.0;
        chain.push((x + angle.cos() * length / 12.0, y + angle.sin() * length / 12.0));
    }
    let (width, strength) = (rng.range(0.55..1.2), rng.range(0.16..0.45));
    let side = (angle - 0.3).sin().signum();
    each_pixel(part, canvas, mask, |x, y, pixel, m| {
        if !part.is_metal(x, y, 0.5) {
            return;
        }
        let (d, t) = distance_to_chain(&chain, x, y);
        if d > 4.0 {
            return;
        }
        // Pressure rises and falls along the stroke.
        let pressure = smoothstep(0.0, 0.15, t) * (1.0 - smoothstep(0.8, 1.0, t));
        let core = (-(d / width).powi(2)).exp() * pressure;
        let (shifted, _) = distance_to_chain(&chain, x - side, y + side);
        let burr = (-(shifted / width).powi(2)).exp() * pressure;
        for c in pixel.iter_mut() {
            *c += strength * core - 0.6 * strength * burr;
        }
        *m = m.max(smoothstep(0.15, 0.3, core.max(burr * 0.8)));
    });
}

fn crack(part: &Part, canvas: &mut Canvas, mask: &mut Mask, rng: &mut Rng) {
    // From the bore, from a bolt hole or from the plate's edge, away from it.
    let (mut x, mut y, mut angle) = match rng.below(3) {
        0 => {
            let a = rng.range(0.0..std::f32::consts::TAU);
            ((BORE + 4.0) * a.cos(), (BORE + 4.0) * a.sin(), a)
        }
        1 => {
            let (hx, hy) = Part::hole(rng.below(4) as usize);
            let a = (-hy).atan2(-hx) + rng.range(-1.2..1.2);
            (hx + HOLE * a.cos(), hy + HOLE * a.sin(), a)
        }
        _ => {
            let along = rng.range(-60.0..60.0);
            match rng.below(4) {
                0 => (along, -PLATE, std::f32::consts::FRAC_PI_2),
                1 => (along, PLATE, -std::f32::consts::FRAC_PI_2),
                2 => (-PLATE, along, 0.0),
                _ => (PLATE, along, std::f32::consts::PI),
            }
        }
    };
    let mut chain = vec![(x, y)];
    for _ in 0..rng.below(10) + 9 {
        let step = rng.range(2.5..5.5);
        let turn = angle + rng.range(-0.9..0.9);
        angle += rng.range(-0.18..0.18);
        (x, y) = (x + step * turn.cos(), y + step * turn.sin());
        chain.push((x, y));
    }
    let (width, strength) = (rng.range(0.6..1.25), rng.range(0.35..0.85));
    each_pixel(part, canvas, mask, |x, y, pixel, m| {
        if !part.is_metal(x, y, -0.5) {
            return;
        }
        let (d, t) = distance_to_chain(&chain, x, y);
        if d > 4.0 {
            return;
        }
        let here = width * (1.0 - 0.7 * t);
        let depth = (-(d / here).powi(2)).exp() * (1.0 - smoothstep(0.85, 1.0, t));
        for c in pixel.iter_mut() {
            *c = mix(*c, 0.10, strength * depth);
        }
        *m = m.max(smoothstep(0.15, 0.3, depth));
    });
}

fn dent(part: &Part, canvas: &mut Canvas, mask: &mut Mask, rng: &mut Rng) {
    let (x0, y0) = place_on_metal(part, 9.0, rng);
    let (radius, strength) = (rng.range(4.5..10.0), rng.range(0.14..0.38));
    let (squash, tilt) = (rng.range(0.75..1.3), rng.range(0.0..3.0));
    let (s, c) = f32::sin_cos(tilt);
    each_pixel(part, canvas, mask, |x, y, pixel, m| {
        if !part.is_metal(x, y, 0.0) {
            return;
        }
        let (dx, dy) = (x - x0, y - y0);
        let (u, v) = ((c * dx + s * dy) / radius * squash, (c * dy - s * dx) / radius / squash);
        let r2 = u * u + v * v;
        if r2 > 4.0 {
            return;
        }
        let depth = (-1.6 * r2).exp();
        // Shading of a Gaussian dimple: the slope towards the light at upper left.
        let slope = (dx * 0.62 + dy * 0.78) / radius;
        for channel in pixel.iter_mut() {
            *channel += strength * (2.2 * slope * depth - 0.25 * depth);
        }
        *m = m.max(smoothstep(0.12, 0.25, depth));
    });
}

fn stain(part: &Part, canvas: &mut Canvas, mask: &mut Mask, rng: &mut Rng) {
    let (x0, y0) = place_on_metal(part, 6.0, rng);
    let (radius, strength) = (rng.range(9.0..21.0), rng.range(0.25..0.75));
    let rust = rng.f32() < 0.5;
    let tint = if rust { [0.62, 0.40, 0.24] } else { [0.34, 0.33, 0.28] };
    let ragged = Field::new(rng, 16);
    each_pixel(part, canvas, mask, |x, y, pixel, m| {
        if !part.is_metal(x, y, 0.0) {
            return;
        }
        let (dx, dy) = ((x - x0) / radius, (y - y0) / radius);
        let r = dx.hypot(dy) + 0.35 * ragged.rough(dx * 1.8 + 5.0, dy * 1.8 + 5.0);
        // A dried drop is darkest at its rim.
        let inside = 1.0 - smoothstep(0.75, 1.0, r);
        let rim = (1.0 - ((r - 0.8) / 0.16).abs()).max(0.0);
        let alpha = strength * inside * (0.7 + 0.5 * rim);
        for (channel, t) in pixel.iter_mut().zip(tint) {
            *channel = mix(*channel, *channel * t * 1.35, alpha.min(1.0));
        }
        *m = m.max(smoothstep(0.3, 0.5, inside));
    });
}

fn missing_hole(part: &Part, mask: &mut Mask) {
    let Some(hole) = part.missing_hole else { return };
    let (hx, hy) = Part::hole(hole);
    for (i, m) in mask.iter_mut().enumerate() {
        let (x, y) = part.to_part((i % SIDE) as f32, (i / SIDE) as f32);
        *m = smoothstep(SINK + 0.5, SINK - 0.5, (x - hx).hypot(y - hy));
    }
}
