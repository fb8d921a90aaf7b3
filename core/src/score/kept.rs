//! Scoring inside a region of interest: which positions of a map count.
//!
//! Pixels outside never reach the network (`image/roi.rs`). What is left for methods that score by the largest values of
//! their map is to leave out the positions whose centre lies outside: they saw the constant there, not a part. The score is
//! then the mean of the same share of the positions that are left.

use super::Views;
use crate::image::{CanvasWindow, GridPlace, ImageView, Region, RoiBits, keep_window, rotate_nearest, view_d4};
use crate::model::{DetectorRecord, MapKind, ViewKind};
use crate::op::Op;
use crate::plan::Program;

/// Floats of each part of the memory for a region.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeepLayout {
    /// What is kept of the input.
    pub plane: usize,
    /// What is kept of the input, in the frame of a view.
    pub turned: usize,
    /// Values of the map that are kept.
    pub values: usize,
}

impl KeepLayout {
    pub fn of(d: &DetectorRecord) -> KeepLayout {
        let plane = (d.size as usize).pow(2);
        match d.map_kind() {
            MapKind::Program => KeepLayout { plane, turned: plane, values: (d.map_steps as usize).pow(2) },
            MapKind::None | MapKind::Gradient => KeepLayout { plane, turned: 0, values: 0 },
        }
    }

    pub fn total(&self) -> usize {
        self.plane.saturating_add(self.turned).saturating_add(self.values)
    }
}

/// What is kept of one image.
pub(super) struct Kept<'k> {
    pub plane: &'k mut [f32],
    turned: &'k mut [f32],
    values: &'k mut [f32],
}

impl<'k> Kept<'k> {
    /// Divides memory of [`KeepLayout::total`] floats.
    pub fn carve(layout: &KeepLayout, memory: &'k mut [f32]) -> Kept<'k> {
        let (plane, rest) = memory.split_at_mut(layout.plane);
        let (turned, values) = rest.split_at_mut(layout.turned);
        Kept { plane, turned, values }
    }

    /// Works out what is kept of an image; `false` if nothing is.
    pub fn find(
        &mut self,
        size: u32,
        image: &ImageView<'_>,
        roi: Option<RoiBits<'_>>,
        region: Option<&Region<'_>>,
        scratch: &mut [f32],
    ) -> bool {
        keep_of(image, roi, region, &CanvasWindow::whole(size), size, scratch, self.plane)
    }

    /// Mean of the largest values of a view's grid whose centres are kept, `k` of all; `None` if no centre is.
    pub fn top_mean(&mut self, views: &Views<'_>, view: usize, grid: &[f32], k: u32) -> Option<f32> {
        let d = views.detector;
        let (size, steps) = (d.size as usize, d.map_steps as usize);
        match d.view_kind() {
            ViewKind::Symmetries => view_d4(view, 1, size, self.plane, self.turned),
            ViewKind::Rotations => rotate_nearest(size, size, views.degrees(view), &[0.0], self.plane, self.turned),
        }
        let place = GridPlace { first: d.map_first, stride: d.map_stride };
        let mut kept = 0;
        for (y, row) in grid.chunks_exact(steps).enumerate() {
            for (x, value) in row.iter().enumerate() {
                if self.turned[place.pixel(y, size) * size + place.pixel(x, size)] != 0.0 {
                    self.values[kept] = *value;
                    kept += 1;
                }
            }
        }
        if kept == 0 {
            return None;
        }
        let k = (k as usize * kept / (steps * steps)).clamp(1, kept);
        Some(mean_of_largest(&mut self.values[..kept], k))
    }
}

/// Mean of the `k` largest of at least so many values, whatever their order.
pub(super) fn mean_of_largest(values: &mut [f32], k: usize) -> f32 {
    let from = values.len() - k;
    let (_, _, top) = values.select_nth_unstable_by(from, |a, b| a.total_cmp(b));
    // The k-th largest lies before the larger ones. In order, so that the sum does not depend on how they were found.
    top.sort_unstable_by(|a, b| b.total_cmp(a));
    let sum: f64 = values[from..].iter().map(|v| f64::from(*v)).sum();
    (sum / k as f64) as f32
}

/// Sets the cells of a window to 1 where nothing that they are made of lies outside, else to 0; `false` if all are 0.
pub(super) fn keep_of(
    image: &ImageView<'_>,
    roi: Option<RoiBits<'_>>,
    region: Option<&Region<'_>>,
    window: &CanvasWindow,
    size: u32,
    scratch: &mut [f32],
    keep: &mut [f32],
) -> bool {
    let extent = (image.width(), image.height());
    keep.fill(1.0);
    if let Some(roi) = roi {
        keep_window(&roi, extent, window, size, scratch, keep);
    }
    if let Some(region) = region {
        keep_window(region, extent, window, size, scratch, keep);
    }
    keep.iter().any(|k| *k != 0.0)
}

/// k where a program's score is the mean of the k largest values of its map.
pub fn top_of_map(program: &Program<'_>) -> Option<u32> {
    let (score, map) = (program.find("score")?, program.find("map")?);
    (0..program.len()).map(|at| program.op(at)).find_map(|planned| match planned.op {
        Op::TopMean(top) if planned.record.output == score && planned.record.inputs[0] == map => Some(top.k),
        _ => None,
    })
}
