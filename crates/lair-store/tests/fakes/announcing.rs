//! The file system of the machine, with a call before each operation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use lair_store::{FileFacts, FileSystem, FolderEntry, OpenHow, RealFileSystem, StoreFile};

/// Calls `tell` before each operation that opens, reads a name or changes one.
#[derive(Clone, Copy)]
pub struct Announcing {
    tell: fn(),
}

impl Announcing {
    /// What to call.
    pub fn new(tell: fn()) -> Announcing {
        Announcing { tell }
    }
}

impl fmt::Debug for Announcing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Announcing")
    }
}

macro_rules! announced {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $kind),*) -> $result {
            (self.tell)();
            RealFileSystem.$name($($argument),*)
        })*
    };
}

impl FileSystem for Announcing {
    announced! {
        facts(path: &Path) -> io::Result<FileFacts>;
        facts_of_link(path: &Path) -> io::Result<FileFacts>;
        read_folder(path: &Path) -> io::Result<Vec<FolderEntry>>;
        read_link(path: &Path) -> io::Result<PathBuf>;
        create_folder(path: &Path) -> io::Result<()>;
        rename(from: &Path, to: &Path) -> io::Result<()>;
        hard_link(from: &Path, to: &Path) -> io::Result<()>;
        clone_file(from: &Path, to: &Path) -> io::Result<()>;
        symbolic_link(target: &Path, link: &Path) -> io::Result<()>;
        remove_file(path: &Path) -> io::Result<()>;
        remove_folder(path: &Path) -> io::Result<()>;
        sync_folder(path: &Path) -> io::Result<()>;
        free_bytes(path: &Path) -> Option<u64>;
    }

    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn StoreFile>> {
        (self.tell)();
        Ok(Box::new(AnnouncingFile { tell: self.tell, file: RealFileSystem.open(path, how)? }))
    }
}

struct AnnouncingFile {
    tell: fn(),
    file: Box<dyn StoreFile>,
}

impl StoreFile for AnnouncingFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.tell)();
        self.file.write_at(offset, bytes)
    }

    fn set_size(&mut self, size_bytes: u64) -> io::Result<()> {
        (self.tell)();
        self.file.set_size(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        (self.tell)();
        self.file.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn lock(&self) -> io::Result<()> {
        self.file.lock()
    }
}
