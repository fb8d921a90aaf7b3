//! Draws one good part: a milled aluminium flange on a dark conveyor, lit from one side.
//!
//! Every surface is a signed distance `d` (negative inside), blended over one pixel at its edge. Milled and turned faces
//! get their look from noise that is long along the tool's path and short across it, and from the highlight of such a
//! grooved surface: bright where the groove is square to the light, `|cos(θ − light)|ⁿ`, which on a turned face is the
//! well-known bow tie.

use adflow::rng::Rng;

use super::noise::{Field, Line, mix, smoothstep};

/// Image side in pixels.
pub const SIDE: usize = 256;
/// Half the side of the plate in pixels.
pub const PLATE: f32 = 99.0;
/// Radius of the bore.
pub const BORE: f32 = 27.0;
/// Outer radius of the turned face around the bore.
pub const FACE: f32 = 66.0;
/// Distance of each bolt hole from the centre, along x and y.
pub const HOLE_AT: f32 = 71.0;
/// Radius of a bolt hole, and of the countersink around it.
pub const HOLE: f32 = 9.0;
/// Outer radius of the countersink.
pub const SINK: f32 = 14.5;

/// What differs from part to part.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where the fixture left the part, in pixels from the image centre.
    pub centre: (f32, f32),
    /// How far it is turned, in radians.
    pub angle: f32,
    /// Which bolt hole was never drilled, if any.
    pub missing_hole: Option<usize>,
    light: f32,
    gain: f32,
    slope: (f32, f32),
    warmth: f32,
    turned: Line,
    milled: Line,
    drift: Field,
    belt: Field,
    specks: Vec<(f32, f32, f32, f32)>,
}

/// Colour image while it is being drawn; 0 is black, 1 is white.
#[derive(Debug, Clone)]
pub struct Canvas {
    /// `SIDE * SIDE` pixels, row by row.
    pub rgb: Vec<[f32; 3]>,
}

impl Part {
    /// Draws what differs from `rng`: a fixture that holds to about two pixels and one degree, a lamp that drifts a
    /// little, a fresh surface and a few specks of dust.
    pub fn new(rng: &mut Rng) -> Self {
        let small = |rng: &mut Rng, sigma: f32| (rng.normal() as f32).clamp(-2.5, 2.5) * sigma;
        Self {
            centre: (small(rng, 1.2), small(rng, 1.2)),
            angle: small(rng, 0.012),
            missing_hole: None,
            light: -2.25 + small(rng, 0.05),
            gain: 1.0 + small(rng, 0.03),
            slope: (0.05 + small(rng, 0.02), 0.07 + small(rng, 0.02)),
            warmth: small(rng, 0.008),
            turned: Line::new(rng, 512),
            milled: Line::new(rng, 512),
            drift: Field::new(rng, 32),
            belt: Field::new(rng, 64),
            specks: (0..rng.below(4))
                .map(|_| {
                    let (x, y) = (rng.range(-90.0..90.0), rng.range(-90.0..90.0));
                    (x, y, rng.range(0.6..1.1), rng.range(-0.10..0.10))
                })
                .collect(),
        }
    }

    /// Image position to part position.
    pub fn to_part(&self, x: f32, y: f32) -> (f32, f32) {
        let half = SIDE as f32 / 2.0;
        let (dx, dy) = (x + 0.5 - half - self.centre.0, y + 0.5 - half - self.centre.1);
        let (s, c) = self.angle.sin_cos();
        (c * dx + s * dy, c * dy - s * dx)
    }

    /// The centre of bolt hole `i` of 4, in part coordinates.
    pub fn hole(i: usize) -> (f32, f32) {
        (if i & 1 == 0 { -HOLE_AT } else { HOLE_AT }, if i & 2 == 0 { -HOLE_AT } else { HOLE_AT })
    }

    /// True where there is metal, at least `margin` pixels from every edge of it.
    pub fn is_metal(&self, x: f32, y: f32, margin: f32) -> bool {
        let drilled = (0..4).filter(|&i| self.missing_hole != Some(i));
        rounded_square(x, y) < -margin
            && x.hypot(y) > BORE + 4.0 + margin
            && drilled.map(Self::hole).all(|(hx, hy)| (x - hx).hypot(y - hy) > HOLE + margin)
    }

    /// Draws the part and the belt under it, evenly lit and free of camera noise.
    pub fn draw(&self) -> Canvas {
        let mut canvas = Canvas { rgb: vec![[0.0; 3]; SIDE * SIDE] };
        for (i, pixel) in canvas.rgb.iter_mut().enumerate() {
            let (ix, iy) = ((i % SIDE) as f32, (i / SIDE) as f32);
            let (x, y) = self.to_part(ix, iy);
            let plate = rounded_square(x, y);
            *pixel = match cover(plate) {
                0.0 => self.belt_at(ix, iy, plate, x, y),
                1.0 => self.metal_at(x, y, plate),
                share => blend(self.belt_at(ix, iy, plate, x, y), self.metal_at(x, y, plate), share),
            };
        }
        canvas
    }

    fn belt_at(&self, ix: f32, iy: f32, plate: f32, x: f32, y: f32) -> [f32; 3] {
        let weave = 0.012 * ((ix * 0.9 + iy * 0.9).sin() + (ix * 0.9 - iy * 0.9).sin());
        let grime = 0.02 * self.belt.rough(ix / 9.0, iy / 9.0);
        // The lamp is at the upper left, the shadow falls to the lower right.
        let shade = if plate < 20.0 { 1.0 - smoothstep(-4.0, 9.0, rounded_square(x - 4.0, y - 5.0)) } else { 0.0 };
        let shadow = 0.55 * shade;
        let v = (0.13 + weave + grime) * (1.0 - shadow);
        [v * 0.95, v, v * 1.10]
    }

