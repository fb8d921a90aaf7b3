//! Model files: everything a detector needs, as data.
//!
//! [`OwnedModel`] keeps the bytes of a file, [`Model`] reads bytes where they lie; both validate them once. After that nothing
//! panics and nothing reads out of bounds, whatever the bytes were. [`ModelWriter`] makes new files, [`freeze()`] strips one to
//! what inspecting reads. The byte layout is explained in `docs/format.md` of the repository; the records are
//! [`DetectorRecord`] and the other structs with names that end so.

#[cfg(feature = "alloc")]
mod freeze;
mod indices;
#[cfg(feature = "alloc")]
mod owned;
mod record;
mod tiles;
#[cfg(feature = "alloc")]
mod write;

#[cfg(feature = "alloc")]
pub use freeze::freeze;
#[cfg(feature = "alloc")]
pub use owned::{OpenError, OwnedModel};
pub use record::{DetectorRecord, FileHeader, MAGIC, MapKind, ParamRecord, SectionRecord, VERSION, ViewKind};
pub use tiles::{Tiles, TilesRecord};
#[cfg(feature = "alloc")]
pub use write::ModelWriter;

use crate::checksum::{crc32, crc32_continue};
use crate::image::{Preprocess, RoiBits};
use crate::plan::{BLOCK, PlanError, Program, Region, blocks_of};
use crate::shape::{Shape, Type};
use crate::threshold::Threshold;
use core::fmt;
use core::mem::size_of;

/// Most programs in a model.
pub const MAX_PROGRAMS: usize = 8;

/// Why bytes are not a model.
///
/// ```
/// # let (_, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::model::{ModelError, OwnedModel};
/// assert_eq!(OwnedModel::from_bytes(b"a photograph").unwrap_err(), ModelError::Magic);
/// let mut damaged = model.bytes().to_vec();
/// *damaged.last_mut().expect("a byte") ^= 1;
/// let error = OwnedModel::from_bytes(&damaged).unwrap_err();
/// assert!(error.to_string().starts_with("the model is damaged: checksum "));
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ModelError {
    /// The first bytes are not a model's.
    Magic,
    /// A version of the format that this library does not read.
    Version {
        /// Version of the file.
        found: u32,
        /// Version that this library reads.
        supported: u32,
    },
    /// The file is shorter or longer than its header says.
    Length {
        /// Bytes announced.
        expected: u64,
        /// Bytes present.
        found: u64,
    },
    /// The checksum differs: the file is damaged.
    Checksum {
        /// Checksum in the header.
        expected: u32,
        /// Checksum of the bytes present.
        found: u32,
    },
    /// The bytes in memory are not aligned to 8.
    Alignment,
    /// This machine is big-endian; the format is little-endian.
    Endianness,
    /// A section does not follow the one before it, is missing, or has the wrong length.
    Section(&'static str),
    /// A field of the detector record is out of range.
    Detector(&'static str),
    /// A parameter record is out of range.
    Param {
        /// Which parameter.
        param: u32,
    },
    /// A program is not valid.
    Program {
        /// Which program of the file.
        program: u32,
        /// Why.
        error: PlanError,
    },
    /// A program does not fit the model: its inputs, outputs or parameters are not what the detector needs.
    Interface {
        /// Which program of the file.
        program: u32,
        /// What is wrong.
        rule: &'static str,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelError::Magic => f.write_str("not an adflow model"),
            ModelError::Version { found, supported } => {
                write!(f, "model format version {found}; this library reads version {supported}")
            }
            ModelError::Length { expected, found } => {
                write!(f, "the model is truncated or padded: its header says {expected} bytes, found {found}")
            }
            ModelError::Checksum { expected, found } => {
                write!(f, "the model is damaged: checksum {found:08x}, its header says {expected:08x}")
            }
            ModelError::Alignment => f.write_str("the model's bytes must be aligned to 8 in memory"),
            ModelError::Endianness => f.write_str("models are little-endian, this machine is not"),
            ModelError::Section(what) => write!(f, "section {what} is missing, misplaced or of the wrong length"),
            ModelError::Detector(rule) => write!(f, "detector record: {rule}"),
            ModelError::Param { param } => write!(f, "parameter {param}: the record is not valid"),
            ModelError::Program { program, error } => write!(f, "program {program}: {error}"),
            ModelError::Interface { program, rule } => write!(f, "program {program}: {rule}"),
        }
    }
}

impl core::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ModelError::Program { error, .. } => Some(error),
            ModelError::Magic
            | ModelError::Version { .. }
            | ModelError::Length { .. }
            | ModelError::Checksum { .. }
            | ModelError::Alignment
            | ModelError::Endianness
            | ModelError::Section(_)
            | ModelError::Detector(_)
            | ModelError::Param { .. }
            | ModelError::Interface { .. } => None,
        }
    }
}

