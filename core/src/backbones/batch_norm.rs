//! Batch normalisation with fixed statistics is part of the convolution before it.
//!
//! `γ·(w ⋆ x − μ)/√(σ² + ε) + β = (f·w) ⋆ x + (β − f·μ)` with `f = γ/√(σ² + ε)` per output channel, in f64 until stored.
//! So the networks here have convolutions with bias and nothing else, and files have the tensors they were trained with.

use super::{Weights, WeightsError};
use crate::shape::Shape;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A convolution without bias and the normalisation of its output.
pub(super) struct NormedConv {
    /// The convolution has `<conv>.weight`; after folding also `<conv>.bias`.
    pub conv: String,
    /// The normalisation has `<norm>.{weight,bias,running_mean,running_var}`.
    pub norm: String,
    /// Shape of the weight.
    pub weight: Shape,
}

impl NormedConv {
    /// Names and shapes before folding.
    pub fn tensors(&self) -> [(String, Shape); 5] {
        let norm = |what: &str| (format!("{}.{what}", self.norm), Shape::vector(self.weight.0[0]));
        let weight = (format!("{}.weight", self.conv), self.weight);
        [weight, norm("weight"), norm("bias"), norm("running_mean"), norm("running_var")]
    }

    /// Replaces these tensors by `<conv>.weight` and `<conv>.bias`.
    pub fn fold(&self, weights: &mut Weights, eps: f64) -> Result<(), WeightsError> {
        let tensors = self.tensors();
        let [weight, gamma, beta, mean, variance] = tensors.each_ref().map(|(name, shape)| weights.get(name, *shape));
        let (weight, gamma, beta, mean, variance) = (weight?, gamma?, beta?, mean?, variance?);
        if let Some(at) = variance.iter().position(|v| *v < 0.0) {
            return Err(WeightsError::Negative { name: tensors[4].0.clone(), at });
        }
        let factors = gamma.iter().zip(variance).map(|(g, v)| f64::from(*g) / libm::sqrt(f64::from(*v) + eps));
        let factors: Vec<f64> = factors.collect();
        let filter = weight.len() / factors.len();
        let rows = weight.chunks_exact(filter).zip(&factors);
        let weight = rows.flat_map(|(row, f)| row.iter().map(move |w| (f64::from(*w) * f) as f32)).collect();
        let shifts = beta.iter().zip(mean).zip(&factors);
        let bias = shifts.map(|((b, m), f)| (f64::from(*b) - f64::from(*m) * f) as f32).collect();
        tensors.iter().for_each(|(name, _)| weights.remove(name));
        let extents = self.weight.0.map(|n| n as usize);
        weights.insert(&format!("{}.weight", self.conv), &extents, weight)?;
        weights.insert(&format!("{}.bias", self.conv), &extents[..1], bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn weights(variance: f32) -> (NormedConv, Weights) {
        let conv = NormedConv { conv: "c".to_string(), norm: "n".to_string(), weight: Shape([2, 1, 1, 2]) };
        let mut weights = Weights::new();
        weights.insert("c.weight", &[2, 1, 1, 2], vec![1.0, -2.0, 3.0, 4.0]).unwrap();
        for (name, values) in [
            ("n.weight", [2.0, -1.0]),
            ("n.bias", [0.5, 0.25]),
            ("n.running_mean", [3.0, -1.0]),
            ("n.running_var", [3.0, variance]),
        ] {
            weights.insert(name, &[2], values.to_vec()).unwrap();
        }
        (conv, weights)
    }

    #[test]
    fn folding_is_the_formula() {
        let (conv, mut w) = weights(0.0);
        conv.fold(&mut w, 1.0).unwrap();
        assert_eq!(w.get("c.weight", Shape([2, 1, 1, 2])).unwrap(), [1.0, -2.0, -3.0, -4.0]);
        assert_eq!(w.get("c.bias", Shape::vector(2)).unwrap(), [0.5 - 3.0, 0.25 - 1.0]);
        assert_eq!(w.iter().count(), 2);
    }

    #[test]
    fn a_negative_variance_is_refused() {
        let (conv, mut w) = weights(-0.5);
        let error = conv.fold(&mut w, 1.0).unwrap_err();
        assert_eq!(error.to_string(), "tensor \"n.running_var\": value 1 is negative, and a variance is not");
    }
}
