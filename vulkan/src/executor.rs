//! Programs on the device: parameters stay there, inputs go in, outputs come back.
//!
//! A device that is lost is opened once more and the run repeated; if that fails too, the same call finishes on the CPU,
//! and so do all after it. A training has lost what only the device knew: its run reports the loss, and
//! [`recover`](adflow::executor::Executor::recover) brings the executor back for a restart from the last known state.
#![allow(unsafe_code)]

use crate::buffer::Buffer;
use crate::device::VulkanDevice;
use crate::error::Doing;
use crate::gpu::Gpu;
use crate::record::{Copy, Places, Recorded, Span, Task};
use adflow::cpu::Cpu;
use adflow::executor::{CpuExecutor, DeviceError, DeviceFault, Executor, Prepared};
use adflow::place::OwnedProgram;
use adflow::plan::{BLOCK, Program, REGIONS, Region};
use adflow::session::SessionError;
use adflow::threads::Threads;
use ash::vk;
use half::f16;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Samples that are run at once where there is a choice: enough to fill small GPUs with one part's views.
pub const PREFERRED_BATCH: usize = 16;
/// Values that travel through a copy at once.
const PIECE: usize = 1 << 22;

/// Values of a run that the CPU sees, and where the device has them.
struct Exchange {
    host: Buffer,
    /// Where memory is shared, the same as `host`.
    device: Option<Buffer>,
}

impl Exchange {
    fn new(gpu: &Arc<Gpu>, name: &'static str, floats: usize) -> Result<Exchange, DeviceError> {
        let device = if gpu.staging { Some(Buffer::new(gpu, name, floats, false)?) } else { None };
        Ok(Exchange { host: Buffer::new(gpu, name, floats, true)?, device })
    }

    fn on_device(&self) -> vk::Buffer {
        self.device.as_ref().map_or(self.host.raw, |d| d.raw)
    }

    /// The copy of a range to the device.
    fn inward(&self, range: &Range<usize>) -> Copy {
        let span = |buffer| Span { buffer, from: 4 * range.start as u64, len: 4 * range.len() as u64 };
        Copy { from: span(self.host.raw), to: span(self.on_device()) }
    }

    fn outward(&self, range: &Range<usize>) -> Copy {
        let Copy { from, to } = self.inward(range);
        Copy { from: to, to: from }
    }
}

struct Ready {
    program: OwnedProgram,
    batch: usize,
    io: Exchange,
    fixed: Exchange,
    recorded: Option<Recorded>,
}

/// How long an op took on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTime {
    /// Position in the program.
    pub at: usize,
    /// Nanoseconds.
    pub ns: f64,
}

/// Everything that lies on one opened device.
struct OnGpu {
    gpu: Arc<Gpu>,
    fence: vk::Fence,
    params: Buffer,
    grads: Buffer,
    state: Buffer,
    work: Buffer,
    nothing: Buffer,
    stage: Buffer,
    /// Whether intermediate values have 16 bits.
    half: bool,
    programs: Vec<Ready>,
}

/// Parameters on a device and the programs over them; see [`Executor`].
pub struct VulkanExecutor {
    device: VulkanDevice,
    side: Side,
    /// Parameters as they were handed over, to start again from.
    params: Vec<f32>,
    grads: usize,
    state: usize,
    /// Whether the device was opened again already.
    reopened: bool,
    /// The program that ran last.
    last: Option<Prepared>,
}

enum Side {
    Gpu(Box<OnGpu>),
    Cpu(Box<CpuExecutor<'static>>),
}

/// The threads that finish the work of a lost device.
fn fallback_cpu() -> Cpu<'static> {
    static THREADS: OnceLock<Threads> = OnceLock::new();
    Cpu::detect(THREADS.get_or_init(Threads::all))
}

