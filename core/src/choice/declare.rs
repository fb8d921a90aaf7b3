//! The macros that declare choices.

/// The first line of a doc comment without its full stop: it must be a whole sentence.
#[doc(hidden)]
#[must_use]
pub const fn phrase(doc: &'static str) -> &'static str {
    let doc = doc.trim_ascii();
    let (phrase, stop) = doc.split_at(doc.len() - 1);
    assert!(matches!(stop.as_bytes(), b"."), "the first line of a choice's doc comment must be a sentence");
    phrase
}

/// Declares an enum that is a [`Choice`](crate::choice::Choice): `Variant("name") = number in C`, and the first line of each doc
/// comment is the description that help texts and C's header show. `default` names the value where nothing is chosen.
#[doc(hidden)]
#[macro_export]
macro_rules! choice {
    (
        #[doc = $about:literal]
        $(#[$meta:meta])*
        $vis:vis enum $type:ident: $what:literal $(, default $default:ident)? {
            $(
                #[doc = $summary:literal]
                $(#[$more:meta])*
                $variant:ident($name:literal) = $number:literal,
            )+
        }
    ) => {
        #[doc = $about]
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $type {
            $(
                #[doc = $summary]
                $(#[$more])*
                $variant = $number,
            )+
        }

        impl $type {
            /// All values, in the order in which help texts list them.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// Name in files and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }

            /// Number in C; never changes.
            #[must_use]
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// What the value means: a phrase without a full stop.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $($type::$variant => const { $crate::choice::phrase($summary) }),+ }
            }
        }

        $(
            impl ::core::default::Default for $type {
                fn default() -> $type {
                    $type::$default
                }
            }
        )?

        $crate::is_choice!($type: $what, $crate::choice::phrase($about), {
            let default: &[$type] = &[$($type::$default)?];
            default.first().copied()
        });
    };
}

/// Implements [`Choice`](crate::choice::Choice) by the inherent items that it mirrors, and what follows from it.
#[doc(hidden)]
#[macro_export]
macro_rules! is_choice {
    ($type:ident: $what:literal, $about:expr, $default:expr) => {
        impl $crate::choice::Choice for $type {
            const WHAT: &'static str = $what;
            const ABOUT: &'static str = $about;
            const ALL: &'static [$type] = $type::ALL;
            const DEFAULT: Option<$type> = $default;

            fn as_str(self) -> &'static str {
                $type::as_str(self)
            }

            fn number(self) -> u32 {
                $type::number(self)
            }

            fn summary(self) -> &'static str {
                $type::summary(self)
            }
        }

        impl ::core::fmt::Display for $type {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        $crate::choice_from_str!($type);
    };
}

/// `FromStr` of a [`Choice`](crate::choice::Choice); the error lists the names, which takes `alloc`.
#[cfg(feature = "alloc")]
#[doc(hidden)]
#[macro_export]
macro_rules! choice_from_str {
    ($type:ident) => {
        impl ::core::str::FromStr for $type {
            type Err = $crate::choice::UnknownName;

            fn from_str(text: &str) -> Result<$type, $crate::choice::UnknownName> {
                <$type as $crate::choice::Choice>::from_name(text)
                    .ok_or_else(|| $crate::choice::UnknownName::new::<$type>(text))
            }
        }
    };
}

/// Without `alloc` there is no error that could list the names.
#[cfg(not(feature = "alloc"))]
#[doc(hidden)]
#[macro_export]
macro_rules! choice_from_str {
    ($type:ident) => {};
}
