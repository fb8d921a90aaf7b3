//! Whole programs on Vulkan: in lock-step with the CPU, training included, whatever the device asks for and however it fails.

use adflow::backbones::{Backbone, Pooling};
use adflow::cpu::Cpu;
use adflow::detect::{
    AnomalySources, Contrastive, Images, Method, Observer, Phase, Progress, TrainError, TrainOptions, Trained, train,
    train_with,
};
use adflow::executor::{CpuExecutor, Device, Executor};
use adflow::flows::{DenseFlow, DifferNetFlow, FastFlow, Ssnf};
use adflow::graph::Graph;
use adflow::image::ImageView;
use adflow::lockstep::lockstep;
use adflow::metrics::image_auroc;
use adflow::model::OwnedModel;
use adflow::op::{BatchMean, SquareSum};
use adflow::params::Params;
use adflow::place::{Reuse, place};
use adflow::plan::{BLOCK, Program, Region};
use adflow::rng::Rng;
use adflow::score::{Scorer, ScorerOptions};
use adflow::shape::Shape;
use adflow::threads::Threads;
use adflow_tests::compare::bits_differ;
use adflow_tests::flows::Flow;
use adflow_tests::parts::{Frames, SIDE, shapes};
use adflow_tests::{made_weights, models, vulkan};
use adflow_vulkan::fault::{self, Site};
use adflow_vulkan::{Precision, VulkanDevice, VulkanOptions};
use std::ops::ControlFlow;

fn options(method: Method) -> TrainOptions {
    TrainOptions { method, size: Some(64), views: Some(2), epochs: Some(2), ..TrainOptions::default() }
}

fn fit(images: &dyn Images, options: &TrainOptions, device: &dyn Device) -> Trained {
    train(images, &Backbone::builtin(), options, device, &mut (), None).expect("a model")
}

/// Fails where the two sides disagree on an op of the program.
fn assert_lockstep(device: &VulkanDevice, cpu: Cpu<'_>, program: Program<'_>, params: &[f32], batch: usize) {
    let floats = |region| program.blocks(region) as usize * BLOCK;
    let (grads, state) = (floats(Region::Grads), floats(Region::State));
    let mut lhs = CpuExecutor::new(cpu, params, grads, state);
    let mut rhs = device.open_executor(params, grads, state).expect("an executor");
    let mut fill = |name: &str, values: &mut [f32]| match name {
        "control" => values.copy_from_slice(&[1e-3, 3.0]),
        _ => {
            let mut rng = Rng::new(11, 0, values.len() as u32);
            // As wide as features: far outside the flow's exponentials leave the range of numbers.
            values.iter_mut().for_each(|v| *v = rng.range(-0.03..0.03));
        }
    };
    let mismatch = lockstep(program, batch, params, &mut fill, &mut lhs, &mut rhs).expect("both run");
    if let Some(mismatch) = mismatch {
        panic!("{}: {mismatch}", program.name());
    }
}

#[test]
fn every_program_of_every_method_agrees_op_by_op() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let (threads, good) = (Threads::new(2), shapes(1, 12, false));
    let cpu = Cpu::detect(&threads);
    let resnet = made_weights::backbone("resnet18");
    let statistics = TrainOptions { pooling: Pooling::Statistics, size: Some(128), ..options(Method::GAUSS) };
    let builtin = Method::ALL.iter().map(|&method| (Backbone::builtin(), options(method)));
    for (backbone, options) in builtin.into_iter().chain([(resnet, statistics)]) {
        let method = options.method;
        let trained = train(&good, &backbone, &options, &cpu, &mut (), None).expect("a model");
        let model = OwnedModel::from_bytes(&trained.model).unwrap();
        for program in model.model().programs() {
            println!("{method} {}: {} ops", program.name(), program.len());
            assert_lockstep(&device, cpu, program, model.model().params(), 2);
        }
    }
    vulkan::assert_silent();
}

