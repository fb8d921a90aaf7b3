//! Two executors run one program in lock-step: the first op on which they disagree is where to look.
//!
//! After each op the left side's values replace the right side's, so that every op is compared on the same operands and
//! no difference grows from op to op.

use crate::executor::{DeviceError, Executor};
use crate::plan::Program;
use crate::tolerance::{Tolerance, device_tolerance, difference};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The first op on which two executors disagree.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Position in the program.
    pub at: usize,
    /// Name of its output.
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

/// Runs `program` for `batch` samples on both sides and compares every output; `fill` writes an input by name.
///
/// Each side may be off by the op's tolerance ([`device_tolerance`]), so twice that much is allowed; of sums 16 times
/// that, because a whitening's terms cancel far more than the random ones that the tolerances were found with. A term left out
/// of a sum is larger by orders of magnitude.
pub fn lockstep(
    program: Program<'_>,
    batch: usize,
    fill: &mut dyn FnMut(&str, &mut [f32]),
    lhs: &mut dyn Executor,
    rhs: &mut dyn Executor,
) -> Result<Option<Mismatch>, DeviceError> {
    let (left, right) = (lhs.prepare(program, batch)?, rhs.prepare(program, batch)?);
    for (name, _, output) in program.bindings() {
        if !output {
            fill(name, lhs.input(left, name));
            let values = lhs.input(left, name).to_vec();
            rhs.input(right, name).copy_from_slice(&values);
        }
    }
    let mut expected: Vec<Vec<f32>> = Vec::with_capacity(program.len());
    lhs.run_with(left, &mut |_, values| expected.push(values.to_vec()))?;
    let mut mismatch = None;
    rhs.run_with(right, &mut |at, values| {
        let (planned, want) = (program.op(at), &expected[at]);
        let wide: Vec<f64> = want.iter().map(|w| f64::from(*w)).collect();
        let allowed = match device_tolerance(&planned.op, &planned.types, batch).doubled() {
            Tolerance::Scaled(eps) => Tolerance::Scaled(16.0 * eps),
            other => other,
        };
        if mismatch.is_none()
            && let Some(text) = difference(values, &wide, allowed)
        {
            let tensor = program.tensor_name(planned.record.output).to_string();
            mismatch = Some(Mismatch { at, tensor, op: planned.op.to_string(), text });
        }
        if values.len() == want.len() {
            values.copy_from_slice(want);
        }
    })?;
    Ok(mismatch)
}
