//! Memory of weights: parts of large regions of huge pages, one part behind the other.
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

/// Addresses of a region. They cost nothing; a model larger than this takes several.
const REGION_BYTES: usize = 1 << 30;

/// The region that parts are taken from, and how much of it is taken.
static CURRENT: Mutex<(Weak<Region>, usize)> = Mutex::new((Weak::new(), 0));

struct Region {
    mapping: Mapping,
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
            return Some(Part { region: Region::new(taken)?, offset: 0, size_bytes });
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = current.0.upgrade()
            && taken <= REGION_BYTES - current.1
        {
            let offset = current.1;
            current.1 += taken;
            return Some(Part { region, offset, size_bytes });
        }
        // A system that promises no more memory than it has may refuse a whole region.
        let Some(region) = Region::new(REGION_BYTES) else {
            return Some(Part { region: Region::new(taken)?, offset: 0, size_bytes });
        };
        *current = (Arc::downgrade(&region), taken);
        Some(Part { region, offset: 0, size_bytes })
    }

    /// Where it begins.
    pub(super) fn start(&self) -> *mut u8 {
        // SAFETY: parts lie within their region.
        unsafe { self.region.mapping.start().add(self.offset) }
    }
}

impl Region {
    fn new(size_bytes: usize) -> Option<Arc<Region>> {
        let mapping = Mapping::new(size_bytes.checked_next_multiple_of(HUGE_PAGE_BYTES)?)?;
        mapping.advise_huge_pages(0..size_bytes);
        Some(Arc::new(Region { mapping }))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: asks the system for a number.
            let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
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
