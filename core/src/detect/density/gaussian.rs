//! Gaussians fitted in closed form, as whitening: `‖L⁻¹(x − μ)‖` is the Mahalanobis distance where `L·Lᵀ` is the covariance.
//!
//! With images that show a part in one place each position of a map has a Gaussian of its own,
//! `Σ̂_p = (1 − s)·Σ_p + s·Σ̄ + ρ·(tr Σ̄/D)·I`, where Σ̄ is the mean over positions: with few images the shared part says more
//! than the own. Positions of images that are cut into tiles share one mean and one covariance: one piece of a web is like
//! any other.

use crate::detect::emit::Emit;
use crate::detect::error::{Result, TrainError};
use crate::detect::method::{FeatureRow, Fitting};
use crate::detect::observer::{Phase, report};
use crate::graph::TensorId;
use crate::linalg::{Moments, cholesky, dot, invert_lower};
use crate::op::{Conv2d, Op, PositionLinear};
use crate::shape::Shape;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

/// ρ, relative to the mean variance.
const RIDGE: f64 = 0.01;
/// Vectors that a covariance is made of; more say nothing new.
const ENOUGH: usize = 200_000;

/// Fits Gaussians to the maps of a feature and adds what whitens with them as parameters `name.w` and `name.b`: one a
/// position, `shared` being s, or with tiles one for all.
pub fn whiten(fitting: &mut Fitting<'_, '_>, feature: &FeatureRow, name: &str, shared: f64) -> Result<()> {
    if fitting.job.setup.tiling.is_some() {
        whiten_tiles(fitting, feature, name)
    } else {
        whiten_positions(fitting, feature, name, shared)
    }
}

/// Emits what [`whiten`] has fitted, applied to x.
pub fn emit_white(e: &mut Emit<'_>, name: &str, out: &str, x: TensorId) -> Result<TensorId> {
    let (w, b) = (e.param(&format!("{name}.w"))?, e.param(&format!("{name}.b"))?);
    let tiles = e.job.setup.tiling.is_some();
    e.op(out, if tiles { Op::from(Conv2d::new()) } else { Op::from(PositionLinear {}) }, &[x, w, b])
}

/// One Gaussian for all positions of the tiles' maps that count: a convolution of 1×1.
fn whiten_tiles(fitting: &mut Fitting<'_, '_>, feature: &FeatureRow, name: &str) -> Result<()> {
    let Fitting { data, params, observer, .. } = fitting;
    let FeatureRow { shape, first, first_position, .. } = *feature;
    let (d, positions) = (shape.c() as usize, shape.positions());
    let counts = |row: usize| data.counted(row)[first_position..][..positions].iter();
    let all: usize = data.train.iter().map(|&row| counts(row).filter(|c| **c).count()).sum();
    // Every so many of them, whichever tile they are in.
    let step = all.div_ceil(ENOUGH).max(1);
    let (mut moments, mut number) = (Moments::new(d), 0);
    for (n, &row) in data.train.iter().enumerate() {
        if n % 32 == 0 {
            report(&mut **observer, Phase::Train, n, data.train.len())?;
        }
        let map = &data.row(row, 0)[first..][..shape.len()];
        for (p, _) in counts(row).enumerate().filter(|(_, counts)| **counts) {
            if number % step == 0 {
                moments.push_strided(&map[p..], positions);
            }
            number += 1;
        }
    }
    let mut covariance = moments.covariance(1);
    let ridge = RIDGE * covariance.iter().step_by(d + 1).sum::<f64>() / d as f64;
    covariance.iter_mut().step_by(d + 1).for_each(|v| *v += ridge);
    let (w, b) = whitening(d, covariance, &moments.mean())?;
    params.add(&format!("{name}.w"), Shape([d as u32, d as u32, 1, 1]), false, w)?;
    params.add(&format!("{name}.b"), Shape::vector(d as u32), false, b)?;
    Ok(())
}

/// A Gaussian at each position, for [`PositionLinear`].
fn whiten_positions(fitting: &mut Fitting<'_, '_>, feature: &FeatureRow, name: &str, shared: f64) -> Result<()> {
    let Fitting { data, params, observer, .. } = fitting;
    let FeatureRow { shape, first, .. } = *feature;
    let (d, positions) = (shape.c() as usize, shape.positions());
    report(&mut **observer, Phase::Train, 0, positions)?;
    let mut moments: Vec<Moments> = vec![Moments::new(d); positions];
    for row in data.train_rows() {
        let map = &row[first..][..shape.len()];
        for (p, m) in moments.iter_mut().enumerate() {
            m.push_strided(&map[p..], positions);
        }
    }
    let covariances: Vec<Vec<f64>> = moments.iter().map(|m| m.covariance(1)).collect();
    let mut mean = vec![0.0; d * d];
    for c in &covariances {
        mean.iter_mut().zip(c).for_each(|(m, c)| *m += c / positions as f64);
    }
    let ridge = RIDGE * mean.iter().step_by(d + 1).sum::<f64>() / d as f64;
    let (mut w, mut b) = (Vec::with_capacity(positions * d * d), Vec::with_capacity(positions * d));
    for (p, (mut covariance, m)) in covariances.into_iter().zip(&moments).enumerate() {
        if p % 32 == 0 {
            report(&mut **observer, Phase::Train, p, positions)?;
        }
        for (i, (c, mean)) in covariance.iter_mut().zip(&mean).enumerate() {
            *c = (1.0 - shared) * *c + shared * mean + if i % (d + 1) == 0 { ridge } else { 0.0 };
        }
        let (own, shift) = whitening(d, covariance, &m.mean())?;
        w.extend(own);
        b.extend(shift);
    }
    params.add(&format!("{name}.w"), Shape([positions as u32, d as u32, d as u32, 1]), false, w)?;
    params.add(&format!("{name}.b"), Shape([positions as u32, d as u32, 1, 1]), false, b)?;
    Ok(())
}

/// L⁻¹ and −L⁻¹μ of a covariance.
pub fn whitening(d: usize, mut covariance: Vec<f64>, mean: &[f64]) -> Result<(Vec<f32>, Vec<f32>)> {
    cholesky(d, &mut covariance).map_err(|_| TrainError::NoVariation)?;
    let mut inverse = vec![0.0; d * d];
    invert_lower(d, &covariance, &mut inverse);
    let shift = inverse.chunks_exact(d).map(|row| -dot(row, mean) as f32).collect();
    Ok((inverse.iter().map(|&x| x as f32).collect(), shift))
}
