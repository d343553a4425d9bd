//! Pushing: a model of the store becomes one of a registry.

use std::collections::HashSet;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_system::OpenHow;
use crate::model_name::{DEFAULT_HOST, DEFAULT_NAMESPACE, ModelName};
use crate::progress::Progress;
use crate::pull::{repository_of, short};
use crate::sources::registry::Registry;
use crate::sources::upload::{Upload, Uploaded};
use crate::store::Store;

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest.
    pub id: Option<Digest>,
    /// Blobs that were sent.
    pub sent_count: usize,
    /// Blobs that the registry had.
    pub present_count: usize,
    /// Blobs that another repository of the registry had.
    pub mounted_count: usize,
}

impl Store {
    /// Gives the model `name` to the registry in its name. Blobs first, then the manifest: who pulls meanwhile gets the
    /// old model or the new one.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`] when a blob here is damaged: it is not passed on.
    pub fn push(&self, name: &ModelName, progress: &mut dyn Progress) -> Result<Pushed, StoreError> {
        progress.status("retrieving manifest");
        let stored = self.manifest(name)?.ok_or_else(|| self.unknown(&name.short()))?;
        if name.host() == DEFAULT_HOST && name.namespace() == DEFAULT_NAMESPACE {
            return Err(StoreError::NotPushable { name: name.short() });
        }
        let mut seen = HashSet::new();
        let blobs: Vec<_> = stored.manifest.blobs().filter(|blob| seen.insert(blob.digest)).cloned().collect();
        // Nobody may remove them meanwhile.
        self.blobs().claim(&blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>())?;
        let registry = Registry::of(name, self.settings())?;
        let repository = repository_of(name);
        progress.planned(stored.manifest.size_bytes());
        let mut pushed = Pushed { id: Some(Digest::of(&stored.bytes)), ..Pushed::default() };
        let mount_from = self.mount_from(name);
        for blob in &blobs {
            progress.blob(&short(&blob.digest));
            let path = self.blobs().path(&blob.digest);
            let file = self.file_system().open(&path, OpenHow::Read).map_err(StoreError::io("read", &path))?;
            progress.started(blob.size_bytes, &format!("registry {}", registry.host()));
            let upload = Upload { digest: blob.digest, size_bytes: blob.size_bytes, file: file.as_ref() };
            let is_there = registry.has_blob(&repository, &blob.digest)?;
            if !is_there {
                self.blobs().verify(&blob.digest)?;
            }
            match registry.put_blob(&repository, &upload, mount_from.as_deref(), progress)? {
                Uploaded::Sent => pushed.sent_count += 1,
                Uploaded::Present => pushed.present_count += 1,
                Uploaded::Mounted => pushed.mounted_count += 1,
            }
            progress.finished();
        }
        progress.status("pushing manifest");
        registry.put_manifest(&repository, name.tag(), &stored.bytes)?;
        self.blobs().release(&blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>())?;
        progress.status("success");
        Ok(pushed)
    }

    /// The repository of the same registry that this model was pulled from, if it has another name there.
    fn mount_from(&self, name: &ModelName) -> Option<String> {
        let origin: ModelName = self.note(name).ok()??.reference?.parse().ok()?;
        let is_other = origin.host().eq_ignore_ascii_case(name.host()) && repository_of(&origin) != repository_of(name);
        is_other.then(|| repository_of(&origin))
    }
}
