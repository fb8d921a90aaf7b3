//! Gradients against central differences of the f64 reference.
//!
//! For each case of a differentiable op: `loss = mean over the batch of ½·Σ (y + r)²` with a random r, so that the
//! upstream gradient is random; the engine differentiates and runs in f32, the differences are taken in f64 at up to
//! [`SAMPLES`] places of every input. Cases with ties or values on kinks have no derivative and are left to `cpu_ops.rs`.

use adflow::cpu::{Cpu, Isa};
use adflow::graph::{Graph, GraphError, TensorId};
use adflow::kernels::activation::Activation;
use adflow::op::{Add, BatchMean, BatchNorm, BatchStats, MAX_INPUTS, Op, SquareSum};
use adflow::params::Params;
use adflow::place::{OwnedProgram, Reuse, place};
use adflow::plan::BLOCK;
use adflow::rng::Rng;
use adflow::shape::Shape;
use adflow::threads::Threads;
use adflow_tests::cases::{self, Case};
use adflow_tests::graphs::random_with;
use adflow_tests::owned::Owned;
use adflow_tests::reference::Executor;

const BATCH: usize = 2;
/// Places of each input at which the difference is taken.
const SAMPLES: usize = 16;
/// Half the distance of the two points, in f64.
const STEP: f64 = 1e-5;
/// Allowed difference, as a share of the largest gradient towards that input. Upstream gradients are f32 sums.
const TOLERANCE: f64 = 1e-5;

/// Which input slots have a gradient; none for ops that are themselves gradients.
fn slots(op: &Op) -> &'static [usize] {
    match op {
        Op::Conv2d(a) if a.act == Activation::None => &[0, 1, 2, 3],
        Op::ScaleShift(a) if a.inverse => &[],
        Op::Conv2d(_) | Op::Linear(_) | Op::ScaleShift(_) => &[0, 1, 2],
        Op::PositionLinear(_) | Op::Permute(_) | Op::Nearest(_) => &[0],
        Op::Coupling(a) => {
            if a.inverse {
                &[]
            } else {
                &[0, 1]
            }
        }
        Op::BatchNorm(_) => &[0, 1, 2, 3],
        Op::BatchMix(_) => &[0],
        Op::Cosine(_) | Op::Triplet(_) => &[0, 1],
        Op::Concat(_) => &[0, 1, 2, 3, 4, 5],
        Op::Add(_)
        | Op::Gain(_)
        | Op::Multiply(_)
        | Op::ChannelScale(_)
        | Op::ChannelDot(_)
        | Op::LogDet(_)
        | Op::LogScale(_)
        | Op::FlowNll(_) => &[0, 1],
        Op::Activate(_)
        | Op::Attention(_)
        | Op::CellHinge(_)
        | Op::Scale(_)
        | Op::Smooth(_)
        | Op::LayerNorm(_)
        | Op::MaxPool(_)
        | Op::GlobalMean(_)
        | Op::Resize(_)
        | Op::Slice(_)
        | Op::Embed(_)
        | Op::SquareSum(_)
        | Op::BatchMean(_)
        | Op::TopMean(_)
        | Op::Magnitude(_)
        | Op::BatchStats(_)
        | Op::Root(_) => &[0],
        Op::Conv2dDx(_)
        | Op::Conv2dDw(_)
        | Op::LinearDx(_)
        | Op::LinearDw(_)
        | Op::ActivateDx(_)
        | Op::SmoothDx(_)
        | Op::BatchStatsDx(_)
        | Op::BatchNormDx(_)
        | Op::BatchNormDstats(_)
        | Op::BatchNormDgamma(_)
        | Op::ScaleShiftDx(_)
        | Op::ScaleShiftDscale(_)
        | Op::GainDgamma(_)
        | Op::ChannelSum(_)
        | Op::MaxPoolDx(_)
        | Op::GlobalMeanDx(_)
        | Op::ResizeDx(_)
        | Op::CouplingDx(_)
        | Op::CouplingDst(_)
        | Op::LogDetDst(_)
        | Op::LogScaleDscale(_)
        | Op::AttentionLse(_)
        | Op::AttentionDx(_)
        | Op::CellHingeDn(_)
        | Op::LayerNormDx(_)
        | Op::FlowNllDz(_)
        | Op::FlowNllDj(_)
        | Op::SquareSumDx(_)
        | Op::BatchMeanDx(_)
        | Op::TopMeanDx(_)
        | Op::PositionLinearDx(_)
        | Op::NearestDx(_)
        | Op::MagnitudeDx(_)
        | Op::RootDx(_)
        | Op::Repeat(_)
        | Op::SquareParts(_)
        | Op::CosineDx(_)
        | Op::CosineDw(_)
        | Op::TripletDcos(_)
        | Op::BatchMixDx(_)
        | Op::Adam(_) => &[],
    }
}

