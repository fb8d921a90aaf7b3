//! Convolution: `y[o, p] = act(bias[o] + Σ_{c,ky,kx} w[o, c, ky, kx] · x[c, p·stride − pad + (ky, kx)·dilation]) + residual[o, p]`.
//!
//! Outside the image x is 0. The padding at the top and left is given, the rest follows from the output size, so TensorFlow's
//! uneven "same" padding is expressible.

use super::{Activation, Pass};
use crate::cpu::Cpu;

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

    fn check(&self) {
        assert!(self.groups > 0 && self.cin.is_multiple_of(self.groups) && self.cout.is_multiple_of(self.groups));
        assert!(self.stride > 0 && self.dilation > 0);
    }
}

/// Elements of scratch that a pass needs.
pub fn conv2d_scratch(_s: &Conv2dShape, _pass: Pass, _threads: usize) -> usize {
    0
}

/// The convolution. `weight` is `[cout, cin/groups, kh, kw]`, `bias` is `[cout]`; `residual`, laid out like `y`, is added after the
/// activation.
pub fn conv2d(
    _cpu: Cpu,
    _scratch: &mut [f32],
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
    let (gin, gout) = (s.cin / s.groups, s.cout / s.groups);
    for plane in 0..s.n * s.cout {
        let (n, o) = (plane / s.cout, plane % s.cout);
        for oy in 0..s.oh {
            for ox in 0..s.ow {
                let mut sum = bias.map_or(0.0, |b| b[o]);
                for c in 0..gin {
                    let x = &x[(n * s.cin + o / gout * gin + c) * s.h * s.w..][..s.h * s.w];
                    for ky in 0..s.kh {
                        let Some(iy) = s.row(oy, ky) else { continue };
                        for kx in 0..s.kw {
                            let Some(ix) = s.col(ox, kx) else { continue };
                            sum += weight[((o * gin + c) * s.kh + ky) * s.kw + kx] * x[iy * s.w + ix];
                        }
                    }
                }
                let at = (plane * s.oh + oy) * s.ow + ox;
                y[at] = act.apply(sum) + residual.map_or(0.0, |r| r[at]);
            }
        }
    }
}

/// The gradient of the input. `gy` is the gradient before the activation, laid out like the output; `gx` is overwritten.
pub fn conv2d_dx(_cpu: Cpu, _scratch: &mut [f32], s: &Conv2dShape, gy: &[f32], weight: &[f32], gx: &mut [f32]) {
    s.check();
    assert!(gx.len() == s.x_len() && gy.len() == s.y_len() && weight.len() == s.weight_len());
    let (gin, gout) = (s.cin / s.groups, s.cout / s.groups);
    gx.fill(0.0);
    for plane in 0..s.n * s.cout {
        let (n, o) = (plane / s.cout, plane % s.cout);
        for oy in 0..s.oh {
            for ox in 0..s.ow {
                let g = gy[(plane * s.oh + oy) * s.ow + ox];
                for c in 0..gin {
                    let gx = &mut gx[(n * s.cin + o / gout * gin + c) * s.h * s.w..][..s.h * s.w];
                    for ky in 0..s.kh {
                        let Some(iy) = s.row(oy, ky) else { continue };
                        for kx in 0..s.kw {
                            let Some(ix) = s.col(ox, kx) else { continue };
                            gx[iy * s.w + ix] += weight[((o * gin + c) * s.kh + ky) * s.kw + kx] * g;
                        }
                    }
                }
            }
        }
    }
}

/// The gradient of the weights, summed over the batch in order. `gy` is the gradient before the activation; `gw` is overwritten.
pub fn conv2d_dw(_cpu: Cpu, _scratch: &mut [f32], s: &Conv2dShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    s.check();
    assert!(x.len() == s.x_len() && gy.len() == s.y_len() && gw.len() == s.weight_len());
    let (gin, gout) = (s.cin / s.groups, s.cout / s.groups);
    gw.fill(0.0);
    for plane in 0..s.n * s.cout {
        let (n, o) = (plane / s.cout, plane % s.cout);
        for oy in 0..s.oh {
            for ox in 0..s.ow {
                let g = gy[(plane * s.oh + oy) * s.ow + ox];
                for c in 0..gin {
                    let x = &x[(n * s.cin + o / gout * gin + c) * s.h * s.w..][..s.h * s.w];
                    for ky in 0..s.kh {
                        let Some(iy) = s.row(oy, ky) else { continue };
                        for kx in 0..s.kw {
                            let Some(ix) = s.col(ox, kx) else { continue };
                            gw[((o * gin + c) * s.kh + ky) * s.kw + kx] += x[iy * s.w + ix] * g;
                        }
                    }
                }
            }
        }
    }
}
