//! Memory of kernels: aligned, zeroed, huge pages where it is filled; and slices that threads write disjoint parts of.
//!
//! All but small memory is mapped, so that its pages come into being, zeroed, when they are first written: a cache for
//! a long context costs nothing until the context is that long. Huge pages are cheaper to come by (a fault for 2 MiB
//! instead of 4 KiB) and to walk, but each is there as a whole from its first byte on. Forty layers whose caches begin
//! with one would take 160 MiB for the first token, so only weights have them from the start.
#![allow(unsafe_code)] // Aligned allocation, and parts of one slice lent to several threads.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;

#[cfg(unix)]
use super::pages::Pages;
use crate::{ComputeError, WeightBytes};

/// A cache line, and the width of the widest vector.
pub(super) const ALIGNMENT: usize = 64;
/// Allocations of at least this are mapped: below it, the pages that are never written are not worth a mapping.
#[cfg(any(unix, test))]
const MAPPED_BYTES: usize = 64 << 10;
/// Mapped memory of at least this is aligned to it and offered to the kernel as huge pages.
#[cfg(any(unix, test))]
pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Plain numbers, for which all bytes zero is a value.
///
/// # Safety
/// All bytes zero, and any other bytes, must be a valid value.
pub(super) unsafe trait Plain: Copy + 'static {}

// SAFETY: integers and floats take any bytes.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// A zeroed slice, aligned to a cache line, or to a huge page where it is that large.
pub(super) struct Memory<T: Plain> {
    start: *mut T,
    length: usize,
    /// Gives the bytes back when it is dropped.
    _backing: Backing,
}

/// How much of a [`Memory`] will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// All of it, soon: it lies in huge pages where they are at hand, together with others ([`super::region`]).
    Whole,
    /// Perhaps only its beginning.
    Growing,
}

/// Where the bytes of a [`Memory`] come from, to give them back.
enum Backing {
    /// A part of a region that weights share.
    #[cfg(unix)]
    #[expect(dead_code, reason = "it is kept to be dropped")]
    Part(super::region::Part),
    Heap {
        start: *mut u8,
        layout: Layout,
    },
    #[cfg(unix)]
    #[expect(dead_code, reason = "it is kept to be dropped")]
    Mapped(Mapping),
}

impl Backing {
    /// Zeroed bytes and where the aligned ones begin; `None` if they cannot be had.
    fn zeroed(size_bytes: usize, usage: Use) -> Option<(Backing, *mut u8)> {
        #[cfg(unix)]
        if usage == Use::Whole && size_bytes > 0 {
            let part = super::region::Part::new(size_bytes)?;
            let start = part.start();
            return Some((Backing::Part(part), start));
        }
        #[cfg(unix)]
        if size_bytes >= MAPPED_BYTES {
            return Backing::mapped(size_bytes);
        }
        #[cfg(not(unix))]
        let _ = usage;
        let layout = Layout::from_size_align(size_bytes.max(ALIGNMENT), ALIGNMENT).ok()?;
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        (!start.is_null()).then_some((Backing::Heap { start, layout }, start))
    }

    /// Small pages up to where a huge one at most doubles what is there, then huge ones.
    #[cfg(unix)]
    fn mapped(size_bytes: usize) -> Option<(Backing, *mut u8)> {
        let mapping = Mapping::new(size_bytes)?;
        let start = mapping.start();
        if size_bytes > HUGE_PAGE_BYTES {
            mapping.advise(HUGE_PAGE_BYTES..size_bytes, Pages::Huge);
        }
        Some((Backing::Mapped(mapping), start))
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        match self {
            // SAFETY: allocated with this layout, and not used after.
            Backing::Heap { start, layout } => unsafe { dealloc(*start, *layout) },
            // These give back what they hold.
            #[cfg(unix)]
            Backing::Part(_) | Backing::Mapped(_) => {}
        }
    }
}

