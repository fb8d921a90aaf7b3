//! The closed set of ops: what a plan can say.
//!
//! An op is a small struct of attributes. [`Graph::emit`](crate::graph::Graph::emit) takes any of them, checks the shape rule
//! and names the result. [`Op`] lists them all; what executes or describes ops matches over it without a wildcard, so an op
//! that is missing somewhere does not compile.
//!
//! In the source, one file holds a forward op and the ops of its gradient, with formula, shape rule, gradient rule and the
//! call of the CPU kernel.

use crate::cpu::Cpu;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;
use core::fmt;

#[macro_use]
mod record;

mod activation;
mod adam;
mod add;
mod attention;
mod batch_mean;
mod batch_mix;
mod batch_norm;
mod cell_hinge;
mod channel_scale;
mod concat;
mod conv2d;
mod cosine;
mod coupling;
mod flow_nll;
mod gain;
mod global_mean;
mod gradient;
mod layer_norm;
mod linear;
mod log_det;
mod log_scale;
mod magnitude;
mod max_pool;
mod multiply;
mod nearest;
mod permute;
mod position_linear;
mod repeat;
mod resize;
mod root;
mod scale;
mod scale_shift;
mod smooth;
mod square_parts;
mod square_sum;
mod top_mean;
mod triplet;

pub use activation::{Activate, ActivateDx};
pub use adam::Adam;
pub use add::Add;
pub use attention::{Attention, AttentionDx, AttentionLse};
pub use batch_mean::{BatchMean, BatchMeanDx};
pub use batch_mix::{BatchMix, BatchMixDx};
pub use batch_norm::{BatchNorm, BatchNormDgamma, BatchNormDstats, BatchNormDx, BatchStats, BatchStatsDx};
pub use cell_hinge::{CellHinge, CellHingeDn};
pub use channel_scale::{ChannelDot, ChannelScale};
pub use concat::{Concat, Embed, Slice};
pub use conv2d::{Conv2d, Conv2dDw, Conv2dDx};
pub use cosine::{Cosine, CosineDw, CosineDx};
pub use coupling::{Coupling, CouplingDst, CouplingDx};
pub use flow_nll::{FlowNll, FlowNllDj, FlowNllDz};
pub use gain::{Gain, GainDgamma};
pub use global_mean::{GlobalMean, GlobalMeanDx};
pub use gradient::{Operand, Rule};
pub use layer_norm::{LayerNorm, LayerNormDx};
pub use linear::{Linear, LinearDw, LinearDx};
pub use log_det::{LogDet, LogDetDst};
pub use log_scale::{LogScale, LogScaleDscale};
pub use magnitude::{Magnitude, MagnitudeDx};
pub use max_pool::{MaxPool, MaxPoolDx};
pub use multiply::Multiply;
pub use nearest::{EVERYWHERE, Nearest, NearestDx};
pub use permute::Permute;
pub use position_linear::{PositionLinear, PositionLinearDx};
pub use record::{Attr, Record};
pub use repeat::Repeat;
pub use resize::{Interpolation, Resize, ResizeDx};
pub use root::{Root, RootDx};
pub use scale::Scale;
pub use scale_shift::{ChannelSum, ScaleShift, ScaleShiftDscale, ScaleShiftDx};
pub use smooth::{Smooth, SmoothDx};
pub use square_parts::SquareParts;
pub use square_sum::{SquareSum, SquareSumDx};
pub use top_mean::{TopMean, TopMeanDx};
pub use triplet::{Triplet, TripletDcos};

pub use crate::kernels::activation::Activation;
pub use crate::kernels::coupling::SoftClamp;
pub use crate::kernels::smooth::Curve;

/// Most inputs an op can have.
pub const MAX_INPUTS: usize = 6;
/// Words of attributes in an op record.
pub const ATTRS: usize = 16;

/// The inputs of an op: a slot that is `None` was left out (for example a convolution without bias).
pub type Types = [Option<Type>; MAX_INPUTS];

/// Shape of an input; that of a single number where the slot is left out.
fn shape(inputs: &Types, slot: usize) -> Shape {
    inputs[slot].map_or(Shape::SCALAR, |t| t.shape)
}

