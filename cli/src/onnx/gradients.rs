//! The ops of localisation: the gradient of the likelihood towards the image, written out in ONNX nodes.
//!
//! Pooled flows have no map of their own; theirs is the gradient. The plan's program `localize` is that gradient as plain
//! ops, so it is exported like any other: convolutions become transposed ones, layers their transposes, masks selections.

use adflow::kernels::Activation;
use adflow::kernels::coupling::SoftClamp;
use adflow::kernels::smooth::Curve;
use adflow::op::{
    ActivateDx, Conv2dDx, CouplingDst, CouplingDx, GlobalMeanDx, LinearDx, LogDetDst, MaxPoolDx, ResizeDx, SmoothDx,
    SquareSumDx,
};

use super::emit::{Emit, Refusal, Windows, pooling, window};
use super::graph::{Tensor, int, ints};

type Made = Result<Tensor, Refusal>;

pub fn conv2d(e: &mut Emit<'_, '_>, op: Conv2dDx) -> Made {
    let gy = e.x(0)?;
    let kernel = e.shape(1).0.map(|d| d as usize);
    let w = e.param(1, &kernel)?;
    // OpenVINO 2026 packs weights once for a convolution and a transposed one that share them, where channels in and out are
    // as many, and the second then computes with those of the first. Minus times minus is the same with weights of its own.
    // With one channel a group the two are packed alike.
    let square = kernel[1] > 1 && kernel[0] == kernel[1] * op.groups as usize;
    let (gy, w) = if square { (e.g.map("Neg", &gy), e.g.map("Neg", &w)) } else { (gy, w) };
    let dims = e.output();
    // What the transposed convolution gives without this, and how many rows and columns no window has read.
    let given = |n: usize, k: usize, pads: u32| {
        op.stride as usize * (n - 1) + op.dilation as usize * (k - 1) + 1 - pads as usize
    };
    let missing = [
        dims[2] - given(gy.dims[2], kernel[2], op.top + op.bottom),
        dims[3] - given(gy.dims[3], kernel[3], op.left + op.right),
    ];
    let pads = [op.top, op.left, op.bottom, op.right];
    let mut attributes = window(&kernel[2..], op.stride, op.dilation, op.groups, pads);
    attributes.push(ints("output_padding", &missing));
    Ok(e.g.node("ConvTranspose", &[&gy, &w], attributes, dims))
}

pub fn linear(e: &mut Emit<'_, '_>, op: LinearDx) -> Made {
    let gy = e.x(0)?;
    let [groups, out, features, _] = e.shape(1).0.map(|d| d as usize);
    let windows = Windows::new(groups, features, op.share, op.offset, op.stride);
    // A product a window. A transposed convolution of 1×1 would say the same, but not to OpenVINO 2026.
    let (n, count) = (gy.dims[0], windows.count);
    let w = e.param(1, &[count, groups * out / count, features])?;
    let gy = e.g.reshape(&gy, &[n, count, groups * out / count]);
    let gy = if count == 1 { e.g.reshape(&gy, &[1, n, out * groups]) } else { e.g.transpose(&gy, &[1, 0, 2]) };
    let read = e.g.matmul(&gy, &w);
    let read = if count == 1 { read } else { e.g.transpose(&read, &[1, 0, 2]) };
    let read = e.g.reshape(&read, &[n, count * features, 1, 1]);
    let (elements, len) = (windows.elements(), op.len as usize);
    if elements.iter().enumerate().all(|(at, to)| at + elements[0] == *to) {
        return Ok(e.g.pad(&read, 1, elements[0], len - elements[0] - elements.len()));
    }
    // Elements that no window reads take the zero behind the last.
    let mut at = vec![elements.len(); len];
    elements.iter().enumerate().for_each(|(from, to)| at[*to] = from);
    let padded = e.g.pad(&read, 1, 0, 1);
    Ok(e.g.gather(&padded, 1, &at))
}

