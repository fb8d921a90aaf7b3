//! Where training images come from.

use super::error::{Result, TrainError};
use crate::image::ImageView;
use alloc::string::String;

/// Training images, by number. May be asked for the same image several times, in any order.
///
/// Slices and vectors of [`Image`](crate::Image) and of [`ImageView`] are such already. Images that do not fit into memory are
/// read when they are asked for:
///
/// ```no_run
/// use adflow::detect::Images;
/// use adflow::{ImageView, Trainer};
/// use std::path::PathBuf;
///
/// /// Raw frames of a camera, 640×480 grey pixels a file.
/// struct Frames(Vec<PathBuf>);
///
/// impl Images for Frames {
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///     fn name(&self, index: usize) -> String {
///         self.0[index].display().to_string()
///     }
///     fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
///         let pixels = std::fs::read(&self.0[index]).map_err(|error| error.to_string())?;
///         f(&ImageView::grey_u8(640, 480, &pixels).map_err(|error| error.to_string())?);
///         Ok(())
///     }
/// }
/// let files = std::fs::read_dir("good")?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
/// Trainer::new().train(&Frames(files))?.save("part.adflow")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
