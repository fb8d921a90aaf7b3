//! Sums of squares of 64 parts of a vector, one after the other: `y[k] = Σ x²` over part k.
//!
//! Of all gradients it is what [`Adam`](super::Adam) clips by their common norm with. Parts rather than one sum, so that a
//! device has something to share out; their number is fixed, so that the order of the sum is.

use super::{Check, Operation, Run, Types, shape};
use crate::kernels::reduce;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y[k] = Σ x²` over part k of 64; x: a vector, not batched.
    SquareParts {}
}

impl SquareParts {
    /// Number of parts.
    pub const PARTS: u32 = reduce::PARTS as u32;
}

impl Operation for SquareParts {
    const NAME: &'static str = "square_parts";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.single(inputs, 0)?;
        check.same("x is a vector", Shape::vector(x.c()), x)?;
        check.that(x.c() <= 1 << 30, "too many elements")?;
        Ok(Type::single(Shape::vector(Self::PARTS)))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).len())
    }

    fn run(&self, run: &mut Run<'_>) {
        reduce::square_parts(run.cpu, run.inputs[0], run.output);
    }
}
