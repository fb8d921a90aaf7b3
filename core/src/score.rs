//! Scoring in memory of the caller's: camera buffer in, score and map out, nothing allocated.
//!
//! A [`Scorer`] resizes and normalises the image once, then runs the model's `score` program on each view of it (the
//! image itself, turned, mirrored); the score is the mean over views. The map is an output of that program or, for flows on
//! pooled features, the gradient of the likelihood with respect to the image (program `localize`; DifferNet,
//! "localization"): of each view and channel it is turned back and blurred, then the magnitudes are averaged and squared. A
//! model with tiles sees the image one tile at a time (`score/tiled.rs`).
//!
//! With an allocator at hand, an [`Inspector`](crate::Inspector) is less to write.

mod kept;
mod tiled;

use crate::cpu::Cpu;
use crate::deadline::Deadline;
use crate::executor::{DeviceError, Executor, Prepared};
use crate::image::{
    GridPlace, ImageError, ImageView, Preprocess, Region, Rows, d4_inverse, enlarge, gaussian_blur_scratch_len,
    gaussian_blur_until, keep_scratch_len, rotate_cubic, rotate_nearest, view_d4,
};
use crate::model::{DetectorRecord, MapKind, Model, ViewKind};
use crate::plan::Program;
use crate::session::{Memory, Session, SessionError, Sizes};
use core::fmt;
pub use kept::top_of_map;
use kept::{KeepLayout, Kept};
use tiled::{Scene, TiledLayout, tiles_at_once};

/// Why an image cannot be scored.
///
/// ```
/// # let (_, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::image::{ImageError, ImageView};
/// use adflow::score::ScoreError;
/// use std::error::Error;
/// let mut inspector = adflow::Inspector::new(model)?;
/// let broken = [f32::NAN; 64 * 64]; // a sensor that sends no numbers
/// let error = inspector.inspect(&ImageView::grey_f32(64, 64, &broken)?).unwrap_err();
/// assert_eq!(error, ScoreError::Image(ImageError::NonFinite { x: 0, y: 0 }));
/// assert_eq!(error.source().expect("an image error").to_string(), "pixel (0, 0) is not a usable number");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum ScoreError {
    /// The image is not valid.
    Image(ImageError),
    /// The memory handed over is too small.
    Memory {
        /// Floats needed.
        needs: usize,
        /// Floats given.
        has: usize,
    },
    /// The image is wider than the scorer was made for.
    TooWide {
        /// Width of the image in pixels.
        width: u32,
        /// [`ScorerOptions::max_width`].
        limit: u32,
    },
    /// The map buffer has the wrong length.
    MapLength {
        /// Elements of a map.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The region of an image cannot be used, for this reason.
    Region(&'static str),
    /// The model, or this scorer, makes no maps.
    NoMap,
    /// The model needs more memory than can be addressed.
    TooLarge,
    /// The device failed.
    Device(DeviceError),
    /// The deadline has passed.
    TimedOut,
}

impl fmt::Display for ScoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScoreError::Image(error) => write!(f, "{error}"),
            ScoreError::Memory { needs, has } => write!(f, "scoring needs {needs} floats of memory, was given {has}"),
            ScoreError::TooWide { width, limit } => {
                write!(f, "the image is {width} pixels wide, the scorer was made for at most {limit}")
            }
            ScoreError::MapLength { expected, found } => write!(f, "a map has {expected} values, the buffer {found}"),
            ScoreError::Region(why) => write!(f, "region of interest: {why}"),
            ScoreError::NoMap => f.write_str("no map is made by this model or scorer"),
            ScoreError::Device(error) => write!(f, "{error}"),
            ScoreError::TimedOut => f.write_str("the deadline has passed before the image was scored"),
            ScoreError::TooLarge => f.write_str("the model needs more memory than can be addressed"),
        }
    }
}

impl core::error::Error for ScoreError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ScoreError::Image(error) => Some(error),
            ScoreError::Device(error) => Some(error),
            ScoreError::Memory { .. }
            | ScoreError::TooWide { .. }
            | ScoreError::MapLength { .. }
            | ScoreError::Region(_)
            | ScoreError::NoMap
            | ScoreError::TooLarge
            | ScoreError::TimedOut => None,
        }
    }
}

