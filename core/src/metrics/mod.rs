//! How well scores and maps tell good from defective.
//!
//! Higher scores mean stranger; labels are `true` for defective. All sums are exact or in f64.
//!
//! | metric | of images | of pixels |
//! |---|---|---|
//! | area under the ROC curve | [`image_auroc`] | [`PixelMetrics::auroc`] |
//! | average precision | [`average_precision`] | [`PixelMetrics::average_precision`] |
//! | best F1 and its threshold | [`f1_max`] | [`PixelMetrics::f1`] |
//! | area under the per-region overlap | | [`aupro`], [`PixelMetrics::aupro`] |
//! | confidence interval | [`bootstrap`] | |
//!
//! Pixel metrics depend on how maps and masks are brought to one size; the convention here, which a report should state,
//! is 256×256: maps bilinear, masks by area, no region lost ([`Pixels::push_resized`]).
//!
//! A metric that is undefined (a class is empty, lengths differ, a score is NaN) is NaN, never a plausible number.

mod bootstrap;
mod mask;
mod pixels;
mod ranking;

pub use bootstrap::{Interval, bootstrap};
pub use mask::{label_regions, resize_mask};
pub use pixels::{MetricsError, PixelMetrics, Pixels, aupro};
pub use ranking::{RocPoint, average_precision, f1_max, image_auroc, roc};