/// A validated model; borrows the file's bytes and copies nothing.
///
/// ```
/// # let (_, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// let model = model.model();
/// println!("{} on {}, {} views", model.method(), model.backbone(), model.views());
/// assert_eq!((model.input_size(), model.map_size()), (64, (64, 64)));
/// let threshold = model.threshold().expect("parts were held out");
/// println!("scores above {} are defective: {} parts were held out", threshold.reject, threshold.held_out);
/// for (key, value) in model.about() {
///     println!("{key}: {value}"); // how it was made: size, seed, number of images, …
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Model<'a> {
    detector: DetectorRecord,
    about: &'a str,
    param_records: &'a [ParamRecord],
    param_names: &'a [u8],
    params: &'a [f32],
    scores: &'a [f32],
    programs: [Option<Program<'a>>; MAX_PROGRAMS],
    tiles: Option<Tiles>,
    roi: Option<RoiBits<'a>>,
    bytes: &'a [u8],
}

/// Whether to check what an earlier call has checked.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Gate {
    Check,
    /// For the bytes that an `OwnedModel` keeps.
    #[cfg_attr(not(feature = "alloc"), allow(dead_code))]
    Trust,
}

struct Sections<'a> {
    bytes: &'a [u8],
    records: &'a [SectionRecord],
}

impl<'a> Sections<'a> {
    fn bytes_of(&self, record: &SectionRecord) -> &'a [u8] {
        &self.bytes[record.offset as usize..][..record.len as usize]
    }

    fn get(&self, kind: &'static str) -> Result<&'a [u8], ModelError> {
        let mut found = self.records.iter().filter(|r| r.kind() == kind);
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(self.bytes_of(record)),
            _ => Err(ModelError::Section(kind)),
        }
    }

    fn has(&self, kind: &str) -> bool {
        self.records.iter().any(|r| r.kind() == kind)
    }

    fn slice<T: bytemuck::Pod>(&self, kind: &'static str) -> Result<&'a [T], ModelError> {
        bytemuck::try_cast_slice(self.get(kind)?).map_err(|_| ModelError::Section(kind))
    }
}

