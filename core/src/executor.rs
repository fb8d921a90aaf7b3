//! What scoring and training ask of a device: hold parameters, run programs over them.
//!
//! The CPU is one [`Device`](trait@Device) ([`Cpu`](crate::cpu::Cpu)), a GPU another (`adflow-vulkan`). An [`Executor`] holds one set of
//! parameters, with the gradients and moments of a training; programs are [prepared](Executor::prepare) once for each batch
//! size and then run as often as wanted.

use crate::plan::{Program, Region};
use crate::session::SessionError;
use core::fmt;
#[cfg(feature = "alloc")]
use {alloc::boxed::Box, alloc::string::String};

#[cfg(feature = "alloc")]
pub use on_cpu::CpuExecutor;

/// What went wrong on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFault {
    /// The device does not answer any more: it was reset, removed, or hangs. What it held is gone.
    Lost,
    /// There is no memory left on the device.
    OutOfMemory,
    /// The device cannot do what was asked: a limit, or a missing feature.
    Unsupported,
    /// The memory or batch handed over does not fit the program.
    Session(SessionError),
    /// Any other failure.
    Failed,
}

/// A failure of a device, and during what.
///
/// ```
/// use adflow::executor::{DeviceError, DeviceFault};
/// let error = DeviceError::new(DeviceFault::Lost, "running a program");
/// assert_eq!(error.to_string(), "the device was lost while running a program");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceError {
    /// What kind of failure.
    pub fault: DeviceFault,
    /// What was being done.
    pub doing: &'static str,
}

impl DeviceError {
    /// A failure while `doing`.
    pub const fn new(fault: DeviceFault, doing: &'static str) -> DeviceError {
        DeviceError { fault, doing }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = self.doing;
        match self.fault {
            DeviceFault::Lost => write!(f, "the device was lost while {doing}"),
            DeviceFault::OutOfMemory => write!(f, "the device has no memory left for {doing}"),
            DeviceFault::Unsupported => write!(f, "the device cannot do this: {doing}"),
            DeviceFault::Session(error) => write!(f, "{error} ({doing})"),
            DeviceFault::Failed => write!(f, "the device failed while {doing}"),
        }
    }
}

impl core::error::Error for DeviceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.fault {
            DeviceFault::Session(error) => Some(error),
            DeviceFault::Lost | DeviceFault::OutOfMemory | DeviceFault::Unsupported | DeviceFault::Failed => None,
        }
    }
}

impl From<SessionError> for DeviceError {
    fn from(error: SessionError) -> DeviceError {
        DeviceError::new(DeviceFault::Session(error), "opening a session")
    }
}

/// A program made ready for one batch size, see [`Executor::prepare`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prepared(pub usize);

