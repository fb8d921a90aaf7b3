//! The continuous dense flow (CDNF): blocks of a fixed permutation and a recursive tree of couplings.
//!
//! A node over d channels splits them into u (the first ⌊d/2⌋) and w; both halves are first transformed by nodes of
//! their own, then `w ← w·exp(σ(S(u))) + T(u)` (cdnf eq 9, recursion of HINT). Because children come first, a block
//! runs level by level from the leaves: a level's nodes are the groups of one grouped linear layer, S and T stacked.
//! Where dims is no multiple of a power of two a level has nodes of two sizes; its channels are then ordered so that nodes
//! of one size lie side by side, and there is one grouped layer for each size. Nodes of fewer than 4 channels have no
//! children. Subnets have two hidden layers of width max(⌊H/2^level⌋, 8); their
//! last layer starts at zero, so a fresh flow only permutes.

use super::{FlowError, Init, add_linear, add_log_det};
use crate::graph::{Graph, TensorId};
use crate::kernels::activation::Activation;
use crate::kernels::coupling::SoftClamp;
use crate::op::{Concat, Coupling, Linear, LogDet, Permute, Slice};
use crate::params::Params;
use crate::rng::Rng;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Configuration of a continuous dense flow.
///
/// ```
/// use adflow::cpu::Cpu;
/// use adflow::executor::{Device, Executor};
/// use adflow::flows::DenseFlow;
/// use adflow::graph::Graph;
/// use adflow::params::Params;
/// use adflow::place::{Reuse, place};
/// use adflow::shape::Shape;
/// use adflow::threads::Threads;
///
/// let flow = DenseFlow { dims: 6, blocks: 2, width: 16, clamp: 2.0, zero_last: false };
/// let (mut params, mut graph) = (Params::new(), Graph::new());
/// flow.init(&mut params, 0)?;
/// let x = graph.input("x", Shape::vector(6));
/// let (z, log_det) = flow.forward(&mut graph, &params, x)?;
/// let back = flow.inverse(&mut graph, &params, z)?;
/// graph.output("z", z);
/// graph.output("log_det", log_det);
/// graph.output("back", back);
/// let program = place("there and back", &graph, &params.layout(), Reuse::Share)?;
///
/// let threads = Threads::serial();
/// let cpu = Cpu::detect(&threads);
/// let mut executor = cpu.executor(&params.pack(), 0, 0)?;
/// let prepared = executor.prepare(program.program(), 1)?;
/// let features = [0.3, -1.2, 0.7, 2.0, -0.1, 0.5];
/// executor.input(prepared, "x").copy_from_slice(&features);
/// executor.run(prepared)?;
/// assert!(executor.output(prepared, "z") != features && executor.output(prepared, "log_det")[0] != 0.0);
/// let back = executor.output(prepared, "back");
/// assert!(back.iter().zip(features).all(|(b, f)| (b - f).abs() < 1e-5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseFlow {
    /// D, dimension of the features.
    pub dims: u32,
    /// K, number of dense blocks.
    pub blocks: u32,
    /// H, width of the subnets at the root.
    pub width: u32,
    /// α of the soft clamp.
    pub clamp: f32,
    /// Whether the last layer of every subnet starts at zero.
    pub zero_last: bool,
}

/// Nodes of one size, side by side, or channels that have no node at this level.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    first: u32,
    /// Channels of each node; the whole length where there is no node.
    size: u32,
    nodes: u32,
}

impl Run {
    fn len(&self) -> u32 {
        self.size * self.nodes.max(1)
    }
}

/// One level: its runs cover all channels, after they were ordered.
#[derive(Clone, Debug, PartialEq)]
struct Level {
    /// The order, where it is not the natural one.
    order: Option<Vec<u32>>,
    runs: Vec<Run>,
}

/// Nodes by level as (first channel, size).
fn nodes(dims: u32) -> Vec<Vec<(u32, u32)>> {
    fn visit(first: u32, size: u32, level: usize, out: &mut Vec<Vec<(u32, u32)>>) {
        if size < 2 {
            return;
        }
        if out.len() <= level {
            out.resize(level + 1, Vec::new());
        }
        out[level].push((first, size));
        if size >= 4 {
            let half = size / 2;
            visit(first, half, level + 1, out);
            visit(first + half, size - half, level + 1, out);
        }
    }
    let mut out = Vec::new();
    visit(0, dims, 0, &mut out);
    out
}

/// The levels of a tree over `dims` channels, root first.
fn levels(dims: u32) -> Vec<Level> {
    nodes(dims).into_iter().map(|nodes| level(&nodes, dims)).collect()
}

