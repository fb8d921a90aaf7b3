//! Which devices there are, what they can do, and opening one.
#![allow(unsafe_code)]

use crate::error::{Doing, OpenError};
use crate::executor::VulkanExecutor;
use crate::gpu::Gpu;
use crate::instance::Instance;
use adflow::choice;
use adflow::executor::{Device, DeviceError, Executor};
use ash::vk;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

choice! {
    /// What kind of device it is, the best first.
    pub enum DeviceKind: "device kind" {
        /// A graphics card with memory of its own.
        Discrete("discrete") = 0,
        /// A GPU that shares the processor's memory.
        Integrated("integrated") = 1,
        /// A GPU handed to a virtual machine.
        Virtual("virtual") = 2,
        /// Software on the CPU, such as lavapipe: for tests.
        Software("software") = 3,
        /// Anything else.
        Other("other") = 4,
    }
}

/// A device and what it can do.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// Position in the list of [`devices`], the N of `vulkan:N`.
    pub index: usize,
    /// Name of the device, as its driver gives it.
    pub name: String,
    /// Discrete, integrated, virtual or software.
    pub kind: DeviceKind,
    /// Identifies the device across runs, 32 hexadecimal digits.
    pub uuid: String,
    /// The driver's own version number.
    pub driver_version: u32,
    /// Vulkan version, `major.minor.patch`.
    pub api_version: String,
    /// Bytes of the largest heap of device memory.
    pub memory: u64,
    /// Whether the CPU can reach all device memory, so that inputs and outputs need no copy.
    pub unified: bool,
    /// Largest range a shader can be given, bytes: the limit of one tensor.
    pub max_range: u64,
    /// Invocations of a workgroup, at most.
    pub max_invocations: u32,
    /// Bytes of shared memory of a workgroup.
    pub max_shared: u32,
    /// Alignment of a range, bytes.
    pub alignment: u64,
    /// Invocations that run in lock-step.
    pub subgroup: u32,
    /// Whether shaders can store 16-bit floats and add over subgroups.
    pub fast: bool,
    /// Side of the cooperative matrices of 16-bit floats with 32-bit sums, where the device has them.
    pub cooperative_matrix: Option<u32>,
    /// Whether queues can measure time, and the nanoseconds of a tick.
    pub timestamp_ns: Option<f32>,
}

/// Which device to open.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// The best: discrete before integrated before virtual before software.
    #[default]
    Best,
    /// A graphics card: discrete, or handed to a virtual machine.
    Card,
    /// By position in the list.
    Index(usize),
    /// By UUID, or by part of its name, in small letters.
    Name(String),
}

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Choice, Self::Err> {
        Ok(match text.parse() {
            Ok(index) => Choice::Index(index),
            Err(_) if text.is_empty() => Choice::Best,
            Err(_) => Choice::Name(text.to_lowercase()),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Best => f.write_str("any"),
            Choice::Card => f.write_str("any graphics card"),
            Choice::Index(index) => write!(f, "{index}"),
            Choice::Name(name) => f.write_str(name),
        }
    }
}

/// Where to compute, as users write it: `auto`, `cpu`, `vulkan`, `vulkan:N` or `vulkan:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Compute {
    /// A graphics card if there is one, else the CPU. Integrated GPUs are not taken unless asked for.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A Vulkan device, software among them.
    Vulkan(Choice),
}

impl FromStr for Compute {
    type Err = String;

    fn from_str(text: &str) -> Result<Compute, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Compute::Auto),
            None if text == "cpu" => Ok(Compute::Cpu),
            None if text == "vulkan" => Ok(Compute::Vulkan(Choice::Best)),
            Some(("vulkan", which)) if !which.is_empty() => {
                Ok(Compute::Vulkan(which.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})))
            }
            _ => Err(format!("unknown device \"{text}\": auto, cpu, vulkan, vulkan:N or vulkan:NAME")),
        }
    }
}

impl Compute {
    /// Opens the GPU; `None` stands for the CPU.
    ///
    /// # Errors
    /// [`Compute::Vulkan`]: whatever keeps the device from opening. [`Compute::Auto`] never fails: without a usable
    /// graphics card it is the CPU.
    pub fn open(&self, precision: Precision) -> Result<Option<VulkanDevice>, OpenError> {
        let options = VulkanOptions::default().with_precision(precision);
        let with = |choice: &Choice| options.clone().with_choice(choice.clone());
        match self {
            Compute::Cpu => Ok(None),
            Compute::Auto => Ok(VulkanDevice::open(&with(&Choice::Card)).ok()),
            Compute::Vulkan(choice) => VulkanDevice::open(&with(choice)).map(Some),
        }
    }
}

