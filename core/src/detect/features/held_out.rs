//! Which parts are set aside: whole groups of near-duplicates.
//!
//! Photographs of one part are near-duplicates; if one of them trained the model, the others are no test of it. So whole
//! groups of near-duplicates (`duplicates.rs`) are set aside, chosen by the seed.

use super::extractor::Extractor;
use super::stream;
use crate::checksum::Digest;
use crate::detect::error::Result;
use crate::detect::job::Job;
use crate::detect::observer::{Observer, Phase, report};
use crate::detect::setup::Setup;
use crate::duplicates;
use crate::rng::Rng;
use alloc::vec::Vec;

/// Which images train, without their features.
pub struct Split {
    /// Images that train; those set aside are the same as in [`Data`](super::data::Data).
    pub train: Vec<usize>,
    /// Digest of all images as read, the defects among them; of textures the names.
    pub digest: u64,
}

/// Reads all images once to say which of them train.
pub fn split(job: &Job<'_>, extractor: &mut Extractor<'_>, observer: &mut dyn Observer) -> Result<Split> {
    let (images, setup) = (job.images, job.setup);
    let count = images.len();
    let mut digest = Digest::new(0);
    let mut thumbnails = Vec::with_capacity(count * duplicates::LEN);
    for index in 0..count {
        report(observer, Phase::Features, index, count)?;
        extractor.load(images, index)?;
        digest.write(bytemuck::cast_slice(extractor.base()));
        thumbnails.extend_from_slice(extractor.thumbnail());
    }
    report(observer, Phase::Features, count, count)?;
    for (defects, index) in job.anomalies.defects.into_iter().flat_map(|d| (0..d.len()).map(move |i| (d, i))) {
        extractor.load(defects, index)?;
        digest.write(bytemuck::cast_slice(extractor.base()));
    }
    for (textures, index) in job.anomalies.textures.into_iter().flat_map(|t| (0..t.len()).map(move |i| (t, i))) {
        digest.write(textures.name(index).as_bytes());
    }
    let held_out = set_aside(&thumbnails, count, setup);
    let train = (0..count).filter(|i| held_out.binary_search(i).is_err()).collect();
    Ok(Split { train, digest: digest.finish() })
}

/// Images set aside, ascending: whole groups of near-duplicates.
pub fn set_aside(thumbnails: &[f32], count: usize, setup: &Setup) -> Vec<usize> {
    if setup.held_out <= 0.0 {
        return Vec::new();
    }
    let chosen = duplicates::hold_out(&duplicates::groups(thumbnails), setup.held_out, setup.seed);
    let mut held_out: Vec<usize> = (0..count).filter(|&i| chosen[i]).collect();
    if held_out.is_empty() || held_out.len() > count / 2 {
        // Every image resembles every other: groups say nothing, so single images are set aside.
        let wanted = ((setup.held_out * count as f64 + 0.5) as usize).clamp(1, count / 2);
        let mut all: Vec<usize> = (0..count).collect();
        Rng::new(setup.seed, 0, stream::HELD_OUT).shuffle(&mut all);
        held_out = all[..wanted].to_vec();
    }
    held_out.sort_unstable();
    held_out
}
