//! Which pieces of a partial are on the disk, and what they must look like: the memory of a download that is fetched
//! out of order.
//!
//! ```text
//! header   "LAIRPIEC"  version u32  piece_bytes u64  size_bytes u64  identity [u8; 32]  crc32 of all that u32
//! records  piece index u32, crc32 of its bytes u32, crc32 of these eight bytes u32      in the order of arrival
//! ```
//!
//! All numbers are little-endian. A record is appended after the bytes of its piece are written. Neither is synced:
//! after a loss of power a record may stand for bytes that never reached the disk, so every piece is checked against
//! its record when it is hashed. When the blob is complete, the same format with all pieces is kept as the list of
//! checksums by which `lair verify --repair` finds the broken ones.

use std::io;
use std::path::{Path, PathBuf};

use crate::file_system::{FileSystem, OpenHow, StoreFile};

const MAGIC: &[u8; 8] = b"LAIRPIEC";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 32 + 4;
const RECORD_BYTES: usize = 12;
/// A journal of more pieces is not ours. See `TransferSettings::piece_bytes`; a piece may be written twice.
const PIECES_MAX: u64 = 1 << 22;

/// What is known about each piece of a blob: the crc32 of those that are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    pub(crate) piece_bytes: u64,
    pub(crate) size_bytes: u64,
    /// Says which blob this is about: its digest, or zeros where none is known.
    pub(crate) identity: [u8; 32],
    pub(crate) crcs: Vec<Option<u32>>,
}

impl Pieces {
    /// No piece is written.
    pub(crate) fn new(piece_bytes: u64, size_bytes: u64, identity: [u8; 32]) -> Pieces {
        let count = size_bytes.div_ceil(piece_bytes);
        assert!(count <= PIECES_MAX, "the settings choose pieces large enough");
        Pieces { piece_bytes, size_bytes, identity, crcs: vec![None; count as usize] }
    }

    /// Where a piece begins and ends.
    pub(crate) fn range(&self, index: usize) -> std::ops::Range<u64> {
        let start = index as u64 * self.piece_bytes;
        start..(start + self.piece_bytes).min(self.size_bytes)
    }

    /// The piece that holds this byte.
    pub(crate) fn index_of(&self, offset: u64) -> usize {
        (offset / self.piece_bytes) as usize
    }

    /// Runs of missing pieces, none longer than `bytes_max` but at least one piece.
    pub(crate) fn missing(&self, bytes_max: u64) -> Vec<std::ops::Range<u64>> {
        let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
        for (index, crc) in self.crcs.iter().enumerate() {
            if crc.is_some() {
                continue;
            }
            let range = self.range(index);
            match runs.last_mut() {
                Some(run) if run.end == range.start && range.end - run.start <= bytes_max => run.end = range.end,
                _ => runs.push(range),
            }
        }
        runs
    }

    fn header(&self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend(self.piece_bytes.to_le_bytes());
        header.extend(self.size_bytes.to_le_bytes());
        header.extend(self.identity);
        header.extend(crc32fast::hash(&header).to_le_bytes());
        header
    }

    /// As a file: the header, and a record for each piece that is written.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        for (index, crc) in self.crcs.iter().enumerate() {
            if let Some(crc) = crc {
                bytes.extend(record(index, *crc));
            }
        }
        bytes
    }

    /// Reads a file, or nothing if it is damaged or about another blob. Damaged records are left out.
    pub(crate) fn parse(bytes: &[u8], size_bytes: u64, identity: &[u8; 32]) -> Option<Pieces> {
        let (header, records) = bytes.split_at_checked(HEADER_BYTES)?;
        let number = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let piece_bytes = number(12)?;
        if piece_bytes == 0 || size_bytes.div_ceil(piece_bytes) > PIECES_MAX {
            return None;
        }
        let mut pieces = Pieces::new(piece_bytes, size_bytes, *identity);
        if header != pieces.header() {
            return None;
        }
        for bytes in records.chunks_exact(RECORD_BYTES) {
            let word = |at: usize| bytes[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            let (index, crc, check) = (word(0)? as usize, word(4)?, word(8)?);
            if crc32fast::hash(&bytes[..8]) == check
                && let Some(piece) = pieces.crcs.get_mut(index)
            {
                *piece = Some(crc);
            }
        }
        Some(pieces)
    }

    /// Reads the file at `path`, or nothing if there is none that fits.
    pub(crate) fn load(
        file_system: &dyn FileSystem,
        path: &Path,
        size_bytes: u64,
        identity: &[u8; 32],
    ) -> Option<Pieces> {
        let size_bytes_max = HEADER_BYTES as u64 + 2 * PIECES_MAX * RECORD_BYTES as u64;
        Pieces::parse(&file_system.read(path, size_bytes_max).ok()?, size_bytes, identity)
    }
}

