//! The digest of a blob and, in the same pass, the checksums of its pieces, by which a repair finds the broken ones.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::file_system::FileSystem;
use crate::transfer::{Expected, TransferSettings, journal::Pieces};

/// Hashes bytes as they pass. The checksums (crc32, ten times as fast as sha256) cost next to nothing.
pub(crate) struct PieceSums {
    hasher: Sha256,
    piece_bytes: u64,
    /// Of the piece that is not whole.
    tail: crc32fast::Hasher,
    tail_bytes: u64,
    crcs: Vec<u32>,
    size_bytes: u64,
}

impl PieceSums {
    /// For a blob of about `size_bytes`: the length decides how large pieces are.
    pub(crate) fn new(size_bytes: u64) -> PieceSums {
        PieceSums {
            hasher: Sha256::new(),
            piece_bytes: TransferSettings::default().piece_bytes(size_bytes),
            tail: crc32fast::Hasher::new(),
            tail_bytes: 0,
            crcs: Vec::new(),
            size_bytes: 0,
        }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = (self.piece_bytes - self.tail_bytes).min(bytes.len() as u64) as usize;
            let (of_piece, rest) = bytes.split_at(room);
            self.tail.update(of_piece);
            self.tail_bytes += room as u64;
            if self.tail_bytes == self.piece_bytes {
                self.end_piece();
            }
            bytes = rest;
        }
    }

    fn end_piece(&mut self) {
        self.crcs.push(std::mem::take(&mut self.tail).finalize());
        self.tail_bytes = 0;
    }

    /// The digest of all bytes, and the checksums to keep for it.
    pub(crate) fn finish(mut self) -> (Digest, Pieces) {
        if self.tail_bytes > 0 {
            self.end_piece();
        }
        let digest = Digest::from_hasher(self.hasher);
        let identity = Expected::sha256(digest, self.size_bytes).identity();
        let crcs = self.crcs.into_iter().map(Some).collect();
        let pieces = Pieces { crcs, ..Pieces::new(self.piece_bytes, self.size_bytes, identity) };
        (digest, pieces)
    }
}

/// Keeps the checksums of a whole blob at `path`, if there is more than one. Not synced: each record checks itself, and
/// a list that could not be written or was lost costs the bytes of a whole blob when it is mended, never the blob.
pub(crate) fn keep_sums(file_system: &dyn FileSystem, path: &Path, pieces: &Pieces) {
    if pieces.crcs.len() > 1 {
        let _ = file_system.replace_unsynced(path, &pieces.to_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::RealFileSystem;

    const PIECE: usize = 4 << 20;

    #[test]
    fn agrees_with_hashing_each_piece_alone_however_the_bytes_come() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sums");
        let bytes: Vec<u8> = (0..2 * PIECE + 77).map(|index| (index * 7 / 5) as u8).collect();
        for chunk_bytes in [1 << 16, 999_983, PIECE, bytes.len()] {
            let mut sums = PieceSums::new(bytes.len() as u64);
            bytes.chunks(chunk_bytes).for_each(|chunk| sums.update(chunk));
            let (digest, kept) = sums.finish();
            assert_eq!(digest, Digest::of(&bytes));
            keep_sums(&RealFileSystem, &path, &kept);
            let found = Pieces::load(&RealFileSystem, &path, bytes.len() as u64, &digest.bytes()).expect("kept");
            let expected: Vec<_> = bytes.chunks(PIECE).map(|piece| Some(crc32fast::hash(piece))).collect();
            assert_eq!(found.crcs, expected, "{chunk_bytes}");
        }
    }

    #[test]
    fn a_blob_of_one_piece_has_no_list() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sums");
        for bytes in [&b""[..], b"few"] {
            let mut sums = PieceSums::new(bytes.len() as u64);
            sums.update(bytes);
            let (digest, kept) = sums.finish();
            assert_eq!(digest, Digest::of(bytes));
            keep_sums(&RealFileSystem, &path, &kept);
            assert!(!path.exists());
        }
    }
}
