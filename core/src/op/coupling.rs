//! Affine coupling with soft clamp, in groups: the active channels of each group are scaled and shifted.
//!
//! `y = x · exp(σ(s)) + t` on the active channels, `y = x` on the others; inverse `x = (y − t) · exp(−σ(s))`, with
//! `σ(s) = (2α/π)·atan(s/α)` in (−α, α) (cdnf eq 8). `st` holds, group after group, first s and then t. In a level of
//! a recursive flow the groups are the nodes. The clamp has a second form, `σ(s) = α·tanh(s)` ([`SoftClamp`]). Gradients of the forward direction: `gx = gy·e^σ` (active), `gt = gy`,
//! `gs = gy·x·e^σ·σ'(s)`, `σ'(s) = (2/π)/(1 + (s/α)²)`, or `α·(1 − tanh²(s))`. The log-determinant is an op of its own: `log_det.rs`.

use super::{Attr, Check, Operation, Rule, Run, Types};
use crate::kernels::coupling::{self, CouplingShape, SoftClamp};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;
use core::fmt;

impl Attr for SoftClamp {
    fn to_word(self) -> u32 {
        match self {
            SoftClamp::Atan => 0,
            SoftClamp::Tanh => 1,
        }
    }
    fn from_word(word: u32) -> Option<SoftClamp> {
        match word {
            0 => Some(SoftClamp::Atan),
            1 => Some(SoftClamp::Tanh),
            _ => None,
        }
    }
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result {
        f.write_str(match self {
            SoftClamp::Atan => "atan",
            SoftClamp::Tanh => "tanh",
        })
    }
}

record! {
    /// Affine coupling of `groups` groups of channels.
    Coupling {
        /// Number of groups that share the channels evenly.
        groups: u32,
        /// First active channel of a group.
        offset: u32,
        /// Number of active channels of a group.
        active: u32,
        /// Soft clamp α.
        clamp: f32,
        /// Whether to undo the coupling.
        inverse: bool,
        /// Form of the clamp.
        form: SoftClamp,
    }
}

record! {
    /// `gx` of a coupling from gy and st.
    CouplingDx {
        /// Number of groups.
        groups: u32,
        /// First active channel of a group.
        offset: u32,
        /// Number of active channels of a group.
        active: u32,
        /// Soft clamp α.
        clamp: f32,
        /// Form of the clamp.
        form: SoftClamp,
    }
}

record! {
    /// `gst` of a coupling from gy, x and st.
    CouplingDst {
        /// Number of groups.
        groups: u32,
        /// First active channel of a group.
        offset: u32,
        /// Number of active channels of a group.
        active: u32,
        /// Soft clamp α.
        clamp: f32,
        /// Form of the clamp.
        form: SoftClamp,
    }
}

/// Clamps that kernels are exact for: s/α and α·atan(s/α) stay far from the ends of f32. The papers use 1.9 to 3.
pub(super) const CLAMPS: core::ops::RangeInclusive<f32> = 1e-3..=1e3;

/// Checks the geometry; returns the shape of st.
fn check(name: &'static str, x: Shape, groups: u32, offset: u32, active: u32, clamp: f32) -> Result<Shape, ShapeError> {
    let check = Check(name);
    check.that(groups > 0 && x.c().is_multiple_of(groups), "groups must divide the channels")?;
    check.that(active > 0 && offset + active <= x.c() / groups, "the active channels must lie inside the group")?;
    check.that(CLAMPS.contains(&clamp), "the clamp must lie in 0.001..=1000")?;
    check.that(x.0[3] == 1 && groups.checked_mul(2 * active).is_some(), "x must be C×H×W")?;
    Ok(Shape::chw(groups * 2 * active, x.h(), x.w()))
}

fn kernel_shape(n: usize, x: Shape, a: CouplingDx) -> CouplingShape {
    let CouplingDx { groups, offset, active, clamp, form } = a;
    CouplingShape {
        n,
        groups: groups as usize,
        size: (x.c() / groups) as usize,
        active_offset: offset as usize,
        active: active as usize,
        hw: x.positions(),
        clamp,
        form,
    }
}

impl Coupling {
    /// The geometry that the three ops share.
    fn dx(&self) -> CouplingDx {
        let Coupling { groups, offset, active, clamp, inverse: _, form } = *self;
        CouplingDx { groups, offset, active, clamp, form }
    }
}

impl CouplingDst {
    fn dx(&self) -> CouplingDx {
        let CouplingDst { groups, offset, active, clamp, form } = *self;
        CouplingDx { groups, offset, active, clamp, form }
    }
}

impl Operation for Coupling {
    const NAME: &'static str = "coupling";
    const INPUTS: &'static [&'static str] = &["x", "st"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        let x = c.batched(inputs, 0)?;
        let st = check(Self::NAME, x, self.groups, self.offset, self.active, self.clamp)?;
        c.same("st holds s and t of every active channel", st, c.batched(inputs, 1)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // The exponential and the arc tangent are the engine's own.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), self.dx());
        if self.inverse {
            coupling::coupling_inverse(run.cpu, &s, run.inputs[0], run.inputs[1], run.output);
        } else {
            coupling::coupling(run.cpu, &s, run.inputs[0], run.inputs[1], run.output);
        }
    }

    fn gradient(&self, g: &mut Rule) {
        if self.inverse {
            return g.refuse("the inverse direction of a coupling");
        }
        let CouplingDx { groups, offset, active, clamp, form } = self.dx();
        g.give(0, self.dx(), &[g.upstream(), g.input(1)]);
        let dst = CouplingDst { groups, offset, active, clamp, form };
        g.give(1, dst, &[g.upstream(), g.input(0), g.input(1)]);
    }
}

impl Operation for CouplingDx {
    const NAME: &'static str = "coupling_dx";
    const INPUTS: &'static [&'static str] = &["gy", "st"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        let gy = c.batched(inputs, 0)?;
        let st = check(Self::NAME, gy, self.groups, self.offset, self.active, self.clamp)?;
        c.same("st holds s and t of every active channel", st, c.batched(inputs, 1)?)?;
        Ok(Type::batched(gy))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // The exponential and the arc tangent are the engine's own.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), *self);
        coupling::coupling_dx(run.cpu, &s, run.inputs[0], run.inputs[1], run.output);
    }
}

impl Operation for CouplingDst {
    const NAME: &'static str = "coupling_dst";
    const INPUTS: &'static [&'static str] = &["gy", "x", "st"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let c = Check(Self::NAME);
        let gy = c.batched(inputs, 0)?;
        c.same("gy and x have one shape", gy, c.batched(inputs, 1)?)?;
        let st = check(Self::NAME, gy, self.groups, self.offset, self.active, self.clamp)?;
        c.same("st holds s and t of every active channel", st, c.batched(inputs, 2)?)?;
        Ok(Type::batched(st))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        // The exponential and the arc tangent are the engine's own.
        Tolerance::Scaled(1e-6)
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = kernel_shape(run.batch, run.shape(0), self.dx());
        coupling::coupling_dst(run.cpu, &s, run.inputs[0], run.inputs[1], run.inputs[2], run.output);
    }
}
