//! The library's inspector as commands use it: on the device that was chosen, with errors that say what to do.

use std::path::Path;

use adflow::executor::Device;
use adflow::image::Region;
use adflow::inspector::InspectorError;
use adflow::model::OwnedModel;
use adflow::score::{Scorer, ScorerOptions};

use crate::compute::Compute;
use crate::decode;
use crate::decode::Decoded;
use crate::failure::{Context, Failure, Outcome};
use crate::progress;

/// Opens a model file; the error names it.
pub fn open_model(path: &Path) -> Outcome<OwnedModel> {
    if path.is_dir() {
        return Err(Failure::new(format!("{}: is a folder, not a model file", path.display())));
    }
    OwnedModel::open(path).map_err(|error| Failure::new(error.to_string()))
}

/// Scores images one after the other. Each thread that inspects has its own.
pub struct Inspector<'r> {
    inspector: adflow::Inspector,
    roi: Option<&'r Decoded>,
}

impl<'r> Inspector<'r> {
    /// Reserves the memory that scoring takes; maps take more. With `roi` images are inspected only where it is white.
    pub fn new(model: &OwnedModel, compute: &Compute, map: bool, roi: Option<&'r Decoded>) -> Outcome<Self> {
        let builder = adflow::Inspector::builder().threads(compute.threads).max_width(decode::MAX_SIDE);
        let mut builder = builder.map(map).regions(roi.is_some());
        if let Some(gpu) = &compute.gpu {
            let executor = gpu.open_executor(model.model().params(), 0, 0).context(gpu.describe())?;
            builder = builder.executor(Box::new(executor));
        }
        let inspector = builder.build(model.clone()).map_err(|error| match error {
            InspectorError::OutOfMemory { bytes } => {
                Failure::new(format!("the model needs {} of memory to run", progress::bytes(bytes)))
            }
            error => Failure::new(error.to_string()),
        })?;
        Ok(Self { inspector, roi })
    }

    /// Bytes of working memory; on a GPU also what it holds for the model once an image was scored.
    pub fn memory_bytes(&self) -> usize {
        self.inspector.memory_bytes() as usize
    }

    /// The score alone; this is what a line needs for a verdict.
    pub fn score(&mut self, image: &Decoded) -> Result<f32, String> {
        let view = image.view().map_err(|e| e.to_string())?;
        let inspection = match self.roi.map(Decoded::view).transpose().map_err(|e| e.to_string())? {
            Some(roi) => self.inspector.inspect_within(&view, &Region::Mask(&roi)),
            None => self.inspector.inspect(&view),
        };
        Ok(inspection.map_err(|e| e.to_string())?.score)
    }

    /// The score and the map, `map_size` values row by row; an error if the model makes none.
    pub fn score_with_map(&mut self, image: &Decoded) -> Result<(f32, Vec<f32>), String> {
        let view = image.view().map_err(|e| e.to_string())?;
        let inspected = match self.roi.map(Decoded::view).transpose().map_err(|e| e.to_string())? {
            Some(roi) => self.inspector.inspect_within_with_map(&view, &Region::Mask(&roi)),
            None => self.inspector.inspect_with_map(&view),
        };
        let (inspection, map) = inspected.map_err(|e| e.to_string())?;
        Ok((inspection.score, map.values().to_vec()))
    }
}

/// Bytes that a model takes on a GPU.
pub fn device_bytes(model: &OwnedModel, map: bool) -> Outcome<usize> {
    let options = ScorerOptions::new().with_max_width(decode::MAX_SIDE).with_map(map);
    let floats = Scorer::device_len(&model.model(), &options, adflow_vulkan::PREFERRED_BATCH);
    Ok(4 * floats.context("cannot run this model")?)
}
