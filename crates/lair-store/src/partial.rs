//! A blob on its way: written, hashed and counted, and given its final name only when it is what it should be.
//!
//! Bytes come in order from a source that knows only one way ([`Partial::append`]), or out of order over several
//! connections ([`crate::transfer`]). In order, the length of the file says how far it is and a kill costs nothing. Out
//! of order, a [`Journal`](crate::transfer::journal) beside it says which pieces are there.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::file_system::{FileSystem, OpenHow, StoreFile};
use crate::piece_sums::keep_sums;
use crate::progress::Progress;
use crate::sources::SourceError;
use crate::transfer::expected::BlobHasher;
use crate::transfer::journal::{Journal, Pieces};
use crate::transfer::{Expected, Places};

/// The first bytes of every model file.
const GGUF_MAGIC: &[u8] = b"GGUF";
/// Large enough that a system call costs nothing beside the hash, small enough to stay in the cache.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// The file of a blob that is not complete.
pub struct Partial<'p> {
    pub(crate) file_system: &'p dyn FileSystem,
    file: Box<dyn StoreFile>,
    path: PathBuf,
    journal_path: PathBuf,
    pub(crate) expected: Expected,
    /// What is written, hashed or not.
    pub(crate) pieces: Pieces,
    has_journal: bool,
    /// Has seen exactly the first `length` bytes.
    hasher: BlobHasher,
    length: u64,
    /// Has seen the bytes of the last piece that is not whole, up to `length`.
    tail: crc32fast::Hasher,
    /// How many bytes the progress has been told of, which runs ahead of `length` while a package client downloads.
    reported: u64,
    progress: &'p mut dyn Progress,
}

/// A point that a [`Partial`] can be taken back to.
pub(crate) struct Mark {
    hasher: BlobHasher,
    length: u64,
    tail: crc32fast::Hasher,
}