impl From<ImageError> for ScoreError {
    fn from(error: ImageError) -> ScoreError {
        ScoreError::Image(error)
    }
}

impl From<DeviceError> for ScoreError {
    fn from(error: DeviceError) -> ScoreError {
        ScoreError::Device(error)
    }
}

/// What a [`Scorer`] must be able to do, which decides how much memory it takes.
///
/// ```
/// use adflow::score::ScorerOptions;
/// // A line with a camera of 2048 pixels a row that wants scores, no maps.
/// let options = ScorerOptions::new().with_max_width(2048).with_map(false);
/// assert!(!options.map && !options.regions);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScorerOptions {
    /// Widest image, in pixels; costs about 5 floats a pixel. 16384 unless set.
    pub max_width: u32,
    /// Whether maps will be asked for; true unless set. For flows a map costs the memory of a backward pass.
    pub map: bool,
    /// Whether images will come with regions of their own ([`Scorer::score_within`]); false unless set. Costs about 2 floats
    /// for each pixel of the model's input.
    pub regions: bool,
}

impl ScorerOptions {
    /// Images up to 16384 pixels wide, with maps, without regions.
    #[must_use]
    pub const fn new() -> ScorerOptions {
        ScorerOptions { max_width: 16384, map: true, regions: false }
    }

    /// Sets the widest image, in pixels.
    #[must_use]
    pub const fn with_max_width(self, max_width: u32) -> ScorerOptions {
        ScorerOptions { max_width, ..self }
    }

    /// Sets whether maps will be asked for.
    #[must_use]
    pub const fn with_map(self, map: bool) -> ScorerOptions {
        ScorerOptions { map, ..self }
    }

    /// Sets whether images will come with regions of their own.
    #[must_use]
    pub const fn with_regions(self, regions: bool) -> ScorerOptions {
        ScorerOptions { regions, ..self }
    }
}

impl Default for ScorerOptions {
    fn default() -> ScorerOptions {
        ScorerOptions::new()
    }
}

/// Floats of each part of a scorer's memory.
#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    image: usize,
    preprocess: usize,
    plane: usize,
    blur: usize,
    keep: KeepLayout,
    /// Of a model with tiles; the other parts are 0 then.
    tiled: TiledLayout,
}

impl Layout {
    fn of(model: &Model<'_>, options: &ScorerOptions) -> Layout {
        let d = model.detector();
        let (wants_map, side) = (wants_map(model, options), d.map_width as usize);
        let regions = options.regions || model.roi().is_some();
        if let Some(tiles) = model.tiles() {
            return Layout { tiled: TiledLayout::of(model, tiles, options, wants_map, regions), ..Layout::default() };
        }
        let keep_scratch = if regions { keep_scratch_len(options.max_width.max(d.size)) } else { 0 };
        Layout {
            image: model.preprocess().output_len(),
            preprocess: model.preprocess().scratch_len(options.max_width, 1).max(keep_scratch),
            plane: if wants_map { side * side } else { 0 },
            blur: if wants_map { gaussian_blur_scratch_len(side, side, d.map_blur) } else { 0 },
            keep: if regions { KeepLayout::of(d) } else { KeepLayout::default() },
            tiled: TiledLayout::default(),
        }
    }

    fn total(&self) -> usize {
        let (keep, tiled) = (self.keep.total(), self.tiled.total());
        [self.image, self.preprocess, self.plane, self.plane, self.blur, keep, tiled]
            .into_iter()
            .fold(0usize, usize::saturating_add)
    }
}

fn wants_map(model: &Model<'_>, options: &ScorerOptions) -> bool {
    options.map && model.detector().map_kind() != MapKind::None
}

/// The programs that scoring runs.
fn programs<'m>(model: &Model<'m>, options: &ScorerOptions) -> Result<(Program<'m>, Option<Program<'m>>), ScoreError> {
    let find = |name| model.program(name).ok_or(ScoreError::NoMap);
    let gradient = wants_map(model, options) && model.detector().map_kind() == MapKind::Gradient;
    Ok((find("score")?, if gradient { Some(find("localize")?) } else { None }))
}

/// Floats that the sessions of each program need on the CPU.
fn sizes(model: &Model<'_>, options: &ScorerOptions, workers: usize) -> Result<(Sizes, Option<Sizes>), ScoreError> {
    let of = |program: Program<'_>| Sizes::of(&program, 1, workers).map_err(|_: SessionError| ScoreError::TooLarge);
    let (score, localize) = programs(model, options)?;
    Ok((of(score)?, localize.map(of).transpose()?))
}

