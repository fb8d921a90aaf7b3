//! Concatenation of channels, a range of channels, and the gradient of the range.
//!
//! concat: `y = [a ‖ b ‖ …]`; slice: `y = x[first .. first + count]`; embed: x placed at `first` among zeros. The
//! gradient of a concat is slices, of a slice an embed, of an embed a slice.

use super::{Check, MAX_INPUTS, Operation, Rule, Run, Types};
use crate::kernels::layout;
use crate::shape::{Shape, ShapeError, Type};
use crate::tolerance::Tolerance;

record! {
    /// `y = [a ‖ b ‖ …]` along channels.
    Concat {}
}

record! {
    /// `y = x[first .. first + count]` along channels.
    Slice {
        /// First channel.
        first: u32,
        /// Number of channels.
        count: u32,
    }
}

record! {
    /// x at channels `first ..` of `count` channels, zero elsewhere.
    Embed {
        /// First channel.
        first: u32,
        /// Channels of y.
        count: u32,
    }
}

fn with_channels(x: Shape, c: u32) -> Shape {
    Shape([c, x.0[1], x.0[2], x.0[3]])
}

impl Operation for Concat {
    const NAME: &'static str = "concat";
    const INPUTS: &'static [&'static str] = &["a", "?b", "?c", "?d", "?e", "?f"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let first = check.batched(inputs, 0)?;
        let mut channels = 0u64;
        for slot in 0..MAX_INPUTS {
            if inputs[slot].is_some() {
                let x = check.batched(inputs, slot)?;
                check.same("inputs agree in all but channels", with_channels(first, x.c()), x)?;
                channels += u64::from(x.c());
            }
        }
        check.that(channels <= 1 << 28, "too many channels")?;
        Ok(Type::batched(with_channels(first, channels as u32)))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        // Slots left out are empty slices and copy nothing.
        layout::concat(run.cpu, run.batch, &run.inputs, run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        let mut first = 0;
        for slot in 0..MAX_INPUTS {
            if !g.has(slot) {
                continue;
            }
            let count = g.shape(slot).c();
            g.give(slot, Slice { first, count }, &[g.upstream()]);
            first += count;
        }
    }
}

impl Operation for Slice {
    const NAME: &'static str = "slice";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        let end = self.first.checked_add(self.count).filter(|end| *end <= x.c());
        check.that(self.count > 0 && end.is_some(), "the range must lie inside the channels")?;
        Ok(Type::batched(with_channels(x, self.count)))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        let (x, y) = (run.shape(0), run.output_type.shape);
        let at = self.first as usize * (x.len() / x.c() as usize);
        layout::slice(run.cpu, run.batch, x.len(), at, y.len(), run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, Embed { first: self.first, count: g.shape(0).c() }, &[g.upstream()]);
    }
}

impl Operation for Embed {
    const NAME: &'static str = "embed";
    const INPUTS: &'static [&'static str] = &["x"];

    fn output(&self, inputs: &Types) -> Result<Type, ShapeError> {
        let check = Check(Self::NAME);
        let x = check.batched(inputs, 0)?;
        check.that(
            u64::from(self.first) + u64::from(x.c()) <= u64::from(self.count),
            "the range must lie inside the channels",
        )?;
        Ok(Type::batched(with_channels(x, self.count)))
    }

    fn tolerance(&self, _: &Types, _: usize) -> Tolerance {
        Tolerance::Exact
    }

    fn run(&self, run: &mut Run<'_>) {
        let (x, y) = (run.shape(0), run.output_type.shape);
        let at = self.first as usize * (x.len() / x.c() as usize);
        layout::slice_dx(run.cpu, run.batch, y.len(), at, x.len(), run.inputs[0], run.output);
    }

    fn gradient(&self, g: &mut Rule) {
        g.give(0, Slice { first: self.first, count: g.shape(0).c() }, &[g.upstream()]);
    }
}
