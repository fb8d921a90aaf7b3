//! Shapes of tensors: up to four extents, the rest one.
//!
//! A sample is C×H×W; a weight is O×I×K×K. The batch is never part of a shape: it is the one symbol of a plan and lives
//! in [`Type::batched`].

use core::fmt;

/// Up to four extents, row-major, outermost first.
///
/// ```
/// use adflow::shape::Shape;
/// let map = Shape::chw(64, 28, 28);
/// assert_eq!((map.c(), map.positions(), map.len()), (64, 784, 50_176));
/// assert_eq!(map.to_string(), "64×28×28");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape(pub [u32; 4]);

impl Shape {
    /// One number.
    pub const SCALAR: Shape = Shape([1, 1, 1, 1]);

    /// A sample of `c` channels of `h` rows and `w` columns.
    pub const fn chw(c: u32, h: u32, w: u32) -> Shape {
        Shape([c, h, w, 1])
    }

    /// A vector of `n` numbers; the same as `n` channels of 1×1.
    pub const fn vector(n: u32) -> Shape {
        Shape([n, 1, 1, 1])
    }

    /// Channels: the outermost extent.
    pub const fn c(self) -> u32 {
        self.0[0]
    }

    /// Rows.
    pub const fn h(self) -> u32 {
        self.0[1]
    }

    /// Columns.
    pub const fn w(self) -> u32 {
        self.0[2]
    }

    /// Positions of one channel, H·W.
    pub const fn positions(self) -> usize {
        self.0[1] as usize * self.0[2] as usize
    }

    /// Number of elements. Shapes of tensors in a plan are checked to fit (see [`Shape::checked_len`]).
    pub fn len(self) -> usize {
        self.0.iter().map(|&d| d as usize).product()
    }

    /// Number of elements, or `None` where an extent is zero or the product is above 2³¹.
    pub fn checked_len(self) -> Option<usize> {
        let mut n: u64 = 1;
        for d in self.0 {
            n = n.checked_mul(u64::from(d))?;
            if n == 0 || n > 1 << 31 {
                return None;
            }
        }
        usize::try_from(n).ok()
    }

    /// Whether the shape has no elements.
    pub fn is_empty(self) -> bool {
        self.0.contains(&0)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.iter().rposition(|&d| d != 1).unwrap_or(0);
        for (i, d) in self.0[..=last].iter().enumerate() {
            if i > 0 {
                f.write_str("×")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a tensor holds: a shape, once or once per sample of the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Type {
    /// Extents of one sample (or of the whole tensor where not batched).
    pub shape: Shape,
    /// Whether there is one such block per sample.
    pub batched: bool,
}

impl Type {
    /// One block of `shape` per sample.
    pub const fn batched(shape: Shape) -> Type {
        Type { shape, batched: true }
    }

    /// One block of `shape`, whatever the batch.
    pub const fn single(shape: Shape) -> Type {
        Type { shape, batched: false }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.batched { write!(f, "N×{}", self.shape) } else { write!(f, "{}", self.shape) }
    }
}

/// A shape rule that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShapeError {
    /// The op whose rule it is.
    pub op: &'static str,
    /// The rule, in words.
    pub rule: &'static str,
    /// What the rule asks for, where it is a shape.
    pub expected: Option<Shape>,
    /// What was found.
    pub found: Option<Shape>,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, self.rule)?;
        if let Some(e) = self.expected {
            write!(f, "; expected {e}")?;
        }
        if let Some(x) = self.found {
            write!(f, ", found {x}")?;
        }
        Ok(())
    }
}

impl core::error::Error for ShapeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_huge_shapes_have_no_length() {
        assert_eq!(Shape([0, 1, 1, 1]).checked_len(), None);
        assert_eq!(Shape([u32::MAX; 4]).checked_len(), None);
        assert_eq!(Shape::chw(3, 4, 5).checked_len(), Some(60));
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn shapes_print_without_trailing_ones() {
        use alloc::string::ToString;
        assert_eq!(Shape::chw(3, 4, 5).to_string(), "3×4×5");
        assert_eq!(Shape::SCALAR.to_string(), "1");
        assert_eq!(Shape([2, 1, 3, 3]).to_string(), "2×1×3×3");
    }
}