#[test]
fn backbones_agree_op_by_op_forward_and_backward() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let threads = Threads::new(2);
    for name in ["mobilenet_v2", "alexnet", "resnet18", "efficientnet_b5"] {
        let backbone = made_weights::backbone(name);
        let (mut g, mut params) = (Graph::new(), Params::new());
        let image = g.input("image", Shape::chw(3, 64, 64));
        let y = backbone.pooled(&mut g, &mut params, "", image, 1, backbone.pooled_taps(), Pooling::Mean).unwrap();
        let s = g.emit("s", SquareSum { scale: 0.1, per_position: false, root: false }, &[y]).unwrap();
        let loss = g.emit("loss", BatchMean {}, &[s]).unwrap();
        let gradient = g.backward(loss, &[image]).unwrap()[0].unwrap();
        g.output("gradient", gradient);
        let owned = place("localize", &g, &params.layout(), Reuse::Share).unwrap();
        assert_lockstep(&device, Cpu::detect(&threads), owned.program(), &params.pack(), 1);
    }
    vulkan::assert_silent();
}

/// Loss after each epoch.
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if let Some(loss) = progress.loss
            && self.0.len() < progress.epoch
        {
            self.0.push(loss);
        }
        ControlFlow::Continue(())
    }
}

fn scores(model: &OwnedModel, images: &Frames, executor: &mut dyn Executor) -> Vec<f32> {
    let (model, options) = (model.model(), ScorerOptions::new().with_max_width(SIDE).with_map(false));
    let mut memory = vec![0.0; Scorer::memory_len_on_device(&model, &options).unwrap()];
    let mut scorer = Scorer::on_device(model, &options, executor, &mut memory).expect("a scorer");
    images.0.iter().map(|f| scorer.score(&ImageView::grey_u8(SIDE, SIDE, f).unwrap()).expect("a score")).collect()
}

/// AUROC of circles among squares.
fn auroc(trained: &Trained, device: &dyn Device) -> f64 {
    let model = OwnedModel::from_bytes(&trained.model).unwrap();
    let mut executor = device.executor(model.model().params(), 0, 0).expect("an executor");
    let mut all = scores(&model, &shapes(2, 24, false), &mut *executor);
    all.extend(scores(&model, &shapes(3, 24, true), &mut *executor));
    image_auroc(&all, &(0..48).map(|i| i >= 24).collect::<Vec<_>>())
}

/// Losses of 20 steps, and the parameters after them.
fn steps(flow: Flow, executor: &mut dyn Executor, program: Program<'_>, params: usize) -> (Vec<f32>, Vec<f32>) {
    const BATCH: usize = 32;
    let step = executor.prepare(program, BATCH).expect("the program");
    let mut losses = Vec::new();
    for t in 1..=20 {
        let mut rng = Rng::new(4, t, 0);
        let x = executor.input(step, "x");
        x.chunks_exact_mut(flow.dims() as usize).for_each(|row| {
            let shared = rng.range(-1.0..1.0);
            row.iter_mut().for_each(|v| *v = shared + 0.3 * rng.normal() as f32);
        });
        executor.input(step, "control").copy_from_slice(&[2e-3, t as f32]);
        executor.run(step).expect("a step");
        losses.push(executor.output(step, "loss")[0]);
    }
    let mut trained = vec![0.0; params];
    executor.read(Region::Params, &mut trained).expect("parameters");
    (losses, trained)
}

