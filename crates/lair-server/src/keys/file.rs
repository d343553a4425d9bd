//! The file of keys: JSON that only its owner can read or change, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::KeyRecord;

/// Keys there may be.
pub const KEYS_MAX: usize = 4096;
/// Longest file that is read: far more than so many keys take.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// The form of the file.
const VERSION: u32 = 1;

/// Why keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refuses.
    #[error("the file of keys {path}: {cause}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is not what Lair wrote.
    #[error("the file of keys {path} is damaged: {cause}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// Others could give themselves keys.
    #[error("the file of keys {path} can be changed by other users: its mode is {mode:03o}, 600 expected")]
    Writable {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A name is taken.
    #[error("there is a key `{name}` already")]
    Taken {
        /// Whose.
        name: String,
    },
    /// Too many.
    #[error("there are {KEYS_MAX} keys, which is as many as there may be")]
    TooMany,
    /// A name cannot be one.
    #[error("`{name}` is no name of a key: 1 to {bytes_max} letters, digits and -_.@ expected")]
    Name {
        /// What was given.
        name: String,
        /// Its longest.
        bytes_max: usize,
    },
    /// No key can be made.
    #[error("the system gives no random numbers")]
    NoRandomNumbers,
}

impl KeyFileError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            KeyFileError::Writable { path, .. } => Some(format!("`chmod 600 {}`", path.display())),
            KeyFileError::Taken { name } => Some(format!("`lair key revoke {name}` first, or choose another name")),
            KeyFileError::TooMany => Some("`lair key revoke NAME` those that nobody uses".to_owned()),
            KeyFileError::Damaged { path, .. } => {
                Some(format!("move {} away and make the keys again with `lair key create`", path.display()))
            }
            _ => None,
        }
    }
}

/// What tells that a file is another one than before. Each change makes a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileMark {
    modified: Option<SystemTime>,
    size_bytes: u64,
    identity: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    keys: Vec<KeyRecord>,
}

/// A file of keys.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The file at this path; it need not be there.
    pub fn at(path: impl Into<PathBuf>) -> KeyFile {
        KeyFile { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, cause: io::Error) -> KeyFileError {
        KeyFileError::Io { path: self.path.clone(), cause }
    }

    fn damaged(&self, cause: impl ToString) -> KeyFileError {
        KeyFileError::Damaged { path: self.path.clone(), cause: cause.to_string() }
    }

    /// What tells one state of the file from another; `None` if it is not there.
    pub(super) fn mark(&self) -> Option<FileMark> {
        let facts = fs::metadata(&self.path).ok()?;
        #[cfg(unix)]
        let identity = std::os::unix::fs::MetadataExt::ino(&facts);
        #[cfg(not(unix))]
        let identity = 0;
        Some(FileMark { modified: facts.modified().ok(), size_bytes: facts.len(), identity })
    }

    /// All keys; none if there is no file.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or can be changed by others.
    pub fn read(&self) -> Result<Vec<KeyRecord>, KeyFileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error)),
        };
        self.check_permissions(&file)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| self.failed(error))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(self.damaged(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let contents: Contents = serde_json::from_slice(&bytes).map_err(|error| self.damaged(error))?;
        if contents.version != VERSION {
            return Err(self.damaged(format!("it has version {}, {VERSION} expected", contents.version)));
        }
        if contents.keys.len() > KEYS_MAX {
            return Err(self.damaged(format!("it has {} keys, at most {KEYS_MAX} expected", contents.keys.len())));
        }
        match contents.keys.iter().find(|key| !key.is_sound()) {
            Some(key) => Err(self.damaged(format!("the key `{}` has no digest or no id", key.name))),
            None => Ok(contents.keys),
        }
    }

    #[cfg(unix)]
    fn check_permissions(&self, file: &File) -> Result<(), KeyFileError> {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().map_err(|error| self.failed(error))?.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(KeyFileError::Writable { path: self.path.clone(), mode });
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_permissions(&self, _file: &File) -> Result<(), KeyFileError> {
        Ok(())
    }

    /// Adds a key.
    ///
    /// # Errors
    /// If one of that name is there, or the file cannot be changed.
    pub fn add(&self, record: KeyRecord) -> Result<(), KeyFileError> {
        self.change(|keys| {
            if keys.iter().any(|key| key.name == record.name) {
                return Err(KeyFileError::Taken { name: record.name });
            }
            if keys.len() >= KEYS_MAX {
                return Err(KeyFileError::TooMany);
            }
            keys.push(record);
            Ok(())
        })
    }

    /// Removes the key of this name or id; `None` if there is none.
    ///
    /// # Errors
    /// If the file cannot be changed.
    pub fn remove(&self, name: &str) -> Result<Option<KeyRecord>, KeyFileError> {
        self.change(|keys| {
            let place = keys.iter().position(|key| key.name == name).or(keys.iter().position(|key| key.id == name));
            Ok(place.map(|place| keys.remove(place)))
        })
    }

    /// Reads, changes and writes while no other process does.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<KeyRecord>) -> Result<T, KeyFileError>,
    ) -> Result<T, KeyFileError> {
        let io = |error| self.failed(error);
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io)?;
        // The file itself is replaced, so a lock on it would be one on the old.
        let lock = private().create(true).truncate(false).open(self.path.with_extension("lock")).map_err(io)?;
        lock.lock().map_err(io)?;
        let mut keys = self.read()?;
        let outcome = change(&mut keys)?;
        let text = serde_json::to_vec_pretty(&Contents { version: VERSION, keys }).map_err(|error| io(error.into()))?;
        self.replace(folder, &text).map_err(io)?;
        Ok(outcome)
    }

    /// Whoever reads sees the old file or the new one, after a loss of power too.
    fn replace(&self, folder: &Path, text: &[u8]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        // What a process left behind that died here; the lock says that no other writes it now.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private().create_new(true).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &self.path)?;
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        #[cfg(not(unix))]
        let _ = folder;
        Ok(())
    }
}

