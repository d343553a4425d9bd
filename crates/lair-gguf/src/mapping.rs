//! The bytes of one file: mapped, or copied into memory of our own.
#![allow(unsafe_code)] // Mapping a file is unsafe: others can change it. See `Mapping::map`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::GgufError;
use crate::file::MapMode;

/// The bytes of one file, for as long as anyone uses them. Never written to.
#[derive(Debug)]
pub(crate) struct Mapping {
    path: PathBuf,
    /// Kept open to ask for its length; nobody asks once the bytes are copied.
    mapped_file: Option<File>,
    length: usize,
    /// Declared before `bytes`, so dropped before the addresses are given back.
    #[cfg(target_os = "linux")]
    guard: Option<crate::sigbus::Guard>,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Empty,
    Mapped(memmap2::Mmap),
}

impl Mapping {
    /// Opens `path` for reading and maps or copies it, whole.
    pub(crate) fn open(path: &Path, mode: MapMode) -> Result<Mapping, GgufError> {
        let failed = |action| move |source| GgufError::Io { action, path: path.to_owned(), source };
        let regular = |metadata: std::fs::Metadata| {
            let is_regular = metadata.is_file();
            is_regular
                .then_some(metadata)
                .ok_or_else(|| std::io::Error::new(ErrorKind::InvalidInput, "not a regular file"))
        };
        // Asked before it is opened too: a pipe would be waited for until somebody writes into it.
        std::fs::metadata(path).and_then(regular).map_err(failed("open"))?;
        let file = File::open(path).map_err(failed("open"))?;
        let metadata = file.metadata().and_then(regular).map_err(failed("open"))?;
        let length = usize::try_from(metadata.len()).map_err(|_| {
            failed("map")(std::io::Error::new(ErrorKind::FileTooLarge, "larger than the address space"))
        })?;
        let bytes = match mode {
            _ if length == 0 => Bytes::Empty,
            MapMode::Mapped => Bytes::Mapped(map(&file, length).map_err(failed("map"))?),
            MapMode::Copied => Bytes::Mapped(copy(&file, length).map_err(failed("read"))?),
        };
        #[cfg(target_os = "linux")]
        let guard = match (&bytes, mode) {
            (Bytes::Mapped(map), MapMode::Mapped) => Some(crate::sigbus::Guard::new(map).map_err(failed("map"))?),
            _ => None,
        };
        let mapping = Mapping {
            path: path.to_owned(),
            mapped_file: (mode == MapMode::Mapped).then_some(file),
            length,
            #[cfg(target_os = "linux")]
            guard,
            bytes,
        };
        mapping.check_unchanged()?;
        Ok(mapping)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Empty => &[],
            Bytes::Mapped(map) => map,
        }
    }

    /// Checks that a mapped file still has the length it had, and that no read fell past its end meanwhile.
    pub(crate) fn check_unchanged(&self) -> Result<(), GgufError> {
        let Some(file) = &self.mapped_file else { return Ok(()) };
        let now = match file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(source) => return Err(GgufError::Io { action: "read", path: self.path.clone(), source }),
        };
        if now != self.length as u64 || self.was_damaged() {
            let (expected, found) = (self.length as u64, now);
            return Err(GgufError::ChangedInUse { path: self.path.clone(), expected, found });
        }
        Ok(())
    }

    /// Gives the mapped pages back to the system; whoever reads them again gets them from the file again.
    pub(crate) fn release_pages(&self) {
        #[cfg(unix)]
        if let (Bytes::Mapped(map), Some(_)) = (&self.bytes, &self.mapped_file) {
            // SAFETY: the mapping is of a file and is never written to, so a dropped page comes back with the same
            // bytes. Copied files have no `mapped_file` and are left alone: their pages would come back as zeros.
            let released = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            // Only advice: if the system does not take it, the pages stay.
            drop(released);
        }
    }

    /// True if a read of a mapped page failed and zeros were put in its place.
    pub(crate) fn was_damaged(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.guard.as_ref().is_some_and(crate::sigbus::Guard::was_damaged);
        #[cfg(not(target_os = "linux"))]
        false
    }
}

fn map(file: &File, length: usize) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the file must not change while it is mapped. Rust cannot enforce that against other programs; model
    // files are immutable by convention and the mapping is read-only. Should one change nevertheless, its bytes are
    // only ever read as numbers, each bounded where it is used; what must stay what it was checked to be (text,
    // shapes, offsets) is copied out first. A file that shrinks is dealt with in `sigbus`.
    unsafe { memmap2::MmapOptions::new().len(length).map(file) }
}

/// Copies into anonymous memory, which begins at a page, so that tensors are aligned as when mapped.
fn copy(mut file: &File, length: usize) -> std::io::Result<memmap2::Mmap> {
    let mut memory = memmap2::MmapMut::map_anon(length)?;
    file.read_exact(&mut memory)?;
    memory.make_read_only()
}