/// Where the programs run.
enum Runner<'m, 'e> {
    /// On the CPU, one view after the other, in the caller's memory.
    Memory { cpu: Cpu<'m>, memory: &'e mut [f32], score: Sizes, localize: Option<Sizes> },
    /// On a device, several views at once.
    Device { executor: &'e mut dyn Executor, score: Prepared, localize: Option<Prepared>, batch: usize },
}

/// Which program of a runner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Score,
    Localize,
}

/// Outputs of the run before.
enum Outputs<'o> {
    Memory(&'o Session<'o>),
    Device(&'o dyn Executor, Prepared),
}

impl Outputs<'_> {
    fn get(&self, name: &str) -> &[f32] {
        match self {
            Outputs::Memory(session) => session.output(name).unwrap_or(&[]),
            Outputs::Device(executor, prepared) => executor.output(*prepared, name),
        }
    }
}

impl<'m> Runner<'m, '_> {
    fn batch(&self) -> usize {
        match self {
            Runner::Memory { .. } => 1,
            Runner::Device { batch, .. } => *batch,
        }
    }

    /// When to give up.
    fn until(&self) -> &'m Deadline {
        static NEVER: Deadline = Deadline::none();
        match self {
            Runner::Memory { cpu, .. } => cpu.threads().deadline(),
            Runner::Device { .. } => &NEVER,
        }
    }

    /// Runs a program: `write` fills the images of a batch, `read` is shown the outputs by name.
    fn run(
        &mut self,
        model: &Model<'m>,
        which: Which,
        write: impl FnOnce(&mut [f32]),
        read: impl FnOnce(&Outputs<'_>),
    ) -> Result<(), ScoreError> {
        match self {
            Runner::Memory { cpu, memory, score, localize } => {
                let (name, sizes) = match which {
                    Which::Score => ("score", Some(&*score)),
                    Which::Localize => ("localize", localize.as_ref()),
                };
                let (Some(program), Some(sizes)) = (model.program(name), sizes) else { return Err(ScoreError::NoMap) };
                let has = memory.len();
                let session = Memory::carve(model.params(), memory, sizes)
                    .and_then(|memory| Session::bind(program, 1, *cpu, memory, sizes));
                let mut session = session.map_err(|_| ScoreError::Memory { needs: sizes.total(), has })?;
                write(session.input("image").unwrap_or(&mut []));
                session.run();
                if cpu.threads().deadline().passed() {
                    return Err(ScoreError::TimedOut);
                }
                read(&Outputs::Memory(&session));
            }
            Runner::Device { executor, score, localize, .. } => {
                let prepared = match which {
                    Which::Score => *score,
                    Which::Localize => localize.ok_or(ScoreError::NoMap)?,
                };
                write(executor.input(prepared, "image"));
                executor.run(prepared)?;
                read(&Outputs::Device(&**executor, prepared));
            }
        }
        Ok(())
    }
}

/// A model bound to memory, ready to score one image at a time.
///
/// Making one takes microseconds; scoring allocates nothing on the CPU. How much memory is needed does not depend on the
/// height of images. A model with tiles needs room for one tile and for the joined map, however large the image.
///
/// ```
/// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::cpu::Cpu;
/// use adflow::score::{Scorer, ScorerOptions};
/// use adflow::threads::Threads;
///
/// let (model, options, threads) = (model.model(), ScorerOptions::new().with_max_width(64), Threads::new(2));
/// let mut memory = vec![0.0; Scorer::memory_len(&model, &options, threads.count())?];
/// let (width, height) = model.map_size();
/// let mut map = vec![0.0; (width * height) as usize];
///
/// let mut scorer = Scorer::new(model, &options, Cpu::detect(&threads), &mut memory)?;
/// for image in &good {
///     let score = scorer.score_with_map(&image.view(), &mut map)?;
///     println!("{score:.2}, at most {:.2}", map.iter().copied().fold(0.0, f32::max));
/// }
/// # Ok::<(), adflow::score::ScoreError>(())
/// ```
pub struct Scorer<'m, 'e> {
    model: Model<'m>,
    options: ScorerOptions,
    layout: Layout,
    memory: &'e mut [f32],
    runner: Runner<'m, 'e>,
}

