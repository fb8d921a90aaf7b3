//! Placement: gives every tensor a region and an offset, and encodes the program.
//!
//! Work tensors share memory where their lifetimes do not meet: largest first, each at the lowest offset that is free
//! for its whole life (greedy by size). With [`Reuse::KeepAll`] nothing is shared, so every intermediate value can be
//! looked at after a run; both placements give the same bits.

use crate::graph::{Graph, Source};
use crate::params::Layout;
use crate::plan::{
    BLOCK, BindingRecord, NONE, OpRecord, PlanError, Program, ProgramHeader, REGIONS, Region, TensorRecord, blocks_of,
};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Whether work memory is shared between tensors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// Share memory where lifetimes do not meet.
    Share,
    /// Give each tensor its own place, for debugging.
    KeepAll,
}

/// A program that owns its records; read as a [`Program`].
#[derive(Clone)]
pub struct OwnedProgram {
    name: String,
    // u64 words keep the records aligned.
    words: Vec<u64>,
}

impl OwnedProgram {
    /// A copy of a program.
    pub fn of(program: &Program<'_>) -> OwnedProgram {
        let parts: [&[u8]; 5] = [
            bytemuck::bytes_of(&program.header),
            bytemuck::cast_slice(program.tensors),
            bytemuck::cast_slice(program.ops),
            bytemuck::cast_slice(program.bindings),
            program.names,
        ];
        let len: usize = parts.iter().map(|p| p.len()).sum();
        let mut words = vec![0u64; len.div_ceil(8)];
        let mut rest: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        for part in parts {
            let (head, tail) = rest.split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        }
        OwnedProgram { name: program.name.to_string(), words }
    }

    /// The program, to be run or stored.
    pub fn program(&self) -> Program<'_> {
        Program::split(&self.name, self.bytes()).expect("`place` has validated these bytes")
    }

    /// Name that it was placed under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The records as bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }
}

struct Life {
    tensor: usize,
    blocks: u64,
    from: usize,
    to: usize,
}

/// Offsets in blocks and the blocks of the region.
fn share(lives: &mut [Life], offsets: &mut [u64], reuse: Reuse) -> u64 {
    lives.sort_by(|a, b| b.blocks.cmp(&a.blocks).then(a.tensor.cmp(&b.tensor)));
    let mut end = 0;
    let mut placed: Vec<(u64, u64, usize, usize)> = Vec::new();
    for life in lives.iter() {
        let mut at = 0;
        if reuse == Reuse::KeepAll {
            at = end;
        } else {
            // `placed` is ordered by offset, so one pass finds the lowest gap.
            for &(o, b, from, to) in &placed {
                if from <= life.to && life.from <= to && o < at + life.blocks && at < o + b {
                    at = o + b;
                }
            }
        }
        offsets[life.tensor] = at;
        end = end.max(at + life.blocks);
        let slot = placed.partition_point(|p| p.0 <= at);
        placed.insert(slot, (at, life.blocks, life.from, life.to));
    }
    end
}

