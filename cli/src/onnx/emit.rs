//! What the ops' ONNX forms are written with: the op, its operands as values and constants, and pieces that several share.

use adflow::cpu::Cpu;
use adflow::kernels::Activation;
use adflow::kernels::coupling::SoftClamp;
use adflow::kernels::smooth::Curve;
use adflow::model::Model;
use adflow::op::{Interpolation, MAX_INPUTS, Run};
use adflow::plan::{BLOCK, PlannedOp, Program, Region};
use adflow::shape::Shape;
use adflow::threads::Threads;

use super::graph::{GraphBuilder, Tensor, int, ints};
use super::matrix::Matrix;
use super::proto::AttributeProto;

/// Why an op has no form in ONNX.
pub type Refusal = String;

/// One op, what it reads, and the graph it is written to.
pub struct Emit<'a, 'm> {
    pub g: &'a mut GraphBuilder,
    pub(super) model: &'a Model<'m>,
    pub(super) program: Program<'m>,
    pub(super) planned: PlannedOp<'m>,
    /// Values of the program's tensors so far.
    pub(super) values: &'a [Option<Tensor>],
    /// Those that are the same for every image.
    pub(super) fixed: &'a [Option<Vec<f32>>],
    /// Samples run at once.
    pub batch: usize,
}

/// Extents of a batched tensor.
pub(super) fn batched(n: usize, shape: Shape) -> Vec<usize> {
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
    pub(super) fn values(&self, slot: usize) -> Result<&'a [f32], Refusal>
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
    pub(super) fn compute(&mut self) -> Result<Vec<f32>, Refusal> {
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

    pub(super) fn smooth(&mut self, curve: Curve, x: &Tensor) -> Tensor {
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
    pub fn read(&self, g: &mut GraphBuilder, x: &Tensor) -> Tensor {
        if self.count == 1 || self.stride == self.features {
            return g.slice(x, 1, self.offset, self.offset + self.count * self.features);
        }
        g.gather(x, 1, &self.elements())
    }
}