choice! {
    /// How exactly programs that score compute.
    pub enum Precision: "precision", default Full {
        /// 32 bits throughout: scores as on the CPU, to about 1e-5.
        Full("full") = 0,
        /// Intermediate values in 16 bits, sums in 32: faster, scores differ by a few hundredths.
        ///
        /// Cooperative matrices are used where there are any. A device without 16-bit storage computes in full.
        Half("half") = 1,
    }
}

/// How to open a device.
///
/// ```
/// use adflow_vulkan::{Choice, Precision, VulkanOptions};
/// let options = VulkanOptions::default().with_choice(Choice::Index(1)).with_precision(Precision::Half);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VulkanOptions {
    /// Which device.
    pub choice: Choice,
    /// Whether the validation layers watch (slow; for tests). Also by `ADFLOW_VULKAN_VALIDATION=1`.
    pub validation: bool,
    /// How exactly programs that score compute. Training is always exact.
    pub precision: Precision,
    /// Use nothing that Vulkan 1.1 leaves to the device, for tests. Also by `ADFLOW_VULKAN_GENERIC=1`.
    pub generic: bool,
    /// Whether to copy inputs and outputs even where memory is shared. Also by `ADFLOW_VULKAN_STAGING=1`.
    pub staging: bool,
    /// Treat the device as if it asked for ranges aligned to at least this many bytes, for tests; a power of two up to 256.
    pub alignment: u64,
    /// Multiplications of one submission, roughly: more are split, so that a display driver's watchdog stays calm.
    pub submission: u64,
    /// How long to wait for one run before the device counts as lost.
    pub timeout: Duration,
}

impl Default for VulkanOptions {
    fn default() -> VulkanOptions {
        let set = |name: &str| std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0");
        VulkanOptions {
            choice: Choice::Best,
            validation: set("ADFLOW_VULKAN_VALIDATION"),
            precision: Precision::Full,
            generic: set("ADFLOW_VULKAN_GENERIC"),
            staging: set("ADFLOW_VULKAN_STAGING"),
            alignment: 64,
            submission: 20_000_000_000,
            timeout: Duration::from_secs(300),
        }
    }
}

impl VulkanOptions {
    /// Sets which device is opened.
    #[must_use]
    pub fn with_choice(self, choice: Choice) -> VulkanOptions {
        VulkanOptions { choice, ..self }
    }

    /// Sets whether the validation layers watch.
    #[must_use]
    pub fn with_validation(self, validation: bool) -> VulkanOptions {
        VulkanOptions { validation, ..self }
    }

    /// Sets how exactly programs that score compute.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> VulkanOptions {
        VulkanOptions { precision, ..self }
    }

    /// Sets whether to use nothing that Vulkan 1.1 leaves to the device.
    #[must_use]
    pub fn with_generic(self, generic: bool) -> VulkanOptions {
        VulkanOptions { generic, ..self }
    }

    /// Sets whether to copy inputs and outputs even where memory is shared.
    #[must_use]
    pub fn with_staging(self, staging: bool) -> VulkanOptions {
        VulkanOptions { staging, ..self }
    }

    /// Sets the least alignment of ranges, in bytes: a power of two up to 256.
    #[must_use]
    pub fn with_alignment(self, alignment: u64) -> VulkanOptions {
        VulkanOptions { alignment, ..self }
    }

    /// Sets roughly how many multiplications one submission has at most.
    #[must_use]
    pub fn with_submission(self, submission: u64) -> VulkanOptions {
        VulkanOptions { submission, ..self }
    }

    /// Sets how long to wait for one run before the device counts as lost.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> VulkanOptions {
        VulkanOptions { timeout, ..self }
    }
}

/// The devices of this machine, in the order of the loader.
///
/// ```
/// // A machine without a driver has none.
/// for device in adflow_vulkan::devices().unwrap_or_default() {
///     println!("vulkan:{} {} ({})", device.index, device.name, device.kind.as_str());
/// }
/// ```
///
/// # Errors
/// [`OpenError::NoLoader`] or [`OpenError::NoDevice`].
pub fn devices() -> Result<Vec<DeviceInfo>, OpenError> {
    let instance = Instance::new(false)?;
    Ok(list(&instance)?.into_iter().map(|(_, info)| info).collect())
}

fn list(instance: &Instance) -> Result<Vec<(vk::PhysicalDevice, DeviceInfo)>, OpenError> {
    // SAFETY: the instance is alive.
    let found = unsafe { instance.raw.enumerate_physical_devices() }.doing("listing devices")?;
    let usable = found.into_iter().filter_map(|physical| describe(instance, physical).map(|info| (physical, info)));
    let mut list: Vec<_> = usable.collect();
    for (index, (_, info)) in list.iter_mut().enumerate() {
        info.index = index;
    }
    if list.is_empty() { Err(OpenError::NoDevice("no driver offers one".to_string())) } else { Ok(list) }
}

