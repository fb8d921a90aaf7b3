//! One training step of a dense flow, kernel by kernel on plain slices: forward, backward and Adam.
//!
//! Three blocks of nine levels over 768 features, hidden width 768 halved at each level, batch 96: 14,389,248 parameters.
//! `cargo bench -p adflow-benches --bench flow_step -- [--threads 2] [--batch 96] [--seconds 6]` prints one JSON object with
//! milliseconds: `adflow` times whole steps; `quiet` adds up the fastest time of each single call, which other work on the
//! machine disturbs less, in all, for each kind of kernel and, for the linear layers, for each level.

use adflow::cpu::Cpu;
use adflow::kernels::activation::{Activation, activation_dx};
use adflow::kernels::adam::{AdamParams, adam};
use adflow::kernels::add::add;
use adflow::kernels::channel::channel_sum;
use adflow::kernels::coupling::{self, CouplingShape};
use adflow::kernels::layout::{permute, permute_inverse};
use adflow::kernels::linear::{LinearShape, linear, linear_dw, linear_dx, linear_scratch};
use adflow::kernels::{Pass, reduce};
use adflow::threads::Threads;
use std::time::{Duration, Instant};

const FEATURES: usize = 768;
const HIDDEN: usize = 768;
const BLOCKS: usize = 3;
const LEVELS: usize = 9;

/// Kinds of kernels that are timed.
const KINDS: [&str; 8] = ["linear", "linear_dx", "linear_dw", "bias", "relu_dx", "coupling", "move", "adam"];

#[derive(Clone, Copy)]
struct Layer {
    shape: LinearShape,
    act: Activation,
    /// Offsets of the weights and of the bias in the parameters.
    weight: usize,
    bias: usize,
}

struct Level {
    layers: [Layer; 3],
    coupling: CouplingShape,
    /// Input, the two hidden activations, and scales with translations.
    x: Vec<f32>,
    h: [Vec<f32>; 2],
    st: Vec<f32>,
    j: Vec<f32>,
}

/// One timed stretch of a step.
#[derive(Clone, Copy)]
struct Lap {
    kind: usize,
    level: usize,
    time: Duration,
}

struct Clock {
    laps: Vec<Lap>,
    level: usize,
    last: Instant,
}

impl Clock {
    fn lap(&mut self, kind: usize) {
        let now = Instant::now();
        self.laps.push(Lap { kind, level: self.level, time: now - self.last });
        self.last = Instant::now();
    }
}

struct Step {
    batch: usize,
    levels: Vec<Level>,
    index: Vec<Vec<f32>>,
    params: Vec<f32>,
    grads: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    scratch: Vec<f32>,
    x: Vec<f32>,
    step: u64,
}

/// Numbers in −1..1.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

impl Step {
    fn new(batch: usize, threads: usize) -> Self {
        let mut len = 0;
        let mut params = Vec::new();
        let mut levels = Vec::new();
        for _ in 0..BLOCKS {
            for l in (0..LEVELS).rev() {
                let (sets, size) = (1 << l, FEATURES >> l);
                let (a, hidden) = (size / 2, (HIDDEN >> l).max(8));
                let groups = 2 * sets;
                let mut layer = |share: usize, i: usize, o: usize, x_len: usize, stride: usize, act, scale: f32| {
                    let shape = LinearShape {
                        n: batch,
                        groups,
                        share,
                        in_features: i,
                        out_features: o,
                        x_len,
                        x_offset: 0,
                        x_stride: stride,
                    };
                    let weight = len;
                    params
                        .extend(noise(weight as u64, shape.weight_len()).iter().map(|w| w * scale / (i as f32).sqrt()));
                    params.extend(std::iter::repeat_n(0.0, groups * o));
                    len = params.len();
                    Layer { shape, act, weight, bias: weight + shape.weight_len() }
                };
                let wide = groups * hidden;
                let layers = [
                    layer(2, a, hidden, FEATURES, size, Activation::Relu, 1.0),
                    layer(1, hidden, hidden, wide, hidden, Activation::Relu, 1.0),
                    layer(1, hidden, size - a, wide, hidden, Activation::None, 0.0),
                ];
                let coupling = CouplingShape {
                    n: batch,
                    groups: sets,
                    size,
                    active_offset: a,
                    active: size - a,
                    hw: 1,
                    clamp: 2.0,
                };
                levels.push(Level {
                    layers,
                    coupling,
                    x: vec![0.0; batch * FEATURES],
                    h: [vec![0.0; batch * wide], vec![0.0; batch * wide]],
                    st: vec![0.0; batch * coupling.st_len()],
                    j: vec![0.0; batch],
                });
            }
        }
        let passes = [Pass::Forward, Pass::Dx, Pass::Dw];
        let shapes = levels.iter().flat_map(|l| l.layers).map(|l| l.shape);
        let scratch = shapes.flat_map(|s| passes.map(|p| linear_scratch(&s, p, threads))).max().unwrap_or(0);
        let index = (0..BLOCKS)
            .map(|b| (0..FEATURES).map(|i| f32::from_bits(((i * 5 + 7 * b + 1) % FEATURES) as u32)).collect())
            .collect();
        Self {
            batch,
            levels,
            index,
            grads: vec![0.0; len],
            m: vec![0.0; len],
            v: vec![0.0; len],
            params,
            scratch: vec![0.0; scratch],
            x: noise(1, batch * FEATURES),
            step: 0,
        }
    }

