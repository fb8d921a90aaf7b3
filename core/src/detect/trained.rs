//! Result of a training.

use alloc::vec::Vec;

/// A finished training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model file.
    pub model: Vec<u8>,
    /// Epochs that were run; 0 for methods fitted in closed form.
    pub epochs: usize,
    /// Mean loss of the last epoch, nats per dimension.
    pub final_loss: Option<f64>,
    /// Scores of the good parts that were set aside, ascending.
    pub held_out_scores: Vec<f32>,
}
