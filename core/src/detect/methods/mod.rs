//! The list of methods: one file and one line each. The file adds a constant to [`Method`]; the line puts it into [`Method::ALL`].

mod cdnf;
mod csflow;
mod differnet;
mod fastflow;
mod gauss;
mod padim;
mod posflow;
mod ssnf;

use super::method::Method;
use crate::choice::join;
use crate::is_choice;
use alloc::string::String;

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
        join(Method::ALL.iter().copied().filter(|method| can(*method)), last)
    }
}

impl Default for Method {
    /// The one that is best on parts it has not seen (`benches/RESULTS.md`).
    fn default() -> Method {
        Method::PADIM
    }
}

is_choice!(Method: "method", "A detection method", Some(Method::PADIM));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_methods_can() {
        assert_eq!(Method::names(Method::pools, "and"), "cdnf, differnet and gauss");
    }
}
