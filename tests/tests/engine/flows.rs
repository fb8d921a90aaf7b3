//! The laws every flow obeys, on all flows: the level-wise dense flow is the recursion it comes from, the inverse undoes
//! the forward direction, log_det is the Jacobian's, gradients are those of the loss, and training finds a density.

use adflow::cpu::{Cpu, Isa};
use adflow::flows::{DenseFlow, DifferNetFlow, FastFlow, Kernels, PositionFlow, Ssnf};
use adflow::graph::Graph;
use adflow::op::{Adam, BatchMean, CellHinge};
use adflow::params::Params;
use adflow::place::{OwnedProgram, Reuse, place};
use adflow::plan::BLOCK;
use adflow::rng::Rng;
use adflow::shape::Shape;
use adflow::threads::Threads;
use adflow_tests::compare::{Tolerance, bits_differ, difference};
use adflow_tests::flows::{Flow, recursion};
use adflow_tests::owned::Owned;
use adflow_tests::reference::Executor;

const DENSE_24: Flow = Flow::Dense(DenseFlow { dims: 24, blocks: 2, width: 16, clamp: 2.0, zero_last: false });
const DIFFERNET_16: Flow = Flow::DifferNet(DifferNetFlow { dims: 16, blocks: 3, width: 24, clamp: 3.0 });
/// Levels with nodes of two sizes, and channels without a node.
const ODD_13: Flow = Flow::Dense(DenseFlow { dims: 13, blocks: 2, width: 16, clamp: 2.0, zero_last: false });
/// On a map of 3×3, an odd number of channels.
const FAST_5: Flow = fast(Kernels::ThreeOne);
/// With attention, on a map of 4×4.
const SSNF_6: Flow = Flow::Ssnf(SSNF, 4, 4);
const SSNF: Ssnf =
    Ssnf { channels: 6, steps: 2, width: 4, convolutions: 1, attentions: 1, clamp: 2.0, zero_last: false };
/// A tree of couplings a block, on a map of 2×3.
const POSITION_5: Flow =
    Flow::Position(PositionFlow { channels: 5, blocks: 2, width: 10, depth: 1, clamp: 1.0, zero_last: false }, 2, 3);
const ALL: [Flow; 6] = [DENSE_24, ODD_13, DIFFERNET_16, FAST_5, SSNF_6, POSITION_5];

const fn fast(kernels: Kernels) -> Flow {
    Flow::Fast(FastFlow { channels: 5, steps: 3, kernels, ratio: 1.5, clamp: 2.0 }, 3, 3)
}

fn normal(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0, 0);
    (0..len).map(|_| rng.normal() as f32).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Runs a program with one input and returns the outputs asked for.
fn run<const N: usize>(
    cpu: Cpu<'_>,
    plan: &OwnedProgram,
    params: &[f32],
    input: (&str, &[f32]),
    outputs: [&str; N],
) -> [Vec<f32>; N] {
    let program = plan.program();
    let dims = program.bindings().find(|b| b.0 == input.0).expect("the input").1.shape.len();
    let batch = input.1.len() / dims;
    let mut owned = Owned::new(&program, batch, cpu, params, f32::NAN).expect("sizes");
    let mut session = owned.session(program, batch, cpu).expect("enough memory");
    session.input(input.0).expect("the input").copy_from_slice(input.1);
    session.run();
    outputs.map(|name| session.output(name).expect("an output").to_vec())
}

/// The reference bound to the forward program, for one sample or more.
fn reference<'p>(plan: &'p OwnedProgram, params: &[f32], x: &[f64], dims: u32) -> Executor<'p> {
    let mut executor = Executor::new(plan.program(), x.len() / dims as usize, params);
    executor.set("x", x);
    executor
}

