//! Views of a tensor: the eight symmetries of a square, exactly, and rotations by any angle to the nearest pixel.
//!
//! Positive angles turn counter-clockwise as seen on a screen (y down), about the centre of the image, and the size stays:
//! the convention of torchvision's and Pillow's `rotate(NEAREST, expand=False)`. Output (x, y) reads input
//! R·(x − cx, y − cy) + (cx, cy) with R = [cos −sin; sin cos] and c = (W − 1)/2, (H − 1)/2.

use super::cos_sin;

/// Writes view `index` of `channels` square planes of `size`×`size`: planes are mirrored left-right if `index` ≥ 4, then
/// turned counter-clockwise by `index` mod 4 right angles.
///
/// Views 0 to 3 are the rotations, 0 is the identity. The view [`d4_inverse`]`(index)` undoes it.
///
/// ```
/// use adflow::image::{d4_inverse, view_d4};
/// let (image, mut turned, mut back) = ([1.0, 2.0, 3.0, 4.0], [0.0; 4], [0.0; 4]);
/// view_d4(1, 1, 2, &image, &mut turned);
/// assert_eq!(turned, [2.0, 4.0, 1.0, 3.0]);
/// view_d4(d4_inverse(1), 1, 2, &turned, &mut back);
/// assert_eq!(back, image);
/// ```
///
/// # Panics
/// If a slice is not channels·size² long. An index of 8 or more is taken modulo 8.
pub fn view_d4(index: usize, channels: usize, size: usize, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), channels * size * size, "input of view_d4");
    assert_eq!(to.len(), from.len(), "output of view_d4");
    if size == 0 {
        return;
    }
    let last = size - 1;
    for (from, to) in from.chunks_exact(size * size).zip(to.chunks_exact_mut(size * size)) {
        for (y, row) in to.chunks_exact_mut(size).enumerate() {
            // Where output (0, y) lies and the step from x to x + 1, before mirroring.
            let line = |start: usize| &from[start..];
            match index % 8 {
                0 => row.copy_from_slice(&line(y * size)[..size]),
                1 => row.iter_mut().zip(line(last - y).iter().step_by(size)).for_each(|(o, i)| *o = *i),
                2 => row.iter_mut().rev().zip(line((last - y) * size)).for_each(|(o, i)| *o = *i),
                3 => row.iter_mut().rev().zip(line(y).iter().step_by(size)).for_each(|(o, i)| *o = *i),
                4 => row.iter_mut().rev().zip(line(y * size)).for_each(|(o, i)| *o = *i),
                5 => row.iter_mut().zip(line(y).iter().step_by(size)).for_each(|(o, i)| *o = *i),
                6 => row.copy_from_slice(&line((last - y) * size)[..size]),
                _ => row.iter_mut().rev().zip(line(last - y).iter().step_by(size)).for_each(|(o, i)| *o = *i),
            }
        }
    }
}

/// The view that undoes view `index`: rotations are undone by the opposite one, mirrored views by themselves.
#[must_use]
pub const fn d4_inverse(index: usize) -> usize {
    match index % 8 {
        1 => 3,
        3 => 1,
        other => other,
    }
}

