//! The note a store keeps for each name: which blob it is and where that came from.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::catalogue::Entry;
use crate::digest::Digest;
use crate::partial::sync_folder_of;

/// No honest manifest is longer.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// `manifests/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the catalogue entry.
    pub name: String,
    /// The blob.
    pub digest: Digest,
    /// Length of the blob.
    pub size_bytes: u64,
    /// What the source that completed it calls itself.
    pub source: String,
    /// When it was complete, in seconds since 1970.
    pub fetched_at_s: u64,
}

impl Manifest {
    pub(crate) fn new(entry: &Entry, source: &str) -> Manifest {
        let fetched_at_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Manifest {
            name: entry.name.clone(),
            digest: entry.digest,
            size_bytes: entry.size_bytes,
            source: source.to_string(),
            fetched_at_s,
        }
    }

    /// Replaces the file at `path`; a crash leaves the old or the new one, whole.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("json.new");
        let mut file = File::create(&beside)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder_of(path)
    }

    /// Reads the file at `path`, or nothing if there is none.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Manifest>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(serde_json::from_reader(file.take(MANIFEST_BYTES_MAX))?))
    }
}
