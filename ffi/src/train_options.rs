//! What a caller may choose for a training, and what the library is told.

use crate::guard::{Caller, Versioned, chosen};
use crate::image::{Part, adflow_image};
use crate::status::{Failure, fail};
use adflow_core::detect::{Canvas, Contrastive, TrainOptions};
use adflow_core::image::Roi;
use core::ffi::c_char;
use core::mem::offset_of;

/// How a model is trained. Zero (NULL) in a field means the default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_train_options {
    /// sizeof(adflow_train_options).
    pub struct_size: u32,
    /// One of `adflow_method`.
    pub method: u32,
    /// One of `adflow_preset`.
    pub preset: u32,
    /// Side of the square that images are resized to, 32 to 2048 pixels. 0: the method's.
    pub size: u32,
    /// Epochs over the images. 0: until good parts that were set aside score no better.
    pub epochs: u32,
    /// Views of an image that a score is averaged over, 1 to 256. 0: the preset's.
    pub views: u32,
    /// Threads, the caller included. 0: one per processor. The model does not depend on it.
    pub threads: u32,
    /// Not 0: the model makes no maps.
    pub no_map: u32,
    /// Seed of everything random: same images, options and seed give the same bytes.
    pub seed: u64,
    /// Share of good parts that may be rejected, 0 to 1. 0: 0.01.
    pub false_reject: f64,
    /// Confidence of that promise, 0 to 1. 0: 0.95.
    pub confidence: f64,
    /// Share of images set aside to find the threshold, up to 0.5. 0: 0.1. Negative: none, and no threshold.
    pub held_out: f64,
    /// Step size of the optimiser. 0: the method's.
    pub learning_rate: f32,
    /// Not 0: go on from the file `checkpoint` if there is one.
    pub resume: u32,
    /// Path of a safetensors file with a backbone's weights. NULL: the backbone that needs no file.
    pub backbone: *const c_char,
    /// Path of a file that keeps the state of training after each epoch; removed when training has ended well. NULL: none.
    pub checkpoint: *const c_char,
    /// Where programs run: "auto" (a graphics card if there is one), "cpu", "vulkan", "vulkan:N" or "vulkan:NAME". NULL: the
    /// CPU. The model's bytes depend on it, in the last digits of its numbers.
    pub device: *const c_char,
    /// Where to look: a mask in which every channel of a pixel to inspect is at least half of white, stretched to each
    /// image. The model keeps it; pixels outside change neither the model nor a score. If its own `region` is set, that is
    /// taken and its pixels are not looked at. NULL: everywhere.
    pub region: *const adflow_image,
    /// With `canvas_height`: images are resized to this width and cut into overlapping tiles of `size` pixels (0: 512), which
    /// share one plan, so that large images are scored at full resolution in little memory. Methods `padim`, `posflow`,
    /// `fastflow`, `csflow`. 0: no tiles, the whole image becomes one square.
    pub canvas_width: u32,
    /// Height that images are resized to; 0 exactly if `canvas_width` is.
    pub canvas_height: u32,
    /// Border of a tile that is there only to be seen, in pixels; a multiple of the backbone's stride. 0: an eighth of a
    /// tile, at least 64.
    pub margin: u32,
    /// One of `adflow_map_levels`; for methods with flows on several grids. 0: product for `csflow`, sum for the others.
    pub map_levels: u32,
    /// Most epochs of a contrastive phase, which adapts the backbone to the parts before the flow is trained: method `Cdnf`
    /// only, and not with the backbone that needs no file. 0: none.
    pub contrastive_epochs: u32,
    /// Step size of that phase. 0: 0.0001.
    pub contrastive_rate: f32,
    /// One of `adflow_pooling`; for methods `Cdnf`, `Differnet` and `Gauss`. The backbone that needs no file has means only.
    pub pooling: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number or a pointer.
unsafe impl Versioned for adflow_train_options {
    const NAME: &'static str = "adflow_train_options";
    const LEAST: usize = offset_of!(adflow_train_options, method);
}

impl adflow_train_options {
    /// What the library is told. Paths, threads and the device are the trainer's.
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
                Some(roi.ok_or_else(|| fail!(Argument, "options.region: no pixel is inside"))?)
            }
        };
        let canvas = match (self.canvas_width, self.canvas_height) {
            (0, 0) => None,
            (0, _) | (_, 0) => return Err(fail!(Argument, "options.canvas_width, canvas_height: one of them is 0")),
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
            // What is no number stays so, and is refused.
            held_out: if self.held_out < 0.0 { 0.0 } else { or(self.held_out, defaults.held_out) },
            seed: self.seed,
            learning_rate: (self.learning_rate != 0.0).then_some(self.learning_rate),
            map: self.no_map == 0,
            map_levels: chosen(self.map_levels, "options.map_levels")?,
            pooling: chosen(self.pooling, "options.pooling")?.unwrap_or(defaults.pooling),
            contrastive,
            roi,
        })
    }
}
