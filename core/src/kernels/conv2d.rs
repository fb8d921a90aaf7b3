//! Convolution: `y[o, p] = act(bias[o] + Σ_{c,ky,kx} w[o, c, ky, kx] · x[c, p·stride − pad + (ky, kx)·dilation]) + residual[o, p]`.
//!
//! Outside the image x is 0. The padding at the top and left is given, the rest follows from the output size, so TensorFlow's
//! uneven "same" padding is expressible. A pure function of the shape chooses the algorithm: a 1×1 kernel is a matrix product, a
//! depthwise 3×3 runs straight over the image, everything else is a matrix product with the image's patches; small images of one
//! batch share a product. The gradients are in `conv2d_grad`.

use super::gemm::{Bias, Matrix};
use super::{Activation, Pass, conv2d_grad};
use crate::cpu::Cpu;
use crate::simd::depthwise::Depthwise;
use crate::simd::pack::MatrixSource;
use crate::simd::patches::Patches;
use crate::simd::product::{self, Product};

pub use super::conv2d_grad::{conv2d_dw, conv2d_dx};

/// A product for every sample wastes tiles, and reads the weights again, where a sample has fewer positions than this.
const FEW_POSITIONS: usize = 128;

/// The geometry of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dShape {
    /// Samples.
    pub n: usize,
    /// Input channels.
    pub cin: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Output channels.
    pub cout: usize,
    /// Output height.
    pub oh: usize,
    /// Output width.
    pub ow: usize,
    /// Kernel height.
    pub kh: usize,
    /// Kernel width.
    pub kw: usize,
    /// Step between output positions, in both directions.
    pub stride: usize,
    /// Zero rows above the image; below it are as many as the output height implies.
    pub pad_top: usize,
    /// Zero columns left of the image; right of it are as many as the output width implies.
    pub pad_left: usize,
    /// Distance between kernel elements.
    pub dilation: usize,
    /// Channels are cut into this many groups, input and output alike; a group sees its own inputs only.
    pub groups: usize,
}

impl Conv2dShape {
    /// Elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.cin * self.h * self.w
    }

    /// Elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.cout * self.oh * self.ow
    }

    /// Elements of the weights, `[cout, cin/groups, kh, kw]`.
    pub fn weight_len(&self) -> usize {
        self.cout * (self.cin / self.groups) * self.kh * self.kw
    }

    /// Input row of output row `o` and kernel row `k`, if inside the image.
    pub(crate) fn row(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.pad_top).filter(|&i| i < self.h)
    }

    /// Input column of output column `o` and kernel column `k`, if inside the image.
    pub(crate) fn col(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.pad_left).filter(|&i| i < self.w)
    }

    /// Whether the samples of a batch are laid side by side, `positions` each, as one matrix product. Where there is no operating
    /// system, neither memory nor code has room for it.
    pub(crate) fn is_joined(&self, positions: usize) -> bool {
        !cfg!(target_os = "none") && self.n > 1 && self.groups == 1 && positions < FEW_POSITIONS
    }

    /// Whether the output is a matrix product of the weights and the image as it lies.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kh == 1
            && self.kw == 1
            && self.stride == 1
            && (self.h, self.w) == (self.oh, self.ow)
            && self.pad_top + self.pad_left == 0
    }

    /// Whether every channel is convolved with its own 3×3 kernel, without gaps, stride 1 or 2.
    pub(crate) fn is_depthwise(&self) -> bool {
        let square = self.kh == 3 && self.kw == 3 && self.dilation == 1 && self.stride <= 2;
        let close = self.pad_top <= 2
            && self.pad_left <= 2
            && self.ow * self.stride + 3 <= self.w + self.pad_left + 2 + self.stride;
        self.groups == self.cin && self.groups == self.cout && square && close
    }

    pub(crate) fn check(&self) {
        assert!(self.groups > 0 && self.cin.is_multiple_of(self.groups) && self.cout.is_multiple_of(self.groups));
        assert!(self.stride > 0 && self.dilation > 0);
    }
}