/// How many views, or tiles, a device scores at once; views are divided evenly.
fn views_at_once(model: &Model<'_>, preferred_batch: usize) -> usize {
    if let Some(tiles) = model.tiles() {
        return tiles_at_once(tiles, preferred_batch);
    }
    let views = model.detector().views as usize;
    (1..=preferred_batch.max(1)).rev().find(|n| views.is_multiple_of(*n)).unwrap_or(1)
}

impl<'m, 'e> Scorer<'m, 'e> {
    /// Floats of memory that [`Scorer::new`] needs with `workers` threads.
    ///
    /// # Errors
    /// [`ScoreError::TooLarge`] where that is more than can be addressed.
    pub fn memory_len(model: &Model<'_>, options: &ScorerOptions, workers: usize) -> Result<usize, ScoreError> {
        let (score, localize) = sizes(model, options, workers)?;
        let session = score.total().max(localize.map_or(0, |s| s.total()));
        let total = Layout::of(model, options).total().saturating_add(session);
        if total > isize::MAX as usize / 4 { Err(ScoreError::TooLarge) } else { Ok(total) }
    }

    /// Floats of memory that [`Scorer::on_device`] needs on the CPU's side.
    ///
    /// # Errors
    /// [`ScoreError::TooLarge`] where that is more than can be addressed.
    pub fn memory_len_on_device(model: &Model<'_>, options: &ScorerOptions) -> Result<usize, ScoreError> {
        let total = Layout::of(model, options).total();
        if total > isize::MAX as usize / 4 { Err(ScoreError::TooLarge) } else { Ok(total) }
    }

    /// Floats of a device's memory that [`Scorer::on_device`] needs where `preferred_batch` samples are best run at once
    /// ([`Executor::preferred_batch`]): parameters, the intermediate values of the larger program, inputs and outputs of each.
    ///
    /// # Errors
    /// [`ScoreError::TooLarge`] where that is more than can be addressed.
    pub fn device_len(model: &Model<'_>, options: &ScorerOptions, preferred_batch: usize) -> Result<usize, ScoreError> {
        let (score, localize) = programs(model, options)?;
        let batch = views_at_once(model, preferred_batch);
        let (mut work, mut rest) = (0, model.params().len());
        for program in [Some(score), localize].into_iter().flatten() {
            let s = Sizes::of(&program, batch, 1).map_err(|_| ScoreError::TooLarge)?;
            work = work.max(s.work);
            rest += s.io + s.fixed;
        }
        Ok(work + rest)
    }

    /// Binds a model to memory, to run on the CPU. What is in the memory does not matter.
    ///
    /// # Errors
    /// [`ScoreError::Memory`] where it is shorter than [`Scorer::memory_len`] says.
    pub fn new(
        model: Model<'m>,
        options: &ScorerOptions,
        cpu: Cpu<'m>,
        memory: &'e mut [f32],
    ) -> Result<Scorer<'m, 'e>, ScoreError> {
        let workers = cpu.threads().count();
        let (score, localize) = sizes(&model, options, workers)?;
        let (layout, has) = (Layout::of(&model, options), memory.len());
        let needs = Self::memory_len(&model, options, workers)?;
        if has < needs {
            return Err(ScoreError::Memory { needs, has });
        }
        let (memory, session) = memory.split_at_mut(layout.total());
        let runner = Runner::Memory { cpu, memory: session, score, localize };
        Ok(Scorer { model, options: *options, layout, memory, runner })
    }