impl<'a> Model<'a> {
    /// Reads and validates a model where it lies. `bytes` must be aligned to 8, as from a memory map or flash;
    /// [`OwnedModel`] takes bytes that are not.
    ///
    /// # Errors
    /// Whatever [`ModelError`] says.
    pub fn parse(bytes: &'a [u8]) -> Result<Model<'a>, ModelError> {
        Model::read(bytes, Gate::Check)
    }

    pub(crate) fn read(bytes: &'a [u8], gate: Gate) -> Result<Model<'a>, ModelError> {
        if cfg!(target_endian = "big") {
            return Err(ModelError::Endianness);
        }
        if bytes.len() < 8 || bytes[..8] != MAGIC {
            return Err(ModelError::Magic);
        }
        if bytes.as_ptr().align_offset(8) != 0 {
            return Err(ModelError::Alignment);
        }
        let found = bytes.len() as u64;
        let head = bytes.get(..size_of::<FileHeader>()).and_then(|b| bytemuck::try_from_bytes::<FileHeader>(b).ok());
        let header = head.ok_or(ModelError::Length { expected: size_of::<FileHeader>() as u64, found })?;
        if header.version != VERSION {
            return Err(ModelError::Version { found: header.version, supported: VERSION });
        }
        if header.length != found {
            return Err(ModelError::Length { expected: header.length, found });
        }
        if gate == Gate::Check {
            let sum = checksum(bytes);
            if sum != header.checksum {
                return Err(ModelError::Checksum { expected: header.checksum, found: sum });
            }
        }
        let sections = read_sections(bytes, header)?;
        let detector = *sections.slice::<DetectorRecord>("detector")?.first().ok_or(ModelError::Section("detector"))?;
        detector.check(sections.has("tiles")).map_err(ModelError::Detector)?;
        let about = core::str::from_utf8(sections.get("about")?).map_err(|_| ModelError::Section("about"))?;
        let mut model = Model {
            detector,
            about,
            param_records: sections.slice("paramrec")?,
            param_names: sections.get("paramnam")?,
            params: sections.slice("params")?,
            scores: sections.slice("scores")?,
            programs: [None; MAX_PROGRAMS],
            tiles: None,
            roi: None,
            bytes,
        };
        if sections.has("tiles") {
            let record = match sections.slice::<TilesRecord>("tiles")? {
                [record] => record,
                _ => return Err(ModelError::Section("tiles")),
            };
            model.tiles = Some(Tiles::new(record, &detector).map_err(ModelError::Detector)?);
        }
        if sections.has("roi") {
            let (width, height) = model.canvas();
            let whole = detector.map_kind == MapKind::None as u32 || detector.map_width == detector.size;
            let fits = model.tiles.is_some() || whole;
            let roi = RoiBits::new(width, height, sections.get("roi")?);
            model.roi = Some(roi.filter(|_| fits).ok_or(ModelError::Section("roi"))?);
        }
        if gate == Gate::Check {
            model.check_params()?;
        }
        let mut programs = sections.records.iter().filter(|r| r.kind() == "program");
        for (i, slot) in model.programs.iter_mut().enumerate() {
            if let Some(record) = programs.next() {
                let at = i as u32;
                let name = record.name().ok_or(ModelError::Section("program"))?;
                let bytes = sections.bytes_of(record);
                let program = match gate {
                    Gate::Check => Program::parse(name, bytes),
                    Gate::Trust => Program::split(name, bytes),
                };
                *slot = Some(program.map_err(|error| ModelError::Program { program: at, error })?);
            }
        }
        if programs.next().is_some() {
            return Err(ModelError::Section("program"));
        }
        if gate == Gate::Check {
            model.check_interfaces()?;
        }
        Ok(model)
    }

    fn check_params(&self) -> Result<(), ModelError> {
        let blocks = (self.params.len() / BLOCK) as u64;
        if !self.params.len().is_multiple_of(BLOCK) {
            return Err(ModelError::Section("params"));
        }
        if self.scores.iter().any(|s| !s.is_finite()) || !self.scores.is_sorted() {
            return Err(ModelError::Section("scores"));
        }
        for (i, p) in self.param_records.iter().enumerate() {
            let param = i as u32;
            let end = u64::from(p.name) + u64::from(p.name_len);
            let named = end <= self.param_names.len() as u64
                && core::str::from_utf8(&self.param_names[p.name as usize..end as usize]).is_ok();
            let fits = Shape(p.dims)
                .checked_len()
                .is_some_and(|len| p.offset.checked_add(blocks_of(len)).is_some_and(|end| end <= blocks));
            if !named || !fits || p.trainable > 1 || p.reserved != 0 {
                return Err(ModelError::Param { param });
            }
        }
        Ok(())
    }

    fn check_interfaces(&self) -> Result<(), ModelError> {
        let d = &self.detector;
        let image = Type::batched(Shape::chw(d.channels, d.size, d.size));
        let score = Type::batched(Shape::SCALAR);
        for (i, program) in self.programs.iter().flatten().enumerate() {
            let fail = |rule| ModelError::Interface { program: i as u32, rule };
            if program.blocks(Region::Params) * BLOCK as u64 != self.params.len() as u64 {
                return Err(fail("it was planned for other parameters"));
            }
            indices::check(program, self.params).map_err(fail)?;
            let typed = |name: &str, ty: Type, output: bool| {
                program.bindings().any(|(n, t, o)| n == name && t == ty && o == output)
            };
            let ok = match program.name() {
                "score" => {
                    let map = Type::batched(Shape::chw(1, d.map_steps, d.map_steps));
                    typed("image", image, false)
                        && typed("score", score, true)
                        && (d.map_kind != MapKind::Program as u32 || typed("map", map, true))
                        && !program.trains()
                }
                "localize" => typed("image", image, false) && typed("gradient", image, true) && !program.trains(),
                _ => true,
            };
            if !ok {
                return Err(fail("its inputs and outputs are not what the detector needs"));
            }
        }
        if self.program("score").is_none() {
            return Err(ModelError::Section("program score"));
        }
        if d.map_kind == MapKind::Gradient as u32 && self.program("localize").is_none() {
            return Err(ModelError::Section("program localize"));
        }
        Ok(())
    }

    /// Method by which it was trained, for example `padim`; `unknown` in a file that does not say.
    pub fn method(&self) -> &'a str {
        self.about_value("method").unwrap_or("unknown")
    }

    /// Backbone on which it was trained, for example `builtin`; `unknown` in a file that does not say.
    pub fn backbone(&self) -> &'a str {
        self.about_value("backbone").unwrap_or("unknown")
    }

