//! A pool of threads that lives as long as the backend: a step hands it some hundred short pieces of work.
//!
//! A dispatch opens a new generation that idle workers spin on; a worker that has spun long enough parks. One dispatch
//! costs about one exchange of a cache line each way (half a microsecond between cores), and allocates nothing.
//!
//! A worker joins a generation while it is open, and only those that joined are waited for: on a busy machine, where a
//! worker may have no core for milliseconds, the caller does the work alone instead of waiting.
#![allow(unsafe_code)] // The job is lent to the workers by address for the time of one dispatch.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Turns of the waiting loop before a worker parks: some hundred microseconds, longer than any gap within a step.
const SPIN_TURNS: u32 = 20_000;
/// Turns of the waiting loop before the caller lets another thread have its core: workers may be waiting for one.
const YIELD_TURNS: u32 = 2_000;
/// A worker takes this part of what is left of a share: large pieces first, so that memory is read in long runs, and
/// single items last, so that all workers end together. With twelve equal pieces a share, two threads that decoded stood
/// waiting in 6 and 11 % of a profile's samples.
const PIECE_PART: usize = 4;

type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// The address of the job of the current generation.
#[derive(Clone, Copy)]
struct JobAddress(*const Job<'static>);

// SAFETY: the job behind the address is `Sync`, and it is called only while `Pool::run` waits for the workers.
unsafe impl Send for JobAddress {}

/// A counter on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Cursor(AtomicUsize);

impl Cursor {
    /// The next piece of a share that goes up to `end`; `None` if all is taken.
    fn take(&self, end: usize) -> Option<Range<usize>> {
        let piece = |start: usize| (end.saturating_sub(start) / PIECE_PART).max(1);
        let advance = |start: usize| (start < end).then(|| start + piece(start));
        let start = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance).ok()?;
        Some(start..start + piece(start))
    }
}

/// Bit of the state that is set while workers may join.
const OPEN: u64 = 1 << 16;
/// One generation.
const GENERATION: u64 = 1 << 17;
/// The bits of the state that count workers at work.
const AT_WORK: u64 = OPEN - 1;

struct Shared {
    /// Generation, [`OPEN`], and how many workers are at work.
    state: AtomicU64,
    /// Written between generations, when no worker is at work; read by those that joined.
    job: UnsafeCell<Option<JobAddress>>,
    is_stopping: AtomicBool,
    parked: Mutex<()>,
    parked_count: AtomicUsize,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is the only part that is not `Sync` by itself; see there for who touches it when.
unsafe impl Sync for Shared {}

/// The threads of a backend. The caller of a dispatch is worker 0.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    cursors: Vec<Cursor>,
    dispatch: Mutex<()>,
    region_count: AtomicU64,
}

