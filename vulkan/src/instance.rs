//! The Vulkan loader and instance, with the validation layers where asked for.
#![allow(unsafe_code)]

use crate::error::{Doing, OpenError};
use ash::{Entry, ext, khr, vk};
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

const VALIDATION: &CStr = c"VK_LAYER_KHRONOS_validation";

static MESSAGES: AtomicUsize = AtomicUsize::new(0);

/// How many warnings and errors the validation layers have reported in this process.
pub fn validation_messages() -> usize {
    MESSAGES.load(Ordering::Relaxed)
}

unsafe extern "system" fn on_message(
    _severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    kind: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    _user: *mut c_void,
) -> vk::Bool32 {
    // The loader reports through the same channel; only what the layers say counts.
    if kind.intersects(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION) && !data.is_null() {
        MESSAGES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the layer hands over a valid structure, and its text, where there is one, ends in zero.
        let text = unsafe {
            let text = (*data).p_message;
            if text.is_null() { c"(no text)" } else { CStr::from_ptr(text) }
        };
        eprintln!("vulkan validation: {}", text.to_string_lossy());
    }
    vk::FALSE
}

/// The loaded library with an instance.
pub(crate) struct Instance {
    pub raw: ash::Instance,
    debug: Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    version: u32,
    // Last: the instance lives in this library.
    entry: Entry,
}

impl Instance {
    pub fn new(validation: bool) -> Result<Instance, OpenError> {
        // SAFETY: loading libvulkan runs its initialisers; it is the system's loader.
        let entry = unsafe { Entry::load() }.map_err(|e| OpenError::NoLoader(e.to_string()))?;
        // SAFETY: a query without preconditions.
        let version = unsafe { entry.try_enumerate_instance_version() }.ok().flatten().unwrap_or(vk::API_VERSION_1_0);
        if version < vk::API_VERSION_1_1 {
            return Err(OpenError::NoDevice("the Vulkan loader is older than 1.1".to_string()));
        }
        let app = vk::ApplicationInfo::default()
            .application_name(c"adflow")
            .engine_name(c"adflow")
            .api_version(version.min(vk::API_VERSION_1_3));
        let severity = vk::DebugUtilsMessageSeverityFlagsEXT::WARNING | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR;
        let kinds = vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION;
        let mut messenger = vk::DebugUtilsMessengerCreateInfoEXT::default()
            .message_severity(severity)
            .message_type(kinds)
            .pfn_user_callback(Some(on_message));
        let enables = [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];
        let mut features = vk::ValidationFeaturesEXT::default().enabled_validation_features(&enables);
        let (layers, extensions) =
            ([VALIDATION.as_ptr()], [ext::debug_utils::NAME.as_ptr(), ext::validation_features::NAME.as_ptr()]);
        let mut info = vk::InstanceCreateInfo::default().application_info(&app);
        if validation {
            // SAFETY: a query without preconditions.
            let known = unsafe { entry.enumerate_instance_layer_properties() }.unwrap_or_default();
            if !known.iter().any(|l| l.layer_name_as_c_str() == Ok(VALIDATION)) {
                return Err(OpenError::NoValidation);
            }
            info = info.enabled_layer_names(&layers).enabled_extension_names(&extensions);
            info = info.push_next(&mut messenger).push_next(&mut features);
        }
        // SAFETY: every structure that `info` points to outlives the call.
        let raw = unsafe { entry.create_instance(&info, None) }.map_err(|result| match result {
            vk::Result::ERROR_INCOMPATIBLE_DRIVER => OpenError::NoDevice("no driver is installed".to_string()),
            other => OpenError::NoDevice(other.to_string()),
        })?;
        let mut instance = Instance { raw, debug: None, version, entry };
        if validation {
            let debug = ext::debug_utils::Instance::new(&instance.entry, &instance.raw);
            let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
                .message_severity(severity)
                .message_type(kinds)
                .pfn_user_callback(Some(on_message));
            // SAFETY: the instance is alive, and the callback is a function of this program.
            let messenger =
                unsafe { debug.create_debug_utils_messenger(&info, None) }.doing("setting up validation")?;
            instance.debug = Some((debug, messenger));
        }
        Ok(instance)
    }

    /// Whether the loader speaks 1.3.
    pub fn is_1_3(&self) -> bool {
        self.version >= vk::API_VERSION_1_3
    }

    /// Whether a device that knows the extension multiplies matrices of 16-bit floats of this side into 32-bit sums, a subgroup
    /// at a time.
    pub fn has_cooperative_matrix(&self, physical: vk::PhysicalDevice, edge: u32) -> bool {
        let extension = khr::cooperative_matrix::Instance::new(&self.entry, &self.raw);
        // SAFETY: the physical device comes from this instance and knows the extension.
        let shapes = unsafe { extension.get_physical_device_cooperative_matrix_properties(physical) };
        shapes.unwrap_or_default().iter().any(|s| {
            [s.m_size, s.n_size, s.k_size] == [edge; 3]
                && [s.a_type, s.b_type] == [vk::ComponentTypeKHR::FLOAT16; 2]
                && [s.c_type, s.result_type] == [vk::ComponentTypeKHR::FLOAT32; 2]
                && s.scope == vk::ScopeKHR::SUBGROUP
        })
    }

    /// Whether objects can be named.
    pub fn has_debug(&self) -> bool {
        self.debug.is_some()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: devices hold the instance alive by `Arc`, so nothing made from it is left.
        unsafe {
            if let Some((debug, messenger)) = self.debug.take() {
                debug.destroy_debug_utils_messenger(messenger, None);
            }
            self.raw.destroy_instance(None);
        }
    }
}
