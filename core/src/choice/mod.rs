//! What users choose among: values with a name, a number and a description.
//!
//! Each enum of options says once, where it is declared, what its values are called in files and on the command line, which
//! numbers they have in C, and what they mean. The command line's lists and help, the enums of `include/adflow.h` and every
//! conversion from text or numbers come from there, through [`Choice`]. A program with a user interface of its own can fill a
//! list of methods in the same way:
//!
//! ```
//! use adflow::choice::Choice;
//! use adflow::detect::{Method, Pooling};
//!
//! fn entries<T: Choice>() -> Vec<String> {
//!     T::ALL.iter().map(|value| format!("{}: {}", value.as_str(), value.summary())).collect()
//! }
//!
//! assert_eq!(entries::<Pooling>()[0], "mean: The mean of each channel, as in CDNF and DifferNet");
//! assert_eq!(entries::<Method>().len(), Method::ALL.len());
//! ```

mod declare;
#[cfg(feature = "alloc")]
mod names;

#[doc(hidden)]
pub use declare::phrase;
#[cfg(feature = "alloc")]
pub use names::{UnknownName, join};

use core::fmt;

/// A closed list of values that a user chooses one of.
///
/// Types of the library have all of this as inherent items too; the trait is for code that works for any of them.
///
/// ```
/// use adflow::choice::Choice;
/// use adflow::detect::Preset;
///
/// assert_eq!(Preset::from_name("paper"), Some(Preset::Paper));
/// assert_eq!(Preset::from_number(2), Some(Preset::Paper));
/// assert_eq!((Preset::Paper.as_str(), Preset::Paper.number()), ("paper", 2));
/// assert_eq!("papers".parse::<Preset>().unwrap_err().to_string(), "unknown preset \"papers\": fast or paper");
/// ```
pub trait Choice: Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// What is chosen, in small letters: `map levels`. With underscores it is the name of the enum in C, `adflow_map_levels`.
    const WHAT: &'static str;

    /// What the choice is about: a phrase without a full stop.
    const ABOUT: &'static str;

    /// All values, in the order in which help texts list them.
    const ALL: &'static [Self];

    /// The value where nothing is chosen; `None` if there is no such value, or if it depends on other options.
    const DEFAULT: Option<Self>;

    /// Name in files and on the command line: small letters and digits. C's enumerators end with it.
    fn as_str(self) -> &'static str;

    /// Number in C; never changes. In a list without a value 0, 0 is C's word for no choice.
    fn number(self) -> u32;

    /// What the value means: a phrase without a full stop.
    fn summary(self) -> &'static str;

    /// The value of that name.
    #[must_use]
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == name)
    }

    /// The value of that number.
    #[must_use]
    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.number() == number)
    }
}

/// A [`Choice`] as data, for what is generated from lists of several types.
///
/// ```
/// use adflow::choice::List;
/// use adflow::detect::MapLevels;
///
/// let levels = List::of::<MapLevels>();
/// let names: Vec<&str> = levels.values().map(|value| value.name).collect();
/// assert_eq!((levels.what, names), ("map levels", vec!["product", "sum", "finest"]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// [`Choice::WHAT`].
    pub what: &'static str,
    /// [`Choice::ABOUT`].
    pub about: &'static str,
    get: fn(usize) -> Option<Value>,
    default: fn() -> Option<Value>,
}

/// One value of a [`List`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// [`Choice::as_str`].
    pub name: &'static str,
    /// [`Choice::number`].
    pub number: u32,
    /// [`Choice::summary`].
    pub summary: &'static str,
}

impl List {
    /// The list of a type.
    #[must_use]
    pub const fn of<T: Choice>() -> List {
        fn value<T: Choice>(value: T) -> Value {
            Value { name: value.as_str(), number: value.number(), summary: value.summary() }
        }
        List {
            what: T::WHAT,
            about: T::ABOUT,
            get: |at| T::ALL.get(at).copied().map(value::<T>),
            default: || T::DEFAULT.map(value::<T>),
        }
    }

    /// All values, in the order of [`Choice::ALL`].
    pub fn values(&self) -> impl Iterator<Item = Value> + use<> {
        (0..).map_while(self.get)
    }

    /// [`Choice::DEFAULT`].
    #[must_use]
    pub fn default(&self) -> Option<Value> {
        (self.default)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    crate::choice! {
        /// What a fruit is.
        ///
        /// Not only apples.
        pub(super) enum Fruit: "fruit", default Pear {
            /// Round.
            Apple("apple") = 3,
            /// Not round: longer than wide.
            ///
            /// Also a colour.
            Pear("pear") = 1,
        }
    }

    #[test]
    fn everything_is_said_once() {
        assert_eq!((Fruit::WHAT, Fruit::ABOUT), ("fruit", "What a fruit is"));
        assert_eq!((Fruit::Pear.as_str(), Fruit::Pear.number()), ("pear", 1));
        assert_eq!(Fruit::Pear.summary(), "Not round: longer than wide");
        assert_eq!((Fruit::default(), <Fruit as Choice>::DEFAULT), (Fruit::Pear, Some(Fruit::Pear)));
        assert_eq!((Fruit::from_number(3), Fruit::from_number(0)), (Some(Fruit::Apple), None));
        let list = List::of::<Fruit>();
        assert_eq!(list.values().map(|value| value.number).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(list.default().map(|value| value.name), Some("pear"));
        assert_eq!(format!("{:>6}", Fruit::Pear), "  pear");
    }

    #[test]
    #[should_panic(expected = "must be a sentence")]
    fn a_description_is_a_sentence() {
        let _ = phrase(" Half of a");
    }
}
