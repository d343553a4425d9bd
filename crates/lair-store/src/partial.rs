//! A blob on its way: appended, hashed and counted, and given its final name only when it is what it should be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::SourceError;
use crate::progress::Progress;

/// The first bytes of every model file.
const GGUF_MAGIC: &[u8] = b"GGUF";
/// Large enough that a system call costs nothing beside the hash, small enough to stay in the cache.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// The file `blobs/sha256-<hex>.partial`, open for appending.
pub struct Partial<'p> {
    file: File,
    path: PathBuf,
    /// Has seen exactly the first `length` bytes.
    hasher: Sha256,
    length: u64,
    size_bytes: u64,
    /// How far the progress has been told, which runs ahead of `length` while a package client downloads.
    reported: u64,
    progress: &'p mut dyn Progress,
}

/// A point that a [`Partial`] can be taken back to.
pub(crate) struct Mark {
    hasher: Sha256,
    length: u64,
}

impl<'p> Partial<'p> {
    /// Opens or creates the file at `path` for a blob of `size_bytes` and hashes what it already holds.
    pub(crate) fn open(path: &Path, size_bytes: u64, progress: &'p mut dyn Progress) -> io::Result<Partial<'p>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut partial_length = file.metadata()?.len();
        if partial_length > size_bytes {
            file.set_len(0)?;
            partial_length = 0;
        }
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut length = 0;
        while length < partial_length {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            hasher.update(&chunk[..count]);
            length += count as u64;
        }
        Ok(Partial { file, path: path.to_path_buf(), hasher, length, size_bytes, reported: 0, progress })
    }

    /// How many bytes are here: a source continues from this one.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Length of the whole blob.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes still to come.
    pub fn missing_bytes(&self) -> u64 {
        self.size_bytes - self.length
    }

    /// Tells the progress that `source` takes over.
    pub(crate) fn begin(&mut self, source: &str) {
        self.progress.started(self.size_bytes, source);
        self.reported = 0;
        self.reach(self.length);
    }

    /// Tells the progress that the work has come to `position` bytes of the blob. Going back is not told.
    pub fn reach(&mut self, position: u64) {
        let position = position.min(self.size_bytes);
        if position > self.reported {
            self.progress.advanced(position - self.reported);
            self.reported = position;
        }
    }

    /// Tells the user something.
    pub fn note(&mut self, text: &str) {
        self.progress.note(text);
    }

    /// Writes `bytes` at the end.
    ///
    /// # Errors
    /// Refuses what can never become the blob: another magic, or more bytes than it has.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        if bytes.len() as u64 > self.missing_bytes() {
            return Err(SourceError::WrongSize { found: self.length + bytes.len() as u64, expected: self.size_bytes });
        }
        let magic_seen = self.length.min(GGUF_MAGIC.len() as u64) as usize;
        if !bytes.iter().zip(&GGUF_MAGIC[magic_seen..]).all(|(found, expected)| found == expected) {
            return Err(SourceError::NotGguf { found: bytes[..bytes.len().min(16)].to_vec() });
        }
        self.file.write_all(bytes).map_err(SourceError::write(&self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.reach(self.length);
        Ok(())
    }

    /// Forgets all bytes.
    pub fn restart(&mut self) -> Result<(), SourceError> {
        self.rewind(Mark { hasher: Sha256::new(), length: 0 })
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { hasher: self.hasher.clone(), length: self.length }
    }

    pub(crate) fn rewind(&mut self, mark: Mark) -> Result<(), SourceError> {
        self.file.set_len(mark.length).map_err(SourceError::write(&self.path))?;
        self.file.seek(SeekFrom::Start(mark.length)).map_err(SourceError::write(&self.path))?;
        self.hasher = mark.hasher;
        self.length = mark.length;
        Ok(())
    }

    /// Whether all bytes are here and hash to `expected`.
    pub(crate) fn check(&self, expected: &Digest) -> Result<(), SourceError> {
        if self.length != self.size_bytes {
            return Err(SourceError::WrongSize { found: self.length, expected: self.size_bytes });
        }
        let found = Digest::from_hasher(self.hasher.clone());
        if found != *expected {
            return Err(SourceError::WrongDigest { found, expected: *expected });
        }
        Ok(())
    }

    /// Brings the bytes to the disk, then gives the file its final name; a crash leaves one or the other, whole.
    ///
    /// The caller has [`check`](Partial::check)ed it.
    pub(crate) fn commit(self, blob: &Path) -> io::Result<()> {
        assert_eq!(self.length, self.size_bytes, "only a complete and checked blob is committed");
        self.file.sync_all()?;
        drop(self.file);
        fs::rename(&self.path, blob)?;
        sync_folder_of(blob)?;
        self.progress.finished();
        Ok(())
    }
}

