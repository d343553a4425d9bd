//! Memory of weights: parts of large regions, of huge pages where they are at hand ([`super::pages`]), one part behind the other.
//!
//! A matrix ends anywhere in a huge page. With a mapping for each, what lies behind the last whole huge page comes in
//! small pages: 50,000 faults for a model of 1.1 billion weights in 4 bits, half the time of all its faults. Side by
//! side, every page but the last is huge and full.
//!
//! A region lives as long as one of its parts. A part that is dropped before gives its memory back, but not its
//! addresses.
#![allow(unsafe_code)] // Parts of a mapping, lent out once each.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::memory::{ALIGNMENT, HUGE_PAGE_BYTES, Mapping};
use super::pages::{PageChoice, Pages, page_bytes};

/// Addresses of a region. They cost nothing; a model larger than this takes several.
const REGION_BYTES: usize = 1 << 30;

/// The region that parts are taken from.
static CURRENT: Mutex<Option<Taking>> = Mutex::new(None);

/// How far a region is taken.
struct Taking {
    region: Weak<Region>,
    /// Bytes that parts have of it.
    taken: usize,
    /// Where the last of them begins. Who asks for another one has filled those before it.
    last: usize,
    choice: PageChoice,
}

struct Region {
    mapping: Mapping,
    /// Whole huge pages.
    size_bytes: usize,
}

// SAFETY: addresses that nobody else has; each part of them belongs to one `Part`.
unsafe impl Send for Region {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Region {}

/// Zeroed bytes that nobody else has, aligned to a cache line.
pub(super) struct Part {
    region: Arc<Region>,
    offset: usize,
    size_bytes: usize,
}

impl Part {
    /// The next bytes of the current region, or the first of a new one; `None` if the system has no more.
    pub(super) fn new(size_bytes: usize) -> Option<Part> {
        let taken = size_bytes.checked_next_multiple_of(ALIGNMENT)?;
        if taken > REGION_BYTES {
            return Part::alone(size_bytes);
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taking) = &mut *current
            && let Some(region) = taking.region.upgrade()
            && taken <= region.size_bytes - taking.taken
        {
            return Some(taking.part(region, size_bytes, taken));
        }
        // A system that promises no more memory than it has may refuse a whole region.
        let Some(region) = Region::new(REGION_BYTES) else {
            return Part::alone(size_bytes);
        };
        let choice = PageChoice::new();
        let taking = current.insert(Taking { region: Arc::downgrade(&region), taken: 0, last: 0, choice });
        Some(taking.part(region, size_bytes, taken))
    }

    /// A part with a region of its own. What is at hand in small pages would not go far in it.
    fn alone(size_bytes: usize) -> Option<Part> {
        let region = Region::new(size_bytes)?;
        region.mapping.advise(0..region.size_bytes, Pages::Huge);
        Some(Part { region, offset: 0, size_bytes })
    }

    /// Where it begins.
    pub(super) fn start(&self) -> *mut u8 {
        // SAFETY: parts lie within their region.
        unsafe { self.region.mapping.start().add(self.offset) }
    }
}

impl Taking {
    /// The next part, which takes so many bytes of the region. It has room for them.
    fn part(&mut self, region: Arc<Region>, size_bytes: usize, taken: usize) -> Part {
        let offset = self.taken;
        self.choice.settle(self.last, &region.mapping);
        self.choice.reach(offset + taken, &region.mapping, region.size_bytes);
        (self.last, self.taken) = (offset, offset + taken);
        Part { region, offset, size_bytes }
    }
}

impl Region {
    fn new(size_bytes: usize) -> Option<Arc<Region>> {
        let size_bytes = size_bytes.checked_next_multiple_of(HUGE_PAGE_BYTES)?;
        Some(Arc::new(Region { mapping: Mapping::new(size_bytes)?, size_bytes }))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        {
            let page_bytes = page_bytes();
            // Only pages that are wholly its own.
            let first = self.offset.next_multiple_of(page_bytes);
            let end = (self.offset + self.size_bytes) / page_bytes * page_bytes;
            if first < end {
                // SAFETY: the range lies in this part, which nobody uses any more and nobody gets again. That it is
                // refused is no harm.
                unsafe {
                    libc::madvise(self.region.mapping.start().add(first).cast(), end - first, libc::MADV_DONTNEED)
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zeroed_aligned_and_apart() {
        let sizes = [1, 64, 100, HUGE_PAGE_BYTES + 1, REGION_BYTES / 2, REGION_BYTES / 2, REGION_BYTES + 1, 5000];
        let parts: Vec<Part> = sizes.iter().map(|size_bytes| Part::new(*size_bytes).expect("addresses")).collect();
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for (part, size_bytes) in parts.iter().zip(sizes) {
            let start = part.start();
            assert!(start.addr().is_multiple_of(ALIGNMENT));
            ranges.push((start.addr(), start.addr() + size_bytes));
            for offset in [0, size_bytes - 1] {
                // SAFETY: within the part, and any byte is a valid one.
                assert_eq!(unsafe { *start.add(offset) }, 0);
            }
        }
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "parts overlap: {ranges:x?}");
    }
}
