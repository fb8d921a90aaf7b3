//! The programs of the contrastive phase: what is computed image by image, and a step of the optimiser over a batch.

use crate::backbones::decimated;
use crate::detect::emit::Emit;
use crate::detect::error::Result;
use crate::detect::features::pooled::{self, SCALES};
use crate::detect::job::Job;
use crate::graph::Graph;
use crate::op::{Adam, Add, BatchMean, BatchMix, Cosine, Multiply, SquareSum, Triplet};
use crate::params::Params;
use crate::place::{OwnedProgram, Reuse, place};
use crate::shape::Shape;
use alloc::string::String;
use alloc::vec::Vec;

/// Most normal images in a batch; half as many anomalies.
const NORMAL: usize = 64;
/// σ and m of the loss.
pub const SIGMA: f32 = 0.5;
pub const MARGIN: f32 = 0.5;
/// Prefixes of the backbone's parameters, and of those that it came with.
pub const PREFIX: &str = "backbone.";
const ORIGIN: &str = "origin.";
/// The maps behind which layers train, at the scales of the image.
const STEMS: [&str; SCALES as usize] = ["stem0", "stem1", "stem2"];

/// How many images of each kind a batch has.
#[derive(Clone, Copy)]
pub struct Batch {
    pub normal: usize,
    pub made: usize,
    pub real: usize,
    /// Batches in an epoch.
    pub count: usize,
}

impl Batch {
    pub fn new(good: usize, real: usize) -> Batch {
        let count = good.div_ceil(NORMAL).max(1);
        let normal = good.div_ceil(count);
        let anomalies = (normal / 2).max(2);
        let real = if real > 0 { anomalies / 2 } else { 0 };
        Batch { normal, made: anomalies - real, real, count }
    }

    pub fn anomalies(&self) -> usize {
        self.made + self.real
    }

    pub fn len(&self) -> usize {
        self.normal + self.anomalies()
    }
}

/// The programs of this phase over one set of parameters.
pub struct Programs {
    /// Image to the features of the network as it came, and to what trains.
    pub before: OwnedProgram,
    /// What of it, or of the image, `train` begins with.
    pub stems: &'static [&'static str],
    /// From there to the loss, and a step.
    pub train: OwnedProgram,
    /// Image to the features that the flow will see.
    pub features: OwnedProgram,
    pub params: Params,
}

impl Programs {
    pub fn new(job: &Job<'_>, batch: Batch) -> Result<Programs> {
        let Job { setup, backbone, .. } = *job;
        let (from, taps) = (backbone.adaptation()?.from, backbone.pooled_taps());
        let picture = Shape::chw(3, setup.size, setup.size);
        let (mut params, mut frozen) = (Params::new(), Graph::new());
        let image = frozen.input("image", picture);
        let mut stems = decimated(&mut frozen, image, SCALES)?;
        if let Some(tap) = from {
            for (stem, name) in stems.iter_mut().zip(STEMS) {
                *stem = backbone.emit_from(&mut frozen, &mut params, PREFIX, *stem, None, &[tap])?[0];
                frozen.output(name, *stem);
            }
        }
        let origin = backbone.pooled_from(
            &mut frozen,
            &mut params,
            ORIGIN,
            &stems,
            from,
            taps,
            setup.pooling.unwrap_or_default(),
        )?;
        frozen.output("origin", origin);
        let known: Vec<String> = params.iter().map(|p| p.name.clone()).collect();

        let mut g = Graph::new();
        let inputs = match from {
            Some(_) => stems.iter().zip(STEMS).map(|(&stem, name)| g.input(name, frozen.shape(stem))).collect(),
            None => {
                let image = g.input("image", picture);
                decimated(&mut g, image, SCALES)?
            }
        };
        let z = backbone.pooled_from(
            &mut g,
            &mut params,
            PREFIX,
            &inputs,
            from,
            taps,
            setup.pooling.unwrap_or_default(),
        )?;
        for name in params.iter().map(|p| p.name.clone()).filter(|name| !known.contains(name)).collect::<Vec<_>>() {
            if let Some(p) = params.get_mut(&name) {
                p.trainable = true;
            }
        }
        let samples = batch.len() as u32;
        let (pair, role) = (g.input("pair", Shape::vector(2)), g.input("role", Shape::vector(2)));
        let mixed = g.emit("mixed", BatchMix {}, &[z, pair])?;
        let p = g.emit("p", Cosine { samples }, &[z, z])?;
        let q = g.emit("q", Cosine { samples }, &[z, mixed])?;
        let triplet = g.emit("triplet", Triplet { sigma: SIGMA, margin: MARGIN }, &[p, q, role])?;
        let features = g.shape(z);
        let (minus_origin, weight) = (g.input("minus_origin", features), g.input("weight", features));
        let moved = g.emit("moved", Add {}, &[z, minus_origin])?;
        let moved = g.emit("deviations", Multiply {}, &[moved, weight])?;
        let square = SquareSum { scale: 1.0 / features.len() as f32, per_position: false, root: false };
        let moved = g.emit("distance", square, &[moved])?;
        let y = g.emit("total", Add {}, &[triplet, moved])?;
        let loss = g.emit("loss", BatchMean {}, &[y])?;
        for (name, id) in [("loss", loss), ("p", p), ("q", q)] {
            g.output(name, id);
        }

        let mut pooled = Graph::new();
        let image = pooled.input("image", picture);
        let mut emit = Emit { job, g: &mut pooled, params: &mut params };
        for feature in pooled::features(&mut emit, image)? {
            pooled.output(&feature.name, feature.tensor);
        }

        let layout = params.layout();
        g.train(loss, &params, Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, clip: 0.0 })?;
        Ok(Programs {
            before: place("before", &frozen, &layout, Reuse::Share)?,
            stems: if from.is_some() { &STEMS } else { &["image"] },
            train: place("adapt", &g, &layout, Reuse::Share)?,
            features: place("features", &pooled, &layout, Reuse::Share)?,
            params,
        })
    }
}
