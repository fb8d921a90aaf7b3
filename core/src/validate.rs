//! The gate: bytes become a [`Program`] here or nowhere.
//!
//! Checks, in order: the sections fill the bytes; every tensor has a valid shape and lies inside its region; every op
//! decodes, its inputs exist and its output has the type of the op's own shape rule; outputs are disjoint from inputs
//! and go where they may; every value read was written before and not overwritten since. After the gate nothing
//! panics and nothing reads out of bounds, whatever bytes came in. No allocation; time is bounded by the limits below.

use crate::op::{MAX_INPUTS, Op, Types};
use crate::plan::{BindingRecord, NONE, OpRecord, Program, ProgramHeader, REGIONS, Region, TensorRecord, blocks_of};
use crate::shape::{Shape, ShapeError, Type};
use core::fmt;
use core::mem::size_of;

/// Most ops of a program; liveness is checked in quadratic time.
pub const MAX_OPS: usize = 8192;
/// Most tensors of a program.
pub const MAX_TENSORS: usize = 32768;
/// Most blocks of a region: 2³² floats, 16 GiB.
pub const MAX_BLOCKS: u64 = 1 << 28;

/// Why bytes, or a graph, are not a program.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PlanError {
    /// The bytes end before what the header announces, or go on after it.
    Length {
        /// Bytes announced.
        expected: u64,
        /// Bytes present.
        found: u64,
    },
    /// The bytes are not aligned to 8.
    Alignment,
    /// A count is above its limit.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
    },
    /// A name is not UTF-8 or lies outside the names.
    Name {
        /// Which tensor.
        tensor: u32,
    },
    /// A tensor record makes no sense.
    Tensor {
        /// Which tensor.
        tensor: u32,
        /// What is wrong.
        rule: &'static str,
    },
    /// A tensor does not fit into its region.
    Region {
        /// Which tensor.
        tensor: u32,
        /// First block after the tensor.
        needs: u64,
        /// Blocks of the region.
        has: u64,
    },
    /// An op record makes no sense.
    Op {
        /// Which op.
        op: u32,
        /// What is wrong.
        rule: &'static str,
    },
    /// A shape rule does not hold.
    Shape {
        /// Which op.
        op: u32,
        /// The rule.
        error: ShapeError,
    },
    /// A binding makes no sense.
    Binding {
        /// Which binding.
        binding: u32,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Length { expected, found } => write!(f, "the program needs {expected} bytes, found {found}"),
            PlanError::Alignment => f.write_str("the program is not aligned to 8 bytes"),
            PlanError::TooMany { what, found } => write!(f, "{found} {what} are more than a program may have"),
            PlanError::Name { tensor } => write!(f, "tensor {tensor}: the name is not valid"),
            PlanError::Tensor { tensor, rule } => write!(f, "tensor {tensor}: {rule}"),
            PlanError::Region { tensor, needs, has } => {
                write!(f, "tensor {tensor}: needs {needs} blocks of a region that has {has}")
            }
            PlanError::Op { op, rule } => write!(f, "op {op}: {rule}"),
            PlanError::Shape { op, error } => write!(f, "op {op}: {error}"),
            PlanError::Binding { binding } => write!(f, "binding {binding} is not valid"),
        }
    }
}

impl core::error::Error for PlanError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            PlanError::Shape { error, .. } => Some(error),
            PlanError::Length { .. }
            | PlanError::Alignment
            | PlanError::TooMany { .. }
            | PlanError::Name { .. }
            | PlanError::Tensor { .. }
            | PlanError::Region { .. }
            | PlanError::Op { .. }
            | PlanError::Binding { .. } => None,
        }
    }
}

/// Takes `count` records off the front.
fn take<'a, T: bytemuck::Pod>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [T]> {
    let len = count.checked_mul(size_of::<T>())?;
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    bytemuck::try_cast_slice(head).ok()
}

