//! The f64 reference: what every op means, as loops that can be checked by reading them.
//!
//! [`execute`] runs one op, [`Executor`] a whole program with storage of its own for each tensor, so no placement can
//! disturb it. Parameters come in as f32 and are widened; nothing is rounded before the end. One file per op family.

mod attention;
mod batch_norm;
mod contrast;
mod conv;
mod coupling;
mod layout;
mod linear;
mod nearest;
mod norm;
mod pointwise;
mod pool;
mod reduce;
mod resize;

use crate::cases::Case;
use adflow::op::{MAX_INPUTS, Op};
use adflow::plan::{BLOCK, Program, Region};
use adflow::shape::{Shape, Type};

/// A tensor's values with its shape.
#[derive(Clone, Copy, Debug)]
pub struct Value<'v> {
    /// Shape, and whether there is one block per sample.
    pub ty: Type,
    /// All values.
    pub data: &'v [f64],
}

impl Value<'_> {
    /// Shape of one block.
    pub fn shape(&self) -> Shape {
        self.ty.shape
    }

    /// The block of sample `n`; the only block where not batched.
    pub fn sample(&self, n: usize) -> &[f64] {
        let len = self.shape().len();
        if self.ty.batched { &self.data[n * len..][..len] } else { self.data }
    }
}

/// One op with its operands.
pub struct Step<'s> {
    /// Samples.
    pub batch: usize,
    /// Inputs; `None` where left out.
    pub inputs: [Option<Value<'s>>; MAX_INPUTS],
    /// Type of the output.
    pub output_type: Type,
    /// What the output held before: only Adam reads it.
    pub before: &'s [f64],
    /// First and second moments, for Adam only.
    pub state: &'s mut [f64],
}

impl Step<'_> {
    /// An input that the op requires.
    fn input(&self, slot: usize) -> Value<'_> {
        self.inputs[slot].expect("a required input")
    }

    /// Zeros in the shape of the output.
    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.output_type.shape.len() * if self.output_type.batched { self.batch } else { 1 }]
    }

    /// The output, sample by sample: `f(n)` gives the block of sample n.
    fn per_sample(&self, f: impl Fn(usize) -> Vec<f64>) -> Vec<f64> {
        (0..self.batch).flat_map(f).collect()
    }
}

/// Output and moments of a case.
pub fn of_case(case: &Case, batch: usize) -> (Vec<f64>, Vec<f64>) {
    let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<f64>>();
    let values = case.values(batch).map(wide);
    let before = wide(case.before(batch).unwrap_or_default());
    let mut state = if case.before.is_some() { values[1].clone() } else { Vec::new() };
    let types = case.types();
    let inputs = std::array::from_fn(|slot| types[slot].map(|ty| Value { ty, data: &values[slot] }));
    let output_type = case.op.output(&types).expect("cases keep the shape rule");
    let output = execute(&case.op, &mut Step { batch, inputs, output_type, before: &before, state: &mut state });
    (output, state)
}