/// Level by level equals node by node, also where sizes are odd and levels have gaps.
#[test]
fn the_dense_flow_is_its_recursion() {
    let threads = Threads::serial();
    for (dims, blocks, width) in
        [(8, 2, 16), (12, 2, 16), (13, 2, 16), (24, 2, 16), (37, 1, 24), (441, 1, 64), (768, 1, 96)]
    {
        let config = DenseFlow { dims, blocks, width, clamp: 2.0, zero_last: false };
        let flow = Flow::Dense(config);
        let params = flow.init(3);
        let plan = flow.forward_program(&params);
        let x = normal(1, 2 * dims as usize);
        let mut exact = reference(&plan, &params.pack(), &wide(&x), dims);
        exact.run();
        let mut want_z = Vec::new();
        let mut want_j = Vec::new();
        for sample in wide(&x).chunks(dims as usize) {
            let (z, j) = recursion(&config, &params, sample);
            want_z.extend(z);
            want_j.push(j);
        }
        for (name, want) in [("z", &want_z), ("log_det", &want_j)] {
            let off = exact.get(name).iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-12 * dims as f64, "D = {dims}, {name} in f64: off by {off:e}");
        }
        for isa in Isa::all() {
            let cpu = Cpu::with_isa(isa, &threads);
            let [z, j] = run(cpu, &plan, &params.pack(), ("x", &x), ["z", "log_det"]);
            // A log-determinant is a sum of up to 767 terms of both signs, which may cancel.
            for (name, got, want, share) in [("z", z, &want_z, 1e-6), ("log_det", j, &want_j, 4e-6)] {
                if let Some(text) = difference(&got, want, Tolerance::Scaled(share)) {
                    panic!("D = {dims}, {name}, {}: {text}", isa.name());
                }
            }
        }
    }
}

#[test]
fn the_inverse_undoes_the_forward_direction() {
    let threads = Threads::new(2);
    let cpu = Cpu::detect(&threads);
    let large = Flow::Dense(DenseFlow { zero_last: false, ..DenseFlow::paper(768) });
    for flow in [DENSE_24, ODD_13, DIFFERNET_16, FAST_5, fast(Kernels::Three), SSNF_6, large] {
        let mut params = flow.init(4);
        if flow.dims() == 768 {
            // Ten times smaller last layers, as in a flow that has begun to train.
            let last: Vec<String> = params.iter().map(|p| p.name.clone()).filter(|n| n.contains(".3.")).collect();
            for name in last {
                params.get_mut(&name).expect("a layer").data.iter_mut().for_each(|w| *w *= 0.1);
            }
        }
        let x = normal(5, 3 * flow.dims() as usize);
        let packed = params.pack();
        let [z] = run(cpu, &flow.forward_program(&params), &packed, ("x", &x), ["z"]);
        let [back] = run(cpu, &flow.inverse_program(&params), &packed, ("z", &z), ["x"]);
        let off = x.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 1e-4, "{flow:?}: off by {off:e}");
        let moved = x.iter().zip(&z).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved > 0.1, "{flow:?} does nothing");
    }
}

/// Determinant by elimination with pivots: the logarithm of its magnitude.
fn log_abs_det(mut m: Vec<Vec<f64>>) -> f64 {
    let mut sum = 0.0;
    for c in 0..m.len() {
        let pivot = (c..m.len()).max_by(|&a, &b| m[a][c].abs().total_cmp(&m[b][c].abs())).expect("rows");
        m.swap(c, pivot);
        sum += m[c][c].abs().ln();
        for r in c + 1..m.len() {
            let f = m[r][c] / m[c][c];
            for k in c..m.len() {
                m[r][k] -= f * m[c][k];
            }
        }
    }
    sum
}

/// ∂z/∂x of one sample by central differences in f64.
fn jacobian(plan: &OwnedProgram, params: &[f32], x: &[f64]) -> Vec<Vec<f64>> {
    let dims = x.len();
    let h = 1e-6;
    let mut executor = reference(plan, params, x, dims as u32);
    let mut columns = Vec::new();
    for i in 0..dims {
        let mut z = [h, -h].map(|delta| {
            executor.input("x")[i] = x[i] + delta;
            executor.run();
            executor.get("z").to_vec()
        });
        executor.input("x")[i] = x[i];
        let below = z[1].clone();
        z[0].iter_mut().zip(below).for_each(|(a, b)| *a = (*a - b) / (2.0 * h));
        columns.push(z[0].clone());
    }
    (0..dims).map(|r| columns.iter().map(|c| c[r]).collect()).collect()
}

#[test]
fn log_det_is_the_jacobians() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    for flow in ALL {
        let params = flow.init(6);
        let plan = flow.forward_program(&params);
        let x = normal(7, flow.dims() as usize);
        let want = log_abs_det(jacobian(&plan, &params.pack(), &wide(&x)));
        let [j] = run(cpu, &plan, &params.pack(), ("x", &x), ["log_det"]);
        assert!((f64::from(j[0]) - want).abs() < 1e-5, "{flow:?}: log_det {}, Jacobian {want}", j[0]);
        assert!(want.abs() > 1e-2, "{flow:?}: nothing to compare");
    }
}

