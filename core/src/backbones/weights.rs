//! Named tensors of a network that was trained elsewhere.
//!
//! A file is never trusted: a tensor is used only after it was asked for by name and shape; errors name the tensor, what was
//! expected and what was found.

use crate::checksum::Digest;
use crate::shape::Shape;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// One tensor of [`Weights`].
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Extents, outermost first, as in the file.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub data: Vec<f32>,
}

/// Why weights cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightsError {
    /// There is no tensor of that name.
    Missing {
        /// Which tensor.
        name: String,
        /// The shape it should have.
        expected: Shape,
    },
    /// A tensor has another shape.
    Shape {
        /// Which tensor.
        name: String,
        /// The shape it should have.
        expected: Shape,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A tensor holds values of a type that is not read.
    Type {
        /// Which tensor.
        name: String,
        /// Type of the values, in the file's words.
        found: String,
    },
    /// The number of values does not fit the shape.
    Length {
        /// Which tensor.
        name: String,
        /// The shape it was given.
        shape: Vec<usize>,
        /// Number of values given.
        found: usize,
    },
    /// A tensor holds a NaN or an infinity.
    NotFinite {
        /// Which tensor.
        name: String,
        /// Position of the value, row-major.
        at: usize,
    },
    /// A variance is negative.
    Negative {
        /// Which tensor.
        name: String,
        /// Position of the value.
        at: usize,
    },
    /// The file is for a larger network of the same family.
    Unexpected {
        /// A tensor that the network does not have.
        name: String,
        /// The network.
        backbone: &'static str,
    },
    /// No known network has these tensors.
    Unknown {
        /// Name of one of the tensors, or nothing.
        found: Option<String>,
    },
    /// The file cannot be read, or is not what it says.
    File(String),
}

/// Extents with `×` between.
struct Extents<'a>(&'a [usize]);

impl fmt::Display for Extents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("a single number");
        }
        for (i, n) in self.0.iter().enumerate() {
            write!(f, "{}{n}", if i > 0 { "×" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeightsError::Missing { name, expected } => {
                write!(f, "tensor \"{name}\" is missing; expected shape {expected}")
            }
            WeightsError::Shape { name, expected, found } => {
                write!(f, "tensor \"{name}\": expected shape {expected}, found {}", Extents(found))
            }
            WeightsError::Type { name, found } => {
                write!(f, "tensor \"{name}\": expected values of type F32, F16 or BF16, found {found}")
            }
            WeightsError::Length { name, shape, found } => {
                write!(f, "tensor \"{name}\": shape {} does not fit {found} values", Extents(shape))
            }
            WeightsError::NotFinite { name, at } => {
                write!(f, "tensor \"{name}\": value {at} is not a finite number")
            }
            WeightsError::Negative { name, at } => {
                write!(f, "tensor \"{name}\": value {at} is negative, and a variance is not")
            }
            WeightsError::Unexpected { name, backbone } => {
                write!(f, "tensor \"{name}\" is not one of {backbone}'s: expected none of that name, found one")
            }
            WeightsError::Unknown { found } => {
                f.write_str("no known network has these tensors; expected one of")?;
                for a in super::ARCHITECTURES {
                    write!(f, " \"{}\" ({})", a.marker, a.name)?;
                }
                match found {
                    Some(name) => write!(f, ", found for example \"{name}\""),
                    None => f.write_str(", found no tensor at all"),
                }
            }
            WeightsError::File(reason) => f.write_str(reason),
        }
    }
}

impl core::error::Error for WeightsError {}

/// Tensors by name.
///
/// ```
/// use adflow::backbones::{Weights, WeightsError};
/// use adflow::shape::Shape;
/// let mut weights = Weights::new();
/// weights.insert("bias", &[2], vec![1.0, 2.0])?;
/// assert_eq!(weights.get("bias", Shape::vector(2))?, [1.0, 2.0]);
/// let error = weights.get("bias", Shape::vector(3)).unwrap_err();
/// assert_eq!(error.to_string(), "tensor \"bias\": expected shape 3, found 2");
/// # Ok::<(), WeightsError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Weight>,
    /// Tensors of a type that is not read: name and type.
    unread: BTreeMap<String, String>,
    file: Option<u64>,
}

impl Weights {
    /// No tensors yet.
    pub fn new() -> Weights {
        Weights::default()
    }

    /// Adds a tensor, or replaces the one of that name. Values are row-major.
    ///
    /// # Errors
    /// [`WeightsError::Length`] where their number does not fit the shape.
    pub fn insert(&mut self, name: &str, shape: &[usize], data: Vec<f32>) -> Result<(), WeightsError> {
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if len != Some(data.len()) {
            let (name, shape) = (name.to_string(), shape.to_vec());
            return Err(WeightsError::Length { name, shape, found: data.len() });
        }
        self.file = None;
        self.unread.remove(name);
        self.tensors.insert(name.to_string(), Weight { shape: shape.to_vec(), data });
        Ok(())
    }

