//! Whole programs through an executor, for comparison with other engines (`side_by_side.py`).
//!
//! `cargo bench -p adflow-benches --bench session -- WORK [--device cpu|vulkan[:N]] [--threads N] [--batch N] [--half] [--seconds S]`
//! prints one JSON object with milliseconds of wall time, inputs in and outputs back included. WORK is
//! * `taps`: MobileNetV2 to `features.6` and `features.13`, images of 3×320×320, random weights;
//! * `score`: CDNF's score of images of 3×224×224: MobileNetV2 at three scales to 768 means, a dense flow with D = H = 768,
//!   K = 3, the mean square of its latent;
//! * `flow`: a training step of that flow, 96 samples: forward, backward, Adam.

use adflow::backbones::{Backbone, Pooling, Weights};
use adflow::cpu::Cpu;
use adflow::executor::Device;
use adflow::flows::DenseFlow;
use adflow::graph::Graph;
use adflow::op::{Adam, BatchMean, FlowNll, SquareSum};
use adflow::params::Params;
use adflow::place::{OwnedProgram, Reuse, place};
use adflow::plan::{BLOCK, Region};
use adflow::rng::Rng;
use adflow::shape::Shape;
use adflow::threads::Threads;
use adflow_vulkan::{Compute, Precision};
use std::time::{Duration, Instant};

struct Work {
    program: OwnedProgram,
    params: Vec<f32>,
    input: &'static str,
    batch: usize,
}

fn noise(rng: &mut Rng, len: usize, bound: f32) -> Vec<f32> {
    (0..len).map(|_| rng.range(-bound..bound)).collect()
}

/// MobileNetV2 with weights uniform in ±√(3/fan_in).
fn mobilenet() -> Backbone {
    let mut rng = Rng::new(1, 0, 0);
    let mut weights = Weights::new();
    let architecture = Backbone::architectures().iter().find(|a| a.name() == "mobilenet_v2").expect("it is known");
    for (name, shape) in architecture.tensors() {
        let rank = if name.ends_with(".weight") { 4 } else { 1 };
        let dims = shape.0.map(|n| n as usize);
        let fan_in = dims[1..].iter().product::<usize>();
        let values = noise(&mut rng, shape.len(), (3.0 / fan_in as f32).sqrt());
        weights.insert(&name, &dims[..rank], values).expect("shape and values fit");
    }
    Backbone::from_weights(weights).expect("all tensors are there")
}

fn taps() -> Work {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let image = g.input("image", Shape::chw(3, 320, 320));
    let maps =
        mobilenet().emit(&mut g, &mut params, "", image, &["features.6", "features.13"]).expect("the taps exist");
    g.output("tap6", maps[0]);
    g.output("tap13", maps[1]);
    let program = place("taps", &g, &params.layout(), Reuse::Share).expect("the graph can be placed");
    Work { program, params: params.pack(), input: "image", batch: 1 }
}

fn score() -> Work {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let (backbone, flow) = (mobilenet(), DenseFlow::paper(768));
    flow.init(&mut params, 1).expect("the dimensions fit");
    let image = g.input("image", Shape::chw(3, 224, 224));
    let y = backbone
        .pooled(&mut g, &mut params, "", image, 3, backbone.pooled_taps(), Pooling::Mean)
        .expect("the taps exist");
    let (z, _) = flow.forward(&mut g, &params, y).expect("the dimensions fit");
    let mean = SquareSum { scale: 1.0 / 768.0, per_position: false, root: false };
    let score = g.emit("score", mean, &[z]).expect("shapes fit");
    g.output("score", score);
    let program = place("score", &g, &params.layout(), Reuse::Share).expect("the graph can be placed");
    Work { program, params: params.pack(), input: "image", batch: 1 }
}

fn flow() -> Work {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let flow = DenseFlow::paper(768);
    flow.init(&mut params, 1).expect("the dimensions fit");
    let x = g.input("features", Shape::vector(768));
    let (z, j) = flow.forward(&mut g, &params, x).expect("the dimensions fit");
    let nll = g.emit("nll", FlowNll {}, &[z, j]).expect("shapes fit");
    let loss = g.emit("loss", BatchMean {}, &[nll]).expect("shapes fit");
    g.output("loss", loss);
    g.train(loss, &params, Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5, clip: 0.0 })
        .expect("gradients exist");
    let program = place("train", &g, &params.layout(), Reuse::Share).expect("the graph can be placed");
    Work { program, params: params.pack(), input: "features", batch: 96 }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1));
    let option = |name: &str, default: usize| text(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let Some(name) = ["taps", "score", "flow"].into_iter().find(|name| args.iter().any(|a| a == name)) else {
        println!("name what to run: taps, score or flow");
        return;
    };
    let threads = Threads::new(option("--threads", 2));
    let cpu = Cpu::detect(&threads);
    let wanted: Compute = text("--device").map_or(Ok(Compute::Cpu), |d| d.parse()).expect("a device");
    let precision = if args.iter().any(|a| a == "--half") { Precision::Half } else { Precision::Full };
    let gpu = wanted.open(precision).expect("the device opens");
    let device: &dyn Device = gpu.as_ref().map_or(&cpu, |gpu| gpu);
    let work = match name {
        "taps" => taps(),
        "score" => score(),
        _ => flow(),
    };
    let (program, batch) = (work.program.program(), option("--batch", work.batch));
    let floats = |region| program.blocks(region) as usize * BLOCK;
    let mut executor =
        device.executor(&work.params, floats(Region::Grads), floats(Region::State)).expect("the parameters fit");
    let prepared = executor.prepare(program, batch).expect("the batch can be run");
    let values = noise(&mut Rng::new(2, 0, 0), executor.input(prepared, work.input).len(), 1.7);
    let mut times: Vec<f64> = Vec::new();
    let mut step = 0u32;
    let mut run = || {
        executor.input(prepared, work.input).copy_from_slice(&values);
        step += 1;
        if let [rate, at] = executor.input(prepared, "control") {
            (*rate, *at) = (2e-4, step as f32);
        }
        executor.run(prepared).expect("the device works");
    };
    (0..3).for_each(|_| run());
    let end = Instant::now() + Duration::from_secs(option("--seconds", 5) as u64);
    while Instant::now() < end || times.len() < 5 {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[(times.len() as f64 * q) as usize];
    println!(
        "{{\"work\": \"{name}\", \"device\": \"{}\", \"batch\": {batch}, \"min\": {:.3}, \"p50\": {:.3}, \"p90\": {:.3}, \"n\": {}}}",
        device.describe(),
        times[0],
        at(0.5),
        at(0.9),
        times.len(),
    );
}
