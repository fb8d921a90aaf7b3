//! A model that owns its bytes, for programs that do not manage buffers themselves.

use super::{Gate, Model, ModelError, write};
use crate::threshold::Threshold;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Validated bytes of a model file. Clones share them, so that each of several inspectors can have its own.
#[derive(Clone)]
pub struct OwnedModel {
    // u64 words keep the bytes aligned.
    words: Arc<Vec<u64>>,
    len: usize,
}

/// Why a model file cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The file cannot be read.
    #[cfg(feature = "std")]
    Io {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not a valid model.
    Model {
        /// Which file.
        #[cfg(feature = "std")]
        path: std::path::PathBuf,
        /// Why.
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
    pub fn from_bytes(bytes: &[u8]) -> Result<OwnedModel, ModelError> {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        let owned = OwnedModel { words: Arc::new(words), len: bytes.len() };
        Model::parse(owned.bytes())?;
        Ok(owned)
    }

    /// Reads and validates a model file.
    #[cfg(feature = "std")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<OwnedModel, OpenError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| OpenError::Io { path: path.into(), error })?;
        OwnedModel::from_bytes(&bytes).map_err(|error| OpenError::Model { path: path.into(), error })
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(self.words.as_slice())[..self.len]
    }

    /// The model; cheap, nothing is checked again.
    pub fn model(&self) -> Model<'_> {
        Model::read(self.bytes(), Gate::Trust).expect("the bytes were validated when this was made and never change")
    }

    /// The file with another threshold (or none); nothing else changes.
    pub fn with_threshold(&self, threshold: Option<&Threshold>) -> Result<OwnedModel, ModelError> {
        let model = self.model();
        let mut detector = *model.detector();
        detector.set_threshold(threshold);
        OwnedModel::from_bytes(&write::with_detector(&model, &detector))
    }
}

impl fmt::Debug for OwnedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.model(), f)
    }
}
