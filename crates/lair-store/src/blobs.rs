//! Bytes under their digest: `blobs/sha256-<hex>`. Only what was hashed has such a name, and only after it is durable.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_system::{FileFacts, FileKind, FileSystem, OpenHow, StoreFile};
use crate::piece_sums::{PieceSums, keep_sums};
use crate::transfer::Places;
use crate::transfer::journal::Pieces;
use crate::workplace::{StoreLock, Workplace};

/// Large enough that a system call costs nothing beside the hash, small enough to stay in the cache.
const CHUNK_BYTES: usize = 256 * 1024;
/// The same for what comes over a connection.
const RECEIVE_BYTES: usize = 64 * 1024;

/// How a file of the user's becomes a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// Shares the bytes copy-on-write where the file system can, else by a hard link, else copies them.
    Cheapest,
    /// Shares the bytes copy-on-write, or fails.
    Reflink,
    /// A second name of the same file, or fails. Who changes the file later damages the blob.
    HardLink,
    /// Copies the bytes.
    Copy,
}

/// The blobs of one store. Clones share what the process holds.
#[derive(Clone, Debug)]
pub struct BlobStore {
    root: PathBuf,
    file_system: Arc<dyn FileSystem>,
    workplace: Arc<Workplace>,
}

/// Held by the one process that brings a blob; ends when dropped, also by a crash.
pub struct BlobLock {
    _file: Box<dyn StoreFile>,
}

impl fmt::Debug for BlobLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BlobLock(..)")
    }
}

impl BlobStore {
    /// The blobs of the store in the folder `root` (the one with `blobs` and `manifests`). Touches nothing yet.
    pub fn new(root: impl Into<PathBuf>, file_system: Arc<dyn FileSystem>) -> BlobStore {
        let root = root.into();
        let workplace = Arc::new(Workplace::new(&root, Arc::clone(&file_system)));
        BlobStore { root, file_system, workplace }
    }

