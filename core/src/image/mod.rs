//! From a camera's bytes to the tensor a model reads, and the geometry of views and maps.
//!
//! [`ImageView`] looks at the caller's samples where they lie; its constructor checks every address once. [`Preprocess`]
//! resizes and normalises such a view into C×S×S planes, of which a
//! [`Roi`] may leave parts out; [`Tiling`] cuts large images into windows. Around the model, views are made with [`view_d4`] and
//! [`rotate_nearest`], gradient maps are turned back with [`rotate_cubic`], grids [`enlarge`]d to maps, maps are smoothed with [`gaussian_blur`] and
//! brought to another size with [`resize_bilinear`]. Nothing here allocates.

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