/// A private mapping of zeros that begins at a multiple of a huge page, given back when it is dropped.
#[cfg(unix)]
pub(super) struct Mapping {
    mapped: *mut libc::c_void,
    mapped_bytes: usize,
    start: *mut u8,
}

#[cfg(unix)]
impl Mapping {
    /// Addresses for `size_bytes`; memory comes with the first write to each page.
    pub(super) fn new(size_bytes: usize) -> Option<Mapping> {
        let mapped_bytes = size_bytes.checked_add(HUGE_PAGE_BYTES)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of no file, wherever the system has room.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), mapped_bytes, access, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        let skipped = mapped.align_offset(HUGE_PAGE_BYTES);
        // SAFETY: fewer bytes are skipped than were mapped beyond what was asked for.
        let start = unsafe { mapped.cast::<u8>().add(skipped) };
        Some(Mapping { mapped, mapped_bytes, start })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Asks for such pages in a range of bytes that begins with a huge page. That it is refused is no harm.
    pub(super) fn advise(&self, range: std::ops::Range<usize>, pages: Pages) {
        #[cfg(target_os = "linux")]
        {
            let advice = match pages {
                Pages::Huge => libc::MADV_HUGEPAGE,
                Pages::Small => libc::MADV_NOHUGEPAGE,
            };
            // SAFETY: the range lies in the mapping; the advice changes how it is backed, not what it holds.
            unsafe { libc::madvise(self.start.add(range.start).cast(), range.len(), advice) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (range, pages);
    }
}

#[cfg(unix)]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this size, and not used after.
        unsafe { libc::munmap(self.mapped, self.mapped_bytes) };
    }
}

// SAFETY: it owns its elements as a `Box<[T]>` does, and plain numbers can be sent and shared.
unsafe impl<T: Plain> Send for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Memory<T> {}

impl<T: Plain> Memory<T> {
    /// `length` zeros, of which perhaps only the first are ever used.
    ///
    /// # Errors
    /// If the memory cannot be had; `what` is it for.
    pub(super) fn zeroed(length: usize, what: &'static str) -> Result<Memory<T>, ComputeError> {
        Memory::zeroed_for(Use::Growing, length, what)
    }

    /// `length` zeros, to be used as `usage` says.
    ///
    /// # Errors
    /// As [`Memory::zeroed`].
    pub(super) fn zeroed_for(usage: Use, length: usize, what: &'static str) -> Result<Memory<T>, ComputeError> {
        let size_bytes = length.saturating_mul(size_of::<T>());
        let (backing, start) =
            Backing::zeroed(size_bytes, usage).ok_or(ComputeError::Memory { what, needed_bytes: size_bytes })?;
        debug_assert!(start.addr().is_multiple_of(ALIGNMENT), "memory of kernels begins a cache line");
        Ok(Memory { start: start.cast(), length, _backing: backing })
    }
}

impl<T: Plain> std::ops::Deref for Memory<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `length` elements were allocated, and any bytes are valid elements.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl<T: Plain> std::ops::DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

/// Numbers that are not written any more: in memory of our own, or in bytes that lie elsewhere and are only read.
pub(super) enum Lasting<T: Plain> {
    Own(Memory<T>),
    Elsewhere(WeightBytes),
}

impl<T: Plain> Lasting<T> {
    /// The numbers that these bytes are; `None` if they are not so many, or do not begin a cache line.
    pub(super) fn elsewhere(bytes: WeightBytes, length: usize) -> Option<Lasting<T>> {
        let found = (*bytes).as_ref();
        let fits = Some(found.len()) == length.checked_mul(size_of::<T>());
        (fits && found.as_ptr().addr().is_multiple_of(ALIGNMENT)).then_some(Lasting::Elsewhere(bytes))
    }

    /// The same as bytes, in the order of this machine.
    pub(super) fn bytes(&self) -> &[u8] {
        let numbers: &[T] = self;
        // SAFETY: plain numbers have no padding, and any bytes are valid ones.
        unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
    }
}

