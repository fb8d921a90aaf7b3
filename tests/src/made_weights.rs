//! Weights made by a formula: networks of the right architecture whose numbers every language can make again
//! (`golden/make_backbones.py`).

use adflow::backbones::{Architecture, Backbone, Weights};
use adflow::shape::Shape;

/// `count` numbers in −1..1, the same as in `make_backbones.py`.
pub fn values(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let start = name.bytes().fold(0x811C_9DC5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    (0..count as u32).map(move |i| {
        let x = i.wrapping_add(start);
        let x = (x ^ x >> 16).wrapping_mul(0x7FEB_352D);
        let x = (x ^ x >> 15).wrapping_mul(0x846C_A68B);
        f64::from((x ^ x >> 16) >> 8) / f64::from(1 << 23) - 1.0
    })
}

/// A normalised picture of 3 channels.
pub fn image(h: u32, w: u32) -> Vec<f32> {
    values(&format!("image {h} {w}"), (3 * h * w) as usize).map(|v| v as f32).collect()
}

/// Values of a tensor, of a size that keeps activations neither vanishing nor exploding.
pub fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    // Batch normalisation: variances and factors near 1.
    let near_one = match (name.ends_with(".running_var"), shape.len()) {
        (true, _) => Some(0.5),
        (_, 1) if name.ends_with(".weight") => Some(0.2),
        _ => None,
    };
    if let Some(bound) = near_one {
        return values(name, shape.iter().product()).map(|v| (1.0 + v * bound) as f32).collect();
    }
    // No relu follows a projection.
    let gain = if name.contains("project") || name.contains("conv_pwl") { 3.0 } else { 6.0 };
    let fan_in: usize = shape[1..].iter().product();
    let bound = if shape.len() == 1 { 0.1 } else { (gain / fan_in as f64).sqrt() };
    values(name, shape.iter().product()).map(|v| (v * bound) as f32).collect()
}

/// Names and shapes of the tensors in a file.
pub type Tensors = Vec<(String, Vec<usize>)>;

/// The architectures that are read from a file.
pub fn architectures() -> impl Iterator<Item = &'static Architecture> {
    Backbone::architectures().iter().filter(|a| a.name() != "builtin")
}

/// Tensors of one of [`architectures`]. Their names and shapes are held against the frameworks' by the golden numbers, which come
/// from values made of both.
pub fn tensors_of(name: &str) -> Tensors {
    let architecture = architectures().find(|a| a.name() == name).unwrap_or_else(|| panic!("no tensors for {name}"));
    let rank = |shape: Shape| if shape == Shape::vector(shape.0[0]) { 1 } else { 4 };
    let extents = |shape: Shape| shape.0[..rank(shape)].iter().map(|n| *n as usize).collect();
    architecture.tensors().into_iter().map(|(name, shape)| (name, extents(shape))).collect()
}

/// Those tensors, filled.
pub fn weights(tensors: &[(String, Vec<usize>)]) -> Weights {
    let mut weights = Weights::new();
    for (name, shape) in tensors {
        weights.insert(name, shape, formula(name, shape)).unwrap();
    }
    weights
}

/// One of [`architectures`] with made weights.
pub fn backbone(name: &str) -> Backbone {
    Backbone::from_weights(weights(&tensors_of(name))).unwrap()
}
