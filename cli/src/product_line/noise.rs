//! Smooth noise from a counter: the same seed and place always give the same value, so textures need no stored tables
//! and any part can be drawn without the ones before it.

use adflow::rng::Rng;

/// One-dimensional value noise: random values at whole positions, a cubic blend between them. About −1..1.
#[derive(Debug, Clone)]
pub struct Line {
    values: Vec<f32>,
}

impl Line {
    /// `length` random values drawn from `rng`; positions outside wrap around.
    pub fn new(rng: &mut Rng, length: usize) -> Self {
        Self { values: (0..length.max(1)).map(|_| rng.range(-1.0..1.0)).collect() }
    }

    /// The value at `x`.
    pub fn at(&self, x: f32) -> f32 {
        let n = self.values.len() as i64;
        let whole = x.floor();
        let get = |i: i64| self.values[i.rem_euclid(n) as usize];
        mix(get(whole as i64), get(whole as i64 + 1), ease(x - whole))
    }
}

/// Two-dimensional value noise with the same blend. About −1..1.
#[derive(Debug, Clone)]
pub struct Field {
    side: usize,
    values: Vec<f32>,
}

impl Field {
    /// A `side`×`side` lattice drawn from `rng`; positions outside wrap around.
    pub fn new(rng: &mut Rng, side: usize) -> Self {
        let side = side.max(1);
        Self { side, values: (0..side * side).map(|_| rng.range(-1.0..1.0)).collect() }
    }

    /// The value at (`x`, `y`) in lattice units.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let n = self.side as i64;
        let (wx, wy) = (x.floor(), y.floor());
        let get = |i: i64, j: i64| self.values[(j.rem_euclid(n) * n + i.rem_euclid(n)) as usize];
        let (i, j, u, v) = (wx as i64, wy as i64, ease(x - wx), ease(y - wy));
        mix(mix(get(i, j), get(i + 1, j), u), mix(get(i, j + 1), get(i + 1, j + 1), u), v)
    }

    /// Three octaves, each half as strong and twice as fine.
    pub fn rough(&self, x: f32, y: f32) -> f32 {
        (self.at(x, y) + 0.5 * self.at(2.0 * x + 7.3, 2.0 * y + 1.9) + 0.25 * self.at(4.0 * x + 3.1, 4.0 * y + 5.7))
            / 1.75
    }
}

/// 0 below `low`, 1 above `high`, smooth between; `low > high` turns it round.
pub fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    ease(((x - low) / (high - low)).clamp(0.0, 1.0))
}

/// Between `a` (t = 0) and `b` (t = 1).
pub fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

fn ease(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}
