//! Convolution by its definition: one list of triples (element of x, of w, of y) that multiply, read in three ways.
//!
//! `y[o, i, j] += w[o, c, u, v] · x[g·C/G + c, s·i + d·u − top, s·j + d·v − left]`, zero outside of x.

use super::Step;
use super::pointwise::act;
use adflow::op::{Conv2d, Conv2dDw, Conv2dDx};
use adflow::shape::Shape;

struct Geometry {
    stride: u32,
    dilation: u32,
    groups: u32,
    top: u32,
    left: u32,
}

impl Geometry {
    /// Calls f(index in x, index in w, index in y) for every product of one sample.
    fn products(&self, x: Shape, w: Shape, y: Shape, mut f: impl FnMut(usize, usize, usize)) {
        let [out, inner, kh, kw] = w.0.map(|d| d as usize);
        let (h, wide) = (x.h() as usize, x.w() as usize);
        let per_group = out / self.groups as usize;
        for o in 0..out {
            for i in 0..y.h() as usize {
                for j in 0..y.w() as usize {
                    for c in 0..inner {
                        for u in 0..kh {
                            for v in 0..kw {
                                let row = (self.stride as usize * i + self.dilation as usize * u) as i64;
                                let column = (self.stride as usize * j + self.dilation as usize * v) as i64;
                                let (row, column) = (row - i64::from(self.top), column - i64::from(self.left));
                                if row < 0 || column < 0 || row >= h as i64 || column >= wide as i64 {
                                    continue;
                                }
                                let channel = o / per_group * inner + c;
                                let x_at = (channel * h + row as usize) * wide + column as usize;
                                let w_at = ((o * inner + c) * kh + u) * kw + v;
                                let y_at = (o * y.h() as usize + i) * y.w() as usize + j;
                                f(x_at, w_at, y_at);
                            }
                        }
                    }
                }
            }
        }
    }
}

pub fn forward(a: Conv2d, step: &Step<'_>) -> Vec<f64> {
    let Conv2d { stride, dilation, groups, top, left, bottom: _, right: _, act: activation } = a;
    let geometry = Geometry { stride, dilation, groups, top, left };
    let (x, w, y) = (step.input(0), step.input(1), step.output_type.shape);
    step.per_sample(|n| {
        let mut out = vec![0.0; y.len()];
        geometry.products(x.shape(), w.shape(), y, |xi, wi, yi| out[yi] += x.sample(n)[xi] * w.data[wi]);
        for (i, out) in out.iter_mut().enumerate() {
            let bias = step.inputs[2].map_or(0.0, |b| b.data[i / y.positions()]);
            let residual = step.inputs[3].map_or(0.0, |r| r.sample(n)[i]);
            *out = act(activation, *out + bias) + residual;
        }
        out
    })
}

pub fn dx(a: Conv2dDx, step: &Step<'_>) -> Vec<f64> {
    let Conv2dDx { stride, dilation, groups, top, left, bottom: _, right: _, h: _, w: _ } = a;
    let geometry = Geometry { stride, dilation, groups, top, left };
    let (gy, w, x) = (step.input(0), step.input(1), step.output_type.shape);
    step.per_sample(|n| {
        let mut gx = vec![0.0; x.len()];
        geometry.products(x, w.shape(), gy.shape(), |xi, wi, yi| gx[xi] += gy.sample(n)[yi] * w.data[wi]);
        gx
    })
}

pub fn dw(a: Conv2dDw, step: &Step<'_>) -> Vec<f64> {
    let Conv2dDw { stride, dilation, groups, top, left, bottom: _, right: _, kh: _, kw: _ } = a;
    let geometry = Geometry { stride, dilation, groups, top, left };
    let (x, gy, w) = (step.input(0), step.input(1), step.output_type.shape);
    let mut gw = step.zeros();
    for n in 0..step.batch {
        geometry.products(x.shape(), w, gy.shape(), |xi, wi, yi| gw[wi] += x.sample(n)[xi] * gy.sample(n)[yi]);
    }
    gw
}
