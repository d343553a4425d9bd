//! Computed prompts on disk: pages of keys and values, found again by what they were computed from.
//!
//! ```text
//! prompt-cache/ab/cdef...0123.page     named by its prefix: SHA-256 of the prefix before it and 16 more tokens
//! ```
//!
//! The first prefix is of the model's weights, the way it is computed, the program's version and the user, so a page is
//! found by nobody for whom it is not right. Several processes may use one folder: files are written under a name of
//! their own, moved into place whole, and never changed. Nothing is flushed: a file that a power cut left half written
//! does not have its checksum, and is computed anew. The file system's times are the order in which pages go when the
//! quota is full.
//!
//! Pages are written by a thread of their own, which is given no more than [`IN_FLIGHT_BYTES_MAX`] at a time.

mod archive;
mod page_file;
mod quota;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use lair_engine::PrefixKey;

pub use archive::{ModelArchive, Origin};
use quota::Quota;

/// Bytes of pages that wait to be written.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// A folder of pages, shared by all models of a server.
#[derive(Debug)]
pub struct PromptCache {
    folder: PathBuf,
    in_flight: Arc<InFlight>,
    pages: Mutex<Option<Sender<NewPage>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What is on its way to the disk.
#[derive(Debug, Default)]
struct InFlight {
    size_bytes: AtomicUsize,
    keys: Mutex<HashSet<PrefixKey>>,
    /// The disk took no more; said once.
    has_failed: AtomicBool,
}

struct NewPage {
    key: PrefixKey,
    page_index: usize,
    bytes: Vec<u8>,
}

impl InFlight {
    fn keys(&self) -> MutexGuard<'_, HashSet<PrefixKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PromptCache {
    /// Opens a folder, made where it is missing, that may take so many bytes.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn open(folder: &Path, quota_bytes: u64) -> io::Result<PromptCache> {
        page_file::make_private_folder(folder)?;
        // What cannot be written is said now, not at the first prompt.
        drop(tempfile::tempfile_in(folder)?);
        let in_flight = Arc::new(InFlight::default());
        let (pages, receiver) = channel();
        let (of_writer, quota) = (Arc::clone(&in_flight), Quota::new(folder, quota_bytes));
        let folder = folder.to_owned();
        let writer = {
            let folder = folder.clone();
            let write = move || write_pages(&folder, quota, &receiver, &of_writer);
            std::thread::Builder::new().name("prompt cache".to_owned()).spawn(write)?
        };
        Ok(PromptCache { folder, in_flight, pages: Mutex::new(Some(pages)), writer: Mutex::new(Some(writer)) })
    }

    /// Takes no more pages; returns when those that were taken are written.
    pub fn finish(&self) {
        drop(self.pages.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // Pages that a panic lost are computed again.
            let _ = writer.join();
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.size_bytes.load(Ordering::Acquire) < IN_FLIGHT_BYTES_MAX
    }

    fn keep(&self, key: PrefixKey, page_index: usize, bytes: &[u8]) {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pages) = pages.as_ref() else { return };
        if self.in_flight.keys().insert(key) {
            self.in_flight.size_bytes.fetch_add(bytes.len(), Ordering::AcqRel);
            // Without its thread nothing is kept, which harms nobody.
            let _ = pages.send(NewPage { key, page_index, bytes: bytes.to_owned() });
        }
    }
}

impl Drop for PromptCache {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The thread that writes.
fn write_pages(folder: &Path, mut quota: Quota, pages: &Receiver<NewPage>, in_flight: &InFlight) {
    quota.look();
    for NewPage { key, page_index, bytes } in pages {
        match page_file::write(folder, key, page_index, &bytes) {
            Ok(written_bytes) => quota.note_written(written_bytes),
            Err(error) => {
                if !in_flight.has_failed.swap(true, Ordering::AcqRel) {
                    eprintln!("warning: the prompt cache {} takes no more: {error}", folder.display());
                }
            }
        }
        in_flight.keys().remove(&key);
        in_flight.size_bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
