//! Couplings and their log-determinants against their definition in f64, for every instruction set.

use super::super::check::{SIZES, close, each_cpu, numbers, numerical, wide};
use super::super::log_det::{log_det, log_det_dst};
use super::*;
use std::vec;
use std::vec::Vec;

fn cases() -> Vec<CouplingShape> {
    let shape = |n, groups, size, active_offset, active, hw| CouplingShape {
        n,
        groups,
        size,
        active_offset,
        active,
        hw,
        clamp: 2.0,
        form: SoftClamp::Atan,
    };
    let mut cases = vec![
        shape(2, 1, 1, 0, 1, 1),
        shape(3, 64, 3, 1, 2, 1),
        shape(2, 4, 12, 6, 6, 1),
        shape(2, 2, 4, 2, 2, 9),
        shape(1, 1, 768, 384, 384, 1),
        shape(2, 3, 5, 0, 4, 5),
        shape(0, 3, 5, 0, 4, 5),
    ];
    cases.extend(SIZES.iter().map(|&a| shape(2, 2, a + 3, 2, a, 1)));
    cases.extend(SIZES.iter().map(|&hw| CouplingShape { clamp: 1.3, ..shape(2, 2, 3, 1, 1, hw) }));
    cases.extend(cases.clone().into_iter().map(|shape| CouplingShape { form: SoftClamp::Tanh, ..shape }));
    cases
}

fn sigma(s: &CouplingShape, v: f64) -> f64 {
    let a = f64::from(s.clamp);
    if s.form == SoftClamp::Tanh {
        return a * v.tanh();
    }
    2.0 * a / std::f64::consts::PI * (v / a).atan()
}

/// For each transformed element: its place in x and the places of s and t in st.
fn places(s: &CouplingShape) -> Vec<(usize, usize, usize)> {
    let run = s.active * s.hw;
    let mut places = Vec::new();
    for n in 0..s.n {
        for g in 0..s.groups {
            for k in 0..run {
                let x = (n * s.groups + g) * s.size * s.hw + s.active_offset * s.hw + k;
                let st = (n * s.groups + g) * 2 * run + k;
                places.push((x, st, st + run));
            }
        }
    }
    places
}

fn reference(s: &CouplingShape, x: &[f64], st: &[f64]) -> Vec<f64> {
    let mut y = x.to_vec();
    for (at, a, b) in places(s) {
        y[at] = x[at] * sigma(s, st[a]).exp() + st[b];
    }
    y
}

fn log_det_reference(s: &CouplingShape, st: &[f64]) -> Vec<f64> {
    let mut j = vec![0.0; s.n];
    for (_, a, _) in places(s) {
        j[a / s.st_len()] += sigma(s, st[a]);
    }
    j
}

fn inputs(s: &CouplingShape) -> (Vec<f32>, Vec<f32>) {
    (numbers(1, s.n * s.x_len()), numbers(2, s.n * s.st_len()).iter().map(|v| v * 6.0).collect())
}

#[test]
fn forward_and_inverse() {
    for s in cases() {
        let (x, st) = inputs(&s);
        let want = reference(&s, &wide(&x), &wide(&st));
        let forward = |cpu: Cpu<'_>| {
            let mut y = vec![f32::NAN; x.len()];
            coupling(cpu, &s, &x, &st, &mut y);
            y
        };
        each_cpu(forward, |y| close(&std::format!("{s:?}"), y, &want, 1e-6));
        each_cpu(
            |cpu| {
                let mut back = vec![f32::NAN; x.len()];
                coupling_inverse(cpu, &s, &forward(cpu), &st, &mut back);
                back
            },
            |back| close(&std::format!("{s:?} inverse"), back, &wide(&x), 1e-5),
        );
        each_cpu(
            |cpu| {
                let mut j = vec![f32::NAN; s.n];
                log_det(cpu, &s, &st, &mut j);
                j
            },
            |j| close(&std::format!("{s:?} log_det"), j, &log_det_reference(&s, &wide(&st)), 3e-6),
        );
    }
}

#[test]
fn gradients_match_finite_differences() {
    for s in cases().into_iter().filter(|s| s.n * s.x_len() < 400) {
        let (x, st) = inputs(&s);
        let (gy, gj) = (numbers(3, x.len()), numbers(4, s.n));
        let gx = numerical(&x, &gy, |x| reference(&s, x, &wide(&st)));
        let gst = numerical(&st, &gy, |st| reference(&s, &wide(&x), st));
        let jst = numerical(&st, &gj, |st| log_det_reference(&s, st));
        each_cpu(
            |cpu| {
                let mut got = vec![f32::NAN; x.len()];
                coupling_dx(cpu, &s, &gy, &st, &mut got);
                got
            },
            |got| close(&std::format!("{s:?} dx"), got, &gx, 1e-5),
        );
        each_cpu(
            |cpu| {
                let mut got = vec![f32::NAN; st.len()];
                coupling_dst(cpu, &s, &gy, &x, &st, &mut got);
                got
            },
            |got| close(&std::format!("{s:?} dst"), got, &gst, 1e-5),
        );
        each_cpu(
            |cpu| {
                let mut got = vec![f32::NAN; st.len()];
                log_det_dst(cpu, &s, &gj, &st, &mut got);
                got
            },
            |got| close(&std::format!("{s:?} log_det dst"), got, &jst, 1e-5),
        );
    }
}

#[test]
fn zero_scale_and_shift_change_nothing() {
    for s in cases() {
        let (x, st) = (inputs(&s).0, vec![0.0; s.n * s.st_len()]);
        each_cpu(
            |cpu| {
                let (mut y, mut j) = (vec![f32::NAN; x.len()], vec![f32::NAN; s.n]);
                coupling(cpu, &s, &x, &st, &mut y);
                log_det(cpu, &s, &st, &mut j);
                assert!(j.iter().all(|&j| j == 0.0));
                y
            },
            |y| assert_eq!(y, x),
        );
    }
}

#[test]
fn a_batch_is_its_samples() {
    for s in cases() {
        let (x, st) = inputs(&s);
        let one = CouplingShape { n: 1, ..s };
        each_cpu(
            |cpu| {
                let (mut y, mut j) = (vec![0.0; x.len()], vec![0.0; s.n]);
                coupling(cpu, &s, &x, &st, &mut y);
                log_det(cpu, &s, &st, &mut j);
                for n in 0..s.n {
                    let (mut y1, mut j1) = (vec![0.0; s.x_len()], [0.0]);
                    let st = &st[n * s.st_len()..][..s.st_len()];
                    coupling(cpu, &one, &x[n * s.x_len()..][..s.x_len()], st, &mut y1);
                    log_det(cpu, &one, st, &mut j1);
                    assert_eq!((&y1[..], j1[0]), (&y[n * s.x_len()..][..s.x_len()], j[n]));
                }
                y
            },
            |_| {},
        );
    }
}
