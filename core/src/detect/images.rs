//! Where training images come from.

use super::error::{Result, TrainError};
use crate::image::ImageView;
use alloc::string::String;

/// Training images, by number. May be asked for the same image several times, in any order.
pub trait Images {
    /// Number of images.
    fn len(&self) -> usize;

    /// Name of an image, for messages.
    fn name(&self, index: usize) -> String;

    /// Hands a view of the decoded image to `f`.
    ///
    /// # Errors
    /// Says why the image cannot be had; training ends with [`TrainError::Image`].
    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String>;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What synthetic and real anomalies are made of, for methods that learn from such; see
/// [`TrainOptions::contrastive`](super::TrainOptions::contrastive).
#[derive(Clone, Copy, Default)]
pub struct AnomalySources<'a> {
    /// Images of defective parts. None of them may be measured with later, nor other images of the same parts.
    pub defects: Option<&'a dyn Images>,
    /// Photographs of any surfaces, which synthetic anomalies take textures from; without them textures are made up.
    pub textures: Option<&'a dyn Images>,
}

impl<'a> AnomalySources<'a> {
    /// Without lists that are empty.
    pub(super) fn non_empty(self) -> AnomalySources<'a> {
        AnomalySources {
            defects: self.defects.filter(|d| !d.is_empty()),
            textures: self.textures.filter(|t| !t.is_empty()),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.defects.is_none() && self.textures.is_none()
    }
}

/// Hands an image to `f`; both failures name the image.
pub(super) fn read<T>(images: &dyn Images, index: usize, f: &mut dyn FnMut(&ImageView<'_>) -> Result<T>) -> Result<T> {
    let mut result = None;
    let read = images.with(index, &mut |view| result = Some(f(view)));
    let failed = |error| TrainError::Image { name: images.name(index), error };
    read.map_err(failed)?;
    result.unwrap_or_else(|| Err(failed("no image was handed over".into())))
}
