//! Four lanes in plain Rust: what every target has, and what the others are compared with.

use super::{MAX_LANES, Op, Simd};

/// Plain Rust on arrays of four. Multiply-add rounds twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

const N: usize = 4;

/// Four lanes.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub struct F4([f32; N]);

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> F4 {
    F4([f(0), f(1), f(2), f(3)])
}

impl Simd for Portable {
    type V = F4;
    type M = [bool; N];
    const LANES: usize = N;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 2;

    #[inline]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        op.run(self)
    }
    #[inline(always)]
    fn splat(self, v: f32) -> F4 {
        F4([v; N])
    }
    #[inline(always)]
    fn add(self, a: F4, b: F4) -> F4 {
        each(|i| a.0[i] + b.0[i])
    }
    #[inline(always)]
    fn sub(self, a: F4, b: F4) -> F4 {
        each(|i| a.0[i] - b.0[i])
    }
    #[inline(always)]
    fn mul(self, a: F4, b: F4) -> F4 {
        each(|i| a.0[i] * b.0[i])
    }
    #[inline(always)]
    fn div(self, a: F4, b: F4) -> F4 {
        each(|i| a.0[i] / b.0[i])
    }
    #[inline(always)]
    fn fma(self, a: F4, b: F4, c: F4) -> F4 {
        each(|i| a.0[i] * b.0[i] + c.0[i])
    }
    #[inline(always)]
    fn min(self, a: F4, b: F4) -> F4 {
        each(|i| if a.0[i] < b.0[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    fn max(self, a: F4, b: F4) -> F4 {
        each(|i| if a.0[i] > b.0[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    fn sqrt(self, a: F4) -> F4 {
        each(|i| libm::sqrtf(a.0[i]))
    }
    #[inline(always)]
    fn abs(self, a: F4) -> F4 {
        each(|i| a.0[i].abs())
    }
    #[inline(always)]
    fn round(self, a: F4) -> F4 {
        each(|i| libm::rintf(a.0[i]))
    }
    #[inline(always)]
    fn copysign(self, a: F4, b: F4) -> F4 {
        each(|i| a.0[i].copysign(b.0[i]))
    }
    #[inline(always)]
    fn exp2i(self, n: F4) -> F4 {
        each(|i| f32::from_bits((((n.0[i] as i32) + 127) as u32) << 23))
    }
    #[inline(always)]
    fn lt(self, a: F4, b: F4) -> [bool; N] {
        core::array::from_fn(|i| a.0[i] < b.0[i])
    }
    #[inline(always)]
    fn select(self, m: [bool; N], a: F4, b: F4) -> F4 {
        each(|i| if m[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    fn deinterleave(self, a: F4, b: F4) -> (F4, F4) {
        (F4([a.0[0], a.0[2], b.0[0], b.0[2]]), F4([a.0[1], a.0[3], b.0[1], b.0[3]]))
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [F4; MAX_LANES]) {
        for i in 0..N {
            for j in 0..i {
                let (a, b) = (rows[i].0[j], rows[j].0[i]);
                rows[i].0[j] = b;
                rows[j].0[i] = a;
            }
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> F4 {
        // SAFETY: readable, promised by the caller; an array of f32 has the alignment of f32.
        F4(unsafe { *p.cast() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, v: F4) {
        // SAFETY: writable, promised by the caller.
        unsafe { *p.cast() = v.0 }
    }
    #[inline(always)]
    unsafe fn load_masked(self, p: *const f32, m: [bool; N]) -> F4 {
        // SAFETY: the lanes of the mask are readable, promised by the caller.
        each(|i| if m[i] { unsafe { *p.wrapping_add(i) } } else { 0.0 })
    }
    #[inline(always)]
    fn lanes(self, from: usize, to: usize) -> [bool; N] {
        core::array::from_fn(|i| from <= i && i < to)
    }
    #[inline(always)]
    fn bits(self, lanes: u32) -> [bool; N] {
        core::array::from_fn(|i| lanes >> i & 1 != 0)
    }
    #[inline(always)]
    unsafe fn store_lanes(self, p: *mut f32, v: F4, count: usize) {
        for i in 0..count.min(N) {
            // SAFETY: the first `count` are writable, promised by the caller.
            unsafe { *p.add(i) = v.0[i] };
        }
    }
}
