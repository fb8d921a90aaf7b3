//! Four lanes of Advanced SIMD, which every 64-bit Arm application processor has.

use super::{MAX_LANES, Op, Simd};
use core::arch::aarch64::*;

/// Proof of Advanced SIMD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// The proof, if the target has it: it is part of the usual targets' baseline, so nothing is asked at run time.
    pub fn detect() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Self(()))
    }
}

// SAFETY of every block here: the value `self` proves NEON; loads and stores pass their caller's promise on.
#[allow(clippy::undocumented_unsafe_blocks, unused_unsafe)]
impl Simd for Neon {
    type V = float32x4_t;
    type M = uint32x4_t;
    const LANES: usize = 4;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;

    #[inline]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        op.run(self)
    }
    #[inline(always)]
    fn splat(self, v: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Not vminq: that returns NaN where one of the two is NaN.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    fn abs(self, a: float32x4_t) -> float32x4_t {
        unsafe { vabsq_f32(a) }
    }
    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    fn copysign(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vdupq_n_u32(1 << 31), b, a) }
    }
    #[inline(always)]
    fn exp2i(self, n: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
    }
    #[inline(always)]
    fn lt(self, a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        unsafe { vcltq_f32(a, b) }
    }
    #[inline(always)]
    fn select(self, m: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(m, a, b) }
    }
    #[inline(always)]
    fn deinterleave(self, a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) {
        unsafe { (vuzp1q_f32(a, b), vuzp2q_f32(a, b)) }
    }
    #[inline(always)]
    fn transpose(self, r: &mut [float32x4_t; MAX_LANES]) {
        unsafe {
            let (a, b) = (vtrn1q_f32(r[0], r[1]), vtrn2q_f32(r[0], r[1]));
            let (c, d) = (vtrn1q_f32(r[2], r[3]), vtrn2q_f32(r[2], r[3]));
            r[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(c));
            r[1] = vcombine_f32(vget_low_f32(b), vget_low_f32(d));
            r[2] = vcombine_f32(vget_high_f32(a), vget_high_f32(c));
            r[3] = vcombine_f32(vget_high_f32(b), vget_high_f32(d));
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn load_masked(self, p: *const f32, m: uint32x4_t) -> float32x4_t {
        let (mut bits, mut v) = ([0; 4], [0.0; 4]);
        unsafe { vst1q_u32(bits.as_mut_ptr(), m) };
        for i in 0..4 {
            if bits[i] != 0 {
                v[i] = unsafe { *p.wrapping_add(i) };
            }
        }
        unsafe { vld1q_f32(v.as_ptr()) }
    }
    #[inline(always)]
    fn lanes(self, from: usize, to: usize) -> uint32x4_t {
        let bits: [u32; 4] = core::array::from_fn(|i| if from <= i && i < to { u32::MAX } else { 0 });
        unsafe { vld1q_u32(bits.as_ptr()) }
    }
    #[inline(always)]
    fn bits(self, lanes: u32) -> uint32x4_t {
        let bits: [u32; 4] = core::array::from_fn(|i| if lanes >> i & 1 != 0 { u32::MAX } else { 0 });
        unsafe { vld1q_u32(bits.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_lanes(self, p: *mut f32, v: float32x4_t, count: usize) {
        let mut out = [0.0; 4];
        unsafe { vst1q_f32(out.as_mut_ptr(), v) };
        for i in 0..count.min(4) {
            unsafe { *p.add(i) = out[i] };
        }
    }
}
