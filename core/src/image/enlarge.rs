//! Brings a grid of measurements to the pixels they belong to.
//!
//! Step i of the grid is centred at pixel `first + stride·i` of the image, which is where a network's feature map looks, not
//! where an even division of the image would put it. Between centres values are interpolated linearly, outside of the
//! outermost ones they stay.

/// Where the steps of a grid lie in an image, in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GridPlace {
    /// Pixel at the centre of the first step; 0 is the centre of the first pixel.
    pub first: f32,
    /// Pixels from step to step, above 0.
    pub stride: f32,
}

impl GridPlace {
    /// The pixel, of `side`, at the centre of a step.
    pub fn pixel(self, step: usize, side: usize) -> usize {
        // Casts saturate: left of the first pixel is the first.
        ((self.first + self.stride * step as f32 + 0.5) as usize).min(side - 1)
    }

    /// The step to the left of a pixel, or the first, and the share of the next one.
    fn at(self, pixel: usize, steps: usize) -> (usize, f32) {
        let x = ((pixel as f32 - self.first) / self.stride).clamp(0.0, (steps - 1) as f32);
        let step = (x as usize).min(steps.saturating_sub(2));
        (step, x - step as f32)
    }
}

/// Enlarges a grid of `steps` = columns×rows values to `size` = width×height pixels. `rows` is scratch, a width long for each
/// row of the grid.
///
/// ```
/// use adflow::image::{GridPlace, enlarge};
/// // Steps that look at pixels 1 and 5 of a row of 7.
/// let place = GridPlace { first: 1.0, stride: 4.0 };
/// let (mut rows, mut map) = ([0.0; 7], [0.0; 7]);
/// enlarge(place, (2, 1), &[0.0, 8.0], (7, 1), &mut rows, &mut map);
/// assert_eq!(map, [0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 8.0]);
/// ```
///
/// # Panics
/// If a slice has another length or there are no steps.
pub fn enlarge(
    place: GridPlace,
    steps: (usize, usize),
    grid: &[f32],
    size: (usize, usize),
    rows: &mut [f32],
    out: &mut [f32],
) {
    let ((columns, lines), (width, height)) = (steps, size);
    assert!(columns > 0 && lines > 0 && grid.len() == columns * lines, "grid of enlarge");
    assert_eq!(out.len(), width * height, "output of enlarge");
    assert_eq!(rows.len(), width * lines, "scratch of enlarge");
    if out.is_empty() {
        return;
    }
    let lerp = |a: f32, b: f32, share: f32| a + (b - a) * share;
    for pixel in 0..width {
        let (step, share) = place.at(pixel, columns);
        for (row, values) in rows.chunks_exact_mut(width).zip(grid.chunks_exact(columns)) {
            row[pixel] = lerp(values[step], values[(step + 1).min(columns - 1)], share);
        }
    }
    for (pixel, row) in out.chunks_exact_mut(width).enumerate() {
        let (step, share) = place.at(pixel, lines);
        let (above, below) = (&rows[step * width..][..width], &rows[(step + 1).min(lines - 1) * width..][..width]);
        row.iter_mut().zip(above).zip(below).for_each(|((o, a), b)| *o = lerp(*a, *b, share));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_lies_where_its_steps_lie() {
        let place = GridPlace { first: 3.0, stride: 4.0 };
        let grid: [f32; 12] = core::array::from_fn(|i| (10 * (i / 3) + i % 3) as f32);
        let (mut rows, mut out) = ([0.0; 4 * 14], [0.0; 14 * 18]);
        enlarge(place, (3, 4), &grid, (14, 18), &mut rows, &mut out);
        for y in 0..18 {
            for x in 0..14 {
                let steps = |p: usize, last: f32| ((p as f32 - 3.0) / 4.0).clamp(0.0, last);
                let expected = 10.0 * steps(y, 3.0) + steps(x, 2.0);
                assert!((out[y * 14 + x] - expected).abs() < 1e-5, "({x}, {y}): {} for {expected}", out[y * 14 + x]);
            }
        }
    }

    #[test]
    fn one_step_fills_the_image() {
        let (mut rows, mut out) = ([0.0; 5], [0.0; 25]);
        enlarge(GridPlace { first: -2.0, stride: 0.5 }, (1, 1), &[7.0], (5, 5), &mut rows, &mut out);
        assert_eq!(out, [7.0; 25]);
    }
}