/// What the positions add to the log-determinant is the log-determinant, and z does not depend on how it is counted.
#[test]
fn positions_sum_to_the_log_det() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    for flow in [FAST_5, SSNF_6] {
        let params = flow.init(20);
        let (x, packed) = (normal(21, 2 * flow.dims() as usize), params.pack());
        let [z, j] = run(cpu, &flow.forward_program(&params), &packed, ("x", &x), ["z", "log_det"]);
        let [same, cells] = run(cpu, &flow.map_program(&params), &packed, ("x", &x), ["z", "cells"]);
        assert_eq!(bits_differ(&z, &same), None, "{flow:?}");
        let sums: Vec<f64> = cells.chunks(flow.shape().positions()).map(|c| wide(c).iter().sum()).collect();
        if let Some(text) = difference(&j, &sums, Tolerance::Scaled(2e-6)) {
            panic!("{flow:?}: {text}");
        }
    }
}

/// Without blocks of its own the flow of SSNF is FastFlow with 3×3 kernels.
#[test]
fn ssnf_without_blocks_is_fastflow() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let bare = Flow::Ssnf(Ssnf { width: 6, convolutions: 0, attentions: 0, ..SSNF }, 4, 4);
    let fast = FastFlow { channels: 6, steps: 2, kernels: Kernels::Three, ratio: 2.0, clamp: 2.0 };
    let fast = Flow::Fast(fast, 4, 4);
    let (params, mut same) = (bare.init(22), fast.init(23));
    for p in params.iter() {
        let name = p.name.replace(".first.", ".1.").replace(".last.", ".2.");
        same.get_mut(&name).unwrap_or_else(|| panic!("{name}")).data.clone_from(&p.data);
    }
    let x = normal(24, 2 * bare.dims() as usize);
    let outputs = ["z", "log_det", "loss"];
    let one = run(cpu, &bare.forward_program(&params), &params.pack(), ("x", &x), outputs);
    let other = run(cpu, &fast.forward_program(&same), &same.pack(), ("x", &x), outputs);
    assert_eq!(bits_differ(&one.concat(), &other.concat()), None);
}

/// The loss of SSNF towards the likelihood of each cell: normal cells pull by their weight, anomalous ones push until they are
/// beyond the margin and then not at all.
#[test]
fn cells_beyond_the_margin_do_not_push() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut g = Graph::new();
    let (n, w) = (g.input("n", Shape::chw(1, 1, 5)), g.input("w", Shape::chw(1, 1, 5)));
    let b = g.control("b", Shape::SCALAR);
    let sum = g.emit("sum", CellHinge { margin: 1.0 }, &[n, w, b]).expect("shapes fit");
    let loss = g.emit("loss", BatchMean {}, &[sum]).expect("shapes fit");
    let gn = g.backward(loss, &[n]).expect("differentiable")[0].expect("the loss depends on n");
    g.output("loss", loss);
    g.output("gn", gn);
    let plan = place("hinge", &g, &Params::new().layout(), Reuse::Share).expect("a valid plan");
    let mut owned = Owned::new(&plan.program(), 1, cpu, &[], f32::NAN).expect("sizes");
    let mut session = owned.session(plan.program(), 1, cpu).expect("enough memory");
    // Normal, ignored, and anomalous below the limit of 1.5, on it and beyond.
    session.input("n").expect("n").copy_from_slice(&[0.25, 9.0, 1.0, 1.5, 80.0]);
    session.input("w").expect("w").copy_from_slice(&[2.0, 0.0, -0.5, -0.5, -0.5]);
    session.input("b").expect("b").copy_from_slice(&[0.5]);
    session.run();
    assert_eq!(session.output("loss").expect("the loss"), [0.75]);
    assert_eq!(bits_differ(session.output("gn").expect("gn"), &[2.0, 0.0, -0.5, 0.0, 0.0]), None);
}

