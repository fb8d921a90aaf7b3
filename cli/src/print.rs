//! Standard output that may go away: a reader that has seen enough (`| head`) or a full disk ends no training.
//!
//! The standard library's `println!` panics there. The macros of this file, which stand for it in this program, keep the
//! fault until [`finish`].

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use crate::failure::{Failure, Outcome};

static FAULT: OnceLock<io::Error> = OnceLock::new();

macro_rules! print {
    ($($part:tt)*) => { $crate::print::write(format_args!($($part)*)) };
}

macro_rules! println {
    () => { $crate::print::write(format_args!("\n")) };
    ($($part:tt)*) => { $crate::print::write(format_args!("{}\n", format_args!($($part)*))) };
}

/// Prints, unless that has failed before.
pub fn write(text: Arguments<'_>) {
    if !failed()
        && let Err(error) = io::stdout().write_fmt(text)
    {
        let _ = FAULT.set(error);
    }
}

/// Whether printing on is of no use.
pub fn failed() -> bool {
    FAULT.get().is_some()
}

/// At the end of the program: an error if not all could be printed, and somebody was there to read it.
pub fn finish() -> Outcome<()> {
    if let Err(error) = io::stdout().flush() {
        let _ = FAULT.set(error);
    }
    match FAULT.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
