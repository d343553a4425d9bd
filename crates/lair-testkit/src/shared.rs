//! Where the shared test data lies.

use std::io::Write;
use std::path::PathBuf;

/// The path of `name` below the shared test data, or `None`, with a loud line, if the data is not there.
///
/// The data lies in `../shared/data` beside the repository, or where `LAIR_SHARED_DATA` points. A test that gets
/// `None` returns early: the project builds and passes its tests from a plain clone.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("LAIR_SHARED_DATA") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("this test needs {} (set LAIR_SHARED_DATA to the shared test data)", path.display()));
    None
}

/// Says loudly that a test, or a part of one, was skipped, and why: past the harness, which hides what passing tests print.
pub fn skipped(reason: &str) {
    // Where even standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
