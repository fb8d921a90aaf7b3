//! Features of the tiles of large images.

use super::data::{Data, MapPlace, check_variation};
use super::extractor::Extractor;
use super::held_out::set_aside;
use super::stream;
use crate::checksum::Digest;
use crate::detect::error::{Result, TrainError};
use crate::detect::job::Job;
use crate::detect::observer::{Observer, Phase, report};
use crate::duplicates;
use crate::image::{ImageError, ImageView, Tiling};
use crate::rng::Rng;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// Floats of tiles' features that are kept: 1 GiB.
const KEPT: usize = 1 << 28;

/// Reads the tiles of all images: all of them, or where they are too many, as many of each image, drawn by the seed.
pub fn read(
    job: &Job<'_>,
    tiling: &Tiling,
    maps: &[MapPlace],
    extractor: &mut Extractor<'_>,
    observer: &mut dyn Observer,
) -> Result<Data> {
    let (images, setup) = (job.images, job.setup);
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
        let mut tiles = |view: &ImageView<'_>| -> Result<()> {
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
