//! Laws of placement, the gate and sessions over random programs.
//!
//! Sharing work memory or keeping every value gives the same bits for every batch, whatever the memory held before.
//! Bytes that were changed at random are refused or run correctly: never a panic, never a value read that was not written.

use adflow::cpu::Cpu;
use adflow::kernels::activation::Activation;
use adflow::op::{Conv2d, Conv2dDw, Conv2dDx, Linear, Op, Operation};
use adflow::place::{Reuse, place, work_len};
use adflow::plan::{OpRecord, Program, ProgramHeader, Region, TensorRecord};
use adflow::rng::Rng;
use adflow::session::{Memory, ParamsMemory, Session, SessionError, Sizes};
use adflow::shape::{Shape, Type};
use adflow::threads::Threads;
use adflow_tests::compare::{Tolerance, bits_differ, difference};
use adflow_tests::effort;
use adflow_tests::graphs::{RandomGraph, random};
use adflow_tests::owned::Owned;
use adflow_tests::reference::Executor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Numbers for an input; a training step's control gets a rate and a step.
fn input_values(name: &str, len: usize) -> Vec<f32> {
    if name == "control" && len == 2 {
        return vec![1e-3, 1.0];
    }
    let mut rng = Rng::new(name.len() as u64, len as u64, 0);
    (0..len).map(|_| rng.range(-2.0..2.0)).collect()
}

/// Runs once and gathers every output, and the parameters where it trains.
fn run(program: Program<'_>, batch: usize, cpu: Cpu<'_>, params: &[f32], garbage: f32) -> Vec<(String, Vec<f32>)> {
    let mut owned = Owned::new(&program, batch, cpu, params, garbage).expect("sizes");
    let mut session = owned.session(program, batch, cpu).expect("enough memory");
    for (name, _, is_output) in program.bindings() {
        if !is_output {
            let values = session.input(name).expect("an input");
            let data = input_values(name, values.len());
            values.copy_from_slice(&data);
        }
    }
    session.run();
    let mut results = Vec::new();
    for (name, ty, is_output) in program.bindings() {
        if is_output {
            let values = session.output(name).expect("an output is readable").to_vec();
            let expected = ty.shape.len() * if ty.batched { batch } else { 1 };
            assert_eq!(values.len(), expected, "output {name}");
            results.push((name.to_string(), values));
        }
    }
    results.push(("params".to_string(), owned.params));
    results
}

#[test]
fn placements_agree_bit_for_bit() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let (mut shared_len, mut kept_len) = (0, 0);
    for seed in 0..200 {
        let RandomGraph { graph, params, .. } = random(seed);
        let (layout, values) = (params.layout(), params.pack());
        let shared = place("share", &graph, &layout, Reuse::Share).expect("a valid plan");
        let kept = place("keep", &graph, &layout, Reuse::KeepAll).expect("a valid plan");
        shared_len += work_len(&shared.program());
        kept_len += work_len(&kept.program());
        for batch in [1, 2, 7] {
            let a = run(shared.program(), batch, cpu, &values, f32::NAN);
            let b = run(kept.program(), batch, cpu, &values, 1e9);
            assert_eq!(a.len(), b.len());
            for ((name, a), (_, b)) in a.iter().zip(&b) {
                if let Some(text) = bits_differ(a, b) {
                    panic!("seed {seed}, batch {batch}, {name}: {text}\n{:?}", shared.program());
                }
            }
        }
    }
    assert!(shared_len < kept_len, "sharing saves memory: {shared_len} of {kept_len}");
}

/// Values of whole programs, not only of single ops, agree with the reference.
#[test]
fn programs_agree_with_the_reference() {
    let threads = Threads::new(2);
    let cpu = Cpu::detect(&threads);
    for seed in 0..100 {
        let RandomGraph { graph, params, .. } = random(seed);
        let plan = place("p", &graph, &params.layout(), Reuse::Share).expect("a valid plan");
        let (program, values, batch) = (plan.program(), params.pack(), 2);
        let mut reference = Executor::new(program, batch, &values);
        for (name, ty, is_output) in program.bindings() {
            if !is_output {
                let len = ty.shape.len() * if ty.batched { batch } else { 1 };
                reference.set(name, &input_values(name, len).into_iter().map(f64::from).collect::<Vec<_>>());
            }
        }
        reference.run();
        for (name, got) in run(program, batch, cpu, &values, f32::NAN) {
            let want = if name == "params" { reference.params().to_vec() } else { reference.get(&name).to_vec() };
            // Index words are not numbers, and tiny as floats.
            let tolerance = Tolerance::Scaled(2e-5);
            if let Some(text) = difference(&got, &want, tolerance) {
                panic!("seed {seed}, {name}: {text}\n{program:?}");
            }
        }
    }
}

/// Bytes at an address that is a multiple of 8.
struct Aligned(Vec<u64>, usize);

impl Aligned {
    fn new(bytes: &[u8]) -> Aligned {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Aligned(words, bytes.len())
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..self.1]
    }
}

