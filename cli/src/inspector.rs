//! A model with the memory and threads to run it: one image in, one score (and map) out.

use std::path::Path;

use adflow::cpu::Cpu;
use adflow::model::OwnedModel;
use adflow::score::Scorer;
use adflow::threads::Threads;

use crate::decode::Decoded;
use crate::failure::{Context, Failure, Outcome};

/// Opens a model file; the error names it.
pub fn open_model(path: &Path) -> Outcome<OwnedModel> {
    if path.is_dir() {
        return Err(Failure::new(format!("{}: is a folder, not a model file", path.display())));
    }
    OwnedModel::open(path).context(path.display())
}

/// Scores images one after the other. Each thread that inspects has its own.
pub struct Inspector<'m> {
    model: &'m OwnedModel,
    memory: Vec<f32>,
    threads: Threads,
}

impl<'m> Inspector<'m> {
    /// Reserves the memory that scoring with `model` on `threads` threads takes.
    pub fn new(model: &'m OwnedModel, threads: usize) -> Outcome<Self> {
        let needed = Scorer::memory_len(&model.model(), threads).context("cannot run this model")?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(needed).map_err(|_| {
            Failure::new(format!("the model needs {} of memory to run", crate::progress::bytes(4 * needed)))
        })?;
        memory.resize(needed, 0.0);
        Ok(Self { model, memory, threads: Threads::new(threads) })
    }

    /// Bytes of working memory.
    pub fn memory_bytes(&self) -> usize {
        4 * self.memory.len()
    }

    /// The score alone; this is what a line needs for a verdict.
    pub fn score(&mut self, image: &Decoded) -> Result<f32, String> {
        let view = image.view().map_err(|e| e.to_string())?;
        let model = self.model.model();
        let mut scorer =
            Scorer::new(&model, &mut self.memory, Cpu::detect(&self.threads)).map_err(|e| e.to_string())?;
        scorer.score(&view).map_err(|e| e.to_string())
    }

    /// The score and the map, `map_size` values row by row.
    pub fn score_with_map(&mut self, image: &Decoded) -> Result<(f32, Vec<f32>), String> {
        let view = image.view().map_err(|e| e.to_string())?;
        let model = self.model.model();
        let (width, height) = model.map_size();
        let mut map = vec![0.0; width as usize * height as usize];
        let mut scorer =
            Scorer::new(&model, &mut self.memory, Cpu::detect(&self.threads)).map_err(|e| e.to_string())?;
        let score = scorer.score_with_map(&view, &mut map).map_err(|e| e.to_string())?;
        Ok((score, map))
    }
}