    /// Values of a tensor that must have this shape and finite values.
    ///
    /// # Errors
    /// [`WeightsError::Missing`], [`WeightsError::Type`], [`WeightsError::Shape`] or [`WeightsError::NotFinite`].
    pub fn get(&self, name: &str, expected: Shape) -> Result<&[f32], WeightsError> {
        let name = || name.to_string();
        let Some(weight) = self.tensors.get(&name()) else {
            return Err(match self.unread.get(&name()) {
                Some(found) => WeightsError::Type { name: name(), found: found.clone() },
                None => WeightsError::Missing { name: name(), expected },
            });
        };
        if shape_of(&weight.shape) != Some(expected) {
            return Err(WeightsError::Shape { name: name(), expected, found: weight.shape.clone() });
        }
        match weight.data.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(WeightsError::NotFinite { name: name(), at }),
            None => Ok(&weight.data),
        }
    }

    /// Mean position of the squared weights of square filters, over filters and both directions: 1 for even 3×3 ones.
    pub(super) fn middle(&self, name: &str, expected: Shape) -> Result<f32, WeightsError> {
        let side = expected.0[3].max(1) as usize;
        let (mut sum, mut all) = (0.0f64, 0.0f64);
        for (i, w) in self.get(name, expected)?.iter().enumerate() {
            let energy = f64::from(*w) * f64::from(*w);
            sum += energy * (i % side + i / side % side) as f64 / 2.0;
            all += energy;
        }
        Ok(if all > 0.0 { (sum / all) as f32 } else { (side - 1) as f32 / 2.0 })
    }

    /// Whether there is a tensor of that name, of whatever shape and type.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.unread.contains_key(name)
    }

    /// All tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Weight)> {
        self.tensors.iter().map(|(name, weight)| (name.as_str(), weight))
    }

    /// Names of all tensors, of whatever shape and type.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().chain(self.unread.keys()).map(String::as_str)
    }

    /// New values for a tensor, as many as it has; nothing where there is no such tensor.
    pub(super) fn replace(&mut self, name: &str, data: &[f32]) {
        if let Some(weight) = self.tensors.get_mut(name).filter(|w| w.data.len() == data.len()) {
            weight.data.copy_from_slice(data);
        }
    }

    /// Drops a tensor.
    pub(super) fn remove(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// Keeps only the tensors that `keep` wants. The digest stays that of the file, where there was one.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| keep(name));
        self.unread.clear();
    }

    /// Notes a tensor whose type is not read.
    #[cfg(feature = "safetensors")]
    pub(super) fn insert_unread(&mut self, name: &str, found: String) {
        self.tensors.remove(name);
        self.unread.insert(name.to_string(), found);
    }

    /// Notes the digest of the file that these tensors are from.
    #[cfg(feature = "safetensors")]
    pub(super) fn set_file(&mut self, digest: u64) {
        self.file = Some(digest);
    }

    /// XXH64 of the whole file that the tensors came from, as `xxhsum -H1` prints it; otherwise of names, shapes and
    /// values.
    pub fn digest(&self) -> u64 {
        if let Some(file) = self.file {
            return file;
        }
        let mut digest = Digest::new(0);
        for (name, weight) in &self.tensors {
            digest.write(&(name.len() as u64).to_le_bytes());
            digest.write(name.as_bytes());
            digest.write(&(weight.shape.len() as u64).to_le_bytes());
            for &n in &weight.shape {
                digest.write(&(n as u64).to_le_bytes());
            }
            for v in &weight.data {
                digest.write(&v.to_le_bytes());
            }
        }
        digest.finish()
    }
}

/// Up to four extents as a [`Shape`].
fn shape_of(extents: &[usize]) -> Option<Shape> {
    let mut dims = [1; 4];
    if extents.len() > dims.len() {
        return None;
    }
    for (dim, &n) in dims.iter_mut().zip(extents) {
        *dim = u32::try_from(n).ok()?;
    }
    Some(Shape(dims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn errors_name_the_tensor_and_what_was_expected_and_found() {
        let mut w = Weights::new();
        w.insert("a", &[2, 3, 1, 1], vec![0.0; 6]).unwrap();
        w.insert("b", &[2], vec![1.0, f32::NAN]).unwrap();
        w.insert("c", &[1, 1, 1, 1, 2], vec![0.0; 2]).unwrap();
        let text = |r: Result<&[f32], WeightsError>| r.unwrap_err().to_string();
        assert_eq!(text(w.get("a", Shape([3, 2, 1, 1]))), "tensor \"a\": expected shape 3×2, found 2×3×1×1");
        assert_eq!(text(w.get("b", Shape::vector(2))), "tensor \"b\": value 1 is not a finite number");
        assert_eq!(text(w.get("c", Shape::vector(2))), "tensor \"c\": expected shape 2, found 1×1×1×1×2");
        assert_eq!(text(w.get("d", Shape::vector(2))), "tensor \"d\" is missing; expected shape 2");
        let error = w.insert("e", &[usize::MAX, 2], vec![]).unwrap_err();
        assert!(matches!(error, WeightsError::Length { found: 0, .. }));
        assert!(matches!(w.insert("e", &[3], vec![0.0]), Err(WeightsError::Length { found: 1, .. })));
    }

    #[test]
    fn the_digest_depends_on_names_shapes_and_values() {
        let of = |name: &str, shape: &[usize], first: f32| {
            let mut w = Weights::new();
            w.insert(name, shape, vec![first, 2.0, 3.0, 4.0]).unwrap();
            w.digest()
        };
        let digests = [of("a", &[4], 1.0), of("b", &[4], 1.0), of("a", &[2, 2], 1.0), of("a", &[4], -1.0)];
        for (i, a) in digests.iter().enumerate() {
            assert!(!digests[i + 1..].contains(a), "{digests:x?}");
        }
        assert_eq!(of("a", &[4], 1.0), digests[0]);
    }
}