    /// Side of the programs' square input, in pixels: the image is resized to it, or with [`Model::tiles`] a tile of it is.
    pub fn input_size(&self) -> u32 {
        self.detector.size
    }

    /// Channels the programs read: 1 or 3.
    pub fn channels(&self) -> u32 {
        self.detector.channels
    }

    /// How an image becomes the programs' input.
    pub fn preprocess(&self) -> Preprocess {
        let d = &self.detector;
        Preprocess { size: d.size, channels: d.channels, scale: d.scale, shift: d.shift }
    }

    /// How images are cut into tiles; `None`: they are resized to the square input as a whole.
    pub fn tiles(&self) -> Option<&Tiles> {
        self.tiles.as_ref()
    }

    /// Width and height that images are resized to, in pixels.
    pub fn canvas(&self) -> (u32, u32) {
        self.tiles.map_or((self.detector.size, self.detector.size), |tiles| tiles.tiling().canvas())
    }

    /// Where the model looks, in cells of its [`Model::canvas`]; `None`: everywhere.
    pub fn roi(&self) -> Option<RoiBits<'a>> {
        self.roi
    }

    /// Width and height of the score map in pixels; (0, 0) where the method has none.
    pub fn map_size(&self) -> (u32, u32) {
        (self.detector.map_width, self.detector.map_height)
    }

    /// The fixed-size record of the file, from which most other answers are taken.
    pub fn detector(&self) -> &DetectorRecord {
        &self.detector
    }

    /// The threshold, if one was calibrated or set.
    pub fn threshold(&self) -> Option<Threshold> {
        self.detector.threshold()
    }

    /// Scores of the held-out good parts, ascending; a new threshold can be calibrated from them at any time.
    ///
    /// ```
    /// # let (_, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
    /// use adflow::calibration::Calibration;
    /// // At most 5 % of good parts rejected, with 90 % confidence where there are enough parts.
    /// let calibration = Calibration::new(model.model().held_out_scores(), &[]);
    /// let threshold = calibration.and_then(|good| good.threshold(0.05, 0.9));
    /// let model = model.with_threshold(threshold.as_ref())?;
    /// # assert!(model.model().threshold() == threshold);
    /// # Ok::<(), adflow::model::ModelError>(())
    /// ```
    pub fn held_out_scores(&self) -> &'a [f32] {
        self.scores
    }

    /// Colour scale for maps: the median and the highest value on held-out good parts. What is above the second is stranger than
    /// anything that was seen on a good part.
    pub fn map_scale(&self) -> (f32, f32) {
        (self.detector.map_typical, self.detector.map_limit)
    }

    /// Views a score is averaged over.
    pub fn views(&self) -> u32 {
        self.detector.views
    }

    /// How the model was made: pairs of key and value, as `("seed", "0")`.
    pub fn about(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.about.lines().filter_map(|line| line.split_once('='))
    }

    /// One value of [`Model::about`].
    pub fn about_value(&self, key: &str) -> Option<&'a str> {
        self.about().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// All parameters as the programs see them, for [`Device::executor`](crate::executor::Device::executor).
    pub fn params(&self) -> &'a [f32] {
        self.params
    }

    /// Bytes of parameters.
    pub fn params_bytes(&self) -> usize {
        size_of_val(self.params)
    }

    /// Parameters by name: shape, whether trainable, values.
    pub fn named_params(&self) -> impl Iterator<Item = (&'a str, Shape, bool, &'a [f32])> + '_ {
        self.param_records.iter().map(|p| {
            let name = &self.param_names[p.name as usize..][..p.name_len as usize];
            let shape = Shape(p.dims);
            let values = &self.params[p.offset as usize * BLOCK..][..shape.len()];
            (core::str::from_utf8(name).unwrap_or("?"), shape, p.trainable == 1, values)
        })
    }

    /// A program by name: `score` in every model, `localize` where maps are gradients.
    pub fn program(&self, name: &str) -> Option<Program<'a>> {
        self.programs().find(|p| p.name() == name)
    }

    /// All programs.
    pub fn programs(&self) -> impl Iterator<Item = Program<'a>> + '_ {
        self.programs.iter().flatten().copied()
    }

    /// The bytes of the section of a kind that occurs at most once.
    #[cfg(feature = "alloc")]
    fn section(&self, kind: &str) -> Option<&'a [u8]> {
        let table = self.bytes.get(size_of::<FileHeader>()..)?;
        let sections =
            table.chunks_exact(size_of::<SectionRecord>()).map(bytemuck::pod_read_unaligned::<SectionRecord>);
        let count = bytemuck::pod_read_unaligned::<FileHeader>(self.bytes.get(..size_of::<FileHeader>())?).sections;
        let found = sections.take(count as usize).find(|record| record.kind() == kind)?;
        self.bytes.get(found.offset as usize..)?.get(..found.len as usize)
    }

    /// The whole file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Writes the model as text: facts, parameters, programs.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn dump(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(f, "adflow model, format {VERSION}, {} bytes", self.bytes.len())?;
        for (key, value) in self.about() {
            writeln!(f, "  {key}: {value}")?;
        }
        writeln!(f, "  {:?}", self.detector)?;
        if let Some(tiles) = self.tiles {
            writeln!(f, "  {tiles:?}")?;
        }
        if let Some(roi) = self.roi {
            writeln!(f, "  region of interest: {:.2} % of the image", 100.0 * roi.share())?;
        }
        writeln!(f, "parameters: {} bytes", self.params_bytes())?;
        for (name, shape, trainable, _) in self.named_params() {
            writeln!(f, "  {name}: {shape}{}", if trainable { "" } else { " frozen" })?;
        }
        for program in self.programs() {
            program.dump(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Model<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} on {}, {} bytes)", self.method(), self.backbone(), self.bytes.len())
    }
}

