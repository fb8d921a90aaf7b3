//! CDNF's contrastive phase: its loss, that nothing but images, options and seed decides the file, and what it refuses.

use adflow::backbones::Backbone;
use adflow::cpu::Cpu;
use adflow::detect::{
    AnomalySources, Contrastive, Images, Method, Observer, Phase, Pooling, Preset, Progress, TrainError, TrainOptions,
    Trained, train, train_with,
};
use adflow::graph::Graph;
use adflow::image::ImageView;
use adflow::kernels::activation::Activation;
use adflow::model::OwnedModel;
use adflow::op::{Adam, BatchMean, BatchMix, Cosine, Linear, Triplet};
use adflow::params::Params;
use adflow::place::{Reuse, place};
use adflow::rng::Rng;
use adflow::shape::Shape;
use adflow::threads::Threads;
use adflow_tests::made_weights;
use adflow_tests::owned::Owned;
use adflow_tests::parts::{self, Frames, shapes};
use std::ops::ControlFlow;

/// Loss of two-dimensional embeddings; each anomaly is its own mixture.
fn loss(embeddings: &[[f32; 2]], roles: &[f32]) -> f32 {
    let batch = embeddings.len();
    let (mut g, params) = (Graph::new(), Params::new());
    let vector = Shape::vector;
    let (z, pair, role) = (g.input("z", vector(2)), g.input("pair", vector(2)), g.input("role", vector(2)));
    let samples = batch as u32;
    let mixed = g.emit("mixed", BatchMix {}, &[z, pair]).unwrap();
    let p = g.emit("p", Cosine { samples }, &[z, z]).unwrap();
    let q = g.emit("q", Cosine { samples }, &[z, mixed]).unwrap();
    let y = g.emit("y", Triplet { sigma: 0.5, margin: 0.5 }, &[p, q, role]).unwrap();
    let mean = g.emit("mean", BatchMean {}, &[y]).unwrap();
    g.output("loss", mean);
    let program = place("loss", &g, &params.layout(), Reuse::Share).unwrap();
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut owned = Owned::new(&program.program(), batch, cpu, &[], f32::NAN).unwrap();
    let mut session = owned.session(program.program(), batch, cpu).unwrap();
    let pairs: Vec<f32> = (0..batch).flat_map(|n| [n as f32, 0.3]).collect();
    let roles: Vec<f32> = roles.iter().flat_map(|r| [*r, -*r]).collect();
    session.input("z").unwrap().copy_from_slice(embeddings.as_flattened());
    session.input("pair").unwrap().copy_from_slice(&pairs);
    session.input("role").unwrap().copy_from_slice(&roles);
    session.run();
    session.output("loss").unwrap()[0]
}

#[test]
fn nothing_is_lost_where_normal_samples_coincide_and_anomalies_are_orthogonal() {
    let roles = [1.0, 1.0, 1.0, -1.0, -1.0];
    // Lengths do not matter.
    assert_eq!(loss(&[[1.0, 0.0], [2.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 3.0]], &roles), 0.0);
    // All alike: each hinge is the margin.
    assert!((loss(&[[1.0, 1.0]; 5], &roles) - 0.5).abs() < 1e-5);
    // The wrong way round it is dear: P = e^{−2√2}, Q = 1 and P again for the other anomalies.
    let wrong = loss(&[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]], &[1.0, 1.0, -1.0, -1.0]);
    let far = (-2.0 * 2.0f32.sqrt()).exp();
    assert!((wrong - (0.5 * (1.0 - far + 0.5) + 0.5 * 0.5)).abs() < 1e-5, "{wrong}");
    // Neither pairs of normal samples nor anomalies: nothing to compare.
    assert_eq!(loss(&[[1.0, 0.0], [0.0, 1.0]], &[1.0, -1.0]), 0.0);
    assert_eq!(loss(&[[1.0, 0.0], [0.0, 1.0]], &[1.0, 0.0]), 0.0);
    assert!(loss(&[[f32::NAN, 0.0], [0.0, 1.0], [1.0, 1.0]], &[1.0, 1.0, -1.0]).is_nan());
}

