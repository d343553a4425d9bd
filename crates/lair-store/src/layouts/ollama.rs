//! Ollama's layout, which is also that of Lair's own store:
//!
//! ```text
//! <root>/manifests/<host>/<namespace>/<model>/<tag>      an image manifest
//! <root>/blobs/sha256-<64 hex>
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_system::{FileFacts, FileKind, FileSystem};
use crate::found::{Damage, FileRole, FoundModel, ModelFile, Owner};
use crate::model_name::ModelName;
use crate::oci::{Layer, MANIFEST_BYTES_MAX, Manifest, media_type};

/// More names than this in one store are no store.
const NAMES_MAX: usize = 100_000;

/// A store in this layout, for reading.
#[derive(Clone, Debug)]
pub struct OllamaLayout {
    root: PathBuf,
    file_system: Arc<dyn FileSystem>,
}

/// A manifest as it lies in a store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredManifest {
    /// Of the model, in the case it is stored in.
    pub name: ModelName,
    /// As they came.
    pub bytes: Vec<u8>,
    /// What they say.
    pub manifest: Manifest,
    /// Of `bytes`: the ID of the model.
    pub digest: Digest,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// A manifest, or why it cannot be read.
pub type ReadManifest = Result<StoredManifest, StoreError>;

impl OllamaLayout {
    /// The store in `root`, which need not be there.
    pub fn new(root: impl Into<PathBuf>, file_system: Arc<dyn FileSystem>) -> OllamaLayout {
        OllamaLayout { root: root.into(), file_system }
    }

