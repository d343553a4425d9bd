//! The store: finds a model on this machine, or fetches it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Attempt, SourceError, StoreError};
use crate::manifest::Manifest;
use crate::partial::Partial;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::settings::Settings;
use crate::sources::{self, Source};

/// Space that must stay free: a part of what is to come, because file systems need some for themselves.
const SPACE_MARGIN_DIVISOR: u64 = 20;

/// A folder of models and the catalogue they are fetched by.
#[derive(Clone, Debug)]
pub struct Store {
    settings: Settings,
    catalogue: Catalogue,
}

/// What a model reference stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// A file of the user's.
    File(PathBuf),
    /// A model of the catalogue that is here.
    Present {
        /// Which.
        entry: Entry,
        /// Its blob.
        path: PathBuf,
    },
    /// A model of the catalogue that must be [fetched](Store::fetch) first.
    Missing(Entry),
}

impl Store {
    /// A store with the catalogue that comes with the program.
    pub fn new(settings: Settings) -> Store {
        Store::with_catalogue(settings, Catalogue::builtin())
    }

    /// A store with another catalogue.
    pub fn with_catalogue(settings: Settings, catalogue: Catalogue) -> Store {
        Store { settings, catalogue }
    }

    /// The models that have a name.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Folder of the store.
    pub fn root(&self) -> &Path {
        &self.settings.root
    }

    /// Finds what `reference` means; without one, the default model. Fetches nothing, changes nothing.
    ///
    /// A name of the catalogue means the same in every folder; `./name` means the file.
    pub fn resolve(&self, reference: Option<&str>) -> Result<Resolved, StoreError> {
        let Some(text) = reference else { return Ok(self.locate(self.catalogue.default_entry())) };
        match Reference::parse(text)? {
            Reference::Path(path) if path.is_file() => Ok(Resolved::File(path)),
            Reference::Path(path) => Err(StoreError::FileNotFound { path }),
            Reference::Name(name) => match self.catalogue.find(&name) {
                Some(entry) => Ok(self.locate(entry)),
                // As written: the name has lost its capitals.
                None if Path::new(text).is_file() => Ok(Resolved::File(PathBuf::from(text))),
                None => Err(StoreError::UnknownModel {
                    near: self.catalogue.near(&name),
                    known: self.catalogue.entries().iter().map(|entry| entry.name.clone()).collect(),
                    name: text.to_string(),
                }),
            },
        }
    }

    fn locate(&self, entry: &Entry) -> Resolved {
        if self.is_present(entry) {
            Resolved::Present { entry: entry.clone(), path: self.blob_path(entry) }
        } else {
            Resolved::Missing(entry.clone())
        }
    }

    /// The note about how `entry` came here, if it did.
    pub fn manifest(&self, entry: &Entry) -> Result<Option<Manifest>, StoreError> {
        let path = self.manifest_path(entry);
        Manifest::read(&path).map_err(StoreError::io("read", path))
    }

    /// Brings the model here and returns the path of its blob, whose size and digest are checked.
    ///
    /// Continues what an earlier run left. When another process fetches the same model, waits and takes its result.
    ///
    /// # Errors
    /// [`StoreError::AllSourcesFailed`] lists what was tried; what has arrived is kept for the next run.
    pub fn fetch(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
        for folder in ["blobs", "manifests", "locks", "scratch"] {
            let folder = self.root().join(folder);
            fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        }
        let _lock = self.lock(entry, progress)?;
        let blob = self.blob_path(entry);
        if self.is_present(entry) {
            return Ok(blob);
        }
        let path = self.root().join("blobs").join(format!("{}.partial", entry.digest.file_name()));
        let mut partial = Partial::open(&path, entry.size_bytes, progress).map_err(StoreError::io("open", &path))?;
        self.check_space(&partial)?;
        let label = self.complete(entry, &mut partial)?;
        partial.commit(&blob).map_err(StoreError::io("complete", &blob))?;
        let manifest_path = self.manifest_path(entry);
        Manifest::new(entry, &label).write(&manifest_path).map_err(StoreError::io("write", manifest_path))?;
        Ok(blob)
    }

