//! The options of a training in C, and their conversion to the library's `TrainOptions`.

use crate::failure::{Failure, fail};
use crate::guard::{Caller, Versioned, chosen};
use crate::image::{Part, adflow_image};
use adflow_core::detect::{Canvas, Contrastive, TrainOptions};
use adflow_core::image::Roi;
use core::ffi::c_char;
use core::mem::offset_of;

/// Options of a training. Zero (NULL) in a field means its default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_train_options {
    /// sizeof(adflow_train_options).
    pub struct_size: u32,
    /// Detection method, one of `adflow_method`. 0: PADIM.
    pub method: u32,
    /// Set of defaults for the other options, one of `adflow_preset`. 0: FAST.
    pub preset: u32,
    /// Side of the square that images are resized to, or with `canvas_width` the side of a tile: 32 to 2048 pixels. 0: the
    /// method's default, 512 for tiles.
    pub size: u32,
    /// Epochs (passes over the images), 1 to 100000. 0: train until the scores of held-out good parts stop improving.
    pub epochs: u32,
    /// Views of an image that its score is averaged over, 1 to 256: up to 8 are flips and right angles, more are rotations.
    /// 0: the preset's default.
    pub views: u32,
    /// Threads used, including the calling thread, up to 1024. 0: one per processor. The model does not depend on it.
    pub threads: u32,
    /// Not 0: train a model that makes no anomaly maps.
    pub no_map: u32,
    /// Seed of every random choice: the same images, options and seed give the same model, byte for byte.
    pub seed: u64,
    /// Share of good parts that the threshold may reject, between 0 and 1. 0: 0.01.
    pub false_reject: f64,
    /// Confidence with which the threshold keeps to `false_reject`, between 0 and 1. 0: 0.95.
    pub confidence: f64,
    /// Share of the images held out of training to find the threshold, up to 0.5. 0: 0.1. Negative: none, and the model has no
    /// threshold.
    pub held_out: f64,
    /// Learning rate of the optimiser, Adam: above 0, up to 1. 0: the method's default.
    pub learning_rate: f32,
    /// Not 0: continue from the file `checkpoint`, if it exists.
    pub resume: u32,
    /// Path of a safetensors file with the weights of a backbone. NULL: the built-in backbone, which needs no file.
    pub backbone: *const c_char,
    /// Path of a file to which the state of training is saved after each epoch; removed when training succeeds. NULL: none.
    pub checkpoint: *const c_char,
    /// Where training runs: "auto" (a graphics card if there is one, otherwise the CPU), "cpu", "vulkan" (the best Vulkan
    /// device), "vulkan:N" (number N of `adflow_device_info`) or "vulkan:NAME" (a UUID or part of a name). NULL: the CPU.
    /// Models trained on different devices differ in the last digits of their parameters.
    pub device: *const c_char,
    /// Region of interest: a mask image, stretched to each training image, in which a pixel is inspected if every channel is at
    /// least half of white. If the `region` of this image is set, that is used instead and the pixels are not read. The
    /// region is stored in the model; pixels outside affect neither the model nor later scores. NULL: the whole image.
    pub region: *const adflow_image,
    /// Width to which large images are resized, in pixels, before they are cut into overlapping tiles of `size` pixels, so that
    /// they are scored at full resolution in little memory. Only for the methods PADIM, PATCHCORE, POSFLOW, FASTFLOW and
    /// CSFLOW. 0: no tiles; the whole image is resized to one square.
    pub canvas_width: u32,
    /// Height to which large images are resized, in pixels; set it exactly if `canvas_width` is set.
    pub canvas_height: u32,
    /// Overlap around each tile, in pixels: context for the network, never scored. A multiple of the backbone's stride. 0: an
    /// eighth of a tile, at least 64.
    pub margin: u32,
    /// How the grids of a flow become one map, one of `adflow_map_levels`. Only for the methods CSFLOW, FASTFLOW, SSNF and
    /// POSFLOW. 0: PRODUCT for CSFLOW, SUM for the others.
    pub map_levels: u32,
    /// Largest number of epochs of the contrastive phase, 1 to 10000, which adapts the backbone to the parts before the flow is
    /// trained. Only for the method CDNF, and not with the built-in backbone. 0: no contrastive phase.
    pub contrastive_epochs: u32,
    /// Learning rate of the contrastive phase: above 0, up to 1. 0: 0.0001.
    pub contrastive_rate: f32,
    /// How the feature maps of an image become one vector, one of `adflow_pooling`. Only for the methods CDNF, DIFFERNET and
    /// GAUSS; the built-in backbone supports MEAN only. 0: MEAN.
    pub pooling: u32,
    /// How far around a position the memory is searched, one of `adflow_radius`. Only for the method PATCHCORE. 0: ONE; with
    /// tiles ALL, the only value possible there.
    pub radius: u32,
    /// Largest size of the memory of good features, in bytes. Only for the method PATCHCORE. 0: 8 MiB.
    pub memory_bytes: u64,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number or a pointer.
