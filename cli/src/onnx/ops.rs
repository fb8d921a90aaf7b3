//! The ops of a plan as ONNX nodes: one arm an op, no wildcard, so a new op does not compile until it is decided here.
//!
//! Batched values are N×C×H×W throughout, vectors with H = W = 1. The formulas are those of the library's `op/*.rs`. Ops of
//! localisation, the gradient of the likelihood towards the image, are in `gradients.rs`; ops of training alone are refused.

use adflow::cpu::Cpu;
use adflow::kernels::Activation;
use adflow::kernels::coupling::SoftClamp;
use adflow::kernels::smooth::Curve;
use adflow::model::Model;
use adflow::op::{Conv2d, EVERYWHERE, Interpolation, MAX_INPUTS, Nearest, Op, Run};
use adflow::plan::{BLOCK, PlannedOp, Program, Region};
use adflow::shape::Shape;
use adflow::threads::Threads;

use super::gradients;
use super::graph::{GraphBuilder, Tensor, int, ints};
use super::matrix::Matrix;
use super::proto::AttributeProto;

/// Why an op has no form in ONNX.
pub type Refusal = String;

/// One op, what it reads, and the graph it is written to.
pub struct Emit<'a, 'm> {
    pub g: &'a mut GraphBuilder,
    model: &'a Model<'m>,
    program: Program<'m>,
    planned: PlannedOp<'m>,
    /// Values of the program's tensors so far.
    values: &'a [Option<Tensor>],
    /// Those that are the same for every image.
    fixed: &'a [Option<Vec<f32>>],
    /// Samples run at once.
    pub batch: usize,
}

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

/// Extents of a batched tensor.
fn batched(n: usize, shape: Shape) -> Vec<usize> {
    let [c, h, w, _] = shape.0.map(|d| d as usize);
    vec![n, c, h, w]
}

impl<'a, 'm> Emit<'a, 'm> {
    /// A batched input.
    pub fn x(&self, slot: usize) -> Result<Tensor, Refusal> {
        let at = self.planned.record.inputs[slot] as usize;
        let name = || self.planned.op.input_names().get(slot).copied().unwrap_or("?");
        self.values.get(at).cloned().flatten().ok_or_else(|| format!("input {} is no value of a sample", name()))
    }

    /// Whether an input is given.
    pub fn has(&self, slot: usize) -> bool {
        self.planned.types[slot].is_some()
    }

    /// Shape of an input.
    pub fn shape(&self, slot: usize) -> Shape {
        self.planned.types[slot].map_or(Shape::SCALAR, |t| t.shape)
    }

    /// Extents of the output.
    pub fn output(&self) -> Vec<usize> {
        batched(self.batch, self.program.tensor_type(self.planned.record.output).shape)
    }

    /// Values of a parameter, or of what is computed from parameters alone.
    fn values(&self, slot: usize) -> Result<&'a [f32], Refusal>
    where
        'm: 'a,
    {
        let at = self.planned.record.inputs[slot];
        if let Some(values) = self.fixed.get(at as usize).and_then(Option::as_ref) {
            return Ok(values);
        }
        let record = (at != u32::MAX).then(|| self.program.tensor(at)).filter(|t| t.region == Region::Params as u32);
        let record = record.ok_or("what should be a parameter is computed")?;
        Ok(&self.model.params()[record.offset as usize * BLOCK..][..Shape(record.dims).len()])
    }

    /// The result of an op that no image changes, by the library's own kernel.
    fn compute(&mut self) -> Result<Vec<f32>, Refusal> {
        let (types, output_type) = (self.planned.types, self.program.tensor_type(self.planned.record.output));
        let mut inputs: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
        for (slot, input) in inputs.iter_mut().enumerate().filter(|(slot, _)| types[*slot].is_some()) {
            *input = self.values(slot)?;
        }
        let threads = Threads::serial();
        let op = self.planned.op;
        let mut output = vec![0.0; output_type.shape.len()];
        let mut scratch = vec![0.0; op.scratch(&types, output_type, 1, 1)];
        op.run(&mut Run {
            cpu: Cpu::detect(&threads),
            batch: 1,
            inputs,
            types,
            output: &mut output,
            output_type,
            scratch: &mut scratch,
            state: &mut [],
        });
        Ok(output)
    }

    /// A parameter as a constant of these extents.
    pub fn param(&mut self, slot: usize, dims: &[usize]) -> Result<Tensor, Refusal> {
        let values = self.values(slot)?;
        let name = self.program.tensor_name(self.planned.record.inputs[slot]);
        Ok(self.g.floats(name, dims, values))
    }

    /// A vector parameter with an element a channel.
    pub fn per_channel(&mut self, slot: usize) -> Result<Tensor, Refusal> {
        let c = self.shape(slot).len();
        self.param(slot, &[1, c, 1, 1])
    }

    /// The permutation in a parameter, or its inverse.
    pub fn permutation(&self, slot: usize, inverse: bool) -> Result<Vec<usize>, Refusal> {
        let index: Vec<usize> = self.values(slot)?.iter().map(|v| v.to_bits() as usize).collect();
        if !inverse {
            return Ok(index);
        }
        let mut back = vec![0; index.len()];
        for (at, from) in index.iter().enumerate() {
            *back.get_mut(*from).ok_or("its index is no permutation")? = at;
        }
        Ok(back)
    }

