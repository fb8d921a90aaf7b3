//! Every op against the f64 reference, on every instruction set of this processor; `ADFLOW_ISA` names a single one.
//!
//! Laws: the value agrees within the op's tolerance; the bits do not depend on the number of threads; a batch of N is N
//! batches of one. Scratch has exactly the announced length, and it and the output start as NaN.

use adflow::cpu::{Cpu, Isa};
use adflow::op::MAX_INPUTS;
use adflow::threads::Threads;
use adflow_tests::cases::{Case, FAMILIES};
use adflow_tests::compare::{bits_differ, difference};
use adflow_tests::owned::run_op;
use adflow_tests::reference::of_case;

/// Output and state of the engine. `sample`: that sample alone, as a batch of one.
fn engine(cpu: Cpu<'_>, case: &Case, batch: usize, sample: Option<usize>) -> (Vec<f32>, Vec<f32>) {
    let (values, types) = (case.values(batch), case.types());
    let mut inputs: [&[f32]; MAX_INPUTS] = std::array::from_fn(|slot| values[slot].as_slice());
    if let Some(n) = sample {
        for (input, ty) in inputs.iter_mut().zip(&types) {
            if let Some(ty) = ty.filter(|t| t.batched) {
                *input = &input[n * ty.shape.len()..][..ty.shape.len()];
            }
        }
    }
    let mut state = if case.before.is_some() { values[1].clone() } else { Vec::new() };
    let before = case.before(batch);
    let run = if sample.is_some() { 1 } else { batch };
    let output = run_op(cpu, &case.op, run, &types, inputs, before.as_deref(), &mut state);
    (output, state)
}

fn check(case: &Case, pools: [&Threads; 2], faults: &mut Vec<String>) {
    let output_type = case.op.output(&case.types()).expect("cases keep the shape rule");
    for &batch in case.batches {
        let (want, want_state) = of_case(case, batch);
        let allowed = case.op.tolerance(&case.types(), batch);
        for isa in instruction_sets() {
            let cpu = pools.map(|threads| Cpu::with_isa(isa, threads));
            let mut fault = |what: &str, text: Option<String>| {
                if let Some(text) = text {
                    faults.push(format!("{case}\n    batch {batch}, {}: {what}: {text}", isa.name()));
                }
            };
            let (got, state) = engine(cpu[0], case, batch, None);
            let (two, two_state) = engine(cpu[1], case, batch, None);
            fault("value", difference(&got, &want, allowed));
            fault("state", difference(&state, &want_state, allowed));
            fault("one and two threads", bits_differ(&got, &two).or_else(|| bits_differ(&state, &two_state)));
            // Gradients of means over the batch divide by its size, and some ops are there to couple samples.
            let mixes = matches!(
                case.op.name(),
                "batch_mean_dx"
                    | "batch_stats_dx"
                    | "cosine"
                    | "cosine_dx"
                    | "cosine_dw"
                    | "triplet"
                    | "triplet_dcos"
                    | "batch_mix"
                    | "batch_mix_dx"
            );
            if output_type.batched && batch > 1 && !mixes {
                for n in (0..batch).step_by(1 + batch / 4) {
                    let alone = engine(cpu[0], case, batch, Some(n)).0;
                    fault("sample alone", bits_differ(&got[n * alone.len()..][..alone.len()], &alone));
                }
            }
        }
    }
}

fn instruction_sets() -> impl Iterator<Item = Isa> {
    let wanted = std::env::var("ADFLOW_ISA").ok();
    Isa::all().filter(move |isa| wanted.as_ref().is_none_or(|name| name == isa.name()))
}

#[test]
fn there_is_an_instruction_set() {
    let names: Vec<&str> = instruction_sets().map(Isa::name).collect();
    println!("instruction sets: {}", names.join(" "));
    assert!(!names.is_empty());
}

fn family(name: &str) {
    let (_, cases) = FAMILIES.iter().find(|f| f.0 == name).expect("a family of that name");
    let (one, two) = (Threads::serial(), Threads::new(2));
    let mut faults = Vec::new();
    let cases = cases();
    for case in &cases {
        check(case, [&one, &two], &mut faults);
    }
    let shown = faults.iter().take(12).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(faults.is_empty(), "{} faults in {} cases:\n  {shown}", faults.len(), cases.len());
}

adflow_tests::each_family!(family);