/// The queue family with compute, one without graphics last: any will do.
pub(crate) fn compute_family(instance: &Instance, physical: vk::PhysicalDevice) -> Option<(u32, u32)> {
    // SAFETY: the physical device comes from this instance.
    let families = unsafe { instance.raw.get_physical_device_queue_family_properties(physical) };
    let at = families.iter().position(|f| f.queue_flags.contains(vk::QueueFlags::COMPUTE))?;
    Some((at as u32, families[at].timestamp_valid_bits))
}

fn describe(instance: &Instance, physical: vk::PhysicalDevice) -> Option<DeviceInfo> {
    let (_, timestamp_bits) = compute_family(instance, physical)?;
    let mut id = vk::PhysicalDeviceIDProperties::default();
    let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut id).push_next(&mut subgroup);
    // SAFETY: the physical device comes from this instance, which has checked for version 1.1 of the loader.
    let (plain, memory) = unsafe {
        (
            instance.raw.get_physical_device_properties(physical),
            instance.raw.get_physical_device_memory_properties(physical),
        )
    };
    if plain.api_version < vk::API_VERSION_1_1 {
        return None;
    }
    let mut storage = vk::PhysicalDevice16BitStorageFeatures::default();
    let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut storage);
    // SAFETY: the device speaks 1.1, so these functions exist.
    unsafe {
        instance.raw.get_physical_device_properties2(physical, &mut properties);
        instance.raw.get_physical_device_features2(physical, &mut features);
    }
    let subgroup_size = subgroup.subgroup_size;
    let fast = storage.storage_buffer16_bit_access == vk::TRUE
        && subgroup.supported_stages.contains(vk::ShaderStageFlags::COMPUTE)
        && subgroup.supported_operations.contains(vk::SubgroupFeatureFlags::ARITHMETIC);
    let limits = plain.limits;
    let local = |heap: &&vk::MemoryHeap| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL);
    let largest = memory.memory_heaps_as_slice().iter().filter(local).map(|h| h.size).max().unwrap_or(0);
    let kind = match plain.device_type {
        vk::PhysicalDeviceType::DISCRETE_GPU => DeviceKind::Discrete,
        vk::PhysicalDeviceType::INTEGRATED_GPU => DeviceKind::Integrated,
        vk::PhysicalDeviceType::VIRTUAL_GPU => DeviceKind::Virtual,
        vk::PhysicalDeviceType::CPU => DeviceKind::Software,
        _ => DeviceKind::Other,
    };
    let version = plain.api_version;
    Some(DeviceInfo {
        index: 0,
        name: plain.device_name_as_c_str().map_or_else(|_| "?".into(), |s| s.to_string_lossy().into_owned()),
        kind,
        uuid: id.device_uuid.iter().map(|b| format!("{b:02x}")).collect(),
        driver_version: plain.driver_version,
        api_version: format!(
            "{}.{}.{}",
            vk::api_version_major(version),
            vk::api_version_minor(version),
            vk::api_version_patch(version)
        ),
        memory: largest,
        unified: matches!(kind, DeviceKind::Integrated | DeviceKind::Software),
        max_range: u64::from(limits.max_storage_buffer_range),
        max_invocations: limits.max_compute_work_group_invocations.min(limits.max_compute_work_group_size[0]),
        max_shared: limits.max_compute_shared_memory_size,
        alignment: limits.min_storage_buffer_offset_alignment,
        subgroup: subgroup_size,
        fast,
        cooperative_matrix: if fast { matrix_edge(instance, physical, version) } else { None },
        timestamp_ns: (timestamp_bits > 0).then_some(limits.timestamp_period),
    })
}

/// Side of the cooperative matrices that products can use, if the device has all that goes with them.
fn matrix_edge(instance: &Instance, physical: vk::PhysicalDevice, version: u32) -> Option<u32> {
    if version < vk::API_VERSION_1_3 || !instance.is_1_3() {
        return None;
    }
    // SAFETY: the physical device comes from this instance.
    let extensions = unsafe { instance.raw.enumerate_device_extension_properties(physical) }.ok()?;
    let name = ash::khr::cooperative_matrix::NAME;
    if !extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name)) {
        return None;
    }
    let mut matrix = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
    let mut v13 = vk::PhysicalDeviceVulkan13Features::default();
    let mut features =
        vk::PhysicalDeviceFeatures2::default().push_next(&mut matrix).push_next(&mut v12).push_next(&mut v13);
    // SAFETY: the device speaks 1.3 and knows the extension.
    unsafe { instance.raw.get_physical_device_features2(physical, &mut features) };
    let all = [
        matrix.cooperative_matrix,
        v12.shader_float16,
        v12.vulkan_memory_model,
        v13.subgroup_size_control,
        v13.compute_full_subgroups,
        v13.maintenance4,
    ];
    if all.contains(&vk::FALSE) {
        return None;
    }
    [16, 8].into_iter().find(|edge| instance.has_cooperative_matrix(physical, *edge))
}

