//! A plan as data: the records of a program, exactly as they lie in a model file.
//!
//! A program is a list of tensors, each with a place (region, offset in blocks), and a list of ops over them. Offsets
//! of batched tensors are per sample and multiplied by the batch when a session opens, so one program serves every
//! batch. The records are plain data; [`Program::parse`] is the one gate between bytes and execution (`validate.rs`).

use crate::op::{ATTRS, MAX_INPUTS, Op, Types};
use crate::shape::{Shape, Type};
use bytemuck::{Pod, Zeroable};
use core::fmt;
use core::ops::Range;

pub use crate::memory::{BLOCK, REGIONS, Region, blocks_of};
pub use crate::validate::PlanError;

/// Marks an input slot left out.
pub(crate) const NONE: u32 = u32::MAX;

/// A tensor: 40 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct TensorRecord {
    /// First byte of the name.
    pub name: u32,
    /// Bytes of the name.
    pub name_len: u32,
    /// A [`Region`].
    pub region: u32,
    /// 1 where there is one block of the shape per sample.
    pub batched: u32,
    /// Extents, outermost first.
    pub dims: [u32; 4],
    /// Offset in blocks (per sample where batched).
    pub offset: u64,
}

impl TensorRecord {
    /// Where its values lie in its region for a batch, in floats.
    ///
    /// Fits: sessions check the region's size for the batch, and the tensor lies inside the region.
    pub fn range(&self, batch: usize) -> Range<usize> {
        let n = if self.batched == 1 { batch } else { 1 };
        let from = self.offset as usize * BLOCK * n;
        from..from + Shape(self.dims).len() * n
    }
}

/// An op: 96 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct OpRecord {
    /// Kind, see [`crate::op::KINDS`].
    pub kind: u32,
    /// Input tensors; `u32::MAX` for a slot left out.
    pub inputs: [u32; MAX_INPUTS],
    /// Output tensor.
    pub output: u32,
    /// Attributes, in the order of the op's fields.
    pub attrs: [u32; ATTRS],
}

/// An input or output of the program: 8 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BindingRecord {
    /// Which tensor.
    pub tensor: u32,
    /// 0 input, 1 output.
    pub role: u32,
}

/// Head of a program: 64 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ProgramHeader {
    /// Number of tensors.
    pub tensors: u32,
    /// Number of ops.
    pub ops: u32,
    /// Number of bindings.
    pub bindings: u32,
    /// Bytes of names, a multiple of 8.
    pub names: u32,
    /// Blocks of each region (per sample for batched ones).
    pub blocks: [u64; REGIONS],
}

/// A validated program; cheap to copy, borrows its records.
///
/// ```
/// # let (_, model) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// let model = model.model();
/// let program = model.program("score").expect("every model has one");
/// for (name, ty, output) in program.bindings() {
///     println!("{} {name}: {ty}", if output { "output" } else { "input" }); // input image: N×3×64×64
/// }
/// let convolutions = (0..program.len()).filter(|&at| program.op(at).op.name() == "conv2d").count();
/// assert!(convolutions > 0 && !program.trains());
/// ```
#[derive(Clone, Copy)]
pub struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) header: ProgramHeader,
    pub(crate) tensors: &'a [TensorRecord],
    pub(crate) ops: &'a [OpRecord],
    pub(crate) bindings: &'a [BindingRecord],
    pub(crate) names: &'a [u8],
}

/// A typed op of a program.
#[derive(Clone, Copy)]
pub struct PlannedOp<'a> {
    /// What it does.
    pub op: Op,
    /// Types of the inputs; `None` for a slot left out.
    pub types: Types,
    /// The record that it was decoded from.
    pub record: &'a OpRecord,
}

impl<'a> Program<'a> {
    /// Name: `features`, `score`, `train`, `localize` or `inverse`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Number of ops.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are no ops.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Blocks of a region (per sample where it scales with the batch).
    pub fn blocks(&self, region: Region) -> u64 {
        self.header.blocks[region as usize]
    }

