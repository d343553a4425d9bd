//! Packed weights on disk: what packing made of a model, mapped at the next start in place of being made again.
//!
//! ```text
//! weight-cache/ab12...ef.weights     named by the SHA-256 of what the weights were packed from
//! ```
//!
//! The name is of the model's files, of its settings, of what it is quantized to at load, of the kind of processor, and of the
//! version of the layout, so a file is found by nobody for whom it is not right. Several processes may use one folder: a file is
//! written under a name of its own and moved into place whole, and never changed. Nothing is flushed: a file that a power
//! cut left half written does not have its checksums ([`weights_file`]), and the weights are packed again.
//!
//! Files go when the quota is full, those first that were not used for longest, and with the models they were made of
//! ([`WeightCache::remove_orphans`]).

mod archive;
mod weights_file;

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

pub use archive::ModelWeights;
use weights_file::Contents;

use crate::failure::{ExitCode, Failure};
use crate::human::{parse_size, size_text};
use crate::locate;

/// What the weight cache may take if nothing else is said.
const WEIGHT_CACHE_BYTES: &str = "64GB";
/// The usual folder, in Lair's own.
const FOLDER: &str = "weight-cache";
/// The ending of files' names.
const SUFFIX: &str = "weights";
/// The ending of files that are being written.
const PARTIAL_SUFFIX: &str = "partial";
/// A file that was being written and has not changed for so long belongs to a process that is gone.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(3600);
/// One that changed this lately may be written by a process of another machine.
const PARTIAL_AGE_MIN: Duration = Duration::from_secs(60);
/// What is left of a disk for others.
const DISK_RESERVE_BYTES: u64 = 1 << 30;
/// Waiting longer than this is explained.
const WAIT_EXPLAINED: Duration = Duration::from_millis(300);
/// Temporary files of this process have names of their own.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Whether packed weights are kept.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Loading")]
pub struct WeightCacheArgs {
    /// Keep weights on disk as they lie in memory, which takes the size of the model once more, and map them at the next
    /// start instead of packing them: a folder, `on` for the usual one, or `off`. Not with adapters [default: off]
    #[arg(long, value_name = "FOLDER")]
    weight_cache: Option<String>,
    /// Disk space for the weight cache; what was not used for longest goes
    #[arg(long, value_name = "SIZE", default_value = WEIGHT_CACHE_BYTES, value_parser = parse_size)]
    weight_cache_bytes: u64,
}

impl WeightCacheArgs {
    /// Opens the cache, if one is wanted.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn open(&self) -> Result<Option<Arc<WeightCache>>, Failure> {
        let folder = match self.weight_cache.as_deref() {
            None | Some("off" | "0" | "false") => return Ok(None),
            Some("on" | "1" | "true") => usual_folder()?,
            Some(folder) => PathBuf::from(folder),
        };
        let cache = WeightCache::open(&folder, self.weight_cache_bytes).map_err(|error| {
            let cause = format!("the weight cache {} cannot be used: {error}", folder.display());
            Failure::new(ExitCode::Other, cause).with_hint("name another folder with --weight-cache".to_owned())
        })?;
        Ok(Some(Arc::new(cache)))
    }

    /// The same as arguments of a command.
    pub fn arguments(&self) -> Vec<String> {
        let Some(folder) = &self.weight_cache else { return Vec::new() };
        let size = self.weight_cache_bytes.to_string();
        vec!["--weight-cache".to_owned(), folder.clone(), "--weight-cache-bytes".to_owned(), size]
    }
}

/// Where packed weights are kept if no folder is named.
///
/// # Errors
/// If there is no place for Lair's own folder.
pub fn usual_folder() -> Result<PathBuf, Failure> {
    Ok(locate::store()?.settings().root.join(FOLDER))
}

/// A folder of packed weights.
#[derive(Debug)]
pub struct WeightCache {
    folder: PathBuf,
    size_bytes_max: u64,
    writers: Arc<Writers>,
}

/// The threads of a cache that write.
#[derive(Debug, Default)]
struct Writers(Mutex<Vec<JoinHandle<()>>>);

/// All that were ever made: a process must not end before they do.
static ALL_WRITERS: Mutex<Vec<Weak<Writers>>> = Mutex::new(Vec::new());

/// A file of the folder.
struct Found {
    path: PathBuf,
    size_bytes: u64,
    used: SystemTime,
}

