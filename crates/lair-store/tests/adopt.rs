//! How a file of the user's becomes a blob on file systems that share bytes, on those that do not, and across two.
//!
//! File systems are made in files and mounted, which needs root, `mkfs.btrfs` or `mkfs.xfs`; what cannot be had here is
//! said and skipped.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use lair_store::{Adopt, BlobStore, Digest, FileSystem, RealFileSystem, StoreError};

const FILE_BYTES: usize = 24 << 20;

fn weights() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = b"GGUF".to_vec();
    while bytes.len() < FILE_BYTES {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// A file system of its own, mounted in a folder.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }

    /// One in memory.
    fn tmpfs() -> Option<Mounted> {
        Mounted::mount(tempfile::tempdir().expect("a folder"), &["-t", "tmpfs", "-o", "size=100m", "memory"])
    }

    /// One that can share bytes, made by this program.
    fn made_by(program: &str, arguments: &[&str], megabytes: u64) -> Option<Mounted> {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        // Sparse: only what is used takes space.
        fs::File::create(&image).and_then(|file| file.set_len(megabytes << 20)).expect("made");
        let is_made = quiet(Command::new(program).args(arguments).arg(&image));
        let image = image.display().to_string();
        if is_made { Mounted::mount(folder, &["-o", "loop", &image]) } else { None }
    }

    fn mount(folder: tempfile::TempDir, arguments: &[&str]) -> Option<Mounted> {
        let place = folder.path().join("mounted");
        fs::create_dir(&place).expect("made");
        quiet(Command::new("mount").args(arguments).arg(&place)).then(|| Mounted(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn store_in(folder: &Path) -> BlobStore {
    BlobStore::new(folder.join("models"), Arc::new(RealFileSystem))
}

fn check_no_leftovers(store: &BlobStore) {
    let left = fs::read_dir(store.root().join(".lair/tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "temporary files are left");
}

fn are_same_file(one: &Path, two: &Path) -> bool {
    let facts = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).expect("is there");
    facts(one) == facts(two)
}

/// Sharing bytes: no space is taken, and what is changed later in one place stays as it was in the other.
fn check_sharing(place: &Path, how: Adopt, context: &str) {
    let (source, store) = (place.join("model.gguf"), store_in(place));
    fs::write(&source, weights()).expect("written");
    let sync = || RealFileSystem.open(&source, lair_store::OpenHow::Update).and_then(|file| file.sync());
    sync().expect("synced");
    let before = RealFileSystem.free_bytes(place).expect("asked");
    let digest = store.adopt(&source, how, &mut |_| ()).expect("adopted");
    let taken = before.saturating_sub(RealFileSystem.free_bytes(place).expect("asked"));
    assert!(taken < FILE_BYTES as u64 / 4, "{context}: {taken} bytes were taken");
    let blob = store.path(&digest);
    assert!(!are_same_file(&source, &blob), "{context}: a second name, not a clone");
    fs::write(&source, b"something else").expect("changed");
    store.verify(&digest).unwrap_or_else(|error| panic!("{context}: the blob changed with the file: {error}"));
    assert_eq!(digest, Digest::of(&weights()));
    check_no_leftovers(&store);
    fs::remove_dir_all(store.root()).expect("cleared");
}

#[test]
fn bytes_are_shared_where_the_file_system_can() {
    let made = [
        ("btrfs", Mounted::made_by("mkfs.btrfs", &["-q", "--mixed"], 200)),
        ("xfs", Mounted::made_by("mkfs.xfs", &["-q", "-m", "reflink=1"], 400)),
    ];
    for (kind, mounted) in made {
        let Some(mounted) = mounted else {
            lair_testkit::skipped(&format!("no file system of the kind {kind} can be made and mounted here"));
            continue;
        };
        for how in [Adopt::Reflink, Adopt::Cheapest] {
            check_sharing(&mounted.path(), how, &format!("{kind}, {how:?}"));
        }
    }
}

#[test]
fn where_bytes_cannot_be_shared_a_second_name_is_the_cheapest() {
    let Some(mounted) = Mounted::tmpfs() else {
        lair_testkit::skipped("no file system can be mounted here");
        return;
    };
    let place = mounted.path();
    let (source, store) = (place.join("model.gguf"), store_in(&place));
    fs::write(&source, weights()).expect("written");
    let error = store.adopt(&source, Adopt::Reflink, &mut |_| ()).expect_err("it cannot");
    assert!(matches!(&error, StoreError::Io { .. }) && error.to_string().contains("model.gguf"), "{error}");
    check_no_leftovers(&store);
    for how in [Adopt::Cheapest, Adopt::HardLink] {
        let store = store_in(&place.join(format!("{how:?}")));
        let digest = store.adopt(&source, how, &mut |_| ()).expect("adopted");
        assert!(are_same_file(&source, &store.path(&digest)), "{how:?}");
        check_no_leftovers(&store);
    }
}

#[test]
fn between_two_file_systems_bytes_are_copied() {
    let Some(mounted) = Mounted::tmpfs() else {
        lair_testkit::skipped("no file system can be mounted here");
        return;
    };
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (source, store) = (elsewhere.path().join("model.gguf"), store_in(&mounted.path()));
    fs::write(&source, weights()).expect("written");
    for how in [Adopt::Reflink, Adopt::HardLink] {
        let error = store.adopt(&source, how, &mut |_| ()).expect_err("it cannot");
        assert!(matches!(&error, StoreError::Io { .. }), "{how:?}: {error}");
        check_no_leftovers(&store);
    }
    let digest = store.adopt(&source, Adopt::Cheapest, &mut |_| ()).expect("copied");
    assert_eq!(digest, Digest::of(&weights()));
    assert!(!are_same_file(&source, &store.path(&digest)));
    store.verify(&digest).expect("sound");
    check_no_leftovers(&store);
}

#[test]
fn a_copy_for_which_there_is_no_room_is_refused_before_it_begins() {
    let Some(mounted) = Mounted::tmpfs() else {
        lair_testkit::skipped("no file system can be mounted here");
        return;
    };
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (source, store) = (elsewhere.path().join("large.gguf"), store_in(&mounted.path()));
    fs::File::create(&source).and_then(|file| file.set_len(200 << 20)).expect("made");
    let error = store.adopt(&source, Adopt::Cheapest, &mut |_| ()).expect_err("100 MiB are there");
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    check_no_leftovers(&store);
}