    /// Nothing unverified ever has the name of a blob, so its length is all that can be wrong without a broken disk.
    fn is_present(&self, entry: &Entry) -> bool {
        fs::metadata(self.blob_path(entry)).is_ok_and(|data| data.is_file() && data.len() == entry.size_bytes)
    }

    fn blob_path(&self, entry: &Entry) -> PathBuf {
        self.root().join("blobs").join(entry.digest.file_name())
    }

    fn manifest_path(&self, entry: &Entry) -> PathBuf {
        self.root().join("manifests").join(format!("{}.json", entry.name))
    }

    /// Held until the file is dropped, also by a crash.
    fn lock(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<File, StoreError> {
        let path = self.root().join("locks").join(format!("{}.lock", entry.digest.file_name()));
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!("another process is fetching `{}`; waiting for it", entry.name));
                file.lock().map_err(StoreError::io("lock", &path))?;
                Ok(file)
            }
            // Some network file systems have no locks. Two fetches at once then waste bytes, but the digest holds.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
        }
    }

    fn check_space(&self, partial: &Partial<'_>) -> Result<(), StoreError> {
        let needed_bytes = with_margin(partial.missing_bytes());
        match (self.settings.free_bytes)(self.root()) {
            Some(available_bytes) if available_bytes < needed_bytes => {
                Err(StoreError::NoSpace { path: self.root().to_path_buf(), needed_bytes, available_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Tries the sources in turn until the partial is the blob. Returns the label of the one that did it.
    fn complete(&self, entry: &Entry, partial: &mut Partial<'_>) -> Result<String, StoreError> {
        if partial.missing_bytes() == 0 {
            // The last run was killed between the last byte and the renaming.
            if partial.check(&entry.digest).is_ok() {
                return Ok("an earlier run".to_string());
            }
            partial.restart().map_err(write_error)?;
        }
        let scratch = self.root().join("scratch").join(entry.digest.file_name());
        let mut attempts = Vec::new();
        for spec in &entry.sources {
            let source = sources::open(spec, &self.settings, scratch.clone());
            match self.try_source(source.as_ref(), entry, partial) {
                Ok(()) => return Ok(source.label()),
                Err(error @ SourceError::Write { .. }) => return Err(write_error(error)),
                Err(error) => {
                    partial.note(&format!("{}: {error}", source.label()));
                    attempts.push(Attempt { source: source.label(), error });
                }
            }
        }
        Err(StoreError::AllSourcesFailed { name: entry.name.clone(), attempts })
    }

    fn try_source(&self, source: &dyn Source, entry: &Entry, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        // A package lies beside the blob while it is unpacked, and beside its own copy while the client finishes.
        let scratch_bytes = source.scratch_bytes();
        let needed_bytes = with_margin(partial.missing_bytes().max(scratch_bytes)).saturating_add(scratch_bytes);
        if scratch_bytes > 0
            && let Some(available_bytes) = (self.settings.free_bytes)(self.root())
            && available_bytes < needed_bytes
        {
            return Err(SourceError::NoScratchSpace { needed_bytes, available_bytes });
        }
        let was_continued = partial.length() > 0;
        match deliver_checked(source, entry, partial) {
            // The fault may lie in the bytes that were here before: this source deserves a clean start.
            Err(SourceError::WrongDigest { .. }) if was_continued => {
                partial.note("what an earlier try left does not fit; starting again");
                deliver_checked(source, entry, partial)
            }
            outcome => outcome,
        }
    }
}

/// Lets the source deliver, and throws the bytes away if it turns out that they are of another file.
fn deliver_checked(source: &dyn Source, entry: &Entry, partial: &mut Partial<'_>) -> Result<(), SourceError> {
    partial.begin(&source.label());
    let before = partial.length();
    let outcome = source.deliver(partial).and_then(|()| partial.check(&entry.digest));
    if let Err(error) = &outcome
        && error.is_about_another_file()
        && partial.length() != before
    {
        partial.restart()?;
    }
    outcome
}

fn with_margin(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / SPACE_MARGIN_DIVISOR)
}

/// A fault of the store's own disk, whoever met it.
fn write_error(error: SourceError) -> StoreError {
    match error {
        SourceError::Write { path, reason } => StoreError::Io { action: "write", path, reason },
        other => unreachable!("only write errors come here, not: {other}"),
    }
}
