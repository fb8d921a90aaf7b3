//! Features of all training images, read once.

use super::extractor::{Extractor, preprocess, training_views};
use super::held_out::set_aside;
use crate::checksum::Digest;
use crate::detect::error::{Result, TrainError};
use crate::detect::job::Job;
use crate::detect::observer::{Observer, Phase, report};
use crate::duplicates;
use crate::image::GridPlace;
use crate::score::Views;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// Everything read from the images. Where they are cut into tiles, each tile counts as an image of its own below, except in
/// `aside`.
pub struct Data {
    /// Features, image after image, view after view.
    pub features: Vec<f32>,
    /// Values of one view.
    pub len: usize,
    /// Views of an image.
    pub views: usize,
    /// Images that train.
    pub train: Vec<usize>,
    /// Images set aside.
    pub held_out: Vec<usize>,
    /// Whole images set aside: what a threshold is found with.
    pub aside: Vec<usize>,
    /// Which positions of the maps count, tile after tile; without tiles empty.
    pub counted: Vec<bool>,
    /// Digest of all images as read.
    pub digest: u64,
}

impl Data {
    /// Features of one view of an image.
    pub fn row(&self, image: usize, view: usize) -> &[f32] {
        &self.features[(image * self.views + view) * self.len..][..self.len]
    }

    /// All views of the training images.
    pub fn train_rows(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.train.iter().flat_map(move |&i| (0..self.views).map(move |v| self.row(i, v)))
    }

    /// Which positions of an image's maps count: those of a tile's middle, on the canvas and inside of the region of interest.
    /// Empty without tiles.
    pub fn counted(&self, image: usize) -> &[bool] {
        let rows = self.features.len() / (self.len * self.views).max(1);
        let len = self.counted.len() / rows.max(1);
        &self.counted[image * len..][..len]
    }

    /// Replaces positions of a map that do not count by such that do, in turn; `first` is the map's in a row of features,
    /// `first_counted` in [`Data::counted`]. Only for what looks at positions one by one.
    pub fn fill(&mut self, channels: usize, positions: usize, first: usize, first_counted: usize) {
        for row in 0..self.features.len() / self.len.max(1) {
            let counted = &self.counted(row)[first_counted..][..positions];
            let good: Vec<usize> = (0..positions).filter(|&p| counted[p]).collect();
            let bad: Vec<usize> = (0..positions).filter(|&p| !counted[p]).collect();
            let map = &mut self.features[row * self.len + first..][..channels * positions];
            for plane in map.chunks_exact_mut(positions) {
                for (to, from) in bad.iter().zip(good.iter().cycle()) {
                    plane[*to] = plane[*from];
                }
            }
        }
    }
}

/// Where the steps of a map lie in the input, and how many there are in a row.
pub type MapPlace = (GridPlace, u32);

/// Reads the fixed views of a training of all images.
pub fn read(job: &Job<'_>, extractor: &mut Extractor<'_>, observer: &mut dyn Observer) -> Result<Data> {
    let (images, setup, backbone) = (job.images, job.setup, job.backbone);
    let (count, views) = (images.len(), setup.train_views);
    let record = training_views(setup, backbone, views);
    let how = preprocess(setup, backbone);
    let fixed = Views { detector: &record, preprocess: &how };
    let mut digest = Digest::new(0);
    let len = extractor.len;
    // Maps of many large images may not fit; without this the program would end here.
    let too_large = || {
        let bytes = count as f64 * views as f64 * len as f64 * 4.0;
        TrainError::Options(format!(
            "the features of {count} images at {0}x{0} pixels take {1:.1} GB, more than there is: try a smaller size",
            setup.size,
            bytes / 1e9
        ))
    };
    let total = count.checked_mul(views).and_then(|n| n.checked_mul(len)).ok_or_else(too_large)?;
    let mut features: Vec<f32> = Vec::new();
    features.try_reserve_exact(total).map_err(|_| too_large())?;
    features.resize(total, 0.0);
    let mut thumbnails = Vec::with_capacity(count * duplicates::LEN);
    for index in 0..count {
        report(observer, Phase::Features, index, count)?;
        extractor.load(images, index)?;
        digest.write(bytemuck::cast_slice(extractor.base()));
        thumbnails.extend_from_slice(extractor.thumbnail());
        for view in 0..views {
            let out = &mut features[(index * views + view) * len..][..len];
            extractor.features(&mut |base, image| fixed.write(view, base, image), out)?;
        }
    }
    report(observer, Phase::Features, count, count)?;
    if let Some(bad) = features.iter().position(|f| !f.is_finite()) {
        let name = images.name(bad / (views * len).max(1));
        return Err(TrainError::Image { name, error: "its features are not finite".to_string() });
    }
    let held_out = set_aside(&thumbnails, count, setup);
    let train: Vec<usize> = (0..count).filter(|i| held_out.binary_search(i).is_err()).collect();
    let (aside, counted) = (held_out.clone(), Vec::new());
    let data = Data { features, len, views, train, held_out, aside, counted, digest: digest.finish() };
    check_variation(data)
}

pub fn check_variation(data: Data) -> Result<Data> {
    let first = data.train.first().map_or(&[][..], |&i| data.row(i, 0));
    if data.train.iter().all(|&i| data.row(i, 0) == first) {
        return Err(TrainError::NoVariation);
    }
    Ok(data)
}