impl OnGpu {
    fn new(gpu: Arc<Gpu>, params: &[f32], grads: usize, state: usize) -> Result<OnGpu, DeviceError> {
        // SAFETY: the device is alive as long as `gpu`.
        let fence = unsafe { gpu.raw.create_fence(&Default::default(), None) }.doing("opening an executor")?;
        let make = || -> Result<[Buffer; 6], DeviceError> {
            let stage = PIECE.min(params.len().max(grads).max(state));
            Ok([
                Buffer::new(&gpu, "params", params.len(), false)?,
                Buffer::new(&gpu, "grads", grads, false)?,
                Buffer::new(&gpu, "state", state, false)?,
                Buffer::new(&gpu, "work", 0, false)?,
                Buffer::new(&gpu, "nothing", 0, false)?,
                Buffer::new(&gpu, "stage", stage, true)?,
            ])
        };
        let [p, g, s, work, nothing, stage] = make().inspect_err(|_| {
            // SAFETY: made above, used by no one.
            unsafe { gpu.raw.destroy_fence(fence, None) };
        })?;
        // What trains computes exactly.
        let half = gpu.half && grads == 0;
        let programs = Vec::new();
        let mut on = OnGpu { gpu, fence, params: p, grads: g, state: s, work, nothing, stage, half, programs };
        on.transfer(Region::Params, Transfer::Write(params))?;
        on.transfer(Region::Grads, Transfer::Write(&vec![0.0; grads]))?;
        on.transfer(Region::State, Transfer::Write(&vec![0.0; state]))?;
        Ok(on)
    }

    fn submit(&self, buffers: &[vk::CommandBuffer]) -> Result<(), DeviceError> {
        self.gpu.submit(buffers, self.fence)?;
        let waited = self.gpu.wait(self.fence);
        // SAFETY: the fence is signalled, or the device is lost and nobody waits for it.
        let reset = unsafe { self.gpu.raw.reset_fences(&[self.fence]) };
        waited.and_then(|()| reset.doing("waiting for results"))
    }

    /// Copies now and waits.
    fn copy(&self, copies: &[Copy]) -> Result<(), DeviceError> {
        if copies.is_empty() { Ok(()) } else { self.submit(&Recorded::copies(&self.gpu, copies)?.buffers) }
    }

    /// Moves the first values of a region, piece by piece.
    fn transfer(&mut self, region: Region, mut transfer: Transfer<'_>) -> Result<(), DeviceError> {
        let refused = |doing| DeviceError::new(DeviceFault::Unsupported, doing);
        let buffer = match region {
            Region::Params => &self.params,
            Region::Grads => &self.grads,
            Region::State => &self.state,
            Region::Work | Region::Io | Region::Fixed => return Err(refused("copying values of a single run")),
        };
        let (buffer, has, len) = (buffer.raw, buffer.bytes / 4, transfer.len());
        if len as u64 > has {
            return Err(refused("copying more values than there are"));
        }
        let piece = self.stage.bytes as usize / 4;
        for from in (0..len).step_by(piece) {
            let count = piece.min(len - from);
            let there = Span { buffer, from: 4 * from as u64, len: 4 * count as u64 };
            let here = Span { buffer: self.stage.raw, from: 0, len: 4 * count as u64 };
            match &mut transfer {
                Transfer::Write(values) => {
                    self.stage.values_mut()[..count].copy_from_slice(&values[from..][..count]);
                    self.copy(&[Copy { from: here, to: there }])?;
                }
                Transfer::Read(values) => {
                    self.copy(&[Copy { from: there, to: here }])?;
                    values[from..][..count].copy_from_slice(&self.stage.values()[..count]);
                }
            }
        }
        Ok(())
    }

    fn prepare(&mut self, program: Program<'_>, batch: usize) -> Result<Prepared, DeviceError> {
        if let Some(at) = self.programs.iter().position(|r| r.batch == batch && r.program.program() == program) {
            return Ok(Prepared(at));
        }
        // Offsets and lengths of this batch must be addressable, as on the CPU.
        let sizes = adflow::session::Sizes::of(&program, batch, 1)?;
        let needs = |region: Region| program.blocks(region) as usize * BLOCK;
        for (name, region, buffer) in [
            ("params", Region::Params, &self.params),
            ("grads", Region::Grads, &self.grads),
            ("state", Region::State, &self.state),
        ] {
            let has = buffer.bytes as usize / 4;
            if needs(region) > has {
                return Err(SessionError::Memory { region: name, needs: needs(region), has }.into());
            }
        }
        let work = if self.half { sizes.work.div_ceil(2) } else { sizes.work };
        if work as u64 * 4 > self.work.bytes {
            // Recordings name the old memory.
            self.programs.iter_mut().for_each(|r| r.recorded = None);
            // The old memory goes first, so that both need not fit.
            self.work = Buffer::new(&self.gpu, "work", 0, false)?;
            self.work = Buffer::new(&self.gpu, "work", work, false)?;
        }
        let io = Exchange::new(&self.gpu, "io", sizes.io)?;
        let fixed = Exchange::new(&self.gpu, "fixed", sizes.fixed)?;
        self.programs.push(Ready { program: OwnedProgram::of(&program), batch, io, fixed, recorded: None });
        Ok(Prepared(self.programs.len() - 1))
    }