/// SSNF's loss of a flow's likelihoods, per cell: input `x`, `w` and `b`, outputs `n`, `loss`, and a step where `train`.
fn contrast_program(flow: &Ssnf, side: u32, params: &Params, train: bool) -> OwnedProgram {
    let mut g = Graph::new();
    let x = g.input("x", Shape::chw(flow.channels, side, side));
    let (w, b) = (g.input("w", Shape::chw(1, side, side)), g.control("b", Shape::SCALAR));
    let (z, j) = flow.forward_map(&mut g, params, "map", x).expect("a flow");
    let n = flow.likelihood(&mut g, "map", z, j).expect("shapes fit");
    let sum = g.emit("sum", CellHinge { margin: 1.0 }, &[n, w, b]).expect("shapes fit");
    let loss = g.emit("loss", BatchMean {}, &[sum]).expect("shapes fit");
    g.output("n", n);
    g.output("loss", loss);
    if train {
        let adam = Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: 1.0 };
        g.train(loss, params, adam).expect("differentiable");
    }
    place("contrast", &g, &params.layout(), Reuse::Share).expect("a valid plan")
}

/// Where all cells are normal, SSNF's loss is the negative log-likelihood of the samples.
#[test]
fn without_anomalies_the_loss_is_the_likelihood() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let flow = Flow::Ssnf(SSNF, 4, 4);
    let (params, x) = (flow.init(27), normal(28, 3 * flow.dims() as usize));
    let [want] = run(cpu, &flow.forward_program(&params), &params.pack(), ("x", &x), ["loss"]);
    let plan = contrast_program(&SSNF, 4, &params, false);
    let mut owned = Owned::new(&plan.program(), 3, cpu, &params.pack(), f32::NAN).expect("sizes");
    let mut session = owned.session(plan.program(), 3, cpu).expect("enough memory");
    session.input("x").expect("x").copy_from_slice(&x);
    // Three samples of 16 cells, 3/48 each.
    session.input("w").expect("w").fill(3.0 / 48.0);
    session.input("b").expect("b").fill(0.0);
    session.run();
    let got = session.output("loss").expect("the loss")[0];
    assert!((got - want[0]).abs() <= 1e-6 * want[0].abs(), "{got} {}", want[0]);
}

/// Points of a ring, and anomalies in its middle, where a flow that knows good points only finds them likely.
fn ring(step: u64, count: usize) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Rng::new(29, step, 0);
    let mut points = |radius: f32, deviation: f64| -> Vec<f32> {
        (0..count)
            .flat_map(|_| {
                let (turn, [dx, dy]) = (rng.range(0.0..std::f32::consts::TAU), [rng.normal(), rng.normal()]);
                [radius * turn.cos() + (deviation * dx) as f32, radius * turn.sin() + (deviation * dy) as f32]
            })
            .collect()
    };
    (points(2.0, 0.5), points(0.0, 0.2))
}

/// Mean negative log-likelihood of good points and of anomalies never seen, and b, after training with λ.
fn contrast(lambda: f32) -> (f64, f64, f64) {
    const HALF: usize = 64;
    let flow = Ssnf { channels: 2, steps: 4, width: 16, convolutions: 1, attentions: 0, clamp: 2.0, zero_last: true };
    let mut params = Params::new();
    flow.init(&mut params, "map", 30).expect("a flow");
    let plan = contrast_program(&flow, 1, &params, true);
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut owned = Owned::new(&plan.program(), 2 * HALF, cpu, &params.pack(), 0.0).expect("sizes");
    let mut session = owned.session(plan.program(), 2 * HALF, cpu).expect("enough memory");
    let (mut b, mut means) = (0.0, (0.0, 0.0));
    for step in 0..STEPS {
        let (good, bad) = ring(step, HALF);
        session.input("x").expect("x").copy_from_slice(&[good, bad].concat());
        let share = if step < STEPS / 10 { 0.0 } else { lambda };
        let w = session.input("w").expect("w");
        w[..HALF].fill(2.0);
        w[HALF..].fill(-2.0 * share);
        session.input("b").expect("b")[0] = b as f32;
        let rate = 5e-3 * (1.0 - step as f32 / STEPS as f32) + 1e-5;
        session.input("control").expect("control").copy_from_slice(&[rate, step as f32 + 1.0]);
        session.run();
        let n = wide(session.output("n").expect("n"));
        let mean = |n: &[f64]| n.iter().sum::<f64>() / n.len() as f64;
        let now = (mean(&n[..HALF]), mean(&n[HALF..]));
        b = if step == 0 { now.0 } else { 0.99 * b + 0.01 * now.0 };
        // The last tenth, whose points are as new as any: every step draws its own.
        if step >= STEPS - STEPS / 10 {
            let share = 1.0 / (STEPS / 10) as f64;
            means = (means.0 + share * now.0, means.1 + share * now.1);
        }
    }
    (means.0, means.1, b)
}

