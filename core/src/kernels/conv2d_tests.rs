//! Convolution and its gradients against their definition in f64, for every instruction set and several thread counts.

use super::*;
use crate::cpu::Isa;
use crate::kernels::testing::{close, noise};
use crate::threads::Threads;
use alloc::{format, vec};

/// Calls `f(output, weight, input)` with the indices of every product in the sum.
fn products(s: &Conv2dShape, mut f: impl FnMut(usize, usize, usize)) {
    let (gin, gout) = (s.cin / s.groups, s.cout / s.groups);
    for plane in 0..s.n * s.cout {
        let (n, o) = (plane / s.cout, plane % s.cout);
        for (oy, ox) in (0..s.oh).flat_map(|oy| (0..s.ow).map(move |ox| (oy, ox))) {
            for c in 0..gin {
                for (ky, kx) in (0..s.kh).flat_map(|ky| (0..s.kw).map(move |kx| (ky, kx))) {
                    let (iy, ix) = (oy * s.stride + ky * s.dilation, ox * s.stride + kx * s.dilation);
                    let (Some(iy), Some(ix)) = (iy.checked_sub(s.pad_top), ix.checked_sub(s.pad_left)) else {
                        continue;
                    };
                    if iy < s.h && ix < s.w {
                        let x = ((n * s.cin + o / gout * gin + c) * s.h + iy) * s.w + ix;
                        f((plane * s.oh + oy) * s.ow + ox, ((o * gin + c) * s.kh + ky) * s.kw + kx, x);
                    }
                }
            }
        }
    }
}

fn rounded(x: Vec<f64>) -> Vec<f32> {
    x.into_iter().map(|v| v as f32).collect()
}

fn check(s: &Conv2dShape, case: usize) {
    let (x, weight, gy) = (noise(1, s.x_len()), noise(2, s.weight_len()), noise(3, s.y_len()));
    let (bias, residual) = (noise(4, s.cout), noise(5, s.y_len()));
    let bias = (!case.is_multiple_of(3)).then_some(&bias[..]);
    let residual = (case % 4 == 1).then_some(&residual[..]);
    let act = [Activation::None, Activation::Relu, Activation::Relu6][case % 3];
    let (mut y, mut gx, mut gw) = (vec![0.0; s.y_len()], vec![0.0; s.x_len()], vec![0.0; s.weight_len()]);
    products(s, |o, w, i| {
        y[o] += weight[w] as f64 * x[i] as f64;
        gx[i] += weight[w] as f64 * gy[o] as f64;
        gw[w] += gy[o] as f64 * x[i] as f64;
    });
    for (i, y) in y.iter_mut().enumerate() {
        let sum = *y + bias.map_or(0.0, |b| b[i / (s.oh * s.ow) % s.cout]) as f64;
        *y = act.apply(sum as f32) as f64 + residual.map_or(0.0, |r| r[i]) as f64;
    }
    let want = [rounded(y), rounded(gx), rounded(gw)];
    let terms = (s.cin.max(s.cout) / s.groups * s.kh * s.kw).max(s.n * s.oh * s.ow) as f32;
    for isa in Isa::all() {
        let mut first: Option<[Vec<f32>; 3]> = None;
        for count in 1..4 {
            let threads = Threads::new(count);
            let cpu = Cpu::with_isa(isa, &threads);
            let scratch = |pass| vec![f32::NAN; conv2d_scratch(s, pass, count)];
            let mut got = [vec![f32::NAN; s.y_len()], vec![f32::NAN; s.x_len()], vec![f32::NAN; s.weight_len()]];
            conv2d(cpu, &mut scratch(Pass::Forward), s, &x, &weight, bias, residual, act, &mut got[0]);
            conv2d_dx(cpu, &mut scratch(Pass::Dx), s, &gy, &weight, &mut got[1]);
            conv2d_dw(cpu, &mut scratch(Pass::Dw), s, &x, &gy, &mut got[2]);
            for (i, pass) in ["y", "gx", "gw"].into_iter().enumerate() {
                let what = format!("{pass} of {s:?}, {}", isa.name());
                close(&want[i], &got[i], 3e-7 * (terms + 8.0), &what);
            }
            assert_eq!(first.get_or_insert_with(|| got.clone()), &got, "threads change bits: {s:?}");
        }
        one_sample_is_enough(s, isa, &x, &weight, &first.unwrap_or_default()[0], (bias, residual, act));
    }
}

/// The last sample alone gives the same bits as in the batch.
fn one_sample_is_enough(
    s: &Conv2dShape,
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    y: &[f32],
    (bias, residual, act): (Option<&[f32]>, Option<&[f32]>, Activation),
) {
    let threads = Threads::serial();
    let one = Conv2dShape { n: 1, ..*s };
    let (x, at) = (&x[(s.n - 1) * one.x_len()..], (s.n - 1) * one.y_len());
    let (mut got, mut scratch) = (vec![0.0; one.y_len()], vec![0.0; conv2d_scratch(&one, Pass::Forward, 1)]);
    conv2d(
        Cpu::with_isa(isa, &threads),
        &mut scratch,
        &one,
        x,
        weight,
        bias,
        residual.map(|r| &r[at..]),
        act,
        &mut got,
    );
    assert_eq!(got, y[at..], "batch changes bits: {s:?}");
}

/// Output size for padding `before` and `after`.
fn out(len: usize, k: usize, stride: usize, dilation: usize, before: usize, after: usize) -> Option<usize> {
    Some((len + before + after).checked_sub((k - 1) * dilation + 1)? / stride + 1)
}

