//! What the store asks of a file system, as a seam: the program works on [`RealFileSystem`], tests on one that fails or
//! dies at a chosen operation, so that a seed replays a fault.
//!
//! Every function that changes something is one operation that a crash can come before or after, never between.
//! Only [`StoreFile::sync`] and [`FileSystem::sync_folder`] make a change survive a loss of power.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenHow {
    /// For reading; must exist.
    Read,
    /// For reading and writing; must exist.
    Update,
    /// For reading and writing; made if missing, kept as it is if not.
    UpdateOrCreate,
    /// For reading and writing; must not exist.
    CreateNew,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; only [`FileSystem::facts_of_link`] and [`FileSystem::read_folder`] tell.
    Link,
    /// A device, a pipe, a socket.
    Other,
}

/// What is known of a path without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes; 0 for what is no file.
    pub size_bytes: u64,
    /// When it was written last, where the system tells.
    pub modified: Option<SystemTime>,
    /// Which file it is, if the system can tell: equal for two names of the same bytes (device, index).
    pub identity: Option<(u64, u64)>,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// Full path.
    pub path: PathBuf,
    /// What it is; links are not followed.
    pub kind: FileKind,
}

/// The operations of a store on its disk.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Opens a file.
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn StoreFile>>;
    /// What is at `path`, links followed.
    fn facts(&self, path: &Path) -> io::Result<FileFacts>;
    /// What is at `path`, a link told as one.
    fn facts_of_link(&self, path: &Path) -> io::Result<FileFacts>;
    /// The names in a folder, sorted.
    fn read_folder(&self, path: &Path) -> io::Result<Vec<FolderEntry>>;
    /// Where a link points.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Makes a folder and those above it; none is an error if it is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name in the same file system.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a file `to` that shares the bytes of `from` until one of them is changed. Most file systems cannot.
    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a symbolic link at `link` that says `target`.
    fn symbolic_link(&self, target: &Path, link: &Path) -> io::Result<()>;
    /// Removes a file or a link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Bytes an ordinary user may still write where `path` is, if that can be asked.
    fn free_bytes(&self, path: &Path) -> Option<u64>;

    /// Whether something is at `path`, links followed.
    fn exists(&self, path: &Path) -> bool {
        self.facts(path).is_ok()
    }

    /// The whole of a small file, or an error if it is longer than `size_bytes_max`: nobody allocates what a file says.
    fn read(&self, path: &Path, size_bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenHow::Read)?;
        let size_bytes = file.size_bytes()?;
        if size_bytes > size_bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{size_bytes} bytes, at most {size_bytes_max} are read here"),
            ));
        }
        let mut bytes = vec![0; size_bytes as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(filled as u64, &mut bytes[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Puts `bytes` at `path`: written beside it, synced, renamed, the folder synced. A crash leaves the old or the new
    /// file, whole.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        place(self, path, bytes, |file| file.sync())?;
        self.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }

    /// The same for what may be lost: a kill leaves the old or the new file, a loss of power perhaps half of one.
    fn replace_unsynced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        place(self, path, bytes, |_| Ok(()))
    }
}

fn place<F: FileSystem + ?Sized>(
    file_system: &F,
    path: &Path,
    bytes: &[u8],
    finish: impl FnOnce(&dyn StoreFile) -> io::Result<()>,
) -> io::Result<()> {
    file_system.create_folder(path.parent().unwrap_or(Path::new(".")))?;
    let beside = beside(path);
    let written = file_system.open(&beside, OpenHow::UpdateOrCreate).and_then(|mut file| {
        file.set_size(0)?;
        file.write_at(0, bytes)?;
        finish(file.as_ref())
    });
    written.and_then(|()| file_system.rename(&beside, path)).inspect_err(|_| {
        // What is left is named `.new`, which no listing takes for a model; the start of a store removes it.
        let _ = file_system.remove_file(&beside);
    })
}

/// A name beside `path` that no other process uses at the same time.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

