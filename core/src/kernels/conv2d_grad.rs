//! The gradients of [`conv2d`](super::conv2d): of its input and of its weights.
//!
//! `gx[c, i] = Σ_{o,k} w[o, c, k] · gy[o, p]` over the output positions p that saw i through kernel element k: a matrix product of the
//! weights, transposed, and [`BackPatches`]; where the stride is 1, a convolution with the kernel turned round. `gw[o, c, k] =
//! Σ_p gy[o, p] · x[c, p·stride + k]`: a matrix product of gy and [`PatchRows`], summed over the batch in order. `gy` is the gradient
//! before the activation.

use super::Activation;
use super::conv2d::{Conv2dShape, planes_a_task, transpose_planes};
use super::gemm::{Bias, Matrix};
use crate::cpu::Cpu;
use crate::simd::depthwise::Depthwise;
use crate::simd::pack::MatrixSource;
use crate::simd::patches::{BackPatches, PatchRows, Patches};
use crate::simd::product::{self, Product};

pub(crate) fn dx_scratch(s: &Conv2dShape, threads: usize) -> usize {
    let (m, n, k) = (s.cin / s.groups, s.h * s.w, s.cout / s.groups * s.kh * s.kw);
    if is_depthwise(s) {
        0
    } else if s.is_joined(n) {
        s.weight_len() + m * s.n * n + product::scratch(m, s.n * n, k, false, threads)
    } else if s.is_pointwise() {
        product::scratch(m, n, k, true, threads)
    } else {
        s.weight_len() + product::scratch(m, n, k, false, threads)
    }
}

pub(crate) fn dw_scratch(s: &Conv2dShape, threads: usize) -> usize {
    let (m, n, k) = (s.cout / s.groups, s.cin / s.groups * s.kh * s.kw, s.oh * s.ow);
    if s.is_joined(k) {
        return m * s.n * k + product::scratch(m, n, s.n * k, false, threads);
    }
    product::scratch(m, n, k, false, threads)
}

/// Stride 1: the gradient is a depthwise convolution with the kernel turned round.
fn is_depthwise(s: &Conv2dShape) -> bool {
    s.is_depthwise() && s.stride == 1 && s.w + s.pad_left <= s.ow + 2
}

/// The gradient of the input. `gy` is the gradient before the activation, laid out like the output; `gx` is overwritten.
pub fn conv2d_dx(cpu: Cpu, scratch: &mut [f32], s: &Conv2dShape, gy: &[f32], weight: &[f32], gx: &mut [f32]) {
    s.check();
    assert!(gx.len() == s.x_len() && gy.len() == s.y_len() && weight.len() == s.weight_len());
    if gx.is_empty() {
        return;
    }
    if is_depthwise(s) {
        return depthwise_dx(cpu, s, gy, weight, gx);
    }
    let (gin, gout, kernel) = (s.cin / s.groups, s.cout / s.groups, s.kh * s.kw);
    let (m, n, k) = (gin, s.h * s.w, gout * kernel);
    let p = Product {
        m,
        n,
        k,
        batch: s.n * s.groups,
        groups: s.groups,
        a_group: m * k,
        a: Matrix::transposed(weight, gin),
        b: &(),
        bias: Bias::None,
        act: Activation::None,
        residual: None,
        accumulate: false,
        c_row: n,
        c_batch: m * n,
    };
    if s.is_pointwise() && !s.is_joined(n) {
        return product::run(cpu, scratch, &p.with(&MatrixSource { b: Matrix::rows(gy, n), batch_step: k * n }), gx);
    }
    // [group, o, c, kernel] to [group, c, o, kernel], and the kernel turned round where the gradient is a convolution.
    let back = turned_round(s);
    let (turned, scratch) = scratch.split_at_mut(s.weight_len());
    for (i, to) in turned.chunks_exact_mut(kernel).enumerate() {
        let (g, c, o) = (i / (gin * gout), i / gout % gin, i % gout);
        to.copy_from_slice(&weight[((g * gout + o) * gin + c) * kernel..][..kernel]);
        if back.is_some() {
            to.reverse();
        }
    }
    let p = Product { a: Matrix::rows(turned, k), ..p };
    let run = |scratch: &mut [f32], p: Product<()>, gx: &mut [f32]| match &back {
        Some(s) => product::run(cpu, scratch, &p.with(&Patches { s, x: gy }), gx),
        None => product::run(cpu, scratch, &p.with(&BackPatches { s, gy }), gx),
    };
    if s.is_joined(n) {
        let (joined, scratch) = scratch.split_at_mut(m * s.n * n);
        run(scratch, Product { n: s.n * n, batch: 1, c_row: s.n * n, ..p }, joined);
        transpose_planes(cpu, joined, s.n, n, None, gx);
    } else {
        run(scratch, p, gx);
    }
}