    /// Number of tensors.
    pub fn tensors(&self) -> usize {
        self.tensors.len()
    }

    /// Record of a tensor: region and offset, for executors with memory of their own.
    pub fn tensor(&self, tensor: u32) -> &'a TensorRecord {
        &self.tensors[tensor as usize]
    }

    /// Type of a tensor. Validation has checked the record.
    pub fn tensor_type(&self, tensor: u32) -> Type {
        let t = &self.tensors[tensor as usize];
        Type { shape: Shape(t.dims), batched: t.batched == 1 }
    }

    /// Name of a tensor.
    pub fn tensor_name(&self, tensor: u32) -> &'a str {
        let t = &self.tensors[tensor as usize];
        let bytes = &self.names[t.name as usize..][..t.name_len as usize];
        core::str::from_utf8(bytes).unwrap_or("?")
    }

    /// An op by its position.
    pub fn op(&self, at: usize) -> PlannedOp<'a> {
        let record = &self.ops[at];
        let types = record.inputs.map(|i| (i != NONE).then(|| self.tensor_type(i)));
        let op = Op::decode(record.kind, &record.attrs).expect("validation has decoded every op");
        PlannedOp { op, types, record }
    }

    /// The input or output called `name`.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.bindings.iter().map(|b| b.tensor).find(|&t| self.tensor_name(t) == name)
    }

    /// Region and range of the input or output called `name`, in floats, for a batch.
    pub fn place_of(&self, name: &str, batch: usize) -> Option<(Region, Range<usize>)> {
        let t = &self.tensors[self.find(name)? as usize];
        Some((Region::from_word(t.region)?, t.range(batch)))
    }

    /// Inputs and outputs: name, type, whether it is an output.
    pub fn bindings(&self) -> impl Iterator<Item = (&'a str, Type, bool)> + '_ {
        self.bindings.iter().map(|b| (self.tensor_name(b.tensor), self.tensor_type(b.tensor), b.role == 1))
    }

    /// Whether running it changes the parameters.
    pub fn trains(&self) -> bool {
        self.ops.iter().any(|o| self.tensors[o.output as usize].region == Region::Params as u32)
    }

    /// Writes the program as text, one op a line.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn dump(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(f, "program {}: {} ops, {} tensors", self.name, self.ops.len(), self.tensors.len())?;
        for region in Region::ALL {
            let each = if region.is_batched() { " per sample" } else { "" };
            writeln!(f, "  {} {} floats{each}", region.name(), self.blocks(region) * BLOCK as u64)?;
        }
        for (name, ty, output) in self.bindings() {
            writeln!(f, "  {} {name}: {ty}", if output { "output" } else { "input" })?;
        }
        for at in 0..self.ops.len() {
            let planned = self.op(at);
            let out = planned.record.output;
            let t = &self.tensors[out as usize];
            let region = Region::from_word(t.region).map_or("?", Region::name);
            write!(f, "  {at:4} {}: {} @{region}+{} = ", self.tensor_name(out), self.tensor_type(out), t.offset)?;
            planned.op.describe(f)?;
            for (slot, input) in planned.record.inputs.iter().enumerate() {
                if *input != NONE {
                    let label = planned.op.input_names().get(slot).map_or("?", |n| n.trim_start_matches('?'));
                    write!(f, " {label}:{}", self.tensor_name(*input))?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Whether both are the same records under the same name.
impl PartialEq for Program<'_> {
    fn eq(&self, other: &Program<'_>) -> bool {
        fn bytes<T: Pod>(records: &[T]) -> &[u8] {
            bytemuck::cast_slice(records)
        }
        self.name == other.name
            && bytemuck::bytes_of(&self.header) == bytemuck::bytes_of(&other.header)
            && bytes(self.ops) == bytes(other.ops)
            && bytes(self.tensors) == bytes(other.tensors)
            && bytes(self.bindings) == bytes(other.bindings)
            && self.names == other.names
    }
}

impl fmt::Debug for Program<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dump(f)
    }
}
