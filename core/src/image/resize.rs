//! Bilinear resizing of maps, without antialiasing.
//!
//! Output centre i lies at input (i+½)·in/out − ½, clamped to the image (`align_corners=false`): what frameworks do to a
//! score map on its way to the size of the image. For images on their way to a model see
//! [`Preprocess`](super::Preprocess).

/// A plane of floats to read: element (x, y) is `values[y·stride + x]`.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// The elements; at least (height−1)·stride + width of them.
    pub values: &'a [f32],
    /// Elements in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Elements from row to row, at least `width`.
    pub stride: usize,
}

/// A plane of floats to write: element (x, y) is `values[y·stride + x]`.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// The elements; at least (height−1)·stride + width of them.
    pub values: &'a mut [f32],
    /// Elements in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Elements from row to row, at least `width`.
    pub stride: usize,
}

impl<'a> Plane<'a> {
    /// A plane without padding.
    #[must_use]
    pub fn new(width: usize, height: usize, values: &'a [f32]) -> Self {
        Self { values, width, height, stride: width }
    }
}

impl<'a> PlaneMut<'a> {
    /// A plane without padding.
    #[must_use]
    pub fn new(width: usize, height: usize, values: &'a mut [f32]) -> Self {
        Self { values, width, height, stride: width }
    }
}

fn fits(len: usize, width: usize, height: usize, stride: usize) -> bool {
    let end = stride.checked_mul(height.saturating_sub(1)).and_then(|n| n.checked_add(width));
    stride >= width && end.is_some_and(|end| end <= len)
}

/// Resizes `from` to the size of `to`; elements between the rows of `to` are left alone.
///
/// ```
/// use adflow::image::{Plane, PlaneMut, resize_bilinear};
/// // A map of 2×2 values over an image of 4×4 pixels.
/// let (map, mut pixels) = ([0.0, 1.0, 0.0, 1.0], [0.0; 16]);
/// resize_bilinear(Plane::new(2, 2, &map), PlaneMut::new(4, 4, &mut pixels));
/// assert_eq!(pixels[..4], [0.0, 0.25, 0.75, 1.0]);
/// ```
///
/// # Panics
/// If a plane's elements do not reach its last row, or `from` is empty while `to` is not.
pub fn resize_bilinear(from: Plane<'_>, to: PlaneMut<'_>) {
    if to.width == 0 || to.height == 0 {
        return;
    }
    assert!(fits(to.values.len(), to.width, to.height, to.stride), "output plane is too short");
    assert!(from.width > 0 && from.height > 0, "cannot enlarge an empty plane");
    assert!(fits(from.values.len(), from.width, from.height, from.stride), "input plane is too short");
    let (width, height) = (to.width, to.height);
    for (y, row) in to.values.chunks_mut(to.stride).take(height).enumerate() {
        resize_row(&from, height, y, &mut row[..width]);
    }
}

/// Row `y` of `from` resized to `height` rows of `row.len()` elements, for outputs that are not one slice.
///
/// # Panics
/// If `from` is empty or its elements do not reach its last row.
pub fn resize_row(from: &Plane<'_>, height: usize, y: usize, row: &mut [f32]) {
    let (x_ratio, y_ratio) = (from.width as f64 / row.len() as f64, from.height as f64 / height as f64);
    let (y0, y1, v) = source(y, y_ratio, from.height);
    let above = &from.values[y0 * from.stride..][..from.width];
    let below = &from.values[y1 * from.stride..][..from.width];
    for (x, o) in row.iter_mut().enumerate() {
        let (x0, x1, u) = source(x, x_ratio, from.width);
        let top = above[x0] * (1.0 - u) + above[x1] * u;
        let bottom = below[x0] * (1.0 - u) + below[x1] * u;
        *o = top * (1.0 - v) + bottom * v;
    }
}

/// The two neighbours of an output centre and the weight of the second.
#[inline]
fn source(index: usize, ratio: f64, len: usize) -> (usize, usize, f32) {
    let at = ((index as f64 + 0.5) * ratio - 0.5).max(0.0);
    let first = (at as usize).min(len - 1);
    (first, (first + 1).min(len - 1), (at - first as f64).min(1.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_size_is_the_identity_and_strides_are_kept() {
        let from = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0];
        let mut to = [7.0; 7];
        let input = Plane { values: &from, width: 2, height: 2, stride: 3 };
        resize_bilinear(input, PlaneMut { values: &mut to, width: 2, height: 2, stride: 5 });
        assert_eq!(to, [1.0, 2.0, 7.0, 7.0, 7.0, 3.0, 4.0]);
    }

    #[test]
    fn centres_and_edges_are_those_of_the_frameworks() {
        // torch: interpolate(tensor([0., 4.]), size=4, mode="linear", align_corners=False)
        let mut four = [0.0; 4];
        resize_bilinear(Plane::new(2, 1, &[0.0, 4.0]), PlaneMut::new(4, 1, &mut four));
        assert_eq!(four, [0.0, 1.0, 3.0, 4.0]);
        // ... size=3 from arange(7): 2/3, 3, 16/3; a column behaves as a row does.
        let seven = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        for (w, h) in [(3, 1), (1, 3)] {
            let mut three = [0.0; 3];
            resize_bilinear(Plane::new(w / 3 * 6 + 1, h / 3 * 6 + 1, &seven), PlaneMut::new(w, h, &mut three));
            for (a, b) in three.iter().zip([2.0 / 3.0, 3.0, 16.0 / 3.0]) {
                assert!((a - b).abs() < 1e-6, "{three:?}");
            }
        }
        let mut many = [0.0; 15];
        resize_bilinear(Plane::new(1, 1, &[2.5]), PlaneMut::new(5, 3, &mut many));
        assert_eq!(many, [2.5; 15]);
        resize_bilinear(Plane::new(0, 0, &[]), PlaneMut::new(0, 3, &mut []));
    }
}
