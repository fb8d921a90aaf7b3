//! Records a program into command buffers: one dispatch an op, a barrier only where ranges meet.
#![allow(unsafe_code)]

use crate::dispatch::{Dispatch, HALVES, ROW, Tuning, dispatch};
use crate::error::Doing;
use crate::gpu::{BINDINGS, Gpu};
use adflow::executor::{DeviceError, DeviceFault};
use adflow::op::MAX_INPUTS;
use adflow::plan::{Program, REGIONS, Region};
use ash::vk;
use std::ops::Range;
use std::sync::Arc;

/// Marks a slot left out, as in the records of a plan.
const NONE: u32 = u32::MAX;

/// A range of a buffer, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub buffer: vk::Buffer,
    pub from: u64,
    pub len: u64,
}

impl Span {
    fn meets(&self, other: &Span) -> bool {
        self.buffer == other.buffer && self.from < other.from + other.len && other.from < self.from + self.len
    }
}

/// What was read and written since the last barrier.
#[derive(Default)]
struct Hazards {
    reads: Vec<Span>,
    writes: Vec<Span>,
}

impl Hazards {
    /// Notes an access and says whether it must wait for those before: read after write, write after read or write.
    fn access(&mut self, reads: &[Span], writes: &[Span]) -> bool {
        let met = |spans: &[Span], others: &[Span]| spans.iter().any(|s| others.iter().any(|o| s.meets(o)));
        let must_wait = met(reads, &self.writes) || met(writes, &self.reads) || met(writes, &self.writes);
        if must_wait {
            self.reads.clear();
            self.writes.clear();
        }
        self.reads.extend_from_slice(reads);
        self.writes.extend_from_slice(writes);
        must_wait
    }
}

/// Where a program's values lie: one buffer a region, in the order of `Region::ALL`.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub regions: [vk::Buffer; REGIONS],
    /// Whether intermediate values have 16 bits.
    pub half: bool,
    /// Bound where a slot is left out; never written.
    pub nothing: vk::Buffer,
}

impl Places {
    pub fn span(&self, program: &Program<'_>, tensor: u32, batch: usize) -> Span {
        let t = program.tensor(tensor);
        let (range, bytes) = (t.range(batch), if self.is_half(program, tensor) { 2 } else { 4 });
        let buffer = self.regions[t.region as usize];
        Span { buffer, from: bytes * range.start as u64, len: bytes * range.len() as u64 }
    }

    /// Whether a tensor's values have 16 bits.
    pub fn is_half(&self, program: &Program<'_>, tensor: u32) -> bool {
        self.half && program.tensor(tensor).region == Region::Work as u32
    }
}

/// A copy between two buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    pub from: Span,
    pub to: Span,
}

/// What to record.
pub(crate) struct Task<'t> {
    pub program: Program<'t>,
    pub batch: usize,
    pub places: Places,
    /// Which ops.
    pub ops: Range<usize>,
    pub before: Vec<Copy>,
    pub after: Vec<Copy>,
    /// Two time stamps an op.
    pub timestamps: Option<vk::QueryPool>,
}

/// Command buffers, ready to be submitted any number of times, one run after the other.
pub(crate) struct Recorded {
    gpu: Arc<Gpu>,
    pool: vk::CommandPool,
    sets: vk::DescriptorPool,
    pub buffers: Vec<vk::CommandBuffer>,
}

/// A shader with its operands.
struct Bound {
    pipeline: vk::Pipeline,
    set: vk::DescriptorSet,
    push: Vec<u8>,
}

struct Recorder<'r> {
    recorded: &'r mut Recorded,
    hazards: Hazards,
    /// Work in the current command buffer.
    work: u64,
}

const DOING: &str = "recording a program";

impl Recorded {
    /// Records ops of a program.
    pub fn new(gpu: &Arc<Gpu>, task: &Task<'_>) -> Result<Recorded, DeviceError> {
        let ops = task.ops.len().max(1) as u32;
        Recorded::with(gpu, ops, |r| {
            if let Some(pool) = task.timestamps {
                // SAFETY: the pool holds two queries an op.
                unsafe { gpu.raw.cmd_reset_query_pool(r.current(), pool, 0, 2 * ops) };
            }
            task.before.iter().for_each(|copy| r.copy(copy));
            for (n, at) in task.ops.clone().enumerate() {
                r.op(task, at, n as u32)?;
            }
            task.after.iter().for_each(|copy| r.copy(copy));
            Ok(())
        })
    }