/// Moves a tensor, or makes an op read or write another one: what liveness and overlap checks are for.
fn rewire(words: &mut [u32], rng: &mut Rng) {
    let (tensors, ops) = (words[0], words[1]);
    let [header, tensor, op] =
        [size_of::<ProgramHeader>(), size_of::<TensorRecord>(), size_of::<OpRecord>()].map(|n| n / 4);
    if rng.below(2) == 0 {
        // The low word of the offset is the last but one.
        words[header + rng.below(tensors) as usize * tensor + tensor - 2] = rng.below(24);
    } else {
        // Kind, six inputs, output.
        let at = header + tensors as usize * tensor + rng.below(ops) as usize * op;
        words[at + 1 + rng.below(7) as usize] = rng.below(tensors);
    }
}

/// Changes a few words or the length.
fn mutate(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut words = bytemuck::cast_slice::<u8, u32>(bytes).to_vec();
    if rng.below(2) == 0 {
        for _ in 0..1 + rng.below(2) {
            rewire(&mut words, rng);
        }
        return bytemuck::cast_slice(&words).to_vec();
    }
    let count = words.len() as u32;
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(count) as usize;
        let other = words[rng.below(count) as usize];
        words[at] = match rng.below(9) {
            0 => words[at] ^ 1 << rng.below(32),
            1 => words[at].wrapping_add(1),
            2 => words[at].wrapping_sub(1),
            3 => other,
            4 => rng.below(20),
            5 => {
                [0, 1, 2, u32::MAX, u32::MAX - 1, 1 << 31, 1 << 28, 1 << 16, f32::NAN.to_bits()][rng.below(9) as usize]
            }
            6 => words[at].wrapping_mul(2),
            7 => words[at] / 2,
            _ => rng.u32(),
        };
    }
    let mut bytes = bytemuck::cast_slice::<u32, u8>(&words).to_vec();
    match rng.below(40) {
        0 => bytes.truncate(rng.below(bytes.len() as u32) as usize),
        1 => bytes.extend_from_slice(&[0; 8]),
        _ => {}
    }
    bytes
}

#[test]
fn changed_bytes_are_refused_or_run_correctly() {
    let rounds = 40_000 * effort() as usize;
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let bases: Vec<_> = (0..24)
        .map(|seed| {
            let RandomGraph { graph, params, .. } = random(1000 + seed);
            let plan = place("base", &graph, &params.layout(), Reuse::Share).expect("a valid plan");
            (plan, params.pack())
        })
        .collect();
    let (mut parsed, mut ran) = (0, 0);
    for round in 0..rounds {
        let mut rng = Rng::new(round as u64, 1, 1);
        let (plan, params) = &bases[round % bases.len()];
        let bytes = Aligned::new(&mutate(plan.bytes(), &mut rng));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let Ok(program) = Program::parse("mutant", bytes.bytes()) else { return (0, 0) };
            let _ = format!("{program:?}");
            let batch = 1 + round % 2;
            let Ok(sizes) = Sizes::of(&program, batch, 1) else { return (1, 0) };
            let params_len = program.blocks(Region::Params) as usize * 16;
            if sizes.total() + params_len > 1 << 18 {
                return (1, 0);
            }
            let mut values = params.clone();
            values.resize(params_len, 0.25);
            let a = run(program, batch, cpu, &values, 3.5);
            let b = run(program, batch, cpu, &values, f32::NAN);
            for ((name, a), (_, b)) in a.iter().zip(&b) {
                if let Some(text) = bits_differ(a, b) {
                    panic!("{name} depends on what memory held before: {text}\n{program:?}");
                }
            }
            (1, 1)
        }));
        match outcome {
            Ok((p, r)) => {
                parsed += p;
                ran += r;
            }
            Err(_) => panic!("round {round} panicked, see above"),
        }
    }
    println!("{rounds} changed programs: {parsed} accepted, {ran} run");
    assert!(ran > rounds / 100, "the changes are too wild to test anything: {ran} run");
}

#[test]
fn hostile_headers_are_refused() {
    let RandomGraph { graph, params, .. } = random(3);
    let plan = place("base", &graph, &params.layout(), Reuse::Share).expect("a valid plan");
    let words = bytemuck::cast_slice::<u8, u32>(plan.bytes()).to_vec();
    let header_words = size_of::<ProgramHeader>() / 4;
    for at in 0..words.len() {
        for hostile in [u32::MAX, 1 << 31, (1 << 28) + 1] {
            let mut words = words.clone();
            if words[at] == hostile {
                continue;
            }
            words[at] = hostile;
            let bytes = Aligned::new(bytemuck::cast_slice(&words));
            let parsed = Program::parse("hostile", bytes.bytes());
            // Words of the header and of tensors are sizes and places; an op's may be a float.
            assert!(parsed.is_err() || at >= header_words, "header word {at} = {hostile}");
            if let Ok(program) = parsed {
                let _ = Sizes::of(&program, 1 << 20, 1024);
            }
        }
    }
    let unaligned = Aligned::new(&[&[0; 4], plan.bytes()].concat());
    assert!(Program::parse("unaligned", &unaligned.bytes()[4..]).is_err());
    for len in 0..plan.bytes().len() {
        let bytes = Aligned::new(&plan.bytes()[..len]);
        assert!(Program::parse("short", bytes.bytes()).is_err(), "{len} bytes");
    }
}