fn level(nodes: &[(u32, u32)], dims: u32) -> Level {
    let mut sizes: Vec<u32> = nodes.iter().map(|n| n.1).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut order: Vec<u32> = Vec::new();
    let mut runs = Vec::new();
    for size in sizes {
        let same = nodes.iter().filter(|n| n.1 == size);
        runs.push(Run { first: order.len() as u32, size, nodes: same.clone().count() as u32 });
        order.extend(same.flat_map(|n| n.0..n.0 + n.1));
    }
    let mut covered = vec![false; dims as usize];
    order.iter().for_each(|&c| covered[c as usize] = true);
    let rest = (0..dims).filter(|&c| !covered[c as usize]);
    if order.len() < dims as usize {
        runs.push(Run { first: order.len() as u32, size: dims - order.len() as u32, nodes: 0 });
        order.extend(rest);
    }
    let natural = order.iter().enumerate().all(|(i, &c)| i as u32 == c);
    Level { order: (!natural).then_some(order), runs }
}

impl DenseFlow {
    /// The best setting of the paper: 3 blocks of width 768, α = 2.
    pub fn paper(dims: u32) -> DenseFlow {
        DenseFlow { dims, blocks: 3, width: 768, clamp: 2.0, zero_last: true }
    }

    fn check(&self) -> Result<(), FlowError> {
        let fine = self.dims >= 2 && self.dims <= 1 << 16 && self.blocks >= 1 && self.blocks <= 64;
        if !fine || self.width == 0 || self.width > 1 << 16 || !(self.clamp > 0.0 && self.clamp.is_finite()) {
            return Err(FlowError::Config(
                "a dense flow needs 2..=65536 dims, 1..=64 blocks, a width and a positive clamp",
            ));
        }
        Ok(())
    }

    fn hidden(&self, level: usize) -> u32 {
        (self.width >> level.min(31)).max(8)
    }

    fn subnet(&self, block: u32, level: usize, run: usize) -> String {
        format!("block{block}.level{level}.run{run}")
    }

    /// Adds the flow's parameters, drawn from `seed`.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Param`] where a parameter of such a name is there.
    pub fn init(&self, params: &mut Params, seed: u64) -> Result<(), FlowError> {
        self.check()?;
        let levels = levels(self.dims);
        for (level, order) in levels.iter().enumerate().filter_map(|(i, l)| Some((i, l.order.as_ref()?))) {
            params.add_index(&format!("level{level}.order"), order)?;
        }
        for block in 0..self.blocks {
            let mut index = vec![0; self.dims as usize];
            Rng::new(seed, u64::from(block), 0).permutation(&mut index);
            params.add_index(&format!("block{block}.permutation"), &index)?;
            for (level, l) in levels.iter().enumerate() {
                for (r, run) in l.runs.iter().enumerate().filter(|(_, run)| run.nodes > 0) {
                    let name = self.subnet(block, level, r);
                    let stream = 1 + level as u32 * 4096 + r as u32;
                    let mut rng = Rng::new(seed, u64::from(block), stream);
                    let (g, h, a) = (2 * run.nodes, self.hidden(level), run.size / 2);
                    let last = if self.zero_last { Init::Zero } else { Init::Uniform };
                    add_linear(params, &format!("{name}.1"), [g, h, a], Init::Uniform, &mut rng)?;
                    add_linear(params, &format!("{name}.2"), [g, h, h], Init::Uniform, &mut rng)?;
                    add_linear(params, &format!("{name}.3"), [g, run.size - a, h], last, &mut rng)?;
                }
            }
        }
        Ok(())
    }

    /// Scale and translation of the nodes of a run, from the run's channels.
    fn scale_translation(
        &self,
        g: &mut Graph,
        params: &Params,
        name: &str,
        run: &Run,
        x: TensorId,
        width: u32,
    ) -> Result<TensorId, FlowError> {
        let first = Linear { share: 2, offset: 0, stride: run.size, act: Activation::Relu };
        let second = Linear { share: 1, offset: 0, stride: width, act: Activation::Relu };
        let third = Linear { share: 1, offset: 0, stride: width, act: Activation::None };
        let mut h = x;
        for (layer, op) in [first, second, third].into_iter().enumerate() {
            let layer = format!("{name}.{}", layer + 1);
            let (w, b) = (g.param(params, &format!("{layer}.w"))?, g.param(params, &format!("{layer}.b"))?);
            h = g.emit(&layer, op, &[h, w, b])?;
        }
        Ok(h)
    }