    fn places(&self, ready: &Ready) -> Places {
        let regions: [vk::Buffer; REGIONS] = Region::ALL.map(|region| match region {
            Region::Params => self.params.raw,
            Region::Grads => self.grads.raw,
            Region::State => self.state.raw,
            Region::Work => self.work.raw,
            Region::Io => ready.io.on_device(),
            Region::Fixed => ready.fixed.on_device(),
        });
        Places { regions, half: self.half, nothing: self.nothing.raw }
    }

    /// Copies of inputs and outputs, none where memory is shared.
    fn exchanges(&self, ready: &Ready, outputs: bool) -> Vec<Copy> {
        if !self.gpu.staging {
            return Vec::new();
        }
        let program = ready.program.program();
        let names = program.bindings().filter(|b| b.2 == outputs).map(|b| b.0);
        names
            .filter_map(|name| {
                let (region, range) = program.place_of(name, ready.batch)?;
                let exchange = match region {
                    Region::Io => &ready.io,
                    Region::Fixed => &ready.fixed,
                    Region::Params | Region::Grads | Region::State | Region::Work => return None,
                };
                Some(if outputs { exchange.outward(&range) } else { exchange.inward(&range) })
            })
            .collect()
    }

    fn record(
        &self,
        ready: &Ready,
        ops: Range<usize>,
        timestamps: Option<vk::QueryPool>,
    ) -> Result<Recorded, DeviceError> {
        let program = ready.program.program();
        let whole = ops == (0..program.len());
        let copies = |outputs| if whole { self.exchanges(ready, outputs) } else { Vec::new() };
        let (before, after) = (copies(false), copies(true));
        let (batch, places) = (ready.batch, self.places(ready));
        Recorded::new(&self.gpu, &Task { program, batch, places, ops, before, after, timestamps })
    }

    fn run(&mut self, prepared: Prepared) -> Result<(), DeviceError> {
        let ready = &self.programs[prepared.0];
        if ready.recorded.is_none() {
            let recorded = self.record(ready, 0..ready.program.program().len(), None)?;
            self.programs[prepared.0].recorded = Some(recorded);
        }
        match &self.programs[prepared.0].recorded {
            Some(recorded) => self.submit(&recorded.buffers),
            None => Ok(()),
        }
    }

    fn run_with(&mut self, prepared: Prepared, probe: &mut dyn FnMut(usize, &mut [f32])) -> Result<(), DeviceError> {
        let ready = &self.programs[prepared.0];
        self.copy(&self.exchanges(ready, false))?;
        let program = ready.program.program();
        for at in 0..program.len() {
            self.submit(&self.record(ready, at..at + 1, None)?.buffers)?;
            let (places, output) = (self.places(ready), program.op(at).record.output);
            let there = places.span(&program, output, ready.batch);
            let mut seen = Buffer::new(&self.gpu, "seen", (there.len as usize).div_ceil(4), true)?;
            let here = Span { buffer: seen.raw, from: 0, len: there.len };
            self.copy(&[Copy { from: there, to: here }])?;
            if places.is_half(&program, output) {
                let halves = &mut bytemuck::cast_slice_mut::<f32, f16>(seen.values_mut())[..there.len as usize / 2];
                let mut values: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
                probe(at, &mut values);
                halves.iter_mut().zip(values).for_each(|(h, v)| *h = f16::from_f32(v));
            } else {
                probe(at, &mut seen.values_mut()[..there.len as usize / 4]);
            }
            self.copy(&[Copy { from: here, to: there }])?;
        }
        self.copy(&self.exchanges(ready, true))
    }