impl Pool {
    /// A pool of `worker_count` workers, the caller included.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn new(worker_count: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            is_stopping: AtomicBool::new(false),
            parked: Mutex::new(()),
            parked_count: AtomicUsize::new(0),
            wake: Condvar::new(),
            panic: Mutex::new(None),
        });
        let mut pool = Pool {
            shared,
            threads: Vec::new(),
            cursors: (0..worker_count.max(1)).map(|_| Cursor::default()).collect(),
            dispatch: Mutex::new(()),
            region_count: AtomicU64::new(0),
        };
        for worker in 1..worker_count {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("compute-{worker}"));
            pool.threads.push(thread.spawn(move || shared.work(worker))?);
        }
        Ok(pool)
    }

    /// How often work was split so far, work for one worker alone included.
    pub(super) fn region_count(&self) -> u64 {
        self.region_count.load(Ordering::Relaxed)
    }

    /// How many workers there are, the caller included.
    pub(super) fn worker_count(&self) -> usize {
        self.cursors.len()
    }

    /// Calls `job` with worker index 0, and with the index of every other worker that comes in time; returns when all
    /// of them are done. The job must be such that any one worker can finish it.
    ///
    /// # Panics
    /// With the job's panic, if it panics anywhere.
    fn run(&self, job: &Job<'_>, _one_at_a_time: &MutexGuard<'_, ()>) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Workers call the job only after joining and before leaving, and this
        // function closes the generation and waits for them before it returns.
        let address = JobAddress(unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) });
        let generation = (shared.state.load(Ordering::Relaxed) & !(OPEN | AT_WORK)) + GENERATION;
        // SAFETY: the generation before is closed and its workers have left, so nobody reads the job.
        unsafe { *shared.job.get() = Some(address) };
        shared.state.store(generation | OPEN, Ordering::SeqCst);
        if shared.parked_count.load(Ordering::SeqCst) > 0 {
            let _parked = lock(&shared.parked);
            shared.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| job(0)));
        let mut at_work = shared.state.fetch_and(!OPEN, Ordering::AcqRel) & AT_WORK;
        let mut turns = 0;
        while at_work > 0 {
            turns += 1;
            if turns > YIELD_TURNS {
                std::thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
            at_work = shared.state.load(Ordering::Acquire) & AT_WORK;
        }
        let foreign = lock(&shared.panic).take();
        if let Some(payload) = own.err().or(foreign) {
            resume_unwind(payload);
        }
    }

    /// Calls `job(worker, range)` until `0..count` is covered, each index once. Every worker starts on a contiguous
    /// share, always the same one for the same count, and then takes over what others have not begun.
    pub(super) fn split(&self, count: usize, job: &(dyn Fn(usize, Range<usize>) + Sync)) {
        let workers = self.worker_count();
        self.region_count.fetch_add(1, Ordering::Relaxed);
        if workers == 1 || count <= 1 {
            if count > 0 {
                job(0, 0..count);
            }
            return;
        }
        let one_at_a_time = lock(&self.dispatch);
        let share = |worker: usize| count * worker / workers..count * (worker + 1) / workers;
        for (worker, cursor) in self.cursors.iter().enumerate() {
            cursor.0.store(share(worker).start, Ordering::Relaxed);
        }
        let work = |worker: usize| {
            for victim in (0..workers).map(|step| (worker + step) % workers) {
                let end = share(victim).end;
                while let Some(piece) = self.cursors[victim].take(end) {
                    job(worker, piece);
                }
            }
        };
        self.run(&work, &one_at_a_time);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        self.shared.state.fetch_add(GENERATION, Ordering::SeqCst);
        {
            let _parked = lock(&self.shared.parked);
            self.shared.wake.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A worker catches its jobs' panics, so it ends well.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self, worker: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_generation(seen);
            if self.is_stopping.load(Ordering::SeqCst) {
                return;
            }
            if !self.join(seen) {
                continue;
            }
            // SAFETY: this worker has joined, so the job was written before and stays until it leaves.
            let job = unsafe { *self.job.get() }.expect("a generation comes with a job");
            // SAFETY: as above.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*job.0)(worker) }));
            if let Err(payload) = result {
                *lock(&self.panic) = Some(payload);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Counts a worker in, if the generation is still open.
    fn join(&self, generation: u64) -> bool {
        let join = |state: u64| (state & !AT_WORK == generation | OPEN).then_some(state + 1);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, join).is_ok()
    }

    /// Waits for a generation other than `seen`: spins, then parks.
    fn next_generation(&self, seen: u64) -> u64 {
        let current = || self.state.load(Ordering::SeqCst) & !(OPEN | AT_WORK);
        for _ in 0..SPIN_TURNS {
            if current() != seen {
                return current();
            }
            std::hint::spin_loop();
        }
        let mut parked = lock(&self.parked);
        self.parked_count.fetch_add(1, Ordering::SeqCst);
        while current() == seen {
            parked = self.wake.wait(parked).unwrap_or_else(PoisonError::into_inner);
        }
        self.parked_count.fetch_sub(1, Ordering::SeqCst);
        drop(parked);
        current()
    }
}

/// Locks; a poisoned lock guards nothing here that a panic could have left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_done_once() {
        for workers in [1, 2, 3, 5] {
            let pool = Pool::new(workers).expect("threads start");
            for count in [0, 1, 2, 7, 100, 1000] {
                let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                pool.split(count, &|worker, range| {
                    assert!(worker < workers);
                    range.for_each(|index| _ = done[index].fetch_add(1, Ordering::Relaxed));
                });
                assert!(
                    done.iter().all(|count| count.load(Ordering::Relaxed) == 1),
                    "{workers} workers, {count} items"
                );
            }
        }
    }

    #[test]
    fn pieces_shrink_to_single_items_and_cover_a_share() {
        for (start, end) in [(0, 0), (0, 1), (3, 10), (64, 1000)] {
            let cursor = Cursor(AtomicUsize::new(start));
            let pieces: Vec<Range<usize>> = std::iter::from_fn(|| cursor.take(end)).collect();
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].len() >= pair[1].len()));
            assert_eq!(pieces.iter().map(ExactSizeIterator::len).sum::<usize>(), end - start);
            assert!(pieces.first().is_none_or(|piece| piece.start == start));
            assert!(pieces.last().is_none_or(|piece| piece.len() == 1 && piece.end == end));
            assert_eq!(cursor.take(end), None);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3).expect("threads start");
        for bad in [0, 400, 999] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.split(1000, &|_, range| assert!(!range.contains(&bad), "bad item"))
            }));
            assert!(result.is_err());
        }
        let count = AtomicUsize::new(0);
        pool.split(3, &|_, range| _ = count.fetch_add(range.len(), Ordering::Relaxed));
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn parked_workers_wake() {
        let pool = Pool::new(2).expect("threads start");
        for _ in 0..3 {
            // Wait until the worker has parked; it does so by itself.
            while pool.shared.parked_count.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let count = AtomicUsize::new(0);
            pool.split(2, &|_, range| _ = count.fetch_add(range.len(), Ordering::Relaxed));
            assert_eq!(count.load(Ordering::Relaxed), 2);
        }
    }
}