impl<'a> Program<'a> {
    /// Reads and validates a program. The bytes must be aligned to 8 and end with the program.
    ///
    /// # Errors
    /// Says which record is not valid, and why. Whatever the bytes were, nothing panics.
    pub fn parse(name: &'a str, bytes: &'a [u8]) -> Result<Program<'a>, PlanError> {
        let program = Program::split(name, bytes)?;
        program.check_tensors()?;
        program.check_ops()?;
        program.check_bindings()?;
        program.check_liveness()?;
        Ok(program)
    }

    /// Splits bytes into records without validating them; for bytes that [`Program::parse`] has accepted before.
    pub(crate) fn split(name: &'a str, bytes: &'a [u8]) -> Result<Program<'a>, PlanError> {
        if bytes.as_ptr().align_offset(8) != 0 {
            return Err(PlanError::Alignment);
        }
        let found = bytes.len() as u64;
        let short = PlanError::Length { expected: size_of::<ProgramHeader>() as u64, found };
        let mut rest = bytes;
        let header = take::<ProgramHeader>(&mut rest, 1).ok_or(short)?[0];
        for (what, count, limit) in [
            ("tensors", header.tensors, MAX_TENSORS),
            ("ops", header.ops, MAX_OPS),
            ("bindings", header.bindings, 1024),
            ("bytes of names", header.names, 1 << 24),
        ] {
            if count as usize > limit {
                return Err(PlanError::TooMany { what, found: u64::from(count) });
            }
        }
        if let Some(&blocks) = header.blocks.iter().find(|b| **b > MAX_BLOCKS) {
            return Err(PlanError::TooMany { what: "blocks", found: blocks });
        }
        let expected = (size_of::<ProgramHeader>()
            + header.tensors as usize * size_of::<TensorRecord>()
            + header.ops as usize * size_of::<OpRecord>()
            + header.bindings as usize * size_of::<BindingRecord>()) as u64
            + u64::from(header.names);
        if expected != found || header.names % 8 != 0 {
            return Err(PlanError::Length { expected, found });
        }
        let tensors = take(&mut rest, header.tensors as usize).ok_or(short)?;
        let ops = take(&mut rest, header.ops as usize).ok_or(short)?;
        let bindings = take(&mut rest, header.bindings as usize).ok_or(short)?;
        Ok(Program { name, header, tensors, ops, bindings, names: rest })
    }

    fn check_tensors(&self) -> Result<(), PlanError> {
        for (i, t) in self.tensors.iter().enumerate() {
            let tensor = i as u32;
            let end = u64::from(t.name) + u64::from(t.name_len);
            let name = (end <= self.names.len() as u64).then(|| &self.names[t.name as usize..end as usize]);
            if name.is_none_or(|n| core::str::from_utf8(n).is_err()) {
                return Err(PlanError::Name { tensor });
            }
            let rule = |rule| PlanError::Tensor { tensor, rule };
            let region = Region::from_word(t.region).ok_or(rule("unknown region"))?;
            if t.batched > 1 || (t.batched == 1) != region.is_batched() {
                return Err(rule("the region holds other tensors: once per sample or once"));
            }
            let len = Shape(t.dims).checked_len().ok_or(rule("the shape is empty or too large"))?;
            let (needs, has) = (t.offset.saturating_add(blocks_of(len)), self.blocks(region));
            if needs > has {
                return Err(PlanError::Region { tensor, needs, has });
            }
        }
        Ok(())
    }

    /// Region and block range of a tensor.
    fn range(&self, tensor: u32) -> (u32, u64, u64) {
        let t = &self.tensors[tensor as usize];
        (t.region, t.offset, t.offset + blocks_of(Shape(t.dims).len()))
    }

    fn overlap(&self, a: u32, b: u32) -> bool {
        let ((ra, a0, a1), (rb, b0, b1)) = (self.range(a), self.range(b));
        ra == rb && a0 < b1 && b0 < a1
    }

    fn check_ops(&self) -> Result<(), PlanError> {
        for (i, record) in self.ops.iter().enumerate() {
            let at = i as u32;
            let fail = |rule| PlanError::Op { op: at, rule };
            let mut types: Types = [None; MAX_INPUTS];
            for (ty, &input) in types.iter_mut().zip(&record.inputs) {
                if input != NONE {
                    if input as usize >= self.tensors.len() {
                        return Err(fail("an input does not exist"));
                    }
                    *ty = Some(self.tensor_type(input));
                }
            }
            if record.output as usize >= self.tensors.len() {
                return Err(fail("the output does not exist"));
            }
            let op = Op::decode(record.kind, &record.attrs).ok_or(fail("unknown kind or attribute out of range"))?;
            let ty: Type = op.output(&types).map_err(|error| PlanError::Shape { op: at, error })?;
            if ty != self.tensor_type(record.output) {
                let error = ShapeError {
                    op: op.name(),
                    rule: "the output's record has another type",
                    expected: Some(ty.shape),
                    found: Some(self.tensor_type(record.output).shape),
                };
                return Err(PlanError::Shape { op: at, error });
            }
            if record.inputs.iter().any(|&i| i != NONE && self.overlap(i, record.output)) {
                return Err(fail("the output overlaps an input"));
            }
            self.check_regions(&op, record).map_err(fail)?;
        }
        Ok(())
    }

    /// Only the optimiser writes parameters and state, and it does so from gradients.
    fn check_regions(&self, op: &Op, record: &OpRecord) -> Result<(), &'static str> {
        let region = |t: u32| Region::from_word(self.tensors[t as usize].region);
        let first = |t: u32| self.tensors[t as usize].offset;
        if let Op::Adam(_) = op {
            let [grads, state, control, ..] = record.inputs;
            let places = region(record.output) == Some(Region::Params)
                && region(grads) == Some(Region::Grads)
                && region(state) == Some(Region::State)
                && region(control) == Some(Region::Fixed);
            if !places {
                return Err("the optimiser reads grads, state and control and writes params");
            }
            // Two moments a parameter, so that no part shares them with another.
            if first(record.output) != first(grads) || first(grads).checked_mul(2) != Some(first(state)) {
                return Err("the optimiser's grads, state and params are those of one part");
            }
            return Ok(());
        }
        if record.inputs.iter().any(|&i| i != NONE && region(i) == Some(Region::State)) {
            return Err("only the optimiser reads state");
        }
        match region(record.output) {
            Some(Region::Work | Region::Io | Region::Fixed | Region::Grads) => Ok(()),
            Some(Region::Params | Region::State) | None => Err("only the optimiser writes params and state"),
        }
    }

    fn check_bindings(&self) -> Result<(), PlanError> {
        for (i, b) in self.bindings.iter().enumerate() {
            let binding = i as u32;
            if b.tensor as usize >= self.tensors.len() || b.role > 1 {
                return Err(PlanError::Binding { binding });
            }
            let region = Region::from_word(self.tensors[b.tensor as usize].region);
            if !matches!(region, Some(Region::Io | Region::Fixed)) {
                return Err(PlanError::Binding { binding });
            }
            let written = self.ops.iter().any(|o| o.output == b.tensor);
            let clobbered = self.ops.iter().any(|o| o.output != b.tensor && self.overlap(o.output, b.tensor));
            // A name finds one tensor.
            let name = self.tensor_name(b.tensor);
            let taken = self.bindings[..i].iter().any(|other| self.tensor_name(other.tensor) == name);
            if written != (b.role == 1) || clobbered || taken {
                return Err(PlanError::Binding { binding });
            }
        }
        Ok(())
    }

    /// Every value read from Work, Io or Fixed was bound or written before, and not overwritten since.
    fn check_liveness(&self) -> Result<(), PlanError> {
        for (i, record) in self.ops.iter().enumerate() {
            for &input in record.inputs.iter().filter(|&&i| i != NONE) {
                match Region::from_word(self.tensors[input as usize].region) {
                    Some(Region::Work | Region::Io | Region::Fixed) => {}
                    Some(Region::Params | Region::Grads | Region::State) | None => continue,
                }
                let before = &self.ops[..i];
                let mut bound = self.bindings.iter().any(|b| b.tensor == input && b.role == 0);
                for other in before.iter().rev() {
                    if other.output == input {
                        bound = true;
                        break;
                    }
                    if self.overlap(other.output, input) {
                        bound = false;
                        break;
                    }
                }
                if !bound {
                    return Err(PlanError::Op {
                        op: i as u32,
                        rule: "an input is read before it is written, or after it was overwritten",
                    });
                }
            }
        }
        Ok(())
    }
}

// The header's array and the region list must agree.
const _: () = assert!(REGIONS == Region::ALL.len());
