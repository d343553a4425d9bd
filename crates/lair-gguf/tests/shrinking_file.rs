//! A file that shrinks while it is mapped ends a request, not the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod raw_file;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use lair_gguf::{GgufError, GgufFile, MapMode, OpenOptions};
use raw_file::{RawFile, U8};

/// A file with one tensor of this many bytes, far more than a page.
const TENSOR_BYTES: u64 = 1 << 20;

fn write_model(path: &Path) {
    let mut file = RawFile::new(1, 1);
    file.key("k", U8).push(raw_file::Kind::Number, &[1]);
    file.tensor("t", &[TENSOR_BYTES], 24, 0);
    file.data(32, TENSOR_BYTES as usize);
    std::fs::write(path, &file.bytes).unwrap();
}

fn truncate(path: &Path, length: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn sum(model: &GgufFile) -> u64 {
    model.tensor_data(model.tensor("t").unwrap()).iter().map(|byte| u64::from(*byte)).sum()
}

#[test]
fn reading_past_the_new_end_marks_the_model_as_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other_path) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    write_model(&path);
    write_model(&other_path);
    let (model, other) = (GgufFile::open(&path).unwrap(), GgufFile::open(&other_path).unwrap());
    let whole = sum(&other);
    let data = model.tensor_data(model.tensor("t").unwrap());
    assert_eq!(data[8192 + 5], data[5]);

    truncate(&path, 10_000);
    let error = model.check_unchanged().unwrap_err();
    assert!(matches!(error, GgufError::ChangedInUse { found: 10_000, .. }), "{error}");
    assert!(!model.was_damaged(), "nothing was read yet");
    // From several threads at once, as kernels read.
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(|| sum(&model))).collect();
        readers.into_iter().for_each(|reader| assert!(reader.join().unwrap() < whole));
    });
    assert!(model.was_damaged());
    assert_eq!(data[TENSOR_BYTES as usize - 1], 0, "lost pages read as zeros");

    // Still refused when the file has its old length again: what was read meanwhile was wrong.
    write_model(&path);
    assert!(matches!(model.check_unchanged(), Err(GgufError::ChangedInUse { .. })));
    assert!(!other.was_damaged() && sum(&other) == whole);
    other.check_unchanged().unwrap();

    // A new mapping starts undamaged, also when it takes over the place of the old one in the list of guards.
    drop((model, data));
    let again = GgufFile::open(&path).unwrap();
    assert!(!again.was_damaged() && sum(&again) == whole);
}

#[test]
fn a_file_that_vanishes_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    write_model(&path);
    let model = GgufFile::open(&path).unwrap();
    let whole = sum(&model);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(sum(&model), whole);
    model.check_unchanged().unwrap();
}

#[test]
fn a_copied_model_does_not_care() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    write_model(&path);
    let model = OpenOptions { map: MapMode::Copied }.open(&path).unwrap();
    let whole = sum(&model);
    truncate(&path, 0);
    assert_eq!(sum(&model), whole);
    assert!(!model.was_damaged());
    model.check_unchanged().unwrap();
}

/// Set in the process that is to die.
const FAULT: &str = "LAIR_TEST_FAULT_ELSEWHERE";

#[test]
#[allow(unsafe_code)] // Maps a file without a guard, to fault in it.
fn a_fault_elsewhere_still_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    write_model(&path);
    if std::env::var_os(FAULT).is_none() {
        let name = "a_fault_elsewhere_still_ends_the_process";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(FAULT, "1")
            .output()
            .unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
        return;
    }
    // Installs the handler and guards this file; the fault is in another.
    let model = GgufFile::open(&path).unwrap();
    let other_path = folder.path().join("b.gguf");
    write_model(&other_path);
    let file = std::fs::File::open(&other_path).unwrap();
    // SAFETY: the process is meant to die of what follows.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    truncate(&other_path, 0);
    assert_eq!(map[8192], 0, "this line is never reached");
    drop(model);
}