/// Good parts and anomalies that differ in two of eight features, in which good parts hardly differ, and a linear embedding of
/// them: it learns to look there.
#[test]
fn training_tells_parts_apart() {
    const GOOD: usize = 8;
    const BATCH: usize = 12;
    let vector = Shape::vector;
    let (mut g, mut params) = (Graph::new(), Params::new());
    let mut rng = Rng::new(11, 0, 0);
    params.add("w", Shape([1, 4, 8, 1]), true, (0..32).map(|_| 0.3 * rng.normal() as f32).collect()).unwrap();
    let (x, pair, role) = (g.input("x", vector(8)), g.input("pair", vector(2)), g.input("role", vector(2)));
    let w = g.param(&params, "w").unwrap();
    let z = g.emit("z", Linear::dense(Activation::None), &[x, w]).unwrap();
    let samples = BATCH as u32;
    let mixed = g.emit("mixed", BatchMix {}, &[z, pair]).unwrap();
    let p = g.emit("p", Cosine { samples }, &[z, z]).unwrap();
    let q = g.emit("q", Cosine { samples }, &[z, mixed]).unwrap();
    let y = g.emit("y", Triplet { sigma: 0.5, margin: 0.5 }, &[p, q, role]).unwrap();
    let mean = g.emit("mean", BatchMean {}, &[y]).unwrap();
    g.output("loss", mean);
    g.train(mean, &params, Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: 0.0 }).unwrap();
    let program = place("step", &g, &params.layout(), Reuse::Share).unwrap();
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut owned = Owned::new(&program.program(), BATCH, cpu, &params.pack(), f32::NAN).unwrap();
    let mut session = owned.session(program.program(), BATCH, cpu).unwrap();
    let pairs: Vec<f32> = (0..BATCH).flat_map(|n| [n as f32, 1.0]).collect();
    let roles: Vec<f32> = (0..BATCH).flat_map(|n| [if n < GOOD { 1.0 } else { -1.0 }, 0.0]).collect();
    let mut losses = Vec::new();
    for step in 0..300 {
        let mut rng = Rng::new(12, step, 0);
        for (n, x) in session.input("x").unwrap().chunks_exact_mut(8).enumerate() {
            x.iter_mut().for_each(|x| *x = rng.normal() as f32);
            let sign = if n < GOOD { 1.0 } else { -1.0 };
            x[..2].iter_mut().for_each(|x| *x = sign + 0.1 * *x);
        }
        session.input("pair").unwrap().copy_from_slice(&pairs);
        session.input("role").unwrap().copy_from_slice(&roles);
        session.input("control").unwrap().copy_from_slice(&[0.02, step as f32 + 1.0]);
        session.run();
        losses.push(session.output("loss").unwrap()[0]);
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..10]), mean(&losses[290..]));
    assert!(first > 0.2 && last < 0.1 * first, "{first} {last}");
}

fn options(epochs: u32, learning_rate: f32) -> TrainOptions {
    let contrastive = Some(Contrastive { epochs, learning_rate });
    TrainOptions {
        method: Method::CDNF,
        size: Some(64),
        epochs: Some(1),
        map: false,
        contrastive,
        ..TrainOptions::default()
    }
}

fn fit(
    good: &Frames,
    others: AnomalySources<'_>,
    backbone: &Backbone,
    options: &TrainOptions,
    threads: usize,
) -> Result<Trained, TrainError> {
    let threads = Threads::new(threads);
    train_with(good, others, backbone, options, &Cpu::detect(&threads), &mut (), None)
}

fn about(trained: &Trained, key: &str) -> String {
    let model = OwnedModel::from_bytes(&trained.model).unwrap();
    model.model().about().find(|(k, _)| *k == key).map(|(_, v)| v.to_string()).unwrap_or_default()
}

/// Cancels at a step of a phase and keeps the checkpoint.
struct Interrupt {
    phase: Phase,
    at: usize,
    checkpoint: Option<Vec<u8>>,
}

impl Observer for Interrupt {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.phase == self.phase && progress.done == self.at {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        self.checkpoint = Some(bytes.to_vec());
    }
}

