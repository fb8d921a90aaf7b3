//! How an inspector is made: threads, memory, device.

use super::Inspector;
use crate::cpu::Cpu;
use crate::executor::Executor;
use crate::model::{ModelError, OpenError, OwnedModel};
use crate::score::{ScoreError, ScorerOptions};
use crate::threads::Threads;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::DerefMut;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

/// Chooses how an [`Inspector`] works: [`Inspector::builder`].
///
/// ```
/// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::Inspector;
/// // One thread, a camera of 2048 pixels a row, verdicts only: the least memory.
/// let builder = Inspector::builder().threads(1).max_width(2048).map(false);
/// let mut inspector = builder.build(model)?;
/// assert!(inspector.inspect_with_map(&good[0].view()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct InspectorBuilder {
    threads: usize,
    options: ScorerOptions,
    executor: Option<Box<dyn Executor + Send>>,
}

impl InspectorBuilder {
    /// Threads that work on one image, the caller's included; 0, the default: one for each processor. Scores do not depend on
    /// it.
    pub fn threads(self, count: usize) -> InspectorBuilder {
        InspectorBuilder { threads: count, ..self }
    }

    /// Widest image in pixels, 16384 unless set; costs 20 bytes a pixel.
    pub fn max_width(self, pixels: u32) -> InspectorBuilder {
        InspectorBuilder { options: self.options.with_max_width(pixels), ..self }
    }

    /// Whether maps will be asked for, true unless set. Without them less memory is taken.
    pub fn map(self, map: bool) -> InspectorBuilder {
        InspectorBuilder { options: self.options.with_map(map), ..self }
    }

    /// Whether images will come with regions of their own ([`Inspector::inspect_within`]), false unless set.
    pub fn regions(self, regions: bool) -> InspectorBuilder {
        InspectorBuilder { options: self.options.with_regions(regions), ..self }
    }

    /// Widest image, maps and regions at once.
    pub fn options(self, options: ScorerOptions) -> InspectorBuilder {
        InspectorBuilder { options, ..self }
    }

    /// Runs the model's programs on a device instead of the CPU: `executor` holds the parameters of the model that will be
    /// handed to [`build`](Self::build).
    ///
    /// With `adflow-vulkan`: `Box::new(gpu.open_executor(model.model().params(), 0, 0)?)`.
    pub fn executor(self, executor: Box<dyn Executor + Send>) -> InspectorBuilder {
        InspectorBuilder { executor: Some(executor), ..self }
    }

    /// Makes an inspector of a model file.
    ///
    /// # Errors
    /// [`InspectorError::Open`] names the file and says why it cannot be read or is no model; else as [`Self::build`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Inspector, InspectorError> {
        self.build(OwnedModel::open(path)?)
    }

    /// Makes an inspector of a model that is open already.
    ///
    /// # Errors
    /// [`InspectorError::OutOfMemory`]; [`InspectorError::Score`] where the model needs more memory than can be addressed.
    pub fn build(self, model: OwnedModel) -> Result<Inspector, InspectorError> {
        let threads = self.pool();
        let needed = match &self.executor {
            Some(_) => Inspector::<Vec<f32>>::memory_len_on_device(&model.model(), &self.options),
            None => Inspector::<Vec<f32>>::memory_len(&model.model(), &self.options, threads.count()),
        }?;
        let mut memory = Vec::new();
        let none = |_| InspectorError::OutOfMemory { bytes: 4 * needed };
        memory.try_reserve_exact(needed).map_err(none)?;
        memory.resize(needed, 0.0);
        Ok(self.bind(model, threads, memory)?)
    }

    /// Makes an inspector whose working memory is the caller's: an arena, shared memory, a `Box<[f32]>`. It must be at least
    /// [`Inspector::memory_len`] floats long, or with an executor [`Inspector::memory_len_on_device`]; what is in it does
    /// not matter.
    ///
    /// # Errors
    /// [`ScoreError::Memory`] where it is too short, [`ScoreError::TooLarge`] where no memory would be enough.
    pub fn build_in<M: DerefMut<Target = [f32]>>(
        self,
        model: OwnedModel,
        memory: M,
    ) -> Result<Inspector<M>, ScoreError> {
        let threads = self.pool();
        self.bind(model, threads, memory)
    }

    fn pool(&self) -> Threads {
        let threads = match (&self.executor, self.threads) {
            // A device has threads of its own.
            (Some(_), _) => Threads::serial(),
            (None, 0) => Threads::all(),
            (None, count) => Threads::new(count),
        };
        threads.with_clock(microseconds)
    }

    fn bind<M: DerefMut<Target = [f32]>>(
        self,
        model: OwnedModel,
        threads: Threads,
        memory: M,
    ) -> Result<Inspector<M>, ScoreError> {
        let InspectorBuilder { options, executor, .. } = self;
        let parsed = model.model();
        let (scorer, total) = match &executor {
            Some(_) => super::memory_on_device(&parsed, &options),
            None => super::memory_on_cpu(&parsed, &options, threads.count()),
        }?;
        if memory.len() < total {
            return Err(ScoreError::Memory { needs: total, has: memory.len() });
        }
        let (threshold, isa) = (parsed.threshold(), Cpu::detect(&threads).isa());
        Ok(Inspector { model, threshold, options, threads, isa, executor, limit: None, memory, scorer, total })
    }
}

/// Microseconds since the first call, for time limits; wraps around after an hour.
fn microseconds() -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u32
}

/// Why an [`Inspector`] cannot be made.
///
/// ```
/// use adflow::Inspector;
/// let Err(error) = Inspector::open("absent.adflow") else { panic!("there is no such file") };
/// assert!(error.to_string().starts_with("absent.adflow: "));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum InspectorError {
    /// The file cannot be read or is not a model.
    Open(OpenError),
    /// The bytes are not a model.
    Model(ModelError),
    /// The model cannot be run.
    Score(ScoreError),
    /// There is not enough memory.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: usize,
    },
}

impl fmt::Display for InspectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InspectorError::Open(error) => write!(f, "{error}"),
            InspectorError::Model(error) => write!(f, "{error}"),
            InspectorError::Score(error) => write!(f, "the model cannot be run: {error}"),
            InspectorError::OutOfMemory { bytes } => {
                write!(f, "the model needs {bytes} bytes of memory to run, which are not there")
            }
        }
    }
}

impl core::error::Error for InspectorError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            InspectorError::Open(error) => Some(error),
            InspectorError::Model(error) => Some(error),
            InspectorError::Score(error) => Some(error),
            InspectorError::OutOfMemory { .. } => None,
        }
    }
}

impl From<OpenError> for InspectorError {
    fn from(error: OpenError) -> InspectorError {
        InspectorError::Open(error)
    }
}

impl From<ModelError> for InspectorError {
    fn from(error: ModelError) -> InspectorError {
        InspectorError::Model(error)
    }
}

impl From<ScoreError> for InspectorError {
    fn from(error: ScoreError) -> InspectorError {
        InspectorError::Score(error)
    }
}
