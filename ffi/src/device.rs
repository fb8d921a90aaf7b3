//! GPUs: which there are, and the one that an options struct asks for.

use crate::guard::{Caller, Versioned};
use crate::status::{Failure, adflow_status, fail};
use adflow_vulkan::{Compute, DeviceInfo, Precision, VulkanDevice};
use core::ffi::c_char;
use core::mem::offset_of;

/// A GPU that options can name. The caller sets `struct_size`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_device_description {
    /// sizeof(adflow_device_description).
    pub struct_size: u32,
    /// One of `adflow_device_kind`.
    pub kind: u32,
    /// Bytes of device memory.
    pub memory: u64,
    /// Its name, cut where it is longer.
    pub name: [c_char; 256],
    /// Identifies it across runs: 32 hexadecimal digits.
    pub uuid: [c_char; 40],
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number.
unsafe impl Versioned for adflow_device_description {
    const NAME: &'static str = "adflow_device_description";
    const LEAST: usize = offset_of!(adflow_device_description, kind);
}

/// The GPU of an options struct; `None` is the CPU, which NULL stands for.
pub(crate) fn open(c: &Caller, device: *const c_char, half: u32) -> Result<Option<VulkanDevice>, Failure> {
    if device.is_null() {
        return Ok(None);
    }
    let wanted: Compute =
        c.text("options.device", device)?.parse().map_err(|e| fail!(Argument, "options.device: {e}"))?;
    let precision = if half == 0 { Precision::Full } else { Precision::Half };
    wanted.open(precision).map_err(|error| fail!(Device, "{error}"))
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

/// How many GPUs with a Vulkan driver there are; 0 without a driver.
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

/// The GPU that "vulkan:N" names, for N = `index` from 0.
///
/// Errors: NULL, ARGUMENT, NOT_FOUND past the last. Thread class: reentrant.
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