#[test]
fn the_first_steps_of_all_flows_agree_with_the_cpu_and_with_themselves() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let threads = Threads::new(2);
    let dense = DenseFlow { dims: 24, blocks: 2, width: 48, clamp: 2.0, zero_last: false };
    let differnet = DifferNetFlow { width: 64, ..DifferNetFlow::paper(24) };
    let fast = FastFlow { channels: 6, steps: 2, ..FastFlow::paper(6) };
    let ssnf = Ssnf { steps: 2, width: 8, ..Ssnf::for_map(Shape::chw(6, 4, 4), 1024) };
    for flow in [Flow::Dense(dense), Flow::DifferNet(differnet), Flow::Fast(fast, 5, 4), Flow::Ssnf(ssnf, 4, 4)] {
        let params = flow.init(3);
        let owned = flow.train_program(&params);
        let program = owned.program();
        let [grads, state] = [Region::Grads, Region::State].map(|r| program.blocks(r) as usize * BLOCK);
        let packed = params.pack();
        let mut on_cpu = CpuExecutor::new(Cpu::detect(&threads), &packed, grads, state);
        let (want, _) = steps(flow, &mut on_cpu, program, packed.len());
        let run = || {
            let mut executor = device.open_executor(&packed, grads, state).expect("an executor");
            steps(flow, &mut executor, program, packed.len())
        };
        let (got, trained) = run();
        let scale = want.iter().fold(0.0f32, |m, l| m.max(l.abs()));
        println!("losses on the CPU {want:?}\nand on Vulkan {got:?}");
        for (step, (c, g)) in want.iter().zip(&got).enumerate() {
            assert!((c - g).abs() <= 1e-3 * scale, "step {}: {c} on the CPU, {g} on Vulkan", step + 1);
        }
        assert!(want[19] < want[0], "the flow learns");
        let (again, trained_again) = run();
        assert!(got == again && bits_differ(&trained, &trained_again).is_none(), "the same device, the same bytes");
    }
    vulkan::assert_silent();
}

#[test]
fn a_detector_trained_on_vulkan_is_as_good() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let threads = Threads::new(2);
    let cpu = Cpu::detect(&threads);
    let good = shapes(1, 24, false);
    for method in [Method::CDNF, Method::GAUSS, Method::PADIM] {
        let options = TrainOptions { epochs: Some(6), held_out: 0.0, map: false, ..options(method) };
        let run = |device: &dyn Device| {
            let mut losses = Losses(Vec::new());
            let trained = train(&good, &Backbone::builtin(), &options, device, &mut losses, None).expect("a model");
            losses.0.extend(trained.final_loss);
            (trained, losses.0)
        };
        let (on_cpu, on_gpu) = (run(&cpu), run(&device));
        assert_eq!(on_cpu.1.len(), on_gpu.1.len());
        let scale = on_cpu.1.iter().fold(0.0f64, |m, l| m.max(l.abs()));
        for (c, g) in on_cpu.1.iter().zip(&on_gpu.1) {
            assert!((c - g).abs() <= 1e-3 * scale, "{method}: losses {:?} and {:?}", on_cpu.1, on_gpu.1);
        }
        let (c, g) = (auroc(&on_cpu.0, &cpu), auroc(&on_gpu.0, &device));
        println!("{method}: AUROC {c:.4} on the CPU, {g:.4} on Vulkan");
        assert!((c - g).abs() <= 0.005, "{method}: AUROC {c} on the CPU, {g} on Vulkan");
    }
    vulkan::assert_silent();
}

#[test]
fn a_backbone_is_adapted_on_vulkan_as_on_the_cpu() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let threads = Threads::new(2);
    let (good, circles) = (shapes(1, 6, false), shapes(2, 2, true));
    let backbone = made_weights::backbone("mobilenet_v2");
    let others = AnomalySources { defects: Some(&circles), textures: None };
    let options = TrainOptions {
        epochs: Some(1),
        map: false,
        contrastive: Some(Contrastive { epochs: 2, learning_rate: 1e-4 }),
        ..options(Method::CDNF)
    };
    let adapted = |device: &dyn Device| {
        let trained = train_with(&good, others, &backbone, &options, device, &mut (), None).expect("a model");
        let model = OwnedModel::from_bytes(&trained.model).unwrap();
        ["adapted_loss", "adapted_spread"].map(|key| model.model().about_value(key).unwrap().parse::<f64>().unwrap())
    };
    let (want, got) = (adapted(&Cpu::detect(&threads)), adapted(&device));
    println!("loss and spread {want:?} on the CPU, {got:?} on Vulkan");
    for (want, got) in want.iter().zip(&got) {
        assert!((want - got).abs() <= 2e-3 * want.abs(), "{want} on the CPU, {got} on Vulkan");
    }
    vulkan::assert_silent();
}

