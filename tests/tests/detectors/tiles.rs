//! Images in tiles: joined maps are those of one large tile, regions hold, and detectors trained on tiles find what is odd.

use adflow::backbones::Backbone;
use adflow::cpu::Cpu;
use adflow::detect::{Canvas, Images, Method, TrainError, TrainOptions, Trained, train};
use adflow::image::{ImageView, Roi};
use adflow::model::{Model, OwnedModel};
use adflow::rng::Rng;
use adflow::score::{ScoreError, Scorer, ScorerOptions};
use adflow::threads::Threads;
use adflow_tests::compare::bits_differ;
use adflow_tests::models::{CUT, Cut, tiled_builtin, tiled_model, tiled_region};

const OPTIONS: ScorerOptions = ScorerOptions::new().with_max_width(1024).with_regions(true);

/// Score and map of an image, in `within` if given.
fn score(
    model: &Model<'_>,
    image: &ImageView<'_>,
    within: Option<&ImageView<'_>>,
) -> Result<(f32, Vec<f32>), ScoreError> {
    let threads = Threads::new(2);
    let mut memory = vec![f32::NAN; Scorer::memory_len(model, &OPTIONS, 2)?];
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

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0, 0);
    (0..len).map(|_| rng.range(0.1..0.9)).collect()
}

/// Smooth structure with noise: like a woven web.
fn web(width: u32, height: u32, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed, 7, 7);
    let (a, b) = (rng.range(0.0..6.3), rng.range(0.0..6.3));
    let at = |i: u32, rng: &mut Rng| {
        let (x, y) = ((i % width) as f32, (i / width) as f32);
        (120.0 + 40.0 * (x * 0.7 + a).sin() * (y * 0.45 + b).cos() + rng.range(-12.0..12.0)) as u8
    };
    (0..width * height).map(|i| at(i, &mut rng)).collect()
}

