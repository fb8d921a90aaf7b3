//! Types of option values: the library's choices by name, and numbers within a range.

use adflow::choice::Choice;
use adflow::detect::Canvas;
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Parses one value of a choice that the library defines; the help lists its names and their meanings.
pub fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(possible::<T>()).map(|name| named(&name))
}

/// One value of a list, or the word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneOrAll<T> {
    /// One value.
    One(T),
    /// Every value there is.
    All,
}

/// Parses one value of a choice, or `all`; with `value_delimiter = ','` a list for [`chosen`].
pub fn choice_or_all<T: Choice>() -> impl TypedValueParser<Value = OneOrAll<T>> {
    let all = PossibleValue::new("all").help("All of them");
    PossibleValuesParser::new(possible::<T>().chain([all])).map(|name| match name.as_str() {
        "all" => OneOrAll::All,
        name => OneOrAll::One(named(name)),
    })
}

/// The values of a list, each once, in the order given.
pub fn chosen<T: Choice>(asked: &[OneOrAll<T>]) -> Vec<T> {
    let mut values = Vec::new();
    for asked in asked {
        let named = match asked {
            OneOrAll::One(value) => core::slice::from_ref(value),
            OneOrAll::All => T::ALL,
        };
        for value in named {
            if !values.contains(value) {
                values.push(*value);
            }
        }
    }
    values
}

fn possible<T: Choice>() -> impl Iterator<Item = PossibleValue> {
    T::ALL.iter().map(|value| PossibleValue::new(value.as_str()).help(value.summary()))
}

fn named<T: Choice>(name: &str) -> T {
    T::from_name(name).expect("the parser only accepts names of values")
}

/// How samples are normalised for a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Normalised {
    /// Mean and standard deviation of ImageNet, as in torchvision
    Imagenet,
    /// Samples scaled to 0..1
    Unit,
}

/// Memory layout of the input of an exported graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// 1 x channels x height x width
    Nchw,
    /// 1 x height x width x channels
    Nhwc,
}

pub fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "not a number".to_string())
}

pub fn rate(text: &str) -> Result<f64, String> {
    number(text).and_then(|x| if x > 0.0 && x < 1.0 { Ok(x) } else { Err("must lie between 0 and 1".into()) })
}

pub fn share(text: &str) -> Result<f64, String> {
    number(text).and_then(|x| if (0.0..=0.5).contains(&x) { Ok(x) } else { Err("must lie between 0 and 0.5".into()) })
}

pub fn finite(text: &str) -> Result<f32, String> {
    number(text).map(|x| x as f32).and_then(|x| if x.is_finite() { Ok(x) } else { Err("must be finite".into()) })
}

pub fn camera_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', 'X']).ok_or("expected WIDTHxHEIGHT, e.g. 1920x1080")?;
    let side = |s: &str| s.parse().ok().filter(|n| (1..=16384).contains(n)).ok_or("a side must be 1 to 16384");
    Ok((side(sides.0)?, side(sides.1)?))
}

pub fn canvas(text: &str) -> Result<Canvas, String> {
    match text {
        "native" => Ok(Canvas::Native),
        _ => camera_size(text).map(|(width, height)| Canvas::Pixels(width, height)),
    }
}
