//! The memory of a program: regions by what lives there, counted in blocks.

/// Floats in a block: 64 bytes, a cache line and an AVX-512 register.
pub const BLOCK: usize = 16;
/// Blocks that `len` floats fill.
pub const fn blocks_of(len: usize) -> u64 {
    len.div_ceil(BLOCK) as u64
}

/// Where values live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Region {
    /// Parameters: read-only when scoring.
    Params = 0,
    /// Gradients of the trainable range.
    Grads = 1,
    /// Moments of the optimiser.
    State = 2,
    /// Scratch values, per sample, reused.
    Work = 3,
    /// Inputs and outputs, per sample.
    Io = 4,
    /// What does not scale with the batch: losses, learning rate.
    Fixed = 5,
}

/// Number of regions.
pub const REGIONS: usize = 6;

impl Region {
    /// All regions, in the order of their numbers.
    pub const ALL: [Region; REGIONS] =
        [Region::Params, Region::Grads, Region::State, Region::Work, Region::Io, Region::Fixed];

    /// The region of that number.
    pub fn from_word(word: u32) -> Option<Region> {
        Region::ALL.get(word as usize).copied()
    }

    /// Whether tensors there hold one block per sample.
    pub fn is_batched(self) -> bool {
        match self {
            Region::Work | Region::Io => true,
            Region::Params | Region::Grads | Region::State | Region::Fixed => false,
        }
    }

    /// Name in dumps.
    pub fn name(self) -> &'static str {
        match self {
            Region::Params => "params",
            Region::Grads => "grads",
            Region::State => "state",
            Region::Work => "work",
            Region::Io => "io",
            Region::Fixed => "fixed",
        }
    }
}
