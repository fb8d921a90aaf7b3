//! Synthetic anomalies: defects made from good images, for methods that learn what a defect might look like, and for a look
//! at what a detector sees before there are real ones.
//!
//! | [`Kind`] | what is wrong | source |
//! |---|---|---|
//! | [`cutpaste()`] | a rectangle of the same image elsewhere, lighter or darker | Li et al., CVPR 2021, with CDNF's photometric change |
//! | [`scar()`] | a thin turned strip of it | Li et al., CVPR 2021 |
//! | [`perlin()`] | blobs of another texture shine through | Zavrtanik et al., ICCV 2021 (DRAEM) |
//! | [`nsa()`] | patches of another good image, blended without a seam | Schlüter et al., ECCV 2022 |
//!
//! [`Synth`] draws them for a trainer: what it makes is a pure function of (seed, epoch, index) and the pictures, so any
//! anomaly can be made again alone, in any order and on any thread, with the same bits on every processor.
//!
//! ```
//! use adflow::synth::{Kind, Picture, Synth};
//! let good = [Picture::new(64, 64, vec![0.4; 3 * 64 * 64])?, Picture::new(64, 64, vec![0.6; 3 * 64 * 64])?];
//! let synth = Synth::new(7, &[Kind::Perlin, Kind::Nsa]);
//! let draw = synth.draw(0, 0); // epoch 0, image 0
//! let source = draw.source(good.len(), 0);
//! let anomaly = synth.make(&draw, &good[0], &good[source], None);
//! assert_eq!((anomaly.image.planes().len(), anomaly.mask.len()), (3 * 64 * 64, 64 * 64));
//! # Ok::<(), adflow::image::ImageError>(())
//! ```

mod augment;
mod cutpaste;
mod nsa;
pub mod patches;
pub mod perlin;
mod picture;
pub mod poisson;
pub mod texture;

pub use augment::{Augmentation, augment};
pub use cutpaste::{cutpaste, scar};
pub use nsa::nsa;
pub use patches::Patches;
pub use perlin::perlin;
pub use picture::Picture;
pub use texture::texture;

use crate::choice;
use crate::rng::Rng;
use alloc::vec::Vec;

/// Keeps these draws apart from those a trainer makes with the same seed: "synth" in ASCII.
const SEED_TAG: u64 = 0x73_79_6E_74_68;
/// Word of a draw's stream from which its choices are taken; the anomaly itself begins at word 0.
const CHOICES: u64 = 1 << 33;

choice! {
    /// A way to spoil a good image.
    pub enum Kind: "kind" {
        /// A rectangle of the same image in the wrong place, lighter or darker.
        ///
        /// [`cutpaste()`] makes it.
        CutPaste("cutpaste") = 1,
        /// A thin turned strip of the same image.
        ///
        /// [`scar()`] makes it.
        Scar("scar") = 2,
        /// Blobs of another texture.
        ///
        /// [`perlin()`] makes them.
        Perlin("perlin") = 3,
        /// Patches of another good image, blended without a seam.
        ///
        /// [`nsa()`] makes them.
        Nsa("nsa") = 4,
    }
}

/// A spoilt image.
///
/// ```
/// use adflow::rng::Rng;
/// use adflow::synth::{Picture, scar};
/// let good = Picture::new(48, 32, (0..3 * 48 * 32).map(|i| (i % 48) as f32 / 47.0).collect())?;
/// let anomaly = scar(&good, &mut Rng::new(3, 0, 0));
/// assert!(anomaly.share() > 0.0 && anomaly.share() < 0.5);
/// let changed = anomaly.image.planes().iter().zip(good.planes()).filter(|(a, g)| a != g).count();
/// println!("{changed} values differ, at {} of {} pixels", anomaly.mask.iter().sum::<f32>(), 48 * 32);
/// # Ok::<(), adflow::image::ImageError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// How it was spoilt.
    pub kind: Kind,
    /// The image, of the size of the good one.
    pub image: Picture,
    /// H×W values: 1 where the image is anomalous, 0 elsewhere. Only [`Kind::Nsa`] may give an empty one.
    pub mask: Vec<f32>,
}

impl Anomaly {
    /// Share of the pixels that are anomalous.
    #[must_use]
    pub fn share(&self) -> f32 {
        // A sum of ones; exact in f64.
        (self.mask.iter().map(|&m| f64::from(m)).sum::<f64>() / self.mask.len().max(1) as f64) as f32
    }
}

/// Makes anomalies from good images.
#[derive(Clone, Debug)]
pub struct Synth {
    seed: u64,
    kinds: Vec<Kind>,
    /// How [`Kind::Nsa`] draws its patches.
    pub patches: Patches,
}

/// What one anomaly will be, before any image is needed.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The kind that was drawn; only [`Kind::Nsa`] looks at the source, only [`Kind::Perlin`] at the texture.
    pub kind: Kind,
    epoch: u64,
    index: u32,
    source: u32,
    texture: u32,
}

impl Synth {
    /// Draws evenly from `kinds`; from all where there are none.
    #[must_use]
    pub fn new(seed: u64, kinds: &[Kind]) -> Self {
        let kinds = if kinds.is_empty() { Kind::ALL.to_vec() } else { kinds.to_vec() };
        Self { seed: seed ^ SEED_TAG, kinds, patches: Patches::default() }
    }

    /// Decides what number `index` of an epoch will be.
    #[must_use]
    pub fn draw(&self, epoch: u64, index: u32) -> Draw {
        let mut rng = Rng::at(self.seed, epoch, index, CHOICES);
        let kind = self.kinds[rng.below(self.kinds.len() as u32) as usize];
        Draw { kind, epoch, index, source: rng.u32(), texture: rng.u32() }
    }

