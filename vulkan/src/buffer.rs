//! A range of device memory.
#![allow(unsafe_code)]

use crate::error::{Doing, fault};
use crate::fault::{self as injected, Site};
use crate::gpu::Gpu;
use adflow::executor::DeviceError;
use ash::vk;
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, AllocationScheme};
use gpu_allocator::{AllocationError, MemoryLocation};
use std::sync::Arc;

/// A buffer with memory of its own, freed with it.
pub(crate) struct Buffer {
    gpu: Arc<Gpu>,
    pub raw: vk::Buffer,
    pub bytes: u64,
    allocation: Option<Allocation>,
}

impl Buffer {
    /// Memory for `floats` values (at least one block). `host`: the CPU can read and write it.
    pub fn new(gpu: &Arc<Gpu>, name: &'static str, floats: usize, host: bool) -> Result<Buffer, DeviceError> {
        const DOING: &str = "reserving memory";
        injected::check(Site::Allocate).doing(DOING)?;
        let bytes = (floats.max(64) as u64) * 4;
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST;
        let info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        // SAFETY: the device is alive as long as `gpu`.
        let raw = unsafe { gpu.raw.create_buffer(&info, None) }.doing(DOING)?;
        let mut buffer = Buffer { gpu: gpu.clone(), raw, bytes, allocation: None };
        // SAFETY: the buffer was just made by this device.
        let requirements = unsafe { gpu.raw.get_buffer_memory_requirements(raw) };
        let location = if host { MemoryLocation::GpuToCpu } else { MemoryLocation::GpuOnly };
        // Every buffer has its own allocation: what a session takes is what its regions sum up to.
        let scheme = AllocationScheme::DedicatedBuffer(raw);
        let allocation = gpu
            .allocate(&AllocationCreateDesc { name, requirements, location, linear: true, allocation_scheme: scheme })
            .map_err(|error| match error {
                AllocationError::OutOfMemory => fault(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, DOING),
                _ => fault(vk::Result::ERROR_UNKNOWN, DOING),
            })?;
        // SAFETY: the memory was allocated for this buffer and is bound once.
        let bound = unsafe { gpu.raw.bind_buffer_memory(raw, allocation.memory(), allocation.offset()) };
        buffer.allocation = Some(allocation);
        bound.doing(DOING)?;
        gpu.name(raw, name);
        Ok(buffer)
    }

    /// The values, for memory that the CPU can reach; empty for other memory.
    pub fn values(&self) -> &[f32] {
        let mapped = self.allocation.as_ref().and_then(Allocation::mapped_ptr);
        // SAFETY: the allocation is mapped for as long as it lives, `bytes` long at least, aligned to far more than 4
        // bytes. The device writes to it only while `&mut` of the executor is held.
        mapped.map_or(&[], |p| unsafe { std::slice::from_raw_parts(p.as_ptr().cast(), self.bytes as usize / 4) })
    }

    /// The values as the CPU sees them, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let mapped = self.allocation.as_ref().and_then(Allocation::mapped_ptr);
        // SAFETY: as above, and `&mut self` keeps others away.
        mapped
            .map_or(&mut [], |p| unsafe { std::slice::from_raw_parts_mut(p.as_ptr().cast(), self.bytes as usize / 4) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.gpu.is_hung() {
            // The device may still write to it: better lost than reused.
            std::mem::forget(self.allocation.take());
            return;
        }
        // SAFETY: every submission was waited for, so the device does not use it any more.
        unsafe { self.gpu.raw.destroy_buffer(self.raw, None) };
        if let Some(allocation) = self.allocation.take() {
            self.gpu.free(allocation);
        }
    }
}
