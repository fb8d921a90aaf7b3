//! A model with the memory and threads to run it: one image in, one score (and map) out.

use std::path::Path;

use adflow::cpu::Cpu;
use adflow::executor::{Device, Executor};
use adflow::model::OwnedModel;
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;
use adflow_vulkan::VulkanExecutor;

use crate::compute::Compute;
use crate::decode;
use crate::decode::Decoded;
use crate::failure::{Context, Failure, Outcome};

/// Opens a model file; the error names it.
pub fn open_model(path: &Path) -> Outcome<OwnedModel> {
    if path.is_dir() {
        return Err(Failure::new(format!("{}: is a folder, not a model file", path.display())));
    }
    OwnedModel::open(path).map_err(|error| Failure::new(error.to_string()))
}

/// Scores images one after the other. Each thread that inspects has its own.
pub struct Inspector<'m> {
    model: &'m OwnedModel,
    options: ScorerOptions,
    roi: Option<&'m Decoded>,
    memory: Vec<f32>,
    threads: Threads,
    executor: Option<VulkanExecutor>,
}

impl<'m> Inspector<'m> {
    /// Reserves the memory that scoring takes; maps take more. With `roi` images are inspected only where it is white.
    pub fn new(model: &'m OwnedModel, compute: &Compute, map: bool, roi: Option<&'m Decoded>) -> Outcome<Self> {
        let options = ScorerOptions { max_width: decode::MAX_SIDE, map, regions: roi.is_some() };
        let parsed = model.model();
        let executor = match &compute.gpu {
            Some(gpu) => Some(gpu.open_executor(parsed.params(), 0, 0).context(gpu.describe())?),
            None => None,
        };
        let needed = match &executor {
            Some(_) => Scorer::memory_len_on_device(&parsed, &options),
            None => Scorer::memory_len(&parsed, &options, compute.threads),
        };
        let needed = needed.context("cannot run this model")?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(needed).map_err(|_| {
            Failure::new(format!("the model needs {} of memory to run", crate::progress::bytes(4 * needed)))
        })?;
        memory.resize(needed, 0.0);
        Ok(Self { model, options, roi, memory, threads: Threads::new(compute.threads), executor })
    }

    /// Bytes of working memory; on a GPU also what it holds for the model once an image was scored.
    pub fn memory_bytes(&self) -> usize {
        4 * self.memory.len() + self.executor.as_ref().map_or(0, |e| e.device_bytes() as usize)
    }

    /// Bytes that the model takes on a GPU.
    pub fn device_bytes(model: &OwnedModel, map: bool) -> Outcome<usize> {
        let options = ScorerOptions { max_width: decode::MAX_SIDE, map, regions: false };
        let floats = Scorer::device_len(&model.model(), &options, adflow_vulkan::PREFERRED_BATCH);
        Ok(4 * floats.context("cannot run this model")?)
    }

    /// The score alone; this is what a line needs for a verdict.
    pub fn score(&mut self, image: &Decoded) -> Result<f32, String> {
        self.run(image, None)
    }

    /// The score and the map, `map_size` values row by row; an error if the model makes none.
    pub fn score_with_map(&mut self, image: &Decoded) -> Result<(f32, Vec<f32>), String> {
        let (width, height) = self.model.model().map_size();
        let mut map = vec![0.0; width as usize * height as usize];
        let score = self.run(image, Some(&mut map))?;
        Ok((score, map))
    }

    fn run(&mut self, image: &Decoded, map: Option<&mut [f32]>) -> Result<f32, String> {
        let view = image.view().map_err(|e| e.to_string())?;
        let roi = self.roi.map(Decoded::view).transpose().map_err(|e| e.to_string())?;
        let mut scorer = self.scorer()?;
        let score = match (roi, map) {
            (Some(roi), map) => scorer.score_within(&view, &roi, map),
            (None, Some(map)) => scorer.score_with_map(&view, map),
            (None, None) => scorer.score(&view),
        };
        score.map_err(|e| e.to_string())
    }

    /// Time of each op of the program that scores, by kind of op; an error on the CPU.
    pub fn profile(&mut self) -> Result<Vec<(String, f64)>, String> {
        let executor = self.executor.as_mut().ok_or("--profile needs --device vulkan")?;
        let program = self.model.model().program("score").ok_or("the model has no program that scores")?;
        let prepared = executor.prepare(program, 1).map_err(|e| e.to_string())?;
        let times = executor.profile(prepared).map_err(|e| e.to_string())?;
        Ok(times.into_iter().map(|t| (program.op(t.at).op.name().to_string(), t.ns)).collect())
    }

    fn scorer(&mut self) -> Result<Scorer<'_, '_>, String> {
        let (model, options) = (self.model.model(), &self.options);
        let scorer = match &mut self.executor {
            Some(executor) => Scorer::on_device(model, options, executor, &mut self.memory),
            None => Scorer::new(model, options, Cpu::detect(&self.threads), &mut self.memory),
        };
        scorer.map_err(|e| e.to_string())
    }
}
