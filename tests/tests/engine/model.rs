//! Model files: damaged ones are refused, and whatever the gate accepts can be scored without a panic.

use adflow::checksum::{crc32, crc32_continue};
use adflow::cpu::Cpu;
use adflow::image::ImageView;
use adflow::model::{FileHeader, Model, OwnedModel};
use adflow::rng::Rng;
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;
use adflow_tests::compare::bits_differ;
use adflow_tests::effort;
use adflow_tests::models::{
    CUT, flow_model, flow_model_within, map_model, map_model_within, region, tiled_model, tiled_region,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

const CHECKSUM: usize = std::mem::offset_of!(FileHeader, checksum);
const OPTIONS: ScorerOptions = ScorerOptions::new().with_max_width(64).with_regions(true);

/// Bytes at an address that is a multiple of 8.
fn aligned(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
    words
}

fn view(words: &[u64], len: usize) -> &[u8] {
    &bytemuck::cast_slice(words)[..len]
}

/// Makes the checksum fit, so that the checks behind it are reached.
fn seal(bytes: &mut [u8]) {
    let crc = crc32_continue(crc32(&bytes[..CHECKSUM]), &[0; 4]);
    let crc = crc32_continue(crc, &bytes[CHECKSUM + 4..]);
    bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&crc.to_le_bytes());
}

fn pixels(width: u32, height: u32) -> Vec<u8> {
    let mut rng = Rng::new(1, 0, 0);
    (0..3 * width * height).map(|_| rng.u32() as u8).collect()
}

/// Score and map, or `None` where scoring says no.
fn score(model: Model<'_>, cpu: Cpu<'_>, image: &ImageView<'_>, garbage: f32) -> Option<(f32, Vec<f32>)> {
    let len = Scorer::memory_len(&model, &OPTIONS, cpu.threads().count()).ok()?;
    if len > 1 << 22 || model.views() > 16 || model.tiles().is_some_and(|t| t.tiling().count() > 64) {
        return None;
    }
    let mut memory = vec![garbage; len];
    let mut scorer = Scorer::new(model, &OPTIONS, cpu, &mut memory).expect("as much memory as asked for");
    let (w, h) = model.map_size();
    let mut map = vec![0.0; (w * h) as usize];
    let score = if map.is_empty() { scorer.score(image) } else { scorer.score_with_map(image, &mut map) };
    score.ok().map(|score| (score, map))
}

/// The score of a part of an image.
fn score_within(model: Model<'_>, cpu: Cpu<'_>, image: &ImageView<'_>, within: &ImageView<'_>) -> Option<f32> {
    let len = Scorer::memory_len(&model, &OPTIONS, cpu.threads().count()).ok()?;
    if len > 1 << 22 || model.views() > 16 || model.tiles().is_some_and(|t| t.tiling().count() > 64) {
        return None;
    }
    let mut memory = vec![f32::NAN; len];
    let mut scorer = Scorer::new(model, &OPTIONS, cpu, &mut memory).expect("as much memory as asked for");
    scorer.score_within(image, within, None).ok()
}

#[test]
fn threads_and_old_memory_change_no_bit() {
    let pixels = pixels(17, 13);
    let image = ImageView::rgb_u8(17, 13, &pixels).expect("an image");
    let (one, two) = (Threads::serial(), Threads::new(2));
    for bytes in [map_model(), flow_model()] {
        let model = OwnedModel::from_bytes(&bytes).expect("a model");
        let a = score(model.model(), Cpu::detect(&one), &image, f32::NAN).expect("a score");
        let b = score(model.model(), Cpu::detect(&two), &image, 1e9).expect("a score");
        assert_eq!(a.0.to_bits(), b.0.to_bits());
        assert_eq!(bits_differ(&a.1, &b.1), None);
        assert!(a.0.is_finite() && a.0 > 0.0, "score {}", a.0);
        let strongest = a.1.iter().fold(0.0f32, |m, v| m.max(*v));
        assert!(strongest > 0.0 && a.1.iter().all(|v| v.is_finite()), "the map shows something");
    }
}

