//! Depthwise 3×3 convolution, stride 1 or 2, straight from the image.
//!
//! A block of output rows is computed one vector of columns at a time: each input row is loaded once for the block, shifted by
//! three loads for stride 1 and by separating even and odd columns for stride 2. At the edges of the image the loads are
//! masked, so nothing is copied and nothing padded. Each output is one chain of multiply-adds, rows then columns, from the bias.

use super::{MAX_LANES, Op, Simd};
use crate::kernels::Activation;

/// Neighbouring planes: `y[oy, ox] = act(bias + Σ w[ky, kx] · x[oy·stride + ky − top, ox·stride + kx − left]) + residual`.
pub(crate) struct Depthwise<'a> {
    /// The planes, `h·w` elements each.
    pub x: &'a [f32],
    pub h: usize,
    pub w: usize,
    /// As many planes, `oh·ow` elements each.
    pub y: &'a mut [f32],
    pub oh: usize,
    pub ow: usize,
    pub stride: usize,
    pub pad_top: usize,
    pub pad_left: usize,
    /// Number of the first plane; plane `p` takes the weights and the bias of channel `p % channels`.
    pub first: usize,
    pub channels: usize,
    /// `[channels, 3, 3]`
    pub weight: &'a [f32],
    /// Whether the kernel is turned round, as the gradient wants it.
    pub turned: bool,
    pub bias: Option<&'a [f32]>,
    pub act: Activation,
    pub residual: Option<&'a [f32]>,
}

impl Op for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let planes = self.y.len() / (self.oh * self.ow);
        assert!(self.x.len() == planes * self.h * self.w && self.y.len() == planes * self.oh * self.ow);
        assert!(self.residual.is_none_or(|r| r.len() == self.y.len()));
        match self.stride {
            1 => self.planes::<S, 1>(s, planes),
            2 => self.planes::<S, 2>(s, planes),
            _ => unreachable!("stride 1 or 2"),
        }
    }
}

/// Vectors of a row that may touch the left or right edge: with two columns of padding at most, one and three.
const EDGES: usize = 4;

/// What a row outside the image is read from: two vectors and the widest shift.
static ZEROS: [f32; 2 * MAX_LANES + 2] = [0.0; 2 * MAX_LANES + 2];

impl Depthwise<'_> {
    #[inline(always)]
    fn planes<S: Simd, const STRIDE: usize>(self, s: S, planes: usize) {
        let (low, high) = self.act.clip_range();
        let mut p = Plane::<S> {
            x: self.x.as_ptr(),
            h: self.h as isize,
            w: self.w as isize,
            y: self.y.as_mut_ptr(),
            ow: self.ow,
            top: self.pad_top as isize,
            left: self.pad_left as isize,
            weight: [s.zero(); 9],
            bias: s.zero(),
            clip: (s.splat(low), s.splat(high)),
            residual: self.residual.map_or(core::ptr::null(), |r| r.as_ptr()),
        };
        // Vectors of columns whose patches lie inside the image's columns: from..until.
        let span = STRIDE * S::LANES;
        let from = self.pad_left.div_ceil(span);
        let until = ((self.w + self.pad_left).saturating_sub(2) / span).min(self.ow / S::LANES).max(from);
        let all = self.ow.div_ceil(S::LANES);
        // Lanes inside the row, for the loads of each of the other vectors.
        let mut edges = [[s.lanes(0, 0); 4]; EDGES];
        for (i, v) in (0..from.min(all)).chain(until..all).enumerate() {
            let at = (v * span) as isize - p.left;
            let shifts = if STRIDE == 1 { [0, 1, 2, 2] } else { [0, S::LANES, 2, 2 + S::LANES] };
            for k in 0..4 {
                let at = at + shifts[k] as isize;
                edges[i][k] = s.lanes((-at).max(0) as usize, (p.w - at).max(0) as usize);
            }
        }
        let whole = [s.lanes(0, S::LANES); 4];
        for plane in 0..planes {
            let c = (self.first + plane) % self.channels;
            let weight = &self.weight[c * 9..][..9];
            for i in 0..9 {
                p.weight[i] = s.splat(weight[if self.turned { 8 - i } else { i }]);
            }
            p.bias = s.splat(self.bias.map_or(0.0, |b| b[c]));
            p.x = self.x[plane * self.h * self.w..].as_ptr();
            p.y = self.y[plane * self.oh * self.ow..].as_mut_ptr();
            p.residual = self.residual.map_or(core::ptr::null(), |r| r[plane * self.oh * self.ow..].as_ptr());
            let mut oy = 0;
            while oy < self.oh {
                let tall = self.oh >= 4;
                for v in 0..all {
                    let (ox, inside) = (v * S::LANES, from <= v && v < until);
                    let masks = match inside {
                        true => &whole,
                        false => &edges[if v < from { v } else { from + v - until }],
                    };
                    // SAFETY: the slices are as long as `run` asserted; loads are masked to the image and stores to the row.
                    unsafe {
                        match (tall, inside) {
                            (true, true) => p.vector::<STRIDE, 4, true>(s, oy, ox, masks),
                            (true, false) => p.vector::<STRIDE, 4, false>(s, oy, ox, masks),
                            (false, _) => p.vector::<STRIDE, 1, false>(s, oy, ox, masks),
                        }
                    }
                }
                oy = if tall { next_block(oy, self.oh) } else { oy + 1 };
            }
        }
    }
}

