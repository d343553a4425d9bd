//! An allocator that counts, for tests of how much memory something takes.
//!
//! The counters are of the whole process: a test binary that looks at them has one test, or tests that do nothing beside.
#![allow(unsafe_code)] // An allocator cannot be written otherwise.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Hands every call to the system's allocator and counts besides. To be made a test binary's allocator:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: lair_testkit::counting::Counting = lair_testkit::counting::Counting;
/// # fn main() {
/// let (text, peak_bytes) = lair_testkit::counting::peak_of(|| vec![0u8; 4096]);
/// assert!(text.len() == 4096 && peak_bytes >= 4096);
/// # }
/// ```
pub struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call to the system's allocator and only counts besides. The defaults of `realloc` and
// `alloc_zeroed` go through these two, so that while growing both the old and the new block count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and all blocks came from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What `work` gives, and the most bytes that were in use for it at any moment.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let made = work();
    (made, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}
