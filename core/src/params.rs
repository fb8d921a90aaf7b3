//! Parameters by name: what a model has learned, and what it was given.
//!
//! In memory trainable parameters come first and contiguous, so that an optimiser step is one op over one range; frozen ones
//! follow. Offsets count blocks of [`BLOCK`] floats.

use crate::memory::{BLOCK, blocks_of};
use crate::shape::Shape;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// One named tensor of values.
#[derive(Clone, Debug)]
pub struct Param {
    /// Unique name, for example `step0.level3.w1`.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Whether training changes it.
    pub trainable: bool,
    /// Values, row-major. An index tensor holds u32 bits.
    pub data: Vec<f32>,
}

/// Why a parameter cannot be added.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamError {
    /// There is one of that name already.
    Duplicate(String),
    /// The number of values does not fit the shape.
    Length {
        /// Which parameter.
        name: String,
        /// The shape it was given.
        shape: Shape,
        /// Number of values given.
        found: usize,
    },
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamError::Duplicate(name) => write!(f, "parameter \"{name}\" is defined twice"),
            ParamError::Length { name, shape, found } => {
                write!(f, "parameter \"{name}\" of shape {shape} was given {found} values")
            }
        }
    }
}

impl core::error::Error for ParamError {}

/// All parameters of a model.
///
/// ```
/// use adflow::params::{ParamError, Params};
/// use adflow::shape::Shape;
/// let mut params = Params::new();
/// params.add("mean", Shape::vector(3), false, vec![1.0, 2.0, 3.0])?;
/// params.add("weight", Shape([1, 2, 3, 1]), true, vec![0.0; 6])?;
/// assert_eq!(params.trainable_count(), 6);
/// // As programs see them: blocks of 16 floats, what trains first.
/// let packed = params.pack();
/// assert_eq!((packed.len(), packed[16..19].to_vec()), (32, vec![1.0, 2.0, 3.0]));
/// # Ok::<(), ParamError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Params {
    entries: Vec<Param>,
}

impl Params {
    /// No parameters yet.
    pub fn new() -> Params {
        Params::default()
    }

    /// Adds a parameter; `data` is row-major.
    ///
    /// # Errors
    /// [`ParamError::Duplicate`] where there is one of that name, [`ParamError::Length`] where the values do not fit the shape.
    pub fn add(&mut self, name: &str, shape: Shape, trainable: bool, data: Vec<f32>) -> Result<(), ParamError> {
        if self.find(name).is_some() {
            return Err(ParamError::Duplicate(name.to_string()));
        }
        if shape.checked_len() != Some(data.len()) {
            return Err(ParamError::Length { name: name.to_string(), shape, found: data.len() });
        }
        self.entries.push(Param { name: name.to_string(), shape, trainable, data });
        Ok(())
    }

    /// Adds a fixed table of channel numbers (see [`crate::op::Permute`]).
    ///
    /// # Errors
    /// [`ParamError::Duplicate`] where there is one of that name.
    pub fn add_index(&mut self, name: &str, index: &[u32]) -> Result<(), ParamError> {
        let bits = index.iter().map(|&i| f32::from_bits(i)).collect();
        self.add(name, Shape::vector(index.len() as u32), false, bits)
    }

    /// Position of a parameter.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|p| p.name == name)
    }

    /// A parameter by name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.find(name).map(|i| &self.entries[i])
    }

    /// A parameter by name, to be changed in place.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Param> {
        self.find(name).map(|i| &mut self.entries[i])
    }

    /// All parameters in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.entries.iter()
    }

    /// Trainable values in all (without padding).
    pub fn trainable_count(&self) -> usize {
        self.entries.iter().filter(|p| p.trainable).map(|p| p.data.len()).sum()
    }

    /// Blocks of the trainable parameters whose names begin with `prefix`; `None` if there are none, or if others lie between
    /// them.
    pub fn trainable_part(&self, prefix: &str) -> Option<Range<u64>> {
        let layout = self.layout();
        let mut part: Option<Range<u64>> = None;
        for (first, p) in layout.offsets.iter().zip(&self.entries).filter(|(_, p)| p.trainable) {
            let end = first + blocks_of(p.data.len());
            match &mut part {
                _ if !p.name.starts_with(prefix) => {}
                None => part = Some(*first..end),
                Some(part) if part.end == *first => part.end = end,
                Some(_) => return None,
            }
        }
        part
    }

    /// Where each parameter lies.
    pub fn layout(&self) -> Layout {
        let mut offsets = vec![0; self.entries.len()];
        let mut at = 0u64;
        let mut trainable = 0;
        for pass in [true, false] {
            for (offset, p) in offsets.iter_mut().zip(&self.entries).filter(|(_, p)| p.trainable == pass) {
                *offset = at;
                at += blocks_of(p.data.len());
            }
            if pass {
                trainable = at;
            }
        }
        Layout { offsets, trainable, total: at }
    }

    /// All values in place, zeros between.
    pub fn pack(&self) -> Vec<f32> {
        let layout = self.layout();
        let mut out = vec![0.0; layout.total as usize * BLOCK];
        for (offset, p) in layout.offsets.iter().zip(&self.entries) {
            out[*offset as usize * BLOCK..][..p.data.len()].copy_from_slice(&p.data);
        }
        out
    }

    /// Takes back values that were packed with the same layout, for example after training.
    ///
    /// # Panics
    /// If `packed` is shorter than the layout.
    pub fn unpack(&mut self, packed: &[f32]) {
        let layout = self.layout();
        for (offset, p) in layout.offsets.iter().zip(&mut self.entries) {
            let len = p.data.len();
            p.data.copy_from_slice(&packed[*offset as usize * BLOCK..][..len]);
        }
    }
}

/// Offsets of parameters in blocks.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Offset of each parameter, in the order they were added.
    pub offsets: Vec<u64>,
    /// Blocks of the trainable range, which starts at 0.
    pub trainable: u64,
    /// Blocks in all.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trainable_come_first_and_pack_round_trips() {
        let mut p = Params::new();
        p.add("frozen", Shape::vector(3), false, vec![1.0, 2.0, 3.0]).unwrap();
        p.add("w", Shape::vector(17), true, vec![4.0; 17]).unwrap();
        let layout = p.layout();
        assert_eq!((layout.offsets.as_slice(), layout.trainable, layout.total), ([2, 0].as_slice(), 2, 3));
        let packed = p.pack();
        let mut q = p.clone();
        q.get_mut("w").unwrap().data.fill(0.0);
        q.unpack(&packed);
        assert_eq!(q.get("w").unwrap().data, p.get("w").unwrap().data);
    }

    #[test]
    fn wrong_parameters_are_refused() {
        let mut p = Params::new();
        p.add("a", Shape::vector(1), true, vec![0.0]).unwrap();
        assert!(matches!(p.add("a", Shape::vector(1), true, vec![0.0]), Err(ParamError::Duplicate(_))));
        assert!(matches!(p.add("b", Shape::vector(2), true, vec![0.0]), Err(ParamError::Length { found: 1, .. })));
    }
}