/// Makes a program of a graph: every tensor that an output needs gets a region and an offset.
///
/// ```
/// use adflow::graph::Graph;
/// use adflow::op::{Activate, Activation, Scale};
/// use adflow::params::Params;
/// use adflow::place::{Reuse, place};
/// use adflow::shape::Shape;
///
/// let (mut graph, params) = (Graph::new(), Params::new());
/// let x = graph.input("x", Shape::chw(8, 32, 32));
/// let twice = graph.emit("twice", Scale { factor: 2.0 }, &[x])?;
/// let positive = graph.emit("positive", Activate { act: Activation::Relu }, &[twice])?;
/// let again = graph.emit("again", Scale { factor: 2.0 }, &[positive])?;
/// graph.output("y", again);
/// let program = place("example", &graph, &params.layout(), Reuse::Share)?;
/// println!("{:?}", program.program()); // one op a line: at 0 twice: N×8×32×32 …
/// assert_eq!(program.program().len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`PlanError::TooMany`] and [`PlanError::Region`] for a graph beyond the limits of a program.
pub fn place(name: &str, graph: &Graph, params: &Layout, reuse: Reuse) -> Result<OwnedProgram, PlanError> {
    let count = graph.tensors.len();
    let mut regions = vec![Region::Fixed; count];
    let mut offsets = vec![0u64; count];
    let mut blocks = [0u64; REGIONS];
    blocks[Region::Params as usize] = params.total;
    // Tensors that nothing uses (dead gradients) are left out, with the ops that write them.
    let mut used = vec![false; count];
    for id in &graph.outputs {
        used[id.0 as usize] = true;
    }
    let mut live_ops = vec![false; graph.nodes.len()];
    for (at, node) in graph.nodes.iter().enumerate().rev() {
        let out = node.output.0 as usize;
        let effect = matches!(graph.tensors[out].source, Source::Grad(_) | Source::Params { .. });
        if used[out] || effect {
            used[out] = true;
            live_ops[at] = true;
            for input in node.inputs.iter().flatten() {
                used[input.0 as usize] = true;
            }
        }
    }
    let mut first = vec![usize::MAX; count];
    let mut last = vec![0usize; count];
    for (at, node) in graph.nodes.iter().enumerate().filter(|(at, _)| live_ops[*at]) {
        first[node.output.0 as usize] = at;
        last[node.output.0 as usize] = last[node.output.0 as usize].max(at);
        for input in node.inputs.iter().flatten() {
            last[input.0 as usize] = at;
        }
    }
    let mut lives = Vec::new();
    for (i, t) in graph.tensors.iter().enumerate() {
        if !used[i] {
            continue;
        }
        let size = blocks_of(t.ty.shape.len());
        let is_output = graph.outputs.iter().any(|o| o.0 as usize == i);
        let (region, offset) = match t.source {
            Source::Param(p) => (Region::Params, Some(params.offsets[p])),
            Source::Grad(p) => (Region::Grads, Some(params.offsets[p])),
            Source::Params { first } => (Region::Params, Some(first)),
            Source::Grads { first } => (Region::Grads, Some(first)),
            Source::State { first } => (Region::State, Some(first)),
            Source::Input | Source::Op if !t.ty.batched => (Region::Fixed, None),
            Source::Op if !is_output => {
                lives.push(Life { tensor: i, blocks: size, from: first[i], to: last[i] });
                (Region::Work, Some(0))
            }
            Source::Input | Source::Op => (Region::Io, None),
        };
        regions[i] = region;
        match offset {
            Some(o) => {
                offsets[i] = o;
                match region {
                    Region::Grads => blocks[Region::Grads as usize] = params.trainable,
                    Region::State => blocks[Region::State as usize] = 2 * params.trainable,
                    Region::Params | Region::Work | Region::Io | Region::Fixed => {}
                }
            }
            None => {
                offsets[i] = blocks[region as usize];
                blocks[region as usize] += size;
            }
        }
    }
    blocks[Region::Work as usize] = share(&mut lives, &mut offsets, reuse);
    encode(name, graph, &used, &live_ops, &regions, &offsets, blocks)
}

fn encode(
    name: &str,
    graph: &Graph,
    used: &[bool],
    live_ops: &[bool],
    regions: &[Region],
    offsets: &[u64],
    blocks: [u64; REGIONS],
) -> Result<OwnedProgram, PlanError> {
    let mut names: Vec<u8> = Vec::new();
    let mut tensors = Vec::new();
    let mut index = vec![NONE; graph.tensors.len()];
    for (i, t) in graph.tensors.iter().enumerate().filter(|(i, _)| used[*i]) {
        index[i] = tensors.len() as u32;
        tensors.push(TensorRecord {
            name: names.len() as u32,
            name_len: t.name.len() as u32,
            region: regions[i] as u32,
            batched: u32::from(t.ty.batched),
            dims: t.ty.shape.0,
            offset: offsets[i],
        });
        names.extend_from_slice(t.name.as_bytes());
    }
    names.resize(names.len().next_multiple_of(8), 0);
    let ops: Vec<OpRecord> = graph
        .nodes
        .iter()
        .zip(live_ops)
        .filter(|(_, live)| **live)
        .map(|(node, _)| OpRecord {
            kind: node.op.kind(),
            inputs: node.inputs.map(|i| i.map_or(NONE, |i| index[i.0 as usize])),
            output: index[node.output.0 as usize],
            attrs: node.op.encode(),
        })
        .collect();
    let mut bindings: Vec<BindingRecord> = Vec::new();
    for (i, t) in graph.tensors.iter().enumerate() {
        if t.source == Source::Input && used[i] {
            bindings.push(BindingRecord { tensor: index[i], role: 0 });
        }
    }
    for id in &graph.outputs {
        bindings.push(BindingRecord { tensor: index[id.0 as usize], role: 1 });
    }
    let header = ProgramHeader {
        tensors: tensors.len() as u32,
        ops: ops.len() as u32,
        bindings: bindings.len() as u32,
        names: names.len() as u32,
        blocks,
    };
    let mut bytes = Vec::new();
    bytes.extend_from_slice(bytemuck::bytes_of(&header));
    bytes.extend_from_slice(bytemuck::cast_slice(&tensors));
    bytes.extend_from_slice(bytemuck::cast_slice(&ops));
    bytes.extend_from_slice(bytemuck::cast_slice(&bindings));
    bytes.extend_from_slice(&names);
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(&bytes);
    let owned = OwnedProgram { name: name.to_string(), words };
    Program::parse(&owned.name, owned.bytes())?;
    Ok(owned)
}

/// Floats of work memory per sample, for comparing placements.
pub fn work_len(program: &Program<'_>) -> u64 {
    program.blocks(Region::Work) * BLOCK as u64
}
