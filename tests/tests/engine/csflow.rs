//! The laws of CS-Flow, whose features are three maps: the inverse undoes the forward direction, log_det is the Jacobian's,
//! gradients are those of the loss, and a fresh flow only permutes.

use adflow::cpu::Cpu;
use adflow::flows::{CsFlow, SCALES};
use adflow::graph::{Graph, TensorId};
use adflow::op::{Add, BatchMean, Scale, SquareSum};
use adflow::params::Params;
use adflow::place::{OwnedProgram, Reuse, place};
use adflow::rng::Rng;
use adflow::shape::Shape;
use adflow::threads::Threads;
use adflow_tests::owned::Owned;
use adflow_tests::reference::Executor;

const FLOW: CsFlow = CsFlow { channels: 4, blocks: 2, width: 6, clamp: 3.0 };

/// Maps of 4×4, 2×2 and 1×1.
fn shape(scale: usize) -> Shape {
    Shape::chw(FLOW.channels, 4 >> scale, 4 >> scale)
}

fn maps(g: &mut Graph, name: &str) -> [TensorId; SCALES] {
    std::array::from_fn(|scale| g.input(&format!("{name}{scale}"), shape(scale)))
}

/// Parameters with every γ at a random number, so that couplings do something.
fn params(seed: u64, gamma: bool) -> Params {
    let mut params = Params::new();
    FLOW.init(&mut params, "cs", seed).unwrap();
    let mut rng = Rng::new(seed, 1, 0);
    let names: Vec<String> = params.iter().map(|p| p.name.clone()).filter(|n| n.contains(".gamma")).collect();
    for name in names.iter().filter(|_| gamma) {
        params.get_mut(name).unwrap().data[0] = rng.range(0.3..0.9);
    }
    params
}

/// Inputs `x0` to `x2`; outputs `z0` to `z2`, `log_det`, `loss`, and the gradients of the loss.
fn forward(params: &Params) -> OwnedProgram {
    let mut g = Graph::new();
    let xs = maps(&mut g, "x");
    let (zs, j) = FLOW.forward(&mut g, params, "cs", xs).unwrap();
    let mut nll = g.emit("j", Scale { factor: -1.0 }, &[j]).unwrap();
    for (scale, z) in zs.iter().enumerate() {
        let half = SquareSum { scale: 0.5, per_position: false, root: false };
        let half = g.emit(&format!("half{scale}"), half, &[*z]).unwrap();
        nll = g.emit(&format!("sum{scale}"), Add {}, &[nll, half]).unwrap();
        g.output(&format!("z{scale}"), *z);
    }
    let loss = g.emit("loss", BatchMean {}, &[nll]).unwrap();
    let mut wanted = xs.to_vec();
    let trainable: Vec<String> = params.iter().filter(|p| p.trainable).map(|p| p.name.clone()).collect();
    for name in &trainable {
        wanted.push(g.param(params, name).unwrap());
    }
    let gradients = g.backward(loss, &wanted).unwrap();
    for (at, gradient) in gradients.into_iter().enumerate() {
        g.output(&format!("g{at}"), gradient.expect("the loss depends on everything"));
    }
    g.output("log_det", j);
    g.output("loss", loss);
    place("forward", &g, &params.layout(), Reuse::Share).unwrap()
}

fn inverse(params: &Params) -> OwnedProgram {
    let mut g = Graph::new();
    let zs = maps(&mut g, "z");
    let xs = FLOW.inverse(&mut g, params, "cs", zs).unwrap();
    for (scale, x) in xs.into_iter().enumerate() {
        g.output(&format!("x{scale}"), x);
    }
    place("inverse", &g, &params.layout(), Reuse::Share).unwrap()
}

fn features(seed: u64, batch: usize) -> [Vec<f64>; SCALES] {
    std::array::from_fn(|scale| {
        let mut rng = Rng::new(seed, 2, scale as u32);
        (0..batch * shape(scale).len()).map(|_| f64::from(rng.normal() as f32)).collect()
    })
}

fn run<'p>(plan: &'p OwnedProgram, params: &[f32], batch: usize, name: &str, xs: &[Vec<f64>; SCALES]) -> Executor<'p> {
    let mut executor = Executor::new(plan.program(), batch, params);
    for (scale, x) in xs.iter().enumerate() {
        executor.set(&format!("{name}{scale}"), x);
    }
    executor.run();
    executor
}

#[test]
fn the_inverse_undoes_the_forward_direction() {
    let params = params(1, true);
    let (there, back, packed) = (forward(&params), inverse(&params), params.pack());
    let xs = features(1, 2);
    let done = run(&there, &packed, 2, "x", &xs);
    let zs = std::array::from_fn(|scale| done.get(&format!("z{scale}")).to_vec());
    assert!(zs.iter().zip(&xs).any(|(z, x): (&Vec<f64>, _)| z.iter().zip(x).any(|(z, x)| (z - x).abs() > 0.1)));
    let undone = run(&back, &packed, 2, "z", &zs);
    for (scale, x) in xs.iter().enumerate() {
        let off = undone.get(&format!("x{scale}")).iter().zip(x).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-10, "scale {scale}: off by {off:e}");
    }
    // The same on the CPU in f32.
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut owned = Owned::new(&there.program(), 2, cpu, &packed, f32::NAN).unwrap();
    let mut session = owned.session(there.program(), 2, cpu).unwrap();
    for (scale, x) in xs.iter().enumerate() {
        let input = session.input(&format!("x{scale}")).unwrap();
        input.iter_mut().zip(x).for_each(|(i, x)| *i = *x as f32);
    }
    session.run();
    let zs: Vec<Vec<f32>> = (0..SCALES).map(|s| session.output(&format!("z{s}")).unwrap().to_vec()).collect();
    let mut owned = Owned::new(&back.program(), 2, cpu, &packed, f32::NAN).unwrap();
    let mut session = owned.session(back.program(), 2, cpu).unwrap();
    for (scale, z) in zs.iter().enumerate() {
        session.input(&format!("z{scale}")).unwrap().copy_from_slice(z);
    }
    session.run();
    for (scale, x) in xs.iter().enumerate() {
        let output = session.output(&format!("x{scale}")).unwrap();
        let off = output.iter().zip(x).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-4, "scale {scale} in f32: off by {off:e}");
    }
}