#[test]
fn damaged_files_are_refused() {
    let bytes = flow_model();
    let words = aligned(&bytes);
    assert!(Model::parse(view(&words, bytes.len())).is_ok());
    for len in (0..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
        assert!(Model::parse(view(&words, len)).is_err(), "{len} bytes of {}", bytes.len());
    }
    let mut rng = Rng::new(2, 0, 0);
    for _ in 0..2000 {
        let mut damaged = bytes.clone();
        let at = rng.below(bytes.len() as u32) as usize;
        damaged[at] ^= 1 << rng.below(8);
        let words = aligned(&damaged);
        assert!(Model::parse(view(&words, damaged.len())).is_err(), "bit flipped in byte {at}");
    }
}

#[test]
fn hostile_regions_are_refused() {
    let roi = region();
    let good = map_model_within(Some(&roi));
    let bytes = roi.bits().bytes();
    let at = good.windows(bytes.len()).position(|w| w == bytes).expect("the bits are in the file");
    // The section's record follows the header; kind first, offset and length last.
    let record = good.windows(8).position(|w| w == b"roi\0\0\0\0\0").expect("the section is in the table");
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut forged = good.clone();
        change(&mut forged);
        seal(&mut forged);
        let words = aligned(&forged);
        let error = Model::parse(view(&words, forged.len())).err().map(|e| e.to_string());
        error.unwrap_or_else(|| panic!("accepted"))
    };
    assert!(refused(&|f| f[at..at + bytes.len()].fill(0)).contains("roi"), "nothing inside");
    assert!(refused(&|f| f[record + 40] -= 1).contains("section"), "too short");
    assert!(refused(&|f| f[record + 40] += 1).contains("section"), "too long");
    // 12×12 bits fill whole bytes; the input's size decides how many there are.
    let table = good.windows(8).position(|w| w == b"detector").expect("the section is in the table");
    let size = u64::from_le_bytes(good[table + 32..table + 40].try_into().expect("eight bytes")) as usize;
    assert!(refused(&|f| f[size] = 13).contains("roi"), "bits for another size");
    assert!(refused(&|f| f.copy_within(record..record + 8, record - 48)).contains("section"), "two of them");
}

#[test]
fn hostile_tiles_are_refused() {
    let good = tiled_model(CUT, Some(&tiled_region()));
    let record = good.windows(8).position(|w| w == b"tiles\0\0\0").expect("the section is in the table");
    let at = u64::from_le_bytes(good[record + 32..record + 40].try_into().expect("eight bytes")) as usize;
    let word = |field: usize| at + 4 * field;
    let refused = |field: usize, value: u32, why: &str| {
        let mut forged = good.clone();
        forged[word(field)..word(field) + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut forged);
        let words = aligned(&forged);
        let error = Model::parse(view(&words, forged.len())).err().map(|e| e.to_string());
        let error = error.unwrap_or_else(|| panic!("field {field} = {value} accepted"));
        assert!(error.contains(why), "field {field} = {value}: {error}");
    };
    // Canvas, margin, top, reduce, reserved.
    for huge in [0, u32::MAX, 1 << 31, 65_537] {
        refused(0, huge, "canvas");
        refused(1, huge, "canvas");
    }
    refused(0, 29, "roi");
    refused(0, 40, "size of the canvas");
    for margin in [6, 7, 1 << 30, u32::MAX] {
        refused(2, margin, "margin");
    }
    refused(2, 1, "multiple of a step");
    for top in [15 * 11 + 1, u32::MAX] {
        refused(3, top, "grid");
    }
    for reduce in [0, 257, u32::MAX] {
        refused(4, reduce, "pixel of the map");
    }
    refused(4, 3, "size of the canvas");
    refused(5, 1, "reserved");
    // Other fields of the detector that tiles do not go with: views, and steps of the map.
    let detector = good.windows(8).position(|w| w == b"detector").expect("the section is in the table");
    let start = u64::from_le_bytes(good[detector + 32..detector + 40].try_into().expect("eight bytes")) as usize;
    let record_refused = |offset: usize, bytes: [u8; 4], why: &str| {
        let mut forged = good.clone();
        forged[start + offset..start + offset + 4].copy_from_slice(&bytes);
        seal(&mut forged);
        let words = aligned(&forged);
        let error = Model::parse(view(&words, forged.len())).expect_err("refused").to_string();
        assert!(error.contains(why), "{error}");
    };
    record_refused(32, 2u32.to_le_bytes(), "one view");
    record_refused(104, 2.5f32.to_le_bytes(), "evenly");
    record_refused(104, 3f32.to_le_bytes(), "evenly");
    record_refused(104, 1e-30f32.to_le_bytes(), "evenly");
    // A second section, and one of another length.
    let mut twice = good.clone();
    let roi = good.windows(8).position(|w| w == b"roi\0\0\0\0\0").expect("the section is in the table");
    twice.copy_within(record..record + 8, roi);
    seal(&mut twice);
    let words = aligned(&twice);
    assert!(Model::parse(view(&words, twice.len())).is_err());
}