/// A picture, noise, for the small models.
fn picture(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed, 1, 1);
    (0..models::SIZE * models::SIZE).map(|_| rng.u32() as u8).collect()
}

/// Score and map of a small model.
fn score(model: &OwnedModel, executor: &mut dyn Executor, seed: u64) -> (f32, Vec<f32>) {
    let (model, options) = (model.model(), ScorerOptions::new().with_max_width(64));
    let mut memory = vec![0.0; Scorer::memory_len_on_device(&model, &options).unwrap()];
    let (width, height) = model.map_size();
    let mut map = vec![0.0; (width * height) as usize];
    let mut scorer = Scorer::on_device(model, &options, executor, &mut memory).expect("a scorer");
    let picture = picture(seed);
    let view = ImageView::grey_u8(models::SIZE, models::SIZE, &picture).unwrap();
    (scorer.score_with_map(&view, &mut map).expect("a score"), map)
}

fn on_cpu(model: &OwnedModel, seed: u64) -> (f32, Vec<f32>) {
    let threads = Threads::serial();
    score(model, &mut CpuExecutor::new(Cpu::detect(&threads), model.model().params(), 0, 0), seed)
}

fn assert_close(got: &(f32, Vec<f32>), want: &(f32, Vec<f32>)) {
    let largest = want.1.iter().fold(0.0f32, |m, v| m.max(*v));
    let worst = got.1.iter().zip(&want.1).fold(0.0f32, |m, (g, w)| m.max((g - w).abs()));
    assert!((got.0 - want.0).abs() <= 1e-4 * want.0.abs(), "score {} and {}", got.0, want.0);
    assert!(worst <= 1e-4 * largest, "maps are off by {worst} of {largest}");
}

fn small_models() -> [OwnedModel; 7] {
    let roi = models::region();
    let (map, flow) = (models::map_model_within(Some(&roi)), models::flow_model_within(Some(&roi)));
    // Twenty tiles, which are no multiple of what a device runs at once; some that are not run; the highest tile's score.
    let twenty = models::Cut { canvas: (38, 30), ..models::CUT };
    let (tiled, band) = (models::tiled_model(twenty, None), models::tiled_region());
    let tiles_within = models::tiled_model(models::CUT, Some(&band));
    let highest = models::tiled_model(models::Cut { top: 0, ..twenty }, None);
    [models::map_model(), models::flow_model(), map, flow, tiled, tiles_within, highest]
        .map(|bytes| OwnedModel::from_bytes(&bytes).unwrap())
}

#[test]
fn scores_and_maps_agree_whatever_the_device_asks_for() {
    let plain = VulkanOptions::default();
    for options in [
        plain.clone(),
        plain.clone().with_generic(true),
        plain.clone().with_staging(true),
        plain.clone().with_alignment(256),
        plain.with_submission(50).with_staging(true),
    ] {
        let Some(device) = vulkan::device(options) else { return };
        for model in small_models() {
            let mut executor = device.open_executor(model.model().params(), 0, 0).unwrap();
            for seed in 0..2 {
                assert_close(&score(&model, &mut executor, seed), &on_cpu(&model, seed));
            }
        }
    }
    vulkan::assert_silent();
}