impl<'p> Partial<'p> {
    /// Opens or creates the file of a blob and hashes what it already holds, as far as it has no gap.
    pub(crate) fn open(
        file_system: &'p dyn FileSystem,
        places: &Places,
        expected: Expected,
        piece_bytes: u64,
        progress: &'p mut dyn Progress,
    ) -> io::Result<Partial<'p>> {
        let identity = expected.identity();
        let is_there = file_system.exists(&places.partial);
        let file = file_system.open(&places.partial, OpenHow::UpdateOrCreate)?;
        let recorded = Pieces::load(file_system, &places.journal, expected.size_bytes, &identity);
        let has_journal = is_there && recorded.is_some();
        if !has_journal {
            remove(file_system, &places.journal)?;
        }
        let mut partial = Partial {
            file_system,
            file,
            path: places.partial.clone(),
            journal_path: places.journal.clone(),
            expected,
            pieces: recorded
                .filter(|_| has_journal)
                .unwrap_or_else(|| Pieces::new(piece_bytes, expected.size_bytes, identity)),
            has_journal,
            hasher: BlobHasher::new(&expected),
            length: 0,
            tail: crc32fast::Hasher::new(),
            reported: 0,
            progress,
        };
        if has_journal {
            partial.hash_recorded()?
        } else {
            partial.hash_prefix()?
        };
        Ok(partial)
    }

    /// Without a journal, the file has no gap.
    fn hash_prefix(&mut self) -> io::Result<()> {
        let size_bytes = self.file.size_bytes()?;
        if size_bytes > self.expected.size_bytes {
            return self.file.set_size(0);
        }
        let mut chunk = vec![0; CHUNK_BYTES.min(size_bytes as usize)];
        while self.length < size_bytes {
            match self.file.read_at(self.length, &mut chunk)? {
                0 => break,
                count => self.absorb(&chunk[..count]),
            }
        }
        Ok(())
    }

    /// Takes the next `bytes` of the blob, which are written, into the hash.
    pub(crate) fn absorb(&mut self, mut bytes: &[u8]) {
        self.hasher.update(bytes);
        while !bytes.is_empty() {
            let index = self.pieces.index_of(self.length);
            let end = self.pieces.range(index).end;
            let (of_piece, rest) = bytes.split_at(bytes.len().min((end - self.length) as usize));
            self.tail.update(of_piece);
            self.length += of_piece.len() as u64;
            if self.length == end {
                let crc = std::mem::take(&mut self.tail).finalize();
                self.pieces.crcs[index] = Some(crc);
            }
            bytes = rest;
        }
    }

    /// Hashes pieces that are recorded as written, from where the hash ends to the next gap. A piece that is not what
    /// its record says is missing from then on.
    pub(crate) fn hash_recorded(&mut self) -> io::Result<()> {
        while self.length < self.expected.size_bytes {
            let index = self.pieces.index_of(self.length);
            let range = self.pieces.range(index);
            let Some(crc) = self.pieces.crcs[index] else { break };
            let before = self.mark();
            self.pieces.crcs[index] = None;
            let mut chunk = vec![0; CHUNK_BYTES.min((range.end - self.length) as usize)];
            while self.length < range.end {
                let wanted = chunk.len().min((range.end - self.length) as usize);
                match self.file.read_at(self.length, &mut chunk[..wanted])? {
                    0 => break,
                    count => self.absorb(&chunk[..count]),
                }
            }
            if self.pieces.crcs[index] != Some(crc) {
                self.go_back(before);
                self.pieces.crcs[index] = None;
                break;
            }
        }
        Ok(())
    }

    /// How many bytes are here without a gap: a source that knows only one way continues from this one.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Length of the whole blob.
    pub fn size_bytes(&self) -> u64 {
        self.expected.size_bytes
    }

    /// Bytes still to come for a source that knows only one way.
    pub fn missing_bytes(&self) -> u64 {
        self.expected.size_bytes - self.length
    }

    /// Bytes that are here, with gaps between them.
    pub(crate) fn present_bytes(&self) -> u64 {
        let first = self.length.div_ceil(self.pieces.piece_bytes) as usize;
        let beyond = self.pieces.crcs.iter().enumerate().skip(first).filter(|(_, crc)| crc.is_some());
        let beyond: u64 = beyond.map(|(index, _)| self.pieces.range(index)).map(|range| range.end - range.start).sum();
        self.length + beyond
    }

    /// Tells the progress that `source` takes over.
    pub(crate) fn begin(&mut self, source: &str) {
        self.progress.started(self.expected.size_bytes, source);
        self.reported = 0;
        self.count(self.present_bytes());
    }

    /// Tells the progress that the work has come to `position` bytes of the blob. Going back is not told.
    pub fn reach(&mut self, position: u64) {
        self.count(position.min(self.expected.size_bytes).saturating_sub(self.reported));
    }

    /// Tells the progress that so many bytes more are here.
    pub(crate) fn count(&mut self, bytes: u64) {
        let bytes = bytes.min(self.expected.size_bytes - self.reported);
        if bytes > 0 {
            self.progress.advanced(bytes);
            self.reported += bytes;
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
            let found = self.length + bytes.len() as u64;
            return Err(SourceError::WrongSize { found, expected: self.expected.size_bytes });
        }
        self.check_bytes(self.length, bytes)?;
        self.leave_journal()?;
        self.file.write_at(self.length, bytes).map_err(SourceError::write(&self.path))?;
        self.absorb(bytes);
        self.reach(self.length);
        Ok(())
    }

    /// Refuses bytes at `offset` that no model file has there, and all bytes once nobody waits for them.
    pub(crate) fn check_bytes(&self, offset: u64, bytes: &[u8]) -> Result<(), SourceError> {
        if self.progress.is_given_up() {
            return Err(SourceError::GivenUp);
        }
        let seen = offset.min(GGUF_MAGIC.len() as u64) as usize;
        let is_possible = bytes.iter().zip(&GGUF_MAGIC[seen..]).all(|(found, expected)| found == expected);
        if self.expected.is_gguf && !is_possible {
            return Err(SourceError::NotGguf { found: bytes[..bytes.len().min(16)].to_vec() });
        }
        Ok(())
    }

    /// From now on bytes come in order: what lies beyond a gap is given up.
    fn leave_journal(&mut self) -> Result<(), SourceError> {
        if self.has_journal {
            // In this order: a journal that promises bytes beyond the end is noticed, a gap without one is not.
            self.file.set_size(self.length).map_err(SourceError::write(&self.path))?;
            remove(self.file_system, &self.journal_path).map_err(SourceError::write(&self.journal_path))?;
            self.has_journal = false;
            self.forget_pieces_from(self.length);
        }
        Ok(())
    }

    /// From now on bytes come out of order: a file for those who write them, the journal, and the checksum of the
    /// piece that is begun.
    pub(crate) fn enter_journal(&mut self) -> Result<(Box<dyn StoreFile>, Journal, crc32fast::Hasher), SourceError> {
        let journal = Journal::create(self.file_system, &self.journal_path, &self.pieces);
        let journal = journal.map_err(SourceError::write(&self.journal_path))?;
        self.has_journal = true;
        let file = self.file_system.open(&self.path, OpenHow::Update).map_err(SourceError::write(&self.path))?;
        Ok((file, journal, self.tail.clone()))
    }

    fn forget_pieces_from(&mut self, length: u64) {
        let is_whole = length == self.expected.size_bytes;
        let first = if is_whole { self.pieces.crcs.len() } else { self.pieces.index_of(length) };
        self.pieces.crcs[first..].fill(None);
    }

    /// Forgets all bytes.
    pub fn restart(&mut self) -> Result<(), SourceError> {
        let hasher = BlobHasher::new(&self.expected);
        self.rewind(Mark { hasher, length: 0, tail: crc32fast::Hasher::new() })
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { hasher: self.hasher.clone(), length: self.length, tail: self.tail.clone() }
    }

    fn go_back(&mut self, mark: Mark) {
        self.hasher = mark.hasher;
        self.length = mark.length;
        self.tail = mark.tail;
    }

    pub(crate) fn rewind(&mut self, mark: Mark) -> Result<(), SourceError> {
        self.go_back(mark);
        self.forget_pieces_from(self.length);
        self.leave_journal()?;
        self.file.set_size(self.length).map_err(SourceError::write(&self.path))
    }

    /// Reads bytes that were written out of order.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        self.file.read_at(offset, buffer).map_err(SourceError::write(&self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether all bytes are here and hash to what is expected; their sha256, where that was computed.
    pub(crate) fn check(&self) -> Result<Option<Digest>, SourceError> {
        if self.length != self.expected.size_bytes {
            return Err(SourceError::WrongSize { found: self.length, expected: self.expected.size_bytes });
        }
        self.hasher.clone().check(&self.expected.check)
    }

    /// Brings the bytes to the disk, then gives the file its final name; a crash leaves one or the other, whole.
    ///
    /// The caller has [`check`](Partial::check)ed it.
    pub(crate) fn commit(self, places: &Places) -> io::Result<()> {
        assert_eq!(self.length, self.expected.size_bytes, "only a complete and checked blob is committed");
        self.file.sync()?;
        drop(self.file);
        if let Some(path) = &places.checksums {
            keep_sums(self.file_system, path, &self.pieces);
        }
        // Before the renaming: a whole partial without a journal is taken for what it is, a stale journal is litter.
        remove(self.file_system, &self.journal_path)?;
        self.file_system.rename(&self.path, &places.target)?;
        self.file_system.sync_folder(places.target.parent().unwrap_or(Path::new(".")))?;
        self.progress.finished();
        Ok(())
    }
}