/// Stride 1: the convolution from gy to gx, with the kernel turned round.
fn turned_round(s: &Conv2dShape) -> Option<Conv2dShape> {
    let pad = |k: usize, pad: usize| (s.dilation * (k - 1)).checked_sub(pad).filter(|_| s.stride == 1);
    let (pad_top, pad_left) = (pad(s.kh, s.pad_top)?, pad(s.kw, s.pad_left)?);
    let (cin, h, w, cout, oh, ow) = (s.cout, s.oh, s.ow, s.cin, s.h, s.w);
    Some(Conv2dShape { cin, h, w, cout, oh, ow, pad_top, pad_left, ..*s })
}

fn depthwise_dx(cpu: Cpu, s: &Conv2dShape, gy: &[f32], weight: &[f32], gx: &mut [f32]) {
    let (from, to) = (s.oh * s.ow, s.h * s.w);
    let planes = planes_a_task(to);
    cpu.threads().chunks_mut(gx, planes * to, &|task, _, gx| {
        let first = task * planes;
        cpu.isa().run(Depthwise {
            x: &gy[first * from..][..gx.len() / to * from],
            h: s.oh,
            w: s.ow,
            y: gx,
            oh: s.h,
            ow: s.w,
            stride: 1,
            pad_top: 2 - s.pad_top,
            pad_left: 2 - s.pad_left,
            first,
            channels: s.cin,
            weight,
            turned: true,
            bias: None,
            act: Activation::None,
            residual: None,
        });
    });
}

/// The gradient of the weights, summed over the batch in order. `gw` is overwritten.
pub fn conv2d_dw(cpu: Cpu, scratch: &mut [f32], s: &Conv2dShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    s.check();
    assert!(x.len() == s.x_len() && gy.len() == s.y_len() && gw.len() == s.weight_len());
    let (gin, gout) = (s.cin / s.groups, s.cout / s.groups);
    let (m, n, k) = (gout, gin * s.kh * s.kw, s.oh * s.ow);
    if gw.is_empty() || gy.is_empty() {
        return gw.fill(0.0);
    }
    let joined = s.is_joined(k);
    let (planes, scratch) = scratch.split_at_mut(if joined { m * s.n * k } else { 0 });
    let (mut products, mut k, sample) = (s.n, k, (s.cin * s.h * s.w, s.cout * k));
    let mut gy = gy;
    if joined {
        transpose_planes(cpu, gy, m, k, None, planes);
        (products, k, gy) = (1, s.n * k, planes);
    }
    for i in 0..products {
        let (x, gy) = (&x[i * sample.0..], &gy[i * sample.1..]);
        let p = Product {
            m,
            n,
            k,
            batch: s.groups,
            groups: s.groups,
            a_group: m * k,
            a: Matrix::rows(gy, k),
            b: &(),
            bias: Bias::None,
            act: Activation::None,
            residual: None,
            accumulate: i > 0,
            c_row: n,
            c_batch: m * n,
        };
        if s.is_pointwise() && !joined {
            product::run(cpu, scratch, &p.with(&MatrixSource { b: Matrix::transposed(x, k), batch_step: n * k }), gw);
        } else {
            product::run(cpu, scratch, &p.with(&PatchRows { s, x }), gw);
        }
    }
}
