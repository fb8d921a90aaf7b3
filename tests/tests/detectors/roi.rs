//! Regions of interest: pixels outside change no bit, of a score, of a map, or of a model.

use adflow::backbones::Backbone;
use adflow::cpu::Cpu;
use adflow::detect::{Contrastive, Images, Method, TrainError, TrainOptions, train};
use adflow::image::{ImageView, Roi};
use adflow::model::{Model, OwnedModel};
use adflow::rng::Rng;
use adflow::score::{ScoreError, Scorer, ScorerOptions};
use adflow::threads::Threads;
use adflow_tests::compare::bits_differ;
use adflow_tests::made_weights;
use adflow_tests::models::{flow_model, flow_model_within, map_model, map_model_within, region};

const OPTIONS: ScorerOptions = ScorerOptions::new().with_max_width(64).with_regions(true);

/// Score and map of an image, in `within` if given.
fn score(
    model: &Model<'_>,
    image: &ImageView<'_>,
    within: Option<&ImageView<'_>>,
) -> Result<(f32, Vec<f32>), ScoreError> {
    let threads = Threads::serial();
    let mut memory = vec![f32::NAN; Scorer::memory_len(model, &OPTIONS, 1)?];
    let mut scorer = Scorer::new(*model, &OPTIONS, Cpu::detect(&threads), &mut memory)?;
    let (w, h) = model.map_size();
    let mut map = vec![f32::NAN; (w * h) as usize];
    let (score, alone) = match within {
        Some(region) => {
            (scorer.score_within(image, region, Some(&mut map))?, scorer.score_within(image, region, None)?)
        }
        None => (scorer.score_with_map(image, &mut map)?, scorer.score(image)?),
    };
    assert_eq!(score.to_bits(), alone.to_bits(), "a score does not depend on the map");
    Ok((score, map))
}

/// Random pixels; the same where `mask` is white for every `outside`, any floats elsewhere.
fn frame(mask: &[u8], inside: u64, outside: u64) -> Vec<f32> {
    let (mut a, mut b) = (Rng::new(5, inside, 0), Rng::new(6, outside, 0));
    let wild = [f32::NAN, f32::INFINITY, -1e38, 0.0, 7.0];
    mask.iter()
        .map(|m| {
            let (same, other) = (a.range(0.0..1.0), wild[b.below(5) as usize]);
            if *m == 255 { same } else { other }
        })
        .collect()
}

/// A white polygon of sorts in `width`×`height` pixels: everything right of a slanted line, with a hole.
fn mask(width: usize, height: usize) -> Vec<u8> {
    let at = |x: usize, y: usize| {
        let right = x * 5 > width + y;
        let hole = (x * 10).abs_diff(width * 7) < width && (y * 10).abs_diff(height * 5) < height;
        if right && !hole { 255 } else { 0 }
    };
    (0..width * height).map(|i| at(i % width, i / width)).collect()
}

