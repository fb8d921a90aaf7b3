//! What methods read of a backbone, by role.

/// Which taps of a backbone methods read, by role. Each architecture declares its own, so that no method knows a tap by name.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// One tap a level, from fine to coarse, for methods that model each map on its own (FastFlow, SSNF). The last one is deep
    /// enough to describe an object (CS-Flow).
    pub levels: &'static [&'static str],
    /// Taps whose maps are joined to describe positions (PaDiM).
    pub grid: &'static [&'static str],
    /// Channels that are drawn from those of `grid`; all where there are no more.
    pub grid_channels: u32,
    /// Grids for methods that share what they learn between positions (the position flow, PatchCore), the finer one first; each is
    /// joined from the maps of some taps.
    pub grids: &'static [&'static [&'static str]],
    /// Read with each grid where images have colour.
    pub colour: &'static [&'static str],
    /// Read instead of `grid` where inputs have at most [`Roles::SMALL`] pixels a side, on which `grid` would be too coarse.
    pub small: Option<&'static [&'static str]>,
    /// Whether the network was trained on photographs. One that was not has few channels, all of them different, and needs
    /// larger images.
    pub trained: bool,
}

impl Roles {
    /// Side of an image, in pixels, up to which `small` is read.
    pub const SMALL: u32 = 128;

    /// Where nothing is known but one list of taps.
    pub const fn of(taps: &'static [&'static str]) -> Roles {
        Roles { levels: taps, grid: taps, grid_channels: 300, grids: &[], colour: &[], small: None, trained: true }
    }
}