/// Parameters on a device, and the programs that run over them.
///
/// Inputs are written, the program run, outputs read, in this order; another program may use the same memory, so
/// outputs last until the next run.
///
/// ```
/// use adflow::cpu::Cpu;
/// use adflow::executor::{Device, Executor};
/// use adflow::graph::Graph;
/// use adflow::op::Gain;
/// use adflow::params::Params;
/// use adflow::place::{Reuse, place};
/// use adflow::shape::Shape;
/// use adflow::threads::Threads;
///
/// let (mut graph, mut params) = (Graph::new(), Params::new());
/// params.add("gamma", Shape::SCALAR, false, vec![2.0])?;
/// let (x, gamma) = (graph.input("x", Shape::vector(2)), graph.param(&params, "gamma")?);
/// let y = graph.emit("y", Gain {}, &[x, gamma])?;
/// graph.output("y", y);
/// let program = place("gain", &graph, &params.layout(), Reuse::Share)?;
///
/// let threads = Threads::serial();
/// let cpu = Cpu::detect(&threads);
/// let mut executor = cpu.executor(&params.pack(), 0, 0)?;
/// let prepared = executor.prepare(program.program(), 1)?;
/// executor.input(prepared, "x").copy_from_slice(&[5.0, 7.0]);
/// executor.run(prepared)?;
/// assert_eq!(executor.output(prepared, "y"), [10.0, 14.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Executor {
    /// Makes a program ready for `batch` samples. Preparing one that is ready costs next to nothing.
    ///
    /// # Errors
    /// No memory, a device that cannot run an op, or parameters that are not the program's.
    fn prepare(&mut self, program: Program<'_>, batch: usize) -> Result<Prepared, DeviceError>;

    /// The values of an input, to be written before a run; empty if the program has none of that name.
    fn input(&mut self, prepared: Prepared, name: &str) -> &mut [f32];

    /// Runs every op in order and waits for the outputs.
    ///
    /// # Errors
    /// The device failed; after [`DeviceFault::Lost`] it can be [recovered](Self::recover).
    fn run(&mut self, prepared: Prepared) -> Result<(), DeviceError>;

    /// Runs op by op and shows each output right after it was written; what the probe changes is what later ops read.
    ///
    /// # Errors
    /// Those of [`Executor::run`].
    fn run_with(&mut self, prepared: Prepared, probe: &mut dyn FnMut(usize, &mut [f32])) -> Result<(), DeviceError>;

    /// The values of an output after a run; empty if the program has none of that name.
    fn output(&self, prepared: Prepared, name: &str) -> &[f32];

    /// Copies the first values of parameters, gradients or moments into `values`.
    ///
    /// # Errors
    /// [`DeviceFault::Unsupported`] for another region or more values than there are; or the device failed.
    fn read(&mut self, region: Region, values: &mut [f32]) -> Result<(), DeviceError>;

    /// Replaces the first values of parameters, gradients or moments.
    ///
    /// # Errors
    /// [`DeviceFault::Unsupported`] for another region or more values than there are; or the device failed.
    fn write(&mut self, region: Region, values: &[f32]) -> Result<(), DeviceError>;

    /// Whether what the executor holds can be lost, so that a training should keep a copy.
    fn is_volatile(&self) -> bool {
        false
    }

    /// Makes the executor usable again after [`DeviceFault::Lost`], with the parameters it was made with, zeros for
    /// gradients and moments, and the inputs of the run that failed; programs stay prepared.
    ///
    /// # Errors
    /// The device cannot be opened again.
    fn recover(&mut self) -> Result<(), DeviceError> {
        Err(DeviceError::new(DeviceFault::Failed, "recovering"))
    }

    /// Bytes that parameters and programs take on a device with memory of its own; else 0.
    fn device_bytes(&self) -> u64 {
        0
    }

    /// Samples that are best run at once where there is a choice: 1 where one is as fast as another.
    fn preferred_batch(&self) -> usize {
        1
    }
}

/// Where programs run: [`Cpu`](crate::cpu::Cpu), or a GPU by `adflow-vulkan`. Training and scoring take any.
#[cfg(feature = "alloc")]
pub trait Device: Sync {
    /// Puts parameters on the device, with that many floats for gradients and moments (zeros).
    ///
    /// # Errors
    /// No memory on the device, or it is lost.
    fn executor(&self, params: &[f32], grads: usize, state: usize) -> Result<Box<dyn Executor + '_>, DeviceError>;

    /// Name of the device, for messages.
    fn describe(&self) -> String;
}

