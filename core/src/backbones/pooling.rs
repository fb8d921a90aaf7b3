//! What is kept of a map when it becomes a vector.

use super::BuildError;
use crate::choice;
use crate::graph::{Graph, TensorId};
use crate::op::{Add, GlobalMean, Multiply, Root, Scale};
use alloc::format;
use alloc::vec::Vec;

choice! {
    /// What is kept of each channel of a map when the map becomes a vector.
    pub enum Pooling: "pooling", default Mean {
        /// The mean of each channel, as in CDNF and DifferNet.
        Mean("mean") = 1,
        /// Mean and standard deviation of each channel: statistics pooling.
        ///
        /// First the means, then the deviations over positions `√(mean(x²) − mean(x)² + 1e-6)` (Snyder et al. 2018, x-vectors). A
        /// defect of share p whose features differ by δ moves a mean by pδ and a variance by about pδ²: few positions that
        /// differ much count for more.
        Statistics("statistics") = 2,
    }
}

impl Pooling {
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
