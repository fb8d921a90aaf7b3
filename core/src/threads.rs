//! A fixed set of threads that share the tasks of one kernel at a time.
//!
//! A kernel cuts its *output* into tasks and calls [`Threads::run`]; whoever is free claims the next task number. Which
//! thread runs a task is left to chance, so a task may depend on its number only: results then do not depend on the number
//! of threads. The caller works too, as worker 0, and waits only for workers that have actually joined: a worker
//! that is asleep when the last task is claimed simply misses that run. Workers spin for a moment after a run, because the
//! next kernel usually follows within microseconds, and then sleep.
//!
//! Without `std` the same type exists and runs everything on the calling thread.
#![allow(unsafe_code)] // Lifetime of the borrowed closure, and disjoint parts of one `&mut [f32]`: both need it.

use crate::deadline::Deadline;
#[cfg(feature = "std")]
use alloc::{boxed::Box, sync::Arc, vec::Vec};

/// A pool of worker threads, or none; the [module](self) says how work is shared.
///
/// ```
/// use adflow::threads::Threads;
/// let threads = Threads::new(4);
/// let mut squares = [0.0; 1000];
/// threads.chunks_mut(&mut squares, 100, &|chunk, _worker, part| {
///     for (i, s) in part.iter_mut().enumerate() {
///         *s = ((100 * chunk + i) as f32).powi(2);
///     }
/// });
/// assert_eq!(squares[999], 998_001.0);
/// ```
#[derive(Default)]
pub struct Threads {
    #[cfg(feature = "std")]
    pool: Option<Box<pool::Pool>>,
    deadline: Deadline,
}

/// A task of [`Threads::chunks_mut3`]: its number, its worker's, and its part of each slice.
pub type Task3<'f> = dyn Fn(usize, usize, [&mut [f32]; 3]) + Sync + 'f;

impl Threads {
    /// No worker threads: everything runs on the caller.
    pub const fn serial() -> Self {
        Self {
            #[cfg(feature = "std")]
            pool: None,
            deadline: Deadline::none(),
        }
    }

    /// A pool of `count` threads in all: the caller of [`run`](Self::run) and `count - 1` workers. 0 counts as 1.
    ///
    /// Where the system refuses to start a thread the pool is smaller; see [`count`](Self::count).
    #[cfg(feature = "std")]
    pub fn new(count: usize) -> Self {
        if count <= 1 { Self::serial() } else { Self { pool: pool::Pool::new(count - 1), deadline: Deadline::none() } }
    }