    fn profile(&self, prepared: Prepared) -> Result<Vec<OpTime>, DeviceError> {
        const DOING: &str = "measuring time";
        let ready = &self.programs[prepared.0];
        let ops = ready.program.program().len();
        let tick = self.gpu.info.timestamp_ns.ok_or(DeviceError::new(DeviceFault::Unsupported, DOING))?;
        let info =
            vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(2 * ops.max(1) as u32);
        // SAFETY: the device is alive; the pool is destroyed below, after its only use.
        let pool = unsafe { self.gpu.raw.create_query_pool(&info, None) }.doing(DOING)?;
        let mut stamps = vec![0u64; 2 * ops];
        let mut run = || -> Result<(), DeviceError> {
            self.submit(&self.record(ready, 0..ops, Some(pool))?.buffers)?;
            let flags = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
            // SAFETY: the pool was written by the run that has just ended.
            unsafe { self.gpu.raw.get_query_pool_results(pool, 0, &mut stamps, flags) }.doing(DOING)
        };
        let done = run();
        if !self.gpu.is_hung() {
            // SAFETY: the run was waited for.
            unsafe { self.gpu.raw.destroy_query_pool(pool, None) };
        }
        done?;
        let pairs = stamps.as_chunks::<2>().0.iter().enumerate();
        Ok(pairs.map(|(at, [from, to])| OpTime { at, ns: to.wrapping_sub(*from) as f64 * f64::from(tick) }).collect())
    }

    /// The host's side of an input or output.
    fn place(&self, prepared: Prepared, name: &str) -> Option<(Region, Range<usize>)> {
        let ready = self.programs.get(prepared.0)?;
        ready.program.program().place_of(name, ready.batch)
    }

    /// Bytes of device memory.
    fn bytes(&self) -> u64 {
        let shared = [&self.params, &self.grads, &self.state, &self.work];
        let each = self.programs.iter().flat_map(|r| [&r.io, &r.fixed]);
        shared.iter().map(|b| b.bytes).sum::<u64>()
            + each.map(|e| e.device.as_ref().map_or(e.host.bytes, |d| d.bytes)).sum::<u64>()
    }
}

enum Transfer<'t> {
    Read(&'t mut [f32]),
    Write(&'t [f32]),
}

impl Transfer<'_> {
    fn len(&self) -> usize {
        match self {
            Transfer::Read(values) => values.len(),
            Transfer::Write(values) => values.len(),
        }
    }
}

impl Drop for OnGpu {
    fn drop(&mut self) {
        if !self.gpu.is_hung() {
            // SAFETY: every run was waited for.
            unsafe { self.gpu.raw.destroy_fence(self.fence, None) };
        }
    }
}

impl VulkanExecutor {
    pub(crate) fn new(
        device: VulkanDevice,
        params: &[f32],
        grads: usize,
        state: usize,
    ) -> Result<VulkanExecutor, DeviceError> {
        let side = Side::Gpu(Box::new(OnGpu::new(device.gpu(), params, grads, state)?));
        Ok(VulkanExecutor { device, side, params: params.to_vec(), grads, state, reopened: false, last: None })
    }

    /// Whether the device was lost twice and the CPU does the work now.
    pub fn is_on_cpu(&self) -> bool {
        matches!(self.side, Side::Cpu(_))
    }

    /// Runs a program once and says how long each op took on the device.
    ///
    /// # Errors
    /// The device cannot measure time, or fails.
    pub fn profile(&mut self, prepared: Prepared) -> Result<Vec<OpTime>, DeviceError> {
        match &self.side {
            Side::Gpu(on) => on.profile(prepared),
            Side::Cpu(_) => Err(DeviceError::new(DeviceFault::Lost, "measuring time")),
        }
    }

    /// Puts everything on another side: parameters as handed over, zeros for gradients and moments, all programs, and the
    /// inputs of the last.
    fn move_to(&mut self, mut side: Side) -> Result<(), DeviceError> {
        let Side::Gpu(old) = &self.side else { return Ok(()) };
        for ready in &old.programs {
            side.executor().prepare(ready.program.program(), ready.batch)?;
        }
        if let Some((ready, prepared)) = self.last.and_then(|last| Some((old.programs.get(last.0)?, last))) {
            let program = ready.program.program();
            for (name, _, output) in program.bindings() {
                let (Some((region, range)), false) = (program.place_of(name, ready.batch), output) else { continue };
                let from = if region == Region::Io { &ready.io } else { &ready.fixed };
                side.executor().input(prepared, name).copy_from_slice(&from.host.values()[range]);
            }
        }
        self.side = side;
        Ok(())
    }
}

