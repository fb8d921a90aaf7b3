//! Running a session, reading a model, scoring an image and inspecting one allocate nothing, on one thread and on two.
//!
//! The allocator of this process counts; there is no test harness, whose own threads would be counted too.
#![allow(unsafe_code)] // A global allocator is an unsafe trait; each method only hands on to the system's.

use adflow::cpu::{Cpu, Isa};
use adflow::image::{ImageView, Region};
use adflow::inspector::Inspector;
use adflow::model::{Model, OwnedModel};
use adflow::place::{Reuse, place};
use adflow::score::{Scorer, ScorerOptions};
use adflow::threads::Threads;
use adflow_tests::graphs::random;
use adflow_tests::models::{
    CUT, Cut, flow_model, flow_model_within, map_model, map_model_within, region, tiled_model, tiled_region,
};
use adflow_tests::owned::Owned;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// The system's allocator with a counter of requests.
struct Counting;

static REQUESTS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every method hands on to `System`, which keeps the trait's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.fetch_add(1, SeqCst);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        REQUESTS.fetch_add(1, SeqCst);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Requests made while `f` runs.
fn requests(f: impl FnOnce()) -> usize {
    let before = REQUESTS.load(SeqCst);
    f();
    REQUESTS.load(SeqCst) - before
}

/// A pool all of whose threads have begun to work: a thread that starts allocates for itself.
fn pool(count: usize) -> Threads {
    let threads = Threads::new(count);
    let seen: Vec<AtomicUsize> = (0..threads.count()).map(|_| AtomicUsize::new(0)).collect();
    while seen.iter().any(|s| s.load(SeqCst) == 0) {
        threads.run(16, &|_, worker| {
            seen[worker].fetch_add(1, SeqCst);
            std::thread::sleep(std::time::Duration::from_micros(50));
        });
    }
    threads
}

const OPTIONS: ScorerOptions = ScorerOptions::new().with_max_width(64).with_regions(true);

/// From the bytes of a file to the score and the map of an image.
fn score(bytes: &[u8], cpu: Cpu<'_>, image: &ImageView<'_>, memory: &mut [f32], map: &mut [f32]) -> f32 {
    let model = Model::parse(bytes).expect("a model");
    let mut scorer = Scorer::new(model, &OPTIONS, cpu, memory).expect("enough memory");
    let score = scorer.score(image).expect("a score");
    let with_map = scorer.score_with_map(image, map).expect("a score and a map");
    let mask = [255u8; 40 * 30];
    let region = ImageView::grey_u8(40, 30, &mask).expect("a mask");
    let within = scorer.score_within(image, &region, Some(map)).expect("a score of a region");
    assert!((within - score).abs() <= 1e-5 * score);
    assert_eq!(score.to_bits(), with_map.to_bits());
    score
}

fn scoring() {
    let samples: Vec<u16> = (0..3 * 40 * 30).map(|i| (i * 7919 % 65536) as u16).collect();
    let image = ImageView::rgb_u16(40, 30, &samples).expect("an image");
    let files = [
        map_model(),
        flow_model(),
        map_model_within(Some(&region())),
        flow_model_within(Some(&region())),
        tiled_model(CUT, None),
        tiled_model(CUT, Some(&tiled_region())),
        tiled_model(Cut { top: 0, ..CUT }, None),
    ];
    for file in files {
        let mut words = vec![0u64; file.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..file.len()].copy_from_slice(&file);
        let bytes = &bytemuck::cast_slice(&words)[..file.len()];
        for workers in [1, 2] {
            let threads = pool(workers);
            let model = Model::parse(bytes).expect("a model");
            let len = Scorer::memory_len(&model, &OPTIONS, workers).expect("a size");
            let (mut memory, (w, h)) = (vec![f32::NAN; len], model.map_size());
            let mut map = vec![0.0; (w * h) as usize];
            for isa in Isa::all() {
                let cpu = Cpu::with_isa(isa, &threads);
                let count = requests(|| {
                    let score = score(bytes, cpu, &image, &mut memory, &mut map);
                    assert!(score > 0.0);
                });
                assert_eq!(count, 0, "scoring on {workers} threads, {}", isa.name());
            }
        }
    }
}

/// What an inspector says, with and without a map, of the whole image and of a region.
fn inspect(inspector: &mut Inspector, image: &ImageView<'_>) -> f32 {
    let score = inspector.inspect(image).expect("a score").score;
    let (with_map, map) = inspector.inspect_with_map(image).expect("a score and a map");
    assert!(map.values().iter().any(|m| *m > 0.0) && with_map.score.to_bits() == score.to_bits());
    let mask = [255u8; 40 * 30];
    let mask = ImageView::grey_u8(40, 30, &mask).expect("a mask");
    let within = inspector.inspect_within(image, &Region::Mask(&mask)).expect("a score of a region").score;
    let (with_map, _) = inspector.inspect_within_with_map(image, &Region::Mask(&mask)).expect("a score of a region");
    assert_eq!(within.to_bits(), with_map.score.to_bits());
    score
}