#[test]
fn sessions_say_what_is_missing() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let RandomGraph { graph, params, trains } = random(2);
    assert!(trains);
    let plan = place("train", &graph, &params.layout(), Reuse::Share).expect("a valid plan");
    let (program, values) = (plan.program(), params.pack());
    let sizes = Sizes::of(&program, 2, 1).expect("sizes");
    let fields = ["params", "grads", "state", "work", "io", "fixed", "scratch"];
    let lens = [values.len(), sizes.grads, sizes.state, sizes.work, sizes.io, sizes.fixed, sizes.scratch];
    for (missing, field) in fields.iter().enumerate() {
        if lens[missing] == 0 {
            continue;
        }
        let mut regions: Vec<Vec<f32>> =
            lens.iter().enumerate().map(|(i, len)| vec![0.0; len - usize::from(i == missing)]).collect();
        let mut regions = regions.iter_mut().map(Vec::as_mut_slice);
        let mut next = || regions.next().expect("seven regions");
        let memory = Memory {
            params: ParamsMemory::Exclusive(next()),
            grads: next(),
            state: next(),
            work: next(),
            io: next(),
            fixed: next(),
            scratch: next(),
        };
        let (needs, has) = (lens[missing], lens[missing] - 1);
        match Session::new(program, 2, cpu, memory) {
            Err(error) => assert_eq!(error, SessionError::Memory { region: field, needs, has }),
            Ok(_) => panic!("a session without enough {field}"),
        }
    }
    let mut memory = vec![0.0; sizes.total()];
    let shared = Memory::carve(&values, &mut memory, &sizes).expect("enough");
    assert!(matches!(Session::new(program, 2, cpu, shared), Err(SessionError::ReadOnly)));
    let short = sizes.total() - 1;
    assert!(matches!(Memory::carve(&values, &mut memory[..short], &sizes), Err(SessionError::Memory { .. })));
    assert_eq!(Sizes::of(&program, 0, 1), Err(SessionError::Batch(0)));
    assert_eq!(Sizes::of(&program, usize::MAX, 1), Err(SessionError::Batch(usize::MAX)));
}

/// Shapes near the limits, as a forged file may hold them: sizes are computed without overflow.
#[test]
fn huge_shapes_have_sizes() {
    let convs = [
        (Shape::chw(1, 40_000, 40_000), Shape([1, 1, 64, 64]), Conv2d::new().pad(32)),
        (Shape::chw(1 << 20, 16, 16), Shape([8, 1 << 20, 3, 3]), Conv2d::new().pad(1)),
        (Shape::chw(1 << 16, 128, 128), Shape([1 << 16, 1, 3, 3]), Conv2d::new().pad(1).groups(1 << 16)),
        (Shape::chw(3, 20_000, 20_000), Shape([5, 3, 11, 11]), Conv2d::new().stride(4).pad(2)),
    ];
    let mut plans = Vec::new();
    for (x, w, op) in convs {
        let y =
            op.output(&[Some(Type::batched(x)), Some(Type::single(w)), None, None, None, None]).expect("fits").shape;
        let Conv2d { stride, dilation, groups, top, left, bottom, right, act: _ } = op;
        let dx = Conv2dDx { stride, dilation, groups, top, left, bottom, right, h: x.h(), w: x.w() };
        let [_, _, kh, kw] = w.0;
        let dw = Conv2dDw { stride, dilation, groups, top, left, bottom, right, kh, kw };
        plans.push((Op::from(op), [Type::batched(x), Type::single(w)]));
        plans.push((Op::from(dx), [Type::batched(y), Type::single(w)]));
        plans.push((Op::from(dw), [Type::batched(x), Type::batched(y)]));
    }
    let vector = Type::batched(Shape::vector(1 << 28));
    plans.push((Op::from(Linear::dense(Activation::Relu)), [vector, Type::single(Shape([1, 8, 1 << 28, 1]))]));
    let (share, offset, stride) = (1, 0, 1 << 27);
    let many = Linear { share, offset, stride, act: Activation::Relu };
    plans.push((Op::from(many), [vector, Type::single(Shape([2, 1 << 20, 1 << 9, 1]))]));
    for (op, [a, b]) in plans {
        let types = [Some(a), Some(b), None, None, None, None];
        let output = op.output(&types).unwrap_or_else(|e| panic!("{op}: {e}"));
        for (batch, workers) in [(1, 1), (7, 3), (1 << 20, 1024)] {
            // With overflow checks on, as tests are built, a product that wraps panics here. Small scratch would be
            // believed by a session; large scratch is refused by it, because nobody has so much memory.
            let scratch = op.scratch(&types, output, batch, workers);
            println!("{op}: batch {batch}: {scratch} floats");
        }
    }
}
