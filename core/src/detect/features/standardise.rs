//! Brings features to mean 0 and deviation 1 per channel: `(y − μ)/(sd + 1e-3)` over the training images and all positions.

use crate::detect::error::Result;
use crate::params::Params;
use crate::shape::Shape;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

/// Added to a deviation, so that a channel that never changes is not blown up (cdnf §4.8).
pub const FLOOR: f64 = 1e-3;

/// Adds the parameters that standardise maps of a shape and undo it, one number a channel: `name.scale` and `name.shift`,
/// `name.sd` and `name.mean`. `maps` may be iterated twice.
pub fn add<'m>(
    params: &mut Params,
    name: &str,
    shape: Shape,
    maps: impl Iterator<Item = &'m [f32]> + Clone,
) -> Result<()> {
    let (channels, positions) = (shape.c() as usize, shape.positions());
    let count = (maps.clone().count() * positions) as f64;
    let mut mean = vec![0.0f64; channels];
    for map in maps.clone() {
        for (m, plane) in mean.iter_mut().zip(map.chunks_exact(positions)) {
            plane.iter().for_each(|y| *m += f64::from(*y) / count);
        }
    }
    let mut variance = vec![0.0f64; channels];
    for map in maps {
        for ((v, plane), m) in variance.iter_mut().zip(map.chunks_exact(positions)).zip(&mean) {
            plane.iter().for_each(|y| *v += (f64::from(*y) - m) * (f64::from(*y) - m) / count);
        }
    }
    let sd: Vec<f64> = variance.iter().map(|v| libm::sqrt(*v) + FLOOR).collect();
    let mut add = |what: &str, values: Vec<f32>| {
        params.add(&format!("{name}.{what}"), Shape::vector(channels as u32), false, values)
    };
    add("scale", sd.iter().map(|s| (1.0 / s) as f32).collect())?;
    add("shift", mean.iter().zip(&sd).map(|(m, s)| (-m / s) as f32).collect())?;
    add("sd", sd.iter().map(|s| *s as f32).collect())?;
    add("mean", mean.iter().map(|m| *m as f32).collect())?;
    Ok(())
}
