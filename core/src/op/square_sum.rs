//! Scaled sum of squares, per sample or per position: `y = a·Σ x²`.
//!
//! Over all elements of a sample it is the latent's squared norm (the score of a flow with a = 1/D); over channels it
//! is the squared Mahalanobis distance of whitened features at each position. Gradient: `gx = 2a·g·x`.

use super::{Check, Operation, Run, Types};
use crate::kernels::reduce;
use crate::shape::{Shape, ShapeError, Type};

record! {
    /// `y = scale · Σ x²`.
    SquareSum {
        /// a.
        scale: f32,
        /// Sum over channels only, one number per position.
        per_position: bool,
    }
}

record! {
    /// `gx = 2·scale·g·x`.
    SquareSumDx {
        /// a.
        scale: f32,
        /// Whether g has one number per position.
        per_position: bool,
    }
}

fn summed(x: Shape, per_position: bool) -> Shape {
    if per_position { Shape::chw(1, x.h(), x.w()) } else { Shape::SCALAR }
}

impl Operation for SquareSum {
    const NAME: &'static str = "square_sum";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        Ok(Type::batched(summed(x, self.per_position)))
    }

    fn run(&self, run: &mut Run<'_>) {
        let (n, x) = (run.batch, run.shape(0));
        if self.per_position {
            reduce::channel_square_sum(
                run.cpu,
                n,
                x.c() as usize,
                x.positions(),
                self.scale,
                run.inputs[0],
                run.output,
            );
        } else {
            reduce::square_sum(run.cpu, n, x.len(), self.scale, run.inputs[0], run.output);
        }
    }

    #[cfg(feature = "alloc")]
    fn gradient(&self, g: &mut crate::autodiff::Rule<'_>) -> Result<(), crate::graph::GraphError> {
        let SquareSum { scale, per_position } = *self;
        let gx = g.emit(SquareSumDx { scale, per_position }, &[g.upstream(), g.input(0)])?;
        g.give(0, gx)
    }
}

impl Operation for SquareSumDx {
    const NAME: &'static str = "square_sum_dx";
    const INPUTS: &'static [&'static str] = &["g", "x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 1)?;
        check.that(x.0[3] == 1, "x must be C×H×W")?;
        check.same("g has the shape of the forward output", summed(x, self.per_position), check.batched(inputs, 0)?)?;
        Ok(Type::batched(x))
    }

    fn run(&self, run: &mut Run<'_>) {
        let (n, x) = (run.batch, run.shape(1));
        let [g, values, ..] = run.inputs;
        if self.per_position {
            reduce::channel_square_sum_dx(run.cpu, n, x.c() as usize, x.positions(), self.scale, g, values, run.output);
        } else {
            reduce::square_sum_dx(run.cpu, n, x.len(), self.scale, g, values, run.output);
        }
    }

    #[cfg(feature = "alloc")]
    fn gradient(&self, g: &mut crate::autodiff::Rule<'_>) -> Result<(), crate::graph::GraphError> {
        g.first_order_only()
    }
}