const STEPS: u64 = 700;

/// Anomalies are pushed to the margin and left there, and good points pay next to nothing for it.
#[test]
fn anomalies_stop_at_the_margin() {
    let (alone, middle, _) = contrast(0.0);
    let (good, bad, b) = contrast(0.5);
    println!("good {alone:.4} and {good:.4}, anomalies {middle:.4} and {bad:.4}, b {b:.4}");
    assert!(middle < b + 0.7, "there is nothing to push: {middle}");
    assert!((b + 0.9..b + 1.3).contains(&bad), "anomalies at {bad}, b + m = {}", b + 1.0);
    assert!(good <= alone + 0.01 * alone.abs(), "good points at {good}, {alone} without anomalies");
}

/// A fresh SSNF flow only permutes: its last layers are zero and every scale is one.
#[test]
fn a_fresh_ssnf_flow_keeps_the_norm() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let flow = Flow::Ssnf(Ssnf { zero_last: true, ..SSNF }, 4, 4);
    let (params, x) = (flow.init(25), normal(26, flow.dims() as usize));
    let [z, j] = run(cpu, &flow.forward_program(&params), &params.pack(), ("x", &x), ["z", "log_det"]);
    let norm = |x: &[f32]| wide(x).iter().map(|x| x * x).sum::<f64>();
    assert!((norm(&z) / norm(&x) - 1.0).abs() < 1e-5 && j[0].abs() < 1e-4, "{} {} {j:?}", norm(&z), norm(&x));
}

/// One block in permuted coordinates changes a channel only by channels before it.
#[test]
fn a_dense_block_is_lower_triangular() {
    let config = DenseFlow { dims: 24, blocks: 1, width: 16, clamp: 2.0, zero_last: false };
    let flow = Flow::Dense(config);
    let params = flow.init(8);
    let plan = flow.forward_program(&params);
    let order: Vec<usize> =
        params.get("block0.permutation").expect("a permutation").data.iter().map(|i| i.to_bits() as usize).collect();
    let jacobian = jacobian(&plan, &params.pack(), &wide(&normal(9, 24)));
    let mut filled = 0;
    for r in 0..24 {
        for c in 0..24 {
            let d = jacobian[r][order[c]];
            assert!(c <= r || d == 0.0, "∂z[{r}]/∂h[{c}] = {d}");
            filled += usize::from(c < r && d != 0.0);
        }
    }
    // All below the diagonal but the one entry inside each of the 8 leaves of three.
    assert!(filled > 250 && filled <= 24 * 23 / 2 - 8, "{filled} entries");
}

/// The loss's gradient towards the input and towards every parameter, by central differences of the reference.
#[test]
fn gradients_are_those_of_the_loss() {
    let threads = Threads::serial();
    for flow in ALL {
        let params = flow.init(10);
        let packed = params.pack();
        let x = normal(11, 3 * flow.dims() as usize);
        let forward = flow.forward_program(&params);
        let mut exact = reference(&forward, &packed, &wide(&x), flow.dims());
        let h = 1e-5;
        // What the differences give for each element of one tensor.
        let mut differences = |len: usize, nudge: &dyn Fn(&mut Executor<'_>, usize, f64)| -> Vec<f64> {
            (0..len)
                .map(|i| {
                    let [above, below] = [h, -2.0 * h].map(|delta| {
                        nudge(&mut exact, i, delta);
                        exact.run();
                        exact.get("loss")[0]
                    });
                    nudge(&mut exact, i, h);
                    (above - below) / (2.0 * h)
                })
                .collect()
        };
        let want_x = differences(x.len(), &|e, i, delta| e.input("x")[i] += delta);
        let layout = params.layout();
        let trainable: Vec<(usize, &adflow::params::Param)> =
            params.iter().enumerate().filter(|(_, p)| p.trainable).collect();
        let want: Vec<Vec<f64>> = trainable
            .iter()
            .map(|(i, p)| {
                let offset = layout.offsets[*i] as usize * BLOCK;
                differences(p.data.len(), &|e, at, delta| e.params()[offset + at] += delta)
            })
            .collect();

        let (localize, train) = (flow.localize_program(&params), flow.train_program(&params));
        for isa in Isa::all() {
            let cpu = Cpu::with_isa(isa, &threads);
            let [gx] = run(cpu, &localize, &packed, ("x", &x), ["gx"]);
            if let Some(text) = difference(&gx, &want_x, Tolerance::Scaled(1e-5)) {
                panic!("{flow:?}, {}, gx: {text}", isa.name());
            }
            let program = train.program();
            let mut owned = Owned::new(&program, 3, cpu, &packed, f32::NAN).expect("sizes");
            let mut session = owned.session(program, 3, cpu).expect("enough memory");
            session.input("x").expect("x").copy_from_slice(&x);
            session.input("control").expect("control").copy_from_slice(&[1e-3, 1.0]);
            session.run();
            for ((i, p), want) in trainable.iter().zip(&want) {
                let got = &owned.grads[layout.offsets[*i] as usize * BLOCK..][..p.data.len()];
                if let Some(text) = difference(got, want, Tolerance::Scaled(2e-5)) {
                    panic!("{flow:?}, {}, gradient of {}: {text}", isa.name(), p.name);
                }
            }
        }
    }
}

