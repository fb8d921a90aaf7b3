//! Detectors as a whole: what they find, that nothing but images, options and seed decides the file, and what they refuse.

use adflow::backbones::Backbone;
use adflow::calibration::Calibration;
use adflow::cpu::Cpu;
use adflow::detect::{
    Images, MapLevels, Method, Observer, Phase, Pooling, Progress, TrainError, TrainOptions, Trained, train,
};
use adflow::image::ImageView;
use adflow::metrics::image_auroc;
use adflow::model::OwnedModel;
use adflow::rng::Rng;
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;
use adflow::threshold::{Threshold, Verdict};
use adflow_tests::parts::{Frames, SIDE, shapes};
use adflow_tests::{made_weights, shared_backbone};
use std::ops::ControlFlow;

fn options(method: Method) -> TrainOptions {
    TrainOptions { method, size: Some(SIDE), epochs: Some(3), ..TrainOptions::default() }
}

fn fit(images: &dyn Images, options: &TrainOptions, threads: usize) -> Result<Trained, TrainError> {
    train(images, &Backbone::builtin(), options, &Cpu::detect(&Threads::new(threads)), &mut (), None)
}

fn scores(model: &[u8], images: &Frames) -> Vec<f32> {
    let model = OwnedModel::from_bytes(model).unwrap();
    let threads = Threads::new(2);
    let options = ScorerOptions::new().with_map(false);
    let mut memory = vec![0.0; Scorer::memory_len(&model.model(), &options, threads.count()).unwrap()];
    let mut scorer = Scorer::new(model.model(), &options, Cpu::detect(&threads), &mut memory).unwrap();
    images.0.iter().map(|f| scorer.score(&ImageView::grey_u8(SIDE, SIDE, f).unwrap()).unwrap()).collect()
}

/// AUROC of telling circles from squares, having seen squares only: what DifferNet's authors check their code with.
fn circles_among_squares(squares: u64, options: &TrainOptions) -> f64 {
    let trained = fit(&shapes(1, squares, false), options, 2).unwrap();
    let (test_good, test_bad) = (shapes(2, 24, false), shapes(3, 24, true));
    let mut all = scores(&trained.model, &test_good);
    all.extend(scores(&trained.model, &test_bad));
    let labels: Vec<bool> = (0..all.len()).map(|i| i >= test_good.0.len()).collect();
    let auroc = image_auroc(&all, &labels);
    println!("{}: AUROC {auroc:.4}", options.method);
    auroc
}

#[test]
fn closed_form_methods_tell_circles_from_squares() {
    assert!(circles_among_squares(48, &options(Method::GAUSS)) >= 0.99);
    assert!(circles_among_squares(48, &options(Method::PADIM)) >= 0.9);
}

/// Random weights: what is tested is that features reach the method, drawn where there are many, and come back as scores.
#[test]
fn networks_from_files_train_and_score() {
    for name in ["resnet18", "efficientnet_b5"] {
        let backbone = made_weights::backbone(name);
        for (method, epochs, pooling) in [
            (Method::PADIM, None, Pooling::Mean),
            (Method::CDNF, Some(1), Pooling::Mean),
            (Method::DIFFERNET, Some(1), Pooling::Statistics),
        ] {
            let size = (pooling == Pooling::Statistics).then_some(160).or(Some(SIDE));
            let options = TrainOptions { size, epochs, pooling, held_out: 0.0, map: false, ..options(method) };
            let threads = Threads::new(2);
            let good = shapes(1, 12, false);
            let trained = train(&good, &backbone, &options, &Cpu::detect(&threads), &mut (), None).unwrap();
            let all = scores(&trained.model, &shapes(3, 4, true));
            println!("{name} {method}: {} bytes, {all:?}", trained.model.len());
            assert!(all.iter().all(|s| s.is_finite()) && all.iter().any(|s| *s != all[0]), "{name} {method}: {all:?}");
        }
    }
}

/// An epoch is six steps here, so the steps are longer than usual.
fn flow_options(method: Method, epochs: u32, learning_rate: f32) -> TrainOptions {
    let (epochs, learning_rate) = (Some(epochs), Some(learning_rate));
    TrainOptions { epochs, learning_rate, held_out: 0.0, map: false, ..options(method) }
}

