//! The ops of a plan as ONNX nodes: one arm an op, no wildcard, so a new op does not compile until it is decided here.
//!
//! Batched values are N×C×H×W throughout, vectors with H = W = 1. The formulas are those of the library's `op/*.rs`. Ops of
//! localisation, the gradient of the likelihood towards the image, are in `gradients.rs`; ops of training alone are refused.

use adflow::model::Model;
use adflow::op::{Conv2d, EVERYWHERE, Interpolation, Nearest, Op};
use adflow::plan::Program;

use super::emit::{Emit, Refusal, Windows, batched, pooling, window};
use super::gradients;
use super::graph::{GraphBuilder, Tensor, int};

/// Writes a program whose `image` input is `image`; returns the values of its tensors, by their numbers.
pub fn emit_program<'m>(
    g: &mut GraphBuilder,
    model: &Model<'m>,
    program: Program<'m>,
    image: &Tensor,
) -> Result<Vec<Option<Tensor>>, Refusal> {
    let mut values = vec![None; program.tensors()];
    let mut fixed = vec![None; program.tensors()];
    let input = program.find("image").ok_or_else(|| format!("program {} reads no image", program.name()))?;
    values[input as usize] = Some(image.clone());
    for at in 0..program.len() {
        let planned = program.op(at);
        let output = planned.record.output;
        let refuse = |why: &str| {
            let op = planned.op.name();
            format!(
                "op {op} (\"{}\" of program {}) cannot be exported: {why}",
                program.tensor_name(output),
                program.name()
            )
        };
        g.scope(program.tensor_name(output));
        let mut emit = Emit { g, model, program, planned, values: &values, fixed: &fixed, batch: image.dims[0] };
        if !program.tensor_type(output).batched {
            fixed[output as usize] = Some(emit.compute().map_err(|why| refuse(&why))?);
            continue;
        }
        let value = emit.op().map_err(|why| refuse(&why))?;
        let shape = program.tensor_type(output).shape;
        if value.dims != batched(image.dims[0], shape) {
            return Err(refuse(&format!("its form is {:?} in place of {shape}", value.dims)));
        }
        values[output as usize] = Some(value);
    }
    Ok(values)
}