#[test]
fn half_precision_scores_within_a_twentieth_and_takes_less_memory() {
    let [full, half] = [Precision::Full, Precision::Half]
        .map(|precision| vulkan::device(VulkanOptions::default().with_precision(precision)));
    let (Some(full), Some(half)) = (full, half) else { return };
    if !half.info().fast {
        println!("skipped: 16-bit storage (this device has none)");
        return;
    }
    let (threads, good) = (Threads::new(2), shapes(1, 12, false));
    let parts = shapes(2, 4, true);
    for method in [Method::GAUSS, Method::PADIM, Method::CDNF] {
        let options = TrainOptions { epochs: Some(1), ..options(method) };
        let trained = OwnedModel::from_bytes(&fit(&good, &options, &Cpu::detect(&threads)).model).unwrap();
        let run = |device: &VulkanDevice| {
            let mut executor = device.open_executor(trained.model().params(), 0, 0).unwrap();
            (scores(&trained, &parts, &mut executor), executor.device_bytes())
        };
        let ((exact, most), (rounded, least)) = (run(&full), run(&half));
        println!("{method}: {exact:?} in 32 bits, {rounded:?} in 16; {most} and {least} bytes");
        assert!(exact.iter().zip(&rounded).all(|(e, r)| (e - r).abs() <= 0.05 * e.abs()) && exact != rounded);
        assert!(least < most);
    }
    vulkan::assert_silent();
}

#[test]
fn a_lost_device_is_reopened_once_and_then_the_cpu_finishes() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    for model in small_models() {
        let (first, second) = (on_cpu(&model, 0), on_cpu(&model, 1));
        for site in [Site::Submit, Site::Wait] {
            let mut at = 0;
            loop {
                let mut executor = device.open_executor(model.model().params(), 0, 0).unwrap();
                fault::inject(Some((site, at)));
                assert_close(&score(&model, &mut executor, 0), &first);
                let happened = !fault::is_pending();
                fault::inject(Some((site, at)));
                assert_close(&score(&model, &mut executor, 1), &second);
                assert_eq!(executor.is_on_cpu(), happened && !fault::is_pending(), "{site:?} {at}");
                assert_close(&score(&model, &mut executor, 0), &first);
                fault::inject(None);
                if !happened {
                    break;
                }
                at += 1;
            }
            assert!(at > 0, "{site:?}: no place to fail");
        }
    }
}

/// Loses the device at one step of the training.
struct Losing {
    site: Site,
    at: usize,
    seen: usize,
    notes: usize,
}

impl Observer for Losing {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.phase == Phase::Train {
            self.seen += 1;
            if self.seen == self.at {
                fault::inject(Some((self.site, 0)));
            }
        }
        ControlFlow::Continue(())
    }

    fn note(&mut self, text: &str) {
        self.notes += usize::from(text.contains("lost"));
    }
}

/// Cancels a training and keeps its state.
struct Stopping {
    steps: usize,
    checkpoint: Vec<u8>,
}

impl Observer for Stopping {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.phase == Phase::Train && self.steps == 0 {
            return ControlFlow::Break(());
        }
        self.steps -= usize::from(progress.phase == Phase::Train);
        ControlFlow::Continue(())
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        self.checkpoint = bytes.to_vec();
    }
}

#[test]
fn a_training_that_is_interrupted_or_loses_its_device_ends_with_the_same_model() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let good = shapes(1, 12, false);
    let options = TrainOptions { epochs: Some(3), held_out: 0.0, map: false, ..options(Method::CDNF) };
    let want = fit(&good, &options, &device).model;
    // Interrupted at its second step, it goes on to the same bytes.
    let mut stopping = Stopping { steps: 2, checkpoint: Vec::new() };
    let stopped = train(&good, &Backbone::builtin(), &options, &device, &mut stopping, None);
    assert_eq!(stopped.expect_err("it was cancelled"), TrainError::Cancelled);
    let state = Some(stopping.checkpoint.as_slice());
    let resumed = train(&good, &Backbone::builtin(), &options, &device, &mut (), state).expect("a model");
    assert!(resumed.model == want, "another model after an interruption");
    // In the first epoch, and in the last.
    for (site, at) in [(Site::Submit, 1), (Site::Wait, 3)] {
        let mut losing = Losing { site, at, seen: 0, notes: 0 };
        let got = train(&good, &Backbone::builtin(), &options, &device, &mut losing, None).expect("a model");
        assert_eq!(losing.notes, 1, "{site:?} {at}");
        assert!(got.model == want, "{site:?} {at}: another model");
    }
    vulkan::assert_silent();
}

