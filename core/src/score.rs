//! Scores an image with a model: camera buffer in, score and map out, nothing allocated.
//!
//! The image is resized and normalised once; each view of it (`detect/` says which) runs the model's `score` program;
//! the score is the mean over views. A map comes from the program itself or, for flows, from the gradient of the
//! likelihood towards the image (program `localize`; DifferNet, "localization"): per view and channel the gradient is
//! turned back, blurred, its magnitude averaged, and the mean squared.

use crate::cpu::Cpu;
use crate::image::{
    GridPlace, ImageError, ImageView, Preprocess, d4_inverse, enlarge, gaussian_blur, gaussian_blur_scratch_len,
    rotate_cubic, rotate_nearest, view_d4,
};
use crate::model::{DetectorRecord, MapKind, Model, ViewKind};
use crate::plan::Program;
use crate::session::{Memory, Session, SessionError, Sizes};
use core::fmt;

/// Why an image cannot be scored.
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
        /// Its width.
        width: u32,
        /// The widest allowed.
        limit: u32,
    },
    /// The map buffer has the wrong length.
    MapLength {
        /// Elements of a map.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The model, or this scorer, makes no maps.
    NoMap,
    /// The model needs more memory than can be addressed.
    TooLarge,
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
            ScoreError::NoMap => f.write_str("no map is made by this model or scorer"),
            ScoreError::TooLarge => f.write_str("the model needs more memory than can be addressed"),
        }
    }
}

impl core::error::Error for ScoreError {}

impl From<ImageError> for ScoreError {
    fn from(error: ImageError) -> ScoreError {
        ScoreError::Image(error)
    }
}

/// What a scorer must be able to do; decides its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScorerOptions {
    /// Widest image, in pixels; costs about 5 floats a pixel.
    pub max_width: u32,
    /// Whether maps will be asked for. For flows a map costs the memory of a backward pass.
    pub map: bool,
}

impl Default for ScorerOptions {
    fn default() -> ScorerOptions {
        ScorerOptions { max_width: 16384, map: true }
    }
}

/// Floats of each part of a scorer's memory.
#[derive(Clone, Copy, Debug)]
struct Layout {
    image: usize,
    preprocess: usize,
    plane: usize,
    blur: usize,
    score: Sizes,
    localize: Option<Sizes>,
}

impl Layout {
    fn of(model: &Model<'_>, options: &ScorerOptions, workers: usize) -> Result<Layout, ScoreError> {
        let too_large = |_: SessionError| ScoreError::TooLarge;
        let d = model.detector();
        let sizes =
            |program: Option<Program<'_>>| program.map(|p| Sizes::of(&p, 1, workers).map_err(too_large)).transpose();
        let wants_map = options.map && d.map_kind() != MapKind::None;
        let side = d.map_width as usize;
        let planes = if wants_map { side * side } else { 0 };
        Ok(Layout {
            image: model.preprocess().output_len(),
            preprocess: model.preprocess().scratch_len(options.max_width, 1),
            plane: planes,
            blur: if wants_map { gaussian_blur_scratch_len(side, side, d.map_blur) } else { 0 },
            score: sizes(model.program("score"))?.unwrap_or_default(),
            localize: if wants_map && d.map_kind() == MapKind::Gradient {
                sizes(model.program("localize"))?
            } else {
                None
            },
        })
    }

    fn session(&self) -> usize {
        self.score.total().max(self.localize.map_or(0, |s| s.total()))
    }

    fn total(&self) -> usize {
        [self.image, self.preprocess, self.plane, self.plane, self.blur, self.session()]
            .into_iter()
            .fold(0usize, usize::saturating_add)
    }
}

/// A model bound to memory, ready to score one image at a time.
///
/// Making one is cheap (microseconds); scoring allocates nothing.
pub struct Scorer<'m> {
    model: Model<'m>,
    cpu: Cpu<'m>,
    options: ScorerOptions,
    layout: Layout,
    memory: &'m mut [f32],
}

impl<'m> Scorer<'m> {
    /// Floats of memory that [`Scorer::new`] needs with `workers` threads.
    pub fn memory_len(model: &Model<'_>, options: &ScorerOptions, workers: usize) -> Result<usize, ScoreError> {
        let total = Layout::of(model, options, workers)?.total();
        if total > isize::MAX as usize / 4 { Err(ScoreError::TooLarge) } else { Ok(total) }
    }

