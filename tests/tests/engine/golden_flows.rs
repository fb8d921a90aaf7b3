//! The flows against PyTorch and FrEIA: `golden/flows.txt`, made by `golden/make_flows.py`.
//!
//! The dense flow there is a plain recursion, the blocks of DifferNet and FastFlow are FrEIA's. Latent, log-determinant, loss, gradients
//! and three steps of Adam are compared; parameters are drawn on both sides from the same counter.

use adflow::cpu::{Cpu, Isa};
use adflow::flows::{DenseFlow, DifferNetFlow, FastFlow, Kernels};
use adflow::plan::BLOCK;
use adflow::threads::Threads;
use adflow_tests::compare::{Tolerance, difference};
use adflow_tests::flows::Flow;
use adflow_tests::owned::Owned;

const BATCH: usize = 5;

/// The numbers of `make_flows.py`: splitmix64's mixing of a counter, in −1..1.
fn draw(seed: u64, count: usize) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let mut x =
                (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
            x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^= x >> 31;
            (x >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// The order that sorts the numbers drawn.
fn permutation(seed: u64, n: usize) -> Vec<f32> {
    let drawn = draw(seed, n);
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by(|&a, &b| drawn[a as usize].total_cmp(&drawn[b as usize]));
    order.into_iter().map(f32::from_bits).collect()
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|n| n.parse().expect("a number")).collect()
}

/// Fails where norm or projection of `values` is off by more than `tolerance` of the norm.
fn check_digest(what: &str, values: &[f64], seed: u64, want: &[f64], tolerance: f64) {
    let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let projected: f64 = values.iter().zip(draw(5000 + seed, values.len())).map(|(v, r)| v * f64::from(r)).sum();
    let off = (norm - want[0]).abs().max((projected - want[1]).abs()) / want[0];
    assert!(off < tolerance, "{what}: norm and projection {norm:e} {projected:e}, golden {want:?}");
}

fn check(flow: Flow, section: &str) {
    let mut params = flow.init(0);
    let dims = flow.dims() as usize;
    let line = |key: &str| {
        let found = section.lines().find(|l| l.starts_with(key) && l[key.len()..].starts_with(' '));
        numbers(&found.unwrap_or_else(|| panic!("no {key}"))[key.len()..])
    };
    let golden: Vec<(&str, Vec<f64>)> = section
        .lines()
        .filter_map(|l| l.strip_prefix("param "))
        .map(|l| l.split_once(' ').map(|(name, rest)| (name, numbers(rest))).expect("a parameter"))
        .collect();
    assert_eq!(golden.len(), params.iter().filter(|p| p.trainable).count(), "each parameter has a golden line");
    for (name, n) in &golden {
        let param = params.get_mut(name).unwrap_or_else(|| panic!("no parameter {name}"));
        param.data = draw(n[0] as u64, param.data.len()).into_iter().map(|v| v * n[1] as f32).collect();
    }
    for block in 0..2 {
        let name = if let Flow::Fast(..) = flow { "map.step" } else { "block" };
        let index = params.get_mut(&format!("{name}{block}.permutation")).expect("a permutation");
        index.data = permutation(900 + block, index.data.len());
    }
    let x: Vec<f32> = draw(7777, BATCH * dims).into_iter().map(|v| 2.0 * v).collect();
    let (packed, layout) = (params.pack(), params.layout());
    let threads = Threads::serial();
    let offset = |name: &str| layout.offsets[params.find(name).expect("a parameter")] as usize * BLOCK;
    for isa in Isa::all() {
        let cpu = Cpu::with_isa(isa, &threads);
        let localize = flow.localize_program(&params);
        let mut owned = Owned::new(&localize.program(), BATCH, cpu, &packed, f32::NAN).expect("sizes");
        let mut session = owned.session(localize.program(), BATCH, cpu).expect("enough memory");
        session.input("x").expect("x").copy_from_slice(&x);
        session.run();
        for (name, key) in [("z", "z"), ("log_det", "log_det"), ("gx", "gx")] {
            let got = session.output(name).expect("an output");
            if let Some(text) = difference(got, &line(key), Tolerance::Scaled(3e-6)) {
                panic!("{flow:?}, {}, {name}: {text}", isa.name());
            }
        }

        let train = flow.train_program(&params);
        let mut owned = Owned::new(&train.program(), BATCH, cpu, &packed, f32::NAN).expect("sizes");
        let losses = line("losses");
        for (step, loss) in losses.iter().enumerate() {
            let mut session = owned.session(train.program(), BATCH, cpu).expect("enough memory");
            session.input("x").expect("x").copy_from_slice(&x);
            session.input("control").expect("control").copy_from_slice(&[2e-4, (step + 1) as f32]);
            session.run();
            let got = f64::from(session.output("loss").expect("the loss")[0]);
            assert!((got - loss).abs() < 2e-6 * loss.abs(), "{flow:?}, step {step}: loss {got}, golden {loss}");
            if step == 0 {
                for (name, n) in &golden {
                    let len = params.get(name).map_or(0, |p| p.data.len());
                    let grad: Vec<f64> = owned.grads[offset(name)..][..len].iter().map(|&g| f64::from(g)).collect();
                    check_digest(&format!("gradient of {name}"), &grad, n[0] as u64, &n[2..4], 1e-5);
                }
            }
        }
        for (name, n) in &golden {
            let before = &params.get(name).expect("a parameter").data;
            let after = &owned.params[offset(name)..][..before.len()];
            let change: Vec<f64> = after.iter().zip(before).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
            // A change of 1e-4 in a weight of 0.1 is itself rounded to five digits.
            check_digest(&format!("change of {name}"), &change, n[0] as u64, &n[4..6], 1e-3);
        }
    }
}

#[test]
fn flows_agree_with_torch_and_freia() {
    let golden = include_str!("../../golden/flows.txt");
    let (dense, rest) = golden.split_once("flow differnet").expect("three flows");
    let (differnet, fastflow) = rest.split_once("flow fastflow").expect("three flows");
    check(Flow::Dense(DenseFlow { dims: 24, blocks: 2, width: 16, clamp: 2.0, zero_last: true }), dense);
    check(Flow::DifferNet(DifferNetFlow { dims: 16, blocks: 2, width: 24, clamp: 3.0 }), differnet);
    let fast = FastFlow { channels: 5, steps: 2, kernels: Kernels::ThreeOne, ratio: 1.5, clamp: 2.0 };
    check(Flow::Fast(fast, 4, 3), fastflow);
}