/// What every op defines. The wire form comes from [`Record`].
pub trait Operation: Record {
    /// Name in dumps, shaders and benches.
    const NAME: &'static str;
    /// Names of the input slots; a leading `?` marks a slot that may be left out.
    const INPUTS: &'static [&'static str];

    /// The shape rule: the output's type from the inputs' types, or which rule is broken.
    fn output(&self, inputs: &Types) -> Result<Type, ShapeError>;

    /// How far the CPU kernel may be from the formula in f64, for a batch of inputs that keep the shape rule. Tighten, don't
    /// loosen.
    fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance;

    /// How far a GPU may be from the formula in f64.
    fn device_tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
        self.tolerance(inputs, batch).on_gpu()
    }

    /// For sums whose terms may cancel: the op that gives, for the sizes of the operands, the sum of the sizes of the terms.
    fn of_sizes(&self) -> Option<Self> {
        None
    }

    /// Floats of scratch that [`Operation::run`] needs.
    fn scratch(&self, inputs: &Types, output: Type, batch: usize, workers: usize) -> usize {
        let _ = (inputs, output, batch, workers);
        0
    }

    /// The CPU kernel: writes the whole output.
    fn run(&self, run: &mut Run<'_>);

    /// The gradient rule: writes down which ops give the gradient of each input. Ops without a rule, such as those that are
    /// gradients themselves, have no gradient.
    fn gradient(&self, g: &mut Rule) {
        g.refuse("this op");
    }
}

/// Everything a CPU kernel sees of one op: typed inputs, the output to write, scratch.
pub struct Run<'r> {
    /// Instruction set and threads.
    pub cpu: Cpu<'r>,
    /// Samples in the batch.
    pub batch: usize,
    /// Input values; empty where the slot is left out.
    pub inputs: [&'r [f32]; MAX_INPUTS],
    /// Input types.
    pub types: Types,
    /// Output values, to be written whole.
    pub output: &'r mut [f32],
    /// Output type.
    pub output_type: Type,
    /// Scratch of at least the announced length.
    pub scratch: &'r mut [f32],
    /// The second moment of storage that [`Adam`] updates in place; empty for every other op.
    pub state: &'r mut [f32],
}

impl Run<'_> {
    fn shape(&self, slot: usize) -> Shape {
        shape(&self.types, slot)
    }

    fn optional(&self, slot: usize) -> Option<&[f32]> {
        self.types[slot].map(|_| self.inputs[slot])
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident = $kind:literal),* $(,)?) => {
        /// One operation with its attributes.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Op { $($(#[$doc])* $variant($variant)),* }

        impl Op {
            /// Number of the kind in files; never reused for another op.
            pub fn kind(&self) -> u32 { match self { $(Op::$variant(_) => $kind),* } }
            /// Name in dumps.
            pub fn name(&self) -> &'static str { match self { $(Op::$variant(_) => <$variant as Operation>::NAME),* } }
            /// Names of the input slots; a leading `?` marks one that may be left out.
            pub fn input_names(&self) -> &'static [&'static str] { match self { $(Op::$variant(_) => <$variant as Operation>::INPUTS),* } }
            /// Attribute words of the record.
            pub fn encode(&self) -> [u32; ATTRS] { match self { $(Op::$variant(op) => record::encode(op)),* } }
            /// Reads attribute words; `None` for an unknown kind or an attribute outside its range.
            pub fn decode(kind: u32, attrs: &[u32; ATTRS]) -> Option<Op> {
                match kind { $($kind => record::decode(attrs).map(Op::$variant),)* _ => None }
            }
            /// How far the CPU kernel may be from the formula in f64, for inputs that keep the shape rule.
            pub fn tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
                match self { $(Op::$variant(op) => op.tolerance(inputs, batch)),* }
            }
            /// How far a GPU may be from the formula in f64.
            pub fn device_tolerance(&self, inputs: &Types, batch: usize) -> Tolerance {
                match self { $(Op::$variant(op) => op.device_tolerance(inputs, batch)),* }
            }
            /// For sums whose terms may cancel: the op that gives, for the sizes of the operands, the sum of the sizes of
            /// the terms.
            pub fn of_sizes(&self) -> Option<Op> {
                match self { $(Op::$variant(op) => op.of_sizes().map(Op::$variant)),* }
            }
            /// Scratch floats of the CPU kernel.
            pub fn scratch(&self, inputs: &Types, output: Type, batch: usize, workers: usize) -> usize {
                match self { $(Op::$variant(op) => op.scratch(inputs, output, batch, workers)),* }
            }
            /// Runs the CPU kernel.
            pub fn run(&self, run: &mut Run<'_>) { match self { $(Op::$variant(op) => op.run(run)),* } }
            /// Writes down the ops of the gradient.
            pub fn gradient(&self, g: &mut Rule) {
                match self { $(Op::$variant(op) => op.gradient(g)),* }
            }
            fn output_of(&self, inputs: &Types) -> Result<Type, ShapeError> {
                match self { $(Op::$variant(op) => op.output(inputs)),* }
            }
            /// Name and attributes, for dumps.
            pub fn describe(&self, f: &mut dyn fmt::Write) -> fmt::Result {
                match self { $(Op::$variant(op) => { f.write_str(<$variant as Operation>::NAME)?; op.describe(f) }),* }
            }
        }
        $(impl From<$variant> for Op { fn from(op: $variant) -> Op { Op::$variant(op) } })*
        /// Every kind with its number, for tables and completeness tests.
        pub const KINDS: &[(u32, &str)] = &[$(($kind, <$variant as Operation>::NAME)),*];
    };
}