/// Removes a blob on its way and its journal. What cannot be removed is emptied, at least.
pub(crate) fn discard(file_system: &dyn FileSystem, places: &Places) {
    if remove(file_system, &places.partial).is_err()
        && let Ok(mut file) = file_system.open(&places.partial, OpenHow::Update)
    {
        let _ = file.set_size(0);
    }
    // Without its file a journal is litter that the next run removes.
    let _ = remove(file_system, &places.journal);
}

/// Removes a file that need not exist.
pub(crate) fn remove(file_system: &dyn FileSystem, path: &Path) -> io::Result<()> {
    match file_system.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::RealFileSystem;
    use crate::progress::Silent;
    use std::fs;

    const BLOB: &[u8] = b"GGUF and then some bytes";
    const PIECE_BYTES: u64 = 5;

    fn expected(size_bytes: usize) -> Expected {
        Expected { is_gguf: true, ..Expected::sha256(Digest::of(BLOB), size_bytes as u64) }
    }

    fn in_folder(check: impl FnOnce(&Places)) {
        let folder = tempfile::tempdir().expect("a folder");
        check(&Places::beside(&folder.path().join("blob")));
    }

    fn with<T>(places: &Places, size_bytes: usize, check: impl FnOnce(Partial<'_>) -> T) -> T {
        let mut silent = Silent;
        check(Partial::open(&RealFileSystem, places, expected(size_bytes), PIECE_BYTES, &mut silent).expect("opens"))
    }

    #[test]
    fn continues_with_the_hash_of_what_is_there() {
        in_folder(|places| {
            for (from, to) in [(0, 2), (2, 3), (3, 10), (10, BLOB.len())] {
                with(places, BLOB.len(), |mut partial| {
                    assert_eq!(partial.length(), from as u64);
                    assert!(partial.check().is_err());
                    partial.append(&BLOB[from..to]).expect("appends");
                });
            }
            with(places, BLOB.len(), |partial| {
                partial.check().expect("is whole");
                partial.commit(places).expect("commits");
            });
            assert_eq!(fs::read(&places.target).expect("reads"), BLOB);
            assert!(!places.partial.exists());
        });
    }

    #[test]
    fn continues_pieces_that_came_out_of_order() {
        in_folder(|places| {
            with(places, BLOB.len(), |mut partial| {
                let (file, mut journal, _) = partial.enter_journal().expect("a journal");
                for index in [2, 1] {
                    let range = index * PIECE_BYTES as usize..(index + 1) * PIECE_BYTES as usize;
                    file.write_at(range.start as u64, &BLOB[range.clone()]).expect("writes");
                    journal.append(index, crc32fast::hash(&BLOB[range])).expect("appends");
                }
            });
            with(places, BLOB.len(), |mut partial| {
                assert_eq!((partial.length(), partial.present_bytes()), (0, 10));
                assert_eq!(partial.pieces.missing(100), [0..5, 15..24]);
                let (file, mut journal, _) = partial.enter_journal().expect("a journal");
                file.write_at(0, &BLOB[..5]).expect("writes");
                journal.append(0, crc32fast::hash(&BLOB[..5])).expect("appends");
                // One of them did not survive on the disk.
                file.write_at(11, b"?").expect("writes");
            });
            with(places, BLOB.len(), |mut partial| {
                assert_eq!(partial.length(), 10);
                assert!(partial.pieces.missing(100).into_iter().eq(std::iter::once(10..24)));
                // One way from here: the journal is left.
                partial.append(&BLOB[10..]).expect("appends");
                partial.check().expect("is whole");
                assert!(!places.journal.exists());
            });
        });
    }

    #[test]
    fn goes_back_to_a_mark() {
        in_folder(|places| {
            with(places, BLOB.len(), |mut partial| {
                partial.append(&BLOB[..6]).expect("appends");
                let mark = partial.mark();
                partial.append(b"wrong").expect("appends");
                partial.rewind(mark).expect("goes back");
                partial.append(&BLOB[6..]).expect("appends");
                partial.check().expect("is whole");
            });
            assert_eq!(fs::read(&places.partial).expect("reads"), BLOB);
        });
    }

    #[test]
    fn refuses_what_can_never_become_the_blob() {
        in_folder(|places| {
            with(places, 8, |mut partial| {
                assert!(matches!(partial.append(b"<html>"), Err(SourceError::NotGguf { .. })));
                partial.append(b"GG").expect("half a magic");
                assert!(matches!(partial.append(b"UX"), Err(SourceError::NotGguf { .. })));
                partial.append(b"UF").expect("the other half");
                assert!(matches!(partial.append(b"12345"), Err(SourceError::WrongSize { found: 9, expected: 8 })));
                assert_eq!(partial.length(), 4);
            });
        });
    }

    #[test]
    fn forgets_a_file_that_is_longer_than_the_blob() {
        in_folder(|places| {
            fs::write(&places.partial, b"GGUF far too long").expect("writes");
            with(places, 8, |partial| assert_eq!(partial.length(), 0));
            assert_eq!(fs::metadata(&places.partial).expect("exists").len(), 0);
        });
    }
}