/// Rotates planes of `height`×`width`, one for each entry of `fill`, by `degrees`; corners outside the input become
/// `fill[c]` (black after normalisation is [`Preprocess::shift`](super::Preprocess::shift)).
///
/// ```
/// use adflow::image::rotate_nearest;
/// let (image, mut turned) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [0.0; 9]);
/// rotate_nearest(3, 3, 90.0, &[0.0], &image, &mut turned); // counter-clockwise
/// assert_eq!(turned, [3.0, 6.0, 9.0, 2.0, 5.0, 8.0, 1.0, 4.0, 7.0]);
/// ```
///
/// # Panics
/// If a slice is not fill.len()·height·width long.
pub fn rotate_nearest(width: usize, height: usize, degrees: f64, fill: &[f32], from: &[f32], to: &mut [f32]) {
    let area = width * height;
    assert_eq!(from.len(), fill.len() * area, "input of rotate_nearest");
    assert_eq!(to.len(), from.len(), "output of rotate_nearest");
    let (cos, sin) = cos_sin(degrees);
    let (cx, cy) = (width as f64 * 0.5 - 0.5, height as f64 * 0.5 - 0.5);
    for y in 0..height {
        let dy = y as f64 - cy;
        for x in 0..width {
            let dx = x as f64 - cx;
            // floor(u + 0.5) by a truncating cast; below zero it is outside.
            let u = cos * dx - sin * dy + cx + 0.5;
            let v = sin * dx + cos * dy + cy + 0.5;
            let inside = u >= 0.0 && v >= 0.0 && u < width as f64 && v < height as f64;
            let at = y * width + x;
            if inside {
                let source = v as usize * width + u as usize;
                for c in 0..fill.len() {
                    to[c * area + at] = from[c * area + source];
                }
            } else {
                for (c, &fill) in fill.iter().enumerate() {
                    to[c * area + at] = fill;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp<const N: usize>() -> [f32; N] {
        core::array::from_fn(|i| i as f32)
    }

    #[test]
    fn the_eight_views_are_a_group() {
        let from = ramp::<{ 2 * 25 }>();
        let view = |index, from: &[f32; 50]| {
            let mut to = [-1.0; 50];
            view_d4(index, 2, 5, from, &mut to);
            to
        };
        assert_eq!(view(0, &from), from);
        for i in 0..8 {
            assert_eq!(view(d4_inverse(i), &view(i, &from)), from, "view {i}");
            for j in 0..i {
                assert_ne!(view(i, &from), view(j, &from));
            }
            // By definition: mirror, then quarter turns.
            let mut by_steps = if i >= 4 { view(4, &from) } else { from };
            for _ in 0..i % 4 {
                by_steps = view(1, &by_steps);
            }
            assert_eq!(view(i, &from), by_steps, "view {i}");
        }
    }

    #[test]
    fn a_quarter_turn_is_counter_clockwise() {
        // numpy.rot90([[0, 1], [2, 3]]) = [[1, 3], [0, 2]]
        let mut to = [0.0; 4];
        view_d4(1, 1, 2, &[0.0, 1.0, 2.0, 3.0], &mut to);
        assert_eq!(to, [1.0, 3.0, 0.0, 2.0]);
        view_d4(4, 1, 2, &[0.0, 1.0, 2.0, 3.0], &mut to);
        assert_eq!(to, [1.0, 0.0, 3.0, 2.0]);
        view_d4(3, 1, 0, &[], &mut []);
    }

    #[test]
    fn right_angles_are_exact_for_odd_and_even_sizes() {
        for size in [1usize, 2, 3, 6, 7] {
            let from = &ramp::<98>()[..2 * size * size];
            let (mut a, mut b) = ([0.0; 98], [0.0; 98]);
            for quarter in 0..4 {
                for turns in [-2.0, 0.0, 1.0] {
                    let degrees = 90.0 * f64::from(quarter as u8) + 360.0 * turns;
                    rotate_nearest(size, size, degrees, &[-1.0; 2], from, &mut a[..from.len()]);
                    view_d4(quarter, 2, size, from, &mut b[..from.len()]);
                    assert_eq!(a[..from.len()], b[..from.len()], "{size} {quarter}");
                }
            }
        }
    }

    #[test]
    fn corners_are_filled_by_channel() {
        let from = [1.0; 2 * 36];
        let mut to = [0.0; 72];
        rotate_nearest(6, 6, 45.0, &[-2.0, -3.0], &from, &mut to);
        assert_eq!((to[0], to[5], to[36], to[71]), (-2.0, -2.0, -3.0, -3.0));
        assert_eq!((to[14], to[50]), (1.0, 1.0));
        rotate_nearest(6, 6, f64::NAN, &[-2.0, -3.0], &from, &mut to);
        assert_eq!(to[14], -2.0);
    }
}
