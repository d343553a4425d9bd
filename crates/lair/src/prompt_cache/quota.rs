//! How much of the disk pages take: counted as they are written, looked at where that is not enough.
//!
//! Other processes write and remove in the same folder, so the count is only where to look next. What goes is what was
//! not used for longest.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::page_file::{PAGE_SUFFIX, PARTIAL_SUFFIX};

/// How full the folder is after old pages went, so that not every new page has it looked through.
const FILLED_AFTER: f64 = 0.9;
/// The folder is looked through at least after so many parts of the quota were written.
const LOOKS_A_QUOTA: u64 = 8;
/// A file that was being written and has not changed for so long belongs to a process that is gone.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(3600);

/// The bytes that pages may take.
pub(super) struct Quota {
    folder: PathBuf,
    size_bytes_max: u64,
    /// As far as is known.
    size_bytes: u64,
    written_since_look: u64,
}

struct Found {
    path: PathBuf,
    size_bytes: u64,
    used: SystemTime,
}

impl Quota {
    pub(super) fn new(folder: &Path, size_bytes_max: u64) -> Quota {
        Quota { folder: folder.to_owned(), size_bytes_max, size_bytes: 0, written_since_look: 0 }
    }

    /// Notes a page that was written.
    pub(super) fn note_written(&mut self, written_bytes: u64) {
        self.size_bytes += written_bytes;
        self.written_since_look += written_bytes;
        let is_due = self.written_since_look > self.size_bytes_max / LOOKS_A_QUOTA;
        if is_due || self.size_bytes > self.size_bytes_max {
            self.look();
        }
    }

    /// Counts what is there, and removes what is too much.
    pub(super) fn look(&mut self) {
        let mut found = self.found();
        self.written_since_look = 0;
        self.size_bytes = found.iter().map(|page| page.size_bytes).sum();
        if self.size_bytes <= self.size_bytes_max {
            return;
        }
        found.sort_by_key(|page| page.used);
        let wanted = (self.size_bytes_max as f64 * FILLED_AFTER) as u64;
        for page in found {
            if self.size_bytes <= wanted {
                return;
            }
            // Another process may have been faster: it is gone either way.
            let _ = fs::remove_file(&page.path);
            self.size_bytes -= page.size_bytes;
        }
    }

    fn found(&self) -> Vec<Found> {
        let mut found = Vec::new();
        let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        for place in entries(&self.folder).filter(|place| is_place(&place.file_name().to_string_lossy())) {
            for entry in entries(&place.path()) {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let Ok(metadata) = entry.metadata() else { continue };
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let age = used.elapsed().unwrap_or_default();
                if name.ends_with(PARTIAL_SUFFIX) && age > PARTIAL_AGE_MAX {
                    let _ = fs::remove_file(entry.path());
                } else if name.ends_with(PAGE_SUFFIX) {
                    found.push(Found { path: entry.path(), size_bytes: metadata.len(), used });
                }
            }
        }
        found
    }
}

/// Folders of pages have two hexadecimal digits as their name; what else lies there is somebody else's.
fn is_place(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