    /// The folder with `blobs` and `manifests`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it works on.
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.file_system
    }

    pub(crate) fn workplace(&self) -> &Workplace {
        &self.workplace
    }

    /// Where a blob lies, or would.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder().join(digest.file_name())
    }

    /// Where the bytes of a blob that is on its way are kept, so that a later run continues: outside of `blobs`, which
    /// Ollama clears of all it does not know. What else belongs to it (a journal) lies beside, with a suffix.
    pub fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.workplace.root().join("partial").join(digest.file_name())
    }

    /// Where everything about a blob on its way lies.
    pub(crate) fn places(&self, digest: &Digest) -> Places {
        let checksums = Some(self.checksums_path(digest));
        Places { checksums, ..Places::new(&self.path(digest), &self.partial_path(digest)) }
    }

    /// Where the checksums of the pieces of a blob are kept, by which a repair finds the broken ones.
    pub(crate) fn checksums_path(&self, digest: &Digest) -> PathBuf {
        self.workplace.root().join("checksums").join(digest.file_name())
    }

    /// Keeps the checksums of a blob that was hashed and found to be sound.
    pub(crate) fn keep_sums(&self, digest: &Digest, sums: &Pieces) {
        keep_sums(self.file_system.as_ref(), &self.checksums_path(digest), sums);
    }

    fn folder(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Whether the blob is here with this length. Nothing unverified ever gets the name of a blob, so only a broken
    /// disk could make more of it wrong; [`verify`](BlobStore::verify) finds that.
    pub fn is_present(&self, digest: &Digest, size_bytes: u64) -> bool {
        self.size_bytes(digest) == Some(size_bytes)
    }

    /// Length of the blob, if it is here.
    pub fn size_bytes(&self, digest: &Digest) -> Option<u64> {
        let facts = self.file_system.facts(&self.path(digest)).ok()?;
        (facts.kind == FileKind::File).then_some(facts.size_bytes)
    }

    /// All of a small blob, or [`StoreError::MissingBlob`].
    pub fn read(&self, digest: &Digest, size_bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        self.file_system.read(&path, size_bytes_max).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::MissingBlob { digest: *digest, path },
            _ => StoreError::io("read", path)(error),
        })
    }

    /// Hashes the blob as it lies there.
    pub fn verify(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        let found = hash_file(self.file_system.as_ref(), &path, &mut |_| ())?;
        if found == *digest { Ok(()) } else { Err(StoreError::WrongDigest { path, found, expected: *digest }) }
    }

    /// Says that these blobs will be named in a manifest, so that nobody removes them until
    /// [`put_manifest`](crate::Store::put_manifest) has. Whether they are here must be asked afterwards.
    ///
    /// [`put`](BlobStore::put) and [`adopt`](BlobStore::adopt) claim by themselves; whoever downloads claims first.
    pub fn claim(&self, digests: &[Digest]) -> Result<(), StoreError> {
        self.workplace.claim(digests)
    }

    /// Ends claims that came to nothing.
    pub fn release(&self, digests: &[Digest]) -> Result<(), StoreError> {
        let lock = self.workplace.lock()?;
        self.workplace.release(&digests.iter().copied().collect(), &lock)
    }

    pub(crate) fn release_under(&self, digests: &HashSet<Digest>, lock: &StoreLock) -> Result<(), StoreError> {
        self.workplace.release(digests, lock)
    }

    /// Takes the lock of the one process that brings this blob, telling `waiting` once if another has it. Whoever
    /// waited finds the blob [present](BlobStore::is_present), as a rule.
    pub fn lock(&self, digest: &Digest, waiting: impl FnOnce()) -> Result<BlobLock, StoreError> {
        Ok(BlobLock { _file: self.workplace.lock_file(&digest.file_name(), waiting)? })
    }

    /// A path for a temporary file in the same file system, used by nobody else. What a process that dies leaves
    /// there, the next one removes.
    pub fn temporary_path(&self) -> Result<PathBuf, StoreError> {
        self.workplace.temporary_path()
    }

    /// Keeps `bytes`. Does nothing if they are here.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        self.claim(&[digest])?;
        let is_here = self.is_present(&digest, bytes.len() as u64)
            && self.read(&digest, bytes.len() as u64).is_ok_and(|found| found == bytes);
        if !is_here {
            let temporary = self.write_temporary(bytes)?;
            self.place(&temporary, &digest)?;
        }
        Ok(digest)
    }

    /// Keeps what `reader` gives if it is the blob of this name; gives its length.
    ///
    /// # Errors
    /// [`StoreError::OtherBlob`] if the bytes are others: nothing of them stays.
    pub fn receive(&self, digest: &Digest, reader: &mut dyn Read) -> Result<u64, StoreError> {
        self.claim(&[*digest])?;
        let temporary = self.temporary_path()?;
        let received = self.receive_at(digest, reader, &temporary);
        let (size_bytes, sums) = self.or_remove(&temporary, received)?;
        self.place(&temporary, digest)?;
        self.keep_sums(digest, &sums);
        Ok(size_bytes)
    }

    fn receive_at(
        &self,
        digest: &Digest,
        reader: &mut dyn Read,
        temporary: &Path,
    ) -> Result<(u64, Pieces), StoreError> {
        let failed = || StoreError::io("write", temporary);
        let file = self.file_system.open(temporary, OpenHow::CreateNew).map_err(failed())?;
        let (mut hasher, mut offset, mut buffer) = (PieceSums::new(0), 0, vec![0; RECEIVE_BYTES]);
        loop {
            let count = reader.read(&mut buffer).map_err(StoreError::io("receive", temporary))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            file.write_at(offset, &buffer[..count]).map_err(failed())?;
            offset += count as u64;
        }
        let (found, sums) = hasher.finish();
        if found != *digest {
            return Err(StoreError::OtherBlob { expected: *digest, found });
        }
        file.sync().map_err(failed())?;
        Ok((offset, sums))
    }

    /// A synced temporary file with these bytes; none is left when it fails.
    pub(crate) fn write_temporary(&self, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.temporary_path()?;
        let written = self.file_system.open(&path, OpenHow::CreateNew).and_then(|file| {
            file.write_at(0, bytes)?;
            file.sync()
        });
        self.or_remove(&path, written.map_err(StoreError::io("write", &path)))?;
        Ok(path)
    }

    /// Makes a blob of the user's file `source`, hashed on the way; the file stays where it is. `progress` is told how
    /// many more bytes were hashed.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when the file changes meanwhile.
    pub fn adopt(&self, source: &Path, how: Adopt, progress: &mut dyn FnMut(u64)) -> Result<Digest, StoreError> {
        let before = self.facts_of_source(source)?;
        let temporary = self.temporary_path()?;
        let outcome = self.adopt_at(source, how, &temporary, progress).and_then(|(digest, sums)| {
            let after = self.facts_of_source(source)?;
            if after.size_bytes != before.size_bytes || after.modified != before.modified {
                return Err(StoreError::Changed { path: source.to_path_buf() });
            }
            self.claim(&[digest])?;
            // What is here under this name may be damaged; the new bytes have just been hashed.
            if self.is_present(&digest, after.size_bytes) && self.verify(&digest).is_ok() {
                let _ = self.file_system.remove_file(&temporary);
            } else {
                self.place(&temporary, &digest)?;
            }
            self.keep_sums(&digest, &sums);
            Ok(digest)
        });
        self.or_remove(&temporary, outcome)
    }

    fn facts_of_source(&self, source: &Path) -> Result<FileFacts, StoreError> {
        let facts = self.file_system.facts(source).map_err(StoreError::io("read", source))?;
        if facts.kind == FileKind::File {
            return Ok(facts);
        }
        Err(StoreError::io("read", source)(io::Error::other("it is no regular file")))
    }

    /// Brings the bytes of `source` to `temporary`, synced, and hashes them.
    fn adopt_at(
        &self,
        source: &Path,
        how: Adopt,
        temporary: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Digest, Pieces), StoreError> {
        let fs = self.file_system.as_ref();
        let is_shared = match how {
            Adopt::Reflink => {
                fs.clone_file(source, temporary).map_err(StoreError::io("clone", source)).map(|()| true)?
            }
            Adopt::HardLink => {
                fs.hard_link(source, temporary).map_err(StoreError::io("link", source)).map(|()| true)?
            }
            Adopt::Cheapest => fs.clone_file(source, temporary).or_else(|_| fs.hard_link(source, temporary)).is_ok(),
            Adopt::Copy => false,
        };
        if is_shared {
            let found = hash_file_with_sums(fs, temporary, progress)?;
            let synced = fs.open(temporary, OpenHow::Read).and_then(|file| file.sync());
            // Windows syncs only what is open for writing, which another's file may not allow.
            if cfg!(unix) {
                synced.map_err(StoreError::io("sync", temporary))?;
            }
            return Ok(found);
        }
        let size_bytes = self.facts_of_source(source)?.size_bytes;
        self.check_space(size_bytes)?;
        let from = fs.open(source, OpenHow::Read).map_err(StoreError::io("open", source))?;
        let to = fs.open(temporary, OpenHow::CreateNew).map_err(StoreError::io("create", temporary))?;
        let mut hasher = PieceSums::new(size_bytes);
        let mut offset = 0;
        for_each_chunk(from.as_ref(), source, &mut |chunk| {
            hasher.update(chunk);
            to.write_at(offset, chunk).map_err(StoreError::io("write", temporary))?;
            offset += chunk.len() as u64;
            progress(chunk.len() as u64);
            Ok(())
        })?;
        to.sync().map_err(StoreError::io("sync", temporary))?;
        Ok(hasher.finish())
    }

    fn check_space(&self, needed_bytes: u64) -> Result<(), StoreError> {
        match self.file_system.free_bytes(&self.root) {
            Some(available_bytes) if available_bytes < needed_bytes => {
                Err(StoreError::NoSpace { path: self.root.clone(), needed_bytes, available_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Gives the file at `temporary`, complete and synced, its name. The caller has hashed it and found `digest`.
    ///
    /// Replaces what has the name. A crash leaves the old or the new, whole.
    pub fn place(&self, temporary: &Path, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        create_durable(self.file_system.as_ref(), &self.folder())?;
        let placed = self.file_system.rename(temporary, &path).map_err(StoreError::io("complete", &path));
        self.or_remove(temporary, placed)?;
        self.file_system.sync_folder(&self.folder()).map_err(StoreError::io("sync", self.folder()))
    }

    fn or_remove<T>(&self, temporary: &Path, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if outcome.is_err() {
            // If even this fails, the next start removes it.
            let _ = self.file_system.remove_file(temporary);
        }
        outcome
    }
}

/// Makes a folder whose name, and those of all folders made above it, survive a loss of power.
pub(crate) fn create_durable(file_system: &dyn FileSystem, folder: &Path) -> Result<(), StoreError> {
    let missing = folder.ancestors().take_while(|above| !above.as_os_str().is_empty() && !file_system.exists(above));
    let parents: Vec<PathBuf> = missing.filter_map(Path::parent).map(Path::to_path_buf).collect();
    if parents.is_empty() {
        return Ok(());
    }
    file_system.create_folder(folder).map_err(StoreError::io("create", folder))?;
    for parent in parents.iter().filter(|parent| !parent.as_os_str().is_empty()) {
        file_system.sync_folder(parent).map_err(StoreError::io("sync", parent))?;
    }
    Ok(())
}

/// The digest of the file at `path`; `progress` is told how many more bytes were hashed.
pub(crate) fn hash_file(
    file_system: &dyn FileSystem,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Digest, StoreError> {
    hash_file_with_sums(file_system, path, progress).map(|(digest, _)| digest)
}

/// The same, and the checksums of its pieces.
pub(crate) fn hash_file_with_sums(
    file_system: &dyn FileSystem,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(Digest, Pieces), StoreError> {
    let file = file_system.open(path, OpenHow::Read).map_err(StoreError::io("open", path))?;
    let size_bytes = file.size_bytes().map_err(StoreError::io("read", path))?;
    let mut hasher = PieceSums::new(size_bytes);
    for_each_chunk(file.as_ref(), path, &mut |chunk| {
        hasher.update(chunk);
        progress(chunk.len() as u64);
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// Reads the file from its beginning to its end.
fn for_each_chunk(
    file: &dyn StoreFile,
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        match file.read_at(offset, &mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                take(&chunk[..count])?;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StoreError::io("read", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::RealFileSystem;

    fn in_store(check: impl FnOnce(&BlobStore, &Path)) {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = BlobStore::new(folder.path().join("models"), Arc::new(RealFileSystem));
        check(&blobs, folder.path());
        let left = std::fs::read_dir(blobs.root().join(".lair/tmp")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "temporary files are left");
    }

    #[test]
    fn keeps_bytes_under_their_digest() {
        in_store(|blobs, _| {
            for bytes in [&b""[..], b"abc", b"abc", &[7; 600_000]] {
                let digest = blobs.put(bytes).expect("kept");
                assert_eq!(digest, Digest::of(bytes));
                assert!(blobs.is_present(&digest, bytes.len() as u64));
                assert!(!blobs.is_present(&digest, bytes.len() as u64 + 1));
                assert_eq!(blobs.read(&digest, 1 << 20).expect("read"), bytes);
                blobs.verify(&digest).expect("sound");
            }
            let missing = blobs.read(&Digest::of(b"other"), 10);
            assert!(matches!(missing, Err(StoreError::MissingBlob { .. })));
        });
    }

    #[test]
    fn a_damaged_blob_is_noticed_and_replaced() {
        in_store(|blobs, _| {
            let digest = blobs.put(b"sound").expect("kept");
            std::fs::write(blobs.path(&digest), b"s0und").expect("damaged");
            assert!(matches!(blobs.verify(&digest), Err(StoreError::WrongDigest { .. })));
            blobs.put(b"sound").expect("kept");
            blobs.verify(&digest).expect("sound again");
        });
    }

    #[test]
    fn adopts_a_file_in_every_way_and_leaves_it_where_it_is() {
        for how in [Adopt::Cheapest, Adopt::HardLink, Adopt::Copy] {
            in_store(|blobs, folder| {
                let source = folder.join("model.gguf");
                std::fs::write(&source, [3; 700_000]).expect("written");
                let mut hashed = 0;
                let digest = blobs.adopt(&source, how, &mut |count| hashed += count).expect("adopted");
                assert_eq!((digest, hashed), (Digest::of(&[3; 700_000]), 700_000));
                assert_eq!(blobs.adopt(&source, how, &mut |_| ()).expect("is here"), digest);
                let fs = blobs.file_system();
                let (one, two) = (fs.facts(&source).expect("there"), fs.facts(&blobs.path(&digest)).expect("there"));
                if how == Adopt::HardLink {
                    assert_eq!(one.identity, two.identity);
                }
                if how == Adopt::Copy {
                    assert_ne!(one.identity, two.identity);
                }
                // What is damaged is replaced by what was hashed.
                std::fs::remove_file(blobs.path(&digest)).expect("removed");
                std::fs::write(blobs.path(&digest), [4; 700_000]).expect("damaged");
                blobs.adopt(&source, how, &mut |_| ()).expect("adopted");
                blobs.verify(&digest).expect("sound");
            });
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_hashed_is_refused() {
        in_store(|blobs, folder| {
            let source = folder.join("model.gguf");
            std::fs::write(&source, [3; 700_000]).expect("written");
            let mut is_first = true;
            let outcome = blobs.adopt(&source, Adopt::Copy, &mut |_| {
                if std::mem::take(&mut is_first) {
                    std::fs::write(&source, [4; 10]).expect("changed");
                }
            });
            assert!(matches!(outcome, Err(StoreError::Changed { .. })));
            assert!(!blobs.root().join("blobs").exists());
        });
    }
}