/// ln |det m| by elimination.
fn log_abs_det(mut m: Vec<Vec<f64>>) -> f64 {
    let mut sum = 0.0;
    for k in 0..m.len() {
        let pivot = (k..m.len()).max_by(|&a, &b| m[a][k].abs().total_cmp(&m[b][k].abs())).unwrap();
        m.swap(k, pivot);
        sum += m[k][k].abs().ln();
        let row = m[k].clone();
        for below in &mut m[k + 1..] {
            let factor = below[k] / row[k];
            below.iter_mut().zip(&row).for_each(|(b, r)| *b -= factor * r);
        }
    }
    sum
}

#[test]
fn log_det_is_the_jacobians_and_belongs_to_the_sample() {
    let params = params(2, true);
    let (plan, packed) = (forward(&params), params.pack());
    let xs = features(2, 1);
    let all = |xs: &[Vec<f64>; SCALES]| -> Vec<f64> {
        let done = run(&plan, &packed, 1, "x", xs);
        (0..SCALES).flat_map(|scale| done.get(&format!("z{scale}")).to_vec()).collect()
    };
    let mut jacobian = Vec::new();
    for scale in 0..SCALES {
        for i in 0..xs[scale].len() {
            let step = 1e-5;
            let [up, down] = [step, -step].map(|step| {
                let mut moved = xs.clone();
                moved[scale][i] += step;
                all(&moved)
            });
            jacobian.push(up.iter().zip(&down).map(|(u, d)| (u - d) / (2.0 * step)).collect::<Vec<f64>>());
        }
    }
    let want = log_abs_det(jacobian);
    let got = run(&plan, &packed, 1, "x", &xs).get("log_det")[0];
    assert!(want.abs() > 0.1, "nothing to compare: {want}");
    assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "{got} but the Jacobian says {want}");
    // Twice the same sample: the same log-determinant and the same loss.
    let twice = xs.clone().map(|x| x.repeat(2));
    let (one, two) = (run(&plan, &packed, 1, "x", &xs), run(&plan, &packed, 2, "x", &twice));
    assert_eq!(two.get("log_det"), [got, got]);
    assert!((one.get("loss")[0] - two.get("loss")[0]).abs() < 1e-12 * one.get("loss")[0].abs());
}

#[test]
fn gradients_are_those_of_the_loss() {
    let params = params(3, true);
    let (plan, packed) = (forward(&params), params.pack());
    let xs = features(3, 2);
    let done = run(&plan, &packed, 2, "x", &xs);
    let mut rng = Rng::new(3, 9, 0);
    for scale in 0..SCALES {
        for _ in 0..4 {
            let (i, step) = (rng.below(xs[scale].len() as u32) as usize, 1e-5);
            let [up, down] = [step, -step].map(|step| {
                let mut moved = xs.clone();
                moved[scale][i] += step;
                run(&plan, &packed, 2, "x", &moved).get("loss")[0]
            });
            let (want, got) = ((up - down) / (2.0 * step), done.get(&format!("g{scale}"))[i]);
            assert!((got - want).abs() < 1e-5 * want.abs().max(0.1), "x{scale}[{i}]: {got} but {want}");
        }
    }
    for (at, param) in params.iter().filter(|p| p.trainable).enumerate() {
        let i = rng.below(param.data.len() as u32) as usize;
        let [(up, high), (down, low)] = [1e-3f32, -1e-3].map(|step| {
            let mut moved = params.clone();
            let value = &mut moved.get_mut(&param.name).unwrap().data[i];
            *value += step;
            let value = f64::from(*value);
            (run(&plan, &moved.pack(), 2, "x", &xs).get("loss")[0], value)
        });
        let (want, got) = ((up - down) / (high - low), done.get(&format!("g{}", SCALES + at))[i]);
        assert!((got - want).abs() < 2e-3 * want.abs().max(0.1), "{}[{i}]: {got} but {want}", param.name);
    }
}

#[test]
fn a_fresh_flow_only_permutes() {
    let params = params(4, false);
    let (plan, xs) = (forward(&params), features(4, 1));
    let done = run(&plan, &params.pack(), 1, "x", &xs);
    assert_eq!(done.get("log_det"), [0.0]);
    for (scale, x) in xs.iter().enumerate() {
        let plane = shape(scale).positions();
        let sorted = |v: &[f64]| {
            let mut channels: Vec<Vec<f64>> = v.chunks(plane).map(<[f64]>::to_vec).collect();
            channels.sort_by(|a, b| a[0].total_cmp(&b[0]));
            channels
        };
        assert_eq!(sorted(done.get(&format!("z{scale}"))), sorted(x), "scale {scale}");
    }
}