    /// Records copies.
    pub fn copies(gpu: &Arc<Gpu>, copies: &[Copy]) -> Result<Recorded, DeviceError> {
        Recorded::with(gpu, 1, |r| {
            copies.iter().for_each(|copy| r.copy(copy));
            Ok(())
        })
    }

    fn with(
        gpu: &Arc<Gpu>,
        ops: u32,
        record: impl FnOnce(&mut Recorder<'_>) -> Result<(), DeviceError>,
    ) -> Result<Recorded, DeviceError> {
        let mut recorded = Recorded {
            gpu: gpu.clone(),
            pool: vk::CommandPool::null(),
            sets: vk::DescriptorPool::null(),
            buffers: Vec::new(),
        };
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
        // SAFETY: the device is alive as long as `gpu`. The objects made here are used by this recording alone.
        recorded.pool = unsafe { gpu.raw.create_command_pool(&info, None) }.doing(DOING)?;
        let sizes = [vk::DescriptorPoolSize::default()
            .ty(vk::DescriptorType::STORAGE_BUFFER)
            .descriptor_count(ops * BINDINGS as u32)];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(ops).pool_sizes(&sizes);
        // SAFETY: as above.
        recorded.sets = unsafe { gpu.raw.create_descriptor_pool(&info, None) }.doing(DOING)?;
        let mut r = Recorder { recorded: &mut recorded, hazards: Hazards::default(), work: 0 };
        r.begin()?;
        record(&mut r)?;
        r.end(vk::PipelineStageFlags::HOST, vk::AccessFlags::HOST_READ)?;
        Ok(recorded)
    }
}

impl Recorder<'_> {
    fn gpu(&self) -> &Gpu {
        &self.recorded.gpu
    }

    fn current(&self) -> vk::CommandBuffer {
        self.recorded.buffers.last().copied().unwrap_or_default()
    }

