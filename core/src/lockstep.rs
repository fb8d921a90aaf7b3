//! Two executors run one program in lock-step: the first op on which they disagree is where to look.
//!
//! After each op the left side's values replace the right side's, so that every op is compared on the same operands and
//! no difference grows from op to op.

use crate::cpu::Cpu;
use crate::executor::{DeviceError, Executor};
use crate::op::Run;
use crate::plan::{Program, Region};
use crate::threads::Threads;
use crate::tolerance::{Tolerance, difference};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The first op on which two executors disagree.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Position in the program.
    pub at: usize,
    /// Name of the tensor that the op writes.
    pub tensor: String,
    /// The op with its attributes.
    pub op: String,
    /// What differs.
    pub text: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op {} ({}, output {}): {}", self.at, self.op, self.tensor, self.text)
    }
}

/// Runs `program` for `batch` samples on both sides and compares every output; `fill` writes an input by name, `params` are
/// those that both sides were given.
///
/// Each side may be off by the op's tolerance ([`Op::device_tolerance`](crate::op::Op::device_tolerance)), so twice that much is allowed. Where terms cancel, as in a
/// whitening, rounding is as large as the terms and not as their sum: then a millionth of the sum of their sizes is allowed.
///
/// # Errors
/// Whatever either device says when it cannot run the program.
pub fn lockstep(
    program: Program<'_>,
    batch: usize,
    params: &[f32],
    fill: &mut dyn FnMut(&str, &mut [f32]),
    lhs: &mut dyn Executor,
    rhs: &mut dyn Executor,
) -> Result<Option<Mismatch>, DeviceError> {
    let (left, right) = (lhs.prepare(program, batch)?, rhs.prepare(program, batch)?);
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); program.tensors()];
    for (name, _, output) in program.bindings() {
        if !output {
            fill(name, lhs.input(left, name));
            let given = lhs.input(left, name).to_vec();
            rhs.input(right, name).copy_from_slice(&given);
            if let Some(tensor) = program.find(name) {
                values[tensor as usize] = given;
            }
        }
    }
    for tensor in 0..program.tensors() {
        let record = program.tensor(tensor as u32);
        if record.region == Region::Params as u32 {
            values[tensor] = params.get(record.range(batch)).unwrap_or(&[]).to_vec();
        }
    }
    let output = |at: usize| program.op(at).record.output as usize;
    lhs.run_with(left, &mut |at, seen| values[output(at)] = seen.to_vec())?;
    let mut mismatch = None;
    rhs.run_with(right, &mut |at, seen| {
        let (planned, want) = (program.op(at), &values[output(at)]);
        if mismatch.is_none() {
            let wide: Vec<f64> = want.iter().map(|w| f64::from(*w)).collect();
            let allowed = match planned.op.device_tolerance(&planned.types, batch).doubled() {
                Tolerance::Scaled(eps) => {
                    let largest = want.iter().fold(f32::MIN_POSITIVE, |m, w| m.max(w.abs()));
                    let terms = term_sizes(&program, at, batch, &values).unwrap_or(0.0);
                    Tolerance::Scaled(eps.max(f64::from(CANCELLED * terms / largest)))
                }
                other => other,
            };
            if let Some(text) = difference(seen, &wide, allowed) {
                let tensor = program.tensor_name(planned.record.output).to_string();
                mismatch = Some(Mismatch { at, tensor, op: planned.op.to_string(), text });
            }
        }
        if seen.len() == want.len() {
            seen.copy_from_slice(want);
        }
    })?;
    Ok(mismatch)
}

/// Of the sizes of all terms of a sum, what rounding may leave.
const CANCELLED: f32 = 1e-6;

/// For ops that sum: the largest sum of the sizes of the terms, which is what the op gives for the sizes of its
/// operands.
fn term_sizes(program: &Program<'_>, at: usize, batch: usize, values: &[Vec<f32>]) -> Option<f32> {
    let planned = program.op(at);
    let op = planned.op.of_sizes()?;
    let sizes: Vec<Vec<f32>> = planned
        .record
        .inputs
        .iter()
        .map(|&input| values.get(input as usize).map_or_else(Vec::new, |v| v.iter().map(|x| x.abs()).collect()))
        .collect();
    let output_type = program.tensor_type(planned.record.output);
    let mut output = vec![0.0; values[planned.record.output as usize].len()];
    let mut scratch = vec![0.0; op.scratch(&planned.types, output_type, batch, 1)];
    let threads = Threads::serial();
    op.run(&mut Run {
        cpu: Cpu::portable(&threads),
        batch,
        inputs: core::array::from_fn(|slot| sizes[slot].as_slice()),
        types: planned.types,
        output: &mut output,
        output_type,
        scratch: &mut scratch,
        state: &mut [],
    });
    Some(output.into_iter().fold(0.0, f32::max))
}