#[test]
fn forged_files_are_refused_or_scored() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let pixels = pixels(9, 7);
    let image = ImageView::rgb_u8(9, 7, &pixels).expect("an image");
    let (mut accepted, rounds) = (0, 12_000 * effort());
    let (roi, mask) = (region(), [255; 63]);
    let within = ImageView::grey_u8(9, 7, &mask).expect("a mask");
    let bases = [
        map_model(),
        flow_model(),
        map_model_within(Some(&roi)),
        flow_model_within(Some(&roi)),
        tiled_model(CUT, None),
        tiled_model(CUT, Some(&tiled_region())),
    ];
    for base in bases {
        for round in 0..rounds / 6 {
            let mut rng = Rng::new(round, 3, 3);
            let mut forged = base.clone();
            for _ in 0..1 + rng.below(3) {
                // Mostly where structure is: the last section holds the weights.
                let at = rng.below(forged.len() as u32 / 4) as usize * 4;
                let at = if rng.below(2) == 0 { at / 3 / 4 * 4 } else { at };
                let word = u32::from_le_bytes([forged[at], forged[at + 1], forged[at + 2], forged[at + 3]]);
                let new = match rng.below(6) {
                    0 => word ^ 1 << rng.below(32),
                    1 => word.wrapping_add(1),
                    2 => word.wrapping_sub(1),
                    3 => rng.below(16),
                    4 => [0, 1, u32::MAX, 1 << 31, 1 << 28, f32::NAN.to_bits()][rng.below(6) as usize],
                    _ => rng.u32(),
                };
                forged[at..at + 4].copy_from_slice(&new.to_le_bytes());
            }
            seal(&mut forged);
            let words = aligned(&forged);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let Ok(model) = Model::parse(view(&words, forged.len())) else { return 0 };
                let _ = format!("{model:?} {:?}", model.threshold());
                let mut text = String::new();
                model.dump(&mut text).expect("text");
                let a = score(model, cpu, &image, 3.5);
                let b = score(model, cpu, &image, f32::NAN);
                let c = score_within(model, cpu, &image, &within);
                assert!(a.is_some() || c.is_none_or(|c| !c.is_nan()), "a part of an image is scored as the whole is");
                let same = match (&a, &b) {
                    (Some(a), Some(b)) => a.0.to_bits() == b.0.to_bits() && bits_differ(&a.1, &b.1).is_none(),
                    _ => a.is_none() && b.is_none(),
                };
                assert!(same, "the score depends on what memory held before\n{text}");
                1
            }));
            accepted += outcome.unwrap_or_else(|_| panic!("round {round} panicked, see above"));
        }
    }
    println!("{rounds} forged models: {accepted} accepted");
    assert!(accepted > rounds / 50, "the changes are too wild to test anything: {accepted} accepted");
}
