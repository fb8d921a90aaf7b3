//! Models of features that several methods share.
//!
//! | file | model |
//! |---|---|
//! | `gaussian.rs` | Gaussians, fitted in closed form: one a position, or one for all |
//! | `coreset.rs` | a few vectors that stand for all |
//! | `pooled_flow.rs` | a flow on a vector of pooled features |
//! | `map_flows.rs` | flows on maps: energies, scores, likelihoods, training |

pub(super) mod coreset;
pub(super) mod gaussian;
pub(super) mod map_flows;
pub(super) mod pooled_flow;