#[test]
fn cdnf_tells_circles_from_squares() {
    assert_eq!(circles_among_squares(144, &flow_options(Method::CDNF, 20, 1e-3)), 1.0);
}

#[test]
fn flows_on_maps_tell_circles_from_squares() {
    for (method, epochs, learning_rate) in [
        (Method::CSFLOW, 20, 1e-3),
        (Method::FASTFLOW, 10, 1e-3),
        (Method::SSNF, 10, 1e-3),
        (Method::POSFLOW, 10, 2e-3),
    ] {
        let options = TrainOptions { size: Some(64), ..flow_options(method, epochs, learning_rate) };
        assert_eq!(circles_among_squares(144, &options), 1.0, "{method}");
    }
}

/// What a flow on maps is given has mean square 1 in each dimension, half a nat: more than that after training says that it was not
/// normalised, or that nothing was learned.
#[test]
fn flows_on_maps_become_likelier_than_noise() {
    // SSNF's loss has half a nat for anomalies that are as likely as that besides, so it gets longer.
    for (method, epochs, learning_rate) in
        [(Method::CSFLOW, 3, 1e-3), (Method::FASTFLOW, 3, 1e-3), (Method::SSNF, 8, 2e-3), (Method::POSFLOW, 3, 2e-3)]
    {
        let options = TrainOptions { size: Some(64), ..flow_options(method, epochs, learning_rate) };
        let loss = fit(&shapes(1, 48, false), &options, 2).unwrap().final_loss.unwrap();
        println!("{method}: {loss}");
        assert!(loss < 0.5, "{method}: {loss}");
    }
}

#[test]
fn differnet_tells_circles_from_squares() {
    assert_eq!(circles_among_squares(144, &flow_options(Method::DIFFERNET, 40, 1e-3)), 1.0);
}

const FLOWS: [Method; 6] =
    [Method::CDNF, Method::DIFFERNET, Method::CSFLOW, Method::FASTFLOW, Method::SSNF, Method::POSFLOW];

#[test]
fn flows_train_whatever_the_seed() {
    let good = shapes(5, 18, false);
    for method in FLOWS {
        // The flows on pooled features take seconds to draw; `benches/RESULTS.md` has twenty seeds of theirs.
        let seeds = if [Method::CDNF, Method::DIFFERNET].contains(&method) { 2 } else { 20 };
        for seed in 0..seeds {
            let options = TrainOptions { seed, size: Some(64), epochs: Some(2), map: false, ..options(method) };
            let trained = fit(&good, &options, 2).unwrap_or_else(|e| panic!("{method}, seed {seed}: {e}"));
            let loss = trained.final_loss.unwrap();
            assert!(loss.is_finite() && trained.held_out_scores.iter().all(|s| s.is_finite()), "{method}, seed {seed}");
        }
    }
}

#[test]
fn a_loss_that_is_no_number_ends_training_with_the_step() {
    // Steps so long that no flow survives them. The first one still sees a finite loss.
    for method in [Method::DIFFERNET, Method::CSFLOW, Method::POSFLOW] {
        let options = TrainOptions { size: Some(64), learning_rate: Some(1.0), epochs: Some(100), ..options(method) };
        let error = fit(&shapes(5, 18, false), &options, 2).unwrap_err();
        assert!(matches!(error, TrainError::NotFinite { step: 2.., epoch: 1.. }), "{method}: {error}");
        assert!(error.to_string().contains("at step "), "{error}");
    }
}

