//! The file of a model's packed weights.
//!
//! ```text
//! LAIRPACK | version u32 | 0 u32 | length u64: all but the checksums | bytes of the table u64 | identity [32]
//! table    JSON: the files that were packed, and of each part its name, where it begins behind the table, and its length
//! parts    each begins at a multiple of 64 bytes of the file; zeros between
//! checksums  CRC-32 of each 4 MiB of all before
//! ```
//!
//! Numbers are little-endian. A file is as long as its header says, or it is none. Checksums are of pieces so that threads can
//! check them side by side; they are checked once, when the file is opened, which also brings it into memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use lair_compute::WeightBytes;
use lair_gguf::MappedFile;
use serde_json::{Value, json};

const MAGIC: &[u8; 8] = b"LAIRPACK";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Where parts begin: at a cache line.
const ALIGNMENT: u64 = 64;
/// Bytes that share a checksum.
const PIECE_BYTES: usize = 4 << 20;
/// No table is longer: 20,000 tensors with long names take 4 MiB.
const TABLE_BYTES_MAX: u64 = 256 << 20;

/// What is written.
pub(super) struct Contents {
    pub(super) identity: [u8; 32],
    pub(super) sources: Vec<PathBuf>,
    pub(super) parts: Vec<(String, WeightBytes)>,
}

impl Contents {
    /// The table, and where each part begins behind the beginning of the parts; then where they end.
    fn table(&self) -> (Vec<u8>, Vec<u64>, u64) {
        let (mut starts, mut end) = (Vec::new(), 0u64);
        for (_, bytes) in &self.parts {
            let start = end.next_multiple_of(ALIGNMENT);
            starts.push(start);
            end = start + (**bytes).as_ref().len() as u64;
        }
        let parts = self.parts.iter().zip(&starts);
        let parts = parts.map(|((name, bytes), start)| json!([name, start, (**bytes).as_ref().len()]));
        let sources = self.sources.iter().map(|path| path.to_string_lossy());
        let table = json!({
            "program": env!("CARGO_PKG_VERSION"),
            "sources": sources.collect::<Vec<_>>(),
            "parts": parts.collect::<Vec<_>>(),
        });
        (table.to_string().into_bytes(), starts, end)
    }

    /// Bytes of the whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        let (table, _, parts_bytes) = self.table();
        let length = parts_start(table.len() as u64) + parts_bytes;
        length + 4 * length.div_ceil(PIECE_BYTES as u64)
    }

    /// Writes a new file.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let (table, starts, parts_bytes) = self.table();
        let first = parts_start(table.len() as u64);
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&(first + parts_bytes).to_le_bytes());
        header[24..32].copy_from_slice(&(table.len() as u64).to_le_bytes());
        header[32..].copy_from_slice(&self.identity);
        let mut out =
            Pieces { file: File::create_new(path)?, piece: Vec::with_capacity(PIECE_BYTES), checksums: Vec::new() };
        out.add(&header)?;
        out.add(&table)?;
        let mut place = (HEADER_BYTES + table.len()) as u64;
        for ((_, bytes), start) in self.parts.iter().zip(starts) {
            let gap = first + start - place;
            out.add(&[0; ALIGNMENT as usize][..gap as usize])?;
            out.add((**bytes).as_ref())?;
            place = first + start + (**bytes).as_ref().len() as u64;
        }
        if self.parts.is_empty() {
            out.add(&[0; ALIGNMENT as usize][..(first - place) as usize])?;
        }
        out.finish()
    }
}

/// Where parts begin behind a table of so many bytes.
fn parts_start(table_bytes: u64) -> u64 {
    (HEADER_BYTES as u64 + table_bytes).next_multiple_of(ALIGNMENT)
}

/// Writes pieces with their checksums behind all of them.
struct Pieces {
    file: File,
    piece: Vec<u8>,
    checksums: Vec<u8>,
}

impl Pieces {
    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE_BYTES {
                self.end_piece()?;
            }
        }
        Ok(())
    }

    fn end_piece(&mut self) -> io::Result<()> {
        self.checksums.extend_from_slice(&crc32fast::hash(&self.piece).to_le_bytes());
        self.file.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.end_piece()?;
        }
        self.file.write_all(&self.checksums)
    }
}

/// What a header says.
struct Header {
    length: u64,
    table_bytes: u64,
    identity: [u8; 32],
}

