//! Messages for the program's log: one callback of the process, called with text on the stack, so nothing is allocated.
//!
//! Failures are logged where every export ends (`guard.rs`); a few events are logged where they happen. A callback that is
//! running holds the lock for reading: who replaces it waits, and knows that the old one will not be called again.

use crate::status::{Message, adflow_status, fail};
use core::cell::Cell;
use core::ffi::{c_char, c_void};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

/// How much a message matters.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_log_level {
    /// No messages.
    None = 0,
    /// A call has failed; the text is that of `adflow_last_error`.
    Error = 1,
    /// Something that a person should know, for example a remark about training images.
    Warning = 2,
    /// What happens rarely: a model is opened, a session made.
    Info = 3,
}

/// Gets a message; `level` is one of `adflow_log_level`. The text lives during the call.
///
/// It is called on the thread of the adflow function that has something to say, one of several at the same time. It must
/// return: no exception and no longjmp may leave it. It may call adflow; what such calls have to say is not logged.
pub type adflow_log_fn = Option<unsafe extern "C" fn(level: u32, message: *const c_char, user_data: *mut c_void)>;

struct Sink {
    callback: adflow_log_fn,
    user_data: *mut c_void,
}

// SAFETY: the pointer is only handed back to the caller's function, which promises to be callable from any thread.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

static LEVEL: AtomicU32 = AtomicU32::new(adflow_log_level::None as u32);
static SINK: RwLock<Sink> = RwLock::new(Sink { callback: None, user_data: core::ptr::null_mut() });

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Says something if anybody listens.
pub(crate) fn log(level: adflow_log_level, message: fmt::Arguments<'_>) {
    if level as u32 > LEVEL.load(Relaxed) || INSIDE.get() {
        return;
    }
    let mut text = Message::new();
    text.set(message);
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(callback) = sink.callback {
        INSIDE.set(true);
        // SAFETY: the caller promises a function of this type; the text ends with a NUL and lives during the call.
        unsafe { callback(level as u32, text.as_ptr(), sink.user_data) };
        INSIDE.set(false);
    }
}

/// Sends messages up to `level`, one of `adflow_log_level`, to `callback`, for the whole process; `user_data` is handed to
/// it. NULL or NONE ends it.
///
/// Messages are made without allocating. When this returns, the callback before is not running any more and will not be
/// called again. Errors: ARGUMENT, BUSY from inside a callback. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_set_log(level: u32, callback: adflow_log_fn, user_data: *mut c_void) -> adflow_status {
    guarded!(|_| {
        if level > adflow_log_level::Info as u32 {
            return Err(fail!(Argument, "level is {level}, which is not one of adflow_log_level"));
        }
        if INSIDE.get() {
            return Err(fail!(Busy, "the log callback cannot be replaced from inside it"));
        }
        let mut sink = SINK.write().unwrap_or_else(PoisonError::into_inner);
        *sink = Sink { callback, user_data };
        LEVEL.store(if callback.is_some() { level } else { adflow_log_level::None as u32 }, Relaxed);
        Ok(())
    })
}