/// What `op` writes.
pub fn execute(op: &Op, step: &mut Step<'_>) -> Vec<f64> {
    match *op {
        Op::Conv2d(a) => conv::forward(a, step),
        Op::Conv2dDx(a) => conv::dx(a, step),
        Op::Conv2dDw(a) => conv::dw(a, step),
        Op::Linear(a) => linear::forward(a, step),
        Op::LinearDx(a) => linear::dx(a, step),
        Op::LinearDw(a) => linear::dw(a, step),
        Op::Nearest(a) => nearest::forward(a.radius, a.root, step),
        Op::NearestDx(a) => nearest::dx(a.radius, a.root, step),
        Op::PositionLinear(_) => linear::per_position(step),
        Op::PositionLinearDx(_) => linear::per_position_dx(step),
        Op::Activate(a) => pointwise::activate(a.act, step),
        Op::ActivateDx(a) => pointwise::activate_dx(a.act, step),
        Op::Add(_) => pointwise::add(step),
        Op::Scale(a) => pointwise::scale(a, step),
        Op::Gain(_) => pointwise::gain(step),
        Op::GainDgamma(_) => vec![pointwise::multiply(step).iter().sum()],
        Op::Multiply(_) => pointwise::multiply(step),
        Op::ScaleShift(a) => pointwise::scale_shift(a, step),
        Op::ScaleShiftDx(_) => pointwise::scale_shift_dx(step),
        Op::ScaleShiftDscale(_) => pointwise::scale_shift_dscale(step),
        Op::ChannelSum(_) => pointwise::channel_sum(step),
        Op::Magnitude(_) => pointwise::magnitude(step),
        Op::MagnitudeDx(_) => pointwise::magnitude_dx(step),
        Op::Smooth(a) => pointwise::smooth(a.curve, step),
        Op::SmoothDx(a) => pointwise::smooth_dx(a.curve, step),
        Op::ChannelScale(_) => pointwise::channel_scale(step),
        Op::ChannelDot(_) => pointwise::channel_dot(step),
        Op::BatchStats(_) => batch_norm::stats(step),
        Op::BatchStatsDx(_) => batch_norm::stats_dx(step),
        Op::BatchNorm(a) => batch_norm::norm(a.eps, step),
        Op::BatchNormDx(a) => batch_norm::norm_dx(a.eps, step),
        Op::BatchNormDstats(a) => batch_norm::norm_dstats(a.eps, step),
        Op::BatchNormDgamma(a) => batch_norm::norm_dgamma(a.eps, step),
        Op::Root(_) => pointwise::root(step),
        Op::RootDx(_) => pointwise::root_dx(step),
        Op::Attention(a) => attention::forward(a, step),
        Op::AttentionLse(a) => attention::lse(a, step),
        Op::AttentionDx(a) => attention::dx(a, step),
        Op::LayerNorm(a) => norm::layer_norm(a, step),
        Op::LayerNormDx(a) => norm::layer_norm_dx(a, step),
        Op::Cosine(_) => contrast::cosine(step),
        Op::CosineDx(_) => contrast::cosine_d(false, step),
        Op::CosineDw(_) => contrast::cosine_d(true, step),
        Op::Triplet(a) => contrast::triplet(a, step),
        Op::TripletDcos(a) => contrast::triplet_dcos(a, step),
        Op::BatchMix(_) => contrast::batch_mix(step),
        Op::BatchMixDx(_) => contrast::batch_mix_dx(step),
        Op::Adam(a) => pointwise::adam(a, step),
        Op::MaxPool(a) => pool::max(a, step),
        Op::MaxPoolDx(a) => pool::max_dx(a, step),
        Op::GlobalMean(_) => pool::mean(step),
        Op::GlobalMeanDx(_) => pool::mean_dx(step),
        Op::Resize(a) => resize::forward(a, step),
        Op::ResizeDx(a) => resize::dx(a, step),
        Op::Concat(_) => layout::concat(step),
        Op::Slice(a) => layout::slice(a, step),
        Op::Embed(a) => layout::embed(a, step),
        Op::Permute(a) => layout::permute(a, step),
        Op::Repeat(_) => layout::repeat(step),
        Op::SquareParts(_) => reduce::square_parts(step),
        Op::Coupling(a) => coupling::forward(a, step),
        Op::CouplingDx(a) => coupling::dx(a, step),
        Op::CouplingDst(a) => coupling::dst(a, step),
        Op::LogDet(a) => coupling::log_det(a, step),
        Op::LogDetDst(a) => coupling::log_det_dst(a, step),
        Op::LogScale(a) => coupling::log_scale(a, step),
        Op::LogScaleDscale(a) => coupling::log_scale_dscale(a, step),
        Op::CellHinge(a) => reduce::cell_hinge(a, step),
        Op::CellHingeDn(a) => reduce::cell_hinge_dn(a, step),
        Op::FlowNll(_) => reduce::flow_nll(step),
        Op::FlowNllDz(_) => reduce::flow_nll_dz(step),
        Op::FlowNllDj(a) => reduce::flow_nll_dj(a, step),
        Op::SquareSum(a) => reduce::square_sum(a, step),
        Op::SquareSumDx(a) => reduce::square_sum_dx(a, step),
        Op::BatchMean(_) => reduce::batch_mean(step),
        Op::BatchMeanDx(_) => reduce::batch_mean_dx(step),
        Op::TopMean(a) => reduce::top_mean(a, step),
        Op::TopMeanDx(a) => reduce::top_mean_dx(a, step),
    }
}

