//! Freezing: a model file stripped to what scoring reads, for machines whose memory is counted in kilobytes.
//!
//! The result is a model file like any other, read by the same code and giving the same bits. Left out are programs that train or
//! extract features, parameters that only those read, the names of parameters and of inner tensors, and the scores of held-out
//! parts (the threshold stays). Maps that are gradients need ops of training: they go too.

use super::write::assemble;
use super::{DetectorRecord, MapKind, Model, ModelError, OwnedModel};
use crate::plan::{BLOCK, Program, ProgramHeader, Region, TensorRecord, blocks_of};
use crate::shape::Shape;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// The frozen file of a model; it has been read back and validated.
///
/// ```
/// # let (good, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::Inspector;
/// use adflow::model::freeze;
/// let frozen = freeze(&model.model())?;
/// println!("{} of {} bytes are read when inspecting", frozen.len(), model.bytes().len());
/// # assert!(frozen.len() < model.bytes().len());
/// let view = good[0].view();
/// let score = Inspector::from_bytes(&frozen)?.inspect(&view)?.score;
/// assert_eq!(score, Inspector::new(model)?.inspect(&view)?.score);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// None for models that this library made; [`ModelError::Section`] for one without a program that scores, else what the frozen
/// file breaks.
pub fn freeze(model: &Model<'_>) -> Result<Vec<u8>, ModelError> {
    let program = model.program("score").ok_or(ModelError::Section("program score"))?;
    let (moved, params) = compact(&program, model.params());
    let program = strip(&program, &moved, (params.len() / BLOCK) as u64);
    let detector = without_gradient_map(model.detector());
    let mut about = String::from(model.about);
    if model.about_value("frozen").is_none() {
        about.push_str("frozen=yes\n");
    }
    let mut sections: Vec<(&str, &str, &[u8])> = vec![
        ("about", "", about.as_bytes()),
        ("detector", "", bytemuck::bytes_of(&detector)),
        ("scores", "", &[]),
        ("paramrec", "", &[]),
        ("paramnam", "", &[]),
    ];
    if let Some(tiles) = model.section("tiles") {
        sections.push(("tiles", "", tiles));
    }
    if let Some(roi) = model.section("roi") {
        sections.push(("roi", "", roi));
    }
    sections.push(("program", "score", &program));
    sections.push(("params", "", bytemuck::cast_slice(&params)));
    let bytes = assemble(&sections);
    OwnedModel::from_bytes(&bytes)?;
    Ok(bytes)
}

/// Where a program's parameters go, (old, new) offset in blocks of each, and their values there.
fn compact(program: &Program<'_>, values: &[f32]) -> (Vec<(u64, u64)>, Vec<f32>) {
    let (mut moved, mut out): (Vec<(u64, u64)>, Vec<f32>) = (Vec::new(), Vec::new());
    let mut records: Vec<&TensorRecord> =
        program.tensors.iter().filter(|t| t.region == Region::Params as u32).collect();
    // Two tensors at one offset: the longer first, so that it is there for the other.
    records.sort_by_key(|t| (t.offset, core::cmp::Reverse(Shape(t.dims).len())));
    let mut end = 0;
    for t in records {
        let blocks = blocks_of(Shape(t.dims).len());
        let new = match moved.last() {
            // Inside the one before.
            Some(&(old, new)) if t.offset < end => new + (t.offset - old),
            _ => (out.len() / BLOCK) as u64,
        };
        let from = t.offset.max(end);
        if from < t.offset + blocks {
            out.extend_from_slice(&values[from as usize * BLOCK..(t.offset + blocks) as usize * BLOCK]);
        }
        end = end.max(t.offset + blocks);
        moved.push((t.offset, new));
    }
    (moved, out)
}

/// The program with parameters moved and only the names of inputs and outputs.
fn strip(program: &Program<'_>, moved: &[(u64, u64)], params: u64) -> Vec<u8> {
    let mut names: Vec<u8> = Vec::new();
    let mut tensors = program.tensors.to_vec();
    for (i, t) in tensors.iter_mut().enumerate() {
        let bound = program.bindings.iter().any(|b| b.tensor as usize == i);
        let name = if bound { program.tensor_name(i as u32) } else { "" };
        (t.name, t.name_len) = (names.len() as u32, name.len() as u32);
        names.extend_from_slice(name.as_bytes());
        if t.region == Region::Params as u32
            && let Some((_, new)) = moved.iter().find(|(old, _)| *old == t.offset)
        {
            t.offset = *new;
        }
    }
    names.resize(names.len().next_multiple_of(8), 0);
    let mut header = ProgramHeader { names: names.len() as u32, ..program.header };
    header.blocks[Region::Params as usize] = params;
    let parts: [&[u8]; 5] = [
        bytemuck::bytes_of(&header),
        bytemuck::cast_slice(&tensors),
        bytemuck::cast_slice(program.ops),
        bytemuck::cast_slice(program.bindings),
        &names,
    ];
    parts.concat()
}

fn without_gradient_map(detector: &DetectorRecord) -> DetectorRecord {
    if detector.map_kind() != MapKind::Gradient {
        return *detector;
    }
    let (map_width, map_height, map_blur) = (0, 0, 0.0);
    DetectorRecord { map_kind: MapKind::None as u32, map_width, map_height, map_blur, ..*detector }
}
