//! Errors of opening a device, and Vulkan's results as faults of a device.

use adflow::executor::{DeviceError, DeviceFault};
use ash::vk;
use std::fmt;

/// Why no device could be opened.
#[derive(Clone, Debug, PartialEq)]
pub enum OpenError {
    /// There is no Vulkan loader (libvulkan) on this machine.
    NoLoader(String),
    /// There is a loader, but no driver or no device.
    NoDevice(String),
    /// None of the devices is the one asked for.
    NotFound {
        /// What was asked for.
        wanted: String,
        /// The devices there are.
        found: Vec<String>,
    },
    /// Validation was asked for, but its layers are not installed.
    NoValidation,
    /// The device is there but does not open.
    Device(DeviceError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NoLoader(why) => write!(f, "no Vulkan loader on this machine ({why})"),
            OpenError::NoDevice(why) => write!(f, "no Vulkan device on this machine ({why})"),
            OpenError::NotFound { wanted, found } => {
                write!(f, "no Vulkan device \"{wanted}\"; there are: {}", found.join(", "))
            }
            OpenError::NoValidation => f.write_str("the Vulkan validation layers are not installed"),
            OpenError::Device(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Device(error) => Some(error),
            OpenError::NoLoader(_) | OpenError::NoDevice(_) | OpenError::NotFound { .. } | OpenError::NoValidation => {
                None
            }
        }
    }
}

impl From<DeviceError> for OpenError {
    fn from(error: DeviceError) -> OpenError {
        OpenError::Device(error)
    }
}

/// A result of Vulkan as a fault.
pub(crate) fn fault(result: vk::Result, doing: &'static str) -> DeviceError {
    let fault = match result {
        vk::Result::ERROR_DEVICE_LOST | vk::Result::TIMEOUT => DeviceFault::Lost,
        vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
        | vk::Result::ERROR_OUT_OF_HOST_MEMORY
        | vk::Result::ERROR_OUT_OF_POOL_MEMORY
        | vk::Result::ERROR_TOO_MANY_OBJECTS => DeviceFault::OutOfMemory,
        vk::Result::ERROR_FEATURE_NOT_PRESENT
        | vk::Result::ERROR_EXTENSION_NOT_PRESENT
        | vk::Result::ERROR_INCOMPATIBLE_DRIVER => DeviceFault::Unsupported,
        _ => DeviceFault::Failed,
    };
    DeviceError::new(fault, doing)
}

/// `?` on Vulkan's results.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, DeviceError>;
}

impl<T> Doing<T> for Result<T, vk::Result> {
    fn doing(self, doing: &'static str) -> Result<T, DeviceError> {
        self.map_err(|result| fault(result, doing))
    }
}