#[test]
fn maps_of_several_grids_are_joined_as_asked() {
    let good = shapes(1, 12, false);
    let map = |method, levels| {
        let options = TrainOptions { size: Some(64), epochs: Some(1), map_levels: Some(levels), ..options(method) };
        let trained = fit(&good, &options, 2).unwrap();
        let (model, threads) = (OwnedModel::from_bytes(&trained.model).unwrap(), Threads::new(2));
        let options = ScorerOptions::default();
        let mut memory = vec![0.0; Scorer::memory_len(&model.model(), &options, threads.count()).unwrap()];
        let mut scorer = Scorer::new(model.model(), &options, Cpu::detect(&threads), &mut memory).unwrap();
        let mut map = vec![0.0; 64 * 64];
        let score = scorer.score_with_map(&ImageView::grey_u8(SIDE, SIDE, &good.0[3]).unwrap(), &mut map).unwrap();
        (score, map)
    };
    let [product, sum, finest] =
        [MapLevels::Product, MapLevels::Sum, MapLevels::Finest].map(|l| map(Method::CSFLOW, l));
    // CS-Flow's score is that of the latents.
    assert!(product.0 == sum.0 && sum.0 == finest.0);
    // Energies are not negative, and each scale adds something.
    assert!(sum.1.iter().zip(&finest.1).all(|(s, f)| s > f && *f > 0.0));
    assert!(product.1 != sum.1 && product.1 != finest.1);
    let pooled = TrainOptions { map_levels: Some(MapLevels::Sum), ..options(Method::CDNF) };
    assert!(matches!(fit(&good, &pooled, 1), Err(TrainError::Options(_))));
}

/// Cancels at step `at` and keeps the checkpoint.
struct Interrupt {
    at: usize,
    seen: usize,
    checkpoint: Option<Vec<u8>>,
}

impl Observer for Interrupt {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        // Whitening comes before the first epoch and leaves nothing to resume from.
        if progress.phase == Phase::Train && progress.epochs > 0 {
            self.seen += 1;
        }
        if self.seen > self.at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        self.checkpoint = Some(bytes.to_vec());
    }
}

#[test]
fn threads_and_interruptions_change_no_byte() {
    let good = shapes(4, 30, false);
    for method in
        [Method::CDNF, Method::POSFLOW, Method::CSFLOW, Method::FASTFLOW, Method::SSNF, Method::GAUSS, Method::PADIM]
    {
        let options = TrainOptions { epochs: Some(2), size: Some(64), ..options(method) };
        let one = fit(&good, &options, 1).unwrap();
        let three = fit(&good, &options, 3).unwrap();
        assert!(one.model == three.model, "{method}: the number of threads changed the model");
        let other = fit(&good, &TrainOptions { seed: 1, ..options.clone() }, 2).unwrap();
        assert!(one.model != other.model, "{method}: the seed changed nothing");
        if ![Method::CDNF, Method::POSFLOW, Method::SSNF].contains(&method) {
            continue;
        }
        let (backbone, threads) = (Backbone::builtin(), Threads::new(2));
        for at in [0, 1, 2, 3] {
            let mut observer = Interrupt { at, seen: 0, checkpoint: None };
            let error = train(&good, &backbone, &options, &Cpu::detect(&threads), &mut observer, None).unwrap_err();
            assert_eq!(error, TrainError::Cancelled);
            let checkpoint = observer.checkpoint.expect("a cancelled training leaves a checkpoint");
            let resumed =
                train(&good, &backbone, &options, &Cpu::detect(&threads), &mut (), Some(&checkpoint)).unwrap();
            assert!(resumed.model == one.model, "an interruption at step {at} changed the model");
            let other = TrainOptions { seed: 5, ..options.clone() };
            let refused =
                train(&good, &backbone, &other, &Cpu::detect(&threads), &mut (), Some(&checkpoint)).unwrap_err();
            assert!(matches!(refused, TrainError::Checkpoint(_)), "{refused}");
        }
    }
}

#[test]
fn the_threshold_comes_from_parts_that_did_not_train() {
    let good = shapes(6, 40, false);
    let trained = fit(&good, &TrainOptions { held_out: 0.25, false_reject: 0.2, ..options(Method::GAUSS) }, 2).unwrap();
    let model = OwnedModel::from_bytes(&trained.model).unwrap();
    let threshold = model.model().threshold().expect("parts were held out");
    assert_eq!(model.model().held_out_scores(), trained.held_out_scores);
    assert!((5..=14).contains(&trained.held_out_scores.len()), "{}", trained.held_out_scores.len());
    assert_eq!(threshold.held_out as usize, trained.held_out_scores.len());
    let rejected = trained.held_out_scores.iter().filter(|s| threshold.verdict(**s) == Verdict::Defective).count();
    assert!(rejected as f64 <= 0.2 * trained.held_out_scores.len() as f64);
    // The scores are those of the deployed detector.
    let all = scores(&trained.model, &good);
    assert!(trained.held_out_scores.iter().all(|s| all.contains(s)));
    let none = fit(&good, &TrainOptions { held_out: 0.0, ..options(Method::GAUSS) }, 2).unwrap();
    assert_eq!(OwnedModel::from_bytes(&none.model).unwrap().model().threshold(), None);
}