pub fn activate(e: &mut Emit<'_, '_>, op: ActivateDx) -> Made {
    let (gy, y) = (e.x(0)?, e.x(1)?);
    let open = match op.act {
        Activation::None => return Ok(gy),
        Activation::Relu => above_zero(e, &y),
        Activation::Relu6 => {
            let six = e.g.number(6.0);
            let (open, below) = (above_zero(e, &y), e.g.zip("Less", &y, &six));
            e.g.zip("And", &open, &below)
        }
    };
    Ok(e.g.select(&open, &gy, 0.0))
}

fn above_zero(e: &mut Emit<'_, '_>, x: &Tensor) -> Tensor {
    let zero = e.g.number(0.0);
    e.g.zip("Greater", x, &zero)
}

pub fn max_pool(e: &mut Emit<'_, '_>, op: MaxPoolDx) -> Made {
    let (x, gy) = (e.x(0)?, e.x(1)?);
    let attributes = pooling(op.k, op.stride, op.pad);
    let places = e.g.outputs("MaxPool", &[&x], attributes, &[gy.dims.clone(), gy.dims.clone()]).remove(1);
    let places = e.g.reshape(&places, &[gy.len()]);
    let updates = e.g.reshape(&gy, &[gy.len()]);
    let zeros = e.g.with("Mul", &x, 0.0);
    let zeros = e.g.reshape(&zeros, &[x.len()]);
    let attributes = vec![int("axis", 0), super::graph::text("reduction", "add")];
    let sum = e.g.node("ScatterElements", &[&zeros, &places, &updates], attributes, [x.len()]);
    Ok(e.g.reshape(&sum, &x.dims))
}

pub fn global_mean(e: &mut Emit<'_, '_>, op: GlobalMeanDx) -> Made {
    let gy = e.x(0)?;
    let gy = e.g.with("Mul", &gy, 1.0 / (op.h * op.w) as f32);
    let dims = e.output();
    let shape = e.g.indices(&dims);
    Ok(e.g.node("Expand", &[&gy, &shape], vec![], dims))
}

pub fn resize(e: &mut Emit<'_, '_>, op: ResizeDx) -> Made {
    let gy = e.x(0)?;
    let [rows, columns] = Emit::resizing(op.mode, (op.h as usize, op.w as usize), (gy.dims[2], gy.dims[3]));
    Ok(e.g.resample(&gy, &rows.transposed(), &columns.transposed()))
}

/// `e^σ(s)`.
fn factor(e: &mut Emit<'_, '_>, clamp: f32, form: SoftClamp, s: &Tensor) -> Tensor {
    let s = e.clamp(clamp, form, s);
    e.g.map("Exp", &s)
}

/// `σ'(s)`.
fn slope(e: &mut Emit<'_, '_>, clamp: f32, form: SoftClamp, s: &Tensor) -> Tensor {
    match form {
        SoftClamp::Atan => {
            let s = e.g.with("Mul", s, 1.0 / clamp);
            let squares = e.g.zip("Mul", &s, &s);
            let below = e.g.with("Add", &squares, 1.0);
            let above = e.g.number(std::f32::consts::FRAC_2_PI);
            e.g.zip("Div", &above, &below)
        }
        SoftClamp::Tanh => {
            let t = e.g.map("Tanh", s);
            let squares = e.g.zip("Mul", &t, &t);
            let one = e.g.number(1.0);
            let rest = e.g.zip("Sub", &one, &squares);
            e.g.with("Mul", &rest, clamp)
        }
    }
}

pub fn coupling(e: &mut Emit<'_, '_>, op: CouplingDx) -> Made {
    let (gy, st) = (e.x(0)?, e.x(1)?);
    let (s, _) = e.halves(&st, op.groups as usize);
    let [before, active, behind] = e.parts(&gy, op.groups as usize, op.offset, op.active);
    let factor = factor(e, op.clamp, op.form, &s);
    let active = e.g.zip("Mul", &active, &factor);
    Ok(e.joined(&[before, active, behind], &gy.dims))
}

