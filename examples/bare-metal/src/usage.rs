//! What a run costs: flash, static memory, the deepest the stack has been, instructions.
//!
//! The stack below the caller is painted with a pattern; what is still painted later was never used. Instructions are counted by
//! the system timer, which under `qemu-system-arm -M mps2-an386 -icount shift=0` ticks once in 40 instructions: one instruction
//! a nanosecond, 25 MHz. On real silicon the same figure is 40 times the ticks of the processor's clock.

use core::cell::RefCell;
use core::ptr::addr_of;
use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

unsafe extern "C" {
    // Addresses from the linker script of cortex-m-rt.
    static __sdata: u32;
    static __edata: u32;
    static __sidata: u32;
    static __sheap: u32;
    static _stack_start: u32;
}

/// First address of RAM, as in `memory.x`.
const RAM: usize = 0x2000_0000;
const PATTERN: u32 = 0xC0DE_F00D;
/// Words below the caller that are left alone: it has a frame of its own.
const MARGIN: usize = 64;

/// Bytes of flash: code, constants and what is copied to RAM at the start. Flash begins at 0.
pub fn flash() -> usize {
    addr_of!(__sidata) as usize + (addr_of!(__edata) as usize - addr_of!(__sdata) as usize)
}

/// Bytes of RAM that variables take.
pub fn statics() -> usize {
    addr_of!(__sheap) as usize - RAM
}

/// The painted stack.
pub struct Stack {
    from: usize,
    to: usize,
}

impl Stack {
    /// Paints what lies between the variables and the caller's frame.
    #[inline(never)]
    pub fn paint() -> Stack {
        let here = 0u32;
        let from = addr_of!(__sheap) as usize;
        let to = (addr_of!(here) as usize - MARGIN * 4) & !3;
        for at in (from..to).step_by(4) {
            // SAFETY: RAM between the last variable and this frame, which nothing uses: there is no heap.
            unsafe { core::ptr::write_volatile(at as *mut u32, PATTERN) };
        }
        Stack { from, to }
    }

    /// Most bytes that the stack has had since.
    pub fn deepest(&self) -> usize {
        // SAFETY: the painted words; reading them disturbs nothing.
        let painted = |at: &usize| unsafe { core::ptr::read_volatile(*at as *const u32) } == PATTERN;
        let untouched = (self.from..self.to).step_by(4).take_while(painted).count();
        addr_of!(_stack_start) as usize - self.from - 4 * untouched
    }
}

/// The system timer.
pub struct Clock {
    timer: RefCell<SYST>,
}

const PERIOD: u32 = 1 << 24;
const INSTRUCTIONS: u64 = 40;

impl Clock {
    /// Starts it; `None` where somebody has it already.
    pub fn start() -> Option<Clock> {
        let mut timer = Peripherals::take()?.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(PERIOD - 1);
        timer.clear_current();
        timer.enable_counter();
        Some(Clock { timer: RefCell::new(timer) })
    }

    /// What `f` gives and how many instructions it took: up to 671 million, 0 where it took more.
    pub fn measure<T>(&self, f: impl FnOnce() -> T) -> (T, u64) {
        let mut timer = self.timer.borrow_mut();
        timer.clear_current();
        while SYST::get_current() == 0 {}
        // Reading this forgets earlier wraps.
        timer.has_wrapped();
        let from = SYST::get_current();
        let result = f();
        let ticks = from.wrapping_sub(SYST::get_current());
        (result, if timer.has_wrapped() { 0 } else { u64::from(ticks) * INSTRUCTIONS })
    }
}