/// Opens for writing what only its owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::super::KeyRules;
    use super::*;

    fn record(name: &str) -> KeyRecord {
        KeyRecord::create(name, KeyRules::unlimited(), SystemTime::UNIX_EPOCH).expect("random numbers").0
    }

    #[test]
    fn keys_come_and_go_and_each_change_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("inner/keys.json"));
        assert!(file.read().expect("nothing yet").is_empty() && file.mark().is_none());
        let (one, two) = (record("one"), record("two"));
        file.add(one.clone()).expect("added");
        let mark = file.mark();
        file.add(two.clone()).expect("added");
        assert!(matches!(file.add(record("two")), Err(KeyFileError::Taken { .. })));
        assert_eq!(file.read().expect("read"), [one.clone(), two.clone()]);
        assert_ne!(file.mark(), mark);
        assert_eq!(file.remove("nobody").expect("read"), None);
        assert_eq!(file.remove(&one.id).expect("removed"), Some(one));
        assert_eq!(file.read().expect("read"), [two]);
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_can_read_it_and_others_must_not_write_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("keys.json"));
        file.add(record("one")).expect("added");
        let mode = fs::metadata(file.path()).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o622)).expect("changed");
        assert!(matches!(file.read(), Err(KeyFileError::Writable { mode: 0o622, .. })));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("keys.json"));
        file.add(record("one")).expect("added");
        let sound = fs::read_to_string(file.path()).expect("text");
        for damaged in [
            String::new(),
            sound[..sound.len() / 2].to_owned(),
            sound.replace("\"version\": 1", "\"version\": 2"),
            sound.replace("admin", "root"),
            sound.replace("\"digest\": \"", "\"digest\": \"x"),
            sound.replace("\"models\"", "\"modles\""),
        ] {
            fs::write(file.path(), &damaged).expect("written");
            assert!(matches!(file.read(), Err(KeyFileError::Damaged { .. })), "{damaged}");
        }
    }

    #[test]
    fn changes_of_many_at_once_are_all_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("keys.json"));
        std::thread::scope(|scope| {
            for index in 0..8 {
                let file = &file;
                scope.spawn(move || file.add(record(&format!("key-{index}"))).expect("added"));
            }
        });
        assert_eq!(file.read().expect("read").len(), 8);
    }
}