ops! {
    /// 2D convolution with bias, residual and activation.
    Conv2d = 1,
    /// Gradient of a convolution towards its input.
    Conv2dDx = 2,
    /// Gradient of a convolution towards its weight.
    Conv2dDw = 3,
    /// Grouped linear layer.
    Linear = 4,
    /// Gradient of a linear layer towards its input.
    LinearDx = 5,
    /// Gradient of a linear layer towards its weight.
    LinearDw = 6,
    /// Pointwise activation.
    Activate = 7,
    /// Gradient of [`Activate`], from the output.
    ActivateDx = 8,
    /// Sum of two tensors.
    Add = 9,
    /// Per-channel scale and shift.
    ScaleShift = 10,
    /// Gradient of [`ScaleShift`] towards the input.
    ScaleShiftDx = 11,
    /// Gradient of [`ScaleShift`] towards the scale.
    ScaleShiftDscale = 12,
    /// Sum over batch and positions, per channel.
    ChannelSum = 13,
    /// Max pooling.
    MaxPool = 14,
    /// Gradient of [`MaxPool`].
    MaxPoolDx = 15,
    /// Mean over positions, per channel.
    GlobalMean = 16,
    /// Gradient of [`GlobalMean`].
    GlobalMeanDx = 17,
    /// Nearest or bilinear resize.
    Resize = 18,
    /// Gradient of [`Resize`].
    ResizeDx = 19,
    /// Concatenation of channels.
    Concat = 20,
    /// A range of channels.
    Slice = 21,
    /// Channels placed among zeros: the gradient of a slice.
    Embed = 22,
    /// Fixed permutation of channels, or its inverse.
    Permute = 23,
    /// Affine coupling, forward or inverse.
    Coupling = 24,
    /// Gradient of [`Coupling`] towards the input.
    CouplingDx = 25,
    /// Gradient of [`Coupling`] towards scale and translation.
    CouplingDst = 26,
    /// Log-determinant of a coupling.
    LogDet = 27,
    /// Gradient of [`LogDet`].
    LogDetDst = 28,
    /// Negative log-likelihood of a flow per sample.
    FlowNll = 29,
    /// Gradient of [`FlowNll`] towards the latent.
    FlowNllDz = 30,
    /// Gradient of [`FlowNll`] towards the log-determinant.
    FlowNllDj = 31,
    /// Sum of squares per sample or per position.
    SquareSum = 32,
    /// Gradient of [`SquareSum`].
    SquareSumDx = 33,
    /// Mean over the batch.
    BatchMean = 34,
    /// Gradient of [`BatchMean`].
    BatchMeanDx = 35,
    /// Mean of the largest values.
    TopMean = 36,
    /// Gradient of [`TopMean`].
    TopMeanDx = 37,
    /// One linear map per position.
    PositionLinear = 38,
    /// Gradient of [`PositionLinear`] towards the input.
    PositionLinearDx = 39,
    /// Magnitude of complex channels.
    Magnitude = 40,
    /// Gradient of [`Magnitude`].
    MagnitudeDx = 41,
    /// One step of Adam over a range of parameters.
    Adam = 42,
    /// Square root of what is positive.
    Root = 43,
    /// Gradient of [`Root`].
    RootDx = 44,
    /// Pointwise activation whose gradient needs the input.
    Smooth = 45,
    /// Gradient of [`Smooth`].
    SmoothDx = 46,
    /// A factor for each channel of each sample.
    ChannelScale = 47,
    /// Gradient of [`ChannelScale`] towards the factor: a product summed over positions.
    ChannelDot = 48,
    /// Mean and variance of each channel over batch and positions.
    BatchStats = 49,
    /// Gradient of [`BatchStats`].
    BatchStatsDx = 50,
    /// Normalisation by given mean and variance, scale and shift.
    BatchNorm = 51,
    /// Gradient of [`BatchNorm`] towards the input.
    BatchNormDx = 52,
    /// Gradient of [`BatchNorm`] towards mean and variance.
    BatchNormDstats = 53,
    /// Gradient of [`BatchNorm`] towards the scale.
    BatchNormDgamma = 54,
    /// A constant factor.
    Scale = 55,
    /// Normalisation by mean and variance, of a sample or of each position.
    LayerNorm = 56,
    /// Gradient of [`LayerNorm`].
    LayerNormDx = 57,
    /// Loss per cell with a hinge on anomalous ones.
    CellHinge = 58,
    /// Gradient of [`CellHinge`].
    CellHingeDn = 59,
    /// Log-determinant of a per-channel scale.
    LogScale = 60,
    /// Gradient of [`LogScale`] towards the scale.
    LogScaleDscale = 61,
    /// Multi-head self-attention over positions.
    Attention = 62,
    /// Logarithms of the sums of exponentials of [`Attention`], for the gradient.
    AttentionLse = 63,
    /// Gradient of [`Attention`].
    AttentionDx = 64,
    /// One block for every sample.
    Repeat = 65,
    /// Sums of squares of parts, for clipping gradients.
    SquareParts = 66,
    /// Everything times one learned number.
    Gain = 67,
    /// Gradient of [`Gain`] towards the number.
    GainDgamma = 68,
    /// Product of two tensors.
    Multiply = 69,
    /// Cosines between the samples of a batch.
    Cosine = 73,
    /// Gradient of [`Cosine`] towards the first operand.
    CosineDx = 74,
    /// Gradient of [`Cosine`] towards the second operand.
    CosineDw = 75,
    /// Exponential-kernel triplet loss.
    Triplet = 76,
    /// Gradient of [`Triplet`] towards cosines.
    TripletDcos = 77,
    /// Mixtures of pairs of samples.
    BatchMix = 78,
    /// Gradient of [`BatchMix`].
    BatchMixDx = 79,
    /// Distance to the nearest vector of a bank.
    Nearest = 80,
    /// Gradient of [`Nearest`] towards the input.
    NearestDx = 81,
}

