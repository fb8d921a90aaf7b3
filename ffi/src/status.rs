//! Status codes, and the message that goes with a failure.
//!
//! Each thread keeps the message of its last failure in a fixed buffer, so that storing one allocates nothing and no other
//! thread can replace it.

use crate::guard::Caller;
use core::any::Any;
use core::cell::RefCell;
use core::ffi::{CStr, c_char};
use core::fmt::{self, Write};

/// Outcome of a call. Numbers never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub enum adflow_status {
    /// The call succeeded.
    Ok = 0,
    /// A required pointer is NULL.
    Null = 1,
    /// An argument or a field of a struct is out of range.
    Argument = 2,
    /// The image is empty, wider than the session allows, inconsistently described, or has a pixel that is NaN or infinite.
    Image = 3,
    /// The data is not a model, is damaged, or was written by a version that this library cannot read.
    Model = 4,
    /// A file could not be read or written.
    Io = 5,
    /// Nothing has the requested name or index.
    NotFound = 6,
    /// A struct sets a field that this version of the library does not know.
    Unsupported = 7,
    /// A map was requested, but the model or the session makes none.
    NoMap = 8,
    /// Another thread or a callback is using the object.
    Busy = 9,
    /// The progress callback cancelled the training.
    Cancelled = 10,
    /// There are too few training images.
    TooFewImages = 11,
    /// Training failed: all images are identical, or the loss became NaN or infinite.
    Training = 12,
    /// The checkpoint was made with other images or options, or is damaged.
    Checkpoint = 13,
    /// The backbone file cannot be used.
    Weights = 14,
    /// The buffer is too small; the required length has been written.
    BufferTooSmall = 15,
    /// Not enough memory.
    OutOfMemory = 16,
    /// A bug in adflow. The objects passed to the call remain valid.
    Internal = 17,
    /// The requested GPU does not exist, lacks a required capability, or has failed permanently.
    Device = 18,
    /// The deadline of the session passed before the image was scored.
    TimedOut = 19,
    /// The handle was freed before, or is of another type. Only debug builds of the library detect this.
    Handle = 20,
}

impl adflow_status {
    const fn text(number: u32) -> &'static CStr {
        match number {
            0 => c"done",
            1 => c"NULL pointer",
            2 => c"argument out of range",
            3 => c"unusable image",
            4 => c"not a valid model",
            5 => c"file cannot be read or written",
            6 => c"not found",
            7 => c"not supported by this version",
            8 => c"no map available",
            9 => c"object in use",
            10 => c"cancelled",
            11 => c"too few images",
            12 => c"training failed",
            13 => c"unusable checkpoint",
            14 => c"unusable weights",
            15 => c"buffer too small",
            16 => c"out of memory",
            17 => c"internal error",
            18 => c"no usable device",
            19 => c"timed out",
            20 => c"invalid handle",
            _ => c"unknown status",
        }
    }
}

/// An error on its way to the caller; its message is already in the thread's buffer.
#[derive(Debug)]
pub(crate) struct Failure(adflow_status);

impl Failure {
    /// Makes a failure and sets the thread's message; `fail!` is shorter.
    pub fn new(status: adflow_status, message: fmt::Arguments<'_>) -> Failure {
        LAST.with_borrow_mut(|last| last.set(message));
        Failure(status)
    }

    /// The status.
    pub fn status(&self) -> adflow_status {
        self.0
    }
}

/// `fail!(Argument, "width is {width}")` makes a [`Failure`] and sets the thread's message.
macro_rules! fail {
    ($status:ident, $($message:tt)*) => {
        $crate::status::Failure::new($crate::status::adflow_status::$status, format_args!($($message)*))
    };
}
pub(crate) use fail;

/// A NUL-terminated text in a fixed buffer, truncated to 1023 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    bytes: [u8; 1024],
    len: usize,
}

impl Message {
    /// No text.
    pub const fn new() -> Message {
        Message { bytes: [0; 1024], len: 0 }
    }

    /// Pointer to the NUL-terminated text.
    pub fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    /// Replaces the text.
    pub fn set(&mut self, message: fmt::Arguments<'_>) {
        self.len = 0;
        // A truncated text is better than none.
        let _ = self.write_fmt(message);
        self.bytes[self.len] = 0;
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Truncated between characters, so it is valid UTF-8.
        f.write_str(core::str::from_utf8(self.text()).unwrap_or(""))
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.len;
        let fits = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.bytes[self.len..][..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

thread_local! {
    static LAST: RefCell<Message> = const { RefCell::new(Message::new()) };
}

/// The message of this thread's last failure.
pub(crate) fn last() -> Message {
    LAST.with_borrow(|last| *last)
}

/// Installs a panic hook that stores the message for the caller instead of printing it: a library does not print.
pub(crate) fn keep_panics_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let _ = fail!(Internal, "internal error: {info}");
        }));
    });
}

/// The status of a caught panic. The message of a panic on another thread is in that thread's buffer, so it is taken from the
/// payload then.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> adflow_status {
    let known = LAST.with_borrow(|last| last.text().starts_with(b"internal error: "));
    if !known {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
        let _ = fail!(Internal, "internal error: {text}");
    }
    adflow_status::Internal
}

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
        text = LAST.with_borrow(|last| last.bytes.as_ptr().cast());
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
    guarded!(|c| { copy(c, &last(), buffer, capacity, length) })
}

/// Copies any message as `adflow_last_error_copy` documents.
pub(crate) fn copy(
    c: &Caller,
    message: &Message,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Failure> {
    let to = c.slice_mut("buffer", buffer.cast::<u8>(), capacity)?;
    let out = if length.is_null() { None } else { Some(c.out("length", length)?) };
    if let Some((end, to)) = to.split_last_mut() {
        let mut fits = message.len.min(to.len());
        // Not in the middle of a character.
        while fits < message.len && fits > 0 && message.bytes[fits] & 0xC0 == 0x80 {
            fits -= 1;
        }
        to[..fits].copy_from_slice(&message.bytes[..fits]);
        *to.get_mut(fits).unwrap_or(end) = 0;
    }
    if let Some(out) = out {
        out.write(message.len);
    }
    Ok(())
}