/// Elements of scratch that a pass needs.
pub fn conv2d_scratch(s: &Conv2dShape, pass: Pass, threads: usize) -> usize {
    match pass {
        Pass::Forward if s.is_depthwise() => 0,
        Pass::Forward => {
            let (m, n, k) = (s.cout / s.groups, s.oh * s.ow, s.cin / s.groups * s.kh * s.kw);
            if s.is_joined(n) {
                return m * s.n * n + product::scratch(m, s.n * n, k, false, threads);
            }
            product::scratch(m, n, k, false, threads)
        }
        Pass::Dx => conv2d_grad::dx_scratch(s, threads),
        Pass::Dw => conv2d_grad::dw_scratch(s, threads),
    }
}

/// The convolution. `weight` is `[cout, cin/groups, kh, kw]`, `bias` is `[cout]`; `residual`, laid out like `y`, is added after the
/// activation.
pub fn conv2d(
    cpu: Cpu,
    scratch: &mut [f32],
    s: &Conv2dShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
) {
    s.check();
    assert!(x.len() == s.x_len() && y.len() == s.y_len() && weight.len() == s.weight_len());
    assert!(bias.is_none_or(|b| b.len() == s.cout) && residual.is_none_or(|r| r.len() == y.len()));
    if y.is_empty() {
        return;
    }
    if s.is_depthwise() {
        return depthwise(cpu, s, x, weight, bias, residual, act, y);
    }
    let (m, n, k) = (s.cout / s.groups, s.oh * s.ow, s.cin / s.groups * s.kh * s.kw);
    let p = Product {
        m,
        n,
        k,
        batch: s.n * s.groups,
        groups: s.groups,
        a_group: m * k,
        a: Matrix::rows(weight, k),
        b: &(),
        bias: bias.map_or(Bias::None, Bias::Rows),
        act,
        residual,
        accumulate: false,
        c_row: n,
        c_batch: m * n,
    };
    if s.is_joined(n) {
        let (joined, scratch) = scratch.split_at_mut(m * s.n * n);
        let p = Product { n: s.n * n, batch: 1, residual: None, c_row: s.n * n, ..p };
        product::run(cpu, scratch, &p.with(&Patches { s, x }), joined);
        transpose_planes(cpu, joined, s.n, n, residual, y);
    } else if s.is_pointwise() {
        product::run(cpu, scratch, &p.with(&MatrixSource { b: Matrix::rows(x, n), batch_step: k * n }), y);
    } else {
        product::run(cpu, scratch, &p.with(&Patches { s, x }), y);
    }
}

/// `[channel, sample, position]` to `[sample, channel, position]`, with `residual`, laid out like `y`, added. `y` must not be empty.
pub(crate) fn transpose_planes(
    cpu: Cpu,
    joined: &[f32],
    samples: usize,
    positions: usize,
    residual: Option<&[f32]>,
    y: &mut [f32],
) {
    let (channels, planes) = (joined.len() / (samples * positions), planes_a_task(positions));
    cpu.threads().chunks_mut(y, planes * positions, &|task, _, y| {
        for (i, y) in y.chunks_exact_mut(positions).enumerate() {
            let plane = task * planes + i;
            let (sample, channel) = (plane / channels, plane % channels);
            y.copy_from_slice(&joined[(channel * samples + sample) * positions..][..positions]);
            if let Some(r) = residual {
                for (y, r) in y.iter_mut().zip(&r[plane * positions..]) {
                    *y += r;
                }
            }
        }
    });
}

fn depthwise(
    cpu: Cpu,
    s: &Conv2dShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
) {
    let (from, to) = (s.h * s.w, s.oh * s.ow);
    let planes = planes_a_task(to);
    cpu.threads().chunks_mut(y, planes * to, &|task, _, y| {
        let first = task * planes;
        cpu.isa().run(Depthwise {
            x: &x[first * from..][..y.len() / to * from],
            h: s.h,
            w: s.w,
            oh: s.oh,
            ow: s.ow,
            stride: s.stride,
            pad_top: s.pad_top,
            pad_left: s.pad_left,
            first,
            channels: s.cout,
            weight,
            turned: false,
            bias,
            act,
            residual: residual.map(|r| &r[first * to..][..y.len()]),
            y,
        });
    });
}

/// Planes of `len` elements that one depthwise task takes.
pub(crate) fn planes_a_task(len: usize) -> usize {
    (8 * 1024 / len.max(1)).max(1)
}

#[cfg(all(test, feature = "std"))]
#[path = "conv2d_tests.rs"]
mod tests;