#[test]
fn tiles_join_to_what_one_large_tile_sees() {
    // Images larger, smaller and of the size of the canvas; the canvas is no multiple of anything.
    let cut = Cut { canvas: (53, 37), ..CUT };
    let large = Cut { side: 64, margin: 4, ..cut };
    for (width, height) in [(53, 37), (120, 31), (17, 80)] {
        let pixels = noise((width * height) as usize, 3);
        let image = ImageView::grey_f32(width, height, &pixels).unwrap();
        for top in [1, 7, 0] {
            let run = |cut: Cut| {
                let model = OwnedModel::from_bytes(&tiled_model(Cut { top, ..cut }, None)).unwrap();
                let tiles = model.model().tiles().unwrap().tiling().count();
                (score(&model.model(), &image, None).unwrap(), tiles)
            };
            let ((a, map_a), few) = run(large);
            let ((b, map_b), many) = run(cut);
            assert_eq!((few, many), (1, 7 * 5));
            // The highest score of a tile is another number for tiles of another size.
            assert!(top == 0 || (a - b).abs() < 1e-5, "{width}x{height}: {a} and {b}");
            let worst = map_a.iter().zip(&map_b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{width}x{height}: maps differ by {worst}");
        }
    }
}

#[test]
fn a_backbone_sees_the_same_in_tiles_of_any_size() {
    // A step of `builtin.coarse` sees 62 pixels to each side, less than the margin.
    let cut = Cut { canvas: (500, 330), side: 256, margin: 64, top: 5, reduce: 8 };
    let pixels = web(500, 330, 1);
    let image = ImageView::grey_u8(500, 330, &pixels).unwrap();
    let run = |cut: Cut| {
        let model = OwnedModel::from_bytes(&tiled_builtin(cut)).unwrap();
        score(&model.model(), &image, None).unwrap()
    };
    let (a, map_a) = run(Cut { side: 640, ..cut });
    let (b, map_b) = run(cut);
    assert!((a - b).abs() < 1e-5 * a, "{a} and {b}");
    let worst = map_a.iter().zip(&map_b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("maps of one tile and of twelve differ by {worst:e} at a score of {a}");
    assert!(worst < 1e-5 * a.max(1.0), "{worst}");
}

#[test]
fn pixels_outside_change_no_bit_of_scores_and_maps() {
    let roi = tiled_region();
    let (w, h) = CUT.canvas;
    let inside: Vec<bool> = (0..w * h).map(|i| roi.bits().inside(i % w, i / w)).collect();
    let mask: Vec<u8> = inside.iter().map(|i| if *i { 255 } else { 0 }).collect();
    let region = ImageView::grey_u8(w, h, &mask).unwrap();
    let frame = |seed: u64| -> Vec<f32> {
        let (same, other) = (noise(inside.len(), 5), noise(inside.len(), seed));
        let wild = [f32::NAN, f32::INFINITY, -1e38, 7.0, 0.0];
        let pick = |i: usize| if other[i] < 0.5 { wild[i % 5] } else { other[i] };
        (0..inside.len()).map(|i| if inside[i] { same[i] } else { pick(i) }).collect()
    };
    let mut known: Vec<(u32, Vec<f32>)> = Vec::new();
    for top in [7, 0] {
        let cut = Cut { top, ..CUT };
        let (of_model, of_image) = (tiled_model(cut, Some(&roi)), tiled_model(cut, None));
        for (file, within) in [(of_model, None), (of_image, Some(&region))] {
            let model = OwnedModel::from_bytes(&file).unwrap();
            let run = |seed| {
                let pixels = frame(seed);
                let (score, map) = score(&model.model(), &ImageView::grey_f32(w, h, &pixels).unwrap(), within).unwrap();
                (score.to_bits(), map)
            };
            let first = run(11);
            assert!(first.1.contains(&0.0) && first.1.iter().any(|m| *m > 0.0));
            for seed in 12..16 {
                let again = run(seed);
                assert_eq!(first.0, again.0);
                assert_eq!(bits_differ(&first.1, &again.1), None);
            }
            known.push(first);
        }
    }
    // The region of a model and the same given with the image are one and the same.
    assert_eq!((known[0].0, bits_differ(&known[0].1, &known[1].1)), (known[1].0, None));
    assert_eq!((known[2].0, bits_differ(&known[2].1, &known[3].1)), (known[3].0, None));
}

/// Pictures of a web of any size.
struct Web(Vec<Vec<u8>>, u32, u32);

impl Images for Web {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> String {
        format!("frame {index}")
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        f(&ImageView::grey_u8(self.1, self.2, &self.0[index]).map_err(|e| e.to_string())?);
        Ok(())
    }
}

fn webs(count: u64, first: u64) -> Web {
    Web((0..count).map(|i| web(420, 200, first + i)).collect(), 420, 200)
}

fn fit(images: &dyn Images, options: &TrainOptions, threads: usize) -> Result<Trained, TrainError> {
    train(images, &Backbone::builtin(), options, &Cpu::detect(&Threads::new(threads)), &mut (), None)
}

fn tiled(method: Method) -> TrainOptions {
    let size = if method == Method::CSFLOW { 256 } else { 192 };
    TrainOptions {
        method,
        size: Some(size),
        canvas: Some(Canvas::Native),
        margin: Some(32),
        epochs: Some(2),
        held_out: 0.25,
        ..TrainOptions::default()
    }
}

#[test]
fn every_method_with_a_map_finds_a_spot_where_it_is() {
    let good = webs(12, 100);
    for method in [Method::PADIM, Method::POSFLOW, Method::FASTFLOW, Method::CSFLOW] {
        let trained = fit(&good, &tiled(method), 2).unwrap();
        if method == Method::POSFLOW {
            assert!(fit(&good, &tiled(method), 1).unwrap().model == trained.model, "threads change nothing");
        }
        assert_eq!(trained.held_out_scores.len(), 3, "{method}: whole images are set aside");
        let model = OwnedModel::from_bytes(&trained.model).unwrap();
        let model = model.model();
        assert_eq!((model.about_value("canvas"), model.canvas()), (Some("420x200"), (420, 200)));
        let run = |pixels: &[u8]| score(&model, &ImageView::grey_u8(420, 200, pixels).unwrap(), None).unwrap();
        let highest = webs(4, 900).0.iter().map(|p| run(p).0).fold(0.0, f32::max);
        let (w, h) = model.map_size();
        // In the middle, at a seam, in a corner.
        for (cx, cy) in [(200u32, 100u32), (128, 40), (20, 180)] {
            let mut spoilt = web(420, 200, 901);
            for (x, y) in (0..420u32).flat_map(|x| (0..200u32).map(move |y| (x, y))) {
                if x.abs_diff(cx) < 14 && y.abs_diff(cy) < 14 {
                    spoilt[(y * 420 + x) as usize] = 30;
                }
            }
            let (spoilt, map) = run(&spoilt);
            let peak = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b])).unwrap() as u32;
            let (x, y) = (peak % w * 420 / w, peak / w * 200 / h);
            println!("{method}: {spoilt} at ({x}, {y}) for ({cx}, {cy}); good up to {highest}");
            assert!(spoilt > highest, "{method}: a spot at ({cx}, {cy})");
            assert!(x.abs_diff(cx) <= 40 && y.abs_diff(cy) <= 40, "{method}: the map shows ({x}, {y})");
        }
    }
}

