//! A moment after which work is given up.
//!
//! Whoever scores sets it before a call; long work looks at it between its parts: tasks of a kernel, ops of a program, rows
//! of an image. What was being computed is then of no use, and who asked for it is told so. The clock is the caller's,
//! because the core has none; without one there is no deadline. Next: [`crate::threads::Threads::with_clock`].

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const NONE: u32 = 0;
const AHEAD: u32 = 1;
const PASSED: u32 = 2;

/// A clock and the moment. Set by one thread, looked at by all that work for it.
#[derive(Default)]
pub struct Deadline {
    clock: Option<fn() -> u32>,
    at: AtomicU32,
    state: AtomicU32,
}

impl Deadline {
    /// There will never be one.
    pub const fn none() -> Deadline {
        Deadline { clock: None, at: AtomicU32::new(0), state: AtomicU32::new(NONE) }
    }

    /// None yet. `clock` counts microseconds from any moment and wraps around.
    pub const fn with_clock(clock: fn() -> u32) -> Deadline {
        Deadline { clock: Some(clock), at: AtomicU32::new(0), state: AtomicU32::new(NONE) }
    }

    /// From now on so many microseconds, at most 2^31 - 1; `None`: no deadline.
    pub fn set(&self, micros: Option<u32>) {
        let state = match (self.clock, micros) {
            (Some(clock), Some(micros)) => {
                self.at.store(clock().wrapping_add(micros.min(i32::MAX as u32)), Relaxed);
                AHEAD
            }
            _ => NONE,
        };
        self.state.store(state, Relaxed);
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.state.load(Relaxed) != NONE
    }

    /// Whether it lies behind; once it does, it stays so until the next [`set`](Self::set).
    pub fn passed(&self) -> bool {
        match (self.state.load(Relaxed), self.clock) {
            (AHEAD, Some(clock)) => {
                let late = clock().wrapping_sub(self.at.load(Relaxed)) as i32 >= 0;
                if late {
                    self.state.store(PASSED, Relaxed);
                }
                late
            }
            (state, _) => state == PASSED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_once_also_where_the_clock_wraps() {
        static NOW: AtomicU32 = AtomicU32::new(u32::MAX - 5);
        let deadline = Deadline::with_clock(|| NOW.load(Relaxed));
        assert!(!deadline.is_set() && !deadline.passed());
        deadline.set(Some(10));
        assert!(deadline.is_set() && !deadline.passed());
        NOW.store(3, Relaxed);
        assert!(!deadline.passed());
        NOW.store(4, Relaxed);
        assert!(deadline.passed());
        NOW.store(3, Relaxed);
        assert!(deadline.passed());
        deadline.set(None);
        assert!(!deadline.passed() && !deadline.is_set());
        deadline.set(Some(0));
        assert!(deadline.passed());
        let without = Deadline::none();
        without.set(Some(0));
        assert!(!without.passed());
    }
}