fn choose(
    list: Vec<(vk::PhysicalDevice, DeviceInfo)>,
    choice: &Choice,
) -> Result<(vk::PhysicalDevice, DeviceInfo), OpenError> {
    let found = list.iter().map(|(_, info)| format!("{} {}", info.index, info.name)).collect();
    let fits = |info: &DeviceInfo| match choice {
        Choice::Best => true,
        Choice::Card => matches!(info.kind, DeviceKind::Discrete | DeviceKind::Virtual),
        Choice::Index(index) => info.index == *index,
        Choice::Name(name) => info.uuid == *name || info.name.to_lowercase().contains(name.as_str()),
    };
    let best = list.into_iter().filter(|(_, info)| fits(info)).min_by_key(|(_, info)| (info.kind, info.index));
    best.ok_or_else(|| OpenError::NotFound { wanted: choice.to_string(), found })
}

/// An opened device. Cheap to clone; the device closes when the last clone and the last executor are gone.
///
/// ```no_run
/// use adflow::Inspector;
/// use adflow::model::OwnedModel;
/// use adflow_vulkan::{VulkanDevice, VulkanOptions};
///
/// let gpu = VulkanDevice::open(&VulkanOptions::default())?;
/// let model = OwnedModel::open("part.adflow")?;
/// let executor = gpu.open_executor(model.model().params(), 0, 0)?;
/// let mut inspector = Inspector::builder().executor(Box::new(executor)).build(model)?;
/// # let frame = adflow::Image::grey(64, 64, vec![0u8; 64 * 64])?;
/// println!("{}", inspector.inspect(&frame.view())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct VulkanDevice(Arc<Shared>);

struct Shared {
    instance: Arc<Instance>,
    physical: vk::PhysicalDevice,
    info: DeviceInfo,
    options: VulkanOptions,
    gpu: Mutex<Arc<Gpu>>,
}

impl VulkanDevice {
    /// Opens a device.
    ///
    /// # Errors
    /// No loader, no driver, no such device, or it does not open.
    pub fn open(options: &VulkanOptions) -> Result<VulkanDevice, OpenError> {
        let instance = Arc::new(Instance::new(options.validation)?);
        let (physical, info) = choose(list(&instance)?, &options.choice)?;
        let gpu = Mutex::new(Arc::new(Gpu::new(instance.clone(), physical, &info, options)?));
        Ok(VulkanDevice(Arc::new(Shared { instance, physical, info, options: options.clone(), gpu })))
    }

    /// Name, memory and abilities of the device.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// The device as it is opened now.
    pub(crate) fn gpu(&self) -> Arc<Gpu> {
        self.0.gpu.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the device anew after `lost` was lost; executors that ask later get the one already reopened.
    pub(crate) fn reopen(&self, lost: &Arc<Gpu>) -> Result<Arc<Gpu>, DeviceError> {
        let mut gpu = self.0.gpu.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&gpu, lost) {
            *gpu = Arc::new(Gpu::new(self.0.instance.clone(), self.0.physical, &self.0.info, &self.0.options)?);
        }
        Ok(gpu.clone())
    }

    /// Puts parameters on the device, with that many floats for gradients and moments (zeros).
    ///
    /// # Errors
    /// No memory, or the device is lost.
    pub fn open_executor(&self, params: &[f32], grads: usize, state: usize) -> Result<VulkanExecutor, DeviceError> {
        VulkanExecutor::new(self.clone(), params, grads, state)
    }
}

impl Device for VulkanDevice {
    fn executor(&self, params: &[f32], grads: usize, state: usize) -> Result<Box<dyn Executor + '_>, DeviceError> {
        Ok(Box::new(self.open_executor(params, grads, state)?))
    }

    fn describe(&self) -> String {
        format!("vulkan:{} ({}, {})", self.0.info.index, self.0.info.name, self.0.info.kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_words_are_understood() {
        let vulkan = |choice| Ok(Compute::Vulkan(choice));
        assert_eq!("auto".parse(), Ok(Compute::Auto));
        assert_eq!("cpu".parse(), Ok(Compute::Cpu));
        assert_eq!("vulkan".parse(), vulkan(Choice::Best));
        assert_eq!("vulkan:2".parse(), vulkan(Choice::Index(2)));
        assert_eq!("vulkan:H200".parse(), vulkan(Choice::Name("h200".to_string())));
        for bad in ["", "gpu", "vulkan:", "cpu:1", "cuda:0"] {
            assert!(bad.parse::<Compute>().is_err(), "{bad}");
        }
    }
}
