//! Memory of kernels: aligned, zeroed, huge pages where it is large; and slices that threads write disjoint parts of.
#![allow(unsafe_code)] // Aligned allocation, and parts of one slice lent to several threads.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;

use crate::ComputeError;

/// A cache line, and the width of the widest vector.
const ALIGNMENT: usize = 64;
/// Allocations of at least this are aligned to it and offered to the kernel as huge pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

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

/// A zeroed slice on the heap, aligned to a cache line.
pub(super) struct Memory<T: Plain> {
    start: *mut T,
    length: usize,
    layout: Layout,
}

// SAFETY: it owns its elements as a `Box<[T]>` does, and plain numbers can be sent and shared.
unsafe impl<T: Plain> Send for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Memory<T> {}

impl<T: Plain> Memory<T> {
    /// `length` zeros.
    ///
    /// # Errors
    /// If the memory cannot be had; `what` is it for.
    pub(super) fn zeroed(length: usize, what: &'static str) -> Result<Memory<T>, ComputeError> {
        let size_bytes = length.checked_mul(size_of::<T>()).unwrap_or(usize::MAX);
        let failed = || ComputeError::Memory { what, needed_bytes: size_bytes };
        let alignment = if size_bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { ALIGNMENT };
        let layout = Layout::from_size_align(size_bytes.max(ALIGNMENT), alignment).map_err(|_| failed())?;
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            return Err(failed());
        }
        #[cfg(target_os = "linux")]
        if size_bytes >= HUGE_PAGE_BYTES {
            // SAFETY: the range was just allocated; the advice changes how it is backed, not what it holds. That it is
            // refused is no harm.
            unsafe { libc::madvise(start.cast(), size_bytes, libc::MADV_HUGEPAGE) };
        }
        Ok(Memory { start: start.cast(), length, layout })
    }
}

impl<T: Plain> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not used after.
        unsafe { dealloc(self.start.cast(), self.layout) };
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
