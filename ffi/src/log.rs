//! Messages for the program's log: one callback for the whole process. The text is formatted on the stack, so nothing is allocated.
//!
//! Failures are logged where every export ends (`guard.rs`); a few events are logged where they happen. A running callback
//! holds the lock for reading: replacing it waits until it has returned, so the old one is never called afterwards.

use crate::failure::{Failure, Message, fail};
use core::cell::Cell;
use core::ffi::{c_char, c_void};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

/// Severity of a log message.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_log_level {
    /// No messages.
    None = 0,
    /// A call has failed; the message is the one `adflow_last_error` returns.
    Error = 1,
    /// Something the user should know, for example about the training images.
    Warning = 2,
    /// A rare event: a model was opened or a session made.
    Info = 3,
}

/// Receives one log message: `level` is one of `adflow_log_level`, `message` is UTF-8 and valid only during the call.
///
/// Called on the thread that called adflow, so several threads may call it at the same time. It must return normally: no
/// exception and no longjmp may leave it. It may call adflow; messages of such calls are not logged.
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

/// Passes a message to the callback, if one is set for this level.
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

/// Replaces the callback and its level; waits until the previous one is not running any more.
pub(crate) fn redirect(level: u32, callback: adflow_log_fn, user_data: *mut c_void) -> Result<(), Failure> {
    if INSIDE.get() {
        return Err(fail!(Busy, "the log callback cannot be replaced from inside it"));
    }
    let mut sink = SINK.write().unwrap_or_else(PoisonError::into_inner);
    *sink = Sink { callback, user_data };
    LEVEL.store(if callback.is_some() { level } else { adflow_log_level::None as u32 }, Relaxed);
    Ok(())
}
