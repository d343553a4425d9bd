//! Fetching a model of the catalogue: one source after the other, until the blob is here and has its name.

use std::fs;
use std::path::PathBuf;

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Attempt, SourceError, StoreError};
use crate::note::Note;
use crate::partial::Partial;
use crate::progress::Progress;
use crate::sources::{self, Source};
use crate::store::Store;

/// Space that must stay free: a part of what is to come, because file systems need some for themselves.
const SPACE_MARGIN_DIVISOR: u64 = 20;

impl Store {
    /// Brings the model here under its name and returns the path of its blob, whose size and digest are checked.
    ///
    /// Continues what an earlier run left. When another process fetches the same model, waits and takes its result.
    ///
    /// # Errors
    /// [`StoreError::AllSourcesFailed`] lists what was tried; what has arrived is kept for the next run.
    pub fn fetch(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<PathBuf, StoreError> {
        let blobs = self.blobs();
        blobs.claim(&[entry.digest])?;
        let waiting = format!("another process is fetching `{}`; waiting for it", entry.name);
        let _lock = blobs.lock(&entry.digest, || progress.note(&waiting))?;
        let blob = blobs.path(&entry.digest);
        let name = Catalogue::stored_name(&entry.name)?;
        if blobs.is_present(&entry.digest, entry.size_bytes) {
            if self.manifest(&name)?.is_none() {
                self.name_gguf(&name, &entry.digest, Note::from_source("an earlier run"))?;
            }
            return Ok(blob);
        }
        let path = blobs.partial_path(&entry.digest);
        for folder in path.parent().into_iter().chain(blob.parent()) {
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
        }
        let mut partial = Partial::open(&path, entry.size_bytes, progress).map_err(StoreError::io("open", &path))?;
        self.check_space(&partial)?;
        let label = self.complete(entry, &mut partial)?;
        partial.commit(&blob).map_err(StoreError::io("complete", &blob))?;
        let licence = Some(entry.licence.clone());
        self.name_gguf(&name, &entry.digest, Note { licence, ..Note::from_source(label) })?;
        Ok(blob)
    }

    fn check_space(&self, partial: &Partial<'_>) -> Result<(), StoreError> {
        let needed_bytes = with_margin(partial.missing_bytes());
        match (self.settings().free_bytes)(self.blobs().root()) {
            Some(available_bytes) if available_bytes < needed_bytes => {
                Err(StoreError::NoSpace { path: self.blobs().root().to_path_buf(), needed_bytes, available_bytes })
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
        let scratch = self.blobs().workplace().root().join("scratch").join(entry.digest.file_name());
        let mut attempts = Vec::new();
        for spec in &entry.sources {
            let source = sources::open(spec, self.settings(), scratch.clone());
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
            && let Some(available_bytes) = (self.settings().free_bytes)(self.blobs().root())
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
