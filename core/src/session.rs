//! A [`Session`]: one program bound to memory, for one batch size, run on the CPU.
//!
//! The caller owns the memory and a session allocates nothing: ask [`Sizes::of`], hand over [`Memory`], fill the
//! inputs, [`Session::run`], read the outputs. Executors borrow safely: the one output splits its region, inputs lie
//! above or below it.

use crate::cpu::Cpu;
use crate::op::{MAX_INPUTS, Op, Run};
use crate::plan::{BLOCK, NONE, Program, Region};
use core::fmt;
use core::ops::Range;

/// Floats that each region of a session's memory needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Gradients.
    pub grads: usize,
    /// Moments of the optimiser.
    pub state: usize,
    /// Intermediate values.
    pub work: usize,
    /// Inputs and outputs.
    pub io: usize,
    /// What does not scale with the batch.
    pub fixed: usize,
    /// Packing panels of kernels.
    pub scratch: usize,
}

/// Why a session cannot be opened or run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// The batch is zero, or so large that offsets do not fit.
    Batch(usize),
    /// A region is shorter than the program needs.
    Memory {
        /// Which region.
        region: &'static str,
        /// Floats needed.
        needs: usize,
        /// Floats given.
        has: usize,
    },
    /// The program changes parameters, but they were given read-only.
    ReadOnly,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Batch(n) => write!(f, "a batch of {n} samples cannot be run"),
            SessionError::Memory { region, needs, has } => {
                write!(f, "region {region} needs {needs} floats, was given {has}")
            }
            SessionError::ReadOnly => f.write_str("the program trains, but its parameters were given read-only"),
        }
    }
}

impl core::error::Error for SessionError {}

impl Sizes {
    /// What `program` needs for `batch` samples and `workers` threads.
    ///
    /// # Errors
    /// [`SessionError::Batch`] for no samples, or more than can be addressed.
    pub fn of(program: &Program<'_>, batch: usize, workers: usize) -> Result<Sizes, SessionError> {
        let n = if batch == 0 || batch > 1 << 20 { Err(SessionError::Batch(batch)) } else { Ok(batch) }?;
        let floats = |region: Region| -> Result<usize, SessionError> {
            let each = usize::try_from(program.blocks(region)).ok().and_then(|b| b.checked_mul(BLOCK));
            let times = if region.is_batched() { n } else { 1 };
            let total = each.and_then(|e| e.checked_mul(times)).filter(|t| *t <= isize::MAX as usize / 4);
            total.ok_or(SessionError::Batch(batch))
        };
        let mut scratch = 0;
        for at in 0..program.len() {
            let planned = program.op(at);
            let output = program.tensor_type(planned.record.output);
            scratch = scratch.max(planned.op.scratch(&planned.types, output, n, workers));
        }
        Ok(Sizes {
            grads: floats(Region::Grads)?,
            state: floats(Region::State)?,
            work: floats(Region::Work)?,
            io: floats(Region::Io)?,
            fixed: floats(Region::Fixed)?,
            scratch,
        })
    }

    /// The larger of two in every region, for memory that serves several programs in turn.
    pub fn max(self, other: Sizes) -> Sizes {
        Sizes {
            grads: self.grads.max(other.grads),
            state: self.state.max(other.state),
            work: self.work.max(other.work),
            io: self.io.max(other.io),
            fixed: self.fixed.max(other.fixed),
            scratch: self.scratch.max(other.scratch),
        }
    }

    /// Floats in all.
    pub fn total(&self) -> usize {
        [self.grads, self.state, self.work, self.io, self.fixed, self.scratch]
            .iter()
            .fold(0, |sum: usize, n| sum.saturating_add(*n))
    }
}

/// The parameters of a session.
pub enum ParamsMemory<'m> {
    /// For programs that only read them.
    Shared(&'m [f32]),
    /// For programs that train.
    Exclusive(&'m mut [f32]),
}

/// Memory of a session, region by region. Gradients and moments must be zeros when a training begins.
pub struct Memory<'m> {
    /// Parameters.
    pub params: ParamsMemory<'m>,
    /// Gradients.
    pub grads: &'m mut [f32],
    /// Moments of the optimiser.
    pub state: &'m mut [f32],
    /// Intermediate values.
    pub work: &'m mut [f32],
    /// Inputs and outputs.
    pub io: &'m mut [f32],
    /// What does not scale with the batch.
    pub fixed: &'m mut [f32],
    /// Packing panels of kernels.
    pub scratch: &'m mut [f32],
}