#[test]
fn threads_and_interruptions_change_no_byte() {
    let (good, circles, textures) = (shapes(1, 14, false), shapes(2, 3, true), shapes(3, 2, true));
    let backbone = made_weights::backbone("mobilenet_v2");
    let others = AnomalySources { defects: Some(&circles), textures: Some(&textures) };
    let options = options(3, 1e-4);
    let one = fit(&good, others, &backbone, &options, 1).unwrap();
    let three = fit(&good, others, &backbone, &options, 3).unwrap();
    assert!(one.model == three.model, "the number of threads changed the model");
    for (phase, at) in [(Phase::Adapt, 0), (Phase::Adapt, 2), (Phase::Train, 0)] {
        let threads = Threads::new(2);
        let device = Cpu::detect(&threads);
        let mut observer = Interrupt { phase, at, checkpoint: None };
        let error = train_with(&good, others, &backbone, &options, &device, &mut observer, None).unwrap_err();
        assert_eq!(error, TrainError::Cancelled);
        let state = observer.checkpoint.expect("a cancelled training leaves a checkpoint");
        let resume = |others: AnomalySources<'_>, state: &[u8]| {
            train_with(&good, others, &backbone, &options, &device, &mut (), Some(state))
        };
        assert!(resume(others, &state).unwrap().model == one.model, "an interruption in {phase:?} changed the model");
        // Other defects make another training, and half a checkpoint none.
        let other = AnomalySources { defects: Some(&textures), ..others };
        for refused in [resume(other, &state), resume(others, &state[..state.len() / 2])] {
            assert!(matches!(refused, Err(TrainError::Checkpoint(_))), "{phase:?}");
        }
    }
}

#[test]
fn the_model_keeps_adapted_weights_in_place_of_the_first_ones() {
    let (good, backbone) = (shapes(4, 12, false), made_weights::backbone("mobilenet_v2"));
    let adapted = fit(&good, AnomalySources::default(), &backbone, &options(6, 3e-4), 2).unwrap();
    let plain =
        fit(&good, AnomalySources::default(), &backbone, &TrainOptions { contrastive: None, ..options(1, 1e-4) }, 2)
            .unwrap();
    let length = |t: &Trained| t.model.len() as i64;
    assert!((length(&adapted) - length(&plain)).abs() < 4096, "{} and {} bytes", length(&adapted), length(&plain));
    let (a, b) = [&adapted, &plain].map(|t| OwnedModel::from_bytes(&t.model).unwrap()).into();
    assert_ne!(a.model().params(), b.model().params());
    assert_eq!(about(&adapted, "backbone_digest"), about(&plain, "backbone_digest"));
    for key in ["adapted_loss", "adapted_spread"] {
        let value: f64 = about(&adapted, key).parse().unwrap();
        assert!(value.is_finite() && value > 0.0, "{key} {value}");
    }
}

/// The features of a part under a model's network, as the flow sees them.
fn features(trained: &Trained, part: &[u8]) -> Vec<f32> {
    let owned = OwnedModel::from_bytes(&trained.model).unwrap();
    let model = owned.model();
    let program = model.program("features").unwrap();
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut memory = Owned::new(&program, 1, cpu, model.params(), f32::NAN).unwrap();
    let mut session = memory.session(program, 1, cpu).unwrap();
    let how = model.preprocess();
    let view = ImageView::grey_u8(parts::SIDE, parts::SIDE, part).unwrap();
    let mut scratch = vec![0.0; how.scratch_len(view.width(), view.height())];
    how.apply(&view, &mut scratch, session.input("image").unwrap()).unwrap();
    session.run();
    session.output("features").unwrap().to_vec()
}