    fn metal_at(&self, x: f32, y: f32, plate: f32) -> [f32; 3] {
        let r = x.hypot(y);
        let lit = |angle: f32| (angle - self.light).cos();
        // Milled plate: streaks along x.
        let wander = 2.4 * self.drift.at(x / 90.0, y / 200.0).abs();
        let streak = 0.6 * self.milled.at(y * 1.3 + wander) + 0.4 * self.milled.at(y * 0.37 + 211.0);
        let mut v = 0.52 + 0.035 * streak + 0.03 * self.drift.at(x / 40.0, y / 40.0);
        // Bevel along the plate's edge.
        if plate > -5.0 {
            let (nx, ny) = plate_normal(x, y);
            v = mix(v, 0.50 + 0.28 * lit(ny.atan2(nx)), smoothstep(-5.0, -3.5, plate));
        }
        if r < FACE + 2.0 {
            // Turned face: grooves along the circle, bow-tie highlight.
            let lit = lit(y.atan2(x));
            let groove = 0.65 * self.turned.at(r * 1.7) + 0.35 * self.turned.at(r * 0.45 + 97.0);
            let grain = 0.015 * self.drift.at(x / 14.0, y / 14.0);
            let face = 0.50 + 0.045 * groove + 0.30 * lit.abs().powi(6) * (1.0 + 0.25 * groove) + grain;
            v = mix(v, face, cover(r - FACE));
            // The step at the rim of the face, and the bore's chamfer.
            v += 0.20 * lit * bump(r - FACE, 2.0);
            v = mix(v, 0.55 - 0.34 * lit, cover(r - (BORE + 4.0)));
            v = mix(v, self.bore_at(x, y), cover(r - BORE));
        }
        for i in 0..4 {
            if self.missing_hole != Some(i) {
                v = self.hole_at(i, x, y, v);
            }
        }
        for &(sx, sy, size, strength) in &self.specks {
            let d2 = ((x - sx).powi(2) + (y - sy).powi(2)) / (size * size);
            if d2 < 9.0 {
                v += strength * (-d2).exp();
            }
        }
        [v * (1.0 + self.warmth), v, v * (1.015 - self.warmth)]
    }

    fn bore_at(&self, x: f32, y: f32) -> f32 {
        // The far wall catches some light, the floor is belt in shadow.
        0.05 + 0.16
            * smoothstep(BORE - 7.0, BORE, (x - 2.0).hypot(y - 2.0))
            * (0.6 - 0.4 * (y.atan2(x) - self.light).cos())
    }

    fn hole_at(&self, i: usize, x: f32, y: f32, under: f32) -> f32 {
        let (hx, hy) = Self::hole(i);
        let (dx, dy) = (x - hx, y - hy);
        let r = dx.hypot(dy);
        if r > SINK + 1.0 {
            return under;
        }
        let lit = (dy.atan2(dx) - self.light).cos();
        let sink = 0.48 - 0.26 * lit + 0.04 * self.turned.at(r * 2.3 + 40.0 * i as f32);
        let inside = 0.05 + 0.10 * smoothstep(HOLE - 4.0, HOLE, (dx - 1.5).hypot(dy - 1.5));
        mix(mix(under, sink, cover(r - SINK)), inside, cover(r - HOLE))
    }

    /// What lamp, lens and sensor do to the drawn scene; gives 8-bit RGB.
    pub fn photograph(&self, canvas: &Canvas, rng: &mut Rng) -> Vec<u8> {
        let mut out = Vec::with_capacity(canvas.rgb.len() * 3);
        for (i, pixel) in canvas.rgb.iter().enumerate() {
            let (x, y) = ((i % SIDE) as f32 / SIDE as f32 - 0.5, (i / SIDE) as f32 / SIDE as f32 - 0.5);
            let light = self.gain * (1.0 - self.slope.0 * x - self.slope.1 * y) * (1.0 - 0.22 * (x * x + y * y));
            // Shot noise grows with the square root of the light; the rest is read-out noise.
            let grain = rng.normal() as f32;
            for &channel in pixel {
                let v = (channel * light).max(0.0);
                let own = rng.range(-1.0..1.0);
                let noisy = v + (0.004 + 0.008 * v.sqrt()) * (grain * 0.8 + own * 0.7);
                out.push((noisy.clamp(0.0, 1.0) * 255.0 + 0.5) as u8);
            }
        }
        out
    }
}

/// Share of a pixel covered by a surface at signed distance `d`.
fn cover(d: f32) -> f32 {
    (0.5 - d).clamp(0.0, 1.0)
}

/// 1 at distance 0, falling to 0 at `width`.
fn bump(d: f32, width: f32) -> f32 {
    (1.0 - (d / width).abs()).max(0.0)
}

fn blend(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)]
}

/// Signed distance to the plate's outline.
fn rounded_square(x: f32, y: f32) -> f32 {
    const CORNER: f32 = 24.0;
    let (qx, qy) = (x.abs() - PLATE + CORNER, y.abs() - PLATE + CORNER);
    qx.max(0.0).hypot(qy.max(0.0)) + qx.max(qy).min(0.0) - CORNER
}

fn plate_normal(x: f32, y: f32) -> (f32, f32) {
    let e = 0.5;
    let dx = rounded_square(x + e, y) - rounded_square(x - e, y);
    let dy = rounded_square(x, y + e) - rounded_square(x, y - e);
    (dx, dy)
}
