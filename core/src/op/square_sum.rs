//! Scaled sum of squares, per sample or per position, or its root: `y = a·Σ x²`, `y = √(a·Σ x²)`.
//!
//! Over all elements of a sample it is the latent's squared norm (the score of a flow with a = 1/D); over channels, with
//! the root, it is the Mahalanobis distance of whitened features at each position. Gradients: `gx = 2a·g·x`, and with
//! the root `gx = a·g·x/y`, zero where y is.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::reduce;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = scale · Σ x²`, or its root.
    SquareSum {
        /// a, positive.
        scale: f32,
        /// Sum over channels only, one number per position.
        per_position: bool,
        /// Whether to take the square root.
        root: bool,
    }
}

record! {
    /// `gx = 2·scale·g·x`, or `scale·g·x/y` with the root.
    SquareSumDx {
        /// a, positive.
        scale: f32,
        /// Whether g has one number per position.
        per_position: bool,
        /// Whether y is the square root.
        root: bool,
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
        check.that(x.0[3] == 1 && self.scale > 0.0, "x must be C×H×W and the scale positive")?;
        Ok(Type::batched(summed(x, self.per_position)))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).len())
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
        if self.root {
            for y in run.output.iter_mut() {
                *y = libm::sqrtf(*y);
            }
        }
    }

    fn gradient(&self, g: &mut Rule) {
        let SquareSum { scale, per_position, root } = *self;
        let dx = SquareSumDx { scale, per_position, root };
        let inputs = [g.upstream(), g.input(0), g.output()];
        g.give(0, dx, if root { &inputs } else { &inputs[..2] });
    }
}

impl Operation for SquareSumDx {
    const NAME: &'static str = "square_sum_dx";
    const INPUTS: &'static [&'static str] = &["g", "x", "?y"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 1)?;
        check.that(x.0[3] == 1 && self.scale > 0.0, "x must be C×H×W and the scale positive")?;
        check.that(self.root == inputs[2].is_some(), "y is given with the root and only then")?;
        if self.root {
            check.same(
                "y has the shape of the forward output",
                summed(x, self.per_position),
                check.batched(inputs, 2)?,
            )?;
        }
        check.same("g has the shape of the forward output", summed(x, self.per_position), check.batched(inputs, 0)?)?;
        Ok(Type::batched(x))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(3)
    }

    fn scratch(&self, inputs: &Types, _output: Type, batch: usize, _workers: usize) -> usize {
        if self.root { inputs[0].map_or(0, |g| g.shape.len() * batch) } else { 0 }
    }

    fn run(&self, run: &mut Run<'_>) {
        let (n, x) = (run.batch, run.shape(1));
        let [mut g, values, y, ..] = run.inputs;
        if self.root {
            // d√u = du/(2√u): half of g/y takes the place of g.
            let scaled = &mut run.scratch[..g.len()];
            for ((s, g), y) in scaled.iter_mut().zip(g).zip(y) {
                *s = if *y > 0.0 { 0.5 * g / y } else { 0.0 };
            }
            g = scaled;
        }
        if self.per_position {
            reduce::channel_square_sum_dx(run.cpu, n, x.c() as usize, x.positions(), self.scale, g, values, run.output);
        } else {
            reduce::square_sum_dx(run.cpu, n, x.len(), self.scale, g, values, run.output);
        }
    }
}
