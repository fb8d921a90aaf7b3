//! Shared pieces of the adflow tests: the f64 reference, cases as data, comparison, and programs in owned memory.
//!
//! The idea: an op is described once, as a list of [`cases`], and every executor is held against [`mod@reference`], which
//! is written to be read, not to be fast. How closely an op must agree, it says itself:
//! [`Operation::tolerance`](adflow::op::Operation::tolerance).

pub mod c_enums;
pub mod cases;
pub mod compare;
pub mod cross;
pub mod flows;
pub mod graphs;
pub mod made_weights;
pub mod models;
pub mod owned;
pub mod parts;
pub mod programs;
pub mod reference;
pub mod single_op;
pub mod vulkan;

/// How many times the usual number of random changes to try: `ADFLOW_EFFORT`, 1 unless set.
pub fn effort() -> u64 {
    std::env::var("ADFLOW_EFFORT").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A file of trained weights that does not belong to the project: in `data/backbones` of the folder that the environment
/// variable `ADFLOW_SHARED` names, or of `shared` beside the repository. Says so where there is none.
pub fn shared_backbone(name: &str) -> Option<std::path::PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let root = std::env::var_os("ADFLOW_SHARED").map_or_else(|| default.into(), std::path::PathBuf::from);
    let path = root.join("data/backbones").join(name);
    if !path.exists() {
        println!("skipped: no {name}; set ADFLOW_SHARED to the folder that holds data/backbones");
        return None;
    }
    Some(path)
}