#[test]
fn a_limit_set_by_hand_promises_nothing() {
    let trained = fit(&shapes(6, 40, false), &TrainOptions { held_out: 0.25, ..options(Method::GAUSS) }, 2).unwrap();
    let model = OwnedModel::from_bytes(&trained.model).unwrap();
    let own = model.model().threshold();
    let claim = Threshold { reject: 1.0, accept: None, false_reject: 0.01, confidence: 0.95, held_out: 300 };
    let set = model.with_threshold(Some(&claim)).unwrap();
    assert_eq!(set.model().threshold(), Some(Threshold::manual(1.0)));
    let found = Calibration::new(&trained.held_out_scores, &[]).and_then(|good| good.threshold(0.2, 0.9));
    assert_eq!(set.with_threshold(found.as_ref()).unwrap().model().threshold(), found);
    assert_eq!(model.with_threshold(own.as_ref()).unwrap().model().threshold(), own);
    assert!(model.with_threshold(Some(&Threshold { confidence: 2.0, ..claim })).is_err());
}

#[test]
fn what_cannot_be_learned_is_refused() {
    for &method in Method::ALL {
        // A side that every method takes: CS-Flow's maps must halve twice.
        let options = TrainOptions { size: Some(64), ..options(method) };
        let few = fit(&shapes(7, 2, false), &options, 1).unwrap_err();
        assert_eq!(few, TrainError::TooFewImages { found: 2, needed: 5 });
        let black = Frames(vec![vec![0; (SIDE * SIDE) as usize]; 12]);
        assert_eq!(fit(&black, &options, 1).unwrap_err(), TrainError::NoVariation, "{method}");
    }
    let wrong = [
        TrainOptions { false_reject: 0.0, ..options(Method::GAUSS) },
        TrainOptions { confidence: 1.0, ..options(Method::GAUSS) },
        TrainOptions { held_out: f64::NAN, ..options(Method::GAUSS) },
        TrainOptions { size: Some(31), ..options(Method::GAUSS) },
        TrainOptions { views: Some(0), ..options(Method::GAUSS) },
        TrainOptions { epochs: Some(0), ..options(Method::CDNF) },
        TrainOptions { learning_rate: Some(f32::NAN), ..options(Method::CDNF) },
        TrainOptions { size: Some(48), ..options(Method::CSFLOW) },
        TrainOptions { pooling: Pooling::Statistics, ..options(Method::PADIM) },
    ];
    for options in wrong {
        let error = fit(&shapes(8, 12, false), &options, 1).unwrap_err();
        assert!(matches!(error, TrainError::Options(_)), "{error}");
    }
    // The tap has a channel for each field instead of positions.
    for method in [Method::GAUSS, Method::DIFFERNET, Method::CDNF] {
        let options = TrainOptions { pooling: Pooling::Statistics, ..options(method) };
        let error = fit(&shapes(8, 12, false), &options, 1).unwrap_err().to_string();
        assert!(error.contains("builtin's builtin.layout has one only"), "{error}");
    }
}

/// Images of which one cannot be read.
struct Broken(Frames, usize);

impl Images for Broken {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        if index == self.1 { Err("truncated".into()) } else { self.0.with(index, f) }
    }
}

#[test]
fn an_image_that_cannot_be_read_is_named() {
    let error = fit(&Broken(shapes(9, 12, false), 7), &options(Method::GAUSS), 1).unwrap_err();
    assert_eq!(error.to_string(), "frame 7: truncated");
}

