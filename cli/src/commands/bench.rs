//! `adflow bench MODEL`: time from camera buffer to verdict, and memory, on this machine.
//!
//! Preprocessing is part of it; decoding a file is not, since a line has the camera's buffer. The image is noise: no step
//! of a model is faster or slower for another picture.

use std::time::{Duration, Instant};

use adflow::cpu::Isa;
use adflow::executor::{Device, Executor};
use adflow::model::OwnedModel;
use adflow::rng::Rng;
use adflow_vulkan::OpTime;
use serde::Serialize;

use crate::args::Bench;
use crate::compute::Compute;
use crate::decode::{Decoded, Pixels};
use crate::evaluate::Milliseconds;
use crate::failure::{Context, Failure, Outcome};
use crate::inspector::{Inspector, open_model};
use crate::progress::{self, bytes};

#[derive(Serialize)]
struct Report {
    method: String,
    backbone: String,
    input_size: u32,
    canvas: (u32, u32),
    camera: (u32, u32),
    device: String,
    isa: String,
    params_bytes: usize,
    cases: Vec<Case>,
    /// Microseconds by kind of op, the longest first; empty unless asked for.
    ops: Vec<OpKind>,
}

#[derive(Serialize)]
struct OpKind {
    op: String,
    count: usize,
    microseconds: f64,
}

#[derive(Serialize)]
struct Case {
    threads: usize,
    map: bool,
    runs: usize,
    work_bytes: usize,
    ms_per_image: Milliseconds,
}

/// Runs the command.
pub fn run(args: &Bench) -> Outcome<u8> {
    let owned = open_model(&args.model)?;
    let model = owned.model();
    let camera = args.camera.unwrap_or(model.canvas());
    let image = noise(camera, model.channels() == 3);
    let mut report = Report {
        method: model.method().to_string(),
        backbone: model.backbone().to_string(),
        input_size: model.input_size(),
        canvas: model.canvas(),
        camera,
        device: String::new(),
        isa: Isa::detect().name().to_string(),
        params_bytes: model.params_bytes(),
        cases: Vec::new(),
        ops: Vec::new(),
    };
    let compute = args.compute.open()?;
    report.device = compute.describe();
    // A GPU does the work whatever the number of threads.
    let mut threads = if compute.gpu.is_some() { vec![compute.threads] } else { vec![1, compute.threads] };
    threads.dedup();
    for threads in threads {
        for map in [false, true].into_iter().filter(|map| !map || model.map_size().0 > 0) {
            let mut inspector = Inspector::new(&owned, &Compute { threads, ..compute.clone() }, map, None)?;
            let times = measure(&mut inspector, &image, map, args.seconds)?;
            let work_bytes = inspector.memory_bytes();
            let ms_per_image = Milliseconds::of(&times);
            report.cases.push(Case { threads, map, runs: times.len(), work_bytes, ms_per_image });
        }
    }
    if args.profile {
        report.ops = profile(&owned, &compute)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| Failure::new(e.to_string()))?);
        return Ok(0);
    }
    println!(
        "{} on {}, input {}, camera {}x{}, {} ({}), parameters {}",
        report.method,
        report.backbone,
        progress::input(&model),
        camera.0,
        camera.1,
        report.device,
        report.isa,
        bytes(report.params_bytes)
    );
    println!("{:<8} {:<14} {:>9} {:>9} {:>9} {:>6}  work", "threads", "output", "p50 ms", "p99 ms", "max ms", "runs");
    for case in &report.cases {
        let ms = &case.ms_per_image;
        let output = if case.map { "score and map" } else { "score" };
        println!(
            "{:<8} {output:<14} {:>9.2} {:>9.2} {:>9.2} {:>6}  {}",
            case.threads,
            ms.p50,
            ms.p99,
            ms.max,
            case.runs,
            bytes(case.work_bytes)
        );
    }
    if !report.ops.is_empty() {
        let all: f64 = report.ops.iter().map(|o| o.microseconds).sum();
        println!("\n{:<20} {:>6} {:>12} {:>7}", "op", "count", "us", "share");
        for o in &report.ops {
            println!("{:<20} {:>6} {:>12.1} {:>6.1}%", o.op, o.count, o.microseconds, 100.0 * o.microseconds / all);
        }
    }
    Ok(0)
}

/// Time by kind of op, the median of several runs of each op.
fn profile(owned: &OwnedModel, compute: &Compute) -> Outcome<Vec<OpKind>> {
    const RUNS: usize = 9;
    let gpu = compute.gpu.as_ref().ok_or_else(|| Failure::new("--profile needs a GPU: use --device vulkan"))?;
    let model = owned.model();
    let program = model.program("score").ok_or_else(|| Failure::new("the model has no scoring program"))?;
    let mut executor = gpu.open_executor(model.params(), 0, 0).context(gpu.describe())?;
    let prepared = executor.prepare(program, 1).context(gpu.describe())?;
    let runs: Vec<Vec<OpTime>> =
        (0..RUNS).map(|_| executor.profile(prepared)).collect::<Result<_, _>>().context(gpu.describe())?;
    let mut kinds: Vec<OpKind> = Vec::new();
    for (n, first) in runs[0].iter().enumerate() {
        let op = program.op(first.at).op.name();
        let mut times: Vec<f64> = runs.iter().map(|run| run[n].ns).collect();
        times.sort_by(f64::total_cmp);
        let kind = match kinds.iter().position(|k| k.op == op) {
            Some(found) => found,
            None => {
                kinds.push(OpKind { op: op.to_string(), count: 0, microseconds: 0.0 });
                kinds.len() - 1
            }
        };
        kinds[kind].count += 1;
        kinds[kind].microseconds += times[RUNS / 2] / 1e3;
    }
    kinds.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
    Ok(kinds)
}

fn measure(inspector: &mut Inspector<'_>, image: &Decoded, map: bool, seconds: f64) -> Outcome<Vec<f64>> {
    let mut once = || -> Outcome<f64> {
        let started = Instant::now();
        let done = if map { inspector.score_with_map(image).map(|_| ()) } else { inspector.score(image).map(|_| ()) };
        done.map_err(Failure::new)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    for _ in 0..2 {
        once()?;
    }
    let limit = Duration::from_secs_f64(seconds.clamp(0.01, 3600.0));
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < limit || times.len() < 5 {
        times.push(once()?);
    }
    Ok(times)
}

fn noise((width, height): (u32, u32), colour: bool) -> Decoded {
    let mut rng = Rng::new(1, 0, 0);
    let samples = width as usize * height as usize * if colour { 3 } else { 1 };
    Decoded { width, height, colour, pixels: Pixels::U8((0..samples).map(|_| rng.u32() as u8).collect()) }
}