#[test]
fn pixels_outside_change_no_byte_of_a_model() {
    let (w, h) = (420u32, 200u32);
    let mask: Vec<u8> = (0..w * h).map(|i| if (i % w) > 150 && (i / w) > 40 { 255 } else { 0 }).collect();
    let roi = Roi::from_mask(&ImageView::grey_u8(w, h, &mask).unwrap());
    let frames = |seed: u64| {
        let outside = |i: u64| web(w, h, 500 + 31 * seed + i);
        let inside = |i: u64| web(w, h, 50 + i);
        let mix = |i: u64| {
            inside(i).iter().zip(outside(i)).zip(&mask).map(|((a, b), m)| if *m > 0 { *a } else { b }).collect()
        };
        Web((0..8).map(mix).collect(), w, h)
    };
    let (a, b) = (frames(0), frames(1));
    assert!(a.0 != b.0);
    for method in [Method::PADIM, Method::POSFLOW, Method::FASTFLOW, Method::CSFLOW] {
        let options = TrainOptions { roi: roi.clone(), ..tiled(method) };
        let (with_a, with_b) = (fit(&a, &options, 2).unwrap(), fit(&b, &options, 2).unwrap());
        assert!(with_a.model == with_b.model, "{method}: pixels outside changed the model");
        let model = OwnedModel::from_bytes(&with_a.model).unwrap();
        let scored = [&a, &b].map(|frames| {
            let image = ImageView::grey_u8(w, h, &frames.0[2]).unwrap();
            let (score, map) = score(&model.model(), &image, None).unwrap();
            (score.to_bits(), map)
        });
        assert_eq!((scored[0].0, bits_differ(&scored[0].1, &scored[1].1)), (scored[1].0, None), "{method}");
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let good = webs(6, 0);
    let refused = |options: TrainOptions| match fit(&good, &options, 1) {
        Err(TrainError::Options(why)) => why,
        other => panic!("{other:?}"),
    };
    let padim = tiled(Method::PADIM);
    for method in [Method::GAUSS, Method::CDNF, Method::DIFFERNET] {
        assert!(refused(tiled(method)).contains("no map to join"), "{method}");
    }
    assert!(refused(tiled(Method::SSNF)).contains("whole images"));
    assert!(refused(TrainOptions { margin: Some(30), ..padim.clone() }).contains("multiples of 32"));
    assert!(refused(TrainOptions { margin: Some(96), ..padim.clone() }).contains("less than half"));
    assert!(refused(TrainOptions { size: Some(200), ..padim.clone() }).contains("multiples of 32"));
    assert!(refused(TrainOptions { views: Some(4), ..padim.clone() }).contains("one view"));
    assert!(refused(TrainOptions { canvas: Some(Canvas::Pixels(0, 9)), ..padim.clone() }).contains("canvas"));
    assert!(refused(TrainOptions { canvas: None, ..padim.clone() }).contains("canvas"));
    // A map is what joins tiles; a model without one for the user is still one.
    let quiet = fit(&good, &TrainOptions { map: false, held_out: 0.0, ..padim }, 2).unwrap();
    assert_ne!(OwnedModel::from_bytes(&quiet.model).unwrap().model().map_size(), (0, 0));
}
