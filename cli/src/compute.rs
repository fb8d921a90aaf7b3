//! Where the work is done: threads of the CPU, and a GPU where one is used.

use adflow::cpu::Cpu;
use adflow::executor::Device;
use adflow::threads::Threads;
use adflow_vulkan::VulkanDevice;

/// Threads and, if one was chosen, a GPU.
#[derive(Clone)]
pub struct Compute {
    /// Threads of the CPU.
    pub threads: usize,
    /// The GPU; `None` where the CPU runs the programs.
    pub gpu: Option<VulkanDevice>,
}

impl Compute {
    /// The CPU alone.
    pub fn cpu(threads: usize) -> Self {
        Self { threads, gpu: None }
    }

    /// Name of the device, `cpu` or `vulkan:N (its name)`.
    pub fn describe(&self) -> String {
        self.gpu.as_ref().map_or_else(|| "cpu".to_string(), Device::describe)
    }

    /// Calls `f` with the device that runs programs.
    pub fn with_device<T>(&self, f: impl FnOnce(&dyn Device) -> T) -> T {
        match &self.gpu {
            Some(gpu) => f(gpu),
            None => f(&Cpu::detect(&Threads::new(self.threads))),
        }
    }
}