    /// Starts a command buffer. What was submitted before is finished and visible.
    fn begin(&mut self) -> Result<(), DeviceError> {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.recorded.pool).command_buffer_count(1);
        // SAFETY: the pool belongs to this recording alone.
        let buffer = unsafe { self.gpu().raw.allocate_command_buffers(&info) }.doing(DOING)?[0];
        self.recorded.buffers.push(buffer);
        self.work = 0;
        // SAFETY: the command buffer was just allocated.
        unsafe { self.gpu().raw.begin_command_buffer(buffer, &Default::default()) }.doing(DOING)?;
        self.barrier(vk::PipelineStageFlags::ALL_COMMANDS, vk::AccessFlags::MEMORY_WRITE, ON_DEVICE.0, ON_DEVICE.1);
        self.hazards = Hazards::default();
        Ok(())
    }

    fn end(&mut self, stage: vk::PipelineStageFlags, access: vk::AccessFlags) -> Result<(), DeviceError> {
        self.barrier(ON_DEVICE.0, WRITES, stage, access);
        // SAFETY: the command buffer is being recorded.
        unsafe { self.gpu().raw.end_command_buffer(self.current()) }.doing(DOING)
    }

    fn barrier(
        &self,
        from: vk::PipelineStageFlags,
        written: vk::AccessFlags,
        to: vk::PipelineStageFlags,
        access: vk::AccessFlags,
    ) {
        let memory = [vk::MemoryBarrier::default().src_access_mask(written).dst_access_mask(access)];
        // SAFETY: the command buffer is being recorded.
        unsafe {
            self.gpu().raw.cmd_pipeline_barrier(self.current(), from, to, Default::default(), &memory, &[], &[]);
        }
    }

    fn access(&mut self, reads: &[Span], writes: &[Span]) {
        if self.hazards.access(reads, writes) {
            self.barrier(ON_DEVICE.0, WRITES, ON_DEVICE.0, ON_DEVICE.1);
        }
    }

    fn copy(&mut self, copy: &Copy) {
        self.access(&[copy.from], &[copy.to]);
        let region =
            [vk::BufferCopy::default().src_offset(copy.from.from).dst_offset(copy.to.from).size(copy.from.len)];
        // SAFETY: both ranges lie in their buffers: they come from a validated program.
        unsafe { self.gpu().raw.cmd_copy_buffer(self.current(), copy.from.buffer, copy.to.buffer, &region) };
    }

    fn op(&mut self, task: &Task<'_>, at: usize, n: u32) -> Result<(), DeviceError> {
        let planned = task.program.op(at);
        let (record, program) = (planned.record, &task.program);
        let output_type = program.tensor_type(record.output);
        // Cooperative matrices round their operands, so they go with 16-bit values only.
        let tuning = Tuning { matrix: self.gpu().tuning.matrix.filter(|_| task.places.half), ..self.gpu().tuning };
        let mut d = dispatch(&planned.op, &planned.types, output_type, task.batch, &tuning)?;
        if self.work > 0 && self.work.saturating_add(d.work) > self.gpu().submission {
            self.end(ON_DEVICE.0, ON_DEVICE.1)?;
            self.begin()?;
        }
        let output = task.places.span(program, record.output, task.batch);
        let (mut reads, mut writes) = (Vec::with_capacity(MAX_INPUTS), vec![output]);
        let mut spans = [None; BINDINGS];
        for (slot, &tensor) in record.inputs.iter().enumerate() {
            if tensor != NONE {
                let span = task.places.span(program, tensor, task.batch);
                spans[slot] = Some(span);
                reads.push(span);
                d.constants[HALVES] |= u32::from(task.places.is_half(program, tensor)) << slot;
            }
        }
        spans[BINDINGS - 1] = Some(output);
        d.constants[HALVES] |= u32::from(task.places.is_half(program, record.output)) << (BINDINGS - 1);
        if let adflow::op::Op::Adam(_) = planned.op {
            // Parameters and moments change in place.
            reads.push(output);
            writes.extend(spans[1]);
        }
        self.access(&reads, &writes);
        if d.clear {
            // To the end of the last block, because fills are whole words.
            let len = output.len.next_multiple_of(32);
            // SAFETY: blocks belong to one tensor, so the range lies in its buffer.
            unsafe { self.gpu().raw.cmd_fill_buffer(self.current(), output.buffer, output.from, len, 0) };
            self.hazards = Hazards::default();
            self.hazards.writes.push(output);
            self.access(&reads, &writes);
        }
        let (set, shifts) = self.bind(&spans, d.constants[HALVES], task.places.nothing)?;
        let pipeline = self.gpu().pipeline(&d)?;
        let mut push = d.push;
        push[0] = shifts;
        let push = push[..d.push_len].iter().flat_map(|w| w.to_ne_bytes()).collect();
        let bound = Bound { pipeline, set, push };
        self.apply(&bound);
        self.stamp(task.timestamps, 2 * n);
        if self.dispatch(&d, &bound)? {
            // Later ops must see what this one wrote, also in the command buffer that was begun on the way.
            self.access(&reads, &writes);
        }
        self.stamp(task.timestamps, 2 * n + 1);
        Ok(())
    }

    /// Makes a shader with its operands current.
    fn apply(&self, bound: &Bound) {
        let (gpu, buffer) = (self.gpu(), self.current());
        let (layout, bind_point) = (gpu.pipeline_layout, vk::PipelineBindPoint::COMPUTE);
        // SAFETY: all objects belong to this device; the push constants fit the layout's 128 bytes.
        unsafe {
            gpu.raw.cmd_bind_pipeline(buffer, bind_point, bound.pipeline);
            gpu.raw.cmd_bind_descriptor_sets(buffer, bind_point, layout, 0, &[bound.set], &[]);
            gpu.raw.cmd_push_constants(buffer, layout, vk::ShaderStageFlags::COMPUTE, 0, &bound.push);
        }
    }

    fn stamp(&self, pool: Option<vk::QueryPool>, query: u32) {
        if let Some(pool) = pool {
            // SAFETY: the pool holds two queries an op.
            unsafe {
                let stage = vk::PipelineStageFlags::COMPUTE_SHADER;
                self.gpu().raw.cmd_write_timestamp(self.current(), stage, pool, query);
            }
        }
    }

    /// Dispatches the workgroups, in pieces of their own submissions where they are more than one should take; says whether
    /// another command buffer was begun.
    fn dispatch(&mut self, d: &Dispatch, bound: &Bound) -> Result<bool, DeviceError> {
        let submission = self.gpu().submission;
        let pieces = d.work.div_ceil(submission).min(u64::from(d.groups)).max(1) as u32;
        if pieces == 1 {
            self.work += d.work;
            // SAFETY: rows and columns lie below what every device allows.
            unsafe { self.gpu().raw.cmd_dispatch(self.current(), d.groups.min(ROW), d.groups.div_ceil(ROW), 1) };
            return Ok(false);
        }
        let share = d.groups.div_ceil(pieces);
        let mut done = 0;
        while done < d.groups {
            if done > 0 {
                self.end(ON_DEVICE.0, ON_DEVICE.1)?;
                self.begin()?;
                self.apply(bound);
            }
            let (row, column) = (done / ROW, done % ROW);
            let count = share.min(d.groups - done).min(ROW - column);
            // SAFETY: the pipeline was made for a base; its workgroups lie inside those of the whole dispatch.
            unsafe { self.gpu().raw.cmd_dispatch_base(self.current(), column, row, 0, count, 1, 1) };
            done += count;
            self.work = submission;
        }
        Ok(true)
    }

    /// A descriptor set for an op, and how many blocks behind its range each tensor begins.
    fn bind(
        &mut self,
        spans: &[Option<Span>; BINDINGS],
        halves: u32,
        nothing: vk::Buffer,
    ) -> Result<(vk::DescriptorSet, u32), DeviceError> {
        let gpu = &self.recorded.gpu;
        let layouts = [gpu.set_layout];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(self.recorded.sets).set_layouts(&layouts);
        // SAFETY: the pool has room for a set an op.
        let set = unsafe { gpu.raw.allocate_descriptor_sets(&info) }.doing(DOING)?[0];
        let alignment = gpu.alignment;
        let (mut infos, mut shifts) = ([vk::DescriptorBufferInfo::default(); BINDINGS], 0);
        for (slot, (info, span)) in infos.iter_mut().zip(spans).enumerate() {
            *info = match span {
                Some(span) => {
                    let base = span.from / alignment * alignment;
                    let block = if halves >> slot & 1 == 1 { 32 } else { 64 };
                    shifts |= (((span.from - base) / block) as u32) << (3 * slot);
                    let range = span.from + span.len - base;
                    if range > gpu.info.max_range {
                        let doing = "a tensor larger than the device can hand to a shader";
                        return Err(DeviceError::new(DeviceFault::Unsupported, doing));
                    }
                    vk::DescriptorBufferInfo::default().buffer(span.buffer).offset(base).range(range)
                }
                None => vk::DescriptorBufferInfo::default().buffer(nothing).range(256),
            };
        }
        let writes = [vk::WriteDescriptorSet::default()
            .dst_set(set)
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .buffer_info(&infos)];
        // SAFETY: seven storage buffers follow each other from binding 0.
        unsafe { gpu.raw.update_descriptor_sets(&writes, &[]) };
        Ok((set, shifts))
    }
}