/// A program in f64. Parameters, gradients and moments are whole regions, because the optimiser sees them whole; every
/// other tensor has storage of its own.
pub struct Executor<'p> {
    program: Program<'p>,
    batch: usize,
    regions: [Vec<f64>; 3],
    values: Vec<Vec<f64>>,
}

impl<'p> Executor<'p> {
    /// Binds a program for `batch` samples; `params` as packed by the engine.
    pub fn new(program: Program<'p>, batch: usize, params: &[f32]) -> Executor<'p> {
        let zeros = |region| vec![0.0; program.blocks(region) as usize * BLOCK];
        let regions = [params.iter().map(|&p| f64::from(p)).collect(), zeros(Region::Grads), zeros(Region::State)];
        let values = (0..program.tensors() as u32).map(|_| Vec::new()).collect();
        Executor { program, batch, regions, values }
    }

    /// Region index and range of a tensor that lies in a whole region.
    fn range(&self, tensor: u32) -> Option<(usize, core::ops::Range<usize>)> {
        let record = self.program.tensor(tensor);
        let from = record.offset as usize * BLOCK;
        let range = from..from + Shape(record.dims).len();
        match Region::from_word(record.region).expect("validated") {
            Region::Params => Some((0, range)),
            Region::Grads => Some((1, range)),
            Region::State => Some((2, range)),
            Region::Work | Region::Io | Region::Fixed => None,
        }
    }

    /// Binds an input.
    pub fn set(&mut self, name: &str, values: &[f64]) {
        let tensor = self.program.find(name).unwrap_or_else(|| panic!("no input \"{name}\""));
        self.values[tensor as usize] = values.to_vec();
    }

    /// The values of an input that was bound, to be changed between runs.
    pub fn input(&mut self, name: &str) -> &mut [f64] {
        let tensor = self.program.find(name).unwrap_or_else(|| panic!("no input \"{name}\""));
        &mut self.values[tensor as usize]
    }

    /// The values of an input or output.
    pub fn get(&self, name: &str) -> &[f64] {
        &self.values[self.program.find(name).unwrap_or_else(|| panic!("no output \"{name}\"")) as usize]
    }

    /// The packed parameters, to look at or to change between runs.
    pub fn params(&mut self) -> &mut [f64] {
        &mut self.regions[0]
    }

    /// The packed gradients.
    pub fn grads(&self) -> &[f64] {
        &self.regions[1]
    }

    /// Runs every op in order.
    pub fn run(&mut self) {
        for at in 0..self.program.len() {
            let planned = self.program.op(at);
            let output = planned.record.output;
            let mut state = std::mem::take(&mut self.regions[2]);
            let result = {
                let mut inputs = [None; MAX_INPUTS];
                for (slot, ty) in planned.types.iter().enumerate() {
                    let Some(ty) = *ty else { continue };
                    let tensor = planned.record.inputs[slot];
                    let data = match self.range(tensor) {
                        // The moments travel as `state`.
                        Some((2, _)) => &[],
                        Some((region, range)) => &self.regions[region][range],
                        None => self.values[tensor as usize].as_slice(),
                    };
                    inputs[slot] = Some(Value { ty, data });
                }
                let before = self.range(output).map_or(&[][..], |(region, range)| &self.regions[region][range]);
                let output_type = self.program.tensor_type(output);
                execute(&planned.op, &mut Step { batch: self.batch, inputs, output_type, before, state: &mut state })
            };
            self.regions[2] = state;
            match self.range(output) {
                Some((region, range)) => self.regions[region][range].copy_from_slice(&result),
                None => self.values[output as usize] = result,
            }
        }
    }
}
