//! Running a session allocates nothing, on one thread and on two.
//!
//! The allocator of this process counts; there is no test harness, whose own threads would be counted too.
#![allow(unsafe_code)] // A global allocator is an unsafe trait; each method only hands on to the system's.

use adflow::cpu::{Cpu, Isa};
use adflow::place::{Reuse, place};
use adflow::threads::Threads;
use adflow_tests::graphs::random;
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

fn main() {
    assert!(requests(|| drop(std::hint::black_box(vec![1u8; 100]))) >= 2, "the counter counts");
    let mut runs = 0;
    for workers in [1, 2] {
        let threads = Threads::new(workers);
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