impl WeightCache {
    /// Opens a folder, made where it is missing, that may take so many bytes.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn open(folder: &Path, size_bytes_max: u64) -> io::Result<WeightCache> {
        fs::create_dir_all(folder)?;
        // What cannot be written is said now, not after a model was loaded.
        drop(tempfile::tempfile_in(folder)?);
        let writers = Arc::new(Writers::default());
        ALL_WRITERS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&writers));
        Ok(WeightCache { folder: folder.to_owned(), size_bytes_max, writers })
    }

    /// Returns when all that is being written is written.
    #[cfg(test)]
    fn finish(&self) {
        self.writers.finish();
    }

    fn path(&self, identity: [u8; 32]) -> PathBuf {
        let name: String = identity.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension(SUFFIX)
    }

    /// Writes a file by a thread of its own. That it cannot be written is said, and harms nobody.
    fn write(&self, contents: Contents) {
        let (folder, to) = (self.folder.clone(), self.path(contents.identity));
        let size_bytes_max = self.size_bytes_max;
        let write = move || {
            let written = make_room(&folder, &to, contents.file_bytes(), size_bytes_max).and_then(|()| {
                let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
                // In a container every process may have the number that one had which was killed while it wrote.
                let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
                let partial = folder.join(format!("{}-{number}-{time}.{PARTIAL_SUFFIX}", std::process::id()));
                let written = contents.write(&partial).and_then(|()| fs::rename(&partial, &to));
                if written.is_err() {
                    let _ = fs::remove_file(&partial);
                }
                written
            });
            if let Err(error) = written {
                eprintln!("warning: packed weights are not kept in {}: {error}", folder.display());
            }
        };
        match std::thread::Builder::new().name("weight cache".to_owned()).spawn(write) {
            Ok(writer) => self.writers.0.lock().unwrap_or_else(PoisonError::into_inner).push(writer),
            Err(error) => eprintln!("warning: packed weights are not kept: {error}"),
        }
    }

    /// Removes what was packed from files that are gone, and what nobody can read; only says so if it is to be dry. Returns
    /// what was removed, with its bytes.
    pub fn remove_orphans(folder: &Path, is_dry: bool) -> Vec<(PathBuf, u64)> {
        let is_orphan = |path: &Path| match weights_file::sources(path) {
            Ok(Some(sources)) => sources.iter().any(|source| !source.exists()),
            Ok(None) => true,
            Err(_) => false,
        };
        let mut removed = Vec::new();
        for Found { path, size_bytes, .. } in found(folder) {
            if is_orphan(&path) && (is_dry || fs::remove_file(&path).is_ok()) {
                removed.push((path, size_bytes));
            }
        }
        removed
    }
}

/// Returns when all that any cache is writing is written: before the process ends.
pub fn finish() {
    let all = std::mem::take(&mut *ALL_WRITERS.lock().unwrap_or_else(PoisonError::into_inner));
    all.iter().filter_map(Weak::upgrade).for_each(|writers| writers.finish());
}

impl Writers {
    fn finish(&self) {
        let writers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let start = Instant::now();
        while !writers.iter().all(JoinHandle::is_finished) {
            if start.elapsed() > WAIT_EXPLAINED {
                if io::stderr().is_terminal() {
                    eprintln!("keeping the weights for the next start ...");
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for writer in writers {
            // What a panic left unfinished is removed when it is old.
            let _ = writer.join();
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The finished files of a folder. What nobody writes any more is removed.
fn found(folder: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(SUFFIX) => found.push(Found { path, size_bytes: metadata.len(), used }),
            Some(PARTIAL_SUFFIX) if is_left(&path, used) => {
                // Another process may have been faster: it is gone either way.
                let _ = fs::remove_file(path);
            }
            _ => {}
        }
    }
    found
}

/// Whether nobody writes this partial file any more: its process is gone, or it has not changed for long.
fn is_left(path: &Path, changed: SystemTime) -> bool {
    let age = changed.elapsed().unwrap_or_default();
    // Its name begins with its process. In a folder that several machines share it may be one of another machine.
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let process = name.split('-').next().and_then(|process| process.parse::<u32>().ok());
    let is_gone = cfg!(target_os = "linux") && process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
    age > PARTIAL_AGE_MAX || is_gone && age > PARTIAL_AGE_MIN
}

/// Removes what was not used for longest until a file of so many bytes has room.
fn make_room(folder: &Path, to: &Path, needed: u64, size_bytes_max: u64) -> io::Result<()> {
    if needed > size_bytes_max {
        let (needed, max) = (size_text(needed), size_text(size_bytes_max));
        return Err(io::Error::other(format!("they take {needed}, --weight-cache-bytes allows {max}")));
    }
    let mut others = found(folder);
    // The file itself is replaced.
    others.retain(|file| file.path != to);
    others.sort_by_key(|file| file.used);
    let mut taken: u64 = others.iter().map(|file| file.size_bytes).sum();
    let is_too_little =
        || lair_store::free_bytes(folder).is_some_and(|free| free < needed.saturating_add(DISK_RESERVE_BYTES));
    for file in others {
        if taken.saturating_add(needed) <= size_bytes_max && !is_too_little() {
            break;
        }
        // A process that has it mapped keeps it.
        let _ = fs::remove_file(&file.path);
        taken -= file.size_bytes;
    }
    if is_too_little() {
        let free = size_text(lair_store::free_bytes(folder).unwrap_or(0));
        let (needed, reserve) = (size_text(needed), size_text(DISK_RESERVE_BYTES));
        return Err(io::Error::other(format!("they take {needed}, the disk has {free} and shall keep {reserve}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