/// Checksum of a file: CRC-32 over all bytes, with the checksum field as zeros.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let at = core::mem::offset_of!(FileHeader, checksum);
    let crc = crc32(&bytes[..at]);
    let crc = crc32_continue(crc, &[0; 4]);
    crc32_continue(crc, &bytes[at + 4..])
}

fn read_sections<'a>(bytes: &'a [u8], header: &FileHeader) -> Result<Sections<'a>, ModelError> {
    let table = ModelError::Section("table");
    let count = header.sections as usize;
    let from = size_of::<FileHeader>();
    let len = count.checked_mul(size_of::<SectionRecord>()).ok_or(table)?;
    let raw = bytes.get(from..).and_then(|b| b.get(..len)).ok_or(table)?;
    let records: &[SectionRecord] = bytemuck::try_cast_slice(raw).map_err(|_| table)?;
    // Sections tile the file: each starts at the next multiple of 64 after the one before, zeros between.
    let mut at = (from + len) as u64;
    for record in records {
        let start = at.next_multiple_of(64);
        let end = start.checked_add(record.len).ok_or(table)?;
        if record.offset != start
            || end > bytes.len() as u64
            || bytes[at as usize..start as usize].iter().any(|b| *b != 0)
        {
            return Err(table);
        }
        at = end;
    }
    if at != bytes.len() as u64 { Err(table) } else { Ok(Sections { bytes, records }) }
}
