//! An [`Inspector`]: a model with the memory and the threads to run it, in one value.
//!
//! It owns everything, so it can be kept in a struct and handed to another thread. What borrows, a
//! [`Scorer`], is made anew for each image, which takes microseconds and no memory. Programs that manage memory themselves,
//! or have no allocator, use [`Scorer`] directly.

mod builder;
mod inspection;

pub use builder::{InspectorBuilder, InspectorError};
pub use inspection::{AnomalyMap, Inspection};

use crate::cpu::{Cpu, Isa};
use crate::executor::Executor;
use crate::image::{ImageView, Region};
use crate::model::{Model, OwnedModel};
use crate::score::{ScoreError, Scorer, ScorerOptions};
use crate::threads::Threads;
use crate::threshold::Threshold;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::DerefMut;
use core::time::Duration;
use std::path::Path;

/// Inspects parts with a model, one image at a time.
///
/// Making one takes memory and starts threads; inspecting with it allocates nothing on the CPU. It is `Send`, and holds no
/// borrow. One image is inspected at a time, on all of its threads; several inspectors work at the same
/// time, and clones of one [`OwnedModel`] share the model's bytes.
///
/// ```
/// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::{ImageView, Inspector};
///
/// struct Station {
///     inspector: Inspector,
///     rejected: u32,
/// }
///
/// impl Station {
///     /// Called with each frame of the camera: 64×64 grey pixels.
///     fn frame(&mut self, pixels: &[u8]) -> Result<bool, Box<dyn std::error::Error>> {
///         let inspection = self.inspector.inspect(&ImageView::grey_u8(64, 64, pixels)?)?;
///         self.rejected += u32::from(inspection.is_defective());
///         Ok(inspection.is_defective())
///     }
/// }
///
/// let mut station = Station { inspector: Inspector::new(model)?, rejected: 0 };
/// assert!(station.frame(&[255; 64 * 64])?, "all white: no part looks like that");
/// assert_eq!(station.rejected, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `M` is the type of the working memory: a `Vec` unless [`InspectorBuilder::build_in`] was given another.
pub struct Inspector<M = Vec<f32>> {
    model: OwnedModel,
    threshold: Option<Threshold>,
    options: ScorerOptions,
    threads: Threads,
    isa: Isa,
    executor: Option<Box<dyn Executor + Send>>,
    /// Microseconds that an inspection may take.
    limit: Option<u32>,
    /// From 0 the scorer's, from `scorer` to `total` the map.
    memory: M,
    scorer: usize,
    total: usize,
}

impl Inspector {
    /// Opens a model file, to run on all processors, with maps, for images up to 16384 pixels wide.
    ///
    /// # Errors
    /// [`InspectorError::Open`] names the file and says why it cannot be read or is no model;
    /// [`InspectorError::OutOfMemory`]; [`InspectorError::Score`] where the model needs more memory than can be addressed.
    pub fn open(path: impl AsRef<Path>) -> Result<Inspector, InspectorError> {
        Inspector::builder().open(path)
    }

    /// Copies and validates the bytes of a model file, else like [`Inspector::open`].
    ///
    /// # Errors
    /// [`InspectorError::Model`] says why the bytes are no model; [`InspectorError::OutOfMemory`]; [`InspectorError::Score`]
    /// where the model needs more memory than can be addressed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Inspector, InspectorError> {
        Inspector::new(OwnedModel::from_bytes(bytes)?)
    }

    /// Takes a model that is open already, else like [`Inspector::open`].
    ///
    /// # Errors
    /// [`InspectorError::OutOfMemory`]; [`InspectorError::Score`] where the model needs more memory than can be addressed.
    pub fn new(model: OwnedModel) -> Result<Inspector, InspectorError> {
        Inspector::builder().build(model)
    }

    /// Chooses threads, memory and device before the model is opened.
    pub fn builder() -> InspectorBuilder {
        InspectorBuilder::default()
    }

    /// Floats of working memory that an inspector with `workers` threads takes, the map included.
    ///
    /// # Errors
    /// [`ScoreError::TooLarge`] where that is more than can be addressed.
    pub fn memory_len(model: &Model<'_>, options: &ScorerOptions, workers: usize) -> Result<usize, ScoreError> {
        memory_on_cpu(model, options, workers).map(|(_, total)| total)
    }

    /// Floats of the CPU's memory that an inspector takes whose programs run on a device, the map included.
    ///
    /// # Errors
    /// [`ScoreError::TooLarge`] where that is more than can be addressed.
    pub fn memory_len_on_device(model: &Model<'_>, options: &ScorerOptions) -> Result<usize, ScoreError> {
        memory_on_device(model, options).map(|(_, total)| total)
    }
}

