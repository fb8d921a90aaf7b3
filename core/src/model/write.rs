//! Makes model files: sections in order, each at a multiple of 64 bytes, checksum last.

use super::record::{DetectorRecord, FileHeader, MAGIC, ParamRecord, SectionRecord, VERSION};
use super::{Model, ModelError, TilesRecord, checksum};
use crate::image::Roi;
use crate::params::Params;
use crate::place::OwnedProgram;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytemuck::Zeroable;
use core::mem::size_of;

/// What goes into a model file. Training fills one in; a method of your own does so with the programs that it built.
///
/// The format wants a program `score` that reads `image`, C×S×S for each sample, and writes `score`, one number.
///
/// ```
/// use adflow::graph::Graph;
/// use adflow::model::{DetectorRecord, ModelWriter, OwnedModel};
/// use adflow::op::{Activation, GlobalMean, Linear};
/// use adflow::params::Params;
/// use adflow::place::{Reuse, place};
/// use adflow::shape::Shape;
///
/// // A detector that finds dark images strange: the score is minus the mean of the red channel.
/// let mut params = Params::new();
/// params.add("weight", Shape([1, 1, 3, 1]), false, vec![-1.0, 0.0, 0.0])?;
/// let mut graph = Graph::new();
/// let image = graph.input("image", Shape::chw(3, 32, 32));
/// let weight = graph.param(&params, "weight")?;
/// let means = graph.emit("means", GlobalMean {}, &[image])?;
/// let score = graph.emit("score", Linear { share: 1, offset: 0, stride: 0, act: Activation::None }, &[means, weight])?;
/// graph.output("score", score);
/// let program = place("score", &graph, &params.layout(), Reuse::Share)?;
///
/// let file = ModelWriter {
///     detector: DetectorRecord { size: 32, channels: 3, scale: [1.0; 3], views: 1, ..DetectorRecord::default() },
///     about: vec![("method".into(), "darkness".into())],
///     params: &params,
///     held_out_scores: vec![],
///     tiles: None,
///     roi: None,
///     programs: vec![&program],
/// };
/// let model = OwnedModel::from_bytes(&file.write()?)?;
/// assert_eq!(model.model().method(), "darkness");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ModelWriter<'w> {
    /// Fixed-size facts.
    pub detector: DetectorRecord,
    /// How it was made: `key=value`, one a line in the file. Newlines in values become spaces.
    pub about: Vec<(String, String)>,
    /// All parameters.
    pub params: &'w Params,
    /// Scores of held-out good parts, ascending.
    pub held_out_scores: Vec<f32>,
    /// How images are cut into tiles; `None`: they are not.
    pub tiles: Option<TilesRecord>,
    /// Where the model looks, in cells of the square input or of the canvas; `None`: everywhere.
    pub roi: Option<&'w Roi>,
    /// Programs over those parameters.
    pub programs: Vec<&'w OwnedProgram>,
}

impl ModelWriter<'_> {
    /// The bytes of the file, which have been read back and validated.
    ///
    /// # Errors
    /// Says what rule the file would break, for example a program with other inputs than the detector needs.
    pub fn write(&self) -> Result<Vec<u8>, ModelError> {
        let about: String = self.about.iter().map(|(k, v)| format!("{k}={}\n", v.replace(['\n', '\r'], " "))).collect();
        let layout = self.params.layout();
        let mut names: Vec<u8> = Vec::new();
        let mut records = Vec::new();
        for (p, offset) in self.params.iter().zip(&layout.offsets) {
            records.push(ParamRecord {
                name: names.len() as u32,
                name_len: p.name.len() as u32,
                dims: p.shape.0,
                trainable: u32::from(p.trainable),
                reserved: 0,
                offset: *offset,
            });
            names.extend_from_slice(p.name.as_bytes());
        }
        let params = self.params.pack();
        let mut sections: Vec<(&str, &str, &[u8])> = vec![
            ("about", "", about.as_bytes()),
            ("detector", "", bytemuck::bytes_of(&self.detector)),
            ("scores", "", bytemuck::cast_slice(&self.held_out_scores)),
            ("paramrec", "", bytemuck::cast_slice(&records)),
            ("paramnam", "", &names),
        ];
        if let Some(tiles) = &self.tiles {
            sections.push(("tiles", "", bytemuck::bytes_of(tiles)));
        }
        if let Some(roi) = self.roi {
            sections.push(("roi", "", roi.bits().bytes()));
        }
        for program in &self.programs {
            sections.push(("program", program.name(), program.bytes()));
        }
        sections.push(("params", "", bytemuck::cast_slice(&params)));
        let bytes = assemble(&sections);
        super::OwnedModel::from_bytes(&bytes)?;
        Ok(bytes)
    }
}

fn copy_text(to: &mut [u8], text: &str) {
    let len = text.len().min(to.len());
    to[..len].copy_from_slice(&text.as_bytes()[..len]);
}

pub(super) fn assemble(sections: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut at = size_of::<FileHeader>() + sections.len() * size_of::<SectionRecord>();
    for (kind, name, bytes) in sections {
        let mut record = SectionRecord::zeroed();
        copy_text(&mut record.kind, kind);
        copy_text(&mut record.name, name);
        at = at.next_multiple_of(64);
        record.offset = at as u64;
        record.len = bytes.len() as u64;
        at += bytes.len();
        table.push(record);
    }
    let header = FileHeader {
        magic: MAGIC,
        version: VERSION,
        sections: sections.len() as u32,
        length: at as u64,
        checksum: 0,
        reserved: [0; 9],
    };
    let mut out = Vec::with_capacity(at);
    out.extend_from_slice(bytemuck::bytes_of(&header));
    out.extend_from_slice(bytemuck::cast_slice(&table));
    for (_, _, bytes) in sections {
        out.resize(out.len().next_multiple_of(64), 0);
        out.extend_from_slice(bytes);
    }
    seal(&mut out);
    out
}

/// Puts the checksum into a file.
pub(super) fn seal(bytes: &mut [u8]) {
    let sum = checksum(bytes);
    let at = core::mem::offset_of!(FileHeader, checksum);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// The file of a model with another detector record.
pub(super) fn with_detector(model: &Model<'_>, detector: &DetectorRecord) -> Vec<u8> {
    let mut bytes = model.bytes().to_vec();
    let old = bytemuck::bytes_of(model.detector());
    // The record is a section of its own: find it by its place in the table.
    let table = &model.bytes()[size_of::<FileHeader>()..];
    for record in table.chunks_exact(size_of::<SectionRecord>()) {
        let record: SectionRecord = bytemuck::pod_read_unaligned(record);
        if record.kind() == "detector" {
            bytes[record.offset as usize..][..old.len()].copy_from_slice(bytemuck::bytes_of(detector));
            break;
        }
    }
    seal(&mut bytes);
    bytes
}
