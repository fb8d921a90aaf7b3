//! Images to features: reads an image, keeps its region of interest, and runs the backbone over a view of it.

use crate::backbones::Backbone;
use crate::deadline::Deadline;
use crate::detect::error::{Result, TrainError};
use crate::detect::images::Images;
use crate::detect::setup::Setup;
use crate::duplicates;
use crate::executor::{Device, Executor, Prepared};
use crate::image::{
    CanvasWindow, ChannelOrder, ImageError, ImageView, Preprocess, Roi, RoiBits, Samples, Tiling, keep_scratch_len,
    keep_window,
};
use crate::model::{DetectorRecord, ViewKind};
use crate::place::OwnedProgram;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bytemuck::Zeroable;

/// How images become inputs.
pub fn preprocess(setup: &Setup, backbone: &Backbone) -> Preprocess {
    let (scale, shift) = backbone.normalisation();
    Preprocess { size: setup.size, channels: 3, scale, shift }
}

/// The fixed part of a detector record.
pub fn detector(setup: &Setup, backbone: &Backbone) -> DetectorRecord {
    let how = preprocess(setup, backbone);
    DetectorRecord {
        size: how.size,
        channels: how.channels,
        scale: how.scale,
        shift: how.shift,
        views: setup.views,
        view_kind: setup.view_kind as u32,
        ..DetectorRecord::zeroed()
    }
}

/// The fixed part of a detector record with the views of a training.
pub fn training_views(setup: &Setup, backbone: &Backbone, views: usize) -> DetectorRecord {
    let view_kind = if views <= 8 { ViewKind::Symmetries } else { ViewKind::Rotations } as u32;
    DetectorRecord { views: views as u32, view_kind, ..detector(setup, backbone) }
}

/// Images looked at to see whether there is colour.
const COLOUR_PROBES: usize = 8;
/// Difference between channels, in 0..1, from which a pixel has colour; a few steps of 8 bits are compression noise.
const COLOUR: f32 = 8.0 / 255.0;