    /// Binds a model to memory, to run on a device: `executor` holds the model's parameters.
    ///
    /// ```
    /// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
    /// use adflow::cpu::Cpu;
    /// use adflow::executor::Device;
    /// use adflow::score::{Scorer, ScorerOptions};
    /// use adflow::threads::Threads;
    ///
    /// let (model, options, threads) = (model.model(), ScorerOptions::new(), Threads::serial());
    /// let device: &dyn Device = &Cpu::detect(&threads); // or a GPU by `adflow-vulkan`
    /// let mut executor = device.executor(model.params(), 0, 0)?;
    /// let mut memory = vec![0.0; Scorer::memory_len_on_device(&model, &options)?];
    /// let mut scorer = Scorer::on_device(model, &options, &mut *executor, &mut memory)?;
    /// assert!(scorer.score(&good[0].view())? > 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ScoreError::Memory`] where the memory is shorter than [`Scorer::memory_len_on_device`] says, [`ScoreError::Device`]
    /// where the device cannot run the programs.
    pub fn on_device(
        model: Model<'m>,
        options: &ScorerOptions,
        executor: &'e mut dyn Executor,
        memory: &'e mut [f32],
    ) -> Result<Scorer<'m, 'e>, ScoreError> {
        let (layout, has) = (Layout::of(&model, options), memory.len());
        let needs = Self::memory_len_on_device(&model, options)?;
        if has < needs {
            return Err(ScoreError::Memory { needs, has });
        }
        let batch = views_at_once(&model, executor.preferred_batch());
        let (score, localize) = programs(&model, options)?;
        let score = executor.prepare(score, batch)?;
        let localize = localize.map(|program| executor.prepare(program, batch)).transpose()?;
        let runner = Runner::Device { executor, score, localize, batch };
        Ok(Scorer { model, options: *options, layout, memory, runner })
    }