/// With zero last layers the flow only permutes: z is the permuted input bit for bit, log_det 0, the loss ½·mean(x²).
#[test]
fn zero_last_layers_are_a_permutation() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let config = DenseFlow { dims: 24, blocks: 3, width: 16, clamp: 2.0, zero_last: true };
    let flow = Flow::Dense(config);
    let params = flow.init(12);
    let x = normal(13, 2 * 24);
    let [z, j, loss] = run(cpu, &flow.forward_program(&params), &params.pack(), ("x", &x), ["z", "log_det", "loss"]);
    let mut want = Vec::new();
    for sample in x.chunks(24) {
        let mut h = sample.to_vec();
        for block in 0..3 {
            let index = params.get(&format!("block{block}.permutation")).expect("a permutation");
            h = index.data.iter().map(|i| h[i.to_bits() as usize]).collect();
        }
        want.extend(h);
    }
    assert_eq!(bits_differ(&z, &want), None);
    assert!(j.iter().all(|&j| j == 0.0), "{j:?}");
    let half_mean = wide(&x).iter().map(|x| 0.5 * x * x).sum::<f64>() / x.len() as f64;
    assert!((f64::from(loss[0]) - half_mean).abs() < 1e-6 * half_mean);
}

#[test]
fn threads_and_batches_change_no_bit() {
    let (one, two) = (Threads::serial(), Threads::new(2));
    for flow in ALL {
        let params = flow.init(14);
        let (plan, packed) = (flow.forward_program(&params), params.pack());
        let dims = flow.dims() as usize;
        let x = normal(15, 33 * dims);
        for isa in Isa::all() {
            let [serial, parallel] = [&one, &two]
                .map(|threads| run(Cpu::with_isa(isa, threads), &plan, &packed, ("x", &x), ["z", "log_det"]).concat());
            assert_eq!(bits_differ(&serial, &parallel), None, "{flow:?} {}", isa.name());
            for n in [0, 7, 32] {
                let alone = &x[n * dims..][..dims];
                let [z, j] = run(Cpu::with_isa(isa, &one), &plan, &packed, ("x", alone), ["z", "log_det"]);
                assert_eq!(bits_differ(&z, &serial[n * dims..][..dims]), None, "{flow:?} {}", isa.name());
                assert_eq!(bits_differ(&j, &serial[33 * dims + n..][..1]), None, "{flow:?} {}", isa.name());
            }
        }
    }
}

/// Four clusters on a circle in the first two channels, the others correlated with them.
fn mixture(seed: u64, count: usize, dims: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0, 1);
    let mut out = Vec::new();
    for _ in 0..count {
        let angle = f64::from(rng.below(4)) * std::f64::consts::FRAC_PI_2;
        let (a, b) = (2.0 * angle.cos() + 0.3 * rng.normal(), 2.0 * angle.sin() + 0.3 * rng.normal());
        out.push(a as f32);
        out.push(b as f32);
        for k in 2..dims {
            out.push((0.5 * a * b * (k as f64 - 2.5) / dims as f64 + 0.5 * rng.normal()) as f32);
        }
    }
    out
}