impl Emit<'_, '_> {
    fn op(&mut self) -> Result<Tensor, Refusal> {
        let y = match self.planned.op {
            Op::Conv2d(op) => self.conv2d(op)?,
            Op::Linear(op) => {
                let [groups, out, features, _] = self.shape(1).0.map(|d| d as usize);
                let windows = Windows::new(groups, features, op.share, op.offset, op.stride);
                let x = self.x(0)?;
                let x = windows.read(self.g, &x);
                // A linear layer a window is a grouped convolution of 1×1.
                let w = self.param(1, &[groups * out, features, 1, 1])?;
                let b = if self.has(2) { Some(self.param(2, &[groups * out])?) } else { None };
                let inputs: Vec<&Tensor> = [Some(&x), Some(&w), b.as_ref()].into_iter().flatten().collect();
                let dims = self.output();
                let y = self.g.node("Conv", &inputs, vec![int("group", windows.count)], dims);
                self.activation(op.act, &y)
            }
            Op::Activate(op) => {
                let x = self.x(0)?;
                self.activation(op.act, &x)
            }
            Op::Add(_) => {
                let (a, b) = (self.x(0)?, self.x(1)?);
                self.g.zip("Add", &a, &b)
            }
            Op::Multiply(_) => {
                let (a, b) = (self.x(0)?, self.x(1)?);
                self.g.zip("Mul", &a, &b)
            }
            Op::ScaleShift(op) => {
                let (x, scale, shift) = (self.x(0)?, self.per_channel(1)?, self.per_channel(2)?);
                if op.inverse {
                    let x = self.g.zip("Sub", &x, &shift);
                    self.g.zip("Div", &x, &scale)
                } else {
                    let x = self.g.zip("Mul", &x, &scale);
                    self.g.zip("Add", &x, &shift)
                }
            }
            Op::MaxPool(op) => {
                let (x, dims) = (self.x(0)?, self.output());
                self.g.node("MaxPool", &[&x], pooling(op.k, op.stride, op.pad), dims)
            }
            Op::GlobalMean(_) => {
                let x = self.x(0)?;
                self.g.mean(&x, &[2, 3])
            }
            Op::Resize(op) => {
                let (x, to) = (self.x(0)?, (op.h as usize, op.w as usize));
                match op.mode {
                    Interpolation::Nearest => {
                        let at = |from: usize, to: usize| (0..to).map(|i| i * from / to).collect::<Vec<_>>();
                        let y = self.g.gather(&x, 2, &at(x.dims[2], to.0));
                        self.g.gather(&y, 3, &at(x.dims[3], to.1))
                    }
                    Interpolation::Bilinear => {
                        let [rows, columns] = Self::resizing(op.mode, (x.dims[2], x.dims[3]), to);
                        self.g.resample(&x, &rows, &columns)
                    }
                }
            }
            Op::Concat(_) => {
                let parts: Result<Vec<_>, _> = (0..6).filter(|slot| self.has(*slot)).map(|slot| self.x(slot)).collect();
                self.g.concat(&parts?, 1)
            }
            Op::Slice(op) => {
                let (x, first) = (self.x(0)?, op.first as usize);
                self.g.slice(&x, 1, first, first + op.count as usize)
            }
            Op::Embed(op) => {
                let (x, first) = (self.x(0)?, op.first as usize);
                let behind = op.count as usize - first - x.dims[1];
                self.g.pad(&x, 1, first, behind)
            }
            Op::Permute(op) => {
                let (x, index) = (self.x(0)?, self.permutation(1, op.inverse)?);
                self.g.gather(&x, 1, &index)
            }
            Op::Coupling(op) => {
                let (x, st) = (self.x(0)?, self.x(1)?);
                let (s, t) = self.halves(&st, op.groups as usize);
                let [before, active, behind] = self.parts(&x, op.groups as usize, op.offset, op.active);
                let s = self.clamp(op.clamp, op.form, &s);
                let active = if op.inverse {
                    let factor = self.g.map("Neg", &s);
                    let factor = self.g.map("Exp", &factor);
                    let difference = self.g.zip("Sub", &active, &t);
                    self.g.zip("Mul", &difference, &factor)
                } else {
                    let factor = self.g.map("Exp", &s);
                    let scaled = self.g.zip("Mul", &active, &factor);
                    self.g.zip("Add", &scaled, &t)
                };
                self.joined(&[before, active, behind], &x.dims)
            }
            Op::LogDet(op) => {
                let st = self.x(0)?;
                let (s, _) = self.halves(&st, op.groups as usize);
                let s = self.clamp(op.clamp, op.form, &s);
                let sum = self.g.sum(&s, if op.per_position { &[1, 2] } else { &[1, 2, 3] });
                let sum = self.g.reshape(&sum, &self.output());
                if self.has(1) {
                    let j = self.x(1)?;
                    self.g.zip("Add", &sum, &j)
                } else {
                    sum
                }
            }
            Op::LogScale(op) => {
                let (j, scale) = (self.x(0)?, self.values(1)?);
                let sum: f64 = scale.iter().map(|s| f64::from(*s).ln()).sum();
                self.g.with("Add", &j, (f64::from(op.factor) * sum) as f32)
            }
            Op::FlowNll(_) => {
                let (z, j) = (self.x(0)?, self.x(1)?);
                let squares = self.g.zip("Mul", &z, &z);
                let sum = self.g.sum(&squares, &[1, 2, 3]);
                let half = self.g.with("Mul", &sum, 0.5);
                let y = self.g.zip("Sub", &half, &j);
                self.g.with("Mul", &y, 1.0 / self.shape(0).len() as f32)
            }
            Op::SquareSum(op) => {
                let x = self.x(0)?;
                let squares = self.g.zip("Mul", &x, &x);
                let sum = self.g.sum(&squares, if op.per_position { &[1] } else { &[1, 2, 3] });
                let y = self.g.with("Mul", &sum, op.scale);
                if op.root { self.g.map("Sqrt", &y) } else { y }
            }
            Op::TopMean(op) => {
                let x = self.x(0)?;
                let flat = self.g.reshape(&x, &[self.batch, x.len() / self.batch]);
                let mean = self.g.mean_of_largest(&flat, op.k as usize);
                self.g.reshape(&mean, &[self.batch, 1, 1, 1])
            }
            Op::PositionLinear(_) => {
                let x = self.x(0)?;
                let [positions, out, features, _] = self.shape(1).0.map(|d| d as usize);
                let (w, b) = (self.param(1, &[positions, out, features])?, self.param(2, &[positions, out, 1])?);
                // A matrix a position: P×O×C times P×C×N.
                let x = self.g.reshape(&x, &[self.batch, features, positions]);
                let x = self.g.transpose(&x, &[2, 1, 0]);
                let y = self.g.matmul(&w, &x);
                let y = self.g.zip("Add", &y, &b);
                let y = self.g.transpose(&y, &[2, 1, 0]);
                self.g.reshape(&y, &self.output())
            }
            Op::Nearest(op) => self.nearest(op)?,
            Op::Magnitude(_) => {
                let x = self.x(0)?;
                let squares = self.g.zip("Mul", &x, &x);
                let half = x.dims[1] / 2;
                let (re, im) = (self.g.slice(&squares, 1, 0, half), self.g.slice(&squares, 1, half, 2 * half));
                let sum = self.g.zip("Add", &re, &im);
                let sum = self.g.with("Add", &sum, 1e-12);
                self.g.map("Sqrt", &sum)
            }
            Op::Root(_) => {
                let x = self.x(0)?;
                let x = self.g.map("Relu", &x);
                let x = self.g.with("Add", &x, 1e-6);
                self.g.map("Sqrt", &x)
            }
            Op::Smooth(op) => {
                let x = self.x(0)?;
                self.smooth(op.curve, &x)
            }
            Op::ChannelScale(_) => {
                let (x, s) = (self.x(0)?, self.x(1)?);
                self.g.zip("Mul", &x, &s)
            }
            Op::Scale(op) => {
                let x = self.x(0)?;
                self.g.with("Mul", &x, op.factor)
            }
            Op::Gain(_) => {
                let (x, gamma) = (self.x(0)?, self.param(1, &[])?);
                self.g.zip("Mul", &x, &gamma)
            }
            Op::LayerNorm(op) => {
                let x = self.x(0)?;
                let axes: &[usize] = if op.per_position { &[1] } else { &[1, 2, 3] };
                let mean = self.g.mean(&x, axes);
                let centred = self.g.zip("Sub", &x, &mean);
                let squares = self.g.zip("Mul", &centred, &centred);
                let variance = self.g.mean(&squares, axes);
                let variance = self.g.with("Add", &variance, op.eps);
                let deviation = self.g.map("Sqrt", &variance);
                self.g.zip("Div", &centred, &deviation)
            }
            Op::Attention(op) => self.attention(op.heads as usize)?,
            Op::Repeat(_) => {
                let [c, h, w, _] = self.shape(0).0.map(|d| d as usize);
                let x = self.param(0, &[1, c, h, w])?;
                let (dims, n) = (self.output(), self.batch);
                if n == 1 {
                    return Ok(x);
                }
                let times = self.g.indices(&[n, 1, 1, 1]);
                self.g.node("Tile", &[&x, &times], vec![], dims)
            }
            Op::Conv2dDx(op) => gradients::conv2d(self, op)?,
            Op::LinearDx(op) => gradients::linear(self, op)?,
            Op::ActivateDx(op) => gradients::activate(self, op)?,
            Op::ScaleShiftDx(_) => {
                let (gy, scale) = (self.x(0)?, self.per_channel(1)?);
                self.g.zip("Mul", &gy, &scale)
            }
            Op::MaxPoolDx(op) => gradients::max_pool(self, op)?,
            Op::GlobalMeanDx(op) => gradients::global_mean(self, op)?,
            Op::ResizeDx(op) => gradients::resize(self, op)?,
            Op::CouplingDx(op) => gradients::coupling(self, op)?,
            Op::CouplingDst(op) => gradients::coupling_st(self, op)?,
            Op::LogDetDst(op) => gradients::log_det(self, op)?,
            Op::FlowNllDz(_) => {
                let (gy, z) = (self.x(0)?, self.x(1)?);
                let y = self.g.zip("Mul", &z, &gy);
                self.g.with("Mul", &y, 1.0 / self.shape(1).len() as f32)
            }
            Op::FlowNllDj(op) => {
                let gy = self.x(0)?;
                self.g.with("Mul", &gy, -1.0 / op.dims as f32)
            }
            Op::SquareSumDx(op) => gradients::square_sum(self, op)?,
            Op::BatchMeanDx(_) => {
                if self.has(0) {
                    return Err("it has an upstream gradient, which localisation has not".into());
                }
                let (n, share) = (self.batch, 1.0 / self.batch as f32);
                self.g.floats("share", &[n, 1, 1, 1], &vec![share; n])
            }
            Op::MagnitudeDx(_) => gradients::magnitude(self)?,
            Op::RootDx(_) => gradients::root(self)?,
            Op::SmoothDx(op) => gradients::smooth(self, op)?,
            Op::ChannelDot(_) => {
                let (a, b) = (self.x(0)?, self.x(1)?);
                let product = self.g.zip("Mul", &a, &b);
                self.g.sum(&product, &[2, 3])
            }
            Op::Conv2dDw(_)
            | Op::LinearDw(_)
            | Op::ScaleShiftDscale(_)
            | Op::ChannelSum(_)
            | Op::BatchMean(_)
            | Op::TopMeanDx(_)
            | Op::PositionLinearDx(_)
            | Op::NearestDx(_)
            | Op::Adam(_)
            | Op::BatchStats(_)
            | Op::BatchStatsDx(_)
            | Op::BatchNorm(_)
            | Op::BatchNormDx(_)
            | Op::BatchNormDstats(_)
            | Op::BatchNormDgamma(_)
            | Op::LayerNormDx(_)
            | Op::CellHinge(_)
            | Op::CellHingeDn(_)
            | Op::LogScaleDscale(_)
            | Op::AttentionLse(_)
            | Op::AttentionDx(_)
            | Op::SquareParts(_)
            | Op::GainDgamma(_)
            | Op::Cosine(_)
            | Op::CosineDx(_)
            | Op::CosineDw(_)
            | Op::Triplet(_)
            | Op::TripletDcos(_)
            | Op::BatchMix(_)
            | Op::BatchMixDx(_) => return Err("it is an op of training".into()),
        };
        Ok(y)
    }

