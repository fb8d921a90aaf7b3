//! Faults on purpose, for tests: the n-th submission, wait or allocation of a thread fails.

use ash::vk;
use std::cell::Cell;

/// Where a fault can be put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site {
    /// Handing work to the queue.
    Submit,
    /// Waiting for it.
    Wait,
    /// Allocating memory.
    Allocate,
}

thread_local! {
    static PLAN: Cell<Option<(Site, u32)>> = const { Cell::new(None) };
}

/// Lets call number `n`, counted from 0, at that place fail on this thread: submissions and waits lose the device,
/// allocations find no memory. `None` calls it off.
pub fn inject(plan: Option<(Site, u32)>) {
    PLAN.set(plan);
}

/// Whether the fault asked for has not happened yet.
pub fn is_pending() -> bool {
    PLAN.get().is_some()
}

pub(crate) fn check(site: Site) -> Result<(), vk::Result> {
    match PLAN.get() {
        Some((s, 0)) if s == site => {
            PLAN.set(None);
            Err(match site {
                Site::Submit | Site::Wait => vk::Result::ERROR_DEVICE_LOST,
                Site::Allocate => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
            })
        }
        Some((s, n)) if s == site => {
            PLAN.set(Some((s, n - 1)));
            Ok(())
        }
        _ => Ok(()),
    }
}