impl<M: DerefMut<Target = [f32]>> Inspector<M> {
    /// Score and verdict of an image.
    ///
    /// # Errors
    /// [`ScoreError::Image`] and [`ScoreError::TooWide`] for an image that cannot be inspected, [`ScoreError::TimedOut`] past
    /// the [limit](Self::set_time_limit), [`ScoreError::Device`] where a device fails. The inspector can be used on after
    /// each of them.
    pub fn inspect(&mut self, image: &ImageView<'_>) -> Result<Inspection, ScoreError> {
        let score = self.score(image, None, false)?;
        Ok(self.judge(score))
    }

    /// Score and verdict of an image, and how strange each part of it is.
    ///
    /// ```
    /// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
    /// # let mut inspector = adflow::Inspector::new(model)?;
    /// let (inspection, map) = inspector.inspect_with_map(&good[0].view())?;
    /// assert_eq!(map.values().len() as u32, map.width() * map.height());
    /// let (x, y) = map.peak_in(good[0].width(), good[0].height());
    /// println!("{inspection}, strangest at ({x}, {y})");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ScoreError::NoMap`] where the model makes no maps or the inspector was made without; else as [`Self::inspect`].
    pub fn inspect_with_map(&mut self, image: &ImageView<'_>) -> Result<(Inspection, AnomalyMap<'_>), ScoreError> {
        let score = self.score(image, None, true)?;
        Ok((self.judge(score), self.anomaly_map()))
    }

    /// Score and verdict of a part of an image: inside `region`, and inside the model's own region of interest. No pixel
    /// outside changes a bit of them.
    ///
    /// ```
    /// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
    /// use adflow::Inspector;
    /// use adflow::image::{ImageView, Region};
    /// let mut inspector = Inspector::builder().regions(true).build(model)?;
    /// let mut mask = vec![255u8; 64 * 64]; // white: inspected
    /// mask[..16 * 64].fill(0); // the upper quarter shows a gripper
    /// let mask = ImageView::grey_u8(64, 64, &mask)?;
    /// let inspection = inspector.inspect_within(&good[0].view(), &Region::Mask(&mask))?;
    /// assert!(inspection.score > 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ScoreError::Region`] for a region of another size than the image, one in which nothing is left at the model's
    /// resolution, or any if the inspector was made without [`InspectorBuilder::regions`]; else as [`Self::inspect`].
    pub fn inspect_within(&mut self, image: &ImageView<'_>, region: &Region<'_>) -> Result<Inspection, ScoreError> {
        let score = self.score(image, Some(region), false)?;
        Ok(self.judge(score))
    }

    /// Score and verdict of a part of an image, and how strange each part of it is; outside of `region` the map is 0.
    ///
    /// # Errors
    /// Those of [`Self::inspect_within`] and of [`Self::inspect_with_map`].
    pub fn inspect_within_with_map(
        &mut self,
        image: &ImageView<'_>,
        region: &Region<'_>,
    ) -> Result<(Inspection, AnomalyMap<'_>), ScoreError> {
        let score = self.score(image, Some(region), true)?;
        Ok((self.judge(score), self.anomaly_map()))
    }