#[test]
fn depthwise() {
    let mut case = 0;
    for (h, w) in
        [(1, 1), (2, 3), (3, 7), (5, 8), (4, 9), (7, 15), (9, 16), (8, 17), (6, 33), (4, 63), (5, 64), (3, 65)]
    {
        for (stride, top, bottom) in [(1, 1, 1), (2, 0, 1), (2, 1, 1), (1, 0, 2), (1, 2, 2)] {
            let left = [top, 1, 0][case % 3];
            let (Some(oh), Some(ow)) = (out(h, 3, stride, 1, top, bottom), out(w, 3, stride, 1, left, bottom)) else {
                continue;
            };
            let c = 1 + case % 3;
            let n = 1 + case % 2;
            let (kh, kw, pad_top, pad_left, dilation) = (3, 3, top, left, 1);
            check(
                &Conv2dShape {
                    n,
                    cin: c,
                    h,
                    w,
                    cout: c,
                    oh,
                    ow,
                    kh,
                    kw,
                    stride,
                    pad_top,
                    pad_left,
                    dilation,
                    groups: c,
                },
                case,
            );
            case += 1;
        }
    }
}

#[test]
fn pointwise() {
    let channels = [1, 3, 8, 9, 16, 17, 64, 200];
    for (case, (h, w)) in
        [(1, 1), (1, 3), (7, 1), (8, 8), (3, 5), (4, 12), (7, 7), (5, 13), (8, 25)].into_iter().enumerate()
    {
        for groups in 1..3 {
            let (cin, cout) = (channels[case % 8] * groups, channels[(case * 3 + 1) % 8] * groups);
            let (n, kh, kw, stride, pad_top, pad_left, dilation) = (1 + case % 3, 1, 1, 1, 0, 0, 1);
            check(
                &Conv2dShape { n, cin, h, w, cout, oh: h, ow: w, kh, kw, stride, pad_top, pad_left, dilation, groups },
                case,
            );
        }
    }
}

#[test]
fn patches() {
    let mut case = 0;
    for (k, stride, dilation, before, after) in [
        (3, 1, 1, 1, 1),
        (3, 2, 1, 0, 1),
        (3, 2, 1, 1, 1),
        (5, 1, 1, 2, 2),
        (11, 4, 1, 2, 2),
        (4, 2, 1, 1, 1),
        (3, 1, 2, 2, 2),
        (3, 2, 3, 3, 1),
        (1, 2, 1, 0, 0),
        (2, 3, 1, 0, 1),
        (7, 2, 1, 3, 2),
    ] {
        for (h, w, cin, cout, groups) in [
            (9, 7, 3, 5, 1),
            (8, 17, 2, 4, 2),
            (5, 33, 4, 9, 1),
            (16, 6, 6, 3, 3),
            (11, 65, 1, 2, 1),
            (3, 3, 7, 17, 1),
            (12, 13, 4, 4, 4),
        ] {
            let (Some(oh), Some(ow)) =
                (out(h, k, stride, dilation, before, after), out(w, k, stride, dilation, before, after))
            else {
                continue;
            };
            let (n, pad_top, pad_left) = (1 + case % 2, before, before);
            check(
                &Conv2dShape { n, cin, h, w, cout, oh, ow, kh: k, kw: k, stride, pad_top, pad_left, dilation, groups },
                case,
            );
            case += 1;
        }
    }
    let s = Conv2dShape {
        n: 1,
        cin: 5,
        h: 6,
        w: 9,
        cout: 3,
        oh: 4,
        ow: 9,
        kh: 3,
        kw: 1,
        stride: 1,
        pad_top: 0,
        pad_left: 0,
        dilation: 1,
        groups: 1,
    };
    check(&s, 1);
    // Small images of a batch, side by side: positions and channels enough for several blocks.
    let (same, half) =
        (Conv2dShape { n: 7, cin: 24, h: 6, w: 6, oh: 6, ow: 6, pad_top: 1, pad_left: 1, kw: 3, ..s }, 3);
    check(&Conv2dShape { cout: 70, ..same }, 1);
    check(&Conv2dShape { n: 5, h: 10, w: 11, oh: 10, ow: 11, ..same }, 2);
    check(&Conv2dShape { stride: 2, oh: half, ow: half, ..same }, 5);
    check(&Conv2dShape { kh: 1, kw: 1, pad_top: 0, pad_left: 0, cin: 200, ..same }, 3);
    check(&Conv2dShape { cin: 40, h: 20, w: 20, oh: 18, ow: 20, n: 2, cout: 16, ..s }, 2);
}

#[test]
fn without_samples_or_positions_the_gradient_of_the_weights_is_zero() {
    let (cin, cout, h, w, kh, kw) = (3, 2, 5, 4, 3, 3);
    for (n, oh, ow) in [(0, 5, 4), (2, 0, 4), (2, 0, 0)] {
        let (stride, pad_top, pad_left, dilation, groups) = (1, 1, 1, 1, 1);
        let s = Conv2dShape { n, cin, h, w, cout, oh, ow, kh, kw, stride, pad_top, pad_left, dilation, groups };
        let threads = Threads::serial();
        let (x, gy, mut gw) = (noise(1, s.x_len()), noise(2, s.y_len()), vec![f32::NAN; s.weight_len()]);
        let mut scratch = vec![0.0; conv2d_scratch(&s, Pass::Dw, 1)];
        conv2d_dw(Cpu::detect(&threads), &mut scratch, &s, &x, &gy, &mut gw);
        assert!(gw.iter().all(|g| *g == 0.0), "{s:?}");
    }
}
