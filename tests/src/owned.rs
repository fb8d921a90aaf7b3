//! Programs and single ops in memory of their own, for tests.

use adflow::cpu::Cpu;
use adflow::graph::{Graph, TensorId};
use adflow::op::{MAX_INPUTS, Op, Run, Types};
use adflow::params::Params;
use adflow::place::{Reuse, place};
use adflow::plan::Program;
use adflow::session::{Memory, ParamsMemory, Session, SessionError, Sizes};
use adflow::shape::{Shape, Type};
use adflow::threads::Threads;

/// The memory of a session, region by region.
pub struct Owned {
    /// Parameters.
    pub params: Vec<f32>,
    /// Gradients.
    pub grads: Vec<f32>,
    /// Moments.
    pub state: Vec<f32>,
    work: Vec<f32>,
    io: Vec<f32>,
    fixed: Vec<f32>,
    scratch: Vec<f32>,
}

impl Owned {
    /// Exactly what the program asks for. What it must write before reading is filled with `garbage`.
    pub fn new(
        program: &Program<'_>,
        batch: usize,
        cpu: Cpu<'_>,
        params: &[f32],
        garbage: f32,
    ) -> Result<Owned, SessionError> {
        let sizes = Sizes::of(program, batch, cpu.threads().count())?;
        Ok(Owned {
            params: params.to_vec(),
            grads: vec![0.0; sizes.grads],
            state: vec![0.0; sizes.state],
            work: vec![garbage; sizes.work],
            io: vec![garbage; sizes.io],
            fixed: vec![garbage; sizes.fixed],
            scratch: vec![garbage; sizes.scratch],
        })
    }

    /// A session over this memory.
    pub fn session<'m>(
        &'m mut self,
        program: Program<'m>,
        batch: usize,
        cpu: Cpu<'m>,
    ) -> Result<Session<'m>, SessionError> {
        let params = ParamsMemory::Exclusive(&mut self.params);
        let Owned { grads, state, work, io, fixed, scratch, .. } = self;
        Session::new(program, batch, cpu, Memory { params, grads, state, work, io, fixed, scratch })
    }
}

/// Runs one op on its own: scratch has exactly the announced length, and whatever must be written starts as NaN.
/// `before` is what the output holds (Adam changes it in place), `state` the moments.
pub fn run_op(
    cpu: Cpu<'_>,
    op: &Op,
    batch: usize,
    types: &Types,
    inputs: [&[f32]; MAX_INPUTS],
    before: Option<&[f32]>,
    state: &mut [f32],
) -> Vec<f32> {
    let output_type: Type = op.output(types).unwrap_or_else(|e| panic!("{op}: {e}"));
    let len = output_type.shape.len() * if output_type.batched { batch } else { 1 };
    let mut output = before.map_or_else(|| vec![f32::NAN; len], <[f32]>::to_vec);
    let mut scratch = vec![f32::NAN; op.scratch(types, output_type, batch, cpu.threads().count())];
    op.run(&mut Run {
        cpu,
        batch,
        inputs,
        types: *types,
        output: &mut output,
        output_type,
        scratch: &mut scratch,
        state,
    });
    output
}

/// Runs a graph whose one input is "image" on `batch` samples and returns what `outputs` hold.
pub fn run_graph(
    g: &mut Graph,
    params: &Params,
    x: &[f32],
    batch: usize,
    outputs: &[TensorId],
) -> Vec<(Shape, Vec<f32>)> {
    let name = |i: usize| format!("out{i}");
    for (i, id) in outputs.iter().enumerate() {
        g.output(&name(i), *id);
    }
    let program = place("test", &*g, &params.layout(), Reuse::Share).unwrap();
    let threads = Threads::new(2);
    let cpu = Cpu::detect(&threads);
    let mut memory = Owned::new(&program.program(), batch, cpu, &params.pack(), f32::NAN).unwrap();
    let mut session = memory.session(program.program(), batch, cpu).unwrap();
    session.input("image").unwrap().copy_from_slice(x);
    session.run();
    let read = |(i, id): (usize, &TensorId)| (g.shape(*id), session.output(&name(i)).unwrap().to_vec());
    outputs.iter().enumerate().map(read).collect()
}