    /// Spoils `base`. `texture` is resized to it and augmented; without one, one is made up.
    ///
    /// `source` is another good image (or `base` again); where its size differs it is resized. Nothing fails.
    #[must_use]
    pub fn make(&self, draw: &Draw, base: &Picture, source: &Picture, texture: Option<&Picture>) -> Anomaly {
        let rng = &mut Rng::new(self.seed, draw.epoch, draw.index);
        match draw.kind {
            Kind::CutPaste => cutpaste(base, rng),
            Kind::Scar => scar(base, rng),
            Kind::Perlin => {
                let (width, height) = (base.width(), base.height());
                let mut texture = match texture {
                    Some(given) => given.resized(width, height),
                    None => texture::texture(width, height, rng),
                };
                augment(&mut texture, rng);
                perlin(base, &texture, rng)
            }
            Kind::Nsa => nsa(base, source, &self.patches, rng),
        }
    }
}

impl Draw {
    /// Which of `images` images lends its patches to number `base`: another one where there is another.
    #[must_use]
    pub fn source(&self, images: usize, base: usize) -> usize {
        if images < 2 {
            return base;
        }
        let other = below(self.source, images - 1);
        if other >= base { other + 1 } else { other }
    }

    /// Which of `textures` textures is taken; `None` where there are none.
    #[must_use]
    pub fn texture(&self, textures: usize) -> Option<usize> {
        (textures > 0).then(|| below(self.texture, textures))
    }
}

/// A random word as a whole number in `0..n`, n well below 2³².
fn below(word: u32, n: usize) -> usize {
    ((u64::from(word) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc32;

    fn pictures() -> [Picture; 3] {
        core::array::from_fn(|i| {
            let mut rng = Rng::new(5, i as u64, 0);
            texture(48, 40, &mut rng)
        })
    }

    #[test]
    fn the_same_draw_gives_the_same_bits_in_any_order_and_on_any_thread() {
        let good = pictures();
        let synth = Synth::new(3, &[]);
        let make = |index: u32| {
            let draw = synth.draw(1, index);
            let base = index as usize % 3;
            synth.make(&draw, &good[base], &good[draw.source(3, base)], None)
        };
        let forward: Vec<Anomaly> = (0..24).map(make).collect();
        let mut backward: Vec<Anomaly> = (0..24).rev().map(make).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        #[cfg(feature = "std")]
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..24).map(|i| scope.spawn(move || make(i))).collect();
            for (one, all) in threads.into_iter().zip(&forward) {
                assert_eq!(&one.join().unwrap(), all);
            }
        });
        for kind in Kind::ALL {
            assert!(forward.iter().any(|a| a.kind == *kind), "{kind}");
        }
    }

    #[test]
    fn seeds_epochs_and_indices_give_different_anomalies() {
        let good = pictures();
        let bytes = |seed, epoch, index| {
            let synth = Synth::new(seed, &[Kind::Scar]);
            let a = synth.make(&synth.draw(epoch, index), &good[0], &good[1], None);
            crc32(bytemuck::cast_slice(a.image.planes()))
        };
        let all = [bytes(0, 0, 0), bytes(1, 0, 0), bytes(0, 1, 0), bytes(0, 0, 1)];
        for i in 0..all.len() {
            assert!(!all[..i].contains(&all[i]));
        }
    }

    #[test]
    fn sources_and_textures_are_drawn_evenly() {
        let synth = Synth::new(0, &[]);
        let (mut sources, mut textures) = ([0u32; 5], [0u32; 4]);
        for index in 0..4000 {
            let draw = synth.draw(0, index);
            sources[draw.source(5, 2)] += 1;
            textures[draw.texture(4).unwrap()] += 1;
        }
        assert_eq!(sources[2], 0);
        assert!(sources.iter().enumerate().all(|(i, n)| i == 2 || n.abs_diff(1000) < 120), "{sources:?}");
        assert!(textures.iter().all(|n| n.abs_diff(1000) < 120), "{textures:?}");
        let draw = synth.draw(0, 0);
        assert_eq!((draw.source(1, 0), draw.source(0, 0), draw.texture(0)), (0, 0, None));
    }

    /// Trained models depend on these bits: a change of them is a change for users.
    #[test]
    fn the_bits_are_these() {
        let good: [Picture; 2] = core::array::from_fn(|i| {
            Picture::from_fn(40, 32, |x, y| [x as f32 / 64.0, y as f32 / 64.0, ((x * (i + 3) + y) % 17) as f32 / 16.0])
        });
        let sums = Kind::ALL.iter().map(|kind| {
            let synth = Synth::new(11, &[*kind]);
            let a = synth.make(&synth.draw(2, 5), &good[0], &good[1], None);
            crc32(bytemuck::cast_slice(a.image.planes())) ^ crc32(bytemuck::cast_slice(&a.mask))
        });
        let sums: Vec<u32> = sums.collect();
        assert_eq!(sums, [0x6c00_1055, 0x5063_bc15, 0x7c48_893c, 0x6dba_fe4b], "{sums:#010x?}");
    }

    #[test]
    fn a_given_texture_of_any_size_is_used() {
        let good = pictures();
        let synth = Synth::new(1, &[Kind::Perlin]);
        let photograph = Picture::from_fn(9, 5, |x, _| [x as f32 / 8.0, 0.0, 1.0]);
        let draw = synth.draw(0, 0);
        let with = synth.make(&draw, &good[0], &good[0], Some(&photograph));
        let without = synth.make(&draw, &good[0], &good[0], None);
        assert!(with != without && with.share() > 0.0);
    }
}
