//! One opened device: its queue, memory, and pipelines.
#![allow(unsafe_code)]

use crate::cache;
use crate::device::{DeviceInfo, Precision, VulkanOptions, compute_family};
use crate::dispatch::{CONSTANTS, Dispatch, Matrix, PUSH, Tuning};
use crate::error::{Doing, fault};
use crate::fault::{self as injected, Site};
use crate::instance::Instance;
use crate::shader::{Shader, Variant};
use adflow::executor::{DeviceError, DeviceFault};
use ash::{ext, vk};
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, Allocator, AllocatorCreateDesc};
use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bindings of every shader: six inputs and the output.
pub(crate) const BINDINGS: usize = 7;

type Key = (Shader, Variant, [u32; CONSTANTS]);

/// A logical device with everything that sessions share.
pub(crate) struct Gpu {
    pub raw: ash::Device,
    pub tuning: Tuning,
    pub info: DeviceInfo,
    pub submission: u64,
    /// Of the ranges that shaders are given, bytes.
    pub alignment: u64,
    pub staging: bool,
    /// Whether programs that score keep intermediate values in 16 bits.
    pub half: bool,
    pub family: u32,
    pub set_layout: vk::DescriptorSetLayout,
    pub pipeline_layout: vk::PipelineLayout,
    timeout: Duration,
    queue: Mutex<vk::Queue>,
    allocator: Mutex<Option<Allocator>>,
    pipelines: Mutex<HashMap<Key, vk::Pipeline>>,
    cache: vk::PipelineCache,
    cache_path: Option<PathBuf>,
    /// Whether a wait ran out: the device may still be working, so nothing it knows may be destroyed.
    hung: AtomicBool,
    names: Option<ext::debug_utils::Device>,
    // Last: the device lives in it.
    _instance: Arc<Instance>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    pub fn new(
        instance: Arc<Instance>,
        physical: vk::PhysicalDevice,
        info: &DeviceInfo,
        options: &VulkanOptions,
    ) -> Result<Gpu, DeviceError> {
        const DOING: &str = "opening the device";
        let (family, _) =
            compute_family(&instance, physical).ok_or(fault(vk::Result::ERROR_FEATURE_NOT_PRESENT, DOING))?;
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&priorities)];
        let fast = info.fast && !options.generic;
        let half = fast && options.precision == Precision::Half;
        let matrix = info.cooperative_matrix.filter(|_| half).map(|edge| Matrix { edge, subgroup: info.subgroup });
        let matrix = matrix.filter(|m| m.shared() <= info.max_shared && 4 * m.subgroup <= info.max_invocations);
        let mut storage = vk::PhysicalDevice16BitStorageFeatures::default().storage_buffer16_bit_access(fast);
        let mut cooperative = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default().shader_float16(true).vulkan_memory_model(true);
        let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
            .subgroup_size_control(true)
            .compute_full_subgroups(true)
            .maintenance4(true);
        let extensions = [ash::khr::cooperative_matrix::NAME.as_ptr()];
        let mut create = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
        if fast {
            create = create.push_next(&mut storage);
        }
        if matrix.is_some() {
            create = create.enabled_extension_names(&extensions);
            create = create.push_next(&mut cooperative).push_next(&mut v12).push_next(&mut v13);
        }
        // SAFETY: the physical device belongs to the instance; `create` points to structures that outlive the call.
        let raw = unsafe { instance.raw.create_device(physical, &create, None) }.doing(DOING)?;
        // SAFETY: this family was asked for one queue.
        let queue = unsafe { raw.get_device_queue(family, 0) };
        // SAFETY: the physical device belongs to the instance.
        let properties = unsafe { instance.raw.get_physical_device_properties(physical) };
        let cache_path = cache::path(&properties);
        let names = instance.has_debug().then(|| ext::debug_utils::Device::new(&instance.raw, &raw));
        let mut gpu = Gpu {
            tuning: Tuning { width: 64, max_width: info.max_invocations, fast, matrix },
            info: info.clone(),
            submission: options.submission.max(1),
            alignment: info.alignment.max(options.alignment.clamp(64, 256)),
            staging: options.staging || !info.unified,
            half,
            family,
            set_layout: vk::DescriptorSetLayout::null(),
            pipeline_layout: vk::PipelineLayout::null(),
            timeout: options.timeout,
            queue: Mutex::new(queue),
            allocator: Mutex::new(None),
            pipelines: Mutex::new(HashMap::new()),
            cache: vk::PipelineCache::null(),
            cache_path,
            hung: AtomicBool::new(false),
            names,
            raw,
            _instance: instance.clone(),
        };
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance: instance.raw.clone(),
            device: gpu.raw.clone(),
            physical_device: physical,
            debug_settings: Default::default(),
            buffer_device_address: false,
            allocation_sizes: Default::default(),
        });
        *lock(&gpu.allocator) = Some(allocator.map_err(|_| fault(vk::Result::ERROR_UNKNOWN, DOING))?);
        gpu.make_layouts().doing(DOING)?;
        let old = gpu.cache_path.as_ref().map_or_else(Vec::new, |path| cache::read(path, &properties));
        let with = vk::PipelineCacheCreateInfo::default().initial_data(&old);
        // SAFETY: the data comes from this driver, as its header and digest say; drivers check it again.
        let made = unsafe { gpu.raw.create_pipeline_cache(&with, None) };
        // A driver that refuses old data gets none.
        gpu.cache = match made {
            Ok(cache) => cache,
            // SAFETY: as above, without data.
            Err(_) => unsafe { gpu.raw.create_pipeline_cache(&Default::default(), None) }.doing(DOING)?,
        };
        Ok(gpu)
    }

    fn make_layouts(&mut self) -> Result<(), vk::Result> {
        let bindings: [_; BINDINGS] = std::array::from_fn(|at| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(at as u32)
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        });
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the device is alive, the structures outlive the calls.
        self.set_layout = unsafe { self.raw.create_descriptor_set_layout(&info, None) }?;
        let sets = [self.set_layout];
        let push = [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(4 * PUSH as u32)];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&push);
        // SAFETY: as above.
        self.pipeline_layout = unsafe { self.raw.create_pipeline_layout(&info, None) }?;
        Ok(())
    }

    /// The pipeline of a dispatch, compiled at the first request.
    pub fn pipeline(&self, d: &Dispatch) -> Result<vk::Pipeline, DeviceError> {
        const DOING: &str = "compiling a shader";
        let (shader, constants) = (d.shader, &d.constants);
        if constants[0] > self.info.max_invocations {
            return Err(DeviceError::new(DeviceFault::Unsupported, "workgroups of that many invocations"));
        }
        let key = (shader, d.variant, *constants);
        let mut pipelines = lock(&self.pipelines);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(*pipeline);
        }
        let words = shader.words(d.variant);
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: the words are SPIR-V that the compiler made and `spirv-val` has checked.
        let module = unsafe { self.raw.create_shader_module(&info, None) }.doing(DOING)?;
        let entries: [_; CONSTANTS] = std::array::from_fn(|at| {
            vk::SpecializationMapEntry::default().constant_id(at as u32).offset(4 * at as u32).size(4)
        });
        let data: Vec<u8> = constants.iter().flat_map(|c| c.to_ne_bytes()).collect();
        let special = vk::SpecializationInfo::default().map_entries(&entries).data(&data);
        let mut subgroup =
            vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default().required_subgroup_size(self.info.subgroup);
        let mut stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main")
            .specialization_info(&special);
        if d.variant == Variant::Matrix {
            // A band of rows a subgroup: all of them must be there.
            stage = stage.flags(vk::PipelineShaderStageCreateFlags::REQUIRE_FULL_SUBGROUPS).push_next(&mut subgroup);
        }
        // Long dispatches are split by their first workgroup.
        let info = [vk::ComputePipelineCreateInfo::default()
            .flags(vk::PipelineCreateFlags::DISPATCH_BASE)
            .stage(stage)
            .layout(self.pipeline_layout)];
        // SAFETY: every structure outlives the call; the module is not needed after it.
        let made = unsafe { self.raw.create_compute_pipelines(self.cache, &info, None) };
        // SAFETY: made above, used by no one else.
        unsafe { self.raw.destroy_shader_module(module, None) };
        let pipeline = made.map_err(|(_, result)| fault(result, DOING))?[0];
        self.name(pipeline, shader.name());
        pipelines.insert(key, pipeline);
        Ok(pipeline)
    }

    /// Names an object for debuggers and validation messages.
    pub fn name<H: vk::Handle>(&self, object: H, name: &str) {
        if let (Some(names), Ok(name)) = (&self.names, CString::new(name)) {
            let info = vk::DebugUtilsObjectNameInfoEXT::default().object_handle(object).object_name(&name);
            // SAFETY: the object belongs to this device. A name that cannot be set is no loss.
            let _ = unsafe { names.set_debug_utils_object_name(&info) };
        }
    }

    pub fn allocate(&self, desc: &AllocationCreateDesc<'_>) -> Result<Allocation, gpu_allocator::AllocationError> {
        match lock(&self.allocator).as_mut() {
            Some(allocator) => allocator.allocate(desc),
            None => Err(gpu_allocator::AllocationError::OutOfMemory),
        }
    }

    pub fn free(&self, allocation: Allocation) {
        if let Some(allocator) = lock(&self.allocator).as_mut() {
            // Fails only for memory of another allocator.
            let _ = allocator.free(allocation);
        }
    }

    /// Hands command buffers to the queue, each a submission of its own; the fence signals after the last.
    pub fn submit(&self, buffers: &[vk::CommandBuffer], fence: vk::Fence) -> Result<(), DeviceError> {
        const DOING: &str = "submitting work";
        injected::check(Site::Submit).doing(DOING)?;
        let submits: Vec<_> = buffers.chunks(1).map(|one| vk::SubmitInfo::default().command_buffers(one)).collect();
        let queue = lock(&self.queue);
        // SAFETY: the queue is locked; command buffers and fence are not in use, since every run waits for its own.
        unsafe { self.raw.queue_submit(*queue, &submits, fence) }.doing(DOING)
    }

    /// Waits for a fence; a device that does not answer in time counts as lost.
    pub fn wait(&self, fence: vk::Fence) -> Result<(), DeviceError> {
        const DOING: &str = "waiting for results";
        let nanoseconds = u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: the fence belongs to this device and was submitted.
        let result = unsafe { self.raw.wait_for_fences(&[fence], true, nanoseconds) };
        if result == Err(vk::Result::TIMEOUT) {
            self.hung.store(true, Ordering::Relaxed);
        }
        result.and_then(|()| injected::check(Site::Wait)).doing(DOING)
    }

    /// Whether the device may still be working although nobody waits for it any more.
    pub fn is_hung(&self) -> bool {
        self.hung.load(Ordering::Relaxed)
    }

    fn save_cache(&self) {
        let Some(path) = &self.cache_path else { return };
        if lock(&self.pipelines).is_empty() || self.is_hung() {
            return;
        }
        // SAFETY: the cache belongs to this device.
        if let Ok(data) = unsafe { self.raw.get_pipeline_cache_data(self.cache) }
            && std::fs::metadata(path).map_or(true, |m| m.len() != data.len() as u64 + 8)
        {
            cache::write(path, &data);
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.save_cache();
        if self.is_hung() {
            // Destroying what the device still uses would be worse than keeping it until the process ends.
            std::mem::forget(lock(&self.allocator).take());
            return;
        }
        // SAFETY: executors and buffers hold the device by `Arc` and have waited for their work, so nothing is in use.
        unsafe {
            for (_, pipeline) in lock(&self.pipelines).drain() {
                self.raw.destroy_pipeline(pipeline, None);
            }
            self.raw.destroy_pipeline_cache(self.cache, None);
            self.raw.destroy_pipeline_layout(self.pipeline_layout, None);
            self.raw.destroy_descriptor_set_layout(self.set_layout, None);
            drop(lock(&self.allocator).take());
            self.raw.destroy_device(None);
        }
    }
}
