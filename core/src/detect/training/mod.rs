//! Training by gradient steps: one loop, and what it can minimise.
//!
//! [`run::Run`] is the loop: epochs, progress, checkpoints, lost devices. An [`objective::Objective`] fills batches, runs
//! programs of its own and says when nothing is left to learn; the loop knows none of them by name.
//!
//! | file | objective |
//! |---|---|
//! | `likelihood.rs` | features of good parts become likelier |
//! | `hinge.rs` | good parts become likelier, synthetic anomalies unlikelier up to a margin |
//! | `contrastive/` | the backbone tells good parts from anomalies before a flow sees them |

pub(super) mod batches;
pub(super) mod checkpoint;
pub(super) mod contrastive;
pub(super) mod hinge;
pub(super) mod likelihood;
pub(super) mod objective;
pub(super) mod run;