unsafe impl Versioned for adflow_train_options {
    const NAME: &'static str = "adflow_train_options";
    const LEAST: usize = offset_of!(adflow_train_options, method);
}

impl adflow_train_options {
    /// Converts the options to the library's. Paths, threads and the device are read by the trainer.
    pub(crate) fn read(&self, c: &Caller) -> Result<TrainOptions, Failure> {
        let given = |number: u32| (number != 0).then_some(number);
        let or = |number: f64, default: f64| if number == 0.0 { default } else { number };
        let defaults = TrainOptions::default();
        let roi = match self.region.is_null() {
            true => None,
            false => {
                let image = c.read("options.region", self.region)?;
                let roi = match Part::of(c, &image)? {
                    Some(part) => Roi::from_region(&part.region()),
                    None => Roi::from_mask(&image.view(c)?),
                };
                Some(roi.ok_or_else(|| fail!(Argument, "options.region: no pixel is inside the region"))?)
            }
        };
        let canvas = match (self.canvas_width, self.canvas_height) {
            (0, 0) => None,
            (0, _) | (_, 0) => {
                return Err(fail!(
                    Argument,
                    "options.canvas_width and options.canvas_height must both be set, or neither"
                ));
            }
            (width, height) => Some(Canvas::Pixels(width, height)),
        };
        let contrastive = given(self.contrastive_epochs).map(|epochs| {
            let rate = Some(self.contrastive_rate).filter(|rate| *rate != 0.0);
            Contrastive { epochs, learning_rate: rate.unwrap_or(Contrastive::default().learning_rate) }
        });
        Ok(TrainOptions {
            method: chosen(self.method, "options.method")?.unwrap_or(defaults.method),
            preset: chosen(self.preset, "options.preset")?.unwrap_or(defaults.preset),
            size: given(self.size),
            canvas,
            margin: given(self.margin),
            epochs: given(self.epochs),
            views: given(self.views),
            false_reject: or(self.false_reject, defaults.false_reject),
            confidence: or(self.confidence, defaults.confidence),
            // NaN stays NaN, and is refused by the library.
            held_out: if self.held_out < 0.0 { 0.0 } else { or(self.held_out, defaults.held_out) },
            seed: self.seed,
            learning_rate: (self.learning_rate != 0.0).then_some(self.learning_rate),
            map: self.no_map == 0,
            map_levels: chosen(self.map_levels, "options.map_levels")?,
            pooling: chosen(self.pooling, "options.pooling")?.unwrap_or(defaults.pooling),
            radius: chosen(self.radius, "options.radius")?,
            memory_bytes: (self.memory_bytes != 0)
                .then(|| usize::try_from(self.memory_bytes))
                .transpose()
                .map_err(|_| fail!(Argument, "options.memory_bytes: more than can be addressed"))?,
            contrastive,
            roi,
        })
    }
}
