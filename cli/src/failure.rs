//! What a command returns when it cannot go on: one message for a person, one exit code for a script.
//!
//! Exit codes: 0 done, 1 error, 2 wrong usage (printed by clap), 3 `inspect --fail-on-defect` found a defective part,
//! 130 interrupted.

use std::fmt::Display;

/// An error that ends the command.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong and with which file, without the leading `error:`.
    pub message: String,
    /// The process's exit code.
    pub code: u8,
}

/// The result of a command or of a part of it.
pub type Outcome<T> = Result<T, Failure>;

/// Exit code of a command that failed.
pub const ERROR: u8 = 1;
/// Exit code of `inspect --fail-on-defect` when at least one part is defective and nothing failed.
pub const DEFECTIVE: u8 = 3;
/// Exit code after Ctrl-C: 128 + SIGINT, as shells expect.
pub const INTERRUPTED: u8 = 130;

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: ERROR }
    }

    /// A command stopped by Ctrl-C.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: INTERRUPTED }
    }
}

/// Puts what was being done in front of an error: `.context("cannot read a.png")` gives `cannot read a.png: <error>`.
pub trait Context<T> {
    /// Adds fixed words.
    fn context(self, words: impl Display) -> Outcome<T>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, words: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(format!("{words}: {error}")))
    }
}
