//! Batches of features that were computed once: what flows are trained with.

use crate::detect::error::Result;
use crate::detect::features::data::Data;
use crate::detect::features::extractor::Extractor;
use crate::detect::features::stream;
use crate::detect::images::Images;
use crate::executor::{Executor, Prepared};
use crate::image::rotate_nearest;
use crate::place::OwnedProgram;
use crate::rng::Rng;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A part of the features that is an input of the programs.
#[derive(Clone, Debug)]
pub struct FeatureInput {
    pub name: String,
    /// First value in a row of features.
    pub first: usize,
    pub len: usize,
    /// Deviation of the noise that training adds through an input `noise.` + name; without such an input where it is 0.
    pub noise: f32,
}

/// Random views of training images, made afresh in each epoch (preset `paper`).
pub struct RandomViews<'v, 'e> {
    pub images: &'v dyn Images,
    pub extractor: &'v mut Extractor<'e>,
    /// What lies outside of a turned image.
    pub fill: [f32; 3],
    pub size: usize,
}

impl RandomViews<'_, '_> {
    fn rows(&mut self, seed: u64, image: usize, epoch: u64, views: usize, out: &mut [f32]) -> Result<()> {
        self.extractor.load(self.images, image)?;
        let mut rng = Rng::at(seed, epoch, stream::ROTATION, image as u64 * 64);
        for row in out.chunks_exact_mut(self.extractor.len).take(views) {
            let degrees = f64::from(rng.range(-180.0..180.0));
            let (size, fill) = (self.size, self.fill);
            self.extractor.features(&mut |base, view| rotate_nearest(size, size, degrees, &fill, base, view), row)?;
        }
        Ok(())
    }
}

/// Training images in a new order each epoch, a few at a time.
pub struct Batches<'b, 'e> {
    pub data: &'b Data,
    pub inputs: &'b [FeatureInput],
    /// Views in a batch; images with all of their views as far as they go.
    pub batch: usize,
    pub seed: u64,
    pub random: Option<RandomViews<'b, 'e>>,
    order: Vec<usize>,
}

impl<'b, 'e> Batches<'b, 'e> {
    pub fn new(
        data: &'b Data,
        inputs: &'b [FeatureInput],
        batch: usize,
        seed: u64,
        random: Option<RandomViews<'b, 'e>>,
    ) -> Self {
        Batches { data, inputs, batch, seed, random, order: Vec::new() }
    }

    /// Images in a batch.
    fn images(&self) -> usize {
        (self.batch / self.data.views).max(1).min(self.data.train.len())
    }

    /// Batches in an epoch.
    pub fn count(&self) -> usize {
        self.data.train.len().div_ceil(self.images())
    }

    /// Draws the order of an epoch.
    pub fn shuffle(&mut self, epoch: u64) {
        self.order.clone_from(&self.data.train);
        Rng::new(self.seed, epoch, stream::SHUFFLE).shuffle(&mut self.order);
    }

    /// The images of a batch.
    pub fn images_of(&self, batch: u64) -> Vec<usize> {
        self.order.chunks(self.images()).nth(batch as usize).unwrap_or_default().to_vec()
    }

    /// Writes features of images, all views of each, to the first samples of a prepared step, and noise to all of them.
    pub fn fill(
        &mut self,
        images: &[usize],
        epoch: u64,
        step: u64,
        executor: &mut dyn Executor,
        program: Prepared,
    ) -> Result<()> {
        let (views, len) = (self.data.views, self.data.len);
        for (number, input) in self.inputs.iter().enumerate() {
            let inputs = executor.input(program, &input.name).chunks_exact_mut(views * input.len);
            for (rows, &image) in inputs.zip(images) {
                match &mut self.random {
                    Some(random) => random.rows(self.seed, image, epoch, views, rows)?,
                    None => {
                        let from = self.data.features[image * views * len..][..views * len].chunks_exact(len);
                        for (row, from) in rows.chunks_exact_mut(input.len).zip(from) {
                            row.copy_from_slice(&from[input.first..][..input.len]);
                        }
                    }
                }
            }
            if input.noise > 0.0 {
                // Uniform numbers of that deviation do as well as normal ones, and are cheaper.
                let half = input.noise * libm::sqrtf(3.0);
                let mut rng = Rng::new(self.seed, step, stream::NOISE + number as u32);
                let noise = executor.input(program, &format!("noise.{}", input.name));
                noise.iter_mut().for_each(|v| *v = rng.range(-half..half));
            }
        }
        Ok(())
    }

    /// Means over the views of each image of an output of a program that reads features.
    pub fn evaluate(
        &self,
        executor: &mut dyn Executor,
        program: &OwnedProgram,
        images: &[usize],
        output: &str,
    ) -> Result<Vec<f64>> {
        let (data, mut values) = (self.data, Vec::new());
        for chunk in images.chunks((self.batch / data.views).max(1)) {
            let prepared = executor.prepare(program.program(), chunk.len() * data.views)?;
            for input in self.inputs {
                let rows = executor.input(prepared, &input.name).chunks_exact_mut(input.len);
                for (row, (image, view)) in rows.zip(chunk.iter().flat_map(|&i| (0..data.views).map(move |v| (i, v)))) {
                    row.copy_from_slice(&data.row(image, view)[input.first..][..input.len]);
                }
            }
            executor.run(prepared)?;
            let out = executor.output(prepared, output);
            values.extend(
                out.chunks_exact(data.views).map(|v| v.iter().map(|&s| f64::from(s)).sum::<f64>() / v.len() as f64),
            );
        }
        Ok(values)
    }
}
