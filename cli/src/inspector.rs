//! A model with the memory and threads to run it: one image in, one score (and map) out.

use std::path::Path;

use adflow::cpu::Cpu;
use adflow::model::OwnedModel;
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;

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
    memory: Vec<f32>,
    threads: Threads,
}

impl<'m> Inspector<'m> {
    /// Reserves the memory that scoring with `model` on `threads` threads takes; maps take more.
    pub fn new(model: &'m OwnedModel, threads: usize, map: bool) -> Outcome<Self> {
        let options = ScorerOptions { max_width: decode::MAX_SIDE, map };
        let needed = Scorer::memory_len(&model.model(), &options, threads).context("cannot run this model")?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(needed).map_err(|_| {
            Failure::new(format!("the model needs {} of memory to run", crate::progress::bytes(4 * needed)))
        })?;
        memory.resize(needed, 0.0);
        Ok(Self { model, options, memory, threads: Threads::new(threads) })
    }

    /// Bytes of working memory.
    pub fn memory_bytes(&self) -> usize {
        4 * self.memory.len()
    }

    /// The score alone; this is what a line needs for a verdict.
    pub fn score(&mut self, image: &Decoded) -> Result<f32, String> {
        let view = image.view().map_err(|e| e.to_string())?;
        self.scorer()?.score(&view).map_err(|e| e.to_string())
    }

    /// The score and the map, `map_size` values row by row; an error if the model makes none.
    pub fn score_with_map(&mut self, image: &Decoded) -> Result<(f32, Vec<f32>), String> {
        let view = image.view().map_err(|e| e.to_string())?;
        let (width, height) = self.model.model().map_size();
        let mut map = vec![0.0; width as usize * height as usize];
        let score = self.scorer()?.score_with_map(&view, &mut map).map_err(|e| e.to_string())?;
        Ok((score, map))
    }

    fn scorer(&mut self) -> Result<Scorer<'_, '_>, String> {
        let cpu = Cpu::detect(&self.threads);
        Scorer::new(self.model.model(), &self.options, cpu, &mut self.memory).map_err(|e| e.to_string())
    }
}
