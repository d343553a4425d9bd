//! Models that earlier versions kept in `<home>/blobs`, with a note in `<home>/manifests/<name>.json`: carried over
//! into the store by renaming, without fetching anything again.

use std::path::Path;

use serde::Deserialize;

use crate::blobs::{Adopt, create_durable};
use crate::catalogue::Catalogue;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_system::FileKind;
use crate::note::{NOTE_BYTES_MAX, Note};
use crate::store::Store;

/// `manifests/<name>.json`.
#[derive(Debug, Deserialize)]
struct LegacyNote {
    name: String,
    digest: Digest,
    size_bytes: u64,
    source: String,
    fetched_at_s: u64,
}

impl Store {
    /// Carries over what `home` holds in the old layout. Interrupted at any point, the next call goes on: a note is
    /// removed last.
    pub(crate) fn carry_over(&self, home: &Path) -> Result<(), StoreError> {
        let fs = self.file_system();
        let entries = fs.read_folder(&home.join("manifests")).unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.kind == FileKind::File) {
            let is_note = entry.path.extension().is_some_and(|extension| extension == "json");
            let bytes = if is_note { fs.read(&entry.path, NOTE_BYTES_MAX).ok() } else { None };
            if let Some(note) = bytes.and_then(|bytes| serde_json::from_slice::<LegacyNote>(&bytes).ok()) {
                self.carry_over_one(home, &note)?;
                fs.remove_file(&entry.path).map_err(StoreError::io("remove", &entry.path))?;
            }
        }
        Ok(())
    }

    fn carry_over_one(&self, home: &Path, note: &LegacyNote) -> Result<(), StoreError> {
        let fs = self.file_system();
        let old = home.join("blobs").join(note.digest.file_name());
        self.blobs().claim(&[note.digest])?;
        if !self.blobs().is_present(&note.digest, note.size_bytes) {
            if !fs.facts(&old).is_ok_and(|facts| facts.size_bytes == note.size_bytes) {
                return self.blobs().release(&[note.digest]);
            }
            create_durable(fs, &self.blobs().root().join("blobs"))?;
            if self.blobs().place(&old, &note.digest).is_err() {
                // Another file system.
                self.blobs().adopt(&old, Adopt::Copy, &mut |_| ())?;
                let _ = fs.remove_file(&old);
            }
        }
        let (source, fetched_at_s) = (note.source.clone(), note.fetched_at_s);
        let note_now = Note { source, fetched_at_s, ..Note::default() };
        self.name_gguf(&Catalogue::stored_name(&note.name)?, &note.digest, note_now)?;
        Ok(())
    }
}
