//! The files of records: lines of JSON, a new file when one is long enough, the oldest removed when all are too long.
//!
//! Names begin with the time the file was begun, so that their order is that of time. Several servers may share a folder: each
//! writes a file of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Files that a quota is divided into: so much of it may be lost at once when the oldest goes.
const SEGMENTS: u64 = 8;
const PREFIX: &str = "requests-";
const SUFFIX: &str = ".jsonl";

/// The files of records in a folder, oldest first.
///
/// # Errors
/// If the folder cannot be read; one that is not there has none.
pub fn record_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Where records are appended.
pub(super) struct RecordFiles {
    folder: PathBuf,
    quota_bytes: u64,
    current: Option<(PathBuf, File, u64)>,
    /// The time in the name of the latest file.
    latest_unix_ms: u128,
}

impl RecordFiles {
    /// Makes the folder if it is not there.
    pub(super) fn open(folder: &Path, quota_bytes: u64) -> io::Result<RecordFiles> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        let files = RecordFiles { folder: folder.to_owned(), quota_bytes, current: None, latest_unix_ms: 0 };
        // An earlier server may have had a larger quota.
        files.prune(0)?;
        Ok(files)
    }

    /// Adds a line; all lines together take no more than the quota.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64;
        if length > self.quota_bytes {
            let cause = format!("a record has {length} bytes, the quota is {} bytes", self.quota_bytes);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, cause));
        }
        let is_long = |size: u64| size > 0 && size + length > self.quota_bytes / SEGMENTS;
        if self.current.as_ref().is_none_or(|(_, _, size)| is_long(*size)) {
            self.current = None;
            self.prune(length.max(self.quota_bytes / SEGMENTS))?;
            let (path, file) = self.begin()?;
            self.current = Some((path, file, 0));
        }
        let Some((_, file, size)) = &mut self.current else { return Ok(()) };
        file.write_all(line.as_bytes())?;
        *size += length;
        Ok(())
    }

    fn begin(&mut self) -> io::Result<(PathBuf, File)> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let now_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // Later files have later names, however quickly they follow, and if the clock goes back.
        let mut unix_ms = now_unix_ms.max(self.latest_unix_ms + 1);
        loop {
            let name = format!("{PREFIX}{unix_ms:014}-{}{SUFFIX}", std::process::id());
            let path = self.folder.join(name);
            match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => unix_ms += 1,
                outcome => {
                    self.latest_unix_ms = unix_ms;
                    return outcome.map(|file| (path, file));
                }
            }
        }
    }

    /// Removes the oldest files until so many bytes are free in the quota.
    fn prune(&self, wanted_bytes: u64) -> io::Result<()> {
        let files = record_files(&self.folder)?;
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |facts| facts.len());
        let mut total: u64 = files.iter().map(size).sum();
        for path in &files {
            if total + wanted_bytes <= self.quota_bytes {
                break;
            }
            total -= size(path);
            match fs::remove_file(path) {
                // Another server was quicker.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &Path) -> Vec<String> {
        let files = record_files(folder).expect("read");
        let texts = files.iter().map(|path| fs::read_to_string(path).expect("text"));
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn bytes(folder: &Path) -> u64 {
        record_files(folder).expect("read").iter().map(|path| fs::metadata(path).expect("there").len()).sum()
    }

    #[test]
    fn the_newest_lines_stay_within_the_quota() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("inner");
        let mut files = RecordFiles::open(&path, 1000).expect("opened");
        for index in 0..500 {
            files.append(&format!("{{\"index\":{index:03}}}\n")).expect("written");
            assert!(bytes(&path) <= 1000);
        }
        let kept = lines(&path);
        assert!(kept.len() > 40 && kept.last().is_some_and(|line| line.contains("499")), "{}", kept.len());
        assert!(kept.is_sorted());
        assert!(files.append(&"x".repeat(1001)).is_err());
        files.append(&format!("{}\n", "y".repeat(900))).expect("written");
        assert!(bytes(&path) <= 1000 && lines(&path).last().is_some_and(|line| line.starts_with('y')));
        drop(RecordFiles::open(&path, 100).expect("opened"));
        assert_eq!(bytes(&path), 0, "a smaller quota holds at once");
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_can_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("inner");
        let mut files = RecordFiles::open(&path, 1000).expect("opened");
        files.append("{}\n").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&record_files(&path).expect("read")[0]), 0o600);
        fs::write(path.join("notes.txt"), "x").expect("written");
        assert_eq!(record_files(&path).expect("read").len(), 1);
    }
}
