//! A disk that fills up while a model arrives.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lair_store::{
    Digest, FileFacts, FileSystem, FolderEntry, OpenHow, RealFileSystem, Reference, StoreError, StoreFile,
};

use crate::fakes::registry::{Model, name_at, store};
use crate::fakes::{Told, blob};

/// A file system that takes so many bytes and no more.
#[derive(Debug)]
struct Small {
    left_bytes: Arc<AtomicI64>,
}

struct SmallFile {
    file: Box<dyn StoreFile>,
    left_bytes: Arc<AtomicI64>,
}

impl FileSystem for Small {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn StoreFile>> {
        let file = RealFileSystem.open(path, how)?;
        Ok(Box::new(SmallFile { file, left_bytes: Arc::clone(&self.left_bytes) }))
    }
    fn facts(&self, path: &Path) -> io::Result<FileFacts> {
        RealFileSystem.facts(path)
    }
    fn facts_of_link(&self, path: &Path) -> io::Result<FileFacts> {
        RealFileSystem.facts_of_link(path)
    }
    fn read_folder(&self, path: &Path) -> io::Result<Vec<FolderEntry>> {
        RealFileSystem.read_folder(path)
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        RealFileSystem.read_link(path)
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.create_folder(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFileSystem.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFileSystem.hard_link(from, to)
    }
    fn clone_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFileSystem.clone_file(from, to)
    }
    fn symbolic_link(&self, target: &Path, link: &Path) -> io::Result<()> {
        RealFileSystem.symbolic_link(target, link)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.remove_file(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.remove_folder(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.sync_folder(path)
    }
    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        None
    }
}

impl StoreFile for SmallFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let before = self.left_bytes.fetch_sub(bytes.len() as i64, Ordering::SeqCst);
        if before >= bytes.len() as i64 {
            return self.file.write_at(offset, bytes);
        }
        // As a real one does: what fits is written.
        self.file.write_at(offset, &bytes[..before.max(0) as usize])?;
        Err(io::ErrorKind::StorageFull.into())
    }
    fn set_size(&mut self, size_bytes: u64) -> io::Result<()> {
        self.file.set_size(size_bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
    fn lock(&self) -> io::Result<()> {
        self.file.lock()
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_what_arrived_is_continued() {
    const POINTS: i64 = 20;
    let server = Model::new(blob()).serve();
    let reference = Reference::Name(name_at(server.host()));
    for point in 0..POINTS {
        let root = tempfile::tempdir().expect("a folder");
        let left_bytes = Arc::new(AtomicI64::new(blob().len() as i64 * point / POINTS));
        let small = Arc::new(Small { left_bytes: Arc::clone(&left_bytes) });
        let store = store(root.path(), |settings| {
            settings.file_system = small;
            settings.free_bytes = |_| None;
        });
        let error = store.pull(&reference, &mut Told::default()).expect_err("the disk is full");
        assert!(
            matches!(&error, StoreError::Io { reason, .. } if reason.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
        assert!(error.hint().expect("a hint").contains("free some space"), "point {point}");
        assert!(store.list().expect("lists").is_empty(), "point {point}");
        let temporary = std::fs::read_dir(store.blobs().root().join(".lair/tmp")).map_or(0, Iterator::count);
        assert_eq!(temporary, 0, "point {point}: temporary files are left");
        for folder in ["blobs", ".lair/partial"] {
            let entries = std::fs::read_dir(store.blobs().root().join(folder)).into_iter().flatten().flatten();
            for entry in entries {
                let name = entry.file_name().into_string().expect("plain");
                assert!(!name.ends_with(".new"), "point {point}: {name} is left");
            }
        }
        // The same process goes on when there is room again.
        left_bytes.store(i64::MAX / 2, Ordering::SeqCst);
        store.pull(&reference, &mut Told::default()).expect("pulled");
        assert!(std::fs::read(store.blobs().path(&Digest::of(&blob()))).expect("reads") == blob());
    }
}

#[test]
fn without_room_nothing_is_asked_for() {
    let server = Model::new(blob()).serve();
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |settings| settings.free_bytes = |_| Some(700_000));
    let error = store.pull(&Reference::Name(name_at(server.host())), &mut Told::default()).expect_err("no room");
    assert!(matches!(error, StoreError::NoSpace { available_bytes: 700_000, .. }), "{error}");
    assert!(!server.calls().iter().any(|call| call.path.contains("/blobs/")));
}
