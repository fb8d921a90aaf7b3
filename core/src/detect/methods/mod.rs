//! The list of methods: one file and one line each. The file adds a constant to [`Method`]; the line puts it into [`Method::ALL`].

mod cdnf;
mod csflow;
mod differnet;
mod fastflow;
mod gauss;
mod padim;
mod posflow;
mod ssnf;

use super::error::{Result, TrainError};
use super::method::Method;
use alloc::format;
use alloc::string::String;
use core::str::FromStr;

impl Method {
    /// All methods, in the order in which help texts list them.
    pub const ALL: &'static [Method] = &[
        Method::CDNF,
        Method::DIFFERNET,
        Method::CSFLOW,
        Method::FASTFLOW,
        Method::SSNF,
        Method::POSFLOW,
        Method::PADIM,
        Method::GAUSS,
    ];

    /// Names of the methods that `can` do something, as "a, b or c".
    pub(super) fn names(can: fn(Method) -> bool, last: &str) -> String {
        let mut names = Method::ALL.iter().filter(|m| can(**m)).map(|m| m.as_str()).peekable();
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
}

impl FromStr for Method {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Method> {
        let unknown = || TrainError::Options(format!("unknown method \"{text}\": {}", Method::names(|_| true, "or")));
        Method::ALL.iter().copied().find(|m| m.as_str() == text).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for (i, a) in Method::ALL.iter().enumerate() {
            assert!(a.number() > 0 && !a.summary().ends_with('.'));
            assert_eq!(a.as_str().parse::<Method>().unwrap(), *a);
            for b in &Method::ALL[..i] {
                assert!(a.number() != b.number() && a.as_str() != b.as_str(), "{a} {b}");
            }
        }
        assert_eq!(Method::names(Method::pools, "and"), "cdnf, differnet and gauss");
    }
}