/// A texture that differs from frame to frame, and a bright spot in it.
fn texture(seed: u64, index: u64, side: u32, spot: Option<(f32, f32)>) -> Vec<u8> {
    let mut rng = Rng::new(seed, index, 9);
    let light = rng.range(95.0..105.0);
    let mut pixel = |p: u32| {
        let (x, y) = ((p % side) as f32, (p / side) as f32);
        let distance = spot.map_or(f32::MAX, |(cx, cy)| (x - cx).hypot(y - cy));
        (light + rng.range(-12.0..12.0) + if distance < 6.0 { 110.0 } else { 0.0 }) as u8
    };
    (0..side * side).map(&mut pixel).collect()
}

/// Frames of any side.
struct Squares(u32, Vec<Vec<u8>>);

impl Images for Squares {
    fn len(&self) -> usize {
        self.1.len()
    }

    fn name(&self, index: usize) -> String {
        format!("square {index}")
    }

    fn with(&self, index: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        f(&ImageView::grey_u8(self.0, self.0, &self.1[index]).map_err(|e| e.to_string())?);
        Ok(())
    }
}

/// Mean distance, right and down, of the middle of the map's highest part from a spot, over spots in all quarters.
fn map_offset(backbone: &Backbone, side: u32, views: u32) -> (f32, f32) {
    let good = Squares(side, (0..24).map(|i| texture(1, i, side, None)).collect());
    let options = TrainOptions { size: Some(side), views: Some(views), held_out: 0.0, ..options(Method::PADIM) };
    let trained = train(&good, backbone, &options, &Cpu::detect(&Threads::new(2)), &mut (), None).unwrap();
    let model = OwnedModel::from_bytes(&trained.model).unwrap();
    let threads = Threads::new(2);
    let options = ScorerOptions::default();
    let mut memory = vec![0.0; Scorer::memory_len(&model.model(), &options, threads.count()).unwrap()];
    let mut scorer = Scorer::new(model.model(), &options, Cpu::detect(&threads), &mut memory).unwrap();
    let mut map = vec![0.0; (side * side) as usize];
    // Places that are spread evenly over the steps of a grid, so that its coarseness cancels.
    let places: Vec<(f32, f32)> = (0..16)
        .map(|i| {
            (side as f32 * (0.25 + i as f32 / 32.0) + i as f32 * 2.1, side as f32 * (0.72 - (i * 7 % 16) as f32 / 35.0))
        })
        .collect();
    let mut sum = (0.0, 0.0);
    for (i, &(x, y)) in places.iter().enumerate() {
        let frame = texture(2, i as u64, side, Some((x, y)));
        scorer.score_with_map(&ImageView::grey_u8(side, side, &frame).unwrap(), &mut map).unwrap();
        let most = map.iter().copied().fold(f32::MIN, f32::max);
        let mut middle = (0.0f64, 0.0f64, 0.0f64);
        for (p, &m) in map.iter().enumerate().filter(|(_, m)| **m > 0.6 * most) {
            let weight = f64::from(m - 0.6 * most);
            let (px, py) = ((p as u32 % side) as f64, (p as u32 / side) as f64);
            middle = (middle.0 + weight * px, middle.1 + weight * py, middle.2 + weight);
        }
        let (dx, dy) = ((middle.0 / middle.2) as f32 - x, (middle.1 / middle.2) as f32 - y);
        println!("{} {side} {views}: spot at ({x:.0}, {y:.0}), map off by ({dx:.1}, {dy:.1})", backbone.name());
        sum = (sum.0 + dx / places.len() as f32, sum.1 + dy / places.len() as f32);
    }
    sum
}

#[test]
fn a_spot_lies_in_the_map_where_it_lies_in_the_image() {
    for (side, views) in [(448, 1), (320, 1), (320, 4)] {
        let (x, y) = map_offset(&Backbone::builtin(), side, views);
        assert!(x.abs() < 4.0 && y.abs() < 4.0, "builtin at {side}, {views} views: off by ({x}, {y})");
    }
    let Some(file) = shared_backbone("mobilenet_v2_1.0_224.safetensors") else { return };
    let backbone = Backbone::open(file).unwrap();
    let (x, y) = map_offset(&backbone, 224, 1);
    assert!(x.abs() < 3.0 && y.abs() < 3.0, "MobileNetV2: off by ({x}, {y})");
}