/// An open file of a [`FileSystem`]. Positions are given, so threads can share it.
pub trait StoreFile: Send + Sync {
    /// Length now.
    fn size_bytes(&self) -> io::Result<u64>;
    /// Reads at most `buffer.len()` bytes from `offset`; 0 at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts or extends (with zeros) to this length.
    fn set_size(&mut self, size_bytes: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Takes the advisory lock of the file if nobody has it; held until the file is closed, also by a crash.
    ///
    /// File systems without locks say [`io::ErrorKind::Unsupported`].
    fn try_lock(&self) -> io::Result<bool>;
    /// Waits for the advisory lock.
    fn lock(&self) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn StoreFile>> {
        let mut options = OpenOptions::new();
        match how {
            OpenHow::Read => options.read(true),
            OpenHow::Update => options.read(true).write(true),
            OpenHow::UpdateOrCreate => options.read(true).write(true).create(true).truncate(false),
            OpenHow::CreateNew => options.read(true).write(true).create_new(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn facts(&self, path: &Path) -> io::Result<FileFacts> {
        Ok(facts_of(&fs::metadata(path)?))
    }

    fn facts_of_link(&self, path: &Path) -> io::Result<FileFacts> {
        Ok(facts_of(&fs::symlink_metadata(path)?))
    }

    fn read_folder(&self, path: &Path) -> io::Result<Vec<FolderEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            entries.push(FolderEntry { path: entry.path(), kind: kind_of(entry.file_type()?) });
        }
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(entries)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    #[cfg(target_os = "linux")]
    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        let source = File::open(from)?;
        let target = OpenOptions::new().write(true).create_new(true).open(to)?;
        rustix::fs::ioctl_ficlone(&target, &source).map_err(|error| {
            // Empty, and made here.
            let _ = fs::remove_file(to);
            error.into()
        })
    }

    #[cfg(target_os = "macos")]
    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        let source = File::open(from)?;
        Ok(rustix::fs::fclonefileat(&source, rustix::fs::CWD, to, rustix::fs::CloneFlags::empty())?)
    }

    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    fn clone_file(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn symbolic_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, link)
    }

    #[cfg(not(unix))]
    fn symbolic_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        std::os::windows::fs::symlink_file(target, link)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    /// Windows has no such call; there a rename is in the journal of the file system.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        // The folder may not be there yet; the one above it is in the same file system.
        path.ancestors().find_map(crate::settings::free_bytes)
    }
}

fn kind_of(kind: fs::FileType) -> FileKind {
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Folder
    } else if kind.is_symlink() {
        FileKind::Link
    } else {
        FileKind::Other
    }
}

fn facts_of(data: &fs::Metadata) -> FileFacts {
    let kind = kind_of(data.file_type());
    let size_bytes = if kind == FileKind::File { data.len() } else { 0 };
    FileFacts { kind, size_bytes, modified: data.modified().ok(), identity: identity_of(data) }
}

#[cfg(unix)]
fn identity_of(data: &fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((data.dev(), data.ino()))
}

#[cfg(not(unix))]
fn identity_of(_data: &fs::Metadata) -> Option<(u64, u64)> {
    None
}

impl StoreFile for File {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    #[cfg(not(unix))]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_write(self, bytes, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
            offset += count as u64;
        }
        Ok(())
    }

    fn set_size(&mut self, size_bytes: u64) -> io::Result<()> {
        self.set_len(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock(&self) -> io::Result<()> {
        File::lock(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/manifest");
        for bytes in [&b"first, longer"[..], b"second", b""] {
            RealFileSystem.replace(&path, bytes).expect("written");
            assert_eq!(RealFileSystem.read(&path, 100).expect("read"), bytes);
        }
        let names = RealFileSystem.read_folder(&folder.path().join("a/b")).expect("listed");
        assert_eq!(names, [FolderEntry { path, kind: FileKind::File }]);
    }

    #[test]
    fn refuses_to_read_more_than_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("long");
        RealFileSystem.replace(&path, &[7; 101]).expect("written");
        let error = RealFileSystem.read(&path, 100).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(RealFileSystem.read(&path, 101).expect("read").len(), 101);
    }

    #[test]
    fn tells_two_names_of_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("one"), folder.path().join("two"));
        RealFileSystem.replace(&first, b"bytes").expect("written");
        RealFileSystem.hard_link(&first, &second).expect("linked");
        let (one, two) = (RealFileSystem.facts(&first).expect("there"), RealFileSystem.facts(&second).expect("there"));
        assert_eq!(one.identity, two.identity);
        assert_eq!((one.kind, one.size_bytes), (FileKind::File, 5));
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let open = || RealFileSystem.open(&path, OpenHow::UpdateOrCreate).expect("opened");
        let (first, second) = (open(), open());
        assert!(first.try_lock().expect("locks exist"));
        assert!(!second.try_lock().expect("locks exist"));
        drop(first);
        assert!(second.try_lock().expect("locks exist"));
    }
}
