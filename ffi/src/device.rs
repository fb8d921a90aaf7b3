//! Where programs run: the GPUs of this machine, and the device and the threads that an options struct asks for.

use crate::failure::{Failure, fail};
use crate::guard::{Caller, Versioned};
use crate::status::adflow_status;
use adflow_vulkan::{Compute, DeviceInfo, Precision, VulkanDevice};
use core::ffi::c_char;
use core::mem::offset_of;

/// One GPU, as `adflow_device_info` describes it. Set `struct_size` before the call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_device_description {
    /// sizeof(adflow_device_description).
    pub struct_size: u32,
    /// One of `adflow_device_kind`.
    pub kind: u32,
    /// Memory of the GPU, in bytes.
    pub memory: u64,
    /// Name that the driver reports, UTF-8, truncated to 255 bytes and NUL-terminated.
    pub name: [c_char; 256],
    /// UUID of the GPU, the same in every run: 32 hexadecimal digits, NUL-terminated.
    pub uuid: [c_char; 40],
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number.
unsafe impl Versioned for adflow_device_description {
    const NAME: &'static str = "adflow_device_description";
    const LEAST: usize = offset_of!(adflow_device_description, kind);
}

/// Opens the GPU that the text `options.device` names; `None` for the CPU, also if the text is NULL. `half` other than 0 asks for
/// half precision.
pub(crate) fn open(c: &Caller, device: *const c_char, half: u32) -> Result<Option<VulkanDevice>, Failure> {
    if device.is_null() {
        return Ok(None);
    }
    let wanted: Compute =
        c.text("options.device", device)?.parse().map_err(|e| fail!(Argument, "options.device: {e}"))?;
    let precision = if half == 0 { Precision::Full } else { Precision::Half };
    wanted.open(precision).map_err(|error| fail!(Device, "{error}"))
}

/// The number of threads that an options struct asks for; 0 is one per processor.
pub(crate) fn thread_count(count: u32) -> Result<usize, Failure> {
    match count {
        0 => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
        1..=1024 => Ok(count as usize),
        _ => Err(fail!(Argument, "options.threads is {count}; at most 1024 are possible")),
    }
}

fn text<const N: usize>(from: &str) -> [c_char; N] {
    let mut to = [0; N];
    for (to, byte) in to[..N - 1].iter_mut().zip(from.bytes()) {
        *to = byte as c_char;
    }
    to
}

fn list() -> Vec<DeviceInfo> {
    // A machine without Vulkan has no devices.
    adflow_vulkan::devices().unwrap_or_default()
}

/// Writes the number of GPUs with a Vulkan driver to `count`; 0 if no Vulkan driver is installed.
///
/// Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_device_count(count: *mut u32) -> adflow_status {
    guarded!(|c| {
        let out = c.out("count", count)?;
        out.write(list().len() as u32);
        Ok(())
    })
}

/// Describes the GPU with number `index`, counted from 0, in `info`: the one that the device text "vulkan:N" selects.
///
/// Set `info->struct_size` before the call. Errors: NULL, ARGUMENT, NOT_FOUND if `index` is not below
/// `adflow_device_count`. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_device_info(index: u32, info: *mut adflow_device_description) -> adflow_status {
    guarded!(|c| {
        let out = c.out_struct("info", info)?;
        let list = list();
        let found = list.get(index as usize);
        let d = found.ok_or_else(|| fail!(NotFound, "there are {} devices", list.len()))?;
        out.write(adflow_device_description {
            kind: d.kind.number(),
            memory: d.memory,
            name: text(&d.name),
            uuid: text(&d.uuid),
            ..adflow_device_description::new()
        });
        Ok(())
    })
}
