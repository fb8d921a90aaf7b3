//! Failures, and the messages that go with them.
//!
//! Each thread keeps the message of its last failure in a fixed buffer, so that storing one allocates nothing and no other
//! thread can replace it.

use crate::status::adflow_status;
use core::any::Any;
use core::cell::RefCell;
use core::ffi::c_char;
use core::fmt::{self, Write};

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
        $crate::failure::Failure::new($crate::status::adflow_status::$status, format_args!($($message)*))
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

    /// The text without its NUL.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Truncated between characters, so it is valid UTF-8.
        f.write_str(core::str::from_utf8(self.bytes()).unwrap_or(""))
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

/// Pointer to the NUL-terminated message of this thread's last failure, valid until its next one.
pub(crate) fn last_text() -> *const c_char {
    LAST.with_borrow(Message::as_ptr)
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
    let known = LAST.with_borrow(|last| last.bytes().starts_with(b"internal error: "));
    if !known {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
        let _ = fail!(Internal, "internal error: {text}");
    }
    adflow_status::Internal
}
