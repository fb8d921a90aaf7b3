//! All flows behind one face, and the dense flow once more as the recursion that defines it.

use adflow::flows::{DenseFlow, DifferNetFlow, FastFlow, FlowError, PositionFlow, Ssnf};
use adflow::graph::{Graph, TensorId};
use adflow::op::{Adam, BatchMean, FlowNll, Repeat};
use adflow::params::Params;
use adflow::place::{OwnedProgram, Reuse, place};
use adflow::shape::Shape;

/// A flow of either kind.
#[derive(Clone, Copy, Debug)]
pub enum Flow {
    /// The continuous dense flow.
    Dense(DenseFlow),
    /// DifferNet's.
    DifferNet(DifferNetFlow),
    /// FastFlow on a map of so many rows and columns; its names begin with `map`.
    Fast(FastFlow, u32, u32),
    /// SSNF's, likewise.
    Ssnf(Ssnf, u32, u32),
    /// The position-conditioned flow, likewise.
    Position(PositionFlow, u32, u32),
}

impl Flow {
    /// Shape of the features.
    pub fn shape(&self) -> Shape {
        match self {
            Flow::Dense(f) => Shape::vector(f.dims),
            Flow::DifferNet(f) => Shape::vector(f.dims),
            Flow::Fast(f, h, w) => Shape::chw(f.channels, *h, *w),
            Flow::Ssnf(f, h, w) => Shape::chw(f.channels, *h, *w),
            Flow::Position(f, h, w) => Shape::chw(f.channels, *h, *w),
        }
    }

    /// D, the elements of the features.
    pub fn dims(&self) -> u32 {
        self.shape().len() as u32
    }

    /// Fresh parameters.
    pub fn init(&self, seed: u64) -> Params {
        let mut params = Params::new();
        let done = match self {
            Flow::Dense(f) => f.init(&mut params, seed),
            Flow::DifferNet(f) => f.init(&mut params, seed),
            Flow::Fast(f, ..) => f.init(&mut params, "map", seed),
            Flow::Ssnf(f, ..) => f.init(&mut params, "map", seed),
            Flow::Position(f, h, w) => {
                let code = PositionFlow::code(*h, *w);
                let added = params.add("code", Shape::chw(PositionFlow::CODE, *h, *w), false, code);
                added.map_err(FlowError::from).and_then(|()| f.init(&mut params, "map", seed))
            }
        };
        done.unwrap_or_else(|e| panic!("{self:?}: {e}"));
        params
    }

    fn forward(&self, g: &mut Graph, params: &Params, x: TensorId) -> Result<(TensorId, TensorId), FlowError> {
        match self {
            Flow::Dense(f) => f.forward(g, params, x),
            Flow::DifferNet(f) => f.forward(g, params, x),
            Flow::Fast(f, ..) => f.forward(g, params, "map", x),
            Flow::Ssnf(f, ..) => f.forward(g, params, "map", x),
            Flow::Position(f, ..) => {
                let code = code(g, params)?;
                f.forward(g, params, "map", x, code)
            }
        }
    }

    /// Input `x`; outputs `z`, `log_det`, `loss`.
    fn loss_graph(&self, params: &Params) -> (Graph, TensorId, TensorId) {
        let mut g = Graph::new();
        let x = g.input("x", self.shape());
        let (z, j) = self.forward(&mut g, params, x).unwrap_or_else(|e| panic!("{self:?}: {e}"));
        let nll = g.emit("nll", FlowNll {}, &[z, j]).expect("shapes fit");
        let loss = g.emit("loss", BatchMean {}, &[nll]).expect("shapes fit");
        for (name, id) in [("z", z), ("log_det", j), ("loss", loss)] {
            g.output(name, id);
        }
        (g, x, loss)
    }

    /// Program with input `x` and outputs `z`, `log_det`, `loss`.
    pub fn forward_program(&self, params: &Params) -> OwnedProgram {
        place("forward", &self.loss_graph(params).0, &params.layout(), Reuse::Share).expect("a valid plan")
    }

    /// Program with input `x` and outputs `z` and `cells`, what each position adds to the log-determinant; for flows on maps.
    pub fn map_program(&self, params: &Params) -> OwnedProgram {
        let mut g = Graph::new();
        let x = g.input("x", self.shape());
        let (z, cells) = match self {
            Flow::Fast(f, ..) => f.forward_map(&mut g, params, "map", x),
            Flow::Ssnf(f, ..) => f.forward_map(&mut g, params, "map", x),
            Flow::Dense(_) | Flow::DifferNet(_) | Flow::Position(..) => panic!("{self:?} has no positions"),
        }
        .unwrap_or_else(|e| panic!("{self:?}: {e}"));
        g.output("z", z);
        g.output("cells", cells);
        place("map", &g, &params.layout(), Reuse::Share).expect("a valid plan")
    }

