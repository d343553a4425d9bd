//! A file of weights in another layout: opened and mapped as model files are, read by the parser of its layout.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::error::GgufError;
use crate::file::MapMode;
use crate::mapping::Mapping;

/// The bytes of one file, mapped read-only. Cheap to clone; all clones share them.
///
/// What holds for the mapping of a model holds here: pages are read when they are touched, and a file that shrinks
/// meanwhile gives zeros on Linux, which [`MappedFile::check_unchanged`] tells.
#[derive(Clone, Debug)]
pub struct MappedFile {
    pub(crate) mapping: Arc<Mapping>,
}

impl MappedFile {
    /// Opens and maps `path`.
    ///
    /// # Errors
    /// [`GgufError::Io`] if it cannot be opened or mapped, or is no regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<MappedFile, GgufError> {
        Ok(MappedFile { mapping: Arc::new(Mapping::open(path.as_ref(), MapMode::Mapped)?) })
    }

    /// Its path, as it was opened.
    pub fn path(&self) -> &Path {
        self.mapping.path()
    }

    /// Checks that the file has the length it had and that nothing was read past its end.
    ///
    /// # Errors
    /// [`GgufError::ChangedInUse`].
    pub fn check_unchanged(&self) -> Result<(), GgufError> {
        self.mapping.check_unchanged()
    }

    /// Gives pages that are in memory back to the system; they are read again when they are needed.
    pub fn release_pages(&self) {
        self.mapping.release_pages();
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.mapping.bytes()
    }
}
