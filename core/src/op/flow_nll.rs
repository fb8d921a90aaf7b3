//! Negative log-likelihood of a flow per sample: `y = (½‖z‖² − j)/D` (cdnf eq 11; the 1/D is DifferNet's and matters,
//! because Adam's ε of 1e-4 is compared with the gradient's size). Gradients: `gz = g·z/D`, `gj = −g/D`.

use super::{Check, Operation, Rule, Run, Types, shape};
use crate::kernels::reduce;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = (½‖z‖² − j)/D`.
    FlowNll {}
}

record! {
    /// `gz = g·z/D`.
    FlowNllDz {}
}

record! {
    /// `gj = −g/D`.
    FlowNllDj {
        /// D, the elements of z.
        dims: u32,
    }
}

impl Operation for FlowNll {
    const NAME: &'static str = "flow_nll";
    const INPUTS: &'static [&'static str] = &["z", "j"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        check.batched(inputs, 0)?;
        check.same("j is one number per sample", Shape::SCALAR, check.batched(inputs, 1)?)?;
        Ok(Type::batched(Shape::SCALAR))
    }

    fn tolerance(&self, inputs: &Types, _: usize) -> Tolerance {
        Tolerance::sum(shape(inputs, 0).len())
    }

    fn run(&self, run: &mut Run<'_>) {
        let d = run.shape(0).len();
        reduce::flow_nll(run.cpu, run.batch, d, run.inputs[0], run.inputs[1], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, FlowNllDz {}, &[g.upstream(), g.input(0)]);
        g.give(1, FlowNllDj { dims: g.shape(0).len() as u32 }, &[g.upstream()]);
    }
}

impl Operation for FlowNllDz {
    const NAME: &'static str = "flow_nll_dz";
    const INPUTS: &'static [&'static str] = &["g", "z"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        check.same("g is one number per sample", Shape::SCALAR, check.batched(inputs, 0)?)?;
        Ok(Type::batched(check.batched(inputs, 1)?))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(3)
    }

    fn run(&self, run: &mut Run<'_>) {
        let d = run.shape(1).len();
        reduce::flow_nll_dz(run.cpu, run.batch, d, run.inputs[0], run.inputs[1], run.output);
    }
}

impl Operation for FlowNllDj {
    const NAME: &'static str = "flow_nll_dj";
    const INPUTS: &'static [&'static str] = &["g"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        check.that(self.dims > 0, "D must be positive")?;
        check.same("g is one number per sample", Shape::SCALAR, check.batched(inputs, 0)?)?;
        Ok(Type::batched(Shape::SCALAR))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Ulp(1)
    }

    fn run(&self, run: &mut Run<'_>) {
        reduce::flow_nll_dj(self.dims as usize, run.inputs[0], run.output);
    }
}
