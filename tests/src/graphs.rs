//! Random graphs over the whole op set, for laws that must hold for every program: placement, validation, allocation.

use adflow::graph::{Graph, TensorId};
use adflow::kernels::activation::Activation;
use adflow::kernels::coupling::SoftClamp;
use adflow::op::{
    Activate, Adam, Add, BatchMean, Concat, Conv2d, Coupling, Embed, GlobalMean, Interpolation, Linear, LogDet,
    Magnitude, MaxPool, Op, Permute, Resize, ScaleShift, Slice, SquareSum, TopMean,
};
use adflow::params::Params;
use adflow::rng::Rng;
use adflow::shape::Shape;

/// Channels, rows and columns stay below these.
const CHANNELS: u32 = 12;
const SIDE: u32 = 8;

/// A graph with its parameters.
pub struct RandomGraph {
    /// The ops.
    pub graph: Graph,
    /// Their parameters, all of them trainable but the permutations.
    pub params: Params,
    /// Whether it ends with a training step.
    pub trains: bool,
}

struct Builder {
    graph: Graph,
    params: Params,
    rng: Rng,
    tensors: Vec<TensorId>,
}

impl Builder {
    fn below(&mut self, n: u32) -> u32 {
        self.rng.below(n)
    }

    fn any(&mut self) -> (TensorId, Shape) {
        let at = self.below(self.tensors.len() as u32) as usize;
        (self.tensors[at], self.graph.shape(self.tensors[at]))
    }

    fn param(&mut self, shape: Shape) -> TensorId {
        let name = format!("p{}", self.params.iter().count());
        let data = (0..shape.len()).map(|_| self.rng.range(-0.5..0.5)).collect();
        self.params.add(&name, shape, true, data).expect("a new name");
        self.graph.param(&self.params, &name).expect("just added")
    }

    fn permutation(&mut self, n: u32) -> TensorId {
        let name = format!("p{}", self.params.iter().count());
        let mut order = vec![0; n as usize];
        self.rng.permutation(&mut order);
        self.params.add_index(&name, &order).expect("a new name");
        self.graph.param(&self.params, &name).expect("just added")
    }

    fn emit(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        let name = format!("t{}", self.tensors.len());
        let id = self.graph.emit(&name, op, inputs).unwrap_or_else(|e| panic!("a valid op was meant: {e}"));
        self.tensors.push(id);
        id
    }

    /// Appends one random op; does nothing where the chosen one does not fit.
    fn grow(&mut self) {
        let (x, shape) = self.any();
        let [c, h, w, _] = shape.0;
        match self.below(17) {
            0 => {
                let act = if self.below(2) == 0 { Activation::Relu } else { Activation::Relu6 };
                self.emit(Activate { act }, &[x]);
            }
            1 | 2 => {
                let (y, other) = self.any();
                if other == shape {
                    self.emit(Add {}, &[x, y]);
                }
            }
            3 => {
                let (scale, shift) = (self.param(Shape::vector(c)), self.param(Shape::vector(c)));
                self.emit(ScaleShift { inverse: false }, &[x, scale, shift]);
            }
            4 => {
                let first = self.below(c);
                let count = 1 + self.below(c - first);
                self.emit(Slice { first, count }, &[x]);
            }
            5 if c < CHANNELS => {
                let count = c + 1 + self.below(CHANNELS - c);
                let first = self.below(count - c + 1);
                self.emit(Embed { first, count }, &[x]);
            }
            6 => {
                let (y, other) = self.any();
                if other.h() == h && other.w() == w && c + other.c() <= CHANNELS {
                    self.emit(Concat {}, &[x, y]);
                }
            }
            7 => {
                let index = self.permutation(c);
                let inverse = self.below(2) == 1;
                self.emit(Permute { inverse }, &[x, index]);
            }
            8 => {
                let mode = if self.below(2) == 0 { Interpolation::Nearest } else { Interpolation::Bilinear };
                let (h, w) = (1 + self.below(SIDE), 1 + self.below(SIDE));
                self.emit(Resize { h, w, mode }, &[x]);
            }
            9 if h > 2 && w > 2 => {
                let (stride, pad) = (1 + self.below(2), self.below(2));
                self.emit(MaxPool { k: 3, stride, pad }, &[x]);
            }
            10 | 11 => {
                let k = 1 + 2 * self.below(2);
                let out = 1 + self.below(CHANNELS);
                let (weight, bias) = (self.param(Shape([out, c, k, k])), self.param(Shape::vector(out)));
                let act = if self.below(2) == 0 { Activation::None } else { Activation::Relu };
                self.emit(Conv2d::new().same(k, h, w).act(act), &[x, weight, bias]);
            }
            12 if c > 1 => {
                let offset = self.below(c);
                let active = 1 + self.below(c - offset);
                let weight = self.param(Shape([2 * active, c, 1, 1]));
                let st = self.emit(Conv2d::new(), &[x, weight]);
                self.emit(
                    Coupling { groups: 1, offset, active, clamp: 2.0, inverse: false, form: SoftClamp::Atan },
                    &[x, st],
                );
                self.emit(LogDet { groups: 1, clamp: 2.0, form: SoftClamp::Atan, per_position: false }, &[st]);
            }
            13 => {
                self.emit(GlobalMean {}, &[x]);
            }
            14 if h == 1 && w == 1 => {
                let out = 1 + self.below(CHANNELS);
                let (weight, bias) = (self.param(Shape([1, out, c, 1])), self.param(Shape::vector(out)));
                self.emit(Linear::dense(Activation::Relu), &[x, weight, bias]);
            }
            15 if c % 2 == 0 => {
                self.emit(Magnitude {}, &[x]);
            }
            16 => {
                let k = 1 + self.below(shape.len() as u32);
                self.emit(TopMean { k }, &[x]);
            }
            _ => {}
        }
    }
}

/// The graph of that seed; every third one ends with a training step.
pub fn random(seed: u64) -> RandomGraph {
    random_with(seed, seed % 3 == 2)
}

/// The graph of that seed with a training step or without.
pub fn random_with(seed: u64, trains: bool) -> RandomGraph {
    let rng = Rng::new(seed, 0, 7);
    let mut b = Builder { graph: Graph::new(), params: Params::new(), rng, tensors: Vec::new() };
    for i in 0..1 + b.below(2) {
        let shape = Shape::chw(1 + b.below(CHANNELS), 1 + b.below(SIDE), 1 + b.below(SIDE));
        let x = b.graph.input(&format!("x{i}"), shape);
        b.tensors.push(x);
    }
    // One op with parameters on the way to any loss.
    let (x, shape) = b.any();
    let (scale, shift) = (b.param(Shape::vector(shape.c())), b.param(Shape::vector(shape.c())));
    let first = b.emit(ScaleShift { inverse: false }, &[x, scale, shift]);
    b.tensors = vec![first];
    for _ in 0..6 + b.below(24) {
        b.grow();
    }
    let last = *b.tensors.last().expect("at least one");
    for i in 0..b.below(3) {
        let (id, _) = b.any();
        b.graph.output(&format!("y{i}"), id);
    }
    let sum = b.emit(SquareSum { scale: 0.5, per_position: false, root: false }, &[last]);
    b.graph.output("sum", sum);
    if trains {
        let loss = b.emit(BatchMean {}, &[sum]);
        b.graph.output("loss", loss);
        let adam = Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5, clip: 0.0 };
        b.graph.train(loss, &b.params, adam).expect("the op set above is differentiable");
    }
    RandomGraph { graph: b.graph, params: b.params, trains }
}