#[cfg(feature = "alloc")]
mod on_cpu {
    use super::{Device, DeviceError, DeviceFault, Executor, Prepared};
    use crate::cpu::Cpu;
    use crate::place::OwnedProgram;
    use crate::plan::{Program, Region};
    use crate::session::{Memory, ParamsMemory, Session, Sizes};
    use alloc::boxed::Box;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Programs on the CPU, over memory that the executor allocates.
    pub struct CpuExecutor<'c> {
        cpu: Cpu<'c>,
        programs: Vec<(OwnedProgram, usize, Sizes)>,
        params: Vec<f32>,
        grads: Vec<f32>,
        state: Vec<f32>,
        work: Vec<f32>,
        io: Vec<f32>,
        fixed: Vec<f32>,
        scratch: Vec<f32>,
    }

    impl<'c> CpuExecutor<'c> {
        /// Copies the parameters; so many gradients and moments are zeros.
        pub fn new(cpu: Cpu<'c>, params: &[f32], grads: usize, state: usize) -> CpuExecutor<'c> {
            CpuExecutor {
                cpu,
                programs: Vec::new(),
                params: params.to_vec(),
                grads: vec![0.0; grads],
                state: vec![0.0; state],
                work: Vec::new(),
                io: Vec::new(),
                fixed: Vec::new(),
                scratch: Vec::new(),
            }
        }

        fn session(&mut self, prepared: Prepared) -> Result<Session<'_>, DeviceError> {
            let (program, batch, sizes) = &self.programs[prepared.0];
            let memory = Memory {
                params: ParamsMemory::Exclusive(&mut self.params),
                grads: &mut self.grads,
                state: &mut self.state,
                work: &mut self.work,
                io: &mut self.io,
                fixed: &mut self.fixed,
                scratch: &mut self.scratch,
            };
            Ok(Session::bind(program.program(), *batch, self.cpu, memory, sizes)?)
        }

        fn region(&mut self, region: Region) -> Result<&mut [f32], DeviceError> {
            match region {
                Region::Params => Ok(&mut self.params),
                Region::Grads => Ok(&mut self.grads),
                Region::State => Ok(&mut self.state),
                Region::Work | Region::Io | Region::Fixed => {
                    Err(DeviceError::new(DeviceFault::Unsupported, "copying values of a single run"))
                }
            }
        }
    }

    impl Executor for CpuExecutor<'_> {
        fn prepare(&mut self, program: Program<'_>, batch: usize) -> Result<Prepared, DeviceError> {
            if let Some(at) = self.programs.iter().position(|(p, n, _)| *n == batch && p.program() == program) {
                return Ok(Prepared(at));
            }
            let sizes = Sizes::of(&program, batch, self.cpu.threads().count())?;
            let grow = |values: &mut Vec<f32>, len: usize| {
                if values.len() < len {
                    values.resize(len, 0.0);
                }
            };
            grow(&mut self.work, sizes.work);
            grow(&mut self.io, sizes.io);
            grow(&mut self.fixed, sizes.fixed);
            grow(&mut self.scratch, sizes.scratch);
            self.programs.push((OwnedProgram::of(&program), batch, sizes));
            // Says at once whether parameters, gradients and moments fit.
            let prepared = Prepared(self.programs.len() - 1);
            self.session(prepared)?;
            Ok(prepared)
        }

        fn input(&mut self, prepared: Prepared, name: &str) -> &mut [f32] {
            let (program, batch, _) = &self.programs[prepared.0];
            match program.program().place_of(name, *batch) {
                Some((Region::Io, range)) => &mut self.io[range],
                Some((Region::Fixed, range)) => &mut self.fixed[range],
                _ => &mut [],
            }
        }

        fn run(&mut self, prepared: Prepared) -> Result<(), DeviceError> {
            self.session(prepared)?.run();
            Ok(())
        }

        fn run_with(
            &mut self,
            prepared: Prepared,
            probe: &mut dyn FnMut(usize, &mut [f32]),
        ) -> Result<(), DeviceError> {
            self.session(prepared)?.run_with(probe);
            Ok(())
        }

        fn output(&self, prepared: Prepared, name: &str) -> &[f32] {
            let (program, batch, _) = &self.programs[prepared.0];
            match program.program().place_of(name, *batch) {
                Some((Region::Io, range)) => &self.io[range],
                Some((Region::Fixed, range)) => &self.fixed[range],
                _ => &[],
            }
        }

        fn read(&mut self, region: Region, values: &mut [f32]) -> Result<(), DeviceError> {
            let short = DeviceError::new(DeviceFault::Unsupported, "reading more values than there are");
            values.copy_from_slice(self.region(region)?.get(..values.len()).ok_or(short)?);
            Ok(())
        }

        fn write(&mut self, region: Region, values: &[f32]) -> Result<(), DeviceError> {
            let short = DeviceError::new(DeviceFault::Unsupported, "writing more values than there are");
            self.region(region)?.get_mut(..values.len()).ok_or(short)?.copy_from_slice(values);
            Ok(())
        }
    }

    impl Device for Cpu<'_> {
        fn executor(&self, params: &[f32], grads: usize, state: usize) -> Result<Box<dyn Executor + '_>, DeviceError> {
            Ok(Box::new(CpuExecutor::new(*self, params, grads, state)))
        }

        fn describe(&self) -> String {
            format!("cpu ({}, {} threads)", self.isa().name(), self.threads().count())
        }
    }
}