#[test]
fn a_session_takes_the_memory_that_was_announced() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let (threads, good) = (Threads::new(2), shapes(1, 12, false));
    for map in [false, true] {
        let options = TrainOptions { views: Some(4), map, ..options(Method::GAUSS) };
        let trained = OwnedModel::from_bytes(&fit(&good, &options, &Cpu::detect(&threads)).model).unwrap();
        let (model, scorer) = (trained.model(), ScorerOptions::new().with_max_width(SIDE).with_map(map));
        let mut executor = device.open_executor(model.params(), 0, 0).unwrap();
        let announced = 4 * Scorer::device_len(&model, &scorer, executor.preferred_batch()).unwrap();
        let mut memory = vec![0.0; Scorer::memory_len_on_device(&model, &scorer).unwrap()];
        Scorer::on_device(model, &scorer, &mut executor, &mut memory).expect("a scorer");
        let taken = executor.device_bytes();
        println!("map {map}: announced {announced}, taken {taken}");
        assert!((taken as f64 / announced as f64 - 1.0).abs() < 0.1, "announced {announced}, taken {taken}");
    }
}

#[test]
fn lockstep_names_an_op_that_differs() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let [model, ..] = small_models();
    let (model, threads) = (model.model(), Threads::serial());
    let program = model.program("score").expect("a program");
    // The parameters of the op "white" are off by a thousandth on one side.
    let (_, _, _, weight) = model.named_params().find(|p| p.0 == "whiten.w").expect("a weight");
    let at = (weight.as_ptr() as usize - model.params().as_ptr() as usize) / 4;
    let mut off = model.params().to_vec();
    off[at..][..weight.len()].iter_mut().for_each(|w| *w *= 1.001);
    let mut lhs = CpuExecutor::new(Cpu::detect(&threads), model.params(), 0, 0);
    let mut rhs = device.open_executor(&off, 0, 0).unwrap();
    let found =
        lockstep(program, 1, model.params(), &mut |_, values| values.fill(0.5), &mut lhs, &mut rhs).expect("both run");
    assert_eq!(found.expect("a mismatch").tensor, "white");
}

#[test]
fn no_memory_is_an_error_and_nothing_worse() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let [model, ..] = small_models();
    let mut at = 0;
    loop {
        fault::inject(Some((Site::Allocate, at)));
        let made = device.open_executor(model.model().params(), 0, 0);
        let done = made.and_then(|mut executor| {
            let program = model.model().program("score").expect("a program");
            let prepared = executor.prepare(program, 4)?;
            executor.run(prepared)
        });
        let happened = !fault::is_pending();
        fault::inject(None);
        match done {
            Ok(()) => {
                assert!(!happened, "allocation {at} failed unnoticed");
                break;
            }
            Err(error) => assert!(error.to_string().contains("no memory left"), "{error}"),
        }
        at += 1;
    }
    assert!(at >= 8, "several allocations");
    vulkan::assert_silent();
}

#[test]
fn sessions_on_several_threads_and_any_order_of_destruction() {
    let Some(device) = vulkan::device(VulkanOptions::default()) else { return };
    let [model, ..] = small_models();
    let want = on_cpu(&model, 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (device, model, want) = (device.clone(), &model, &want);
            scope.spawn(move || {
                let mut executor = device.open_executor(model.model().params(), 0, 0).unwrap();
                // The executor outlives the handle of the device.
                drop(device);
                for _ in 0..5 {
                    assert_close(&score(model, &mut executor, 0), want);
                }
            });
        }
    });
    let executors: Vec<_> = (0..3).map(|_| device.open_executor(model.model().params(), 0, 0).unwrap()).collect();
    drop(device);
    drop(executors);
    vulkan::assert_silent();
}