#[test]
fn pixels_outside_the_region_of_an_image_change_no_bit() {
    for (width, height) in [(48u32, 40u32), (12, 12), (7, 30), (64, 9)] {
        let mask = mask(width as usize, height as usize);
        let region = ImageView::grey_u8(width, height, &mask).unwrap();
        for file in [map_model(), flow_model(), map_model_within(Some(&adflow_tests::models::region()))] {
            let model = OwnedModel::from_bytes(&file).unwrap();
            let run = |outside| {
                let pixels = frame(&mask, 1, outside);
                score(&model.model(), &ImageView::grey_f32(width, height, &pixels).unwrap(), Some(&region))
            };
            let first = match run(0) {
                Ok(first) => first,
                // Where an image is smaller than the input, windows are wide and little is left.
                Err(ScoreError::Region(_)) => {
                    assert!(width < 12 || height < 12);
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            assert!(first.0.is_finite() && first.1.contains(&0.0) && first.1.iter().any(|m| *m > 0.0));
            for outside in 1..6 {
                let again = run(outside).unwrap();
                assert_eq!(first.0.to_bits(), again.0.to_bits(), "{width}×{height}");
                assert_eq!(bits_differ(&first.1, &again.1), None, "{width}×{height}");
            }
            let other = frame(&mask, 2, 0);
            let image = ImageView::grey_f32(width, height, &other).unwrap();
            assert_ne!(first.0, score(&model.model(), &image, Some(&region)).unwrap().0, "pixels inside count");
        }
    }
}

#[test]
fn a_bad_pixel_inside_is_named() {
    let mask = mask(48, 40);
    let region = ImageView::grey_u8(48, 40, &mask).unwrap();
    let model = OwnedModel::from_bytes(&map_model()).unwrap();
    let mut pixels = frame(&mask, 1, 1);
    pixels[39 * 48 + 46] = f32::NAN;
    let image = ImageView::grey_f32(48, 40, &pixels).unwrap();
    let error = score(&model.model(), &image, Some(&region)).unwrap_err().to_string();
    assert!(error.contains("(46, 39)"), "{error}");
}

#[test]
fn the_region_of_a_model_is_respected_without_being_given() {
    // The model's region is in cells of its 12×12 input; an image of that size shows them exactly.
    let roi = region();
    let cells: Vec<u8> = (0..144).map(|i| if roi.bits().inside(i % 12, i / 12) { 255 } else { 0 }).collect();
    for (file, whole) in [(map_model_within(Some(&roi)), map_model()), (flow_model_within(Some(&roi)), flow_model())] {
        let (model, whole) = (OwnedModel::from_bytes(&file).unwrap(), OwnedModel::from_bytes(&whole).unwrap());
        assert_eq!(model.model().roi(), Some(roi.bits()));
        assert_eq!(whole.model().roi(), None);
        let moved = model.with_threshold(None).unwrap();
        assert_eq!(moved.model().roi(), Some(roi.bits()), "another threshold, the same region");
        let run = |outside| {
            let pixels = frame(&cells, 1, outside);
            score(&model.model(), &ImageView::grey_f32(12, 12, &pixels).unwrap(), None).unwrap()
        };
        let (a, b) = (run(0), run(1));
        assert_eq!((a.0.to_bits(), bits_differ(&a.1, &b.1)), (b.0.to_bits(), None));
        // The same as the other model with that region.
        let pixels = frame(&cells, 1, 3);
        let image = ImageView::grey_f32(12, 12, &pixels).unwrap();
        let c = score(&whole.model(), &image, Some(&ImageView::grey_u8(12, 12, &cells).unwrap())).unwrap();
        assert_eq!((a.0.to_bits(), bits_differ(&a.1, &c.1)), (c.0.to_bits(), None));
    }
}

#[test]
fn a_white_region_is_the_whole_image() {
    let pixels: Vec<f32> = frame(&[255; 48 * 40], 4, 0);
    let image = ImageView::grey_f32(48, 40, &pixels).unwrap();
    let white = [255; 48 * 40];
    for file in [map_model(), flow_model()] {
        let model = OwnedModel::from_bytes(&file).unwrap();
        let whole = score(&model.model(), &image, None).unwrap();
        let within = score(&model.model(), &image, Some(&ImageView::grey_u8(48, 40, &white).unwrap())).unwrap();
        assert!((whole.0 - within.0).abs() <= 1e-6 * whole.0.abs());
        assert_eq!(bits_differ(&whole.1, &within.1), None);
    }
}

#[test]
fn regions_that_make_no_sense_are_refused() {
    let pixels = [100u8; 48 * 40];
    let image = ImageView::grey_u8(48, 40, &pixels).unwrap();
    let model = OwnedModel::from_bytes(&map_model()).unwrap();
    let refused = |region: &ImageView<'_>| {
        let error = score(&model.model(), &image, Some(region)).unwrap_err();
        assert!(matches!(error, ScoreError::Region(_)), "{error}");
        error.to_string()
    };
    assert!(refused(&ImageView::grey_u8(48, 40, &[0; 48 * 40]).unwrap()).contains("nothing is inside"));
    let mut thin = [0; 48 * 40];
    thin.iter_mut().skip(20).step_by(48).for_each(|m| *m = 255);
    assert!(refused(&ImageView::grey_u8(48, 40, &thin).unwrap()).contains("nothing is inside"));
    assert!(refused(&ImageView::grey_u8(40, 48, &[255; 48 * 40]).unwrap()).contains("size of the image"));
    let options = OPTIONS.with_regions(false);
    let mut memory = vec![0.0; Scorer::memory_len(&model.model(), &options, 1).unwrap()];
    let threads = Threads::serial();
    let mut scorer = Scorer::new(model.model(), &options, Cpu::detect(&threads), &mut memory).unwrap();
    assert!(matches!(scorer.score_within(&image, &image, None), Err(ScoreError::Region(_))));
    let black = ImageView::grey_u8(48, 40, &[0; 48 * 40]).map(|view| Roi::from_mask(&view));
    assert_eq!(black.unwrap(), None);
}

struct Frames(Vec<Vec<f32>>, u32, u32);

impl Images for Frames {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> String {
        format!("frame {index}")
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        f(&ImageView::rgb_f32(self.1, self.2, &self.0[index]).map_err(|e| e.to_string())?);
        Ok(())
    }
}

const SIZE: (usize, usize) = (70, 64);

/// A region, and two sets of pictures that are the same inside it.
fn same_inside() -> (Option<Roi>, Frames, Frames) {
    let mask = mask(SIZE.0, SIZE.1);
    let three: Vec<u8> = mask.iter().flat_map(|m| [*m; 3]).collect();
    let frames = |seed: u64| {
        let good = |i: u64| frame(&three, i / 2, 1000 * seed + i).into_iter();
        // Grey outside in one set and wildly coloured in the other; without NaN, which no decoder would be asked for.
        let tame = |v: f32| if v.is_finite() { v.clamp(0.0, 1.0) } else { seed as f32 * 0.3 };
        Frames((0..16).map(|i| good(i).map(tame).collect()).collect(), SIZE.0 as u32, SIZE.1 as u32)
    };
    let (a, b) = (frames(0), frames(1));
    assert!(a.0 != b.0);
    (Roi::from_mask(&ImageView::grey_u8(SIZE.0 as u32, SIZE.1 as u32, &mask).unwrap()), a, b)
}

#[test]
fn pixels_outside_change_no_byte_of_a_model() {
    let (roi, a, b) = same_inside();
    for &method in Method::ALL {
        let options = TrainOptions {
            method,
            size: Some(64),
            epochs: Some(2),
            held_out: 0.25,
            roi: roi.clone(),
            ..TrainOptions::default()
        };
        let threads = Threads::new(2);
        let fit = |images: &Frames, options: &TrainOptions| {
            train(images, &Backbone::builtin(), options, &Cpu::detect(&threads), &mut (), None).unwrap()
        };
        let (with_a, with_b) = (fit(&a, &options), fit(&b, &options));
        assert!(with_a.model == with_b.model, "{method}: pixels outside changed the model");
        let everywhere = TrainOptions { roi: None, ..options.clone() };
        assert!(fit(&a, &everywhere).model != fit(&b, &everywhere).model, "{method}: the images do not differ");
        let model = OwnedModel::from_bytes(&with_a.model).unwrap();
        assert!(model.model().about_value("roi").is_some());
        let scored = [&a, &b].map(|images| {
            let image = ImageView::rgb_f32(images.1, images.2, &images.0[3]).unwrap();
            let options = ScorerOptions::new().with_max_width(70);
            let mut memory = vec![0.0; Scorer::memory_len(&model.model(), &options, 1).unwrap()];
            let serial = Threads::serial();
            let mut scorer = Scorer::new(model.model(), &options, Cpu::detect(&serial), &mut memory).unwrap();
            let mut map = vec![0.0; 64 * 64];
            let score = scorer.score_with_map(&image, &mut map).unwrap();
            (score.to_bits(), map)
        });
        assert_eq!(scored[0].0, scored[1].0, "{method}");
        assert_eq!(bits_differ(&scored[0].1, &scored[1].1), None, "{method}");
        let (typical, limit) = model.model().map_scale();
        assert!(typical > 0.0 && limit >= typical, "{method}: the map's scale is that of the inside");
    }
    // A backbone that is adapted first sees no more.
    let contrastive = Some(Contrastive { epochs: 2, learning_rate: 1e-4 });
    let options = TrainOptions {
        method: Method::CDNF,
        size: Some(64),
        epochs: Some(1),
        map: false,
        roi,
        contrastive,
        ..TrainOptions::default()
    };
    let threads = Threads::new(2);
    let fit = |images: &Frames, options: &TrainOptions| {
        let backbone = made_weights::backbone("mobilenet_v2");
        train(images, &backbone, options, &Cpu::detect(&threads), &mut (), None).unwrap().model
    };
    assert!(fit(&a, &options) == fit(&b, &options), "pixels outside changed the backbone");
    let everywhere = TrainOptions { roi: None, ..options };
    assert!(fit(&a, &everywhere) != fit(&b, &everywhere), "the images do not differ");
    // All white is no region, too thin is an error.
    let white = vec![255; SIZE.0 * SIZE.1];
    let options = |mask: &[u8]| TrainOptions {
        method: Method::GAUSS,
        size: Some(48),
        roi: Roi::from_mask(&ImageView::grey_u8(SIZE.0 as u32, SIZE.1 as u32, mask).unwrap()),
        ..TrainOptions::default()
    };
    let serial = Threads::serial();
    let fit = |options: &TrainOptions| {
        train(&a, &Backbone::builtin(), options, &Cpu::detect(&serial), &mut (), None).map(|t| t.model)
    };
    assert!(fit(&options(&white)).unwrap() == fit(&TrainOptions { roi: None, ..options(&white) }).unwrap());
    let mut dot = vec![0; SIZE.0 * SIZE.1];
    dot[700] = 255;
    assert!(matches!(fit(&options(&dot)), Err(TrainError::Options(why)) if why.contains("too thin")));
}
