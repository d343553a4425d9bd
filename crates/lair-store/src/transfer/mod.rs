//! Bringing the bytes of one blob: in parallel where the server knows ranges, hashed on the way, continued after a kill,
//! and under its final name only when it is what it should be.
//!
//! ```text
//! connections (1 to 8)      each takes a part (32 MiB), asks for that range, writes and checksums pieces (4 MiB)
//!        | chunks, bounded queue     (where the first brings 200 MiB/s it stays alone, and
//!        |                             asks for many parts at once)
//! the caller's thread       hashes chunks in the order of the blob, tells the progress
//!        |                  (what is ahead of the hash waits in memory, up to a limit, then is read back)
//! journal                   a record for each whole piece: a kill costs at most one piece a connection, one part in all
//! ```
//!
//! Arithmetic: sha256 with the processor's instructions does about 2 GB/s on one core, a connection over loopback about
//! the same, so hashing stands beside receiving on another thread and costs no time. The checksum of pieces (crc32)
//! is ten times as fast. Nothing is read twice except what arrives more than [`HELD_BYTES_MAX`] ahead of the hash.
//!
//! [`HELD_BYTES_MAX`]: engine::HELD_BYTES_MAX

pub(crate) mod connection;
pub(crate) mod engine;
pub(crate) mod expected;
pub(crate) mod journal;
mod obtain;
pub(crate) mod pace;
mod repair;
mod settings;

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use expected::{Check, Expected};
pub(crate) use obtain::{Failed, obtain, with_margin};
pub use repair::BrokenRanges;
pub(crate) use repair::{RepairSource, repair};
pub use settings::{CONNECTIONS_MAX, TransferSettings};

use crate::sources::SourceError;

/// Where the files of one blob lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The blob, once it is complete.
    pub target: PathBuf,
    /// The bytes on their way.
    pub partial: PathBuf,
    /// Which of them are there, when they come out of order.
    pub journal: PathBuf,
    /// Checksums of all pieces, kept for a repair; nothing where they are not wanted.
    pub checksums: Option<PathBuf>,
}

impl Places {
    /// All beside `target`, without checksums.
    pub fn beside(target: &Path) -> Places {
        Places::new(target, &with_suffix(target, ".partial"))
    }

    /// The journal beside `partial`, without checksums.
    pub fn new(target: &Path, partial: &Path) -> Places {
        Places {
            target: target.to_path_buf(),
            partial: partial.to_path_buf(),
            journal: with_suffix(partial, ".journal"),
            checksums: None,
        }
    }
}

/// `path` with text behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    path.with_file_name(name)
}

/// Something that can be asked for any range of a blob.
pub(crate) trait RangeSource: Sync {
    /// What it is, in a few words for the user.
    fn label(&self) -> String;

    /// Asks for the bytes `range` of a blob of `size_bytes`; the answer may begin elsewhere.
    fn open(&self, range: &Range<u64>, size_bytes: u64) -> Result<Opened, SourceError>;
}

/// The bytes of an answer.
pub(crate) struct Opened {
    pub(crate) reader: Box<dyn Read + Send>,
    /// Whether they are those that were asked for; if not, they are all bytes of the blob from its beginning.
    pub(crate) is_range: bool,
}
