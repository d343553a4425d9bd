//! What processes that write to a store agree on: who is at work, which blobs each still needs, and whose temporary
//! files may go.
//!
//! ```text
//! <models>/.lair/locks/store          held while names, claims or blobs to be removed are looked at; never for long
//! <models>/.lair/locks/sha256-<hex>   held by the one process that brings this blob
//! <models>/.lair/leases/<me>          held as long as the process works with the store: it lives
//! <models>/.lair/leases/<me>.claims   digests, one a line: blobs it will name in a manifest
//! <models>/.lair/tmp/<me>.<n>         its temporary files
//! ```
//!
//! Locks are those of the operating system, which end with the process, however it ends. A lease that nobody holds is
//! that of a process that died: its claims mean nothing and its temporary files are removed. Nothing is guessed by age.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blobs::create_durable;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_system::{FileSystem, OpenHow, StoreFile};

/// A claims file is not longer: 64 Ki digests.
const CLAIMS_BYTES_MAX: u64 = 72 * 65_536;
/// Suffix of a claims file.
const CLAIMS: &str = "claims";

/// The part of a store that is Lair's alone, `<models>/.lair`.
#[derive(Debug)]
pub(crate) struct Workplace {
    root: PathBuf,
    file_system: Arc<dyn FileSystem>,
    lease: Mutex<Option<Lease>>,
    temporary_count: AtomicU64,
}

/// This process at work.
struct Lease {
    name: String,
    /// Locked; dropping it ends the lease.
    _file: Box<dyn StoreFile>,
    claims: Vec<Digest>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lease").field("name", &self.name).field("claims", &self.claims).finish()
    }
}

/// Held while names, claims or blobs are compared. Not to be taken twice by one thread.
pub(crate) struct StoreLock {
    _file: Box<dyn StoreFile>,
}

impl Workplace {
    pub(crate) fn new(models: &Path, file_system: Arc<dyn FileSystem>) -> Workplace {
        let root = models.join(".lair");
        Workplace { root, file_system, lease: Mutex::new(None), temporary_count: AtomicU64::new(0) }
    }

    /// `<models>/.lair`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Waits until nobody else compares.
    pub(crate) fn lock(&self) -> Result<StoreLock, StoreError> {
        Ok(StoreLock { _file: self.lock_file("store", || ())? })
    }

