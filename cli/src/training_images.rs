//! The training images as the library asks for them: any image, several times, in any order.
//!
//! All files are decoded once at the start, several at a time, so that a damaged one is reported before the long work
//! begins. Decoded samples are kept up to a budget; what does not fit is decoded again when it is asked for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use adflow::detect::Images;
use adflow::image::ImageView;

use crate::decode::{self, Decoded, Pixels};
use crate::failure::{Failure, Outcome};
use crate::interrupt;

/// Most bytes of decoded samples that are kept.
const KEEP_BYTES: usize = 1 << 30;

/// Decoded training images.
#[derive(Debug)]
pub struct TrainingImages {
    paths: Vec<PathBuf>,
    kept: Vec<Option<Decoded>>,
    /// What a person should know: several sizes, depths, all-black images.
    pub notes: Vec<String>,
}

impl TrainingImages {
    /// Decodes all files on `threads` threads. `step` is called with the number of files done.
    pub fn load(paths: Vec<PathBuf>, threads: usize, step: &(dyn Fn(usize) + Sync)) -> Outcome<Self> {
        let (next, done, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let slots: Vec<Mutex<Option<Outcome<Loaded>>>> = paths.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, paths.len().max(1)) {
                scope.spawn(|| {
                    while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < paths.len()) {
                        if interrupt::asked() {
                            return;
                        }
                        let loaded = decode::open(&paths[i]).map(|image| Loaded::new(image, &bytes));
                        *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(loaded);
                        step(done.fetch_add(1, Ordering::Relaxed) + 1);
                    }
                });
            }
        });
        let mut images = Self { paths, kept: Vec::new(), notes: Vec::new() };
        let mut facts = Vec::new();
        for slot in slots {
            let loaded = slot.into_inner().unwrap_or_else(|e| e.into_inner());
            let Some(loaded) = loaded else {
                return Err(Failure::interrupted("interrupted while reading images; nothing was written"));
            };
            let loaded = loaded?;
            facts.push(loaded.facts);
            images.kept.push(loaded.image);
        }
        images.notes = describe(&facts);
        Ok(images)
    }
}

struct Loaded {
    image: Option<Decoded>,
    facts: Facts,
}

#[derive(Clone, Copy)]
struct Facts {
    size: (u32, u32),
    depth: u32,
    colour: bool,
    uniform: bool,
}

impl Loaded {
    fn new(image: Decoded, total: &AtomicUsize) -> Self {
        let size = (image.width, image.height);
        let facts = Facts { size, depth: image.depth(), colour: image.colour, uniform: is_uniform(&image) };
        let fits = total.fetch_add(image.bytes(), Ordering::Relaxed) + image.bytes() <= KEEP_BYTES;
        Self { image: fits.then_some(image), facts }
    }
}

fn is_uniform(image: &Decoded) -> bool {
    fn same<T: PartialEq>(s: &[T]) -> bool {
        s.iter().all(|v| *v == s[0])
    }
    match &image.pixels {
        Pixels::U8(s) => same(s),
        Pixels::U16(s) => same(s),
        Pixels::F32(s) => same(s),
    }
}

fn describe(facts: &[Facts]) -> Vec<String> {
    let mut notes = Vec::new();
    let sizes: BTreeSet<_> = facts.iter().map(|f| f.size).collect();
    if let (true, Some(a), Some(b)) = (sizes.len() > 1, sizes.first(), sizes.last()) {
        notes.push(format!(
            "images of {} sizes ({}x{} to {}x{}): each is resized to the model's input",
            sizes.len(),
            a.0,
            a.1,
            b.0,
            b.1
        ));
    }
    let depths: BTreeSet<_> = facts.iter().map(|f| f.depth).collect();
    if depths.len() > 1 {
        let list: Vec<_> = depths.iter().map(|d| format!("{d}")).collect();
        notes.push(format!("images of {} bits: each is scaled by its own white level", list.join(" and ")));
    }
    let colour = facts.iter().filter(|f| f.colour).count();
    if colour > 0 && colour < facts.len() {
        notes.push(format!("{colour} colour and {} grey images: a model sees both as one kind", facts.len() - colour));
    }
    let uniform = facts.iter().filter(|f| f.uniform).count();
    if uniform > 0 {
        notes.push(format!(
            "{uniform} of {} images have one value everywhere (all black?): check the camera",
            facts.len()
        ));
    }
    notes
}

impl Images for TrainingImages {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn name(&self, i: usize) -> String {
        self.paths[i].file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn with(&self, i: usize, f: &mut dyn FnMut(&ImageView<'_>)) -> Result<(), String> {
        let again;
        let image = match &self.kept[i] {
            Some(image) => image,
            None => {
                again = decode::open(&self.paths[i]).map_err(|e| e.message)?;
                &again
            }
        };
        f(&image.view().map_err(|e| format!("{}: {e}", self.paths[i].display()))?);
        Ok(())
    }
}
