//! Names of choices in messages.

use super::Choice;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

/// Text that is no name of a [`Choice`]; its message lists the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    what: &'static str,
    text: String,
    names: String,
}

impl UnknownName {
    /// No value of `T` is called `text`.
    #[must_use]
    pub fn new<T: Choice>(text: &str) -> UnknownName {
        UnknownName { what: T::WHAT, text: text.to_string(), names: join(T::ALL.iter().copied(), "or") }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} \"{}\": {}", self.what, self.text, self.names)
    }
}

impl core::error::Error for UnknownName {}

/// Names of values as a message lists them, `last` before the last one: `padim, csflow or ssnf`.
pub fn join<T: Choice>(values: impl Iterator<Item = T>, last: &str) -> String {
    let mut names = values.map(T::as_str).peekable();
    let mut text = String::new();
    while let Some(name) = names.next() {
        let before = match (text.is_empty(), names.peek()) {
            (true, _) => "",
            (false, Some(_)) => ", ",
            (false, None) => &format!(" {last} "),
        };
        text += before;
        text += name;
    }
    text
}