    /// Binds a model to memory.
    pub fn new(
        model: Model<'m>,
        options: &ScorerOptions,
        cpu: Cpu<'m>,
        memory: &'m mut [f32],
    ) -> Result<Scorer<'m>, ScoreError> {
        let layout = Layout::of(&model, options, cpu.threads().count())?;
        let (needs, has) = (layout.total(), memory.len());
        if has < needs {
            return Err(ScoreError::Memory { needs, has });
        }
        Ok(Scorer { model, cpu, options: *options, layout, memory })
    }

    /// The model.
    pub fn model(&self) -> Model<'m> {
        self.model
    }

    /// The anomaly score of an image: larger is stranger. A score beyond f32 is `f32::MAX`.
    pub fn score(&mut self, image: &ImageView<'_>) -> Result<f32, ScoreError> {
        self.run(image, None)
    }

    /// The score, and how strange each pixel is: `map` gets `map_height` rows of `map_width` values.
    pub fn score_with_map(&mut self, image: &ImageView<'_>, map: &mut [f32]) -> Result<f32, ScoreError> {
        if self.layout.plane == 0 {
            return Err(ScoreError::NoMap);
        }
        if map.len() != self.layout.plane {
            return Err(ScoreError::MapLength { expected: self.layout.plane, found: map.len() });
        }
        self.run(image, Some(map))
    }

    fn run(&mut self, image: &ImageView<'_>, mut map: Option<&mut [f32]>) -> Result<f32, ScoreError> {
        if image.width() > self.options.max_width {
            return Err(ScoreError::TooWide { width: image.width(), limit: self.options.max_width });
        }
        let Layout { image: image_len, preprocess, plane, blur, score, localize } = self.layout;
        let (base, rest) = self.memory.split_at_mut(image_len);
        let (scratch, rest) = rest.split_at_mut(preprocess);
        let (turned, rest) = rest.split_at_mut(plane);
        let (back, rest) = rest.split_at_mut(plane);
        let (blur, memory) = rest.split_at_mut(blur);
        let how = self.model.preprocess();
        how.apply(image, scratch, base)?;
        let d = self.model.detector();
        let views = Views { detector: d, preprocess: &how };
        if let Some(map) = map.as_deref_mut() {
            map.fill(0.0);
        }
        let mut sum = 0.0f64;
        let mut planes = MapPlanes { turned, back, blur };
        for view in 0..d.views as usize {
            let mut session = open(&self.model, "score", self.cpu, memory, &score)?;
            views.write(view, base, session.input("image").unwrap_or(&mut []));
            session.run();
            sum += f64::from(session.output("score").map_or(f32::NAN, |s| s[0]));
            let Some(map) = map.as_deref_mut() else { continue };
            match (d.map_kind(), localize) {
                (MapKind::Gradient, Some(sizes)) => {
                    let mut session = open(&self.model, "localize", self.cpu, memory, &sizes)?;
                    views.write(view, base, session.input("image").unwrap_or(&mut []));
                    session.run();
                    views.add_gradient(view, session.output("gradient").unwrap_or(&[]), &mut planes, map);
                }
                (MapKind::Program, _) => {
                    views.add_map(view, session.output("map").unwrap_or(&[]), &mut planes, map);
                }
                (MapKind::Gradient, None) | (MapKind::None, _) => {}
            }
        }
        if let Some(map) = map {
            views.finish_map(map);
        }
        let score = (sum / f64::from(d.views)) as f32;
        Ok(if score.is_finite() { score } else { f32::MAX })
    }
}

fn open<'s>(
    model: &Model<'s>,
    name: &str,
    cpu: Cpu<'s>,
    memory: &'s mut [f32],
    sizes: &Sizes,
) -> Result<Session<'s>, ScoreError> {
    let program = model.program(name).ok_or(ScoreError::NoMap)?;
    let has = memory.len();
    let memory = Memory::carve(model.params(), memory, sizes);
    let session = memory.and_then(|memory| Session::bind(program, 1, cpu, memory, sizes));
    session.map_err(|_| ScoreError::Memory { needs: sizes.total(), has })
}

struct MapPlanes<'p> {
    turned: &'p mut [f32],
    back: &'p mut [f32],
    blur: &'p mut [f32],
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

    fn add_gradient(&self, view: usize, gradient: &[f32], planes: &mut MapPlanes<'_>, map: &mut [f32]) {
        let side = self.detector.map_width as usize;
        for channel in gradient.chunks_exact(side * side) {
            planes.turned.copy_from_slice(channel);
            self.turn_back(view, side, planes);
            gaussian_blur(side, side, self.detector.map_blur, planes.back, planes.blur);
            for (m, g) in map.iter_mut().zip(&*planes.back) {
                *m += g.abs();
            }
        }
    }

    fn add_map(&self, view: usize, grid: &[f32], planes: &mut MapPlanes<'_>, map: &mut [f32]) {
        let (side, steps) = (self.detector.map_width as usize, self.detector.map_steps as usize);
        let place = GridPlace { first: self.detector.map_first, stride: self.detector.map_stride };
        enlarge(place, steps, grid, side, &mut planes.back[..steps * side], planes.turned);
        self.turn_back(view, side, planes);
        gaussian_blur(side, side, self.detector.map_blur, planes.back, planes.blur);
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