pub fn coupling_st(e: &mut Emit<'_, '_>, op: CouplingDst) -> Made {
    let (gy, x, st) = (e.x(0)?, e.x(1)?, e.x(2)?);
    let groups = op.groups as usize;
    let (s, _) = e.halves(&st, groups);
    let [_, gt, _] = e.parts(&gy, groups, op.offset, op.active);
    let [_, x, _] = e.parts(&x, groups, op.offset, op.active);
    let (factor, slope) = (factor(e, op.clamp, op.form, &s), slope(e, op.clamp, op.form, &s));
    let gs = e.g.zip("Mul", &gt, &x);
    let gs = e.g.zip("Mul", &gs, &factor);
    let gs = e.g.zip("Mul", &gs, &slope);
    Ok(e.joined(&[gs, gt], &st.dims))
}

pub fn log_det(e: &mut Emit<'_, '_>, op: LogDetDst) -> Made {
    let (gy, st) = (e.x(0)?, e.x(1)?);
    let (s, _) = e.halves(&st, op.groups as usize);
    let slope = slope(e, op.clamp, op.form, &s);
    let gy = e.g.reshape(&gy, &[gy.dims[0], 1, 1, gy.dims[2] * gy.dims[3]]);
    let gs = e.g.zip("Mul", &slope, &gy);
    let active = gs.dims[2];
    let gst = e.g.pad(&gs, 2, 0, active);
    Ok(e.g.reshape(&gst, &st.dims))
}

pub fn square_sum(e: &mut Emit<'_, '_>, op: SquareSumDx) -> Made {
    let (gy, x) = (e.x(0)?, e.x(1)?);
    if !op.root {
        let gx = e.g.zip("Mul", &x, &gy);
        return Ok(e.g.with("Mul", &gx, 2.0 * op.scale));
    }
    let y = e.x(2)?;
    let open = above_zero(e, &y);
    let ratio = e.g.zip("Div", &gy, &y);
    let ratio = e.g.select(&open, &ratio, 0.0);
    let gx = e.g.zip("Mul", &x, &ratio);
    Ok(e.g.with("Mul", &gx, op.scale))
}

pub fn magnitude(e: &mut Emit<'_, '_>) -> Made {
    let (gy, x, y) = (e.x(0)?, e.x(1)?, e.x(2)?);
    let ratio = e.g.zip("Div", &gy, &y);
    let twice = e.g.concat(&[ratio.clone(), ratio], 1);
    Ok(e.g.zip("Mul", &x, &twice))
}

pub fn root(e: &mut Emit<'_, '_>) -> Made {
    let (gy, x, y) = (e.x(0)?, e.x(1)?, e.x(2)?);
    let twice = e.g.with("Mul", &y, 2.0);
    let gx = e.g.zip("Div", &gy, &twice);
    let open = above_zero(e, &x);
    Ok(e.g.select(&open, &gx, 0.0))
}

pub fn smooth(e: &mut Emit<'_, '_>, op: SmoothDx) -> Made {
    let (gy, x) = (e.x(0)?, e.x(1)?);
    let slope = match op.curve {
        Curve::Sigmoid | Curve::Silu => {
            let up = e.sigmoid(&x);
            let minus = e.g.map("Neg", &x);
            let down = e.sigmoid(&minus);
            if op.curve == Curve::Sigmoid {
                e.g.zip("Mul", &up, &down)
            } else {
                let rest = e.g.zip("Mul", &x, &down);
                let rest = e.g.with("Add", &rest, 1.0);
                e.g.zip("Mul", &up, &rest)
            }
        }
        Curve::Gelu => {
            let share = e.normal(&x);
            let squares = e.g.zip("Mul", &x, &x);
            let exponent = e.g.with("Mul", &squares, -0.5);
            let density = e.g.map("Exp", &exponent);
            let along = e.g.zip("Mul", &x, &density);
            let along = e.g.with("Mul", &along, 0.398_942_3);
            e.g.zip("Add", &share, &along)
        }
        Curve::GlobalScale => {
            let half = e.g.with("Mul", &x, 0.5);
            let up = e.sigmoid(&half);
            e.g.with("Mul", &up, 0.1)
        }
    };
    Ok(e.g.zip("Mul", &gy, &slope))
}