    pub fn activation(&mut self, act: Activation, x: &Tensor) -> Tensor {
        match act {
            Activation::None => x.clone(),
            Activation::Relu => self.g.map("Relu", x),
            Activation::Relu6 => {
                let (low, high) = (self.g.number(0.0), self.g.number(6.0));
                self.g.node("Clip", &[x, &low, &high], vec![], x.dims.clone())
            }
        }
    }

    /// σ(s) of a coupling.
    pub fn clamp(&mut self, clamp: f32, form: SoftClamp, s: &Tensor) -> Tensor {
        match form {
            SoftClamp::Atan => {
                let s = self.g.with("Mul", s, 1.0 / clamp);
                let angle = self.g.map("Atan", &s);
                self.g.with("Mul", &angle, std::f32::consts::FRAC_2_PI * clamp)
            }
            SoftClamp::Tanh => {
                let t = self.g.map("Tanh", s);
                self.g.with("Mul", &t, clamp)
            }
        }
    }

    /// s and t, each N×groups×active×positions, from N×(groups·2·active)×H×W.
    pub fn halves(&mut self, st: &Tensor, groups: usize) -> (Tensor, Tensor) {
        let active = st.dims[1] / groups / 2;
        let st = self.g.reshape(st, &[st.dims[0], groups, 2 * active, st.dims[2] * st.dims[3]]);
        (self.g.slice(&st, 2, 0, active), self.g.slice(&st, 2, active, 2 * active))
    }

    /// Channels as N×groups×size×positions, cut before, in and behind the active ones.
    pub fn parts(&mut self, x: &Tensor, groups: usize, offset: u32, active: u32) -> [Tensor; 3] {
        let size = x.dims[1] / groups;
        let x = self.g.reshape(x, &[x.dims[0], groups, size, x.dims[2] * x.dims[3]]);
        let (from, to) = (offset as usize, (offset + active) as usize);
        [(0, from), (from, to), (to, size)].map(|(from, to)| match from == to {
            true => Tensor { name: String::new(), dims: vec![x.dims[0], groups, 0, x.dims[3]] },
            false => self.g.slice(&x, 2, from, to),
        })
    }

    /// What [`Emit::parts`] has cut, joined again.
    pub fn joined(&mut self, parts: &[Tensor], dims: &[usize]) -> Tensor {
        let whole = self.g.concat(parts, 2);
        self.g.reshape(&whole, dims)
    }

    /// Logistic function.
    pub fn sigmoid(&mut self, x: &Tensor) -> Tensor {
        self.g.map("Sigmoid", x)
    }

    /// Φ(x), the share of a standard normal below x.
    pub fn normal(&mut self, x: &Tensor) -> Tensor {
        let x = self.g.with("Mul", x, std::f32::consts::FRAC_1_SQRT_2);
        let erf = self.g.map("Erf", &x);
        let one = self.g.with("Add", &erf, 1.0);
        self.g.with("Mul", &one, 0.5)
    }

    fn smooth(&mut self, curve: Curve, x: &Tensor) -> Tensor {
        match curve {
            Curve::Sigmoid => self.sigmoid(x),
            Curve::Silu => {
                let s = self.sigmoid(x);
                self.g.zip("Mul", x, &s)
            }
            Curve::Gelu => {
                let share = self.normal(x);
                self.g.zip("Mul", x, &share)
            }
            Curve::GlobalScale => {
                let half = self.g.with("Mul", x, 0.5);
                let soft = self.g.map("Softplus", &half);
                self.g.with("Mul", &soft, 0.2)
            }
        }
    }

    /// Rows and columns of a resize from h×w to oh×ow.
    pub fn resizing(mode: Interpolation, from: (usize, usize), to: (usize, usize)) -> [Matrix; 2] {
        [Matrix::resize(mode, from.0, to.0), Matrix::resize(mode, from.1, to.1)]
    }

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

/// Attributes of a convolution; pads are top, left, bottom, right.
pub fn window(kernel: &[usize], stride: u32, dilation: u32, groups: u32, pads: [u32; 4]) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", kernel),
        ints("strides", &[stride as usize; 2]),
        ints("dilations", &[dilation as usize; 2]),
        int("group", groups as usize),
        ints("pads", &pads.map(|p| p as usize)),
    ]
}

/// Attributes of a max pooling.
pub fn pooling(k: u32, stride: u32, pad: u32) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", &[k as usize; 2]),
        ints("strides", &[stride as usize; 2]),
        ints("pads", &[pad as usize; 4]),
    ]
}

/// Where the groups of a linear layer read: windows of a vector.
pub struct Windows {
    /// Windows.
    pub count: usize,
    features: usize,
    offset: usize,
    stride: usize,
}

impl Windows {
    /// Those of a weight of `groups`×out×`features`.
    pub fn new(groups: usize, features: usize, share: u32, offset: u32, stride: u32) -> Self {
        Self { count: groups / share as usize, features, offset: offset as usize, stride: stride as usize }
    }

    /// Elements that windows read, in order.
    pub fn elements(&self) -> Vec<usize> {
        let starts = (0..self.count).map(|w| self.offset + w * self.stride);
        starts.flat_map(|from| from..from + self.features).collect()
    }

    /// The windows side by side.
    fn read(&self, g: &mut GraphBuilder, x: &Tensor) -> Tensor {
        if self.count == 1 || self.stride == self.features {
            return g.slice(x, 1, self.offset, self.offset + self.count * self.features);
        }
        g.gather(x, 1, &self.elements())
    }
}