fn record(index: usize, crc: u32) -> [u8; RECORD_BYTES] {
    let index = u32::try_from(index).expect("PIECES_MAX fits in 32 bits");
    let mut record = [0; RECORD_BYTES];
    record[..4].copy_from_slice(&index.to_le_bytes());
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    let check = crc32fast::hash(&record[..8]);
    record[8..].copy_from_slice(&check.to_le_bytes());
    record
}

/// The file, open for appending.
pub(crate) struct Journal {
    file: Box<dyn StoreFile>,
    path: PathBuf,
    end: u64,
}

impl Journal {
    /// Writes the file anew with what `pieces` says.
    pub(crate) fn create(file_system: &dyn FileSystem, path: &Path, pieces: &Pieces) -> io::Result<Journal> {
        let bytes = pieces.to_bytes();
        file_system.replace(path, &bytes)?;
        let file = file_system.open(path, OpenHow::Update)?;
        Ok(Journal { file, path: path.to_path_buf(), end: bytes.len() as u64 })
    }

    /// Says that a piece is written.
    pub(crate) fn append(&mut self, index: usize, crc: u32) -> io::Result<()> {
        self.file.write_at(self.end, &record(index, crc))?;
        self.end += RECORD_BYTES as u64;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::RealFileSystem;

    const IDENTITY: [u8; 32] = [7; 32];

    fn half() -> Pieces {
        let mut pieces = Pieces::new(10, 95, IDENTITY);
        for (index, crc) in [(0, 5), (3, 6), (4, 7), (9, 8)] {
            pieces.crcs[index] = Some(crc);
        }
        pieces
    }

    #[test]
    fn reads_what_it_writes_and_what_is_appended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let mut pieces = half();
        let mut journal = Journal::create(&RealFileSystem, &path, &pieces).expect("written");
        assert_eq!(Pieces::load(&RealFileSystem, &path, 95, &IDENTITY).as_ref(), Some(&pieces));
        journal.append(1, 99).expect("appended");
        pieces.crcs[1] = Some(99);
        assert_eq!(Pieces::load(&RealFileSystem, &path, 95, &IDENTITY), Some(pieces));
    }

    #[test]
    fn knows_what_is_missing() {
        assert_eq!(half().missing(1000), [10..30, 50..90]);
        assert_eq!(half().missing(20), [10..30, 50..70, 70..90]);
        assert_eq!(half().missing(1), [10..20, 20..30, 50..60, 60..70, 70..80, 80..90]);
        assert_eq!(half().range(9), 90..95);
    }

    #[test]
    fn every_damage_costs_records_and_never_invents_one() {
        let whole = half().to_bytes();
        for length in 0..whole.len() {
            match Pieces::parse(&whole[..length], 95, &IDENTITY) {
                None => assert!(length < HEADER_BYTES),
                Some(found) => {
                    assert_eq!(found.crcs.iter().flatten().count(), (length - HEADER_BYTES) / RECORD_BYTES);
                }
            }
        }
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] ^= 0x40;
            if let Some(found) = Pieces::parse(&bytes, 95, &IDENTITY) {
                assert!(position >= HEADER_BYTES);
                let same = found.crcs.iter().zip(&half().crcs).all(|(found, was)| found.is_none() || found == was);
                assert!(same && found.crcs.iter().flatten().count() == 3, "byte {position}");
            }
        }
        assert_eq!(Pieces::parse(&whole, 96, &IDENTITY), None);
        assert_eq!(Pieces::parse(&whole, 95, &[8; 32]), None);
        assert_eq!(Pieces::parse(&whole, u64::MAX, &IDENTITY), None);
    }
}
