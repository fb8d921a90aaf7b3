//! Vectors of `f32`, one algorithm for every instruction set.
//!
//! An algorithm is written once, generic over [`Simd`], inside an [`Op`]; [`Isa::run`](crate::cpu::Isa::run) compiles it for each
//! instruction set and picks one. A value of a `Simd` type exists only if the processor has the instructions, so its methods
//! are safe to call. All code below `Op::run` must be inlined into it to be compiled for the instruction set: mark helpers
//! `#[inline(always)]` and prefer loops to closures. This folder and [`threads`](crate::threads) hold all `unsafe` code.
#![allow(unsafe_code)] // Vector instructions, and loads and stores through pointers.

mod portable;
pub use portable::Portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;

pub(crate) mod dense;
pub(crate) mod depthwise;
pub(crate) mod math;
pub(crate) mod pack;
pub(crate) mod patches;
pub(crate) mod product;
pub(crate) mod sum;
mod taps;

/// Work that is compiled once for each instruction set. `run` must be `#[inline(always)]`.
pub trait Op {
    /// What it returns.
    type Output;
    /// Does the work with the vectors of `s`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// The widest vector of any instruction set.
pub const MAX_LANES: usize = 16;

/// Vectors of `LANES` `f32` and what can be done with them, lane by lane unless said otherwise.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector.
    type V: Copy;
    /// One bit a lane.
    type M: Copy;
    /// 4, 8 or 16.
    const LANES: usize;
    /// Rows of a matrix product's register tile.
    const TILE_ROWS: usize;
    /// Vectors a row of that tile: 2 or 3.
    const TILE_VECTORS: usize;

    /// Runs `op` as a function of its own, compiled for this instruction set: keeps code that several callers share in one
    /// place.
    fn vectorize<O: Op>(self, op: O) -> O::Output;

    /// `v` in every lane.
    fn splat(self, v: f32) -> Self::V;
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the instruction set can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `b` if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; `b` if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `√a`
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `|a|`
    fn abs(self, a: Self::V) -> Self::V;
    /// The nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// The size of `a` with the sign of `b`.
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// `2ⁿ` for integral `n` in −126..=127.
    fn exp2i(self, n: Self::V) -> Self::V;
    /// `a < b`; false if either is NaN.
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a` where the mask is set, `b` elsewhere.
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// Even and odd elements of `a` followed by `b`.
    fn deinterleave(self, a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// Transposes the square whose rows are `rows[..LANES]`.
    fn transpose(self, rows: &mut [Self::V; MAX_LANES]);

    /// The mask with bits `from..to`, both cut at `LANES`.
    fn lanes(self, from: usize, to: usize) -> Self::M;
    /// The mask of the lanes whose bit is set.
    fn bits(self, lanes: u32) -> Self::M;
    /// Asks for the cache line at `p`, which may point anywhere.
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        let _ = p;
    }

    /// Reads `LANES` elements.
    /// # Safety
    /// They are readable at `p`.
    unsafe fn load_ptr(self, p: *const f32) -> Self::V;
    /// Writes `LANES` elements.
    /// # Safety
    /// They are writable at `p`.
    unsafe fn store_ptr(self, p: *mut f32, v: Self::V);
    /// The lanes of the mask from `p + lane`, 0 in the others.
    /// # Safety
    /// The elements of those lanes are readable; `p` itself may point outside, computed by wrapping arithmetic.
    unsafe fn load_masked(self, p: *const f32, m: Self::M) -> Self::V;
    /// [`load_masked`](Self::load_masked) for lanes `from..to`.
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn load_lanes(self, p: *const f32, from: usize, to: usize) -> Self::V {
        // SAFETY: promised by the caller.
        unsafe { self.load_masked(p, self.lanes(from, to)) }
    }
    /// Writes the first `count` lanes, `LANES` at most.
    /// # Safety
    /// They are writable at `p`.
    unsafe fn store_lanes(self, p: *mut f32, v: Self::V, count: usize);

    /// `from[row[i] + col[i]]` in the lanes whose bit is set, 0 in the others.
    /// # Safety
    /// The elements of those lanes are readable; `from` itself may point outside, computed by wrapping arithmetic.
    #[inline(always)]
    unsafe fn gather(self, from: *const f32, row: &[i32; MAX_LANES], col: &[i32; MAX_LANES], lanes: u32) -> Self::V {
        let mut out = [0.0; MAX_LANES];
        for i in 0..Self::LANES {
            if lanes >> i & 1 != 0 {
                // SAFETY: promised by the caller.
                out[i] = unsafe { *from.wrapping_offset((row[i] + col[i]) as isize) };
            }
        }
        self.load(&out)
    }

    /// Asks for the cache line at `p`, which may point anywhere, to be brought to the second-level cache only.
    #[inline(always)]
    fn prefetch_second(self, p: *const f32) {
        let _ = p;
    }

    /// 0 in every lane.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// The first `LANES` elements of `x`; panics if there are fewer.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        assert!(x.len() >= Self::LANES);
        // SAFETY: as many are there.
        unsafe { self.load_ptr(x.as_ptr()) }
    }

    /// Writes the first `LANES` elements of `y`; panics if there are fewer.
    #[inline(always)]
    fn store(self, y: &mut [f32], v: Self::V) {
        assert!(y.len() >= Self::LANES);
        // SAFETY: as many are there.
        unsafe { self.store_ptr(y.as_mut_ptr(), v) }
    }

    /// As many elements as `x` has, `LANES` at most, and 0 in the other lanes.
    #[inline(always)]
    fn load_part(self, x: &[f32]) -> Self::V {
        // SAFETY: `x` has the elements.
        unsafe { self.load_lanes(x.as_ptr(), 0, x.len()) }
    }

    /// Writes as many elements as `y` has, `LANES` at most.
    #[inline(always)]
    fn store_part(self, y: &mut [f32], v: Self::V) {
        // SAFETY: `y` has the elements.
        unsafe { self.store_lanes(y.as_mut_ptr(), v, y.len()) }
    }

    /// The lanes, then zeros.
    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; MAX_LANES] {
        let mut out = [0.0; MAX_LANES];
        self.store(&mut out, v);
        out
    }
}