#[test]
fn good_parts_are_held_where_they_were() {
    let (good, backbone) = (shapes(9, 12, false), made_weights::backbone("mobilenet_v2"));
    let fit = |preset: Preset, contrastive: Option<Contrastive>| {
        let options = TrainOptions { preset, views: Some(4), contrastive, ..options(1, 1e-5) };
        fit(&good, AnomalySources::default(), &backbone, &options, 2).unwrap()
    };
    let phase = Some(Contrastive { epochs: 8, learning_rate: 1e-5 });
    let [plain, held, free] = [(Preset::Fast, None), (Preset::Fast, phase), (Preset::Paper, phase)]
        .map(|(preset, phase)| fit(preset, phase))
        .map(|trained| good.0.iter().map(|part| features(&trained, part)).collect::<Vec<_>>());
    let moved = |now: &[Vec<f32>]| {
        let pairs = plain.concat().into_iter().zip(now.concat());
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    println!("good parts' features moved by {} held, {} free", moved(&held), moved(&free));
    assert!(moved(&held) < 0.7 * moved(&free));
}

#[test]
fn networks_from_files_are_adapted() {
    let good = shapes(5, 6, false);
    // AlexNet sees a quarter of the side as well, and needs 63 pixels.
    for (name, side, pooling) in
        [("resnet18", 64, Pooling::Mean), ("resnet18", 128, Pooling::Statistics), ("alexnet", 256, Pooling::Mean)]
    {
        let options = TrainOptions { size: Some(side), pooling, ..options(1, 1e-5) };
        let trained = fit(&good, AnomalySources::default(), &made_weights::backbone(name), &options, 2);
        assert_eq!(about(&trained.unwrap(), "adapted_epochs"), "1", "{name}");
    }
}

#[test]
fn a_rate_that_breaks_the_backbone_is_an_error_that_says_when() {
    // Without normalisation nothing holds the activations.
    let (good, alexnet) = (shapes(8, 12, false), made_weights::backbone("alexnet"));
    let options = TrainOptions { size: Some(256), ..options(3, 1.0) };
    match fit(&good, AnomalySources::default(), &alexnet, &options, 2).err() {
        Some(TrainError::NotFinite { step, epoch }) => assert!(step >= 1 && epoch >= 1),
        Some(TrainError::Broken { epoch, spread }) => assert!(epoch >= 1 && !(0.05..=20.0).contains(&spread)),
        other => panic!("{other:?}"),
    }
}

/// An image that cannot be read.
struct Broken;

impl Images for Broken {
    fn len(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        "dent.png".into()
    }

    fn with(&self, _: usize, _: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        Err("truncated".into())
    }
}

#[test]
fn what_cannot_be_adapted_is_refused() {
    let (good, mobilenet) = (shapes(6, 12, false), made_weights::backbone("mobilenet_v2"));
    let error = |others: AnomalySources<'_>, backbone: &Backbone, options: &TrainOptions| {
        fit(&good, others, backbone, options, 1).unwrap_err().to_string()
    };
    let (none, circles) = (AnomalySources::default(), shapes(7, 2, true));
    for backbone in [Backbone::builtin(), made_weights::backbone("efficientnet_b5")] {
        let text = error(none, &backbone, &options(1, 1e-5));
        assert!(text.contains(backbone.name()) && text.contains("mobilenet_v2, alexnet"), "{text}");
    }
    let other = TrainOptions { method: Method::PADIM, ..options(1, 1e-5) };
    assert!(error(none, &mobilenet, &other).contains("only cdnf"));
    assert!(error(none, &mobilenet, &options(0, 1e-5)).contains("epochs"));
    assert!(error(none, &mobilenet, &options(1, f32::NAN)).contains("learning rate"));
    let defects = AnomalySources { defects: Some(&circles), textures: None };
    let plain = TrainOptions { contrastive: None, ..options(1, 1e-5) };
    assert!(error(defects, &mobilenet, &plain).contains("was not asked for"));
    let broken = AnomalySources { defects: Some(&Broken), textures: None };
    assert_eq!(error(broken, &mobilenet, &options(1, 1e-5)), "dent.png: truncated");
    let black = Frames(vec![vec![0; good.0[0].len()]; 12]);
    let device = Threads::new(1);
    let result = train(&black, &mobilenet, &options(1, 1e-5), &Cpu::detect(&device), &mut (), None);
    assert_eq!(result.unwrap_err(), TrainError::NoVariation);
}