impl<'m> Memory<'m> {
    /// Carves the regions of a session that does not train out of one slice.
    ///
    /// # Errors
    /// [`SessionError::Memory`] where it is shorter than [`Sizes::total`].
    pub fn carve(params: &'m [f32], memory: &'m mut [f32], sizes: &Sizes) -> Result<Memory<'m>, SessionError> {
        let needs = sizes.total();
        let has = memory.len();
        if has < needs {
            return Err(SessionError::Memory { region: "memory", needs, has });
        }
        let (grads, rest) = memory.split_at_mut(sizes.grads);
        let (state, rest) = rest.split_at_mut(sizes.state);
        let (work, rest) = rest.split_at_mut(sizes.work);
        let (io, rest) = rest.split_at_mut(sizes.io);
        let (fixed, rest) = rest.split_at_mut(sizes.fixed);
        let (scratch, _) = rest.split_at_mut(sizes.scratch);
        Ok(Memory { params: ParamsMemory::Shared(params), grads, state, work, io, fixed, scratch })
    }
}

/// One program bound to memory.
///
/// ```
/// use adflow::cpu::Cpu;
/// use adflow::graph::Graph;
/// use adflow::op::Scale;
/// use adflow::params::Params;
/// use adflow::place::{Reuse, place};
/// use adflow::session::{Memory, Session, Sizes};
/// use adflow::shape::Shape;
/// use adflow::threads::Threads;
///
/// let (mut graph, params) = (Graph::new(), Params::new());
/// let x = graph.input("x", Shape::vector(3));
/// let y = graph.emit("y", Scale { factor: 10.0 }, &[x])?;
/// graph.output("y", y);
/// let program = place("tenfold", &graph, &params.layout(), Reuse::Share)?;
///
/// let (threads, batch) = (Threads::serial(), 2);
/// let sizes = Sizes::of(&program.program(), batch, threads.count())?;
/// let mut memory = vec![0.0; sizes.total()];
/// let memory = Memory::carve(&[], &mut memory, &sizes)?;
/// let mut session = Session::new(program.program(), batch, Cpu::detect(&threads), memory)?;
/// session.input("x").expect("an input").copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// session.run();
/// assert_eq!(session.output("y"), Some(&[10.0, 20.0, 30.0, 40.0, 50.0, 60.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session<'m> {
    program: Program<'m>,
    batch: usize,
    cpu: Cpu<'m>,
    memory: Memory<'m>,
}

/// A region with a hole where the output is.
#[derive(Clone, Copy, Default)]
struct Part<'r> {
    below: &'r [f32],
    above: &'r [f32],
    above_at: usize,
}

impl<'r> Part<'r> {
    fn whole(region: &'r [f32]) -> Part<'r> {
        Part { below: region, above: &[], above_at: usize::MAX }
    }

    fn get(&self, at: usize, len: usize) -> &'r [f32] {
        if at >= self.above_at { &self.above[at - self.above_at..][..len] } else { &self.below[at..][..len] }
    }
}