    /// How long each later inspection may take, up to 35 minutes; `None`, as at first: as long as it needs.
    ///
    /// One that is not done by then fails with [`ScoreError::TimedOut`] within a millisecond. The clock is looked at between
    /// the parts of the work on the CPU; a GPU finishes what it was given.
    ///
    /// ```
    /// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
    /// # let mut inspector = adflow::Inspector::new(model)?;
    /// use adflow::score::ScoreError;
    /// use std::time::Duration;
    /// inspector.set_time_limit(Some(Duration::ZERO));
    /// assert_eq!(inspector.inspect(&good[0].view()), Err(ScoreError::TimedOut));
    /// inspector.set_time_limit(Some(Duration::from_secs(60)));
    /// assert!(inspector.inspect(&good[0].view()).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit.map(|limit| limit.as_micros().min(i32::MAX as u128) as u32);
    }

    /// The threshold that verdicts come from: at first the model's.
    #[must_use]
    pub fn threshold(&self) -> Option<Threshold> {
        self.threshold
    }

    /// Changes the threshold of this inspector only; `None`: no verdicts.
    ///
    /// ```
    /// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
    /// # let mut inspector = adflow::Inspector::new(model)?;
    /// use adflow::threshold::{Threshold, Verdict};
    /// inspector.set_threshold(Some(Threshold::manual(0.0)));
    /// assert_eq!(inspector.inspect(&good[0].view())?.verdict, Some(Verdict::Defective));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_threshold(&mut self, threshold: Option<Threshold>) {
        self.threshold = threshold;
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &OwnedModel {
        &self.model
    }

    /// Bytes of working memory; on a device also what that holds for the model once an image was inspected. The model's own
    /// bytes are not among them.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        4 * self.memory.len() as u64 + self.executor.as_ref().map_or(0, |executor| executor.device_bytes())
    }

    /// The score; with `map`, the memory behind the scorer's holds the map.
    fn score(&mut self, image: &ImageView<'_>, region: Option<&Region<'_>>, map: bool) -> Result<f32, ScoreError> {
        self.threads.deadline().set(self.limit);
        let (model, options) = (self.model.model(), &self.options);
        let (memory, own_map) = self.memory[..self.total].split_at_mut(self.scorer);
        let mut scorer = match &mut self.executor {
            Some(executor) => Scorer::on_device(model, options, &mut **executor, memory)?,
            None => Scorer::new(model, options, Cpu::with_isa(self.isa, &self.threads), memory)?,
        };
        let map = map.then_some(own_map);
        let score = match (region, map) {
            (Some(region), map) => scorer.score_region(image, region, map)?,
            (None, Some(map)) => scorer.score_with_map(image, map)?,
            (None, None) => scorer.score(image)?,
        };
        if self.threads.deadline().passed() { Err(ScoreError::TimedOut) } else { Ok(score) }
    }

    fn judge(&self, score: f32) -> Inspection {
        Inspection { score, verdict: self.threshold.map(|threshold| threshold.verdict(score)) }
    }

    fn anomaly_map(&self) -> AnomalyMap<'_> {
        let (width, height) = self.model.model().map_size();
        AnomalyMap { width, height, values: &self.memory[self.scorer..self.total] }
    }
}

impl<M> fmt::Debug for Inspector<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = if self.executor.is_some() { "a device" } else { self.isa.name() };
        write!(f, "Inspector({:?}, {device}, {} threads)", self.model, self.threads.count())
    }
}

fn memory_on_cpu(model: &Model<'_>, options: &ScorerOptions, workers: usize) -> Result<(usize, usize), ScoreError> {
    with_map(model, options, Scorer::memory_len(model, options, workers)?)
}

fn memory_on_device(model: &Model<'_>, options: &ScorerOptions) -> Result<(usize, usize), ScoreError> {
    with_map(model, options, Scorer::memory_len_on_device(model, options)?)
}

/// Where the map begins behind the scorer's memory, and floats in all.
fn with_map(model: &Model<'_>, options: &ScorerOptions, scorer: usize) -> Result<(usize, usize), ScoreError> {
    /// Both parts begin at a cache line.
    const LINE: usize = 16;
    let (width, height) = if options.map { model.map_size() } else { (0, 0) };
    let places = || {
        let scorer = scorer.checked_next_multiple_of(LINE)?;
        let total = (width as usize).checked_mul(height as usize)?.checked_add(scorer)?;
        (total <= isize::MAX as usize / 4).then_some((scorer, total))
    };
    places().ok_or(ScoreError::TooLarge)
}

const _: fn() = || {
    fn sends<T: Send>() {}
    sends::<Inspector>();
};