/// Whether the images have colour, judged by a few of them; cameras are grey or not.
pub fn have_colour(images: &dyn Images, setup: &Setup) -> Result<bool> {
    // A region of interest may be too thin for so few cells.
    let how = Preprocess::new(if setup.roi.is_some() { setup.size } else { 32 }, 3);
    let (mut scratch, mut base) = (Scratch::new(setup), vec![0.0; how.output_len()]);
    let step = images.len().div_ceil(COLOUR_PROBES).max(1);
    for index in (0..images.len()).step_by(step) {
        match &setup.tiling {
            Some(tiling) if setup.roi.is_some() => {
                if tiles_have_colour(images, index, tiling, &how, &mut scratch, &mut base)? {
                    return Ok(true);
                }
            }
            _ => {
                load(images, index, &mut scratch, &mut [(how, &mut base)])?;
                if has_colour(&base) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// Whether any tile of an image has colour inside of the region of interest.
fn tiles_have_colour(
    images: &dyn Images,
    index: usize,
    tiling: &Tiling,
    how: &Preprocess,
    scratch: &mut Scratch<'_>,
    base: &mut [f32],
) -> Result<bool> {
    let mut result = Ok(false);
    let read = images.with(index, &mut |view: &ImageView<'_>| {
        for tile in 0..tiling.count() {
            result = result.and_then(|found| {
                let inside = !found && scratch.apply_window(how, view, &tiling.window(tile), base)?;
                Ok(found || inside && has_colour(base))
            });
        }
    });
    read.map_err(|error| TrainError::Image { name: images.name(index), error })?;
    result.map_err(|error| TrainError::image(images.name(index), &error))
}

/// Whether a pixel of three planes has colour.
fn has_colour(base: &[f32]) -> bool {
    let (red, rest) = base.split_at(base.len() / 3);
    let (green, blue) = rest.split_at(red.len());
    let coloured = |((r, g), b): ((&f32, &f32), &f32)| (r - g).abs().max((g - b).abs()) > COLOUR;
    red.iter().zip(green).zip(blue).any(coloured)
}

/// Memory for reading images, and where to look in them.
struct Scratch<'s> {
    memory: Vec<f32>,
    keep: Vec<f32>,
    roi: Option<RoiBits<'s>>,
}

impl<'s> Scratch<'s> {
    fn new(setup: &'s Setup) -> Scratch<'s> {
        Scratch { memory: Vec::new(), keep: Vec::new(), roi: setup.roi.as_ref().map(Roi::bits) }
    }

    /// Brings a view into planes, of its region of interest only.
    fn apply(&mut self, how: &Preprocess, view: &ImageView<'_>, out: &mut [f32]) -> Result<(), ImageError> {
        let whole = CanvasWindow::whole(how.size);
        if self.apply_window(how, view, &whole, out)? {
            return Ok(());
        }
        Err(ImageError::Options("the region of interest is too small or too thin to leave anything of it"))
    }

    /// Brings a window of a canvas into planes; `false` if nothing of it is inside. [`Scratch::keep`] says what is, where there is a
    /// region.
    fn apply_window(
        &mut self,
        how: &Preprocess,
        view: &ImageView<'_>,
        window: &CanvasWindow,
        out: &mut [f32],
    ) -> Result<bool, ImageError> {
        let roi = self.roi.map_or(0, |roi| keep_scratch_len(roi.width()));
        let needed = how.window_scratch_len(view.width(), window.canvas.0).max(roi);
        if self.memory.len() < needed {
            self.memory.resize(needed, 0.0);
        }
        let Some(roi) = &self.roi else {
            return how.apply_window(view, window, None, &Deadline::none(), &mut self.memory, out).map(|()| true);
        };
        self.keep.clear();
        self.keep.resize((how.size as usize).pow(2), 1.0);
        keep_window(roi, (view.width(), view.height()), window, how.size, &mut self.memory, &mut self.keep);
        if self.keep.iter().all(|k| *k == 0.0) {
            return Ok(false);
        }
        how.apply_window(view, window, Some(&self.keep), &Deadline::none(), &mut self.memory, out).map(|()| true)
    }
}

/// Reads an image once and brings it into planes in one or several ways; `scratch` grows as needed.
fn load(
    images: &dyn Images,
    index: usize,
    scratch: &mut Scratch<'_>,
    targets: &mut [(Preprocess, &mut [f32])],
) -> Result<()> {
    let mut result = Ok(());
    let read = images.with(index, &mut |view: &ImageView<'_>| {
        for (how, out) in &mut *targets {
            result = result.and_then(|()| scratch.apply(how, view, out));
        }
    });
    read.map_err(|error| TrainError::Image { name: images.name(index), error })?;
    result.map_err(|error| TrainError::image(images.name(index), &error))
}

/// Side of what a thumbnail is made of, where tiles are looked at in part.
const SEEN: u32 = 512;

/// Runs a program that turns images into features.
pub struct Extractor<'e> {
    executor: Box<dyn Executor + 'e>,
    program: Prepared,
    how: Preprocess,
    scratch: Scratch<'e>,
    base: Vec<f32>,
    thumbnail: Vec<f32>,
    /// Outputs of the program with their lengths: together they are the features.
    outputs: Vec<(String, usize)>,
    /// Features of one view.
    pub len: usize,
}

impl<'e> Extractor<'e> {
    pub fn new(
        program: &'e OwnedProgram,
        params: &[f32],
        setup: &'e Setup,
        backbone: &Backbone,
        device: &'e dyn Device,
    ) -> Result<Extractor<'e>> {
        let p = program.program();
        let how = preprocess(setup, backbone);
        let mut executor = device.executor(params, 0, 0)?;
        let prepared = executor.prepare(p, 1)?;
        let outputs = p.bindings().filter(|b| b.2);
        let outputs: Vec<(String, usize)> = outputs.map(|(name, ty, _)| (name.to_string(), ty.shape.len())).collect();
        let len = outputs.iter().map(|o| o.1).sum();
        Ok(Extractor {
            executor,
            program: prepared,
            how,
            scratch: Scratch::new(setup),
            base: vec![0.0; how.output_len()],
            thumbnail: vec![0.0; duplicates::LEN],
            outputs,
            len,
        })
    }

    /// Reads an image; [`Extractor::base`] holds it then.
    pub fn load(&mut self, images: &dyn Images, index: usize) -> Result<()> {
        let thumbnail = duplicates::thumbnail();
        if self.scratch.roi.is_none() {
            let targets = &mut [(self.how, &mut *self.base), (thumbnail, &mut *self.thumbnail)];
            return load(images, index, &mut self.scratch, targets);
        }
        // A thumbnail's cells are wide, and the region may be thin: it is made of what the backbone sees.
        load(images, index, &mut self.scratch, &mut [(self.how, &mut *self.base)])?;
        let (side, row) = (self.how.size, self.how.size as isize);
        let order = if self.how.channels == 1 { ChannelOrder::Grey } else { ChannelOrder::Rgb };
        let seen = ImageView::new(Samples::F32(&self.base), side, side, order, 0, 1, row, row * row, 1.0);
        let apply = |view: ImageView<'_>| {
            let mut memory = vec![0.0; thumbnail.scratch_len(side, side)];
            thumbnail.apply(&view, &mut memory, &mut self.thumbnail)
        };
        seen.and_then(apply).map_err(|error| TrainError::image(images.name(index), &error))
    }

    /// Reads a tile of an image; `false` if nothing of it is inside of the region of interest.
    pub fn load_tile(&mut self, view: &ImageView<'_>, window: &CanvasWindow) -> Result<bool, ImageError> {
        self.scratch.apply_window(&self.how, view, window, &mut self.base)
    }

    /// The thumbnail of an image of which the region of interest alone is seen; nothing where that is thin.
    pub fn load_thumbnail(&mut self, view: &ImageView<'_>) -> Result<(), ImageError> {
        let thumbnail = duplicates::thumbnail();
        if self.scratch.roi.is_none() {
            return self.scratch.apply(&thumbnail, view, &mut self.thumbnail);
        }
        let seen = Preprocess::new(SEEN, 1);
        let mut planes = vec![0.0; seen.output_len()];
        self.scratch.apply_window(&seen, view, &CanvasWindow::whole(SEEN), &mut planes)?;
        let mut memory = vec![0.0; thumbnail.scratch_len(SEEN, SEEN)];
        thumbnail.apply(&ImageView::grey_f32(SEEN, SEEN, &planes)?, &mut memory, &mut self.thumbnail)
    }

    /// The image read last, C×S×S, normalised.
    pub fn base(&self) -> &[f32] {
        &self.base
    }

    /// Thumbnail of the image read last, or of the image looked at last by [`Extractor::load_thumbnail`].
    pub fn thumbnail(&self) -> &[f32] {
        &self.thumbnail
    }

    /// Which of its pixels are kept, S×S, those not being 0; `None` without a region of interest.
    pub fn kept(&self) -> Option<&[f32]> {
        self.scratch.roi.is_some().then_some(&*self.scratch.keep)
    }

    /// Features of one view of the image read last; `write` makes the view from the image.
    pub fn features(&mut self, write: &mut dyn FnMut(&[f32], &mut [f32]), out: &mut [f32]) -> Result<()> {
        write(&self.base, self.executor.input(self.program, "image"));
        self.executor.run(self.program)?;
        let mut rest = out;
        for (name, len) in &self.outputs {
            let (head, tail) = rest.split_at_mut(*len);
            head.copy_from_slice(self.executor.output(self.program, name));
            rest = tail;
        }
        Ok(())
    }
}