impl<T: Plain> std::ops::Deref for Lasting<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Lasting::Own(memory) => memory,
            // SAFETY: any bytes are valid elements. Bytes that moved since they were looked at give fewer, or none.
            Lasting::Elsewhere(bytes) => unsafe { (**bytes).as_ref().align_to::<T>().1 },
        }
    }
}

/// How many rows ahead what is written row by row is asked for, where rows lie too far apart for the processor to foresee.
pub(super) const ROWS_AHEAD: usize = 12;

/// A slice whose disjoint parts are written by several threads at once.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever asks for a part promises that no other thread has it.
unsafe impl<T: Send> Send for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Borrows the slice for as long as its parts are used.
    pub(super) fn new(slice: &'a mut [T]) -> Parts<'a, T> {
        Parts { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// The part of `length` elements from `start` on.
    ///
    /// # Safety
    /// While it lives no overlapping part may exist.
    #[allow(clippy::mut_from_ref)] // This is what the type is for.
    pub(super) unsafe fn part(&self, start: usize, length: usize) -> &'a mut [T] {
        assert!(start <= self.length && length <= self.length - start, "a part outside its slice");
        // SAFETY: within the borrowed slice; disjointness is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }

    /// Asks for the cache line of element `index`, to be written. There need not be such an element.
    pub(super) fn ask_for(&self, index: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            // SAFETY: a prefetch reads nothing and faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(self.start.wrapping_add(index).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = index;
    }

    /// The element at `index`.
    ///
    /// # Safety
    /// As for [`Parts::part`].
    #[allow(clippy::mut_from_ref)] // This is what the type is for.
    pub(super) unsafe fn element(&self, index: usize) -> &'a mut T {
        // SAFETY: the caller's promise.
        let part = unsafe { self.part(index, 1) };
        &mut part[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_writable() {
        for size_bytes in [0, 4, 400, MAPPED_BYTES, HUGE_PAGE_BYTES - 4, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + 4] {
            for usage in [Use::Whole, Use::Growing] {
                let mut memory = Memory::<f32>::zeroed_for(usage, size_bytes / 4, "a test").expect("memory");
                assert!(memory.len() == size_bytes / 4 && memory.iter().all(|value| *value == 0.0));
                assert!(memory.as_ptr().addr().is_multiple_of(ALIGNMENT));
                memory.fill(1.0);
                assert_eq!(memory.iter().sum::<f32>(), (size_bytes / 4) as f32);
            }
        }
    }

    #[test]
    fn bytes_elsewhere_are_numbers_if_they_fit() {
        let mut own = Memory::<f32>::zeroed(40, "a test").expect("memory");
        own.iter_mut().enumerate().for_each(|(index, value)| *value = index as f32);
        let own = std::sync::Arc::new(Lasting::Own(own));
        struct Part(std::sync::Arc<Lasting<f32>>, std::ops::Range<usize>);
        impl AsRef<[u8]> for Part {
            fn as_ref(&self) -> &[u8] {
                &self.0.bytes()[self.1.clone()]
            }
        }
        let part = |range| std::sync::Arc::new(Part(own.clone(), range)) as WeightBytes;
        let lasting = Lasting::<f32>::elsewhere(part(64..128), 16).expect("16 numbers in a cache line");
        assert_eq!(lasting[..], own[16..32]);
        assert_eq!(lasting.bytes(), &own.bytes()[64..128]);
        // Another length, half a number, and what begins within a line.
        assert!(Lasting::<f32>::elsewhere(part(64..128), 15).is_none());
        assert!(Lasting::<f32>::elsewhere(part(64..126), 16).is_none());
        assert!(Lasting::<f32>::elsewhere(part(32..96), 16).is_none());
        assert!(Lasting::<f32>::elsewhere(part(0..0), usize::MAX).is_none());
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let error = Memory::<f32>::zeroed(usize::MAX / 8, "a test").err().expect("no machine has this");
        assert!(error.to_string().contains("a test"), "{error}");
    }
}