    /// A pool with one thread for each processor that this process may use.
    #[cfg(feature = "std")]
    pub fn all() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, |n| n.get()))
    }

    /// Gives the threads a clock that counts microseconds, so that a [deadline](Self::deadline) can be set.
    pub fn with_clock(self, clock: fn() -> u32) -> Self {
        Self { deadline: Deadline::with_clock(clock), ..self }
    }

    /// The moment after which these threads give up what they do: tasks that have not begun are left out, and what was to
    /// be computed holds anything.
    pub fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// Number of threads, the caller included; worker numbers are below it.
    pub fn count(&self) -> usize {
        #[cfg(feature = "std")]
        if let Some(pool) = &self.pool {
            return pool.workers() + 1;
        }
        1
    }

    /// Runs `f(task, worker)` for every `task` in `0..tasks` and returns when all are done.
    ///
    /// `worker` is below [`count`](Self::count), and no two tasks run at the same time under the same `worker` within one
    /// call. A call from inside a task, or while another thread is using the pool, runs all of its tasks on the caller as
    /// worker 0. Allocates nothing.
    ///
    /// # Panics
    /// A panic in a task is carried on in the caller once every task that had begun has ended; tasks not begun are skipped.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        if !self.deadline.is_set() {
            return self.run_all(tasks, f);
        }
        self.run_all(tasks, &|task, worker| {
            if !self.deadline.passed() {
                f(task, worker);
            }
        });
    }

    fn run_all(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        #[cfg(feature = "std")]
        if tasks > 1
            && let Some(pool) = &self.pool
            && pool.run(tasks, f)
        {
            return;
        }
        for task in 0..tasks {
            f(task, 0);
        }
    }

    /// Cuts `out` into chunks of `chunk` elements (the last may be shorter) and runs `f(index, worker, chunk)` on each.
    pub fn chunks_mut(&self, out: &mut [f32], chunk: usize, f: &(dyn Fn(usize, usize, &mut [f32]) + Sync)) {
        self.chunks_mut_with(out, chunk, &mut [], &|index, worker, part, _| f(index, worker, part));
    }

    /// [`chunks_mut`](Self::chunks_mut), with each worker's own part of `scratch` as the last argument: `scratch` is cut
    /// into [`count`](Self::count) parts of equal length. What an earlier task left in it is still there.
    #[allow(clippy::type_complexity)] // Spelled out is clearer than named.
    pub fn chunks_mut_with(
        &self,
        out: &mut [f32],
        chunk: usize,
        scratch: &mut [f32],
        f: &(dyn Fn(usize, usize, &mut [f32], &mut [f32]) + Sync),
    ) {
        if out.is_empty() {
            return;
        }
        let (len, base) = (out.len(), SharedMut::new(out));
        self.run_with(len.div_ceil(chunk), scratch, &|index, worker, own| {
            let start = index * chunk;
            // SAFETY: task numbers are distinct, so the ranges are disjoint parts of `out`, borrowed for this call.
            let part = unsafe { base.slice(start, chunk.min(len - start)) };
            f(index, worker, part, own);
        });
    }

    /// [`chunks_mut`](Self::chunks_mut) over three slices of equal length at once.
    pub fn chunks_mut3(&self, out: [&mut [f32]; 3], chunk: usize, f: &Task3<'_>) {
        let len = out[0].len();
        assert!(out.iter().all(|o| o.len() == len), "slices of equal length");
        let bases = out.map(SharedMut::new);
        self.run(len.div_ceil(chunk), &|index, worker| {
            let start = index * chunk;
            // SAFETY: task numbers are distinct, so the ranges are disjoint parts of each slice, borrowed for this call.
            let parts = bases.map(|base| unsafe { base.slice(start, chunk.min(len - start)) });
            f(index, worker, parts);
        });
    }

    /// [`run`](Self::run), with each worker's own part of `scratch` as the last argument.
    pub fn run_with(&self, tasks: usize, scratch: &mut [f32], f: &(dyn Fn(usize, usize, &mut [f32]) + Sync)) {
        let each = scratch.len() / self.count();
        let base = SharedMut::new(scratch);
        self.run(tasks, &|task, worker| {
            // SAFETY: `worker < count`, and no two tasks run at once under one worker number: the part is unshared.
            let own = unsafe { base.slice(worker * each, each) };
            f(task, worker, own);
        });
    }
}

/// A slice that several threads write, each its own elements.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<'a> {
    start: *mut f32,
    len: usize,
    life: core::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: only a way to hand out the pointer; the unsafe `slice` carries the promise of disjoint use.
unsafe impl Send for SharedMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedMut<'_> {}

impl<'a> SharedMut<'a> {
    pub(crate) fn new(x: &'a mut [f32]) -> Self {
        Self { start: x.as_mut_ptr(), len: x.len(), life: core::marker::PhantomData }
    }

    /// # Safety
    /// The range lies inside the slice, and no other reference to any of it lives as long as the result.
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &'a mut [f32] {
        debug_assert!(start + len <= self.len);
        // SAFETY: inside the slice and unshared, promised by the caller.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// The first element; reads and writes through it must keep to the elements that are the caller's own.
    pub(crate) fn as_ptr(&self) -> *mut f32 {
        self.start
    }
}

#[cfg(feature = "std")]
mod pool {
    use super::{Arc, Box, Vec};
    use core::any::Any;
    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::thread::JoinHandle;