impl Op {
    /// The shape rule with its preamble: required slots present, no slot beyond the op's own.
    pub fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let names = self.input_names();
        for (slot, ty) in inputs.iter().enumerate() {
            let fault = match (names.get(slot), ty) {
                (Some(name), None) if !name.starts_with('?') => Some("a required input is missing"),
                (None, Some(_)) => Some("more inputs than the op has"),
                _ => None,
            };
            if let Some(rule) = fault {
                return Err(ShapeError { op: self.name(), rule, expected: None, found: None });
            }
            if let Some(t) = ty
                && t.shape.checked_len().is_none()
            {
                return Err(ShapeError {
                    op: self.name(),
                    rule: "an input is empty or too large",
                    expected: None,
                    found: Some(t.shape),
                });
            }
        }
        let ty = self.output_of(inputs)?;
        if ty.shape.checked_len().is_none() {
            return Err(ShapeError {
                op: self.name(),
                rule: "the output is empty or too large",
                expected: None,
                found: Some(ty.shape),
            });
        }
        Ok(ty)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f)
    }
}

/// Checks inside shape rules.
pub(crate) struct Check(pub &'static str);

impl Check {
    pub fn that(&self, ok: bool, rule: &'static str) -> Result<(), ShapeError> {
        if ok { Ok(()) } else { Err(ShapeError { op: self.0, rule, expected: None, found: None }) }
    }

    pub fn same(&self, rule: &'static str, expected: Shape, found: Shape) -> Result<(), ShapeError> {
        if expected == found {
            Ok(())
        } else {
            Err(ShapeError { op: self.0, rule, expected: Some(expected), found: Some(found) })
        }
    }

    /// A slot that holds one block per sample.
    pub fn batched(&self, inputs: &Types, slot: usize) -> Result<Shape, ShapeError> {
        match inputs[slot] {
            Some(t) if t.batched => Ok(t.shape),
            _ => Err(ShapeError {
                op: self.0,
                rule: "an input must be batched",
                expected: None,
                found: inputs[slot].map(|t| t.shape),
            }),
        }
    }

    /// A slot that holds one block for the whole batch (a parameter).
    pub fn single(&self, inputs: &Types, slot: usize) -> Result<Shape, ShapeError> {
        match inputs[slot] {
            Some(t) if !t.batched => Ok(t.shape),
            _ => Err(ShapeError {
                op: self.0,
                rule: "an input must not be batched",
                expected: None,
                found: inputs[slot].map(|t| t.shape),
            }),
        }
    }
}
