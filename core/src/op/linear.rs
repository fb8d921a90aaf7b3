//! Grouped linear layer: group g reads a window of the input and writes its own outputs.
//!
//! `y[g·o + j] = act(b[g·o + j] + Σ_i w[g, j, i] · x[offset + ⌊g/share⌋·stride + i])`. With one group it is the usual
//! fully connected layer. In a level of a recursive flow (cdnf §4.3) the 2^ℓ nodes are the groups, `share = 2` stacks
//! the scale and translation subnets of a node over one input window, and `offset`/`stride` pick the conditioning
//! half of each node without a copy. Gradients: `gx = wᵀ·gy` scattered to the windows, `gw = gy·xᵀ`, `gb = Σ gy`.

use super::{ActivateDx, ChannelSum, Check, Operation, Rule, Run, Types, shape};
use crate::kernels::Pass;
use crate::kernels::activation::Activation;
use crate::kernels::linear::{self, LinearShape};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = act(w·x + b)` in groups; x: a vector, w: groups×out×in, b: groups·out.
    Linear {
        /// Consecutive groups that read the same window.
        share: u32,
        /// First element of the first window.
        offset: u32,
        /// Elements from one window to the next.
        stride: u32,
        /// Applied after the bias.
        act: Activation,
    }
}

record! {
    /// `gx` of a linear layer from gy and w; zero where no window reads.
    LinearDx {
        /// Consecutive groups that read the same window.
        share: u32,
        /// First element of the first window.
        offset: u32,
        /// Elements from one window to the next.
        stride: u32,
        /// Length of x.
        len: u32,
    }
}

record! {
    /// `gw` of a linear layer from x and gy, summed over the batch.
    LinearDw {
        /// Consecutive groups that read the same window.
        share: u32,
        /// First element of the first window.
        offset: u32,
        /// Elements from one window to the next.
        stride: u32,
        /// Number of groups.
        groups: u32,
        /// Inputs of a group.
        features: u32,
    }
}

/// The geometry all three share.
struct Windows {
    share: u32,
    offset: u32,
    stride: u32,
}

impl Windows {
    fn check(&self, name: &'static str, x: Shape, w: Shape) -> Result<Shape, ShapeError> {
        let check = Check(name);
        let [groups, out, features, one] = w.0;
        check.that(x.0[1] == 1 && x.0[2] == 1 && x.0[3] == 1 && one == 1, "x must be a vector and w groups×out×in")?;
        check.that(self.share > 0 && groups % self.share == 0, "share must divide the groups")?;
        let windows = groups / self.share;
        check.that(windows == 1 || self.stride >= features, "windows must not overlap")?;
        let end = u64::from(self.offset) + u64::from(windows - 1) * u64::from(self.stride) + u64::from(features);
        check.that(end <= u64::from(x.c()), "the last window ends outside x")?;
        check.that(u64::from(groups) * u64::from(out) <= 1 << 28, "too many outputs")?;
        Ok(Shape::vector(groups * out))
    }

    fn kernel_shape(&self, n: usize, x: Shape, w: Shape) -> LinearShape {
        LinearShape {
            n,
            groups: w.0[0] as usize,
            share: self.share as usize,
            in_features: w.0[2] as usize,
            out_features: w.0[1] as usize,
            x_len: x.c() as usize,
            x_offset: self.offset as usize,
            x_stride: self.stride as usize,
        }
    }
}

impl Linear {
    /// One group over the whole input.
    pub fn dense(act: Activation) -> Linear {
        Linear { share: 1, offset: 0, stride: 0, act }
    }

    fn windows(&self) -> Windows {
        Windows { share: self.share, offset: self.offset, stride: self.stride }
    }
}

impl Operation for Linear {
    const NAME: &'static str = "linear";
    const INPUTS: &'static [&'static str] = &["x", "w", "?b"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let y = self.windows().check(Self::NAME, check.batched(inputs, 0)?, check.single(inputs, 1)?)?;
        if inputs[2].is_some() {
            check.same("the bias has one number per output", y, check.single(inputs, 2)?)?;
        }
        Ok(Type::batched(y))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 1).0[2] as usize)
    }

    fn of_sizes(&self) -> Option<Linear> {
        // An activation would hide how large the terms are.
        Some(Linear { act: Activation::None, ..*self })
    }

    fn scratch(&self, inputs: &Types, _output: Type, batch: usize, workers: usize) -> usize {
        match (inputs[0], inputs[1]) {
            (Some(x), Some(w)) => {
                linear::linear_scratch(&self.windows().kernel_shape(batch, x.shape, w.shape), Pass::Forward, workers)
            }
            _ => 0,
        }
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = self.windows().kernel_shape(run.batch, run.shape(0), run.shape(1));
        let bias = run.types[2].map(|_| run.inputs[2]);
        linear::linear(run.cpu, run.scratch, &s, run.inputs[0], run.inputs[1], bias, self.act, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        let gy = match self.act {
            Activation::None => g.upstream(),
            act => g.emit(ActivateDx { act }, &[g.upstream(), g.output()]),
        };
        let Linear { share, offset, stride, act: _ } = *self;
        g.give(0, LinearDx { share, offset, stride, len: g.shape(0).c() }, &[gy, g.input(1)]);
        let [groups, _, features, _] = g.shape(1).0;
        g.give(1, LinearDw { share, offset, stride, groups, features }, &[g.input(0), gy]);
        g.give(2, ChannelSum {}, &[gy]);
    }
}

impl LinearDx {
    fn windows(&self) -> Windows {
        Windows { share: self.share, offset: self.offset, stride: self.stride }
    }
}

impl Operation for LinearDx {
    const NAME: &'static str = "linear_dx";
    const INPUTS: &'static [&'static str] = &["gy", "w"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let (gy, w) = (check.batched(inputs, 0)?, check.single(inputs, 1)?);
        let x = Shape::vector(self.len);
        check.same("gy has the shape of the forward output", self.windows().check(Self::NAME, x, w)?, gy)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum((shape(inputs, 1).0[1] * self.share) as usize)
    }

    fn of_sizes(&self) -> Option<LinearDx> {
        Some(*self)
    }

    fn scratch(&self, inputs: &Types, output: Type, batch: usize, workers: usize) -> usize {
        inputs[1].map_or(0, |w| {
            linear::linear_scratch(&self.windows().kernel_shape(batch, output.shape, w.shape), Pass::Dx, workers)
        })
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = self.windows().kernel_shape(run.batch, run.output_type.shape, run.shape(1));
        linear::linear_dx(run.cpu, run.scratch, &s, run.inputs[0], run.inputs[1], run.output);
    }
}

impl LinearDw {
    fn windows(&self) -> Windows {
        Windows { share: self.share, offset: self.offset, stride: self.stride }
    }
}

impl Operation for LinearDw {
    const NAME: &'static str = "linear_dw";
    const INPUTS: &'static [&'static str] = &["x", "gy"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let (x, gy) = (check.batched(inputs, 0)?, check.batched(inputs, 1)?);
        check.that(self.groups > 0 && gy.c() % self.groups == 0, "groups must divide the outputs")?;
        let w = Shape([self.groups, gy.c() / self.groups, self.features, 1]);
        check.that(w.checked_len().is_some(), "the weight is empty or too large")?;
        check.same("gy has the shape of the forward output", self.windows().check(Self::NAME, x, w)?, gy)?;
        Ok(Type::single(w))
    }

    fn tolerance(&self, _: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch)
    }

    fn of_sizes(&self) -> Option<LinearDw> {
        Some(*self)
    }

    fn scratch(&self, inputs: &Types, output: Type, batch: usize, workers: usize) -> usize {
        inputs[0].map_or(0, |x| {
            linear::linear_scratch(&self.windows().kernel_shape(batch, x.shape, output.shape), Pass::Dw, workers)
        })
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = self.windows().kernel_shape(run.batch, run.shape(0), run.output_type.shape);
        linear::linear_dw(run.cpu, run.scratch, &s, run.inputs[0], run.inputs[1], run.output);
    }
}
