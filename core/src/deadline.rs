//! A moment after which work is given up.
//!
//! The caller sets it before scoring; long work looks at it between its parts: tasks of a kernel, ops of a program, rows of an
//! image. Past it the call fails, and what it had computed so far is dropped. The clock is the caller's, because `core` has
//! none ([`Threads::with_clock`](crate::threads::Threads::with_clock)); without a clock there is no deadline.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const NONE: u32 = 0;
const AHEAD: u32 = 1;
const PASSED: u32 = 2;

/// A clock and the moment. Set by one thread, looked at by all that work for it.
///
/// ```
/// use adflow::deadline::Deadline;
/// use std::sync::OnceLock;
/// use std::time::Instant;
///
/// fn microseconds() -> u32 {
///     static START: OnceLock<Instant> = OnceLock::new();
///     START.get_or_init(Instant::now).elapsed().as_micros() as u32
/// }
///
/// let deadline = Deadline::with_clock(microseconds);
/// deadline.set(Some(500));
/// while !deadline.passed() {
///     std::hint::spin_loop(); // a part of the work
/// }
/// ```
#[derive(Default)]
pub struct Deadline {
    clock: Option<fn() -> u32>,
    at: AtomicU32,
    state: AtomicU32,
}

impl Deadline {
    /// A deadline that never comes.
    pub const fn none() -> Deadline {
        Deadline { clock: None, at: AtomicU32::new(0), state: AtomicU32::new(NONE) }
    }

    /// No deadline until it is [set](Self::set). `clock` counts microseconds from any moment and wraps around.
    pub const fn with_clock(clock: fn() -> u32) -> Deadline {
        Deadline { clock: Some(clock), at: AtomicU32::new(0), state: AtomicU32::new(NONE) }
    }

    /// Sets it to so many microseconds from now, at most 2^31 - 1; `None`: no deadline.
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

    /// Whether a deadline was set.
    pub fn is_set(&self) -> bool {
        self.state.load(Relaxed) != NONE
    }

    /// Whether the deadline has passed; once it has, that stays so until the next [`set`](Self::set).
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