    type Job = *const (dyn Fn(usize, usize) + Sync + 'static);

    /// Turns a worker or the caller spins before it sleeps or yields: some tens of microseconds, a turn being about 140 cycles
    /// on recent Intel processors.
    const SPINS: usize = 500;

    pub(super) struct Pool {
        shared: Arc<Shared>,
        workers: Vec<JoinHandle<()>>,
    }

    struct Shared {
        /// `run << 32 | open << 31 | workers inside`. A worker enters only while the run is open, and the job lives until
        /// the run is closed and nobody is inside.
        state: AtomicU64,
        job: UnsafeCell<Option<(Job, usize)>>,
        next: AtomicUsize,
        busy: AtomicBool,
        stop: AtomicBool,
        panic: Mutex<Option<Box<dyn Any + Send>>>,
        sleepers: AtomicUsize,
        door: Mutex<()>,
        bell: Condvar,
    }

    // SAFETY: `job` is written by the one caller that holds `busy`, while no worker is inside, and read by workers inside.
    unsafe impl Sync for Shared {}
    // SAFETY: the pointer in `job` refers to a `Sync` closure.
    unsafe impl Send for Shared {}

    const OPEN: u64 = 1 << 31;
    const INSIDE: u64 = OPEN - 1;

    impl Pool {
        pub(super) fn new(workers: usize) -> Option<Box<Self>> {
            let shared = Arc::new(Shared {
                state: AtomicU64::new(0),
                job: UnsafeCell::new(None),
                next: AtomicUsize::new(0),
                busy: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                panic: Mutex::new(None),
                sleepers: AtomicUsize::new(0),
                door: Mutex::new(()),
                bell: Condvar::new(),
            });
            let mut handles = Vec::with_capacity(workers);
            for worker in 1..=workers {
                let own = shared.clone();
                let builder = std::thread::Builder::new().name(std::format!("adflow-{worker}"));
                match builder.spawn(move || own.serve(worker)) {
                    Ok(handle) => handles.push(handle),
                    Err(_) => break,
                }
            }
            if handles.is_empty() { None } else { Some(Box::new(Self { shared, workers: handles })) }
        }

        pub(super) fn workers(&self) -> usize {
            self.workers.len()
        }

        /// False if the pool is in use: the caller then runs the tasks itself.
        pub(super) fn run(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) -> bool {
            let s = &*self.shared;
            if s.busy.swap(true, Acquire) {
                return false;
            }
            // SAFETY: this only forgets the lifetime. The run is closed and left by everyone before this call returns.
            let job: Job = unsafe { core::mem::transmute(f as *const (dyn Fn(usize, usize) + Sync + '_)) };
            // SAFETY: `busy` is ours and the last run was closed and left, so nobody reads `job`.
            unsafe { *s.job.get() = Some((job, tasks)) };
            s.next.store(0, Relaxed);
            let run = (s.state.load(Relaxed) >> 32) + 1;
            s.state.store(run << 32 | OPEN, SeqCst);
            if s.sleepers.load(SeqCst) > 0 {
                let _door = s.door.lock().unwrap_or_else(PoisonError::into_inner);
                s.bell.notify_all();
            }
            s.work(f, tasks, 0);
            s.state.fetch_and(!OPEN, AcqRel);
            let mut turns = 0;
            while s.state.load(Acquire) & INSIDE != 0 {
                turns += 1;
                if turns < SPINS { core::hint::spin_loop() } else { std::thread::yield_now() }
            }
            let panic = s.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            s.busy.store(false, Release);
            if let Some(panic) = panic {
                resume_unwind(panic);
            }
            true
        }
    }

    impl Drop for Pool {
        fn drop(&mut self) {
            self.shared.stop.store(true, SeqCst);
            {
                let _door = self.shared.door.lock().unwrap_or_else(PoisonError::into_inner);
                self.shared.bell.notify_all();
            }
            for worker in self.workers.drain(..) {
                let _ = worker.join();
            }
        }
    }

    impl Shared {
        /// Claims tasks until none is left. A panic is kept for the caller and ends the run early.
        fn work(&self, f: &(dyn Fn(usize, usize) + Sync), tasks: usize, worker: usize) {
            let result = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    let task = self.next.fetch_add(1, Relaxed);
                    if task >= tasks {
                        break;
                    }
                    f(task, worker);
                }
            }));
            if let Err(panic) = result {
                self.next.store(tasks, Relaxed);
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
        }

        fn serve(&self, worker: usize) {
            let mut seen = 0;
            while let Some(run) = self.enter(seen) {
                seen = run;
                // SAFETY: we are inside an open run: `job` was written before it opened and lives until we leave.
                if let Some((job, tasks)) = unsafe { *self.job.get() } {
                    // SAFETY: as above, the closure behind the pointer is still borrowed by the caller.
                    self.work(unsafe { &*job }, tasks, worker);
                }
                self.state.fetch_sub(1, AcqRel);
            }
        }

        /// Waits for a run other than `seen` and enters it; `None` at the end of the pool.
        fn enter(&self, seen: u64) -> Option<u64> {
            let mut turns = 0;
            loop {
                let state = self.state.load(Acquire);
                if state & OPEN != 0 && state >> 32 != seen {
                    if self.state.compare_exchange(state, state + 1, AcqRel, Relaxed).is_ok() {
                        return Some(state >> 32);
                    }
                    continue;
                }
                if self.stop.load(Acquire) {
                    return None;
                }
                turns += 1;
                if turns < SPINS {
                    core::hint::spin_loop();
                    continue;
                }
                turns = 0;
                let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
                self.sleepers.fetch_add(1, SeqCst);
                // A run or the end may have come before we were counted as asleep: look once more before sleeping.
                let state = self.state.load(SeqCst);
                if !self.stop.load(SeqCst) && (state & OPEN == 0 || state >> 32 == seen) {
                    drop(self.bell.wait(door).unwrap_or_else(PoisonError::into_inner));
                } else {
                    drop(door);
                }
                self.sleepers.fetch_sub(1, SeqCst);
            }
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering::*};

    #[test]
    fn every_task_runs_once() {
        for count in [1, 2, 3, 5] {
            let threads = Threads::new(count);
            assert_eq!(threads.count(), count);
            for tasks in [0, 1, 2, 3, 17, 1000] {
                let hits: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                threads.run(tasks, &|task, worker| {
                    assert!(worker < count);
                    hits[task].fetch_add(1, Relaxed);
                });
                assert!(hits.iter().all(|h| h.load(Relaxed) == 1));
            }
        }
    }

    #[test]
    fn runs_after_sleeping_and_back_to_back() {
        let threads = Threads::new(3);
        let sum = AtomicUsize::new(0);
        for i in 0..2000 {
            threads.run(7, &|task, _| {
                sum.fetch_add(task, Relaxed);
            });
            if i % 500 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        }
        assert_eq!(sum.load(Relaxed), 2000 * 21);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let threads = Threads::new(2);
        for bad in [0, 3, 63] {
            let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                threads.run(64, &|task, _| assert_ne!(task, bad, "expected by this test"));
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            threads.run(64, &|task, _| {
                sum.fetch_add(task, Relaxed);
            });
            assert_eq!(sum.load(Relaxed), 2016);
        }
    }

    #[test]
    fn nested_and_concurrent_runs() {
        let threads = Threads::new(3);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        threads.run(10, &|_, _| {
                            threads.run(10, &|task, _| {
                                sum.fetch_add(task, Relaxed);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(sum.load(Relaxed), 4 * 50 * 10 * 45);
    }

    #[test]
    fn chunks_are_disjoint_and_scratch_is_per_worker() {
        let threads = Threads::new(3);
        let (mut out, mut scratch) = (alloc::vec![0.0; 1003], alloc::vec![0.0; 30]);
        threads.chunks_mut_with(&mut out, 10, &mut scratch, &|index, worker, part, own| {
            assert_eq!(own.len(), 10);
            own.fill(worker as f32);
            for (i, v) in part.iter_mut().enumerate() {
                *v += (index * 10 + i) as f32;
            }
            assert!(own.iter().all(|&v| v == worker as f32));
        });
        assert!(out.iter().enumerate().all(|(i, &v)| v == i as f32));
    }
}
