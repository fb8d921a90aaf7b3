//! Rotation of a map by interpolating cubic B-splines, for turning gradient maps back.
//!
//! The image is first filtered into spline coefficients, so that the spline passes through the pixels: one causal and one
//! anti-causal recursion with pole √3 − 2 along rows and columns, mirrored at the borders (Unser, Aldroubi, Eden, "B-spline
//! signal processing", 1993). Each output pixel is then a sum of 4×4 coefficients. Outside the input the output is 0. The
//! conventions are those of `scipy.ndimage.rotate(order=3, reshape=False)` and of [`rotate_nearest`](super::rotate_nearest).

use super::cos_sin;

const POLE: f32 = -0.267_949_2;

/// Rotates a `height`×`width` map by `degrees` counter-clockwise into `to`. `map` is used as scratch and holds its spline
/// coefficients afterwards.
///
/// # Panics
/// If a slice is not height·width long.
pub fn rotate_cubic(width: usize, height: usize, degrees: f64, map: &mut [f32], to: &mut [f32]) {
    assert_eq!(map.len(), width * height, "input of rotate_cubic");
    assert_eq!(to.len(), map.len(), "output of rotate_cubic");
    if map.is_empty() {
        return;
    }
    for row in map.chunks_exact_mut(width) {
        filter(row, 1);
    }
    filter(map, width);
    let (cos, sin) = cos_sin(degrees);
    let (cx, cy) = (width as f64 * 0.5 - 0.5, height as f64 * 0.5 - 0.5);
    for (y, row) in to.chunks_exact_mut(width).enumerate() {
        let dy = y as f64 - cy;
        for (x, o) in row.iter_mut().enumerate() {
            let dx = x as f64 - cx;
            *o = interpolate(width, height, map, cos * dx - sin * dy + cx, sin * dx + cos * dy + cy);
        }
    }
}

/// Turns `count = values.len()/step` vectors of `step` elements into coefficients along the vectors.
fn filter(values: &mut [f32], step: usize) {
    let count = values.len() / step;
    if count < 2 {
        return;
    }
    for v in values.iter_mut() {
        *v *= 6.0;
    }
    // First causal value: the whole mirrored past, cut where |pole|ᵏ is below f32's resolution.
    let far = count.min(16);
    for j in 0..step {
        let mut power = POLE;
        let mut sum = values[j];
        for i in 1..far {
            sum += power * values[i * step + j];
            power *= POLE;
        }
        if count <= 16 {
            // Short axes need the reflections from the far end as well.
            sum = short_start(values, step, j, count);
        }
        values[j] = sum;
    }
    for i in 1..count {
        let (before, here) = values.split_at_mut(i * step);
        let before = &before[(i - 1) * step..];
        for (v, p) in here[..step].iter_mut().zip(before) {
            *v += POLE * p;
        }
    }
    let end = POLE / (POLE * POLE - 1.0);
    for j in 0..step {
        let last = (count - 1) * step + j;
        values[last] = (POLE * values[last - step] + values[last]) * end;
    }
    for i in (0..count - 1).rev() {
        let (here, after) = values.split_at_mut((i + 1) * step);
        let here = &mut here[i * step..];
        for (v, n) in here.iter_mut().zip(&after[..step]) {
            *v = POLE * (n - *v);
        }
    }
}

/// Σ over the mirrored, hence periodic, past of an axis of `count` values.
fn short_start(values: &[f32], step: usize, j: usize, count: usize) -> f32 {
    let at = |i: usize| values[i * step + j];
    let mut far_power = 1.0;
    for _ in 1..count {
        far_power *= POLE;
    }
    let mut sum = at(0) + far_power * at(count - 1);
    let mut power = POLE;
    for i in 1..count - 1 {
        sum += power * (at(i) + far_power * at(count - 1 - i));
        power *= POLE;
    }
    sum / (1.0 - far_power * far_power)
}

fn interpolate(width: usize, height: usize, map: &[f32], x: f64, y: f64) -> f32 {
    // Rounding must not cut off a border that a rotation maps onto itself.
    const SLACK: f64 = 1e-9;
    let inside = |at: f64, len: usize| at >= -SLACK && at <= (len - 1) as f64 + SLACK;
    if !(inside(x, width) && inside(y, height)) {
        return 0.0;
    }
    let (x0, u) = axis(x, width);
    let (y0, v) = axis(y, height);
    let mut sum = 0.0;
    for (y, v) in y0.into_iter().zip(v) {
        let row = &map[y * width..][..width];
        let line: f32 = x0.iter().zip(u).map(|(&x, u)| u * row[x]).sum();
        sum += v * line;
    }
    sum
}

/// The four coefficients around a position and their B-spline weights.
fn axis(at: f64, len: usize) -> ([usize; 4], [f32; 4]) {
    let at = at.max(0.0).min((len - 1) as f64);
    let first = at as usize;
    let t = (at - first as f64) as f32;
    let s = 1.0 - t;
    let weights =
        [s * s * s / 6.0, 2.0 / 3.0 - 0.5 * t * t * (2.0 - t), 2.0 / 3.0 - 0.5 * s * s * (2.0 - s), t * t * t / 6.0];
    (core::array::from_fn(|k| mirror((first + k) as isize - 1, len)), weights)
}

/// −1 → 1, len → len − 2, and so on.
fn mirror(i: isize, len: usize) -> usize {
    if len == 1 {
        return 0;
    }
    let period = 2 * (len as isize - 1);
    let i = i.rem_euclid(period);
    i.min(period - i) as usize
}