    fn run(&mut self, cpu: Cpu<'_>) -> (f32, Clock) {
        let mut clock = Clock { laps: Vec::with_capacity(1024), level: 0, last: Instant::now() };
        let n = self.batch;
        let len = n * FEATURES;
        let wide = n * self.levels.iter().map(|l| l.h[0].len() / n).max().unwrap_or(0);
        let (mut z, mut next, mut j) = (self.x.clone(), vec![0.0; len], vec![0.0; n]);
        clock.last = Instant::now();
        for (k, level) in self.levels.iter_mut().enumerate() {
            clock.level = LEVELS - 1 - k % LEVELS;
            if k % LEVELS == 0 {
                permute(cpu, n, FEATURES, 1, &self.index[k / LEVELS], &z, &mut level.x);
            } else {
                level.x.copy_from_slice(&z);
            }
            clock.lap(6);
            let [h1, h2] = &mut level.h;
            for (i, layer) in level.layers.iter().enumerate() {
                let weight = &self.params[layer.weight..layer.bias];
                let bias = &self.params[layer.bias..][..layer.shape.y_len()];
                let (x, y) = match i {
                    0 => (&level.x, &mut *h1),
                    1 => (&*h1, &mut *h2),
                    _ => (&*h2, &mut level.st),
                };
                linear(cpu, &mut self.scratch, &layer.shape, x, weight, Some(bias), layer.act, y);
            }
            clock.lap(0);
            coupling::coupling(cpu, &level.coupling, &level.x, &level.st, &mut z);
            coupling::log_det(cpu, &level.coupling, &level.st, &mut level.j);
            clock.lap(5);
            j.iter_mut().zip(&level.j).for_each(|(sum, j)| *sum += j);
        }
        let (mut loss, gl) = (vec![0.0; n], vec![1.0 / n as f32; n]);
        let (mut gz, mut gj) = (vec![0.0; len], vec![0.0; n]);
        reduce::flow_nll(cpu, n, FEATURES, &z, &j, &mut loss);
        reduce::flow_nll_dz(cpu, n, FEATURES, &gl, &z, &mut gz);
        reduce::flow_nll_dj(FEATURES, &gl, &mut gj);
        clock.lap(6);
        let (mut gst, mut gst2, mut gst3) = (vec![0.0; wide], vec![0.0; wide], vec![0.0; wide]);
        let (mut gh, mut gh2) = (vec![0.0; wide], vec![0.0; wide]);
        clock.last = Instant::now();
        for (k, level) in self.levels.iter().enumerate().rev() {
            clock.level = LEVELS - 1 - k % LEVELS;
            let st_len = level.st.len();
            let (gst, gst2, gst3) = (&mut gst[..st_len], &mut gst2[..st_len], &mut gst3[..st_len]);
            coupling::coupling_dst(cpu, &level.coupling, &gz, &level.x, &level.st, gst);
            coupling::log_det_dst(cpu, &level.coupling, &gj, &level.st, gst2);
            coupling::coupling_dx(cpu, &level.coupling, &gz, &level.st, &mut next);
            clock.lap(5);
            add(cpu, gst, gst2, gst3);
            clock.lap(6);
            gh2[..st_len].copy_from_slice(gst3);
            for (i, layer) in level.layers.iter().enumerate().rev() {
                let s = &layer.shape;
                let (y_len, x_len) = (n * s.y_len(), n * s.x_len);
                if layer.act != Activation::None {
                    activation_dx(cpu, layer.act, &gh[..y_len], &level.h[i], &mut gh2[..y_len]);
                    clock.lap(4);
                }
                let gy = &gh2[..y_len];
                let x = if i == 0 { &level.x } else { &level.h[i - 1] };
                let (gw, gb) = self.grads[layer.weight..].split_at_mut(s.weight_len());
                linear_dw(cpu, &mut self.scratch, s, x, gy, gw);
                clock.lap(2);
                channel_sum(cpu, n, s.y_len(), 1, gy, &mut gb[..s.y_len()]);
                clock.lap(3);
                let weight = &self.params[layer.weight..layer.bias];
                linear_dx(cpu, &mut self.scratch, s, gy, weight, &mut gh[..x_len]);
                clock.lap(1);
            }
            add(cpu, &next, &gh[..len], &mut gz);
            if k % LEVELS == 0 {
                permute_inverse(cpu, n, FEATURES, 1, &self.index[k / LEVELS], &gz, &mut next);
                std::mem::swap(&mut gz, &mut next);
            }
            clock.lap(6);
        }
        self.step += 1;
        let p = AdamParams { lr: 2e-4, beta1: 0.8, beta2: 0.8, eps: 1e-4, weight_decay: 1e-5 };
        adam(cpu, &p, self.step, 1.0, &mut self.params, &self.grads, &mut self.m, &mut self.v);
        clock.lap(7);
        (reduce::batch_mean(&loss), clock)
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: usize| {
        let at = args.iter().position(|a| a == name);
        at.and_then(|i| args.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let threads = Threads::new(option("--threads", 2));
    let cpu = Cpu::detect(&threads);
    let mut step = Step::new(option("--batch", 96), threads.count());
    let first = step.run(cpu).0;
    step.run(cpu);
    let end = Instant::now() + Duration::from_secs(option("--seconds", 6) as u64);
    let (mut times, mut loss) = (Vec::new(), first);
    let mut quiet: Vec<Lap> = Vec::new();
    while Instant::now() < end || times.len() < 5 {
        let start = Instant::now();
        let (value, clock) = step.run(cpu);
        times.push(start.elapsed().as_secs_f64() * 1e3);
        loss = value;
        if quiet.is_empty() {
            quiet = clock.laps;
        } else {
            quiet.iter_mut().zip(&clock.laps).for_each(|(q, lap)| q.time = q.time.min(lap.time));
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[(times.len() as f64 * q) as usize];
    let ms = |keep: &dyn Fn(&Lap) -> bool| {
        quiet.iter().filter(|lap| keep(lap)).map(|lap| lap.time.as_secs_f64() * 1e3).sum::<f64>()
    };
    let kinds: Vec<String> =
        KINDS.iter().enumerate().map(|(k, name)| format!("\"{name}\": {:.2}", ms(&|lap| lap.kind == k))).collect();
    let levels: Vec<String> =
        (0..3 * LEVELS).map(|i| format!("{:.2}", ms(&|lap| lap.kind == i % 3 && lap.level == i / 3))).collect();
    let levels: Vec<String> = levels.chunks(3).map(|l| format!("[{}]", l.join(", "))).collect();
    println!(
        "{{\"work\": \"flow\", \"isa\": \"{}\", \"threads\": {}, \"params\": {}, \"loss\": [{first:.4}, {loss:.4}], \
         \"adflow\": {{\"min\": {:.2}, \"p50\": {:.2}, \"p90\": {:.2}, \"n\": {}}}, \"quiet\": {:.2}, \"kinds\": {{{}}}, \
         \"linear_dx_dw_by_level\": [{}]}}",
        cpu.isa().name(),
        threads.count(),
        step.params.len(),
        times[0],
        at(0.5),
        at(0.9),
        times.len(),
        ms(&|_| true),
        kinds.join(", "),
        levels.join(", "),
    );
}