    /// The folder with `manifests` and `blobs`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies, or would.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.file_name())
    }

    /// Where the manifest of `name` lies, or would: an existing one is found whatever case its path is in.
    pub fn manifest_path(&self, name: &ModelName) -> PathBuf {
        let mut path = self.root.join("manifests");
        for part in name.manifest_path().iter() {
            let exact = path.join(part);
            path = if self.file_system.exists(&exact) { exact } else { self.in_another_case(&path, exact) };
        }
        path
    }

    fn in_another_case(&self, folder: &Path, exact: PathBuf) -> PathBuf {
        let entries = self.file_system.read_folder(folder).unwrap_or_default();
        let is_same = |entry: &Path| match (entry.file_name(), exact.file_name()) {
            (Some(left), Some(right)) => left.eq_ignore_ascii_case(right),
            _ => false,
        };
        entries.into_iter().map(|entry| entry.path).find(|path| is_same(path)).unwrap_or(exact)
    }

    /// The manifest of `name`, if it is here and can be read.
    pub fn manifest(&self, name: &ModelName) -> Result<Option<StoredManifest>, StoreError> {
        let path = self.manifest_path(name);
        match self.read_manifest(&path, name_at(&path).unwrap_or_else(|| name.clone())) {
            Err(StoreError::Io { reason, .. }) if is_absence(&reason) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn read_manifest(&self, path: &Path, name: ModelName) -> Result<StoredManifest, StoreError> {
        let facts = self.file_system.facts(path).map_err(StoreError::io("read", path))?;
        let bytes = self.file_system.read(path, MANIFEST_BYTES_MAX).map_err(StoreError::io("read", path))?;
        let manifest =
            Manifest::parse(&bytes).map_err(|reason| StoreError::BadManifest { path: path.to_path_buf(), reason })?;
        let digest = Digest::of(&bytes);
        Ok(StoredManifest { name, bytes, manifest, digest, modified: facts.modified })
    }

    /// The names that have a manifest, readable or not, with its path; sorted.
    pub fn names(&self) -> Result<Vec<(ModelName, PathBuf)>, StoreError> {
        let mut folders = vec![self.root.join("manifests")];
        for _ in 0..3 {
            let mut below = Vec::new();
            for folder in &folders {
                let entries = self.entries(folder)?;
                below.extend(entries.into_iter().filter(|(_, kind)| *kind != FileKind::File).map(|(path, _)| path));
            }
            folders = below;
        }
        let mut names = Vec::new();
        for folder in &folders {
            for (path, _) in self.entries(folder)?.into_iter().filter(|(_, kind)| *kind != FileKind::Folder) {
                // Whatever else lies there (`.DS_Store`) is no model.
                if let Some(name) = name_at(&path)
                    && names.len() < NAMES_MAX
                {
                    names.push((name, path));
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn entries(&self, folder: &Path) -> Result<Vec<(PathBuf, FileKind)>, StoreError> {
        match self.file_system.read_folder(folder) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| (entry.path, entry.kind)).collect()),
            Err(error) if is_absence(&error) => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("read", folder)(error)),
        }
    }

    /// All manifests; what cannot be read stands in its place with the reason.
    pub fn manifests(&self) -> Result<Vec<(ModelName, ReadManifest)>, StoreError> {
        let read = |(name, path): (ModelName, PathBuf)| (name.clone(), self.read_manifest(&path, name));
        Ok(self.names()?.into_iter().map(read).collect())
    }

    /// Every model that has a name, damaged ones with what is wrong.
    pub fn list(&self, owner: Owner) -> Result<Vec<FoundModel>, StoreError> {
        let mut known = HashMap::new();
        let mut models = Vec::new();
        for (name, manifest) in self.manifests()? {
            let model = match manifest {
                Ok(stored) => self.found_with(&stored, owner, &mut known),
                Err(error) => {
                    let damage = Damage::Unreadable { path: self.manifest_path(&name), problem: error.to_string() };
                    self.bare(owner, name.clone(), vec![damage])
                }
            };
            // Another process may have removed it since its name was read.
            if model.is_whole() || self.file_system.exists(&self.manifest_path(&name)) {
                models.push(model);
            }
        }
        Ok(models)
    }

    /// What a manifest stands for.
    pub fn found(&self, stored: &StoredManifest, owner: Owner) -> FoundModel {
        self.found_with(stored, owner, &mut HashMap::new())
    }

    fn found_with(
        &self,
        stored: &StoredManifest,
        owner: Owner,
        known: &mut HashMap<Digest, Option<FileFacts>>,
    ) -> FoundModel {
        let mut model = self.bare(owner, stored.name.clone(), Vec::new());
        model.id = Some(stored.digest);
        model.modified = stored.modified;
        for layer in stored.manifest.blobs() {
            let path = self.blob_path(&layer.digest);
            let facts = *known.entry(layer.digest).or_insert_with(|| self.file_system.facts(&path).ok());
            let found = facts.filter(|facts| facts.kind == FileKind::File);
            match found {
                Some(facts) if facts.size_bytes == layer.size_bytes => {}
                Some(facts) => model.damage.push(Damage::WrongLength {
                    path: path.clone(),
                    found: facts.size_bytes,
                    expected: layer.size_bytes,
                }),
                None => model.damage.push(Damage::Missing { path: path.clone() }),
            }
            model.files.push(ModelFile {
                path,
                role: role_of(layer),
                size_bytes: layer.size_bytes,
                digest: Some(layer.digest),
                identity: found.and_then(|facts| facts.identity),
            });
        }
        model
    }

    fn bare(&self, owner: Owner, name: ModelName, damage: Vec<Damage>) -> FoundModel {
        FoundModel {
            owner,
            root: self.root.clone(),
            name: name.short(),
            model_name: Some(name),
            id: None,
            files: Vec::new(),
            modified: None,
            damage,
            repository: None,
        }
    }
}

fn role_of(layer: &Layer) -> FileRole {
    match layer.media_type.as_str() {
        media_type::MODEL => FileRole::Weights,
        media_type::PROJECTOR => FileRole::Projector,
        media_type::ADAPTER => FileRole::Adapter,
        media_type::DRAFT => FileRole::Draft,
        _ => FileRole::Other,
    }
}

/// The name whose manifest has this path, if one can have it.
fn name_at(path: &Path) -> Option<ModelName> {
    let mut parts = path.iter().rev().map(|part| part.to_str());
    let (tag, model, namespace, host) = (parts.next()??, parts.next()??, parts.next()??, parts.next()??);
    ModelName::new(host, namespace, model, tag).ok()
}

/// Whether an error says that nothing is there: no such file, or a file where a folder should be.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
