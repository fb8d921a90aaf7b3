//! From a camera's bytes to the tensor a model reads, and the geometry of views and maps.
//!
//! | | |
//! |---|---|
//! | [`ImageView`], [`Image`](struct@Image) | samples where the caller has them, and samples that are owned |
//! | [`Region`], [`Roi`](struct@Roi) | the part of one image that is inspected, and that of a model |
//! | [`Preprocess`] | resizes and normalises a view to the C×S×S planes that a model reads |
//! | [`Tiling`] | cuts large images into overlapping squares |
//! | [`view_d4`], [`rotate_nearest`] | turned and mirrored views of an image |
//! | [`enlarge`](fn@enlarge), [`rotate_cubic`], [`gaussian_blur`], [`resize_bilinear`] | from what a model says of positions to a map |
//!
//! Only what owns its samples allocates.

mod blur;
mod enlarge;
#[cfg(feature = "alloc")]
mod owned;
mod preprocess;
mod resize;
mod roi;
mod rotate;
mod spline;
mod tiling;
mod view;

pub(crate) use blur::gaussian_blur_until;
pub use blur::{gaussian_blur, gaussian_blur_scratch_len};
pub use enlarge::{GridPlace, enlarge};
#[cfg(feature = "alloc")]
pub use owned::{Image, Sample};
pub use preprocess::{Preprocess, resample_weights};
pub use resize::{Plane, PlaneMut, resize_bilinear, resize_row};
#[cfg(feature = "alloc")]
pub use roi::Roi;
pub use roi::{Region, RoiBits, Span};
pub(crate) use roi::{Rows, keep_scratch_len, keep_window};
pub use rotate::{d4_inverse, rotate_nearest, view_d4};
pub use spline::rotate_cubic;
pub use tiling::{CanvasWindow, Tiling};
pub use view::{ChannelOrder, ImageError, ImageView, SampleType, Samples};

/// (cos, sin) of an angle in degrees, exact at multiples of 90.
fn cos_sin(degrees: f64) -> (f64, f64) {
    let turn = libm::fmod(degrees, 360.0);
    match if turn < 0.0 { turn + 360.0 } else { turn } {
        0.0 | 360.0 => (1.0, 0.0),
        90.0 => (0.0, 1.0),
        180.0 => (-1.0, 0.0),
        270.0 => (0.0, -1.0),
        turn => (libm::cos(turn.to_radians()), libm::sin(turn.to_radians())),
    }
}
