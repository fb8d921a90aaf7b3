//! What the operations of a plan run on the CPU: one file a kernel family.
//!
//! Kernels are safe functions over `f32` slices, NCHW, row-major, batch outermost. Lengths are asserted on entry; plans are
//! validated before, so a failing assertion is this crate's mistake. Nothing allocates: a kernel that needs room has a
//! `*_scratch` function that says how many elements, from the shape, the pass and the number of threads alone. What is in
//! the scratch does not matter. Each output element is computed by the same sequence of operations whatever the number of
//! threads and whatever the batch, so results do not depend on either.

pub mod activation;
pub mod adam;
pub mod attention;
pub mod batch_mix;
pub mod batch_norm;
pub mod cell_hinge;
pub mod channel;
pub mod conv2d;
mod conv2d_grad;
pub mod cosine;
pub mod coupling;
pub mod elementwise;
pub mod gemm;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod log_det;
pub mod log_scale;
pub mod magnitude;
pub mod nearest;
pub mod pool;
pub mod position_linear;
pub mod reduce;
pub mod resize;
pub mod root;
pub mod smooth;
pub mod triplet;

#[cfg(all(test, feature = "std"))]
mod check;

pub use activation::Activation;

/// Which of a kernel's three passes: scratch sizes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The output from the input.
    Forward,
    /// The gradient of the input.
    Dx,
    /// The gradient of the weights.
    Dw,
}

#[cfg(all(test, feature = "std"))]
pub(crate) mod testing {
    //! What the kernels' tests share.
    use alloc::vec::Vec;

    /// Values in −1..1, the same for the same seed.
    pub(crate) fn noise(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = || {
            // xorshift32, Marsaglia 2003.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Every element within `tolerance`, or a message with the first that is not.
    #[track_caller]
    pub(crate) fn close(want: &[f32], got: &[f32], tolerance: f32, what: &str) {
        assert_eq!(want.len(), got.len());
        for (i, (w, g)) in want.iter().zip(got).enumerate() {
            assert!((w - g).abs() <= tolerance, "{what}: element {i} is {g}, should be {w} within {tolerance}");
        }
    }
}
