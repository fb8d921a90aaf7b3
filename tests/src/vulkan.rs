//! The Vulkan device that tests run on: any there is, lavapipe on a machine without a GPU, watched by the validation layers
//! where they are installed.

use adflow_vulkan::{OpenError, VulkanDevice, VulkanOptions};

/// A device for the tests, or `None`, said loudly. With `ADFLOW_REQUIRE_VULKAN=1` a missing device is a failure.
pub fn device(options: VulkanOptions) -> Option<VulkanDevice> {
    let watched = options.clone().with_validation(true);
    let opened = match VulkanDevice::open(&watched) {
        Err(OpenError::NoValidation) => {
            eprintln!("skipped: Vulkan validation (its layers are not installed)");
            VulkanDevice::open(&options)
        }
        other => other,
    };
    match opened {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("ADFLOW_REQUIRE_VULKAN").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: Vulkan ({error})");
            None
        }
    }
}

/// Fails if the validation layers had anything to say.
pub fn assert_silent() {
    assert_eq!(adflow_vulkan::validation_messages(), 0, "messages of the validation layers, see above");
}