    /// Program with input `z` and output `x`.
    pub fn inverse_program(&self, params: &Params) -> OwnedProgram {
        let mut g = Graph::new();
        let z = g.input("z", self.shape());
        let x = match self {
            Flow::Dense(f) => f.inverse(&mut g, params, z),
            Flow::DifferNet(f) => f.inverse(&mut g, params, z),
            Flow::Fast(f, ..) => f.inverse(&mut g, params, "map", z),
            Flow::Ssnf(f, ..) => f.inverse(&mut g, params, "map", z),
            Flow::Position(f, ..) => code(&mut g, params).and_then(|code| f.inverse(&mut g, params, "map", z, code)),
        };
        g.output("x", x.unwrap_or_else(|e| panic!("{self:?}: {e}")));
        place("inverse", &g, &params.layout(), Reuse::Share).expect("a valid plan")
    }

    /// The forward program with the gradient towards the input as output `gx`.
    pub fn localize_program(&self, params: &Params) -> OwnedProgram {
        let (mut g, x, loss) = self.loss_graph(params);
        let gx = g.backward(loss, &[x]).expect("differentiable")[0].expect("the loss depends on x");
        g.output("gx", gx);
        place("localize", &g, &params.layout(), Reuse::Share).expect("a valid plan")
    }

    /// The forward program and one step of Adam with the method's constants.
    pub fn train_program(&self, params: &Params) -> OwnedProgram {
        let (mut g, _, loss) = self.loss_graph(params);
        let adam = Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5, clip: 0.0 };
        g.train(loss, params, adam).expect("differentiable");
        place("train", &g, &params.layout(), Reuse::Share).expect("a valid plan")
    }
}

/// The codes of positions, once a sample.
fn code(g: &mut Graph, params: &Params) -> Result<TensorId, FlowError> {
    let code = g.param(params, "code")?;
    Ok(g.emit("codes", Repeat {}, &[code])?)
}

/// The dense flow by its definition, in f64, one sample: `R(h, d)` transforms both halves first, then
/// `w ← w·exp(σ(S(u))) + T(u)` (cdnf §4.1). Returns z and log_det.
pub fn recursion(flow: &DenseFlow, params: &Params, x: &[f64]) -> (Vec<f64>, f64) {
    let (mut h, mut j) = (x.to_vec(), 0.0);
    for block in 0..flow.blocks {
        let index = params.get(&format!("block{block}.permutation")).expect("a permutation");
        h = index.data.iter().map(|i| h[i.to_bits() as usize]).collect();
        j += Node { flow, params, block }.run(0, 0, &mut h);
    }
    (h, j)
}

struct Node<'f> {
    flow: &'f DenseFlow,
    params: &'f Params,
    block: u32,
}

impl Node<'_> {
    /// Transforms `h`, the channels from `first` on at that level; returns the log-determinant.
    fn run(&self, level: usize, first: u32, h: &mut [f64]) -> f64 {
        let half = h.len() / 2;
        let mut j = 0.0;
        if h.len() >= 4 {
            let (u, w) = h.split_at_mut(half);
            j += self.run(level + 1, first, u);
            j += self.run(level + 1, first + half as u32, w);
        }
        let (u, w) = h.split_at_mut(half);
        let (name, node) = self.place(level, first);
        let [s, t] = [0, 1].map(|subnet| self.subnet(&name, 2 * node + subnet, u));
        let clamp = f64::from(self.flow.clamp);
        for ((w, s), t) in w.iter_mut().zip(s).zip(t) {
            let sigma = std::f64::consts::FRAC_2_PI * clamp * (s / clamp).atan();
            *w = *w * sigma.exp() + t;
            j += sigma;
        }
        j
    }

    /// Three layers of group `group`, relu between them.
    fn subnet(&self, name: &str, group: usize, u: &[f64]) -> Vec<f64> {
        let mut h = u.to_vec();
        for layer in 1..=3 {
            let get = |what: &str| self.params.get(&format!("{name}.{layer}.{what}")).expect("a layer");
            let (w, b) = (get("w"), get("b"));
            let [_, out, features, _] = w.shape.0.map(|d| d as usize);
            assert_eq!(features, h.len(), "{name}.{layer}");
            h = (0..out)
                .map(|o| {
                    let row = &w.data[(group * out + o) * features..][..features];
                    let sum: f64 = row.iter().zip(&h).map(|(w, h)| f64::from(*w) * h).sum();
                    let y = sum + f64::from(b.data[group * out + o]);
                    if layer < 3 { y.max(0.0) } else { y }
                })
                .collect();
        }
        h
    }

    /// Parameters are stored by size: the name of the run of the node that starts at channel `first`, runs counted from
    /// the smallest nodes on, and the node's number in it.
    fn place(&self, level: usize, first: u32) -> (String, usize) {
        let mut nodes = vec![(0, self.flow.dims)];
        for _ in 0..level {
            let split = |&(at, size): &(u32, u32)| {
                let half = size / 2;
                if size >= 4 { vec![(at, half), (at + half, size - half)] } else { vec![] }
            };
            nodes = nodes.iter().flat_map(split).collect();
        }
        let size = nodes.iter().find(|n| n.0 == first).expect("every node is visited").1;
        let mut smaller: Vec<u32> = nodes.iter().map(|n| n.1).filter(|&s| s < size).collect();
        smaller.sort_unstable();
        smaller.dedup();
        let node = nodes.iter().filter(|n| n.1 == size && n.0 < first).count();
        (format!("block{}.level{level}.run{}", self.block, smaller.len()), node)
    }
}
