//! Log-determinant of a coupling, per sample: `y = j + Σ σ(s)` over the active channels of all groups; or per position,
//! `y_p = j_p + Σ_c σ(s[c, p])`, what each position adds to it.
//!
//! `j` is the log-determinant so far and may be left out. Never summed over the batch. Gradient: `gs = g·σ'(s)`,
//! `gt = 0`, `gj = g`.

use super::coupling::CLAMPS;
use super::{Check, Operation, Rule, Run, Types};
use crate::kernels::coupling::{CouplingShape, SoftClamp};
use crate::kernels::log_det;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = j + Σ σ(s)`.
    LogDet {
        /// Number of groups in st.
        groups: u32,
        /// Soft clamp α.
        clamp: f32,
        /// Form of the clamp.
        form: SoftClamp,
        /// Whether to sum over channels only, one number per position.
        per_position: bool,
    }
}

record! {
    /// `gst` of a log-determinant from g and st.
    LogDetDst {
        /// Number of groups in st.
        groups: u32,
        /// Soft clamp α.
        clamp: f32,
        /// Form of the clamp.
        form: SoftClamp,
        /// Whether g has one number per position.
        per_position: bool,
    }
}

fn check(name: &'static str, st: Shape, groups: u32, clamp: f32) -> Result<(), ShapeError> {
    let check = Check(name);
    check.that(
        groups > 0 && st.c().is_multiple_of(groups) && (st.c() / groups).is_multiple_of(2),
        "st must hold s and t for each group",
    )?;
    check.that(CLAMPS.contains(&clamp) && st.0[3] == 1, "the clamp must lie in 0.001..=1000 and st be C×H×W")
}

/// Shape of the log-determinant.
fn summed(st: Shape, per_position: bool) -> Shape {
    if per_position { Shape::chw(1, st.h(), st.w()) } else { Shape::SCALAR }
}

fn kernel_shape(n: usize, st: Shape, groups: u32, clamp: f32, form: SoftClamp) -> CouplingShape {
    let (active, hw) = ((st.c() / groups / 2) as usize, st.positions());
    CouplingShape { n, groups: groups as usize, size: active, active_offset: 0, active, hw, clamp, form }
}

impl Operation for LogDet {
    const NAME: &'static str = "log_det";
    const INPUTS: &'static [&'static str] = &["st", "?j"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        let st = c.batched(inputs, 0)?;
        check(Self::NAME, st, self.groups, self.clamp)?;
        let y = summed(st, self.per_position);
        if inputs[1].is_some() {
            c.same("j is one number per sample, or per position", y, c.batched(inputs, 1)?)?;
        }
        Ok(Type::batched(y))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // The arc tangent is the engine's own.
        Tolerance::Scaled(1e-6)
    }

    fn of_sizes(&self) -> Option<LogDet> {
        Some(*self)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), self.groups, self.clamp, self.form);
        if self.per_position {
            log_det::log_det_map(run.cpu, &s, run.inputs[0], run.output);
        } else {
            log_det::log_det(run.cpu, &s, run.inputs[0], run.output);
        }
        if run.types[1].is_some() {
            for (y, j) in run.output.iter_mut().zip(run.inputs[1]) {
                *y += j;
            }
        }
    }

    fn gradient(&self, g: &mut Rule) {
        let LogDet { groups, clamp, form, per_position } = *self;
        g.give(0, LogDetDst { groups, clamp, form, per_position }, &[g.upstream(), g.input(0)]);
        g.pass(1);
    }
}

impl Operation for LogDetDst {
    const NAME: &'static str = "log_det_dst";
    const INPUTS: &'static [&'static str] = &["g", "st"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        let st = c.batched(inputs, 1)?;
        check(Self::NAME, st, self.groups, self.clamp)?;
        let g = summed(st, self.per_position);
        c.same("g is one number per sample, or per position", g, c.batched(inputs, 0)?)?;
        Ok(Type::batched(st))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // The arc tangent is the engine's own.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(1), self.groups, self.clamp, self.form);
        let [g, st, ..] = run.inputs;
        if self.per_position {
            log_det::log_det_map_dst(run.cpu, &s, g, st, run.output);
        } else {
            log_det::log_det_dst(run.cpu, &s, g, st, run.output);
        }
    }
}
