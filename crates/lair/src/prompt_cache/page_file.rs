//! The file of a page.
//!
//! ```text
//! LAIRPAGE | version u32 | bytes of the page u64 | key [32] | the page | SHA-256 of all before [32]
//! ```
//!
//! Numbers are little-endian. A file is as long as its header says, or it is none.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lair_engine::PrefixKey;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"LAIRPAGE";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 8 + 32;
const CHECKSUM_BYTES: usize = 32;
/// A page counts as used this much earlier than the one before it, so that of a prefix the end goes first, without which
/// the beginning is still of use. More than writing a page takes, or the end of a prompt would seem the newer one.
const AGE_STEP: Duration = Duration::from_millis(20);
/// Temporary files of this process have names of their own.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The ending of pages' names.
pub(super) const PAGE_SUFFIX: &str = ".page";
/// The ending of files that are being written.
pub(super) const PARTIAL_SUFFIX: &str = ".partial";

/// Makes a folder that only this user can read, and those above it.
pub(super) fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Where the page that ends this prefix lies.
pub(super) fn path(folder: &Path, key: PrefixKey) -> PathBuf {
    let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let (first, rest) = name.split_at(2);
    folder.join(first).join(format!("{rest}{PAGE_SUFFIX}"))
}

/// Writes a page; returns the bytes of its file.
pub(super) fn write(folder: &Path, key: PrefixKey, page_index: usize, page: &[u8]) -> io::Result<u64> {
    let to = path(folder, key);
    let place = to.parent().unwrap_or(folder);
    make_private_folder(place)?;
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let partial = place.join(format!("{}-{number}{PARTIAL_SUFFIX}", std::process::id()));
    let written = write_partial(&partial, key, page_index, page).and_then(|()| std::fs::rename(&partial, &to));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.map(|()| file_bytes(page.len()))
}

fn write_partial(partial: &Path, key: PrefixKey, page_index: usize, page: &[u8]) -> io::Result<()> {
    let header = header(key, page.len());
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(partial)?;
    file.write_all(&header)?;
    file.write_all(page)?;
    file.write_all(&checksum(&header, page))?;
    note_use(&file, page_index)
}

/// Reads a page of the right size; `false` if there is none, or not exactly this one.
pub(super) fn read(folder: &Path, key: PrefixKey, page_index: usize, page: &mut [u8]) -> bool {
    let path = path(folder, key);
    let Ok(mut file) = File::open(&path) else { return false };
    match read_checked(&mut file, key, page) {
        Ok(true) => {
            // A folder that cannot be written still serves.
            let _ = note_use(&file, page_index);
            true
        }
        Ok(false) => {
            // It would be looked at in vain each time, and keep its place from a good one.
            let _ = std::fs::remove_file(&path);
            false
        }
        Err(_) => false,
    }
}

fn read_checked(file: &mut File, key: PrefixKey, page: &mut [u8]) -> io::Result<bool> {
    if file.metadata()?.len() != file_bytes(page.len()) {
        return Ok(false);
    }
    let mut found = [0; HEADER_BYTES];
    file.read_exact(&mut found)?;
    let header = header(key, page.len());
    if found != header {
        return Ok(false);
    }
    file.read_exact(page)?;
    let mut found = [0; CHECKSUM_BYTES];
    file.read_exact(&mut found)?;
    Ok(found == checksum(&header, page))
}

/// Whether a page is there, and as old as a page that was not used for long. If so it is noted as used.
pub(super) fn touch(folder: &Path, key: PrefixKey, page_index: usize, unused_max: Duration) -> bool {
    let path = path(folder, key);
    let Ok(metadata) = std::fs::metadata(&path) else { return false };
    let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
    if age > unused_max
        && let Ok(file) = OpenOptions::new().append(true).open(&path)
    {
        let _ = note_use(&file, page_index);
    }
    true
}

fn note_use(file: &File, page_index: usize) -> io::Result<()> {
    let depth = u32::try_from(page_index).unwrap_or(u32::MAX);
    let time = SystemTime::now().checked_sub(AGE_STEP.saturating_mul(depth)).unwrap_or(SystemTime::UNIX_EPOCH);
    file.set_modified(time)
}

fn header(key: PrefixKey, page_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&(page_bytes as u64).to_le_bytes());
    header[20..].copy_from_slice(&key.0);
    header
}

fn checksum(header: &[u8], page: &[u8]) -> [u8; CHECKSUM_BYTES] {
    Sha256::new().chain_update(header).chain_update(page).finalize().into()
}

fn file_bytes(page_bytes: usize) -> u64 {
    (HEADER_BYTES + page_bytes + CHECKSUM_BYTES) as u64
}
