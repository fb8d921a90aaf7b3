//! Enums of `include/adflow.h` that are lists of the library, as Rust source for cbindgen.
//!
//! Names, numbers and descriptions come from [`adflow::choice`]. Enums that only C has (status, log level, channels with a
//! fourth that is not read, kinds of regions) are in `ffi/src`.

use adflow::choice::{List, Value};
use adflow::detect::{CHOICES, Method, Phase};
use adflow::image::SampleType;
use adflow::threshold::Verdict;
use adflow_vulkan::DeviceKind;

/// An enum of C.
pub struct CEnum {
    /// Name in C: `adflow_map_levels`.
    pub name: String,
    /// Description, a sentence.
    pub about: String,
    /// Its enumerators by number; summaries are sentences.
    pub values: Vec<(&'static str, u32, String)>,
}

/// All of them, in the order of the header.
pub fn enums() -> Vec<CEnum> {
    let none = ("none", "There is no threshold, so there is no verdict.".to_string());
    let mut enums = vec![
        CEnum::of(List::of::<SampleType>(), None),
        CEnum::of(List::of::<Verdict>(), Some(none)),
        CEnum::option(List::of::<Method>()),
    ];
    enums.extend(CHOICES.iter().map(|list| CEnum::option(*list)));
    enums.extend([List::of::<Phase>(), List::of::<DeviceKind>()].map(|list| CEnum::of(list, None)));
    enums
}

impl CEnum {
    /// A list of the library; `zero` is what 0 means where no value has that number.
    fn of(list: List, zero: Option<(&'static str, String)>) -> CEnum {
        let sentence = |value: Value| (value.name, value.number, value.summary.to_string() + ".");
        let mut values: Vec<_> = list.values().map(sentence).collect();
        values.extend(zero.map(|(name, summary)| (name, 0, summary)));
        values.sort_by_key(|(_, number, _)| *number);
        CEnum { name: format!("adflow_{}", list.what.replace(' ', "_")), about: list.about.to_string() + ".", values }
    }

    /// A list that an options struct chooses from: 0 is the default.
    fn option(list: List) -> CEnum {
        let what = list.what.replace(' ', "_");
        let default = match list.default() {
            Some(value) => format!("`{}`.", format!("adflow_{what}_{}", value.name).to_uppercase()),
            None => "What the method chooses.".to_string(),
        };
        CEnum::of(list, Some(("default", default)))
    }

    /// Enumerators in C with their numbers: `ADFLOW_MAP_LEVELS_SUM`, 2.
    pub fn enumerators(&self) -> Vec<(String, u32)> {
        let values = self.values.iter();
        values.map(|(name, number, _)| (format!("{}_{name}", self.name).to_uppercase(), *number)).collect()
    }

    /// As Rust declares it.
    pub fn source(&self) -> String {
        let mut source = format!("/// {}\n#[repr(C)]\npub enum {} {{\n", self.about, self.name);
        for (name, number, summary) in &self.values {
            let (first, rest) = name.split_at(1);
            source += &format!("    /// {summary}\n    {}{rest} = {number},\n", first.to_uppercase());
        }
        source + "}\n"
    }
}

/// Enumerators of a header with their numbers.
pub fn enumerators(header: &str) -> Vec<(String, u32)> {
    let enumerator = |line: &str| -> Option<(String, u32)> {
        let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        Some((name.to_string(), number.parse().ok()?))
    };
    header.lines().filter_map(enumerator).collect()
}
