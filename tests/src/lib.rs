//! Shared pieces of the adflow tests: the f64 reference, cases as data, comparison, and programs in owned memory.
//!
//! The idea: an op is described once, as a list of [`cases`], and every executor is held against [`mod@reference`], which
//! is written to be read, not to be fast. How closely an op must agree is stated in one table, [`compare::tolerance`].

pub mod cases;
pub mod compare;
pub mod flows;
pub mod graphs;
pub mod models;
pub mod owned;
pub mod reference;

/// How many times the usual number of random changes to try: `ADFLOW_EFFORT`, 1 unless set.
pub fn effort() -> u64 {
    std::env::var("ADFLOW_EFFORT").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}