    /// The model.
    pub fn model(&self) -> Model<'m> {
        self.model
    }

    /// The anomaly score of an image: larger is stranger. A score beyond f32 is `f32::MAX`.
    ///
    /// # Errors
    /// [`ScoreError::Image`] and [`ScoreError::TooWide`] for an image that cannot be scored, [`ScoreError::TimedOut`] past the
    /// deadline of the threads, [`ScoreError::Device`] where a device fails, [`ScoreError::Region`] where the model's region
    /// of interest leaves nothing of an image this small.
    pub fn score(&mut self, image: &ImageView<'_>) -> Result<f32, ScoreError> {
        self.run(image, None, None)
    }

    /// The score, and how strange each pixel is: `map` gets the rows of a map of [`Model::map_size`], 0 outside the region of
    /// interest.
    ///
    /// # Errors
    /// [`ScoreError::NoMap`] where the model makes no maps or the scorer was made without, [`ScoreError::MapLength`] for a
    /// buffer of another length; else as [`Scorer::score`].
    pub fn score_with_map(&mut self, image: &ImageView<'_>, map: &mut [f32]) -> Result<f32, ScoreError> {
        self.check_map(map)?;
        self.run(image, None, Some(map))
    }

    /// [`Scorer::score`], or with a map [`Scorer::score_with_map`], of a part of the image: where every channel of
    /// `region`, an image of the same size, is at least half of white, and the model's own region of interest allows.
    ///
    /// No pixel outside can change a bit of score or map. The scorer must have been made with [`ScorerOptions::regions`].
    ///
    /// # Errors
    /// [`ScoreError::Region`] where it was not, or where the region has another size than the image or leaves nothing at the
    /// model's resolution; else as [`Scorer::score_with_map`].
    pub fn score_within(
        &mut self,
        image: &ImageView<'_>,
        region: &ImageView<'_>,
        map: Option<&mut [f32]>,
    ) -> Result<f32, ScoreError> {
        self.score_region(image, &Region::Mask(region), map)
    }

    /// [`Scorer::score_within`] for a region in any form: a mask, run lengths, a rectangle.
    ///
    /// ```
    /// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
    /// # use adflow::{cpu::Cpu, score::{Scorer, ScorerOptions}, threads::Threads};
    /// use adflow::image::{Region, Span};
    /// # let (model, threads) = (model.model(), Threads::serial());
    /// let options = ScorerOptions::new().with_regions(true);
    /// # let mut memory = vec![0.0; Scorer::memory_len(&model, &options, 1)?];
    /// let mut scorer = Scorer::new(model, &options, Cpu::detect(&threads), &mut memory)?;
    /// // Columns 8 to 55 of rows 16 to 47.
    /// let top = Span { row: 16, first: 8, last: 55 };
    /// let score = scorer.score_region(&good[0].view(), &Region::rectangle(64, 64, &top, 32), None)?;
    /// # assert!(score > 0.0);
    /// # Ok::<(), adflow::score::ScoreError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Scorer::score_within`].
    pub fn score_region(
        &mut self,
        image: &ImageView<'_>,
        region: &Region<'_>,
        map: Option<&mut [f32]>,
    ) -> Result<f32, ScoreError> {
        if let Some(map) = &map {
            self.check_map(map)?;
        }
        let d = self.model.detector();
        if !self.options.regions {
            return Err(ScoreError::Region("this scorer was made for whole images"));
        }
        if self.model.tiles().is_none() && d.map_kind() != MapKind::None && d.map_width != d.size {
            return Err(ScoreError::Region("the model's map has another size than its input"));
        }
        if region.extent() != (image.width(), image.height()) {
            return Err(ScoreError::Region("it must have the size of the image"));
        }
        self.run(image, Some(region), map)
    }

    fn check_map(&self, map: &[f32]) -> Result<(), ScoreError> {
        let (width, height) = self.model.map_size();
        let expected = width as usize * height as usize;
        if !wants_map(&self.model, &self.options) {
            return Err(ScoreError::NoMap);
        }
        if expected != map.len() { Err(ScoreError::MapLength { expected, found: map.len() }) } else { Ok(()) }
    }

    fn run(
        &mut self,
        image: &ImageView<'_>,
        region: Option<&Region<'_>>,
        mut map: Option<&mut [f32]>,
    ) -> Result<f32, ScoreError> {
        if image.width() > self.options.max_width {
            return Err(ScoreError::TooWide { width: image.width(), limit: self.options.max_width });
        }
        if let Some(tiles) = self.model.tiles() {
            let memory = &mut self.memory[..self.layout.total()];
            let scene = Scene { image, region };
            return tiled::run(&self.model, tiles, &self.layout.tiled, &mut self.runner, memory, scene, map);
        }
        let Layout { image: image_len, preprocess, plane, keep, .. } = self.layout;
        let (base, rest) = self.memory.split_at_mut(image_len);
        let (scratch, rest) = rest.split_at_mut(preprocess);
        let (turned, rest) = rest.split_at_mut(plane);
        let (back, rest) = rest.split_at_mut(plane);
        let (keep_memory, blur) = rest.split_at_mut(keep.total());
        let how = self.model.preprocess();
        let d = self.model.detector();
        let roi = self.model.roi();
        let until = self.runner.until();
        let mut kept = (roi.is_some() || region.is_some()).then(|| Kept::carve(&keep, keep_memory));
        match &mut kept {
            None => how.apply_until(image, until, scratch, base)?,
            Some(kept) => {
                if !kept.find(d.size, image, roi, region, scratch) {
                    return Err(ScoreError::Region(NOTHING_INSIDE));
                }
                how.apply_kept(image, kept.plane, until, scratch, base)?;
            }
        }
        let top = if kept.is_some() { self.model.program("score").and_then(|p| top_of_map(&p)) } else { None };
        let views = Views { detector: d, preprocess: &how };
        if let Some(map) = map.as_deref_mut() {
            map.fill(0.0);
        }
        let (mut sum, mut count) = (0.0f64, 0);
        let mut planes = MapPlanes { turned, back, blur, until };
        let batch = self.runner.batch();
        let write = |first: usize, images: &mut [f32]| {
            for (at, image) in images.chunks_exact_mut(image_len).enumerate() {
                views.write(first + at, base, image);
            }
        };
        for first in (0..d.views as usize).step_by(batch) {
            if until.passed() {
                return Err(ScoreError::TimedOut);
            }
            self.runner.run(
                &self.model,
                Which::Score,
                |images| write(first, images),
                |output| {
                    let scores = output.get("score");
                    let grids = if d.map_kind() == MapKind::Program { output.get("map") } else { &[] };
                    let mut grids = grids.chunks_exact((grids.len() / batch).max(1));
                    for (at, score) in scores.iter().enumerate() {
                        let grid = grids.next();
                        let score = match (&mut kept, top, grid) {
                            (Some(kept), Some(k), Some(grid)) => kept.top_mean(&views, first + at, grid, k),
                            _ => Some(*score),
                        };
                        if let Some(score) = score {
                            sum += f64::from(score);
                            count += 1;
                        }
                        if let (Some(map), Some(grid)) = (map.as_deref_mut(), grid) {
                            views.add_map(first + at, grid, &mut planes, map);
                        }
                    }
                },
            )?;
            if let (Some(map), MapKind::Gradient) = (map.as_deref_mut(), d.map_kind()) {
                self.runner.run(
                    &self.model,
                    Which::Localize,
                    |images| write(first, images),
                    |output| {
                        for (at, gradient) in output.get("gradient").chunks_exact(image_len).enumerate() {
                            views.add_gradient(first + at, batch, gradient, &mut planes, map);
                        }
                    },
                )?;
            }
        }
        if count == 0 {
            return Err(ScoreError::Region(NOTHING_INSIDE));
        }
        if let Some(map) = map {
            views.finish_map(map);
            if let Some(kept) = &kept {
                map.iter_mut().zip(&*kept.plane).filter(|(_, keep)| **keep == 0.0).for_each(|(m, _)| *m = 0.0);
            }
        }
        let score = (sum / f64::from(count)) as f32;
        Ok(if score.is_finite() { score } else { f32::MAX })
    }
}

