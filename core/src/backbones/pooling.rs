//! What is kept of a map when it becomes a vector.

use super::BuildError;
use crate::graph::{Graph, TensorId};
use crate::op::{Add, GlobalMean, Multiply, Root, Scale};
use alloc::format;
use alloc::vec::Vec;

/// What is kept of a map when it becomes a vector: of each channel its mean, or its deviation as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pooling {
    /// The mean over positions, as in CDNF and DifferNet.
    #[default]
    Mean,
    /// Statistics pooling (Snyder et al. 2018, x-vectors): the means, then the deviations over positions
    /// `√(mean(x²) − mean(x)² + 1e-6)`. A defect of share p whose features differ by δ moves a mean by pδ and a variance by
    /// about pδ²: few positions that differ much count for more.
    Statistics,
}

impl Pooling {
    /// Name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Statistics => "statistics",
        }
    }

    /// Appends the vectors of a map, a number a channel each; ops are named after `name`.
    pub(super) fn emit(
        self,
        g: &mut Graph,
        name: &str,
        map: TensorId,
        out: &mut Vec<TensorId>,
    ) -> Result<(), BuildError> {
        let mean = g.emit(&format!("{name}.mean"), GlobalMean {}, &[map])?;
        out.push(mean);
        if self == Pooling::Statistics {
            let square = g.emit(&format!("{name}.square"), Multiply {}, &[map, map])?;
            let square = g.emit(&format!("{name}.mean_square"), GlobalMean {}, &[square])?;
            let minus = g.emit(&format!("{name}.minus_mean"), Scale { factor: -1.0 }, &[mean])?;
            let minus = g.emit(&format!("{name}.minus_square"), Multiply {}, &[minus, mean])?;
            let variance = g.emit(&format!("{name}.variance"), Add {}, &[square, minus])?;
            out.push(g.emit(&format!("{name}.deviation"), Root {}, &[variance])?);
        }
        Ok(())
    }
}
