//! A program of one op, for executors that run programs only.

use crate::cases::Case;
use adflow::op::Op;
use adflow::place::OwnedProgram;
use adflow::plan::{BLOCK, BindingRecord, OpRecord, Program, ProgramHeader, Region, TensorRecord, blocks_of};
use adflow::shape::Type;
use bytemuck::{bytes_of, cast_slice};

/// The program of a case: inputs `0`, `1`, … and the output `y`. The optimiser's operands lie in their regions instead.
pub fn program(case: &Case) -> OwnedProgram {
    let (types, adam) = (case.types(), matches!(case.op, Op::Adam(_)));
    let output = case.op.output(&types).expect("cases keep the shape rule");
    let mut blocks = [0u64; Region::ALL.len()];
    let mut tensors: Vec<TensorRecord> = Vec::new();
    let mut names = String::new();
    let mut add = |name: String, ty: Type, region: Region| {
        let offset = blocks[region as usize];
        blocks[region as usize] += blocks_of(ty.shape.len());
        tensors.push(TensorRecord {
            name: names.len() as u32,
            name_len: name.len() as u32,
            region: region as u32,
            batched: u32::from(ty.batched),
            dims: ty.shape.0,
            offset,
        });
        names += &name;
        tensors.len() as u32 - 1
    };
    let region_of = |slot: usize, ty: Type| match (adam, slot) {
        (true, 0) => Region::Grads,
        (true, 1) => Region::State,
        _ if ty.batched => Region::Io,
        _ => Region::Fixed,
    };
    let mut op = OpRecord { kind: case.op.kind(), inputs: [u32::MAX; 6], output: 0, attrs: case.op.encode() };
    let mut bindings = Vec::new();
    for (slot, ty) in types.iter().enumerate() {
        let Some(ty) = *ty else { continue };
        let region = region_of(slot, ty);
        op.inputs[slot] = add(slot.to_string(), ty, region);
        if matches!(region, Region::Io | Region::Fixed) {
            bindings.push(BindingRecord { tensor: op.inputs[slot], role: 0 });
        }
    }
    op.output = add("y".to_string(), output, if adam { Region::Params } else { region_of(9, output) });
    if !adam {
        bindings.push(BindingRecord { tensor: op.output, role: 1 });
    }
    while !names.len().is_multiple_of(8) {
        names.push(' ');
    }
    let header = ProgramHeader {
        tensors: tensors.len() as u32,
        ops: 1,
        bindings: bindings.len() as u32,
        names: names.len() as u32,
        blocks,
    };
    let bytes =
        [bytes_of(&header), cast_slice(&tensors), bytes_of(&op), cast_slice(&bindings), names.as_bytes()].concat();
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(&bytes);
    let bytes: &[u8] = &cast_slice(&words)[..bytes.len()];
    OwnedProgram::of(&Program::parse("case", bytes).unwrap_or_else(|e| panic!("{case}: {e}")))
}

/// Floats of a region of the program, for executors.
pub fn floats(program: &Program<'_>, region: Region) -> usize {
    program.blocks(region) as usize * BLOCK
}
