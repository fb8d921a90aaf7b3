//! Numbers of random streams, apart from those of parameters.

pub const HELD_OUT: u32 = 0xF000_0001;
pub const SHUFFLE: u32 = 0xF000_0002;
pub const ROTATION: u32 = 0xF000_0003;
pub const NOISE: u32 = 0xF000_0004;
pub const MEMORY: u32 = 0xF000_0005;
pub const TILES: u32 = 0xF001_0000;
/// Apart from the noise of further inputs.
pub const CONTRAST_SHUFFLE: u32 = 0xF000_0101;
pub const CONTRAST_IMAGE: u32 = 0xF000_0102;
pub const CONTRAST_MIX: u32 = 0xF000_0103;