/// A residual behind an activation hides the sign that the gradient needs, and the engine says so.
fn is_refused(case: &Case) -> bool {
    matches!(case.op, Op::Conv2d(a) if a.act != Activation::None && case.inputs[3].is_some())
}

/// Whether the output can end in a loss: `batch_mean` itself, or anything that is there once per sample.
fn can_end_in_a_loss(case: &Case) -> bool {
    matches!(case.op, Op::BatchMean(_)) || case.op.output(&case.types()).is_ok_and(|t| t.batched)
}

struct Built {
    graph: Graph,
    params: Params,
    loss: TensorId,
    inputs: [Option<TensorId>; MAX_INPUTS],
}

fn build(case: &Case) -> Result<Built, GraphError> {
    let (mut graph, mut params) = (Graph::new(), Params::new());
    let values = case.values(BATCH);
    let mut inputs = [None; MAX_INPUTS];
    for (slot, input) in case.inputs.iter().enumerate() {
        let Some(input) = input else { continue };
        let name = format!("in{slot}");
        inputs[slot] = Some(if input.ty.batched {
            graph.input(&name, input.ty.shape)
        } else {
            params.add(&name, input.ty.shape, true, values[slot].clone()).expect("a new name");
            graph.param(&params, &name)?
        });
    }
    let y = graph.emit_slots("y", case.op, inputs)?;
    let loss = if let Op::BatchMean(_) = case.op {
        y
    } else {
        let r = graph.input("r", graph.shape(y));
        let moved = graph.emit("moved", Add {}, &[y, r])?;
        let halved = graph.emit("halved", SquareSum { scale: 0.5, per_position: false, root: false }, &[moved])?;
        graph.emit("mean", BatchMean {}, &[halved])?
    };
    graph.output("loss", loss);
    Ok(Built { graph, params, loss, inputs })
}

/// What the caller binds: each batched input, and r.
fn bindings(case: &Case, program: &OwnedProgram) -> Vec<(String, Vec<f32>)> {
    let values = case.values(BATCH);
    let mut rng = Rng::new(99, 0, 0);
    let program = program.program();
    let inputs = program.bindings().filter(|b| !b.2).map(|(name, ty, _)| {
        let slot = name.strip_prefix("in").and_then(|n| n.parse::<usize>().ok());
        let data = slot.map_or_else(
            || (0..BATCH * ty.shape.len()).map(|_| rng.range(-1.0..1.0)).collect(),
            |slot| values[slot].clone(),
        );
        (name.to_string(), data)
    });
    inputs.collect()
}

