//! What each op asks of the device: which shader, with which constants and parameters, in how many workgroups.
//!
//! The one table between plans and shaders. It matches over every op without a wildcard: an op without a shader does not
//! compile.

use crate::shader::{Shader, Variant};
use adflow::executor::{DeviceError, DeviceFault};
use adflow::op::{Attr, Conv2dDw, Conv2dDx, Op, Types};
use adflow::shape::{Shape, Type};

/// Workgroups in a row of a dispatch (`ROW` in `shaders/common.glsl`).
pub(crate) const ROW: u32 = 32768;
/// Specialisation constants of a shader, at most.
pub(crate) const CONSTANTS: usize = 12;
/// The constant whose bits say which bindings hold 16-bit floats (`HALVES` in `shaders/common.glsl`).
pub(crate) const HALVES: usize = 10;
/// Words of push constants: 128 bytes, what every device has.
pub(crate) const PUSH: usize = 32;

/// What a device prefers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// Invocations of a workgroup where the shader does not care; a power of two.
    pub width: u32,
    /// Most invocations of a workgroup.
    pub max_width: u32,
    /// Whether shaders may use 16-bit storage and subgroups.
    pub fast: bool,
    /// Cooperative matrices, where operands may be rounded to 16 bits.
    pub matrix: Option<Matrix>,
}

/// Cooperative matrices of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Matrix {
    /// Side of the matrices.
    pub edge: u32,
    /// Invocations of a subgroup.
    pub subgroup: u32,
}

impl Matrix {
    /// Subgroups of a workgroup, a band of rows each.
    const BANDS: u32 = 4;

    /// Bytes of shared memory that a tile takes.
    pub fn shared(self) -> u32 {
        let tile = Self::BANDS * self.edge;
        2 * 2 * tile * 32 + 4 * tile * tile
    }
}

/// One dispatch.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub shader: Shader,
    pub variant: Variant,
    /// Specialisation constants 0, 1, …; the first is the width of a workgroup.
    pub constants: [u32; CONSTANTS],
    /// Push constants; word 0 is filled when the places are known.
    pub push: [u32; PUSH],
    pub push_len: usize,
    /// Workgroups.
    pub groups: u32,
    /// Whether the output is filled with zeros first.
    pub clear: bool,
    /// Multiplications in all, roughly: decides how work is split into submissions.
    pub work: u64,
}

struct Builder {
    dispatch: Dispatch,
    width: u32,
}

fn too_large() -> DeviceError {
    DeviceError::new(DeviceFault::Unsupported, "an op with more elements than 32 bits count")
}

fn word(n: usize) -> Result<u32, DeviceError> {
    u32::try_from(n).map_err(|_| too_large())
}

impl Builder {
    fn new(shader: Shader, tuning: &Tuning) -> Builder {
        let mut constants = [0; CONSTANTS];
        constants[0] = tuning.width;
        let variant = if tuning.fast { Variant::Fast } else { Variant::Generic };
        let dispatch =
            Dispatch { shader, variant, constants, push: [0; PUSH], push_len: 1, groups: 0, clear: false, work: 0 };
        Builder { dispatch, width: tuning.width }
    }

    fn words(mut self, words: &[u32]) -> Builder {
        let d = &mut self.dispatch;
        d.push[d.push_len..][..words.len()].copy_from_slice(words);
        d.push_len += words.len();
        self
    }

    fn floats(self, floats: &[f32]) -> Builder {
        floats.iter().fold(self, |b, f| b.words(&[f.to_bits()]))
    }

    /// Constants of `shaders/conv2d.glsl`.
    fn window(mut self, kh: u32, kw: u32, stride: u32, dilation: u32) -> Builder {
        self.dispatch.constants[6..10].copy_from_slice(&[kh, kw, stride, dilation]);
        self
    }

    /// One invocation an element.
    fn elements(self, len: u32) -> Dispatch {
        let groups = len.div_ceil(self.width);
        self.groups(groups, u64::from(len))
    }