    /// All distances at once, P×M a sample, of which those beyond the radius are large; then the least.
    fn nearest(&mut self, op: Nearest) -> Result<Tensor, Refusal> {
        let x = self.x(0)?;
        let [_, channels, rows, columns] = [0, 1, 2, 3].map(|at| x.dims[at]);
        let positions = rows * columns;
        let count = self.shape(1).0[0] as usize;
        let bank = self.values(1)?;
        let mut turned = vec![0.0; bank.len()];
        bank.iter().enumerate().for_each(|(i, v)| turned[i % channels * count + i / channels] = *v);
        let norms: Vec<f32> = bank.chunks_exact(channels).map(|m| m.iter().map(|v| v * v).sum()).collect();
        let turned = self.g.floats("bank", &[1, channels, count], &turned);
        let norms = self.g.floats("norms", &[1, 1, count], &norms);
        let x = self.g.reshape(&x, &[self.batch, channels, positions]);
        let x = self.g.transpose(&x, &[0, 2, 1]);
        let squares = self.g.zip("Mul", &x, &x);
        let own = self.g.sum(&squares, &[2]);
        let products = self.g.matmul(&x, &turned);
        let products = self.g.with("Mul", &products, -2.0);
        let distances = self.g.zip("Add", &products, &norms);
        let mut distances = self.g.zip("Add", &distances, &own);
        if op.radius != EVERYWHERE {
            let cells: Vec<usize> = self.values(2)?.iter().map(|bits| bits.to_bits() as usize).collect();
            let radius = op.radius as usize;
            let is_near = |at: usize, cell: usize| {
                (cell / columns).abs_diff(at / columns) <= radius && (cell % columns).abs_diff(at % columns) <= radius
            };
            let mut near: Vec<bool> = Vec::with_capacity(positions * count);
            for at in 0..positions {
                let first = near.len();
                near.extend(cells.iter().map(|cell| is_near(at, *cell)));
                if !near[first..].contains(&true) {
                    near[first..].fill(true);
                }
            }
            let near = self.g.flags(&[1, positions, count], &near);
            distances = self.g.select(&near, &distances, f32::MAX);
        }
        let least = self.g.with("Mul", &distances, -1.0);
        let least = self.g.largest(&least, &[2]);
        let least = self.g.with("Mul", &least, -1.0);
        // Rounding may leave less than nothing.
        let least = self.g.map("Relu", &least);
        let y = if op.root { self.g.map("Sqrt", &least) } else { least };
        Ok(self.g.reshape(&y, &self.output()))
    }