/// Checks one case; what is off, one line each.
fn check(case: &Case, threads: &Threads, faults: &mut Vec<String>) {
    let forward = build(case).unwrap_or_else(|e| panic!("{case}: {e}"));
    let layout = forward.params.layout();
    let place = |graph: &Graph| place("g", graph, &layout, Reuse::Share).unwrap_or_else(|e| panic!("{case}: {e}"));
    let forward_program = place(&forward.graph);

    let asked: Vec<usize> = slots(&case.op).iter().copied().filter(|&s| case.inputs[s].is_some()).collect();
    let mut graph = forward.graph.clone();
    let wrt: Vec<TensorId> = asked.iter().filter_map(|&s| forward.inputs[s]).collect();
    let grads = graph.backward(forward.loss, &wrt).unwrap_or_else(|e| panic!("{case}: {e}"));
    // Two inputs may have one gradient (a sum's), which then has one name.
    let mut names: Vec<(TensorId, String)> = Vec::new();
    let mut name_of = Vec::new();
    for (slot, grad) in asked.iter().zip(grads) {
        let grad = grad.unwrap_or_else(|| panic!("{case}: no gradient towards slot {slot}"));
        let known = names.iter().find(|n| n.0 == grad).map(|n| n.1.clone());
        name_of.push(known.unwrap_or_else(|| {
            let name = format!("grad{slot}");
            graph.output(&name, grad);
            names.push((grad, name.clone()));
            name
        }));
    }
    let backward_program = place(&graph);

    let params = forward.params.pack();
    let bound = bindings(case, &forward_program);
    let mut reference = Executor::new(forward_program.program(), BATCH, &params);
    for (name, data) in &bound {
        reference.set(name, &data.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
    }
    for isa in Isa::all() {
        let cpu = Cpu::with_isa(isa, threads);
        let program = backward_program.program();
        let mut owned = Owned::new(&program, BATCH, cpu, &params, f32::NAN).expect("sizes");
        let mut session = owned.session(program, BATCH, cpu).expect("enough memory");
        for (name, data) in bindings(case, &backward_program) {
            session.input(&name).expect("an input").copy_from_slice(&data);
        }
        session.run();
        for (&slot, name) in asked.iter().zip(&name_of) {
            let got = session.output(name).expect("a gradient");
            let scale = got.iter().fold(1e-12f64, |m, g| m.max(f64::from(g.abs())));
            let mut rng = Rng::new(5, got.len() as u64, slot as u32);
            for _ in 0..SAMPLES.min(got.len()) {
                let at = rng.below(got.len() as u32) as usize;
                let want = difference(&mut reference, &forward.params, case, slot, at);
                let error = (f64::from(got[at]) - want).abs() / scale;
                if error > TOLERANCE || error.is_nan() {
                    faults.push(format!(
                        "{case}\n    {}: slot {slot}[{at}]: got {:e}, differences give {want:e}, off by {error:.1e} of the largest, tolerance {TOLERANCE:e}",
                        isa.name(),
                        got[at]
                    ));
                    break;
                }
            }
        }
    }
}

/// Central difference of the loss at one element of one input.
fn difference(reference: &mut Executor<'_>, params: &Params, case: &Case, slot: usize, at: usize) -> f64 {
    let name = format!("in{slot}");
    let batched = case.inputs[slot].as_ref().is_some_and(|i| i.ty.batched);
    let offset = if batched { 0 } else { params.layout().offsets[params.find(&name).expect("a parameter")] as usize };
    let mut at_offset = |delta: f64, run: bool| {
        let values = if batched { reference.input(&name) } else { &mut reference.params()[offset * BLOCK..] };
        values[at] += delta;
        if run {
            reference.run();
            return reference.get("loss")[0];
        }
        0.0
    };
    let above = at_offset(STEP, true);
    let below = at_offset(-2.0 * STEP, true);
    at_offset(STEP, false);
    (above - below) / (2.0 * STEP)
}

fn family(name: &str) {
    let (_, cases) = cases::FAMILIES.iter().find(|f| f.0 == name).expect("a family of that name");
    let threads = Threads::serial();
    let (mut faults, mut checked) = (Vec::new(), 0);
    for case in cases() {
        let differentiable = !slots(&case.op).is_empty() && !is_refused(&case) && can_end_in_a_loss(&case);
        if !differentiable || !case.is_smooth() || case.is_large() {
            continue;
        }
        checked += 1;
        check(&case, &threads, &mut faults);
    }
    let shown = faults.iter().take(12).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(faults.is_empty(), "{} faults in {checked} cases:\n  {shown}", faults.len());
    assert!(checked > 5, "only {checked} cases");
}

adflow_tests::each_family!(family);

/// Where no gradient exists the engine must say so instead of giving a wrong one.
#[test]
fn what_has_no_gradient_is_refused() {
    for case in cases::all() {
        if !can_end_in_a_loss(&case) || matches!(case.op, Op::Adam(_)) {
            continue;
        }
        let mut built = build(&case).unwrap_or_else(|e| panic!("{case}: {e}"));
        let wrt: Vec<TensorId> = built.inputs.iter().flatten().copied().collect();
        if wrt.is_empty() {
            continue;
        }
        let refused = matches!(built.graph.backward(built.loss, &wrt), Err(GraphError::NotDifferentiable { .. }));
        // One map per position is fitted in closed form, a bank is chosen, weights of cells are given: they have no gradient.
        let expected = slots(&case.op).is_empty()
            || is_refused(&case)
            || matches!(
                case.op,
                Op::PositionLinear(_) | Op::Nearest(_) | Op::CellHinge(_) | Op::Triplet(_) | Op::BatchMix(_)
            );
        assert_eq!(refused, expected, "{case}");
    }
}

/// Batch normalisation by the statistics of its own input, through which the gradient flows as well.
#[test]
fn batch_norm_in_training() {
    let (batch, shape) = (3, Shape::chw(4, 3, 5));
    let (mut g, mut params) = (Graph::new(), Params::new());
    let mut rng = Rng::new(7, 0, 0);
    let mut draw = |len: usize, low: f32| -> Vec<f32> { (0..len).map(|_| rng.range(low..low + 2.0)).collect() };
    for (name, low) in [("gamma", 0.5), ("beta", -1.0)] {
        params.add(name, Shape::vector(4), true, draw(4, low)).expect("a new name");
    }
    let (values, r) = (draw(batch * shape.len(), 2.0), draw(batch * shape.len(), -1.0));
    let (x, moved) = (g.input("x", shape), g.input("r", shape));
    let (gamma, beta) = (g.param(&params, "gamma").unwrap(), g.param(&params, "beta").unwrap());
    let stats = g.emit("stats", BatchStats {}, &[x]).unwrap();
    let y = g.emit("y", BatchNorm { eps: 1e-5 }, &[x, stats, gamma, beta]).unwrap();
    let y = g.emit("moved", Add {}, &[y, moved]).unwrap();
    let s = g.emit("halved", SquareSum { scale: 0.5, per_position: false, root: false }, &[y]).unwrap();
    let loss = g.emit("mean", BatchMean {}, &[s]).unwrap();
    let grad = g.backward(loss, &[x]).unwrap()[0].unwrap();
    for (name, id) in [("loss", loss), ("stats", stats), ("grad", grad)] {
        g.output(name, id);
    }
    let program = place("g", &g, &params.layout(), Reuse::Share).unwrap();
    let packed = params.pack();
    let mut reference = Executor::new(program.program(), batch, &packed);
    for (name, data) in [("x", &values), ("r", &r)] {
        reference.set(name, &data.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
    }
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut owned = Owned::new(&program.program(), batch, cpu, &packed, f32::NAN).expect("sizes");
    let mut session = owned.session(program.program(), batch, cpu).expect("enough memory");
    session.input("x").unwrap().copy_from_slice(&values);
    session.input("r").unwrap().copy_from_slice(&r);
    session.run();
    // Uniform in 2..4.
    for pair in session.output("stats").unwrap().chunks(2) {
        assert!((pair[0] - 3.0).abs() < 0.4 && (pair[1] - 1.0 / 3.0).abs() < 0.15, "{pair:?}");
    }
    let got = session.output("grad").unwrap();
    let scale = got.iter().fold(0.0f64, |m, g| m.max(f64::from(g.abs())));
    for (at, got) in got.iter().enumerate() {
        let mut moved_by = |delta: f64| {
            reference.input("x")[at] += delta;
            reference.run();
            reference.get("loss")[0]
        };
        let want = (moved_by(STEP) - moved_by(-2.0 * STEP)) / (2.0 * STEP);
        moved_by(STEP);
        let error = (f64::from(*got) - want).abs() / scale;
        assert!(error < TOLERANCE, "[{at}]: got {got:e}, differences give {want:e}");
    }
}

/// Whole graphs, where tensors are used more than once and gradients add up: what a training step leaves in the
/// gradients is the derivative of the loss.
#[test]
fn random_graphs() {
    let threads = Threads::serial();
    let cpu = Cpu::detect(&threads);
    let mut compared = 0;
    for seed in 0..80 {
        let built = random_with(seed, true);
        let (params, layout) = (built.params.pack(), built.params.layout());
        let plan = place("train", &built.graph, &layout, Reuse::Share).expect("a valid plan");
        let program = plan.program();
        let mut owned = Owned::new(&program, BATCH, cpu, &params, f32::NAN).expect("sizes");
        let mut session = owned.session(program, BATCH, cpu).expect("enough memory");
        let forward = place("forward", &random_with(seed, false).graph, &layout, Reuse::Share).expect("a valid plan");
        let mut reference = Executor::new(forward.program(), BATCH, &params);
        for (name, ty, is_output) in program.bindings() {
            let mut rng = Rng::new(seed, 0, name.len() as u32);
            let mut data: Vec<f32> = (0..BATCH * ty.shape.len()).map(|_| rng.range(-1.0..1.0)).collect();
            if name == "control" {
                data = vec![1e-3, 1.0];
            } else if !is_output {
                reference.set(name, &data.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
            }
            if !is_output {
                session.input(name).expect("an input").copy_from_slice(&data);
            }
        }
        session.run();
        let mut loss = |at: usize, delta: f64| {
            reference.params()[at] += delta;
            reference.run();
            reference.get("sum").iter().sum::<f64>() / BATCH as f64
        };
        let scale = owned.grads.iter().fold(1e-12f64, |m, g| m.max(f64::from(g.abs())));
        let mut rng = Rng::new(seed, 0, 77);
        for (p, offset) in built.params.iter().zip(&layout.offsets).filter(|(p, _)| p.trainable) {
            for _ in 0..3 {
                let at = *offset as usize * BLOCK + rng.below(p.data.len() as u32) as usize;
                let above = loss(at, STEP);
                let below = loss(at, -2.0 * STEP);
                loss(at, STEP);
                let (got, want) = (f64::from(owned.grads[at]), (above - below) / (2.0 * STEP));
                let error = (got - want).abs() / scale;
                assert!(error < 1e-4, "seed {seed}, {}: got {got:e}, differences give {want:e}\n{program:?}", p.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared} compared");
}
