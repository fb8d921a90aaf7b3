//! Reads the images once: features of their views, thumbnails, and which parts are set aside.
//!
//! Photographs of one part are near-duplicates; if one of them trained the model, the others are no test of it. So whole
//! groups of near-duplicates (`duplicates.rs`) are set aside, chosen by the seed.

use super::extractor::{Extractor, preprocess, training_views};
use super::options::Setup;
use super::{Images, Observer, Others, Phase, TrainError, report};
use crate::backbones::Backbone;
use crate::checksum::Digest;
use crate::duplicates;
use crate::image::{GridPlace, ImageError, ImageView, Tiling};
use crate::rng::Rng;
use crate::score::Views;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// Random streams, apart from those of parameters.
pub(super) mod stream {
    pub const HELD_OUT: u32 = 0xF000_0001;
    pub const SHUFFLE: u32 = 0xF000_0002;
    pub const ROTATION: u32 = 0xF000_0003;
    pub const NOISE: u32 = 0xF000_0004;
    pub const TILES: u32 = 0xF001_0000;
    /// Apart from the noise of further inputs.
    pub const CONTRAST_SHUFFLE: u32 = 0xF000_0101;
    pub const CONTRAST_IMAGE: u32 = 0xF000_0102;
    pub const CONTRAST_MIX: u32 = 0xF000_0103;
}

/// Which images train, without their features.
pub(super) struct Sorted {
    /// Images that train; those set aside are the same as in [`Data`].
    pub train: Vec<usize>,
    /// Digest of all images as read, the defects among them; of textures the names.
    pub digest: u64,
}

/// Reads all images once to say which of them train.
pub(super) fn sort_out(
    images: &dyn Images,
    others: &Others<'_>,
    setup: &Setup,
    extractor: &mut Extractor<'_>,
    observer: &mut dyn Observer,
) -> Result<Sorted, TrainError> {
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
    for (defects, index) in others.defects.into_iter().flat_map(|d| (0..d.len()).map(move |i| (d, i))) {
        extractor.load(defects, index)?;
        digest.write(bytemuck::cast_slice(extractor.base()));
    }
    for (textures, index) in others.textures.into_iter().flat_map(|t| (0..t.len()).map(move |i| (t, i))) {
        digest.write(textures.name(index).as_bytes());
    }
    let held_out = set_aside(&thumbnails, count, setup);
    let train = (0..count).filter(|i| held_out.binary_search(i).is_err()).collect();
    Ok(Sorted { train, digest: digest.finish() })
}

