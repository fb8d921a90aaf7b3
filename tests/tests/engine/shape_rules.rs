//! Shape rules at random: whatever a rule accepts must run without a panic and agree with the reference.
//!
//! Starts from the cases, changes attributes, extents and which inputs are present or batched, and runs what is still
//! accepted. The gate relies on these rules for arbitrary bytes, so they must hold far from any model that exists.

use adflow::cpu::Cpu;
use adflow::op::{ATTRS, MAX_INPUTS, Op, Types};
use adflow::rng::Rng;
use adflow::shape::Type;
use adflow::threads::Threads;
use adflow_tests::cases;
use adflow_tests::compare::{Tolerance, difference};
use adflow_tests::effort;
use adflow_tests::owned::run_op;
use adflow_tests::reference::{Step, Value, execute};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Larger tensors are not run.
const LIMIT: usize = 1 << 14;

fn mutate(op: &Op, types: &mut Types, rng: &mut Rng) -> Option<Op> {
    let mut attrs: [u32; ATTRS] = op.encode();
    for _ in 0..rng.below(3) {
        let at = rng.below(12) as usize;
        attrs[at] = match rng.below(5) {
            0 => attrs[at].wrapping_add(1),
            1 => attrs[at].wrapping_sub(1),
            2 => rng.below(6),
            // Sums and products with these leave 32 bits.
            3 => (1 << 31) + rng.below(3) * ((1 << 30) - 1),
            _ => attrs[rng.below(12) as usize],
        };
    }
    for _ in 0..rng.below(3) {
        let slot = rng.below(MAX_INPUTS as u32) as usize;
        let other = types[rng.below(MAX_INPUTS as u32) as usize];
        match (&mut types[slot], rng.below(6)) {
            (Some(t), 0) => t.batched = !t.batched,
            (Some(t), 1 | 2) => t.shape.0[rng.below(4) as usize] = 1 + rng.below(9),
            (Some(t), 3) => {
                // The same extent at the same place of all inputs.
                let (at, extent) = (rng.below(4) as usize, 1 + rng.below(5));
                t.shape.0[at] = extent;
                types.iter_mut().flatten().for_each(|t| t.shape.0[at] = extent);
            }
            (Some(_), 4) => types[slot] = None,
            (_, 5) => types[slot] = other,
            _ => {}
        }
    }
    Op::decode(op.kind(), &attrs)
}

fn len(ty: Type, batch: usize) -> usize {
    ty.shape.len() * if ty.batched { batch } else { 1 }
}

/// Whether it ran.
fn check(op: &Op, types: &Types, batch: usize, cpu: Cpu<'_>, rng: &mut Rng) -> bool {
    let Ok(output) = op.output(types) else { return false };
    let all = types.iter().flatten().copied().chain([output]);
    if all.clone().any(|t| len(t, batch) > LIMIT) || op.scratch(types, output, batch, 1) > 1 << 22 {
        return false;
    }
    // Products of a convolution grow with kernel and channels together.
    if all.map(|t| len(t, batch) as u64).product::<u64>() > 1 << 36 {
        return false;
    }
    let mut values: [Vec<f32>; MAX_INPUTS] =
        std::array::from_fn(|s| types[s].map_or_else(Vec::new, |t| uniform(len(t, batch), rng)));
    let mut state = Vec::new();
    let mut before = None;
    match op {
        Op::Permute(_) => {
            let mut order = vec![0; values[1].len()];
            rng.permutation(&mut order);
            values[1] = order.into_iter().map(f32::from_bits).collect();
        }
        Op::Adam(_) => {
            values[1].iter_mut().for_each(|v| *v = v.abs());
            values[2] = vec![0.1, 2.0];
            state = values[1].clone();
            before = Some(uniform(output.shape.len(), rng));
        }
        Op::LogScale(_) | Op::LogScaleDscale(_) => values[1].iter_mut().for_each(|v| *v = v.abs() + 0.5),
        Op::MagnitudeDx(_) => values[2].iter_mut().for_each(|v| *v = v.abs() + 0.5),
        _ => {}
    }
    let inputs = std::array::from_fn(|s| values[s].as_slice());
    let mut got_state = state.clone();
    let got = run_op(cpu, op, batch, types, inputs, before.as_deref(), &mut got_state);
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let wide_values: [Vec<f64>; MAX_INPUTS] = std::array::from_fn(|s| wide(&values[s]));
    let inputs = std::array::from_fn(|s| types[s].map(|ty| Value { ty, data: &wide_values[s] }));
    let before = wide(&before.unwrap_or_default());
    let mut state = wide(&state);
    let want = execute(op, &mut Step { batch, inputs, output_type: output, before: &before, state: &mut state });
    // A sum may cancel, and attributes may be extreme: the tight tolerances are for the cases.
    if want.iter().all(|w| w.abs() < 1e30)
        && want.iter().any(|w| w.abs() > 0.1)
        && let Some(text) = difference(&got, &want, Tolerance::Scaled(1e-4))
    {
        panic!("{text}");
    }
    // What is not a number would spread; bits that are not even numbers must not matter to control flow either.
    let strange: [Vec<f32>; MAX_INPUTS] =
        std::array::from_fn(|s| (0..values[s].len()).map(|_| f32::from_bits(rng.u32())).collect());
    let _ = run_op(cpu, op, batch, types, std::array::from_fn(|s| strange[s].as_slice()), Some(&got), &mut got_state);
    true
}

fn uniform(len: usize, rng: &mut Rng) -> Vec<f32> {
    (0..len).map(|_| rng.range(-1.0..1.0)).collect()
}

#[test]
fn whatever_a_shape_rule_accepts_runs() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let cases: Vec<_> = cases::all().into_iter().filter(|c| !c.is_large()).collect();
    let mut ran = vec![0u32; adflow::op::KINDS.len()];
    let rounds = 60_000 * effort();
    for round in 0..rounds {
        let mut rng = Rng::new(round, 2, 2);
        let case = &cases[rng.below(cases.len() as u32) as usize];
        let mut types = case.types();
        let Some(op) = mutate(&case.op, &mut types, &mut rng) else { continue };
        let batch = 1 + rng.below(2) as usize;
        match catch_unwind(AssertUnwindSafe(|| check(&op, &types, batch, cpu, &mut rng))) {
            Ok(true) => {
                let at = adflow::op::KINDS.iter().position(|k| k.0 == op.kind()).expect("a kind");
                ran[at] += 1;
            }
            Ok(false) => {}
            Err(_) => {
                let types: Vec<String> =
                    types.iter().map(|t| t.map_or_else(|| "-".into(), |t| t.to_string())).collect();
                panic!("round {round}, batch {batch}: {op} on {types:?}, see above");
            }
        }
    }
    println!("run: {} of {rounds}", ran.iter().sum::<u32>());
    for ((_, name), ran) in adflow::op::KINDS.iter().zip(&ran) {
        assert!(*ran > 0, "{name} was never run");
    }
}

/// Ops that count positions take C×H×W only: a fourth extent is refused, never ignored.
#[test]
fn a_fourth_extent_is_refused_or_understood() {
    for case in cases::all() {
        let mut types = case.types();
        for t in types.iter_mut().flatten() {
            if t.batched {
                t.shape.0[3] = 2;
            }
        }
        if types == case.types() {
            continue;
        }
        if let Ok(output) = case.op.output(&types) {
            let carried = output.shape.0[3] == 2 || output.shape == adflow::shape::Shape::SCALAR;
            assert!(carried, "{case} drops the fourth extent");
        }
    }
}
