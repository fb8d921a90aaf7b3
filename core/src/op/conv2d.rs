//! 2D convolution: `y = act(w ⋆ x + b) + r`.
//!
//! `y[o, i, j] = act(b[o] + Σ_{c,u,v} w[o, c, u, v] · x[c, s·i + d·u − top, s·j + d·v − left]) + r[o, i, j]`, zero
//! outside; with groups, output channel o reads the cin/groups channels of its group. Padding is per side, because
//! TensorFlow's SAME padding is asymmetric on even sizes. The residual r is added after the activation.
//! Gradients: towards x the transposed convolution, towards w the correlation of x with gy, towards b the sum of gy.

use super::{ActivateDx, ChannelSum, Check, Operation, Rule, Run, Types, shape};
use crate::kernels::Pass;
use crate::kernels::activation::Activation;
use crate::kernels::conv2d::{self, Conv2dShape};
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = act(w ⋆ x + b) + r`; x: C×H×W, w: O×(C/groups)×K×K.
    Conv2d {
        /// Step between outputs, in both directions.
        stride: u32,
        /// Step between taps.
        dilation: u32,
        /// Groups of channels.
        groups: u32,
        /// Zero rows above.
        top: u32,
        /// Zero columns to the left.
        left: u32,
        /// Zero rows below.
        bottom: u32,
        /// Zero columns to the right.
        right: u32,
        /// Applied after the bias.
        act: Activation,
    }
}

record! {
    /// `gx` of a convolution from gy and w.
    Conv2dDx {
        /// Step between outputs.
        stride: u32,
        /// Step between taps.
        dilation: u32,
        /// Groups of channels.
        groups: u32,
        /// Zero rows above.
        top: u32,
        /// Zero columns to the left.
        left: u32,
        /// Zero rows below.
        bottom: u32,
        /// Zero columns to the right.
        right: u32,
        /// Rows of x.
        h: u32,
        /// Columns of x.
        w: u32,
    }
}

record! {
    /// `gw` of a convolution from x and gy, summed over the batch.
    Conv2dDw {
        /// Step between outputs.
        stride: u32,
        /// Step between taps.
        dilation: u32,
        /// Groups of channels.
        groups: u32,
        /// Zero rows above.
        top: u32,
        /// Zero columns to the left.
        left: u32,
        /// Zero rows below.
        bottom: u32,
        /// Zero columns to the right.
        right: u32,
        /// Rows of the kernel.
        kh: u32,
        /// Columns of the kernel.
        kw: u32,
    }
}

impl Conv2d {
    /// Stride 1, no padding, no groups, no activation.
    pub fn new() -> Conv2d {
        Conv2d { stride: 1, dilation: 1, groups: 1, top: 0, left: 0, bottom: 0, right: 0, act: Activation::None }
    }

    /// Sets the stride, in both directions.
    pub fn stride(self, stride: u32) -> Conv2d {
        Conv2d { stride, ..self }
    }

    /// Sets the padding: `p` zeros on each side.
    pub fn pad(self, p: u32) -> Conv2d {
        Conv2d { top: p, left: p, bottom: p, right: p, ..self }
    }

    /// Sets the padding to TensorFlow's SAME for a k×k kernel on h×w: outputs are ⌈h/stride⌉×⌈w/stride⌉, and the odd zero goes
    /// below and to the right. The stride must have been set.
    pub fn same(self, k: u32, h: u32, w: u32) -> Conv2d {
        let total = |n: u32| ((n.div_ceil(self.stride) - 1) * self.stride + k).saturating_sub(n);
        let (v, u) = (total(h), total(w));
        Conv2d { top: v / 2, bottom: v - v / 2, left: u / 2, right: u - u / 2, ..self }
    }

    /// Sets the number of groups: each sees its part of the input channels.
    pub fn groups(self, groups: u32) -> Conv2d {
        Conv2d { groups, ..self }
    }

    /// Sets the activation, applied after the bias.
    pub fn act(self, act: Activation) -> Conv2d {
        Conv2d { act, ..self }
    }

    fn out(&self, n: u32, before: u32, after: u32, k: u32) -> Option<u32> {
        let reach = self.dilation.checked_mul(k.checked_sub(1)?)?.checked_add(1)?;
        let padded = n.checked_add(before)?.checked_add(after)?;
        Some(padded.checked_sub(reach)? / self.stride.max(1) + 1)
    }

    /// Output shape for an input and a weight shape.
    fn infer(&self, name: &'static str, x: Shape, w: Shape) -> Result<Shape, ShapeError> {
        let check = Check(name);
        let [o, ci, kh, kw] = w.0;
        check.that(
            self.stride > 0 && self.dilation > 0 && self.groups > 0,
            "stride, dilation and groups must be positive",
        )?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        check.that(
            kh <= 64 && kw <= 64 && self.dilation <= 64 && self.stride <= 64,
            "kernel, dilation and stride must be at most 64",
        )?;
        let pads = [(self.top, kh), (self.bottom, kh), (self.left, kw), (self.right, kw)];
        check.that(pads.iter().all(|&(p, k)| p <= self.dilation * k), "padding must not exceed the kernel")?;
        check.that(
            o % self.groups == 0 && x.c() == ci.saturating_mul(self.groups),
            "channels must match the weight and its groups",
        )?;
        match (self.out(x.h(), self.top, self.bottom, kh), self.out(x.w(), self.left, self.right, kw)) {
            (Some(oh), Some(ow)) => Ok(Shape::chw(o, oh, ow)),
            _ => Err(ShapeError {
                op: name,
                rule: "the kernel does not fit into the padded input",
                expected: Some(w),
                found: Some(x),
            }),
        }
    }

    fn kernel_shape(&self, n: usize, x: Shape, w: Shape, y: Shape) -> Conv2dShape {
        Conv2dShape {
            n,
            cin: x.c() as usize,
            h: x.h() as usize,
            w: x.w() as usize,
            cout: y.c() as usize,
            oh: y.h() as usize,
            ow: y.w() as usize,
            kh: w.0[2] as usize,
            kw: w.0[3] as usize,
            stride: self.stride as usize,
            pad_top: self.top as usize,
            pad_left: self.left as usize,
            dilation: self.dilation as usize,
            groups: self.groups as usize,
        }
    }
}

impl Default for Conv2d {
    fn default() -> Conv2d {
        Conv2d::new()
    }
}

impl Operation for Conv2d {
    const NAME: &'static str = "conv2d";
    const INPUTS: &'static [&'static str] = &["x", "w", "?b", "?r"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let y = self.infer(Self::NAME, check.batched(inputs, 0)?, check.single(inputs, 1)?)?;
        if inputs[2].is_some() {
            check.same("the bias has one number per output channel", Shape::vector(y.c()), check.single(inputs, 2)?)?;
        }
        if inputs[3].is_some() {
            check.same("the residual has the shape of the output", y, check.batched(inputs, 3)?)?;
        }
        Ok(Type::batched(y))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        let [_, channels, kh, kw] = shape(inputs, 1).0;
        Tolerance::sum((channels * kh * kw) as usize)
    }

    fn of_sizes(&self) -> Option<Conv2d> {
        // An activation would hide how large the terms are.
        Some(self.act(Activation::None))
    }

    fn scratch(&self, inputs: &Types, output: Type, batch: usize, workers: usize) -> usize {
        match (inputs[0], inputs[1]) {
            (Some(x), Some(w)) => conv2d::conv2d_scratch(
                &self.kernel_shape(batch, x.shape, w.shape, output.shape),
                Pass::Forward,
                workers,
            ),
            _ => 0,
        }
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = self.kernel_shape(run.batch, run.shape(0), run.shape(1), run.output_type.shape);
        let (bias, residual) = (run.types[2].map(|_| run.inputs[2]), run.types[3].map(|_| run.inputs[3]));
        conv2d::conv2d(run.cpu, run.scratch, &s, run.inputs[0], run.inputs[1], bias, residual, self.act, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        if g.has(3) {
            g.pass(3);
            if self.act != Activation::None {
                // The activation's gradient is read off the output, which the residual has changed.
                return g.refuse("a convolution with both activation and residual");
            }
        }
        if !(g.needs(0) || g.needs(1) || g.needs(2)) {
            return;
        }
        let gy = match self.act {
            Activation::None => g.upstream(),
            act => g.emit(ActivateDx { act }, &[g.upstream(), g.output()]),
        };
        let Conv2d { stride, dilation, groups, top, left, bottom, right, act: _ } = *self;
        let x = g.shape(0);
        let dx = Conv2dDx { stride, dilation, groups, top, left, bottom, right, h: x.h(), w: x.w() };
        g.give(0, dx, &[gy, g.input(1)]);
        let [_, _, kh, kw] = g.shape(1).0;
        let dw = Conv2dDw { stride, dilation, groups, top, left, bottom, right, kh, kw };
        g.give(1, dw, &[g.input(0), gy]);
        g.give(2, ChannelSum {}, &[gy]);
    }
}

impl Conv2dDx {
    fn forward(&self) -> Conv2d {
        let Conv2dDx { stride, dilation, groups, top, left, bottom, right, .. } = *self;
        Conv2d { stride, dilation, groups, top, left, bottom, right, act: Activation::None }
    }
}

impl Operation for Conv2dDx {
    const NAME: &'static str = "conv2d_dx";
    const INPUTS: &'static [&'static str] = &["gy", "w"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let (gy, w) = (check.batched(inputs, 0)?, check.single(inputs, 1)?);
        check.that(self.groups > 0 && self.groups <= 1 << 16, "groups must be positive")?;
        let cin = w.0[1].checked_mul(self.groups);
        check.that(cin.is_some_and(|c| c < 1 << 28), "too many channels")?;
        let x = Shape::chw(w.0[1] * self.groups, self.h, self.w);
        check.that(x.checked_len().is_some(), "x is empty or too large")?;
        check.same("gy has the shape of the forward output", self.forward().infer(Self::NAME, x, w)?, gy)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        let [channels, _, kh, kw] = shape(inputs, 1).0;
        Tolerance::sum((channels / self.groups * kh * kw) as usize)
    }

    fn of_sizes(&self) -> Option<Conv2dDx> {
        Some(*self)
    }

    fn scratch(&self, inputs: &Types, output: Type, batch: usize, workers: usize) -> usize {
        match (inputs[0], inputs[1]) {
            (Some(gy), Some(w)) => conv2d::conv2d_scratch(
                &self.forward().kernel_shape(batch, output.shape, w.shape, gy.shape),
                Pass::Dx,
                workers,
            ),
            _ => 0,
        }
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = self.forward().kernel_shape(run.batch, run.output_type.shape, run.shape(1), run.shape(0));
        conv2d::conv2d_dx(run.cpu, run.scratch, &s, run.inputs[0], run.inputs[1], run.output);
    }
}

impl Conv2dDw {
    fn forward(&self) -> Conv2d {
        let Conv2dDw { stride, dilation, groups, top, left, bottom, right, .. } = *self;
        Conv2d { stride, dilation, groups, top, left, bottom, right, act: Activation::None }
    }
}

impl Operation for Conv2dDw {
    const NAME: &'static str = "conv2d_dw";
    const INPUTS: &'static [&'static str] = &["x", "gy"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let (x, gy) = (check.batched(inputs, 0)?, check.batched(inputs, 1)?);
        check.that(self.groups > 0 && x.c() % self.groups == 0, "groups must divide the channels")?;
        let w = Shape([gy.c(), x.c() / self.groups, self.kh, self.kw]);
        check.that(w.checked_len().is_some(), "the weight is empty or too large")?;
        check.same("gy has the shape of the forward output", self.forward().infer(Self::NAME, x, w)?, gy)?;
        Ok(Type::single(w))
    }

    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        Tolerance::sum(batch * shape(inputs, 1).positions())
    }

    fn of_sizes(&self) -> Option<Conv2dDw> {
        Some(*self)
    }

    fn scratch(&self, inputs: &Types, output: Type, batch: usize, workers: usize) -> usize {
        match (inputs[0], inputs[1]) {
            (Some(x), Some(gy)) => conv2d::conv2d_scratch(
                &self.forward().kernel_shape(batch, x.shape, output.shape, gy.shape),
                Pass::Dw,
                workers,
            ),
            _ => 0,
        }
    }

    fn run(&self, run: &mut Run<'_>) {
        let s = self.forward().kernel_shape(run.batch, run.shape(0), run.output_type.shape, run.shape(1));
        conv2d::conv2d_dw(run.cpu, run.scratch, &s, run.inputs[0], run.inputs[1], run.output);
    }
}
