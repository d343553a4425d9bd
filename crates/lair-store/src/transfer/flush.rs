//! Bringing bytes to the disk while more arrive, so that little is left to wait for at the end.
//!
//! Arithmetic: a system keeps written bytes in memory for half a minute or up to a tenth of it. A disk of 500 MB/s then
//! needs 2 s for a file of 1 GB that came in 2 s, one after the other; side by side it is 2 s in all.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

use super::connection::lock;
use crate::file_system::StoreFile;

/// Between two of these lies one; large enough that asking the disk costs nothing beside writing.
const FLUSH_BYTES: u64 = 64 << 20;

/// What the one who counts bytes and the one who flushes share.
#[derive(Default)]
pub(crate) struct Flush {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Written and not yet asked to be on the disk.
    waiting_bytes: u64,
    is_over: bool,
}

impl Flush {
    /// So many bytes more are written.
    pub(crate) fn add(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.waiting_bytes += bytes;
        if state.waiting_bytes >= FLUSH_BYTES {
            self.changed.notify_one();
        }
    }

    /// No more come. What is left is synced by whoever completes the blob.
    pub(crate) fn end(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_one();
    }

    /// Waits until there is enough to flush. Returns false when nothing more comes.
    fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        while state.waiting_bytes < FLUSH_BYTES && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting_bytes = 0;
        !state.is_over
    }
}

/// Syncs the file whenever enough is written, until that ends.
pub(crate) fn flush_early(file: &dyn StoreFile, flush: &Flush) -> io::Result<()> {
    while flush.wait() {
        file.sync()?;
    }
    Ok(())
}