/// What shaders and copies do.
const ON_DEVICE: (vk::PipelineStageFlags, vk::AccessFlags) = (
    vk::PipelineStageFlags::from_raw(
        vk::PipelineStageFlags::COMPUTE_SHADER.as_raw() | vk::PipelineStageFlags::TRANSFER.as_raw(),
    ),
    vk::AccessFlags::from_raw(
        vk::AccessFlags::SHADER_READ.as_raw()
            | vk::AccessFlags::SHADER_WRITE.as_raw()
            | vk::AccessFlags::TRANSFER_READ.as_raw()
            | vk::AccessFlags::TRANSFER_WRITE.as_raw(),
    ),
);
const WRITES: vk::AccessFlags =
    vk::AccessFlags::from_raw(vk::AccessFlags::SHADER_WRITE.as_raw() | vk::AccessFlags::TRANSFER_WRITE.as_raw());

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.gpu.is_hung() {
            return;
        }
        // SAFETY: every run was waited for, so neither the command buffers nor their sets are in use.
        unsafe {
            self.gpu.raw.destroy_command_pool(self.pool, None);
            self.gpu.raw.destroy_descriptor_pool(self.sets, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ash::vk::Handle;

    #[test]
    fn only_what_meets_waits() {
        let span = |from, len| Span { buffer: vk::Buffer::from_raw(1), from, len };
        let mut h = Hazards::default();
        assert!(!h.access(&[span(0, 64)], &[span(64, 64)]));
        assert!(!h.access(&[span(0, 64)], &[span(128, 64)]), "two readers");
        assert!(h.access(&[span(100, 4)], &[span(256, 64)]), "read after write");
        assert!(!h.access(&[span(0, 64)], &[span(320, 64)]), "the barrier covers all before it");
        assert!(h.access(&[], &[span(0, 4)]), "write after read");
        assert!(h.access(&[], &[span(0, 4)]), "write after write");
        let other = Span { buffer: vk::Buffer::from_raw(2), ..span(0, 4) };
        assert!(!h.access(&[other], &[]), "another buffer");
    }
}