/// The block of four rows after the one at `oy`; the last may overlap the one before it, `rows` is the end.
#[inline(always)]
fn next_block(oy: usize, rows: usize) -> usize {
    if oy + 4 >= rows { rows } else { (oy + 4).min(rows - 4) }
}

/// A [`Depthwise`] in the shape that the loops want.
struct Plane<S: Simd> {
    x: *const f32,
    h: isize,
    w: isize,
    y: *mut f32,
    ow: usize,
    top: isize,
    left: isize,
    weight: [S::V; 9],
    bias: S::V,
    clip: (S::V, S::V),
    residual: *const f32,
}

impl<S: Simd> Plane<S> {
    /// `R` rows of one vector of columns; `INSIDE` if no patch sticks out of the image to the left or right.
    #[inline(always)]
    unsafe fn vector<const STRIDE: usize, const R: usize, const INSIDE: bool>(
        &self,
        s: S,
        oy: usize,
        ox: usize,
        masks: &[S::M; 4],
    ) {
        let top = (oy * STRIDE) as isize - self.top;
        let left = (ox * STRIDE) as isize - self.left;
        let below = top + ((R - 1) * STRIDE + 3) as isize;
        let row = self.x.wrapping_offset(top * self.w + left);
        let mut rows = [ZEROS.as_ptr(); 9];
        if top >= 0 && below <= self.h {
            for t in 0..(R - 1) * STRIDE + 3 {
                rows[t] = row.wrapping_offset(t as isize * self.w);
            }
        } else {
            for t in 0..(R - 1) * STRIDE + 3 {
                let iy = top + t as isize;
                if iy >= 0 && iy < self.h {
                    rows[t] = row.wrapping_offset(t as isize * self.w);
                }
            }
        }
        let mut acc = [self.bias; R];
        for t in 0..(R - 1) * STRIDE + 3 {
            // SAFETY: rows outside the image are read from `ZEROS`, and masks keep the loads inside the others.
            let taps = unsafe { taps::<S, STRIDE, INSIDE>(s, rows[t], masks) };
            for r in 0..R {
                if t >= r * STRIDE && t < r * STRIDE + 3 {
                    for kx in 0..3 {
                        acc[r] = s.fma(self.weight[(t - r * STRIDE) * 3 + kx], taps[kx], acc[r]);
                    }
                }
            }
        }
        // SAFETY: the stores keep to the `count` elements left in the row.
        unsafe {
            let count = (self.ow - ox).min(S::LANES);
            for r in 0..R {
                let at = (oy + r) * self.ow + ox;
                let mut v = s.min(self.clip.1, s.max(self.clip.0, acc[r]));
                if !self.residual.is_null() {
                    v = s.add(v, s.load_lanes(self.residual.add(at), 0, count));
                }
                let y = self.y.add(at);
                if INSIDE || count == S::LANES { s.store_ptr(y, v) } else { s.store_lanes(y, v, count) }
            }
        }
    }
}

/// The three taps of a row for a vector of outputs: lane `l` of tap `kx` is column `left + l·STRIDE + kx`, or 0 outside the row.
/// `row` points at column `left`, possibly outside.
#[inline(always)]
unsafe fn taps<S: Simd, const STRIDE: usize, const INSIDE: bool>(
    s: S,
    row: *const f32,
    masks: &[S::M; 4],
) -> [S::V; 3] {
    let load = |shift: usize, m: S::M| {
        let p = row.wrapping_add(shift);
        // SAFETY: the mask keeps the load inside the row.
        unsafe { if INSIDE { s.load_ptr(p) } else { s.load_masked(p, m) } }
    };
    if STRIDE == 1 {
        [load(0, masks[0]), load(1, masks[1]), load(2, masks[2])]
    } else {
        let (even, odd) = s.deinterleave(load(0, masks[0]), load(S::LANES, masks[1]));
        let (next, _) = s.deinterleave(load(2, masks[2]), load(2 + S::LANES, masks[3]));
        [even, odd, next]
    }
}
