//! Attributes as words: how an op's attributes are written into its record and read back.
//!
//! Each attribute is one word; words beyond an op's own are zero and must be. Reading refuses what is out of range, so
//! an [`Op`](super::Op) that exists is in range.

use super::ATTRS;
use core::fmt;

/// A value that is one word of a record.
pub trait Attr: Copy {
    /// The word.
    fn to_word(self) -> u32;
    /// The value, or `None` where the word is out of range.
    fn from_word(word: u32) -> Option<Self>;
    /// For dumps.
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result;
}

impl Attr for u32 {
    fn to_word(self) -> u32 {
        self
    }
    fn from_word(word: u32) -> Option<u32> {
        // Larger attributes than this are never meant, and sums of a few of them cannot overflow.
        (word <= 1 << 28).then_some(word)
    }
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Attr for bool {
    fn to_word(self) -> u32 {
        u32::from(self)
    }
    fn from_word(word: u32) -> Option<bool> {
        (word < 2).then_some(word == 1)
    }
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Attr for f32 {
    fn to_word(self) -> u32 {
        self.to_bits()
    }
    fn from_word(word: u32) -> Option<f32> {
        let x = f32::from_bits(word);
        x.is_finite().then_some(x)
    }
    fn describe(self, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A fixed list of attributes.
pub trait Record: Copy + fmt::Debug + PartialEq {
    /// Writes each attribute in order.
    fn write(&self, put: &mut dyn FnMut(u32));
    /// Reads each attribute in order.
    fn read(next: &mut dyn FnMut() -> u32) -> Option<Self>;
    /// ` name=value …` for dumps.
    fn describe(&self, f: &mut dyn fmt::Write) -> fmt::Result;
}

pub(super) fn encode<R: Record>(record: &R) -> [u32; ATTRS] {
    let mut words = [0; ATTRS];
    let mut at = 0;
    record.write(&mut |w| {
        words[at] = w;
        at += 1;
    });
    words
}

pub(super) fn decode<R: Record>(words: &[u32; ATTRS]) -> Option<R> {
    let mut at = 0;
    let record = R::read(&mut || {
        at += 1;
        words[at - 1]
    })?;
    words[at..].iter().all(|&w| w == 0).then_some(record)
}

/// Declares an op's attribute struct with its wire form.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }

        impl $crate::op::Record for $name {
            #[allow(unused_variables)]
            fn write(&self, put: &mut dyn FnMut(u32)) {
                $(put($crate::op::Attr::to_word(self.$field));)*
            }
            #[allow(unused_variables)]
            fn read(next: &mut dyn FnMut() -> u32) -> Option<Self> {
                Some($name { $($field: <$ty as $crate::op::Attr>::from_word(next())?),* })
            }
            #[allow(unused_variables)]
            fn describe(&self, f: &mut dyn core::fmt::Write) -> core::fmt::Result {
                $(f.write_str(concat!(" ", stringify!($field), "="))?; $crate::op::Attr::describe(self.$field, f)?;)*
                Ok(())
            }
        }
    };
}