/// Makes the renaming of `path` itself durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    // Only Unix lets a folder be opened for this; elsewhere the file system orders it.
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    const BLOB: &[u8] = b"GGUF and then some bytes";

    fn in_folder(check: impl FnOnce(&Path)) {
        let folder = tempfile::tempdir().expect("a folder");
        check(&folder.path().join("x.partial"));
    }

    #[test]
    fn continues_with_the_hash_of_what_is_there() {
        in_folder(|path| {
            for (from, to) in [(0, 2), (2, 3), (3, 10), (10, BLOB.len())] {
                let mut silent = Silent;
                let mut partial = Partial::open(path, BLOB.len() as u64, &mut silent).expect("opens");
                assert_eq!(partial.length(), from as u64);
                assert!(partial.check(&Digest::of(BLOB)).is_err());
                partial.append(&BLOB[from..to]).expect("appends");
            }
            let mut silent = Silent;
            let partial = Partial::open(path, BLOB.len() as u64, &mut silent).expect("opens");
            partial.check(&Digest::of(BLOB)).expect("is whole");
            let blob = path.with_file_name("blob");
            partial.commit(&blob).expect("commits");
            assert_eq!(fs::read(&blob).expect("reads"), BLOB);
            assert!(!path.exists());
        });
    }

    #[test]
    fn goes_back_to_a_mark() {
        in_folder(|path| {
            let mut silent = Silent;
            let mut partial = Partial::open(path, BLOB.len() as u64, &mut silent).expect("opens");
            partial.append(&BLOB[..6]).expect("appends");
            let mark = partial.mark();
            partial.append(b"wrong").expect("appends");
            partial.rewind(mark).expect("goes back");
            partial.append(&BLOB[6..]).expect("appends");
            partial.check(&Digest::of(BLOB)).expect("is whole");
            assert_eq!(fs::read(path).expect("reads"), BLOB);
        });
    }

    #[test]
    fn refuses_what_can_never_become_the_blob() {
        in_folder(|path| {
            let mut silent = Silent;
            let mut partial = Partial::open(path, 8, &mut silent).expect("opens");
            assert!(matches!(partial.append(b"<html>"), Err(SourceError::NotGguf { .. })));
            partial.append(b"GG").expect("half a magic");
            assert!(matches!(partial.append(b"UX"), Err(SourceError::NotGguf { .. })));
            partial.append(b"UF").expect("the other half");
            assert!(matches!(partial.append(b"12345"), Err(SourceError::WrongSize { found: 9, expected: 8 })));
            assert_eq!(partial.length(), 4);
        });
    }

    #[test]
    fn forgets_a_file_that_is_longer_than_the_blob() {
        in_folder(|path| {
            fs::write(path, b"GGUF far too long").expect("writes");
            let mut silent = Silent;
            let partial = Partial::open(path, 8, &mut silent).expect("opens");
            assert_eq!(partial.length(), 0);
            assert_eq!(fs::metadata(path).expect("exists").len(), 0);
        });
    }
}
