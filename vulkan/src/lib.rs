//! Trains and scores adflow models on any GPU with a Vulkan 1.1 driver.
//!
//! [`devices`] lists what there is, [`VulkanDevice::open`] opens one. It is an [`adflow::executor::Device`]: hand it to
//! [`adflow::detect::train`], or make an executor with it and hand that to
//! [`InspectorBuilder::executor`](adflow::inspector::InspectorBuilder::executor). Programs are those of the model file; nothing
//! here knows layers or methods.
//!
//! ```no_run
//! use adflow::backbones::Backbone;
//! use adflow::detect::{TrainOptions, train};
//! use adflow_vulkan::{VulkanDevice, VulkanOptions};
//!
//! # let good: Vec<adflow::Image> = Vec::new();
//! let gpu = VulkanDevice::open(&VulkanOptions::default())?;
//! println!("training on {}", gpu.info().name);
//! let trained = train(&good, &Backbone::builtin(), &TrainOptions::default(), &gpu, &mut (), None)?;
//! trained.save("part.adflow")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How a program gets there:
//!
//! ```text
//! Program ──dispatch.rs──▶ shader, constants, parameters ──record.rs──▶ command buffers, recorded once a batch size
//!                                                                            │ executor.rs: inputs in, submit, wait, outputs out
//! instance.rs, device.rs: loader, choice, capabilities ── gpu.rs: one opened device, its pipelines and memory
//! ```
//!
//! Environment: `ADFLOW_VULKAN_VALIDATION=1` switches the validation layers on, `ADFLOW_VULKAN_STAGING=1` copies inputs
//! and outputs even where memory is shared, `ADFLOW_VULKAN_GENERIC=1` leaves out what Vulkan 1.1 does not promise, `ADFLOW_CACHE_DIR` says where compiled pipelines are kept.

mod buffer;
mod cache;
mod device;
mod dispatch;
mod error;
mod executor;
#[doc(hidden)]
pub mod fault;
mod gpu;
mod instance;
mod record;
mod shader;

pub use device::{Choice, Compute, DeviceInfo, DeviceKind, Precision, VulkanDevice, VulkanOptions, devices};
pub use error::OpenError;
pub use executor::{OpTime, PREFERRED_BATCH, VulkanExecutor};
pub use instance::validation_messages;