/// Negative log-likelihood per sample under the Gaussian fitted to `train`.
fn gaussian_nll(train: &[f32], test: &[f32], dims: usize) -> f64 {
    let n = (train.len() / dims) as f64;
    let mut mean = vec![0.0; dims];
    for (i, x) in train.iter().enumerate() {
        mean[i % dims] += f64::from(*x) / n;
    }
    let mut covariance = vec![vec![0.0; dims]; dims];
    for x in train.chunks(dims) {
        for r in 0..dims {
            for c in 0..dims {
                covariance[r][c] += (f64::from(x[r]) - mean[r]) * (f64::from(x[c]) - mean[c]) / n;
            }
        }
    }
    let log_det = log_abs_det(covariance.clone());
    let mut sum = 0.0;
    for x in test.chunks(dims) {
        let centred: Vec<f64> = (0..dims).map(|i| f64::from(x[i]) - mean[i]).collect();
        // Solves covariance · y = centred by elimination.
        let mut m: Vec<Vec<f64>> = covariance.iter().zip(&centred).map(|(r, c)| [&r[..], &[*c]].concat()).collect();
        for c in 0..dims {
            for r in c + 1..dims {
                let f = m[r][c] / m[c][c];
                for k in c..=dims {
                    m[r][k] -= f * m[c][k];
                }
            }
        }
        let mut y = vec![0.0; dims];
        for r in (0..dims).rev() {
            y[r] = (m[r][dims] - (r + 1..dims).map(|c| m[r][c] * y[c]).sum::<f64>()) / m[r][r];
        }
        sum += 0.5 * centred.iter().zip(&y).map(|(a, b)| a * b).sum::<f64>();
    }
    let constant = 0.5 * (dims as f64 * std::f64::consts::TAU.ln() + log_det);
    sum / (test.len() / dims) as f64 + constant
}

/// Trains for some steps on fresh batches and returns the parameters.
fn train(flow: Flow, params: &Params, cpu: Cpu<'_>, steps: u32, data: &dyn Fn(u64) -> Vec<f32>) -> Vec<f32> {
    let plan = flow.train_program(params);
    let program = plan.program();
    let batch = data(0).len() / flow.dims() as usize;
    let mut owned = Owned::new(&program, batch, cpu, &params.pack(), 0.0).expect("sizes");
    let mut session = owned.session(program, batch, cpu).expect("enough memory");
    for step in 1..=steps {
        session.input("x").expect("x").copy_from_slice(&data(u64::from(step)));
        session.input("control").expect("control").copy_from_slice(&[5e-3, step as f32]);
        session.run();
    }
    owned.params
}

/// A flow that is trained on a mixture explains held-out samples better than the best Gaussian, and its own samples
/// lie on the mixture's clusters.
#[test]
fn training_finds_a_mixture() {
    let threads = Threads::new(2);
    let cpu = Cpu::detect(&threads);
    let dims = 6;
    let flow = Flow::Dense(DenseFlow { dims: 6, blocks: 4, width: 32, clamp: 2.0, zero_last: true });
    let params = flow.init(16);
    let trained = train(flow, &params, cpu, 700, &|step| mixture(100 + step, 128, dims));
    let test = mixture(1, 2000, dims);
    let [z, j] = run(cpu, &flow.forward_program(&params), &trained, ("x", &test), ["z", "log_det"]);
    let constant = 0.5 * dims as f64 * std::f64::consts::TAU.ln();
    let per_sample = |(z, j): (&[f32], &f32)| 0.5 * wide(z).iter().map(|z| z * z).sum::<f64>() - f64::from(*j);
    let nll = z.chunks(dims).zip(&j).map(per_sample).sum::<f64>() / 2000.0 + constant;
    let gaussian = gaussian_nll(&mixture(2, 5000, dims), &test, dims);
    println!("NLL of the flow {nll:.3}, of a Gaussian {gaussian:.3}");
    assert!(nll < gaussian - 0.5, "NLL of the flow {nll:.3}, of a Gaussian {gaussian:.3}");

    let samples = run(cpu, &flow.inverse_program(&params), &trained, ("z", &normal(17, 4000 * dims)), ["x"]);
    let mut counts = [0u32; 5];
    for x in samples[0].chunks(dims) {
        let near = (0..4).find(|k| {
            let angle = *k as f32 * std::f32::consts::FRAC_PI_2;
            (x[0] - 2.0 * angle.cos()).hypot(x[1] - 2.0 * angle.sin()) < 0.9
        });
        counts[near.unwrap_or(4)] += 1;
    }
    println!("samples on each cluster and elsewhere: {counts:?}");
    assert!(counts[..4].iter().all(|c| (600..1400).contains(c)) && counts[4] < 800, "{counts:?}");
}