/// Why a region that is too small or too thin is refused.
const NOTHING_INSIDE: &str = "nothing is inside at the model's resolution";

struct MapPlanes<'p> {
    turned: &'p mut [f32],
    back: &'p mut [f32],
    blur: &'p mut [f32],
    until: &'p Deadline,
}

/// The views of one detector and the way back from them.
pub(crate) struct Views<'d> {
    pub detector: &'d DetectorRecord,
    pub preprocess: &'d Preprocess,
}

impl Views<'_> {
    fn degrees(&self, view: usize) -> f64 {
        view as f64 * 360.0 / f64::from(self.detector.views)
    }

    /// Writes view number `view` of a C×S×S image.
    pub fn write(&self, view: usize, image: &[f32], out: &mut [f32]) {
        let (channels, size) = (self.detector.channels as usize, self.detector.size as usize);
        match self.detector.view_kind() {
            ViewKind::Symmetries => view_d4(view, channels, size, image, out),
            ViewKind::Rotations => {
                // Black as it is after normalisation.
                rotate_nearest(size, size, self.degrees(view), &self.preprocess.shift[..channels], image, out);
            }
        }
    }

    /// Turns `planes.turned` back into the image's frame, in `planes.back`.
    fn turn_back(&self, view: usize, side: usize, planes: &mut MapPlanes<'_>) {
        match self.detector.view_kind() {
            ViewKind::Symmetries => view_d4(d4_inverse(view), 1, side, planes.turned, planes.back),
            ViewKind::Rotations => rotate_cubic(side, side, -self.degrees(view), planes.turned, planes.back),
        }
    }

    /// `batch`: the loss is the mean over that many views, so each gradient is that much smaller.
    fn add_gradient(&self, view: usize, batch: usize, gradient: &[f32], planes: &mut MapPlanes<'_>, map: &mut [f32]) {
        let side = self.detector.map_width as usize;
        for channel in gradient.chunks_exact(side * side) {
            if planes.until.passed() {
                return;
            }
            planes.turned.iter_mut().zip(channel).for_each(|(t, g)| *t = g * batch as f32);
            self.turn_back(view, side, planes);
            gaussian_blur_until(side, side, self.detector.map_blur, planes.until, planes.back, planes.blur);
            for (m, g) in map.iter_mut().zip(&*planes.back) {
                *m += g.abs();
            }
        }
    }

    fn add_map(&self, view: usize, grid: &[f32], planes: &mut MapPlanes<'_>, map: &mut [f32]) {
        let (side, steps) = (self.detector.map_width as usize, self.detector.map_steps as usize);
        let place = GridPlace { first: self.detector.map_first, stride: self.detector.map_stride };
        enlarge(place, (steps, steps), grid, (side, side), &mut planes.back[..steps * side], planes.turned);
        self.turn_back(view, side, planes);
        gaussian_blur_until(side, side, self.detector.map_blur, planes.until, planes.back, planes.blur);
        for (m, b) in map.iter_mut().zip(&*planes.back) {
            *m += b;
        }
    }

    fn finish_map(&self, map: &mut [f32]) {
        let d = self.detector;
        let gradient = d.map_kind() == MapKind::Gradient;
        let share = 1.0 / (d.views * if gradient { d.channels } else { 1 }) as f32;
        for m in map {
            let mean = *m * share;
            *m = if gradient { mean * mean } else { mean };
            if !m.is_finite() {
                *m = f32::MAX;
            }
        }
    }
}
