//! Comparing results: tolerances are those of the engine ([`adflow::op::Operation::tolerance`]).

pub use adflow::tolerance::{Tolerance, difference};

/// Describes the first element whose bits differ, or `None`.
pub fn bits_differ(a: &[f32], b: &[f32]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} and {} values", a.len(), b.len()));
    }
    let first = (0..a.len()).find(|&i| a[i].to_bits() != b[i].to_bits())?;
    Some(format!("[{first}]: {:e} and {:e}", a[first], b[first]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn bits_are_seen() {
        assert!(super::bits_differ(&[0.0], &[-0.0]).is_some());
    }
}
