//! A disk that fills up while a model arrives.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lair_store::{
    Digest, FileFacts, FileSystem, FolderEntry, OpenHow, RealFileSystem, Reference, Store, StoreError, StoreFile,
};

use crate::fakes::registry::{Model, name_at, store};
use crate::fakes::{Told, blob};

/// A file system that takes so many bytes and no more.
#[derive(Debug)]
struct Small {
    left_bytes: Arc<AtomicI64>,
    /// What is said when it is over.
    fault: fn() -> io::Error,
}

struct SmallFile {
    file: Box<dyn StoreFile>,
    left_bytes: Arc<AtomicI64>,
    fault: fn() -> io::Error,
}

impl FileSystem for Small {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn StoreFile>> {
        let file = RealFileSystem.open(path, how)?;
        Ok(Box::new(SmallFile { file, left_bytes: Arc::clone(&self.left_bytes), fault: self.fault }))
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
        Err((self.fault)())
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

/// Neither temporary files nor the download itself, which is what fills the disk.
fn check_nothing_is_left(store: &Store, context: &str) {
    let root = store.blobs().root();
    let is_blob = |path: &Path| path.starts_with(root.join("blobs")) && path.extension().is_none();
    for folder in ["blobs", ".lair/tmp", ".lair/partial", ".lair/checksums"] {
        for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            // What was whole before the disk was full is whole still.
            let is_whole = is_blob(&entry.path()) && {
                let bytes = std::fs::read(entry.path()).expect("reads");
                Digest::of(&bytes).file_name() == entry.file_name().to_string_lossy()
            };
            let is_empty = entry.metadata().is_ok_and(|data| data.len() == 0);
            assert!(is_whole || is_empty, "{context}: {} is left", entry.path().display());
        }
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_is_not_left_full() {
    const POINTS: i64 = 20;
    let server = Model::new(blob()).serve();
    let reference = Reference::Name(name_at(server.host()));
    for point in 0..POINTS {
        let root = tempfile::tempdir().expect("a folder");
        let left_bytes = Arc::new(AtomicI64::new(blob().len() as i64 * point / POINTS));
        let small =
            Arc::new(Small { left_bytes: Arc::clone(&left_bytes), fault: || io::ErrorKind::StorageFull.into() });
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
        check_nothing_is_left(&store, &format!("point {point}"));
        // The same process succeeds when there is room again.
        left_bytes.store(i64::MAX / 2, Ordering::SeqCst);
        store.pull(&reference, &mut Told::default()).expect("pulled");
        assert!(std::fs::read(store.blobs().path(&Digest::of(&blob()))).expect("reads") == blob());
    }
}

/// What is kept when a download fails for another reason is kept.
#[test]
fn another_fault_of_the_disk_keeps_what_arrived() {
    #[derive(Debug)]
    struct Broken;
    impl std::fmt::Display for Broken {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("the cable is loose")
        }
    }
    impl std::error::Error for Broken {}
    let server = Model::new(blob()).serve();
    let root = tempfile::tempdir().expect("a folder");
    let left_bytes = Arc::new(AtomicI64::new(400_000));
    let small = Small { left_bytes: Arc::clone(&left_bytes), fault: || io::Error::other(Broken) };
    let store = store(root.path(), |settings| settings.file_system = Arc::new(small));
    let error = store.pull(&Reference::Name(name_at(server.host())), &mut Told::default()).expect_err("it breaks");
    assert!(error.to_string().contains("the cable is loose"), "{error}");
    let partial = store.blobs().partial_path(&Digest::of(&blob()));
    assert!(std::fs::metadata(partial).expect("is kept").len() > 0);
    left_bytes.store(i64::MAX / 2, Ordering::SeqCst);
    server.forget();
    store.pull(&Reference::Name(name_at(server.host())), &mut Told::default()).expect("pulled");
    let asked: usize =
        server.calls().iter().filter_map(|call| call.range()).map(|(first, last)| last + 1 - first).sum();
    assert!(asked > 0 && asked < blob().len() - 200_000, "{asked} bytes are asked for again");
}

/// A file system of the machine that holds so many KiB; nothing where it cannot be had.
#[cfg(target_os = "linux")]
struct SmallDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn new(kib: usize) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "small"]).arg(folder.path());
        let is_mounted = mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success());
        is_mounted.then(|| SmallDisk(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_real_disk_that_is_full_is_told_and_emptied() {
    let server = Model::new(blob()).serve();
    let reference = Reference::Name(name_at(server.host()));
    let mut full_count = 0;
    for kib in [40, 80, 120, 200, 280, 360, 440, 520, 600, 680] {
        let Some(disk) = SmallDisk::new(kib) else {
            eprintln!("SKIPPED: a small file system cannot be mounted here");
            return;
        };
        // As if the space had gone while the model arrives: the look before the start is passed.
        let store = store(disk.0.path(), |settings| settings.free_bytes = |_| None);
        let error = store.pull(&reference, &mut Told::default()).expect_err("700 KB do not fit");
        let is_full = matches!(&error, StoreError::Io { reason, .. } if reason.kind() == io::ErrorKind::StorageFull);
        assert!(is_full, "{kib} KiB: {error}");
        assert!(error.hint().expect("a hint").contains("free some space"), "{kib} KiB");
        assert!(store.list().expect("lists").is_empty(), "{kib} KiB");
        check_nothing_is_left(&store, &format!("{kib} KiB"));
        full_count += 1;
    }
    println!("{full_count} full disks");
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
