//! Choices have the names and numbers that programs and files know.

use adflow::choice::{Choice, UnknownName};
use adflow::detect::{MapLevels, Method, Phase, Pooling, Preset};
use adflow::image::{ChannelOrder, SampleType};
use adflow::synth::Kind;
use adflow::threshold::Verdict;
use adflow_tests::c_enums;
use adflow_tests::programs::repository;
use adflow_vulkan::{DeviceKind, Precision};
use std::fmt::Display;
use std::fs;
use std::str::FromStr;

/// Enumerators and numbers are those that programs were compiled with.
#[test]
fn choices_keep_their_numbers() {
    let [frozen, current] = ["tests/abi/0.1/adflow.h", "include/adflow.h"].map(|path| {
        let header = fs::read_to_string(repository().join(path)).unwrap();
        c_enums::enumerators(&header)
    });
    let mut known = 0;
    for e in c_enums::enums() {
        let values = e.enumerators();
        for (at, (name, number)) in values.iter().enumerate() {
            assert!(current.contains(&values[at]), "{name} = {number} is not in include/adflow.h");
            let twice = values[..at].iter().any(|(other, same)| other == name || same == number);
            assert!(!twice, "{name} = {number} is there twice");
        }
        let prefix = format!("{}_", e.name.to_uppercase());
        for old in frozen.iter().filter(|(name, _)| name.starts_with(&prefix)) {
            assert!(values.contains(old), "{} = {} was there in 0.1", old.0, old.1);
            known += 1;
        }
    }
    assert!(known >= 25, "{known} enumerators of 0.1");
    // Channels are a longer list in C.
    for order in ChannelOrder::ALL {
        let enumerator = (format!("ADFLOW_CHANNELS_{order}").to_uppercase(), order.number());
        assert!(frozen.contains(&enumerator) && current.contains(&enumerator), "{enumerator:?}");
    }
}

fn assert_round_trips<T: Choice + Display + FromStr<Err = UnknownName>>() {
    for (at, value) in T::ALL.iter().enumerate() {
        let name = value.to_string();
        assert_eq!((T::from_name(&name), T::from_number(value.number())), (Some(*value), Some(*value)), "{name}");
        assert!(
            name.parse::<T>().as_ref() == Ok(value) && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
        );
        assert!(!value.summary().is_empty() && !value.summary().ends_with('.') && !value.summary().starts_with(' '));
        assert!(T::ALL[..at].iter().all(|other| other.summary() != value.summary()), "{name}");
    }
    let unknown = "nothing".parse::<T>().unwrap_err().to_string();
    assert!(unknown.contains(T::WHAT) && T::ALL.iter().all(|value| unknown.contains(value.as_str())), "{unknown}");
}

#[test]
fn names_and_numbers_of_choices_lead_back() {
    assert_round_trips::<Method>();
    assert_round_trips::<Preset>();
    assert_round_trips::<MapLevels>();
    assert_round_trips::<Pooling>();
    assert_round_trips::<Phase>();
    assert_round_trips::<Verdict>();
    assert_round_trips::<SampleType>();
    assert_round_trips::<ChannelOrder>();
    assert_round_trips::<Kind>();
    assert_round_trips::<DeviceKind>();
    assert_round_trips::<Precision>();
}
