//! Ctrl-C: stops the answer, not the program.

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_PRESSED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C is noted instead of ending the program.
pub fn catch() {
    // A second handler cannot be set; the first one does the same.
    let _ = ctrlc::set_handler(|| WAS_PRESSED.store(true, Ordering::Relaxed));
}

/// Whether Ctrl-C was pressed since the last [`forget`].
pub fn was_pressed() -> bool {
    WAS_PRESSED.load(Ordering::Relaxed)
}

/// Forgets an earlier Ctrl-C.
pub fn forget() {
    WAS_PRESSED.store(false, Ordering::Relaxed);
}
