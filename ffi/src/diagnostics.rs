//! What a program can ask about the library and its failures: version, texts of statuses, messages, the log.

use crate::failure::{self, fail};
use crate::log::{self, adflow_log_fn, adflow_log_level};
use crate::status::adflow_status;
use core::ffi::{c_char, c_void};

/// Returns the version of the library as "major.minor.patch".
///
/// The text is static: never free it. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_version() -> *const c_char {
    let mut text = core::ptr::null();
    guarded!(|_| {
        text = concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast();
        Ok(())
    });
    text
}

/// Returns a short English description of a status; "unknown status" for a number that this library does not know.
///
/// The text is static: never free it. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_status_text(status: u32) -> *const c_char {
    let mut text = core::ptr::null();
    guarded!(|_| {
        text = adflow_status::text(status).as_ptr();
        Ok(())
    });
    text
}

/// Returns the message of the last call on this thread that failed: UTF-8, at most 1023 bytes; "" if none has failed.
///
/// The text belongs to adflow and is valid until the next failing call on this thread, or until the thread ends. Successful
/// calls do not change it. Thread class: reentrant; each thread has its own message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_last_error() -> *const c_char {
    let mut text = core::ptr::null();
    guarded!(|_| {
        text = failure::last_text();
        Ok(())
    });
    text
}

/// Copies the message of `adflow_last_error` to `buffer`, truncated to `capacity` bytes including the terminating NUL.
///
/// `length` receives the length of the whole message in bytes, without the NUL; it may be NULL. `buffer` may be NULL if
/// `capacity` is 0. Errors: NULL. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_last_error_copy(
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> adflow_status {
    guarded!(|c| { c.copy_message(&failure::last(), buffer, capacity, length) })
}

/// Sets the log callback of the whole process: it receives every message of severity `level` (one of `adflow_log_level`) or
/// more severe, with `user_data`. A NULL `callback` or the level NONE turns logging off, which is the default.
///
/// Logging does not allocate. When this function returns, the previous callback is no longer running and will not be called
/// again. Errors: ARGUMENT, BUSY if called from inside a callback. Thread class: reentrant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adflow_set_log(level: u32, callback: adflow_log_fn, user_data: *mut c_void) -> adflow_status {
    guarded!(|_| {
        if level > adflow_log_level::Info as u32 {
            return Err(fail!(Argument, "level is {level}, which is not one of adflow_log_level"));
        }
        log::redirect(level, callback, user_data)
    })
}