fn inspecting() {
    let samples: Vec<u16> = (0..3 * 40 * 30).map(|i| (i * 7919 % 65536) as u16).collect();
    let image = ImageView::rgb_u16(40, 30, &samples).expect("an image");
    for file in [map_model(), flow_model_within(Some(&region())), tiled_model(CUT, Some(&tiled_region()))] {
        let model = OwnedModel::from_bytes(&file).expect("a model");
        let mut expected = None;
        for workers in [1, 2] {
            let builder = Inspector::builder().threads(workers).options(OPTIONS);
            let mut inspector = builder.build(model.clone()).expect("an inspector");
            inspector.set_time_limit(Some(std::time::Duration::from_secs(600)));
            // A thread that starts allocates for itself, whenever the system lets it.
            let mut starting = if workers == 1 { 0 } else { 1000 };
            loop {
                let count = requests(|| {
                    let score = inspect(&mut inspector, &image);
                    assert_eq!(score.to_bits(), *expected.get_or_insert(score.to_bits()));
                });
                match count {
                    0 => break,
                    _ if starting == 0 => panic!("inspecting on {workers} threads: {count} requests"),
                    _ => starting -= 1,
                }
            }
        }
    }
}

/// An image of 8000×2000 pixels of 16 bits takes the memory of one tile and of what a tile leaves behind.
fn a_large_image() {
    let cut = Cut { canvas: (8000, 2000), side: 256, margin: 16, top: 100, reduce: 4 };
    let file = tiled_model(cut, None);
    let mut words = vec![0u64; file.len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..file.len()].copy_from_slice(&file);
    let model = Model::parse(&bytemuck::cast_slice(&words)[..file.len()]).expect("a model");
    let threads = pool(2);
    let options = ScorerOptions::new().with_max_width(8000);
    let len = Scorer::memory_len(&model, &options, 2).expect("a size");
    let pixels: Vec<u16> = (0..8000 * 2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 18) as u16).collect();
    // The grid and what counts of it, a map and its blur, rows of the grid: 4 million positions, half a million pixels.
    let grid = 4000 * 1000;
    let planes = 2000 * 500 + 2000 * 1000;
    assert!(len < 2 * grid + planes + 1_000_000, "{len} floats");
    assert!(len < pixels.len(), "fewer floats than the image has pixels");
    let image = ImageView::grey_u16(8000, 2000, &pixels).expect("an image");
    let (mut memory, (w, h)) = (vec![f32::NAN; len], model.map_size());
    assert_eq!((w, h), (2000, 500));
    let mut map = vec![0.0; (w * h) as usize];
    let started = std::time::Instant::now();
    let count = requests(|| {
        let mut scorer = Scorer::new(model, &options, Cpu::detect(&threads), &mut memory).expect("enough memory");
        assert!(scorer.score_with_map(&image, &mut map).expect("a score") > 0.0);
    });
    assert_eq!(count, 0, "scoring a large image");
    assert!(map.iter().all(|m| *m > 0.0 && m.is_finite()));
    println!("8000x2000 in {:.1} MB and {:.1} s", 4e-6 * len as f64, started.elapsed().as_secs_f64());
}

fn main() {
    assert!(requests(|| drop(std::hint::black_box(vec![1u8; 100]))) >= 2, "the counter counts");
    scoring();
    inspecting();
    a_large_image();
    let mut runs = 0;
    for workers in [1, 2] {
        let threads = pool(workers);
        for seed in 0..60 {
            let built = random(seed);
            let plan = place("p", &built.graph, &built.params.layout(), Reuse::Share).expect("a valid plan");
            let (program, params) = (plan.program(), built.params.pack());
            for isa in Isa::all() {
                let cpu = Cpu::with_isa(isa, &threads);
                let mut owned = Owned::new(&program, 5, cpu, &params, 0.5).expect("sizes");
                let mut session = owned.session(program, 5, cpu).expect("enough memory");
                // From the very first run: nothing is set up lazily.
                let count = requests(|| {
                    session.run();
                    session.run();
                });
                assert_eq!(count, 0, "seed {seed}, {workers} threads, {}: {count} requests\n{program:?}", isa.name());
                runs += 2;
            }
        }
    }
    println!("{runs} runs without a request for memory");
}