    /// One level over all channels, in either direction; returns the channels and the log-determinant so far.
    fn level(
        &self,
        g: &mut Graph,
        params: &Params,
        at: (u32, usize, &Level),
        x: TensorId,
        mut j: Option<TensorId>,
        inverse: bool,
    ) -> Result<(TensorId, Option<TensorId>), FlowError> {
        let (block, level, Level { order, runs }) = at;
        let order = match order {
            Some(_) => Some(g.param(params, &format!("level{level}.order"))?),
            None => None,
        };
        let x = match order {
            Some(order) => {
                g.emit(&format!("block{block}.level{level}.ordered"), Permute { inverse: false }, &[x, order])?
            }
            None => x,
        };
        let mut pieces = Vec::new();
        for (r, run) in runs.iter().enumerate() {
            let name = self.subnet(block, level, r);
            let piece = if runs.len() == 1 {
                x
            } else {
                g.emit(&format!("{name}.in"), Slice { first: run.first, count: run.len() }, &[x])?
            };
            if run.nodes == 0 {
                pieces.push(piece);
                continue;
            }
            let st = self.scale_translation(g, params, &name, run, piece, self.hidden(level))?;
            let (offset, active) = (run.size / 2, run.size - run.size / 2);
            let coupling =
                Coupling { groups: run.nodes, offset, active, clamp: self.clamp, inverse, form: SoftClamp::Atan };
            pieces.push(g.emit(&format!("{name}.out"), coupling, &[piece, st])?);
            if !inverse {
                let op = LogDet { groups: run.nodes, clamp: self.clamp, form: SoftClamp::Atan, per_position: false };
                j = Some(add_log_det(g, &format!("{name}.log_det"), op, st, j)?);
            }
        }
        // At most two sizes and the channels without a node.
        let mut y = match pieces[..] {
            [one] => one,
            _ => g.emit(&format!("block{block}.level{level}.joined"), Concat {}, &pieces)?,
        };
        if let Some(order) = order {
            y = g.emit(&format!("block{block}.level{level}"), Permute { inverse: true }, &[y, order])?;
        }
        Ok((y, j))
    }

    /// Emits the forward direction: latent z and log_det (one number per sample) of features x.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn forward(&self, g: &mut Graph, params: &Params, x: TensorId) -> Result<(TensorId, TensorId), FlowError> {
        self.check()?;
        let levels = levels(self.dims);
        let (mut h, mut j) = (x, None);
        for block in 0..self.blocks {
            let index = g.param(params, &format!("block{block}.permutation"))?;
            h = g.emit(&format!("block{block}.permuted"), Permute { inverse: false }, &[h, index])?;
            for (i, level) in levels.iter().enumerate().rev() {
                (h, j) = self.level(g, params, (block, i, level), h, j, false)?;
            }
        }
        j.map(|j| (h, j)).ok_or(FlowError::Config("a dense flow needs at least one coupling"))
    }

    /// Emits the inverse direction: features of latent z.
    ///
    /// # Errors
    /// [`FlowError::Config`] where the configuration is out of range, [`FlowError::Graph`] where the shape of the input is another or a parameter is missing.
    pub fn inverse(&self, g: &mut Graph, params: &Params, z: TensorId) -> Result<TensorId, FlowError> {
        self.check()?;
        let levels = levels(self.dims);
        let mut h = z;
        for block in (0..self.blocks).rev() {
            for (i, level) in levels.iter().enumerate() {
                (h, _) = self.level(g, params, (block, i, level), h, None, true)?;
            }
            let index = g.param(params, &format!("block{block}.permutation"))?;
            h = g.emit(&format!("block{block}.unpermuted"), Permute { inverse: true }, &[h, index])?;
        }
        Ok(h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_flow_has_the_papers_parameters() {
        let mut params = Params::new();
        DenseFlow::paper(768).init(&mut params, 0).unwrap();
        assert_eq!(params.trainable_count(), 14_389_248);
        for (blocks, width, count) in [(2, 768, 9_592_832), (3, 352, 5_029_440), (3, 512, 8_125_440)] {
            let mut params = Params::new();
            DenseFlow { blocks, width, ..DenseFlow::paper(768) }.init(&mut params, 0).unwrap();
            assert_eq!(params.trainable_count(), count);
        }
    }

    #[test]
    fn levels_cover_all_channels_with_few_runs() {
        for dims in [2, 3, 5, 8, 12, 13, 24, 441, 480, 768] {
            for level in levels(dims) {
                assert_eq!(level.runs.iter().map(Run::len).sum::<u32>(), dims, "{dims}");
                assert!(level.runs.len() <= 3, "{dims}");
                if let Some(mut order) = level.order {
                    order.sort_unstable();
                    assert!(order.into_iter().eq(0..dims));
                }
            }
        }
        assert_eq!(levels(768)[8], Level { order: None, runs: vec![Run { first: 0, size: 3, nodes: 256 }] });
    }
}
