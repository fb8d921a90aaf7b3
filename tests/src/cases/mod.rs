//! Cases as data: for every op kind, attributes and input shapes around the edges of vectors, tiles and windows.
//!
//! A case is an op and its inputs' types with a rule that fills them; values, gradients, parity and speed are modes that
//! run over the same list. A forward op's case also yields the cases of the ops of its gradient where they share
//! geometry, so both are always tried on the same shapes. One file per family.

mod attention;
mod batch_norm;
mod contrast;
mod conv;
mod flow;
mod layout;
mod linear;
mod nearest;
mod pointwise;
mod pool;

use adflow::op::{MAX_INPUTS, Op, Types};
use adflow::rng::Rng;
use adflow::shape::{Shape, Type};

/// Sizes on both sides of the edges of vectors (4, 8, 16 lanes) and blocks (64).
pub const SIZES: [u32; 11] = [1, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65];
/// Batches a case is run with unless it says otherwise.
pub const BATCHES: &[usize] = &[1, 2, 3];

/// How an input is filled.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// Uniform in low ≤ x < high.
    Uniform(f32, f32),
    /// One of these, so that values tie and sit exactly on kinks.
    Levels(&'static [f32]),
    /// Channel numbers in random order, as bits.
    Permutation,
    /// These values.
    Exactly(Vec<f32>),
}

/// An input of a case.
#[derive(Clone, Debug)]
pub struct Input {
    /// Shape, and whether once per sample.
    pub ty: Type,
    /// Values.
    pub fill: Fill,
}

impl Input {
    /// Uniform in −1..1.
    pub fn new(ty: Type) -> Input {
        Input { ty, fill: Fill::Uniform(-1.0, 1.0) }
    }

    /// The same with other values.
    pub fn fill(self, fill: Fill) -> Input {
        Input { fill, ..self }
    }
}

/// One block per sample, uniform in −1..1.
pub fn batched(shape: Shape) -> Input {
    Input::new(Type::batched(shape))
}

/// One block, uniform in −1..1.
pub fn single(shape: Shape) -> Input {
    Input::new(Type::single(shape))
}

/// An op with its inputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// What runs.
    pub op: Op,
    /// Its inputs.
    pub inputs: [Option<Input>; MAX_INPUTS],
    /// What the output holds before, for the op that changes it in place.
    pub before: Option<Input>,
    /// Batches it is run with.
    pub batches: &'static [usize],
}

impl Case {
    /// A case with all of the first slots used.
    pub fn new(op: impl Into<Op>, inputs: impl IntoIterator<Item = Input>) -> Case {
        Case::slots(op, inputs.into_iter().map(Some))
    }

    /// A case some of whose slots are left out.
    pub fn slots(op: impl Into<Op>, inputs: impl IntoIterator<Item = Option<Input>>) -> Case {
        let mut slots = [const { None }; MAX_INPUTS];
        for (slot, input) in slots.iter_mut().zip(inputs) {
            *slot = input;
        }
        Case { op: op.into(), inputs: slots, before: None, batches: BATCHES }
    }

    /// The same with other batches.
    pub fn batches(self, batches: &'static [usize]) -> Case {
        Case { batches, ..self }
    }

    /// Whether it is there for the values of large shapes only, where differences would take too long.
    pub fn is_large(&self) -> bool {
        self.inputs.iter().flatten().any(|i| i.ty.shape.len() > 1 << 13)
    }

    /// Types of the inputs.
    pub fn types(&self) -> Types {
        std::array::from_fn(|slot| self.inputs[slot].as_ref().map(|i| i.ty))
    }

    /// Values of the inputs for `batch` samples; the first samples of a larger batch are those of a smaller one.
    pub fn values(&self, batch: usize) -> [Vec<f32>; MAX_INPUTS] {
        std::array::from_fn(|slot| self.inputs[slot].as_ref().map_or_else(Vec::new, |i| values(i, batch, slot as u32)))
    }

    /// Values the output holds before.
    pub fn before(&self, batch: usize) -> Option<Vec<f32>> {
        self.before.as_ref().map(|i| values(i, batch, MAX_INPUTS as u32))
    }

    /// Whether a gradient exists and the inputs avoid ties and kinks, so that differences can be taken.
    pub fn is_smooth(&self) -> bool {
        let ties = |i: &Input| matches!(i.fill, Fill::Levels(_));
        !self.inputs.iter().flatten().any(ties)
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.op)?;
        for (slot, input) in self.inputs.iter().enumerate() {
            if let Some(input) = input {
                let name = self.op.input_names().get(slot).map_or("?", |n| n.trim_start_matches('?'));
                write!(f, " {name}:{}", input.ty)?;
            }
        }
        Ok(())
    }
}

fn values(input: &Input, batch: usize, slot: u32) -> Vec<f32> {
    let len = input.ty.shape.len() * if input.ty.batched { batch } else { 1 };
    let mut rng = Rng::new(len_seed(input.ty.shape), 0, slot);
    match &input.fill {
        Fill::Uniform(low, high) => (0..len).map(|_| rng.range(*low..*high)).collect(),
        Fill::Levels(levels) => (0..len).map(|_| levels[rng.below(levels.len() as u32) as usize]).collect(),
        Fill::Permutation => {
            let mut order = vec![0; len];
            rng.permutation(&mut order);
            order.into_iter().map(f32::from_bits).collect()
        }
        Fill::Exactly(values) => values.clone(),
    }
}

fn len_seed(shape: Shape) -> u64 {
    shape.0.iter().fold(17, |seed, &d| seed * 1009 + u64::from(d))
}

/// A family of cases: its name and the function that lists it.
pub type Family = (&'static str, fn() -> Vec<Case>);

macro_rules! families {
    ($($name:ident)*) => {
        /// Every family.
        pub const FAMILIES: &[Family] = &[$((stringify!($name), $name::cases)),*];

        /// A test for each family, which calls a function with its name.
        #[macro_export]
        macro_rules! each_family {
            ($check:path) => {
                $(#[test]
                fn $name() {
                    $check(stringify!($name));
                })*
            };
        }
    };
}
families!(conv linear nearest pointwise pool layout flow attention contrast);

/// Every case.
pub fn all() -> Vec<Case> {
    FAMILIES.iter().flat_map(|(_, cases)| cases()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_kind_has_a_case() {
        let cases = super::all();
        for (kind, name) in adflow::op::KINDS {
            assert!(cases.iter().any(|c| c.op.kind() == *kind), "op {name} has no case");
        }
    }

    #[test]
    fn every_case_keeps_the_shape_rule() {
        for case in super::all() {
            if let Err(error) = case.op.output(&case.types()) {
                panic!("{case}: {error}");
            }
        }
    }
}