impl Header {
    /// `None` if these are not the first bytes of a file of `file_bytes` bytes that this program writes.
    fn read(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Option<Header> {
        let number = |range: Range<usize>| bytes[range].try_into().ok().map(u64::from_le_bytes);
        let (length, table_bytes) = (number(16..24)?, number(24..32)?);
        let is_ours = bytes[..8] == *MAGIC && bytes[8..12] == VERSION.to_le_bytes() && bytes[12..16] == [0; 4];
        let checksum_bytes = 4 * length.div_ceil(PIECE_BYTES as u64);
        let is_whole = length.checked_add(checksum_bytes) == Some(file_bytes);
        let has_table = table_bytes <= TABLE_BYTES_MAX && parts_start(table_bytes) <= length;
        let identity = bytes[32..].try_into().ok()?;
        (is_ours && is_whole && has_table).then_some(Header { length, table_bytes, identity })
    }
}

/// Packed weights that were found.
pub(super) struct KeptWeights {
    file: MappedFile,
    parts: HashMap<String, Range<usize>>,
}

/// A part of a mapped file.
struct MappedPart {
    file: MappedFile,
    range: Range<usize>,
}

impl AsRef<[u8]> for MappedPart {
    fn as_ref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

impl KeptWeights {
    /// Maps a file and checks all of it by so many threads; `None` if there is no file.
    ///
    /// # Errors
    /// If it cannot be read, or is not exactly what was written for this identity.
    pub(super) fn open(path: &Path, identity: [u8; 32], threads: usize) -> io::Result<Option<KeptWeights>> {
        if !path.try_exists()? {
            return Ok(None);
        }
        let file = MappedFile::open(path).map_err(io::Error::other)?;
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let header = file.first_chunk().and_then(|header| Header::read(header, file.len() as u64));
        let header = header.ok_or_else(|| wrong("it has no header of a file of packed weights that is as long"))?;
        if header.identity != identity {
            return Err(wrong("it is of other weights than its name says"));
        }
        let (length, table_end) = (header.length as usize, HEADER_BYTES + header.table_bytes as usize);
        if !are_pieces_right(&file[..length], &file[length..], threads) {
            return Err(wrong("its checksums are not those of its contents"));
        }
        file.check_unchanged().map_err(io::Error::other)?;
        let first = parts_start(header.table_bytes) as usize;
        let parts = parts_of(&file[HEADER_BYTES..table_end], first..length);
        let parts = parts.ok_or_else(|| wrong("its table names parts that are not in it"))?;
        // A folder that cannot be written still serves.
        let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(KeptWeights { file, parts }))
    }

    /// The bytes of a part.
    pub(super) fn part(&self, name: &str) -> Option<WeightBytes> {
        let range = self.parts.get(name)?.clone();
        Some(Arc::new(MappedPart { file: self.file.clone(), range }))
    }

    /// All parts in the order in which they lie.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, WeightBytes)> {
        let mut parts: Vec<_> = self.parts.iter().collect();
        parts.sort_by_key(|(_, range)| range.start);
        parts.into_iter().map(|(name, range)| {
            let part = MappedPart { file: self.file.clone(), range: range.clone() };
            (name.as_str(), Arc::new(part) as WeightBytes)
        })
    }

    /// Why the bytes are not what they were any more, if so.
    pub(super) fn damage(&self) -> Option<String> {
        self.file.check_unchanged().err().map(|error| error.to_string())
    }
}

/// Whether pieces have these checksums.
fn are_pieces_right(bytes: &[u8], checksums: &[u8], threads: usize) -> bool {
    let pieces: Vec<(&[u8], &[u8])> = bytes.chunks(PIECE_BYTES).zip(checksums.chunks(4)).collect();
    let (next, is_wrong) = (AtomicUsize::new(0), AtomicBool::new(false));
    let check = || {
        while let Some((piece, checksum)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if crc32fast::hash(piece).to_le_bytes() != **checksum {
                is_wrong.store(true, Ordering::Relaxed);
            }
            if is_wrong.load(Ordering::Relaxed) {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(pieces.len()) {
            scope.spawn(check);
        }
        check();
    });
    !is_wrong.into_inner()
}

/// Names and places of parts, all within `range`.
fn parts_of(table: &[u8], range: Range<usize>) -> Option<HashMap<String, Range<usize>>> {
    let table: Value = serde_json::from_slice(table).ok()?;
    let part = |part: &Value| {
        let number = |index: usize| part[index].as_u64().and_then(|number| usize::try_from(number).ok());
        let start = range.start.checked_add(number(1)?)?;
        let end = start.checked_add(number(2)?)?;
        (end <= range.end).then_some((part[0].as_str()?.to_owned(), start..end))
    };
    table["parts"].as_array()?.iter().map(part).collect()
}

/// The files that were packed into this one; `None` if it is no file that this program writes.
///
/// # Errors
/// If it cannot be read.
pub(super) fn sources(path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    let mut file = File::open(path)?;
    let mut header = [0; HEADER_BYTES];
    let file_bytes = file.metadata()?.len();
    if file_bytes < HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact(&mut header)?;
    let Some(header) = Header::read(&header, file_bytes) else { return Ok(None) };
    let mut table = vec![0; header.table_bytes as usize];
    file.read_exact(&mut table)?;
    let Ok(table) = serde_json::from_slice::<Value>(&table) else { return Ok(None) };
    let source = |path: &Value| path.as_str().map(PathBuf::from);
    Ok(table["sources"].as_array().and_then(|sources| sources.iter().map(source).collect()))
}