    /// Takes the lock called `name`, telling `waiting` once if somebody has it.
    pub(crate) fn lock_file(&self, name: &str, waiting: impl FnOnce()) -> Result<Box<dyn StoreFile>, StoreError> {
        let folder = self.root.join("locks");
        create_durable(self.file_system.as_ref(), &folder)?;
        let path = folder.join(name);
        let file = self.file_system.open(&path, OpenHow::UpdateOrCreate).map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(true) => Ok(file),
            Ok(false) => {
                waiting();
                file.lock().map_err(StoreError::io("lock", &path))?;
                Ok(file)
            }
            // Some network file systems have no locks. Two at once then waste work, but digests and renames hold.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
            Err(error) => Err(StoreError::io("lock", &path)(error)),
        }
    }

    /// Whether somebody holds the lock called `name`.
    pub(crate) fn is_locked(&self, name: &str) -> bool {
        let opened = self.file_system.open(&self.root.join("locks").join(name), OpenHow::Update);
        opened.is_ok_and(|file| file.try_lock().is_ok_and(|is_free| !is_free))
    }

    /// Says that `digests` are needed, whatever no manifest says yet. Until [`released`](Workplace::release) nobody
    /// removes them; whether they are there is to be looked up afterwards.
    pub(crate) fn claim(&self, digests: &[Digest]) -> Result<(), StoreError> {
        let lock = self.lock()?;
        let mut held = self.begin(&lock)?;
        let lease = held.as_mut().expect("`begin` has made it");
        if digests.iter().all(|digest| lease.claims.contains(digest)) {
            return Ok(());
        }
        for digest in digests {
            if !lease.claims.contains(digest) {
                lease.claims.push(*digest);
            }
        }
        self.write_claims(lease)
    }

    /// Ends claims: a manifest names the blobs now, or they are not needed any more.
    pub(crate) fn release(&self, digests: &HashSet<Digest>, _lock: &StoreLock) -> Result<(), StoreError> {
        let mut held = self.held();
        let Some(lease) = held.as_mut() else { return Ok(()) };
        let before = lease.claims.len();
        lease.claims.retain(|digest| !digests.contains(digest));
        if lease.claims.len() == before { Ok(()) } else { self.write_claims(lease) }
    }

    /// All blobs that living processes claim, this one among them.
    pub(crate) fn claims(&self, _lock: &StoreLock) -> Result<HashSet<Digest>, StoreError> {
        let held = self.held();
        let own = held.as_ref().map(|lease| lease.name.as_str());
        let mut claims: HashSet<Digest> = held.iter().flat_map(|lease| lease.claims.iter().copied()).collect();
        for name in self.lease_names()? {
            if Some(name.as_str()) == own || self.is_dead(&name) {
                continue;
            }
            let path = self.leases().join(&name).with_extension(CLAIMS);
            match self.file_system.read(&path, CLAIMS_BYTES_MAX) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    claims.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("read", path)(error)),
            }
        }
        Ok(claims)
    }

    /// A path for a temporary file that no other process or thread uses.
    pub(crate) fn temporary_path(&self) -> Result<PathBuf, StoreError> {
        let has_begun = self.held().is_some();
        if !has_begun {
            let lock = self.lock()?;
            drop(self.begin(&lock)?);
        }
        let held = self.held();
        let name = &held.as_ref().expect("`begin` has made it").name;
        let index = self.temporary_count.fetch_add(1, Ordering::Relaxed);
        Ok(self.temporary().join(format!("{name}.{index}")))
    }

    /// Removes what dead processes left, if there is anything. Does not fail: what stays is met again next time.
    pub(crate) fn tidy(&self) {
        let has_leftovers =
            |folder: PathBuf| self.file_system.read_folder(&folder).is_ok_and(|names| !names.is_empty());
        if self.held().is_none()
            && (has_leftovers(self.temporary()) || has_leftovers(self.leases()))
            && let Ok(lock) = self.lock()
        {
            self.remove_leftovers(&lock);
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Lease>> {
        // The lease is whole at every moment that a panic could come.
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a lease if this process has none.
    fn begin(&self, lock: &StoreLock) -> Result<MutexGuard<'_, Option<Lease>>, StoreError> {
        let mut held = self.held();
        if held.is_some() {
            return Ok(held);
        }
        for folder in [self.leases(), self.temporary()] {
            create_durable(self.file_system.as_ref(), &folder)?;
        }
        self.remove_leftovers(lock);
        // The number tells two stores of one process apart, and this process from a dead one of the same id.
        let taken = (0u32..).find_map(|index| {
            let name = format!("{}-{index}", std::process::id());
            match self.file_system.open(&self.leases().join(&name), OpenHow::CreateNew) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                opened => Some((name, opened)),
            }
        });
        let (name, opened) = taken.expect("there are more numbers than leases");
        let path = self.leases().join(&name);
        let file = opened.map_err(StoreError::io("create", &path))?;
        match file.try_lock() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(StoreError::io("lock", &path)(error)),
        }
        *held = Some(Lease { name, _file: file, claims: Vec::new() });
        Ok(held)
    }

    fn write_claims(&self, lease: &Lease) -> Result<(), StoreError> {
        // Not synced: a loss of power ends the process that claims.
        let path = self.leases().join(&lease.name).with_extension(CLAIMS);
        let text: String = lease.claims.iter().map(|digest| format!("{digest}\n")).collect();
        let written = self.file_system.open(&path, OpenHow::UpdateOrCreate).and_then(|mut file| {
            file.set_size(0)?;
            file.write_at(0, text.as_bytes())
        });
        written.map_err(StoreError::io("write", path))
    }

    fn lease_names(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.leases();
        match self.file_system.read_folder(&folder) {
            Ok(entries) => Ok(entries
                .iter()
                .filter(|entry| entry.path.extension().is_none())
                .filter_map(|entry| Some(entry.path.file_name()?.to_str()?.to_string()))
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("read", folder)(error)),
        }
    }

    /// Whether the process of this lease has ended. Without locks nobody can tell, and it counts as alive.
    fn is_dead(&self, name: &str) -> bool {
        let opened = self.file_system.open(&self.leases().join(name), OpenHow::Update);
        opened.is_ok_and(|file| file.try_lock().unwrap_or(false))
    }

    fn remove_leftovers(&self, _lock: &StoreLock) {
        let Ok(names) = self.lease_names() else { return };
        let (dead, alive): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| self.is_dead(name));
        let alive: HashSet<String> = alive.into_iter().collect();
        let is_of_the_living = |path: &Path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            stem.is_some_and(|stem| alive.contains(stem))
        };
        for folder in [self.temporary(), self.leases()] {
            let entries = self.file_system.read_folder(&folder).unwrap_or_default();
            for entry in entries.iter().filter(|entry| entry.path.extension().is_some()) {
                if !is_of_the_living(&entry.path) {
                    let _ = self.file_system.remove_file(&entry.path);
                }
            }
        }
        for name in dead {
            let _ = self.file_system.remove_file(&self.leases().join(name));
        }
    }
}

impl Drop for Workplace {
    /// A process that ends well leaves nothing.
    fn drop(&mut self) {
        if let Some(lease) = self.held().take() {
            let path = self.leases().join(&lease.name);
            let _ = self.file_system.remove_file(&path.with_extension(CLAIMS));
            // Windows removes no open file; it is dropped, thus unlocked, first.
            drop(lease);
            let _ = self.file_system.remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::RealFileSystem;

    fn workplace(folder: &Path) -> Workplace {
        Workplace::new(folder, Arc::new(RealFileSystem))
    }

    #[test]
    fn claims_of_the_living_count_and_those_of_the_dead_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mine, other) = (workplace(folder.path()), workplace(folder.path()));
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        mine.claim(&[a]).expect("claimed");
        other.claim(&[a, b]).expect("claimed");
        let claims = |workplace: &Workplace| workplace.claims(&workplace.lock().expect("locked")).expect("read");
        assert_eq!(claims(&mine), HashSet::from([a, b]));
        other.release(&HashSet::from([b]), &other.lock().expect("locked")).expect("released");
        assert_eq!(claims(&mine), HashSet::from([a]));
        // Dies: the lock ends, the files stay.
        let leftover = other.temporary_path().expect("a path");
        std::fs::write(&leftover, b"half").expect("written");
        let lease = other.held().take();
        drop(lease);
        assert_eq!(claims(&mine), HashSet::from([a]));
        let own = mine.temporary_path().expect("a path");
        std::fs::write(&own, b"half").expect("written");
        workplace(folder.path()).tidy();
        assert!(!leftover.exists() && own.exists());
        drop((mine, other));
        assert_eq!(std::fs::read_dir(folder.path().join(".lair/leases")).expect("read").count(), 0);
    }
}
