//! Keeps the process alive when a mapped file shrinks under it.
//!
//! Reading a mapped page that lies past the new end of its file raises SIGBUS, which ends the process. While a
//! mapping is guarded, the handler here puts a page of zeros in that place and marks the mapping as damaged: the
//! reader goes on with zeros and learns of it from [`Guard::was_damaged`]. A SIGBUS anywhere else goes to whoever
//! handled it before.
#![allow(unsafe_code)] // Signal handlers and their system calls.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Guards one mapping until it is dropped. Must be dropped before the mapping is.
#[derive(Debug)]
pub(crate) struct Guard {
    slot: &'static Slot,
}

/// A guarded range of addresses. Slots are never freed, only used again, so the handler can walk them at any time.
#[derive(Debug)]
struct Slot {
    /// Odd while the range is being changed; a handler that saw two different numbers has read a mixture.
    generation: AtomicUsize,
    start: AtomicUsize,
    /// 0 while the slot is free.
    length: AtomicUsize,
    is_taken: AtomicBool,
    is_damaged: AtomicBool,
    next: *const Slot,
}

// SAFETY: `next` is written once, before the slot is published, and points to a slot that is never freed.
unsafe impl Sync for Slot {}

/// The newest slot; each knows the one before it.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
/// Bytes a page, set before the handler is installed.
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
/// Who handled SIGBUS before.
static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::uninit()));

struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written once by `install`, before the handler that reads it is installed.
unsafe impl Sync for Previous {}

impl Guard {
    /// Guards the addresses of `bytes`, a mapping of a file.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Guard> {
        static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
        INSTALLED.get_or_init(install).map_err(io::Error::from_raw_os_error)?;
        let slot = free_slot().unwrap_or_else(new_slot);
        slot.is_damaged.store(false, Ordering::SeqCst);
        slot.set_range(bytes.as_ptr() as usize, bytes.len());
        Ok(Guard { slot })
    }

    /// True if a page of the mapping could not be read and was replaced by zeros.
    pub(crate) fn was_damaged(&self) -> bool {
        self.slot.is_damaged.load(Ordering::SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.slot.set_range(0, 0);
        self.slot.is_taken.store(false, Ordering::SeqCst);
    }
}

impl Slot {
    fn set_range(&self, start: usize, length: usize) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.start.store(start, Ordering::SeqCst);
        self.length.store(length, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// True if `address` lies in the range. A range that is being changed contains nothing: its mapping is not in
    /// use yet, or no longer.
    fn contains(&self, address: usize) -> bool {
        let before = self.generation.load(Ordering::SeqCst);
        let start = self.start.load(Ordering::SeqCst);
        let length = self.length.load(Ordering::SeqCst);
        let is_settled = before.is_multiple_of(2) && before == self.generation.load(Ordering::SeqCst);
        is_settled && address.checked_sub(start).is_some_and(|distance| distance < length)
    }
}

/// The slots, newest first.
fn slots() -> impl Iterator<Item = &'static Slot> {
    let mut next: *const Slot = SLOTS.load(Ordering::SeqCst);
    std::iter::from_fn(move || {
        // SAFETY: null, or a slot published by `new_slot`, which is never freed.
        let slot = unsafe { next.as_ref() }?;
        next = slot.next;
        Some(slot)
    })
}

fn free_slot() -> Option<&'static Slot> {
    slots().find(|slot| slot.is_taken.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok())
}

fn new_slot() -> &'static Slot {
    let slot = Box::leak(Box::new(Slot {
        generation: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        is_taken: AtomicBool::new(true),
        is_damaged: AtomicBool::new(false),
        next: ptr::null(),
    }));
    let mut head = SLOTS.load(Ordering::SeqCst);
    loop {
        slot.next = head;
        match SLOTS.compare_exchange(head, slot, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return slot,
            Err(now) => head = now,
        }
    }
}

/// Installs the handler for the whole process; gives the system's error number if it cannot.
fn install() -> Result<(), i32> {
    let failed = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    // SAFETY: asks the system for a number.
    let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE_SIZE.store(usize::try_from(page_size).map_err(|_| failed())?, Ordering::SeqCst);
    // SAFETY: `sigaction` is a plain C structure for which zeros are a valid value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    // On the alternate stack if the thread has one, as the handlers of Rust's runtime.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // The old action is fetched first: the new handler may run, and read it, at once.
    // SAFETY: no handler of ours is installed yet, so nobody else uses `PREVIOUS`; it has room for one `sigaction`.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), PREVIOUS.0.get().cast()) } != 0 {
        return Err(failed());
    }
    // SAFETY: `action` is complete, and `handle` only does what a handler may do.
    match unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(failed()),
    }
}

/// Runs on the thread that read the bad page. Only loads and stores of atomics and system calls: no locks, no memory.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives a valid `info` for a handler with SA_SIGINFO; SIGBUS carries an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code == libc::BUS_ADRERR
        && let Some(slot) = slots().find(|slot| slot.contains(address))
        && replace_page(address)
    {
        slot.is_damaged.store(true, Ordering::SeqCst);
        return;
    }
    pass_on(signal, info, context);
}

/// Puts a page of zeros where `address` lies.
fn replace_page(address: usize) -> bool {
    let page_size = PAGE_SIZE.load(Ordering::SeqCst);
    let page = address - address % page_size;
    // SAFETY: the page lies in a mapping of ours, which is read-only and in use by the thread that faulted, so it is
    // mapped; replacing it by zeros changes no bytes that could be read (they could not). `errno` is put back, since
    // the interrupted code may be about to look at it.
    unsafe {
        let errno = *libc::__errno_location();
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapped = libc::mmap(page as *mut libc::c_void, page_size, libc::PROT_READ, flags, -1, 0);
        *libc::__errno_location() = errno;
        mapped != libc::MAP_FAILED
    }
}

/// A fault that is none of ours: what would have happened without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: `install` filled it before it installed the handler that calls this.
    let previous = unsafe { (*PREVIOUS.0.get()).assume_init_ref() };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // Back to what was: the faulting instruction runs again and ends the process as it should.
            // SAFETY: `previous` is a complete `sigaction` that the system gave us.
            unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the address is that of a function with these three arguments.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the address is that of a function with one argument.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
