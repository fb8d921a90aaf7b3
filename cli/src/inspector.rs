//! The library's inspector as commands use it: on the chosen device, with errors for the user.

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

/// Opens a model file; an error names the file.
pub fn open_model(path: &Path) -> Outcome<OwnedModel> {
    if path.is_dir() {
        return Err(Failure::new(format!("{}: is a folder, not a model file", path.display())));
    }
    OwnedModel::open(path).map_err(|error| Failure::new(error.to_string()))
}

/// Scores images one after the other; each thread needs an inspector of its own.
pub struct Inspector<'r> {
    inspector: adflow::Inspector,
    roi: Option<&'r Decoded>,
}

impl<'r> Inspector<'r> {
    /// Reserves the memory for scoring, with `map` also for maps. With `roi`, images are inspected only where that mask is white.
    pub fn new(model: &OwnedModel, compute: &Compute, map: bool, roi: Option<&'r Decoded>) -> Outcome<Self> {
        let builder = adflow::Inspector::builder().threads(compute.threads).max_width(decode::MAX_SIDE);
        let mut builder = builder.map(map).regions(roi.is_some());
        if let Some(gpu) = &compute.gpu {
            let executor = gpu.open_executor(model.model().params(), 0, 0).context(gpu.describe())?;
            builder = builder.executor(Box::new(executor));
        }
        let inspector = builder.build(model.clone()).map_err(|error| match error {
            InspectorError::OutOfMemory { bytes } => {
                Failure::new(format!("not enough memory: the model needs {} to run", progress::bytes(bytes)))
            }
            error => Failure::new(error.to_string()),
        })?;
        Ok(Self { inspector, roi })
    }

    /// Bytes of working memory; on a GPU also what it holds for the model once an image was scored.
    pub fn memory_bytes(&self) -> usize {
        self.inspector.memory_bytes() as usize
    }

    /// The score of an image, without a map.
    pub fn score(&mut self, image: &Decoded) -> Result<f32, String> {
        let view = image.view().map_err(|e| e.to_string())?;
        let inspection = match self.roi.map(Decoded::view).transpose().map_err(|e| e.to_string())? {
            Some(roi) => self.inspector.inspect_within(&view, &Region::Mask(&roi)),
            None => self.inspector.inspect(&view),
        };
        Ok(inspection.map_err(|e| e.to_string())?.score)
    }

    /// The score and the map of an image, `map_size` values row by row; an error if the model makes no maps.
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

/// Memory that a model takes on a GPU, in bytes.
pub fn device_bytes(model: &OwnedModel, map: bool) -> Outcome<usize> {
    let options = ScorerOptions::new().with_max_width(decode::MAX_SIDE).with_map(map);
    let floats = Scorer::device_len(&model.model(), &options, adflow_vulkan::PREFERRED_BATCH);
    Ok(4 * floats.context("cannot run this model")?)
}