/// Everything read from the images. Where they are cut into tiles, each tile counts as an image of its own below, except in
/// `aside`.
pub(super) struct Data {
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
    counted: Vec<bool>,
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
pub(super) type MapPlace = (GridPlace, u32);

/// Reads all images: `views` fixed views of each through the extractor, or where there are tiles, these; `maps` are those of the
/// features then.
pub(super) fn read(
    images: &dyn Images,
    setup: &Setup,
    backbone: &Backbone,
    views: usize,
    maps: &[MapPlace],
    extractor: &mut Extractor<'_>,
    observer: &mut dyn Observer,
) -> Result<Data, TrainError> {
    if let Some(tiling) = &setup.tiling {
        return read_tiles(images, setup, tiling, maps, extractor, observer);
    }
    let count = images.len();
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

fn check_variation(data: Data) -> Result<Data, TrainError> {
    let first = data.train.first().map_or(&[][..], |&i| data.row(i, 0));
    if data.train.iter().all(|&i| data.row(i, 0) == first) {
        return Err(TrainError::NoVariation);
    }
    Ok(data)
}

/// Floats of tiles' features that are kept: 1 GiB.
const KEPT: usize = 1 << 28;

/// Reads the tiles of all images: all of them, or where they are too many, as many of each image, drawn by the seed.
fn read_tiles(
    images: &dyn Images,
    setup: &Setup,
    tiling: &Tiling,
    maps: &[MapPlace],
    extractor: &mut Extractor<'_>,
    observer: &mut dyn Observer,
) -> Result<Data, TrainError> {
    let (count, len) = (images.len(), extractor.len);
    let each = (KEPT / len.max(1) / count.max(1)).clamp(1, tiling.count());
    let too_large = || {
        TrainError::Options(format!(
            "the features of {each} tiles of each of {count} images take {:.1} GB, more than there is: try a smaller size",
            4e-9 * (count * each) as f64 * len as f64
        ))
    };
    if each < tiling.count() {
        let all = tiling.count();
        observer.note(&format!("{each} of {all} tiles of each image train the model: more do not fit into memory"));
    }
    let mut features: Vec<f32> = Vec::new();
    features.try_reserve_exact(count * each * len).map_err(|_| too_large())?;
    let (mut counted, mut owners, mut digest) = (Vec::new(), Vec::new(), Digest::new(0));
    let mut thumbnails = Vec::with_capacity(count * duplicates::LEN);
    for index in 0..count {
        report(observer, Phase::Features, index, count)?;
        let mut order: Vec<u32> = vec![0; tiling.count()];
        if each < tiling.count() {
            Rng::new(setup.seed, index as u64, stream::TILES).permutation(&mut order);
        } else {
            order.iter_mut().zip(0..).for_each(|(tile, n)| *tile = n);
        }
        let named = |error: ImageError| TrainError::image(images.name(index), &error);
        let mut tiles = |view: &ImageView<'_>| -> Result<(), TrainError> {
            extractor.load_thumbnail(view).map_err(named)?;
            let mut taken = 0;
            for tile in order.iter().map(|&tile| tile as usize) {
                if taken == each || !extractor.load_tile(view, &tiling.window(tile)).map_err(named)? {
                    continue;
                }
                let before = counted.len();
                let keep = extractor.kept();
                maps.iter().for_each(|map| count_positions(tiling, tile, *map, keep, &mut counted));
                if !counted[before..].contains(&true) {
                    counted.truncate(before);
                    continue;
                }
                digest.write(bytemuck::cast_slice(extractor.base()));
                let at = features.len();
                features.resize(at + len, 0.0);
                extractor.features(&mut |base, image| image.copy_from_slice(base), &mut features[at..])?;
                owners.push(index);
                taken += 1;
            }
            Ok(())
        };
        let mut result = Ok(());
        let read = images.with(index, &mut |view: &ImageView<'_>| result = tiles(view));
        read.map_err(|error| TrainError::Image { name: images.name(index), error })?;
        result?;
        thumbnails.extend_from_slice(extractor.thumbnail());
    }
    report(observer, Phase::Features, count, count)?;
    if let Some(bad) = features.iter().position(|f| !f.is_finite()) {
        let name = images.name(owners[bad / len.max(1)]);
        return Err(TrainError::Image { name, error: "its features are not finite".to_string() });
    }
    let aside = set_aside(&thumbnails, count, setup);
    let is_aside = |row: &usize| aside.binary_search(&owners[*row]).is_ok();
    let (held_out, train): (Vec<usize>, Vec<usize>) = (0..owners.len()).partition(is_aside);
    if train.is_empty() {
        let text = "nothing is inside of the region of interest in any tile: it is too small or too thin";
        return Err(TrainError::Options(text.to_string()));
    }
    check_variation(Data { features, len, views: 1, train, held_out, aside, counted, digest: digest.finish() })
}

/// Appends which positions of a tile's map count.
fn count_positions(
    tiling: &Tiling,
    tile: usize,
    (place, steps): MapPlace,
    keep: Option<&[f32]>,
    counted: &mut Vec<bool>,
) {
    let (side, steps) = (tiling.side() as usize, steps as usize);
    let stride = tiling.side() / steps as u32;
    let (margin, owned) = ((tiling.margin() / stride) as usize, (tiling.owned() / stride) as usize);
    let ((column, row), (width, height)) = (tiling.at(tile), tiling.canvas());
    let on_canvas = |step: usize, tile: usize, of: u32| {
        step >= margin && step < margin + owned && tile * owned + step - margin < of.div_ceil(stride) as usize
    };
    for y in 0..steps {
        for x in 0..steps {
            let kept = keep.is_none_or(|keep| keep[place.pixel(y, side) * side + place.pixel(x, side)] != 0.0);
            counted.push(kept && on_canvas(x, column, width) && on_canvas(y, row, height));
        }
    }
}

/// Images set aside, ascending: whole groups of near-duplicates.
fn set_aside(thumbnails: &[f32], count: usize, setup: &Setup) -> Vec<usize> {
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