impl Side {
    fn executor(&mut self) -> &mut dyn Executor {
        match self {
            Side::Gpu(on) => &mut **on,
            Side::Cpu(cpu) => &mut **cpu,
        }
    }
}

impl Executor for OnGpu {
    fn prepare(&mut self, program: Program<'_>, batch: usize) -> Result<Prepared, DeviceError> {
        OnGpu::prepare(self, program, batch)
    }

    fn input(&mut self, prepared: Prepared, name: &str) -> &mut [f32] {
        match self.place(prepared, name) {
            Some((Region::Io, range)) => &mut self.programs[prepared.0].io.host.values_mut()[range],
            Some((Region::Fixed, range)) => &mut self.programs[prepared.0].fixed.host.values_mut()[range],
            _ => &mut [],
        }
    }

    fn run(&mut self, prepared: Prepared) -> Result<(), DeviceError> {
        OnGpu::run(self, prepared)
    }

    fn run_with(&mut self, prepared: Prepared, probe: &mut dyn FnMut(usize, &mut [f32])) -> Result<(), DeviceError> {
        OnGpu::run_with(self, prepared, probe)
    }

    fn output(&self, prepared: Prepared, name: &str) -> &[f32] {
        match self.place(prepared, name) {
            Some((Region::Io, range)) => &self.programs[prepared.0].io.host.values()[range],
            Some((Region::Fixed, range)) => &self.programs[prepared.0].fixed.host.values()[range],
            _ => &[],
        }
    }

    fn read(&mut self, region: Region, values: &mut [f32]) -> Result<(), DeviceError> {
        self.transfer(region, Transfer::Read(values))
    }

    fn write(&mut self, region: Region, values: &[f32]) -> Result<(), DeviceError> {
        self.transfer(region, Transfer::Write(values))
    }
}

impl Executor for VulkanExecutor {
    fn prepare(&mut self, program: Program<'_>, batch: usize) -> Result<Prepared, DeviceError> {
        self.side.executor().prepare(program, batch)
    }

    fn input(&mut self, prepared: Prepared, name: &str) -> &mut [f32] {
        self.side.executor().input(prepared, name)
    }

    fn run(&mut self, prepared: Prepared) -> Result<(), DeviceError> {
        self.last = Some(prepared);
        loop {
            match self.side.executor().run(prepared) {
                // What a training has learned since the last reading is gone: the trainer must know.
                Err(error) if error.fault == DeviceFault::Lost && self.grads == 0 => self.recover()?,
                result => return result,
            }
        }
    }

    fn run_with(&mut self, prepared: Prepared, probe: &mut dyn FnMut(usize, &mut [f32])) -> Result<(), DeviceError> {
        self.side.executor().run_with(prepared, probe)
    }

    fn output(&self, prepared: Prepared, name: &str) -> &[f32] {
        match &self.side {
            Side::Gpu(on) => on.output(prepared, name),
            Side::Cpu(cpu) => cpu.output(prepared, name),
        }
    }

    fn read(&mut self, region: Region, values: &mut [f32]) -> Result<(), DeviceError> {
        self.side.executor().read(region, values)
    }

    fn write(&mut self, region: Region, values: &[f32]) -> Result<(), DeviceError> {
        self.side.executor().write(region, values)
    }

    fn recover(&mut self) -> Result<(), DeviceError> {
        let Side::Gpu(old) = &self.side else {
            return Err(DeviceError::new(DeviceFault::Failed, "recovering on the CPU"));
        };
        if !self.reopened {
            self.reopened = true;
            let gpu = self.device.reopen(&old.gpu);
            let side = gpu
                .and_then(|gpu| OnGpu::new(gpu, &self.params, self.grads, self.state))
                .map(|on| Side::Gpu(Box::new(on)));
            if side.and_then(|side| self.move_to(side)).is_ok() {
                return Ok(());
            }
        }
        let cpu = CpuExecutor::new(fallback_cpu(), &self.params, self.grads, self.state);
        self.move_to(Side::Cpu(Box::new(cpu)))
    }

    fn is_volatile(&self) -> bool {
        matches!(self.side, Side::Gpu(_))
    }

    fn device_bytes(&self) -> u64 {
        match &self.side {
            Side::Gpu(on) => on.bytes(),
            Side::Cpu(_) => 0,
        }
    }

    fn preferred_batch(&self) -> usize {
        PREFERRED_BATCH
    }
}