    /// That many workgroups.
    fn groups(mut self, groups: u32, work: u64) -> Dispatch {
        self.dispatch.groups = groups;
        self.dispatch.work = work.max(1);
        self.dispatch
    }

    /// `count` matrix products of m×n over k (`shaders/product.glsl`).
    fn products(mut self, tuning: &Tuning, count: u32, m: u32, n: u32, k: u32) -> Result<Dispatch, DeviceError> {
        if let Some(matrix) = tuning.matrix
            && self.dispatch.shader.has_matrix()
            && m.min(n) >= matrix.edge
        {
            let tile = Matrix::BANDS * matrix.edge;
            let width = Matrix::BANDS * matrix.subgroup;
            self.dispatch.constants[..6].copy_from_slice(&[width, tile, tile, 32, Matrix::BANDS, 1]);
            self.dispatch.constants[11] = matrix.edge;
            self.dispatch.variant = Variant::Matrix;
            return self.tiles(count, [m, n, k], [tile, tile]);
        }
        // Tiles as tall and wide as the product has use for.
        let [tile_m, tile_n, part_m, part_n] = match (m, n) {
            (_, 0..=4) => [64, 4, 4, 1],
            (0..=4, _) => [4, 64, 1, 4],
            (0..=32, _) | (_, 0..=32) => [32, 32, 4, 4],
            _ if tuning.max_width < 256 => [32, 32, 4, 4],
            _ => [64, 64, 4, 4],
        };
        let width = tile_m / part_m * (tile_n / part_n);
        // Deeper tiles wait for memory less often; on short sums they would be padding.
        let tile_k = if k >= 128 { 32 } else { 16 };
        self.dispatch.constants[..6].copy_from_slice(&[width, tile_m, tile_n, tile_k, part_m, part_n]);
        self.tiles(count, [m, n, k], [tile_m, tile_n])
    }

    fn tiles(self, count: u32, [m, n, k]: [u32; 3], [tile_m, tile_n]: [u32; 2]) -> Result<Dispatch, DeviceError> {
        let groups = u64::from(m.div_ceil(tile_m)) * u64::from(n.div_ceil(tile_n)) * u64::from(count);
        let groups = u32::try_from(groups).map_err(|_| too_large())?;
        let work = [m, n, k].iter().fold(u64::from(count), |work, x| work.saturating_mul(u64::from(*x)));
        Ok(self.groups(groups, work))
    }
}

/// Geometry that the three convolutions share.
struct Window {
    batch: u32,
    x: Shape,
    y: Shape,
    groups: u32,
    kernel: [u32; 4],
    pad: [u32; 2],
}

impl Window {
    /// Channels of a group: of x, of y.
    fn channels(&self) -> [u32; 2] {
        [self.x.c() / self.groups, self.y.c() / self.groups]
    }

    /// Whether a group is too small for a tile of a matrix product.
    fn is_direct(&self) -> bool {
        let [cin, cout] = self.channels();
        self.groups > 1 && cin.max(cout) <= 4
    }

    fn builder(&self, product: Shader, direct: Shader, tuning: &Tuning) -> Builder {
        let [kh, kw, stride, dilation] = self.kernel;
        let [cin, cout] = self.channels();
        Builder::new(if self.is_direct() { direct } else { product }, tuning)
            .window(kh, kw, stride, dilation)
            .words(&[self.batch, self.x.h(), self.x.w(), self.y.h(), self.y.w(), self.groups, cin, cout])
            .words(&self.pad)
    }
}

