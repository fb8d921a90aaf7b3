//! `adflow synth DATA --out DIR`: defects made from good images, with their masks, and one sheet for a person to look at.
//!
//! ```text
//! DIR/test/<kind>/000.png   DIR/ground_truth/<kind>/000_mask.png   DIR/sheet.png
//! ```
//!
//! The layout is that of a data set, so `adflow eval MODEL DIR` measures a model on them. Each row of the sheet is one good
//! image: as it is, then spoilt in each way, each with its mask.

use std::path::{Path, PathBuf};

use adflow::rng::Rng;
use adflow::synth::{Anomaly, Kind, Picture, Synth as Generator};
use image::{GrayImage, Rgb, RgbImage, imageops};

use crate::args::{Synth, chosen};
use crate::failure::{Context, Failure, Outcome};
use crate::progress::{Stage, note};
use crate::{dataset, decode, heatmap, interrupt, output};

/// Rows of the sheet; more images are only written as files.
const SHEET_ROWS: usize = 12;
/// Largest side of a picture in the sheet, and the gap between pictures.
const SHEET_CELL: u32 = 192;
const SHEET_GAP: u32 = 4;
const SHEET_GROUND: Rgb<u8> = Rgb([40, 44, 52]);
/// Random stream of the order in which good images are taken.
const ORDER: u32 = u32::MAX;
/// Draws until a patch of another image changes something visible.
const TRIES: u64 = 8;

/// Runs the command.
pub fn run(args: &Synth) -> Outcome<u8> {
    let good = dataset::training(&args.data)?;
    good.notes.iter().for_each(|text| note(text));
    let textures = match &args.textures {
        Some(folder) => textures_in(folder)?,
        None => Vec::new(),
    };
    output::make_folder(&args.out)?;
    refuse_own_data(args, &good.items)?;
    let kinds = chosen(&args.kind);
    for folder in kinds.iter().flat_map(|kind| [image_folder(&args.out, *kind), mask_folder(&args.out, *kind)]) {
        output::make_folder(&folder)?;
    }
    if kinds.contains(&Kind::Nsa) && good.items.len() == 1 {
        note("there is only one good image: nsa takes its patches from the image itself");
    }
    interrupt::listen();
    let work = Work { args, good: &good.items, textures: &textures, kinds: &kinds, order: order(args, &good.items) };
    let mut sheet = Sheet::new(args.size.min(SHEET_CELL), kinds.len(), work.count().min(SHEET_ROWS));
    let mut tallies = vec![Tally::default(); kinds.len()];
    {
        let stage = Stage::new("making anomalies", work.count());
        for number in 0..work.count() {
            if interrupt::asked() {
                return Err(Failure::interrupted("interrupted; the files written so far are complete"));
            }
            work.row(number, &mut sheet, &mut tallies)?;
            stage.set(number + 1);
        }
    }
    let path = args.out.join("sheet.png");
    output::write(&path, &heatmap::png(&sheet.image)?)?;
    for (kind, tally) in kinds.iter().zip(&tallies) {
        tally.print(*kind, work.count(), &args.out);
    }
    let columns: Vec<_> = kinds.iter().map(|kind| format!("{kind} and mask")).collect();
    println!("{:<9} {}: original, {}", "sheet", path.display(), columns.join(", "));
    Ok(0)
}

fn textures_in(folder: &Path) -> Outcome<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Err(Failure::new(format!("{}: no such folder", folder.display())));
    }
    let listing = dataset::expand(&[folder.to_path_buf()])?;
    listing.notes.iter().for_each(|text| note(text));
    Ok(listing.items)
}

/// Refuses to write into the data: the sheet would be trained on, and synthetic defects would mix with real ones.
fn refuse_own_data(args: &Synth, good: &[PathBuf]) -> Outcome<()> {
    let real = |path: &Path| path.canonicalize().context(path.display());
    let out = real(&args.out)?;
    let images = good.first().and_then(|path| path.parent());
    if out == real(&args.data)? || images.map(real).transpose()?.as_ref() == Some(&out) {
        return Err(Failure::new(format!(
            "--out {}: this is the folder of the data; choose another one",
            args.out.display()
        )));
    }
    Ok(())
}

fn order(args: &Synth, good: &[PathBuf]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..good.len()).collect();
    Rng::new(args.seed, 0, ORDER).shuffle(&mut order);
    order
}

fn image_folder(out: &Path, kind: Kind) -> PathBuf {
    out.join("test").join(kind.as_str())
}

fn mask_folder(out: &Path, kind: Kind) -> PathBuf {
    out.join("ground_truth").join(kind.as_str())
}

/// Result for one kind of defect.
#[derive(Clone, Default)]
struct Tally {
    written: usize,
    share: f64,
}