    fn conv2d(&mut self, op: Conv2d) -> Result<Tensor, Refusal> {
        let x = self.x(0)?;
        let dims = self.shape(1).0.map(|d| d as usize);
        let w = self.param(1, &dims)?;
        let b = if self.has(2) { Some(self.param(2, &[dims[0]])?) } else { None };
        let inputs: Vec<&Tensor> = [Some(&x), Some(&w), b.as_ref()].into_iter().flatten().collect();
        let pads = [op.top, op.left, op.bottom, op.right];
        let attributes = window(&dims[2..], op.stride, op.dilation, op.groups, pads);
        let out = self.output();
        let y = self.g.node("Conv", &inputs, attributes, out);
        let y = self.activation(op.act, &y);
        if self.has(3) {
            let r = self.x(3)?;
            return Ok(self.g.zip("Add", &y, &r));
        }
        Ok(y)
    }

    fn attention(&mut self, heads: usize) -> Result<Tensor, Refusal> {
        let x = self.x(0)?;
        let (n, tokens) = (x.dims[0], x.dims[2] * x.dims[3]);
        let depth = x.dims[1] / 3 / heads;
        let qkv = self.g.reshape(&x, &[n, 3 * heads, depth, tokens]);
        let [q, k, v] = [0, 1, 2].map(|i| self.g.slice(&qkv, 1, i * heads, (i + 1) * heads));
        let q = self.g.transpose(&q, &[0, 1, 3, 2]);
        let scores = self.g.matmul(&q, &k);
        let scores = self.g.with("Mul", &scores, 1.0 / (depth as f32).sqrt());
        let dims = scores.dims.clone();
        let shares = self.g.node("Softmax", &[&scores], vec![int("axis", 3)], dims);
        let shares = self.g.transpose(&shares, &[0, 1, 3, 2]);
        let y = self.g.matmul(&v, &shares);
        Ok(self.g.reshape(&y, &self.output()))
    }
}
