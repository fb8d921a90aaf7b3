//! Scores photographs with a frozen model on a Cortex-M: model in flash, one block of RAM, no allocator, no operating system.
//!
//! Flash in place of a camera holds the photographs; on a real machine they come by DMA. What is printed goes through semihosting,
//! to a debugger or to QEMU. `usage.rs` counts what it costs.
#![no_std]
#![no_main]

mod usage;

use adflow::cpu::Cpu;
use adflow::image::{ImageError, ImageView};
use adflow::model::{Model, ModelError};
use adflow::score::{ScoreError, Scorer, ScorerOptions};
use adflow::threads::Threads;
use core::fmt;
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};

/// A model is read where it lies, so it must lie at a multiple of 8; 64 keeps parameters on lines of a cache.
#[repr(align(64))]
struct Aligned<T>(T);

const MODEL_FILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model.adflow"));
static MODEL: Aligned<[u8; MODEL_FILE.len()]> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.adflow")));

/// Photographs of 256×256 pixels, 8 bits a sample, red, green, blue.
const SIDE: u32 = 256;
const PHOTOGRAPHS_FILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/photographs.rgb"));
#[unsafe(link_section = ".camera")]
static PHOTOGRAPHS: [u8; PHOTOGRAPHS_FILE.len()] = *include_bytes!(concat!(env!("OUT_DIR"), "/photographs.rgb"));

/// Floats that scoring works in, 224 KiB. The program says how many a model needs where these are too few.
const FLOATS: usize = 56 * 1024;

/// Why there is no score.
enum Failure {
    Model(ModelError),
    Image(ImageError),
    Score(ScoreError),
    Twice,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Model(error) => write!(f, "model: {error}"),
            Failure::Image(error) => write!(f, "image: {error}"),
            Failure::Score(error) => write!(f, "score: {error}"),
            Failure::Twice => f.write_str("the memory has been handed out before"),
        }
    }
}

#[entry]
fn main() -> ! {
    let stack = usage::Stack::paint();
    let status = match inspect() {
        Ok(()) => debug::EXIT_SUCCESS,
        Err(failure) => {
            hprintln!("error: {}", failure);
            debug::EXIT_FAILURE
        }
    };
    let flash = usage::flash();
    hprintln!("flash {} model {}", flash, MODEL.0.len());
    hprintln!("ram {} stack {}", usage::statics(), stack.deepest());
    debug::exit(status);
    loop {}
}

fn inspect() -> Result<(), Failure> {
    let memory = cortex_m::singleton!(: [f32; FLOATS] = [0.0; FLOATS]).ok_or(Failure::Twice)?;
    let clock = usage::Clock::start().ok_or(Failure::Twice)?;
    let (model, ticks) = clock.measure(|| Model::parse(&MODEL.0));
    let model = model.map_err(Failure::Model)?;
    hprintln!("validated instructions {}", ticks);
    let options = ScorerOptions::new().with_max_width(SIDE).with_map(false);
    let threads = Threads::serial();
    let needs = Scorer::memory_len(&model, &options, 1).map_err(Failure::Score)?;
    hprintln!("floats {} of {}", needs, FLOATS);
    let mut scorer = Scorer::new(model, &options, Cpu::detect(&threads), memory).map_err(Failure::Score)?;
    for pixels in PHOTOGRAPHS.chunks_exact((SIDE * SIDE * 3) as usize) {
        let view = ImageView::rgb_u8(SIDE, SIDE, pixels).map_err(Failure::Image)?;
        let (score, instructions) = clock.measure(|| scorer.score(&view));
        let score = score.map_err(Failure::Score)?;
        let verdict = match model.threshold() {
            Some(threshold) if score > threshold.reject => "defective",
            Some(_) => "good",
            None => "unknown",
        };
        hprintln!("score {} bits {:08x} {} instructions {}", score, score.to_bits(), verdict, instructions);
    }
    Ok(())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("panic: {}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
