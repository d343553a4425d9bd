//! Fetching a model of the catalogue: one source after the other, until the blob is here and has its name.

use std::path::PathBuf;

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Attempt, StoreError};
use crate::note::Note;
use crate::progress::Progress;
use crate::sources::{self, Source};
use crate::store::Store;
use crate::transfer::{Expected, Failed, obtain};

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
        let label = self.obtain_entry(entry, progress)?;
        let licence = Some(entry.licence.clone());
        self.name_gguf(&name, &entry.digest, Note { licence, ..Note::from_source(label) })?;
        Ok(blob)
    }

    /// Tries the sources of the entry in turn. Returns the label of the one that did it. The caller holds the lock.
    pub(crate) fn obtain_entry(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<String, StoreError> {
        let scratch = self.blobs().workplace().root().join("scratch").join(entry.digest.file_name());
        let mut attempts = Vec::new();
        let mut opened = Vec::new();
        for spec in &entry.sources {
            match sources::open(spec, self.settings(), scratch.clone()) {
                Ok(source) => opened.push(source),
                Err(error) => attempts.push(Attempt { source: spec.kind().to_string(), error }),
            }
        }
        let sources: Vec<&dyn Source> = opened.iter().map(Box::as_ref).collect();
        let expected = Expected { is_gguf: true, ..Expected::sha256(entry.digest, entry.size_bytes) };
        let places = self.blobs().places(&entry.digest);
        match obtain(self.file_system(), &places, expected, &sources, self.settings(), progress) {
            Ok(obtained) => Ok(obtained.label),
            Err(Failed::Disk(error)) => Err(error.into()),
            Err(Failed::Sources(failed)) => {
                attempts.extend(failed);
                Err(StoreError::AllSourcesFailed { name: entry.name.clone(), attempts })
            }
        }
    }
}
