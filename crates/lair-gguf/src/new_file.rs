//! A file that appears under its name when it is complete, or never.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::GgufError;

/// A file being written beside its final place. Dropped unpublished, it is removed.
pub(crate) struct NewFile {
    path: PathBuf,
    out: BufWriter<tempfile::NamedTempFile>,
}

/// Few system calls for files of gigabytes.
const BUFFER_BYTES: usize = 1 << 20;

impl NewFile {
    pub(crate) fn create(path: &Path) -> Result<NewFile, GgufError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".lair-").suffix(".partial");
        #[cfg(unix)]
        {
            // What an ordinary new file gets; the user's mask is taken off by the system.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder(path)).map_err(|source| failed("create", path, source))?;
        Ok(NewFile { path: path.to_owned(), out: BufWriter::with_capacity(BUFFER_BYTES, file) })
    }

    /// Makes sure the bytes are on the disk and closes the file, which still lacks its name.
    pub(crate) fn finish(self) -> Result<FinishedFile, GgufError> {
        let NewFile { path, out } = self;
        let file = out.into_inner().map_err(|error| failed("write", &path, error.into_error()))?;
        file.as_file().sync_all().map_err(|source| failed("write", &path, source))?;
        Ok(FinishedFile { path, temporary: file.into_temp_path() })
    }
}

/// A complete file that waits for its name. Dropped unpublished, it is removed.
pub(crate) struct FinishedFile {
    path: PathBuf,
    temporary: tempfile::TempPath,
}

impl FinishedFile {
    /// Gives the file its name.
    pub(crate) fn publish(self) -> Result<(), GgufError> {
        let FinishedFile { path, temporary } = self;
        temporary.persist(&path).map_err(|error| failed("rename", &path, error.error))?;
        // The name too must survive a power cut. Folders can be synced on Unix only.
        #[cfg(unix)]
        std::fs::File::open(folder(&path))
            .and_then(|folder| folder.sync_all())
            .map_err(|source| failed("rename", &path, source))?;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> GgufError {
    GgufError::Io { action, path: path.to_owned(), source }
}
