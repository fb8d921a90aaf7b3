//! Whole programs through a session, for comparison with other engines (`side_by_side.py`).
//!
//! `cargo bench -p adflow-benches --bench session -- WORK [--threads N] [--seconds S]` prints one JSON object with
//! milliseconds of wall time. WORK is
//! * `taps`: MobileNetV2 to `features.6` and `features.13`, one image of 3×320×320, random weights;
//! * `flow`: a training step of a dense flow, 96 samples, D = H = 768, K = 3: forward, backward, Adam.

use adflow::backbones::{Backbone, Weights, WeightsError};
use adflow::cpu::Cpu;
use adflow::flows::DenseFlow;
use adflow::graph::Graph;
use adflow::op::{Adam, BatchMean, FlowNll};
use adflow::params::Params;
use adflow::place::{OwnedProgram, Reuse, place};
use adflow::rng::Rng;
use adflow::session::{Memory, ParamsMemory, Session, Sizes};
use adflow::shape::Shape;
use adflow::threads::Threads;
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

/// MobileNetV2 with weights uniform in ±√(3/fan_in), found by asking which tensor is missing.
fn mobilenet() -> Backbone {
    let mut rng = Rng::new(1, 0, 0);
    let mut weights = Weights::new();
    let (mut name, mut dims) = ("features.0.conv.weight".to_string(), vec![32, 3, 3, 3]);
    loop {
        let (len, fan_in) = (dims.iter().product(), dims[1..].iter().product::<usize>());
        weights.insert(&name, &dims, noise(&mut rng, len, (3.0 / fan_in as f32).sqrt())).expect("shape and values fit");
        match Backbone::from_weights(weights.clone()) {
            Ok(backbone) => return backbone,
            Err(WeightsError::Missing { name: missing, expected }) => {
                let rank = if missing.ends_with(".weight") { 4 } else { 1 };
                (name, dims) = (missing, expected.0[..rank].iter().map(|&d| d as usize).collect());
            }
            Err(error) => panic!("{error}"),
        }
    }
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

fn flow() -> Work {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let flow = DenseFlow::paper(768);
    flow.init(&mut params, 1).expect("the dimensions fit");
    let x = g.input("features", Shape::vector(768));
    let (z, j) = flow.forward(&mut g, &params, x).expect("the dimensions fit");
    let nll = g.emit("nll", FlowNll {}, &[z, j]).expect("shapes fit");
    let loss = g.emit("loss", BatchMean {}, &[nll]).expect("shapes fit");
    g.output("loss", loss);
    g.train(loss, &params, Adam { beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5 }).expect("gradients exist");
    let program = place("train", &g, &params.layout(), Reuse::Share).expect("the graph can be placed");
    Work { program, params: params.pack(), input: "features", batch: 96 }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: usize| {
        let at = args.iter().position(|a| a == name);
        at.and_then(|i| args.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let Some((name, mut work)) = ["taps", "flow"].into_iter().find(|name| args.iter().any(|a| a == name)).map(|name| {
        let work = if name == "taps" { taps() } else { flow() };
        (name, work)
    }) else {
        println!("name what to run: taps or flow");
        return;
    };
    let threads = Threads::new(option("--threads", 2));
    let cpu = Cpu::detect(&threads);
    let program = work.program.program();
    let sizes = Sizes::of(&program, work.batch, threads.count()).expect("the batch can be run");
    let buffer = |len: usize| vec![0.0f32; len];
    let (mut grads, mut state, mut values) = (buffer(sizes.grads), buffer(sizes.state), buffer(sizes.work));
    let (mut io, mut fixed, mut scratch) = (buffer(sizes.io), buffer(sizes.fixed), buffer(sizes.scratch));
    let memory = Memory {
        params: ParamsMemory::Exclusive(&mut work.params),
        grads: &mut grads,
        state: &mut state,
        work: &mut values,
        io: &mut io,
        fixed: &mut fixed,
        scratch: &mut scratch,
    };
    let mut session = Session::new(program, work.batch, cpu, memory).expect("the memory fits");
    let x = session.input(work.input).expect("the program reads this");
    let values = noise(&mut Rng::new(2, 0, 0), x.len(), 1.7);
    let mut times: Vec<f64> = Vec::new();
    let mut step = 0u32;
    let mut run = || {
        session.input(work.input).expect("the program reads this").copy_from_slice(&values);
        step += 1;
        if let Some(control) = session.input("control") {
            control.copy_from_slice(&[2e-4, step as f32]);
        }
        session.run();
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
        "{{\"work\": \"{name}\", \"isa\": \"{}\", \"threads\": {}, \"min\": {:.3}, \"p50\": {:.3}, \"p90\": {:.3}, \"n\": {}}}",
        cpu.isa().name(),
        threads.count(),
        times[0],
        at(0.5),
        at(0.9),
        times.len(),
    );
}
