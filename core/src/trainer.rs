//! A [`Trainer`]: training with nothing to set up.

use crate::backbones::Backbone;
use crate::cpu::Cpu;
use crate::detect::{self, Images, Method, TrainError, TrainOptions, Trained};
use crate::file::write_atomic;
use crate::threads::Threads;
use std::io;
use std::path::Path;

/// Trains a detector on images of good parts, on the CPU. Everything has a default.
///
/// For a GPU, progress, cancelling or checkpoints call [`detect::train`] instead.
///
/// ```
/// # let (good, _) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trained.rs"));
/// use adflow::detect::Method;
/// use adflow::{Inspector, Trainer};
/// let trained = Trainer::new().method(Method::GAUSS).size(64).seed(7).train(&good)?;
/// println!("scores of good parts that were set aside: {:?}", trained.held_out_scores);
/// let inspector = Inspector::from_bytes(&trained.model)?;
/// # assert_eq!(inspector.model().model().method(), "gauss");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Trainer {
    options: TrainOptions,
    backbone: Backbone,
    threads: usize,
}

impl Trainer {
    /// `padim` on the `builtin` backbone, on all processors.
    pub fn new() -> Trainer {
        Trainer { options: TrainOptions::default(), backbone: Backbone::builtin(), threads: 0 }
    }

    /// Which method is trained.
    pub fn method(mut self, method: Method) -> Trainer {
        self.options.method = method;
        self
    }

    /// Side of the square that images are resized to, 32 to 2048 pixels.
    pub fn size(mut self, pixels: u32) -> Trainer {
        self.options.size = Some(pixels);
        self
    }

    /// Seed of everything random: same images, options and seed give the same model file.
    pub fn seed(mut self, seed: u64) -> Trainer {
        self.options.seed = seed;
        self
    }

    /// Every option at once, those set before included.
    pub fn options(self, options: TrainOptions) -> Trainer {
        Trainer { options, ..self }
    }

    /// What turns images into features, [`Backbone::builtin`] unless set.
    pub fn backbone(self, backbone: Backbone) -> Trainer {
        Trainer { backbone, ..self }
    }

    /// Threads to work with; 0, the default: one for each processor. The model does not depend on it.
    pub fn threads(self, count: usize) -> Trainer {
        Trainer { threads: count, ..self }
    }

    /// Trains on images of good parts: a slice or `Vec` of [`Image`](crate::Image) or
    /// [`ImageView`](crate::image::ImageView), or whatever else is [`Images`].
    ///
    /// # Errors
    /// [`TrainError::TooFewImages`], [`TrainError::NoVariation`] and [`TrainError::Image`] where nothing can be learned from
    /// the images, [`TrainError::Options`] where options contradict each other, [`TrainError::NotFinite`] where training
    /// diverges.
    pub fn train<I: Images + ?Sized>(&self, images: &I) -> Result<Trained, TrainError> {
        let threads = if self.threads == 0 { Threads::all() } else { Threads::new(self.threads) };
        detect::train(&images, &self.backbone, &self.options, &Cpu::detect(&threads), &mut (), None)
    }
}

impl Default for Trainer {
    fn default() -> Trainer {
        Trainer::new()
    }
}

impl Trained {
    /// Writes the model to a file, all or nothing: a file that was there stays whole until the new one is.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        write_atomic(path.as_ref(), &self.model)
    }
}
