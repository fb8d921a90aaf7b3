//! A small made-up product line, so that everything can be tried without data: machined flanges, photographed one by
//! one, some of them scratched, dented, stained, cracked or with a hole missing. Drawn by the code here, nothing is copied.
//!
//! `part` draws a good one, `defect` spoils it, `noise` is what both use for texture. Every part depends on (seed, kind,
//! number) only, so the pictures are the same for any number of threads.

mod defect;
mod noise;
mod part;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use adflow::rng::Rng;
use image::{GrayImage, ImageFormat, RgbImage};

use crate::failure::{Context, Failure, Outcome};
use crate::interrupt;
use defect::Defect;
use part::{Part, SIDE};

/// How many parts of each kind are made.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Good parts to train from.
    pub train: usize,
    /// Good parts to test with.
    pub test_good: usize,
    /// Defective parts of each of the five kinds.
    pub test_defect: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { train: 180, test_good: 40, test_defect: 12 }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    TrainGood,
    TestGood,
    Defective(Defect),
}

/// Writes the line's photographs in the MVTec AD layout under `root`. `step` is called with the number of files done.
pub fn write(root: &Path, seed: u64, sizes: Sizes, threads: usize, step: &(dyn Fn(usize) + Sync)) -> Outcome<()> {
    let mut jobs = Vec::new();
    jobs.extend((0..sizes.train).map(|i| (Kind::TrainGood, i)));
    jobs.extend((0..sizes.test_good).map(|i| (Kind::TestGood, i)));
    for defect in Defect::ALL {
        jobs.extend((0..sizes.test_defect).map(|i| (Kind::Defective(defect), i)));
    }
    for &(kind, _) in &jobs {
        let (image, mask) = paths(root, kind, 0);
        for folder in [Some(image), mask].iter().flatten().filter_map(|p| p.parent()) {
            fs::create_dir_all(folder).context(format_args!("cannot make folder {}", folder.display()))?;
        }
    }
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(&(kind, i)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let made = if interrupt::asked() {
                        Err(Failure::interrupted("interrupted while drawing the product line"))
                    } else {
                        make(root, seed, kind, i)
                    };
                    if let Err(error) = made {
                        *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                        return;
                    }
                    step(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
}

/// Number of files `write` makes, masks not counted.
pub fn count(sizes: Sizes) -> usize {
    sizes.train + sizes.test_good + Defect::ALL.len() * sizes.test_defect
}

fn paths(root: &Path, kind: Kind, i: usize) -> (PathBuf, Option<PathBuf>) {
    let name = format!("{i:03}.png");
    match kind {
        Kind::TrainGood => (root.join("train/good").join(name), None),
        Kind::TestGood => (root.join("test/good").join(name), None),
        Kind::Defective(defect) => {
            let mask = format!("{i:03}_mask.png");
            (
                root.join("test").join(defect.name()).join(name),
                Some(root.join("ground_truth").join(defect.name()).join(mask)),
            )
        }
    }
}

fn make(root: &Path, seed: u64, kind: Kind, i: usize) -> Outcome<()> {
    let stream = match kind {
        Kind::TrainGood => 0,
        Kind::TestGood => 1,
        Kind::Defective(defect) => 2 + defect as u32,
    };
    let mut rng = Rng::new(seed, i as u64, stream);
    let part = Part::new(&mut rng);
    let (path, mask_path) = paths(root, kind, i);
    let (part, canvas, mask) = match kind {
        Kind::TrainGood | Kind::TestGood => {
            let canvas = part.draw();
            (part, canvas, Vec::new())
        }
        Kind::Defective(defect) => defect.draw(part, &mut rng),
    };
    let side = SIDE as u32;
    let photograph = part.photograph(&canvas, &mut rng);
    let image = RgbImage::from_raw(side, side, photograph).ok_or_else(|| Failure::new("wrong image size"))?;
    save(&path, image.into())?;
    if let Some(path) = mask_path {
        let bytes = mask.iter().map(|&m| if m >= 0.5 { 255 } else { 0 }).collect();
        let image = GrayImage::from_raw(side, side, bytes).ok_or_else(|| Failure::new("wrong mask size"))?;
        save(&path, image.into())?;
    }
    Ok(())
}

fn save(path: &Path, image: image::DynamicImage) -> Outcome<()> {
    let mut bytes = Cursor::new(Vec::new());
    let wrote = image.write_to(&mut bytes, ImageFormat::Png).map_err(|e| e.to_string());
    wrote.and_then(|()| fs::write(path, bytes.into_inner()).map_err(|e| e.to_string())).context(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_is_there_and_marked() {
        for defect in Defect::ALL {
            for i in 0..12 {
                let mut rng = Rng::new(5, i, 2 + defect as u32);
                let good = Part::new(&mut rng);
                let before = good.draw();
                let (_, after, mask) = defect.draw(good, &mut rng);
                let marked = mask.iter().filter(|&&m| m >= 0.5).count();
                assert!((12..4000).contains(&marked), "{} {i}: {marked} pixels", defect.name());
                let (mut inside, mut outside) = (0.0, 0.0f32);
                for ((a, b), m) in before.rgb.iter().zip(&after.rgb).zip(&mask) {
                    let change = (a[1] - b[1]).abs();
                    if *m >= 0.5 { inside += change / marked as f32 } else { outside = outside.max(change) }
                }
                assert!(inside > 0.02, "{} {i}: mean change {inside}", defect.name());
                assert!(outside < 0.25, "{} {i}: change {outside} outside the mask", defect.name());
            }
        }
    }
}