/// The dispatch of an op for a batch.
pub(crate) fn dispatch(
    op: &Op,
    types: &Types,
    output: Type,
    batch: usize,
    tuning: &Tuning,
) -> Result<Dispatch, DeviceError> {
    let n = word(batch)?;
    let shape = |slot: usize| types[slot].map_or(Shape::SCALAR, |t| t.shape);
    let has = |slot: usize| u32::from(types[slot].is_some());
    let len = |ty: Type| word(ty.shape.len() * if ty.batched { batch } else { 1 });
    let out = len(output)?;
    let input = |slot: usize| types[slot].map_or(Ok(0), len);
    let positions = |slot: usize| shape(slot).positions() as u32;
    let new = |shader| Builder::new(shader, tuning);
    let per_channel = |shader, slot: usize| {
        let s = shape(slot);
        new(shader).words(&[out, s.c(), (s.len() / s.c() as usize) as u32]).elements(out)
    };
    let summed = |shader, slot: usize| -> Result<Dispatch, DeviceError> {
        let c = shape(slot).c();
        Ok(new(shader).words(&[n, c, positions(slot)]).groups(c, u64::from(input(slot)?)))
    };
    let normed = |shader, eps: f32| new(shader).words(&[out, shape(0).c(), positions(0)]).floats(&[eps]);
    let norm_sums = |shader, eps: f32| -> Result<Dispatch, DeviceError> {
        let words = [n, shape(0).c(), positions(0)];
        Ok(new(shader).words(&words).floats(&[eps]).groups(shape(0).c(), u64::from(input(0)?)))
    };
    // One position a workgroup; x is in slot `first`.
    let search = |shader, first: usize, radius: u32, root: bool| -> Result<Dispatch, DeviceError> {
        let (s, count) = (shape(first), shape(first + 1).0[0]);
        let groups = word(batch * s.positions())?;
        let words = [n, s.c(), s.h(), s.w(), count, radius, u32::from(root)];
        // A position near which there is no vector is compared with all, whatever the radius.
        let work = u64::from(groups) * u64::from(count) * u64::from(s.c());
        Ok(new(shader).words(&words).groups(groups, work))
    };
    // `passes`: how often each pair of positions is looked at.
    let attention = |shader, heads: u32, slot: usize, passes: u64| {
        let (depth, tokens) = (shape(slot).c() / 3 / heads, positions(slot));
        let groups = n * heads * tokens;
        let work = passes * u64::from(groups) * u64::from(tokens) * u64::from(depth);
        let scale = 1.0 / (depth as f32).sqrt();
        new(shader).words(&[n, heads, depth, tokens]).floats(&[scale]).groups(groups, work)
    };
    let layer_norm = |shader, per_position: bool, eps: f32| {
        let words = [n, output.shape.c(), positions(0)];
        let b = new(shader).words(&words).floats(&[eps]).words(&[per_position.to_word()]);
        if per_position { b.elements(n * positions(0)) } else { b.groups(n, u64::from(out)) }
    };
    let cosine_gradient = |towards_w: bool| -> Result<Dispatch, DeviceError> {
        if n > 1024 {
            return Err(DeviceError::new(DeviceFault::Unsupported, "cosines between more than 1024 samples"));
        }
        let words = [n, shape(0).c(), shape(1).c(), towards_w.to_word()];
        Ok(new(Shader::CosineDx).words(&words).groups(n, 2 * u64::from(out) * u64::from(n)))
    };
    let triplet = |shader, slot: usize, floats: [f32; 2], mixed: bool| {
        let samples = shape(slot).c();
        let work = u64::from(n) * u64::from(samples) * u64::from(samples);
        new(shader).words(&[n, samples]).floats(&floats).words(&[mixed.to_word()]).groups(n, work)
    };
    Ok(match *op {
        Op::Conv2d(a) => {
            let [_, _, kh, kw] = shape(1).0;
            let w = Window {
                batch: n,
                x: shape(0),
                y: output.shape,
                groups: a.groups,
                kernel: [kh, kw, a.stride, a.dilation],
                pad: [a.top, a.left],
            };
            let [cin, cout] = w.channels();
            let b = w.builder(Shader::Conv2d, Shader::Conv2dDirect, tuning).words(&[a.act.to_word(), has(2), has(3)]);
            if w.is_direct() {
                b.elements(out)
            } else {
                b.products(tuning, a.groups, cout, out / output.shape.c(), cin * kh * kw)?
            }
        }
        Op::Conv2dDx(a) => {
            let Conv2dDx { stride, dilation, groups, top, left, bottom: _, right: _, h: _, w: _ } = a;
            let [_, _, kh, kw] = shape(1).0;
            let kernel = [kh, kw, stride, dilation];
            let w = Window { batch: n, x: output.shape, y: shape(0), groups, kernel, pad: [top, left] };
            let [cin, cout] = w.channels();
            let b = w.builder(Shader::Conv2dDx, Shader::Conv2dDxDirect, tuning);
            if w.is_direct() {
                b.elements(out)
            } else {
                b.products(tuning, groups, cin, out / output.shape.c(), cout * kh * kw)?
            }
        }
        Op::Conv2dDw(a) => {
            let Conv2dDw { stride, dilation, groups, top, left, bottom: _, right: _, kh, kw } = a;
            let kernel = [kh, kw, stride, dilation];
            let w = Window { batch: n, x: shape(0), y: shape(1), groups, kernel, pad: [top, left] };
            let [cin, cout] = w.channels();
            let terms = word(batch * shape(1).positions())?;
            let b = w.builder(Shader::Conv2dDw, Shader::Conv2dDwDirect, tuning);
            if w.is_direct() {
                b.groups(out, u64::from(out) * u64::from(terms))
            } else {
                b.products(tuning, groups, cout, cin * kh * kw, terms)?
            }
        }
        Op::Linear(a) => {
            let [groups, outputs, features, _] = shape(1).0;
            new(Shader::Linear)
                .words(&[n, groups, outputs, features, shape(0).c(), a.share, a.offset, a.stride])
                .words(&[a.act.to_word(), has(2)])
                .products(tuning, groups, n, outputs, features)?
        }
        Op::LinearDx(a) => {
            let [groups, outputs, features, _] = shape(1).0;
            let windows = groups / a.share;
            let d = new(Shader::LinearDx)
                .words(&[n, groups, outputs, features, a.len, a.share, a.offset, a.stride])
                .products(tuning, windows, n, features, a.share * outputs)?;
            Dispatch { clear: windows * features < a.len, ..d }
        }
        Op::LinearDw(a) => {
            let [groups, outputs, features, _] = output.shape.0;
            new(Shader::LinearDw)
                .words(&[n, groups, outputs, features, shape(0).c(), a.share, a.offset, a.stride])
                .products(tuning, groups, outputs, features, n)?
        }
        Op::PositionLinear(_) => {
            let [positions, cout, cin, _] = shape(1).0;
            new(Shader::PositionLinear).words(&[n, positions, cin, cout]).products(tuning, positions, cout, n, cin)?
        }
        Op::PositionLinearDx(_) => {
            let [positions, cout, cin, _] = shape(1).0;
            new(Shader::PositionLinearDx).words(&[n, positions, cin, cout]).products(tuning, positions, cin, n, cout)?
        }
        Op::Nearest(a) => search(Shader::Nearest, 0, a.radius, a.root)?,
        Op::NearestDx(a) => search(Shader::NearestDx, 1, a.radius, a.root)?,
        Op::Activate(a) => new(Shader::Activate).words(&[out, a.act.to_word()]).elements(out),
        Op::ActivateDx(a) => new(Shader::ActivateDx).words(&[out, a.act.to_word()]).elements(out),
        Op::Add(_) => new(Shader::Add).words(&[out]).elements(out),
        Op::Smooth(a) => new(Shader::Smooth).words(&[out, a.curve.to_word()]).elements(out),
        Op::SmoothDx(a) => new(Shader::SmoothDx).words(&[out, a.curve.to_word()]).elements(out),
        // One sample of N·C channels, which do not meet.
        Op::ChannelScale(_) => {
            new(Shader::ScaleShiftDx).words(&[out, word(batch * shape(0).c() as usize)?, positions(0)]).elements(out)
        }
        Op::ChannelDot(_) => {
            new(Shader::ScaleShiftDscale).words(&[1, out, positions(0)]).groups(out, u64::from(input(0)?))
        }
        Op::BatchStats(_) => summed(Shader::BatchStats, 0)?,
        Op::BatchStatsDx(_) => {
            let count = batch * shape(1).positions();
            new(Shader::BatchStatsDx).words(&[out, shape(1).c(), positions(1)]).floats(&[count as f32]).elements(out)
        }
        Op::BatchNorm(a) => normed(Shader::BatchNorm, a.eps).elements(out),
        Op::BatchNormDx(a) => normed(Shader::BatchNormDx, a.eps).elements(out),
        Op::BatchNormDstats(a) => norm_sums(Shader::BatchNormDstats, a.eps)?,
        Op::BatchNormDgamma(a) => norm_sums(Shader::BatchNormDgamma, a.eps)?,
        // One channel.
        Op::Gain(_) => new(Shader::ScaleShiftDx).words(&[out, 1, 1]).elements(out),
        Op::GainDgamma(_) => {
            new(Shader::ScaleShiftDscale).words(&[n, 1, shape(0).len() as u32]).groups(1, u64::from(input(0)?))
        }
        Op::Multiply(_) => new(Shader::Multiply).words(&[out]).elements(out),
        Op::Scale(a) => new(Shader::Scale).words(&[out]).floats(&[a.factor]).elements(out),
        Op::ScaleShift(a) => {
            let plane = (shape(0).len() / shape(0).c() as usize) as u32;
            new(Shader::ScaleShift).words(&[out, shape(0).c(), plane, a.inverse.to_word()]).elements(out)
        }
        Op::ScaleShiftDx(_) => per_channel(Shader::ScaleShiftDx, 0),
        Op::ScaleShiftDscale(_) => summed(Shader::ScaleShiftDscale, 0)?,
        Op::ChannelSum(_) => summed(Shader::ChannelSum, 0)?,
        Op::MaxPool(a) => {
            let (x, y) = (shape(0), output.shape);
            new(Shader::MaxPool).words(&[out, x.h(), x.w(), y.h(), y.w(), a.k, a.stride, a.pad]).elements(out)
        }
        Op::MaxPoolDx(a) => {
            let (x, y) = (output.shape, shape(1));
            new(Shader::MaxPoolDx).words(&[out, x.h(), x.w(), y.h(), y.w(), a.k, a.stride, a.pad]).elements(out)
        }
        Op::GlobalMean(_) => new(Shader::GlobalMean).words(&[out, positions(0)]).groups(out, u64::from(input(0)?)),
        Op::GlobalMeanDx(_) => new(Shader::GlobalMeanDx).words(&[out, output.shape.positions() as u32]).elements(out),
        Op::Resize(a) => {
            sides(shape(0), output.shape)?;
            let (x, y) = (shape(0), output.shape);
            new(Shader::Resize).words(&[out, x.h(), x.w(), y.h(), y.w(), a.mode.to_word()]).elements(out)
        }
        Op::ResizeDx(a) => {
            sides(output.shape, shape(0))?;
            let (x, y) = (output.shape, shape(0));
            new(Shader::ResizeDx).words(&[out, x.h(), x.w(), y.h(), y.w(), a.mode.to_word()]).elements(out)
        }
        Op::Concat(_) => {
            let mut words = [out, output.shape.len() as u32, 0, 0, 0, 0, 0, 0];
            for (slot, word) in words[2..].iter_mut().enumerate() {
                *word = types[slot].map_or(0, |t| t.shape.len() as u32);
            }
            new(Shader::Concat).words(&words).elements(out)
        }
        Op::Slice(a) => {
            let (x, plane) = (shape(0), (shape(0).len() / shape(0).c() as usize) as u32);
            new(Shader::Slice).words(&[out, x.len() as u32, a.first * plane, a.count * plane]).elements(out)
        }
        Op::Embed(a) => {
            let (x, plane) = (shape(0), (shape(0).len() / shape(0).c() as usize) as u32);
            new(Shader::Embed).words(&[out, a.count * plane, a.first * plane, x.len() as u32]).elements(out)
        }
        Op::Permute(a) => {
            let (s, plane) = (shape(0), (shape(0).len() / shape(0).c() as usize) as u32);
            new(Shader::Permute).words(&[out, s.c(), plane, a.inverse.to_word()]).elements(out)
        }
        Op::Repeat(_) => new(Shader::Repeat).words(&[out, shape(0).len() as u32]).elements(out),
        Op::SquareParts(_) => {
            new(Shader::SquareParts).words(&[shape(0).len() as u32, out]).groups(out, u64::from(input(0)?))
        }
        Op::Coupling(a) => {
            let x = shape(0);
            new(Shader::Coupling)
                .words(&[out, a.groups, x.c() / a.groups, a.offset, a.active, positions(0)])
                .floats(&[a.clamp])
                .words(&[a.form.to_word(), a.inverse.to_word()])
                .elements(out)
        }
        Op::CouplingDx(a) => {
            let gy = shape(0);
            new(Shader::CouplingDx)
                .words(&[out, a.groups, gy.c() / a.groups, a.offset, a.active, positions(0)])
                .floats(&[a.clamp])
                .words(&[a.form.to_word()])
                .elements(out)
        }
        Op::CouplingDst(a) => {
            let gy = shape(0);
            new(Shader::CouplingDst)
                .words(&[out, a.groups, gy.c() / a.groups, a.offset, a.active, positions(0)])
                .floats(&[a.clamp])
                .words(&[a.form.to_word()])
                .elements(out)
        }
        Op::LogDet(a) => {
            let active = shape(0).c() / a.groups / 2;
            let b = new(Shader::LogDet).words(&[n, a.groups, active, positions(0)]).floats(&[a.clamp]).words(&[
                a.form.to_word(),
                has(1),
                a.per_position.to_word(),
            ]);
            if a.per_position { b.elements(out) } else { b.groups(n, u64::from(input(0)?)) }
        }
        Op::LogDetDst(a) => {
            let active = shape(1).c() / a.groups / 2;
            new(Shader::LogDetDst)
                .words(&[out, a.groups, active, positions(1)])
                .floats(&[a.clamp])
                .words(&[a.form.to_word(), a.per_position.to_word()])
                .elements(out)
        }
        Op::Attention(a) => attention(Shader::Attention, a.heads, 0, 2),
        Op::AttentionLse(a) => attention(Shader::AttentionLse, a.heads, 0, 1),
        Op::AttentionDx(a) => attention(Shader::AttentionDx, a.heads, 1, 8),
        Op::CellHinge(a) => new(Shader::CellHinge)
            .words(&[n, shape(0).len() as u32])
            .floats(&[a.margin])
            .groups(n, u64::from(input(0)?)),
        Op::CellHingeDn(a) => {
            new(Shader::CellHingeDn).words(&[out, shape(1).len() as u32]).floats(&[a.margin]).elements(out)
        }
        Op::LogScale(a) => new(Shader::LogScale).words(&[out, shape(1).c()]).floats(&[a.factor]).elements(out),
        Op::LogScaleDscale(a) => {
            let terms = input(0)?;
            let work = u64::from(out) * u64::from(terms);
            new(Shader::LogScaleDscale).words(&[out, terms]).floats(&[a.factor]).groups(out, work)
        }
        Op::LayerNorm(a) => layer_norm(Shader::LayerNorm, a.per_position, a.eps),
        Op::LayerNormDx(a) => layer_norm(Shader::LayerNormDx, a.per_position, a.eps),
        Op::FlowNll(_) => new(Shader::FlowNll).words(&[n, shape(0).len() as u32]).groups(n, u64::from(input(0)?)),
        Op::FlowNllDz(_) => new(Shader::FlowNllDz).words(&[out, shape(1).len() as u32]).elements(out),
        Op::FlowNllDj(a) => new(Shader::FlowNllDj).words(&[out, a.dims]).elements(out),
        Op::SquareSum(a) => {
            let b = new(Shader::SquareSum)
                .words(&[n, shape(0).c(), positions(0)])
                .floats(&[a.scale])
                .words(&[a.per_position.to_word(), a.root.to_word()]);
            if a.per_position { b.elements(out) } else { b.groups(n, u64::from(input(0)?)) }
        }
        Op::SquareSumDx(a) => new(Shader::SquareSumDx)
            .words(&[out, shape(1).c(), positions(1)])
            .floats(&[a.scale])
            .words(&[a.per_position.to_word(), a.root.to_word()])
            .elements(out),
        Op::BatchMean(_) => new(Shader::BatchMean).words(&[n]).groups(1, u64::from(n)),
        Op::BatchMeanDx(_) => new(Shader::BatchMeanDx).words(&[n, has(0)]).elements(n),
        Op::TopMean(a) => {
            new(Shader::TopMean).words(&[n, shape(0).len() as u32, a.k]).groups(n, 34 * u64::from(input(0)?))
        }
        Op::TopMeanDx(a) => {
            new(Shader::TopMeanDx).words(&[n, shape(1).len() as u32, a.k]).groups(n, 34 * u64::from(input(1)?))
        }
        Op::Magnitude(_) => new(Shader::Magnitude).words(&[out, output.shape.len() as u32]).elements(out),
        Op::MagnitudeDx(_) => new(Shader::MagnitudeDx).words(&[out, shape(2).len() as u32]).elements(out),
        Op::Root(_) => new(Shader::Root).words(&[out]).elements(out),
        Op::RootDx(_) => new(Shader::RootDx).words(&[out]).elements(out),
        Op::Cosine(a) => {
            let (width, work) = (shape(0).c(), u64::from(out) * u64::from(shape(0).c()));
            let d = new(Shader::Cosine).words(&[out, n, a.samples, width]).elements(out);
            Dispatch { work, ..d }
        }
        Op::CosineDx(_) => cosine_gradient(false)?,
        Op::CosineDw(_) => cosine_gradient(true)?,
        Op::Triplet(a) => triplet(Shader::Triplet, 0, [a.sigma, a.margin], false),
        Op::TripletDcos(a) => triplet(Shader::TripletDcos, 1, [a.sigma, a.margin], a.mixed),
        Op::BatchMix(_) => new(Shader::BatchMix).words(&[out, n, output.shape.len() as u32]).elements(out),
        Op::BatchMixDx(_) => {
            let d = new(Shader::BatchMixDx).words(&[out, n, output.shape.len() as u32]).elements(out);
            Dispatch { work: u64::from(out) * u64::from(n), ..d }
        }
        Op::Adam(a) => {
            // −∞ for β = 0: then 1 − βᵗ is 1.
            let log = |beta: f32| f64::from(beta).ln().max(-1e6) as f32;
            new(Shader::Adam)
                .words(&[out])
                .floats(&[a.beta1, a.beta2, log(a.beta1), log(a.beta2), a.eps, a.weight_decay, a.clip])
                .elements(out)
        }
    })
}

/// Positions are fractions of products of two sides, in 32 bits.
fn sides(x: Shape, y: Shape) -> Result<(), DeviceError> {
    let fits = |a: u32, b: u32| {
        (2 * u64::from(b) + 1) * u64::from(a) + u64::from(b) < 1 << 32 && (u64::from(a) + 2) * u64::from(b) < 1 << 32
    };
    if fits(x.h(), y.h()) && fits(x.w(), y.w()) {
        Ok(())
    } else {
        Err(DeviceError::new(DeviceFault::Unsupported, "a resize of more than 32768 pixels a side"))
    }
}
