//! A model that owns its bytes, for programs that do not manage buffers themselves.

use super::{Gate, Model, ModelError, write};
use crate::calibration::Calibration;
use crate::threshold::Threshold;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Validated bytes of a model file. Clones share them, so that each of several inspectors can have its own.
///
/// ```
/// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::Inspector;
/// use adflow::model::OwnedModel;
/// # let bytes = model.bytes().to_vec();
/// let model = OwnedModel::from_bytes(&bytes)?; // or OwnedModel::open("part.adflow")
/// println!("{} on {}", model.model().method(), model.model().backbone());
/// // Two cameras, one model in memory.
/// let mut left = Inspector::builder().threads(1).build(model.clone())?;
/// let mut right = Inspector::builder().threads(1).build(model)?;
/// let view = good[0].view();
/// let (left, right) = std::thread::scope(|scope| {
///     let other = scope.spawn(|| left.inspect(&view));
///     (right.inspect(&view), other.join().expect("no panic"))
/// });
/// assert_eq!(left?.score, right?.score);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct OwnedModel {
    // u64 words keep the bytes aligned.
    words: Arc<Vec<u64>>,
    len: usize,
}

/// Why a model file cannot be opened.
///
/// ```
/// use adflow::model::{OpenError, OwnedModel};
/// match OwnedModel::open("absent.adflow") {
///     Ok(model) => println!("{model:?}"),
///     Err(OpenError::Io { path, error }) => println!("{} cannot be read: {error}", path.display()),
///     Err(OpenError::Model { path, error }) => println!("{} is no model: {error}", path.display()),
/// }
/// ```
#[derive(Debug)]
pub enum OpenError {
    /// The file cannot be read.
    #[cfg(feature = "std")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not a valid model.
    Model {
        /// The file.
        #[cfg(feature = "std")]
        path: std::path::PathBuf,
        /// What is wrong with it.
        error: ModelError,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "std")]
            OpenError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            #[cfg(feature = "std")]
            OpenError::Model { path, error } => write!(f, "{}: {error}", path.display()),
            #[cfg(not(feature = "std"))]
            OpenError::Model { error } => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            #[cfg(feature = "std")]
            OpenError::Io { error, .. } => Some(error),
            OpenError::Model { error, .. } => Some(error),
        }
    }
}

impl OwnedModel {
    /// Copies and validates the bytes of a model file.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<OwnedModel, ModelError> {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        let owned = OwnedModel { words: Arc::new(words), len: bytes.len() };
        Model::parse(owned.bytes())?;
        Ok(owned)
    }

    /// Reads and validates a model file.
    ///
    /// # Errors
    /// Names the file and says why it cannot be read, or why it is no model.
    #[cfg(feature = "std")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<OwnedModel, OpenError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| OpenError::Io { path: path.into(), error })?;
        OwnedModel::from_bytes(&bytes).map_err(|error| OpenError::Model { path: path.into(), error })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(self.words.as_slice())[..self.len]
    }

    /// The model, to be asked and run; takes microseconds, since nothing is checked again.
    pub fn model(&self) -> Model<'_> {
        Model::read(self.bytes(), Gate::Trust).expect("the bytes were validated when this was made and never change")
    }

    /// The file with another threshold, or with none; nothing else changes. What a threshold claims to promise is kept only if the
    /// model's own scores of good parts say the same ([`Calibration::confirms`]), or the threshold that it has; else it counts as
    /// set by hand.
    ///
    /// # Errors
    /// [`ModelError::Detector`] for a threshold that is not finite, whose rates lie outside 0..=1, or whose grey zone lies above it.
    pub fn with_threshold(&self, threshold: Option<&Threshold>) -> Result<OwnedModel, ModelError> {
        let model = self.model();
        let calibration = Calibration::new(model.held_out_scores(), &[]);
        let confirmed = |t: &Threshold| {
            calibration.is_some_and(|good| good.confirms(t)) || model.threshold().is_some_and(|own| own.promises(t))
        };
        let by_hand = |t: &Threshold| Threshold { accept: t.accept, ..Threshold::manual(t.reject) };
        // Rates that are none are refused below.
        let is_rate = |p: f64| (0.0..=1.0).contains(&p);
        let refused = |t: &Threshold| !is_rate(t.false_reject) || !is_rate(t.confidence);
        let threshold = threshold.map(|t| if refused(t) || confirmed(t) { *t } else { by_hand(t) });
        let mut detector = *model.detector();
        detector.set_threshold(threshold.as_ref());
        OwnedModel::from_bytes(&write::with_detector(&model, &detector))
    }
}

impl fmt::Debug for OwnedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.model(), f)
    }
}