impl Tally {
    fn print(&self, kind: Kind, asked: usize, out: &Path) {
        let mean = 100.0 * self.share / self.written.max(1) as f64;
        let folder = image_folder(out, kind);
        println!(
            "{:<9} {} images, {mean:.1} % of the pixels anomalous  {}",
            kind.as_str(),
            self.written,
            folder.display()
        );
        if self.written < asked {
            note(&format!(
                "{} {} images were left out: no patch of another image changed anything visible",
                asked - self.written,
                kind.as_str()
            ));
        }
    }
}

struct Work<'a> {
    args: &'a Synth,
    good: &'a [PathBuf],
    textures: &'a [PathBuf],
    kinds: &'a [Kind],
    order: Vec<usize>,
}

impl Work<'_> {
    fn count(&self) -> usize {
        self.args.count as usize
    }

    /// Spoils one good image in each way.
    fn row(&self, number: usize, sheet: &mut Sheet, tallies: &mut [Tally]) -> Outcome<()> {
        let base_number = self.order[number % self.order.len()];
        let base = self.load(&self.good[base_number])?;
        sheet.put(number, 0, &rgb(&base));
        for (column, (&kind, tally)) in self.kinds.iter().zip(tallies).enumerate() {
            let Some(anomaly) = self.spoil(kind, number, base_number, &base)? else { continue };
            let (image, mask) = (rgb(&anomaly.image), mask(&anomaly)?);
            let path = image_folder(&self.args.out, kind).join(format!("{number:03}.png"));
            output::write(&path, &heatmap::png(&image)?)?;
            let path = mask_folder(&self.args.out, kind).join(format!("{number:03}_mask.png"));
            output::write(&path, &heatmap::png(&mask)?)?;
            sheet.put(number, 2 * column + 1, &image);
            sheet.put(number, 2 * column + 2, &image::DynamicImage::from(mask).into_rgb8());
            tally.written += 1;
            tally.share += f64::from(anomaly.share());
        }
        Ok(())
    }

    fn spoil(&self, kind: Kind, number: usize, base_number: usize, base: &Picture) -> Outcome<Option<Anomaly>> {
        let generator = Generator::new(self.args.seed, &[kind]);
        for epoch in 0..TRIES {
            let draw = generator.draw(epoch, number as u32);
            let source = match (kind, draw.source(self.good.len(), base_number)) {
                (Kind::Nsa, other) if other != base_number => Some(self.load(&self.good[other])?),
                _ => None,
            };
            let texture = match (kind, draw.texture(self.textures.len())) {
                (Kind::Perlin, Some(i)) => Some(self.load(&self.textures[i])?),
                _ => None,
            };
            let anomaly = generator.make(&draw, base, source.as_ref().unwrap_or(base), texture.as_ref());
            if anomaly.share() > 0.0 {
                return Ok(Some(anomaly));
            }
        }
        Ok(None)
    }

    fn load(&self, path: &Path) -> Outcome<Picture> {
        let image = decode::open(path)?;
        let view = image.view().context(path.display())?;
        Picture::from_view(&view, self.args.size).context(path.display())
    }
}

fn rgb(picture: &Picture) -> RgbImage {
    let (width, planes) = (picture.width(), picture.planes());
    let byte = |at: usize| (planes[at].clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    RgbImage::from_fn(width as u32, picture.height() as u32, |x, y| {
        let at = y as usize * width + x as usize;
        Rgb([0, 1, 2].map(|c| byte(at + c * planes.len() / 3)))
    })
}

fn mask(anomaly: &Anomaly) -> Outcome<GrayImage> {
    let bytes = anomaly.mask.iter().map(|&m| if m > 0.0 { 255 } else { 0 }).collect();
    GrayImage::from_raw(anomaly.image.width() as u32, anomaly.image.height() as u32, bytes)
        .ok_or_else(|| Failure::new("wrong mask size"))
}

/// Rows of an original and pairs of anomaly and mask.
struct Sheet {
    image: RgbImage,
    cell: u32,
    rows: usize,
}

impl Sheet {
    fn new(cell: u32, kinds: usize, rows: usize) -> Self {
        let along = |cells: usize| cells as u32 * (cell + SHEET_GAP) + SHEET_GAP;
        Self { image: RgbImage::from_pixel(along(1 + 2 * kinds), along(rows), SHEET_GROUND), cell, rows }
    }

    fn put(&mut self, row: usize, column: usize, picture: &RgbImage) {
        if row >= self.rows {
            return;
        }
        let small = imageops::resize(picture, self.cell, self.cell, imageops::FilterType::Triangle);
        let at = |i: usize| i64::from(i as u32 * (self.cell + SHEET_GAP) + SHEET_GAP);
        imageops::replace(&mut self.image, &small, at(column), at(row));
    }
}