impl<'m> Session<'m> {
    /// Binds a program to memory.
    ///
    /// # Errors
    /// [`SessionError::Batch`] for no samples, or more than can be addressed; [`SessionError::Memory`] names the region that is too
    /// short; [`SessionError::ReadOnly`] for a program that trains, with [`ParamsMemory::Shared`].
    pub fn new(
        program: Program<'m>,
        batch: usize,
        cpu: Cpu<'m>,
        memory: Memory<'m>,
    ) -> Result<Session<'m>, SessionError> {
        let sizes = Sizes::of(&program, batch, cpu.threads().count())?;
        Session::bind(program, batch, cpu, memory, &sizes)
    }

    /// [`Session::new`] with sizes that were asked for before, for this program, batch and number of threads.
    pub(crate) fn bind(
        program: Program<'m>,
        batch: usize,
        cpu: Cpu<'m>,
        memory: Memory<'m>,
        sizes: &Sizes,
    ) -> Result<Session<'m>, SessionError> {
        let params = match &memory.params {
            ParamsMemory::Shared(_) if program.trains() => return Err(SessionError::ReadOnly),
            ParamsMemory::Shared(p) => p.len(),
            ParamsMemory::Exclusive(p) => p.len(),
        };
        let checks = [
            ("params", program.blocks(Region::Params) as usize * BLOCK, params),
            ("grads", sizes.grads, memory.grads.len()),
            ("state", sizes.state, memory.state.len()),
            ("work", sizes.work, memory.work.len()),
            ("io", sizes.io, memory.io.len()),
            ("fixed", sizes.fixed, memory.fixed.len()),
            ("scratch", sizes.scratch, memory.scratch.len()),
        ];
        match checks.into_iter().find(|(_, needs, has)| has < needs) {
            Some((region, needs, has)) => Err(SessionError::Memory { region, needs, has }),
            None => Ok(Session { program, batch, cpu, memory }),
        }
    }

    /// Samples in the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The program.
    pub fn program(&self) -> Program<'m> {
        self.program
    }

    /// The values of an input (or output), to be written before a run; `None` if the program has none of that name.
    pub fn input(&mut self, name: &str) -> Option<&mut [f32]> {
        let (region, range) = self.program.place_of(name, self.batch)?;
        match region {
            Region::Io => Some(&mut self.memory.io[range]),
            Region::Fixed => Some(&mut self.memory.fixed[range]),
            Region::Params | Region::Grads | Region::State | Region::Work => None,
        }
    }

    /// The values of an output (or input) after a run; `None` if the program has none of that name.
    pub fn output(&self, name: &str) -> Option<&[f32]> {
        let (region, range) = self.program.place_of(name, self.batch)?;
        match region {
            Region::Io => Some(&self.memory.io[range]),
            Region::Fixed => Some(&self.memory.fixed[range]),
            Region::Params | Region::Grads | Region::State | Region::Work => None,
        }
    }

    /// Runs every op in order. Past the [deadline](crate::threads::Threads::deadline) of its threads it ends early.
    pub fn run(&mut self) {
        for at in 0..self.program.len() {
            if self.cpu.threads().deadline().passed() {
                return;
            }
            self.step(at);
        }
    }

    /// Runs every op and shows each output right after it was written; what the probe changes is what later ops read.
    pub fn run_with(&mut self, probe: &mut dyn FnMut(usize, &mut [f32])) {
        for at in 0..self.program.len() {
            self.step(at);
            probe(at, self.written(at));
        }
    }

    /// The output of op `at` as it lies in memory now.
    fn written(&mut self, at: usize) -> &mut [f32] {
        let t = &self.program.tensors[self.program.op(at).record.output as usize];
        let range = t.range(self.batch);
        let region: &mut [f32] = match Region::from_word(t.region) {
            Some(Region::Params) => match &mut self.memory.params {
                // A session that writes parameters was given them exclusively.
                ParamsMemory::Shared(_) => return &mut [],
                ParamsMemory::Exclusive(p) => p,
            },
            Some(Region::Grads) => self.memory.grads,
            Some(Region::State) => self.memory.state,
            Some(Region::Work) => self.memory.work,
            Some(Region::Io) => self.memory.io,
            Some(Region::Fixed) => self.memory.fixed,
            None => return &mut [],
        };
        &mut region[range]
    }

    fn step(&mut self, at: usize) {
        let planned = self.program.op(at);
        let record = planned.record;
        let out = &self.program.tensors[record.output as usize];
        let Range { start: out_at, end: out_end } = out.range(self.batch);
        let m = &mut self.memory;
        let is_adam = matches!(planned.op, Op::Adam(_));
        let mut parts = [Part::default(); crate::plan::REGIONS];
        let mut output: &mut [f32] = &mut [];
        let mut state: &mut [f32] = &mut [];
        // Each region is either whole for reading or split around the output.
        macro_rules! bind {
            ($region:expr, $memory:expr) => {{
                let memory: &mut [f32] = $memory;
                if out.region == $region as u32 {
                    let (below, rest) = memory.split_at_mut(out_at);
                    let (middle, above) = rest.split_at_mut(out_end - out_at);
                    output = middle;
                    parts[$region as usize] = Part { below, above, above_at: out_end };
                } else {
                    parts[$region as usize] = Part::whole(memory);
                }
            }};
        }
        match &mut m.params {
            ParamsMemory::Shared(p) => parts[Region::Params as usize] = Part::whole(p),
            ParamsMemory::Exclusive(p) => bind!(Region::Params, p),
        }
        bind!(Region::Grads, m.grads);
        bind!(Region::Work, m.work);
        bind!(Region::Io, m.io);
        bind!(Region::Fixed, m.fixed);
        if is_adam {
            state = &mut *m.state;
        }
        let mut inputs: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
        for (input, &tensor) in inputs.iter_mut().zip(&record.inputs) {
            if tensor != NONE {
                let t = &self.program.tensors[tensor as usize];
                let range = t.range(self.batch);
                // The optimiser's moments are handed over as `state`, to be changed in place.
                if t.region != Region::State as u32 {
                    *input = parts[t.region as usize].get(range.start, range.len());
                } else {
                    state = &mut core::mem::take(&mut state)[range];
                }
            }
        }
        let mut run = Run {
            cpu: self.cpu,
            batch: self.batch,
            inputs,
            types: planned.types,
            output,
            output_type: self.program.tensor_type(record.output),
            scratch: &mut *m.scratch,
            state,
        };
        planned.op.run(&mut run);
    }
}
