//! The store: names for blobs. Reads and writes Ollama's layout; what only Lair needs lies in `<models>/.lair`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::blobs::{BlobStore, create_durable};
use crate::catalogue::Catalogue;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_system::FileSystem;
use crate::found::{FoundModel, Owner};
use crate::image_config::{ImageConfig, RootFs};
use crate::layouts::{OllamaLayout, StoredManifest};
use crate::model_name::ModelName;
use crate::note::{NOTE_BYTES_MAX, Note};
use crate::oci::{Layer, Manifest, media_type};
use crate::settings::Settings;
use crate::workplace::StoreLock;

/// A store of models and the catalogue they are fetched by. Clones share what the process holds.
#[derive(Clone, Debug)]
pub struct Store {
    settings: Settings,
    catalogue: Catalogue,
    blobs: BlobStore,
    layout: OllamaLayout,
    /// What could not be done at the opening.
    warnings: Vec<String>,
}

/// What the removal of a name did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Blobs that went with it.
    pub digests: Vec<Digest>,
    /// How many bytes they had.
    pub freed_bytes: u64,
    /// Blobs of the name that stay, because another name or a process at work needs them.
    pub kept_count: usize,
}

impl Store {
    /// The store that the settings name, with the catalogue that comes with the program. Removes temporary files of
    /// processes that died and carries over what earlier versions kept; otherwise changes nothing.
    pub fn open(settings: Settings) -> Store {
        Store::with_catalogue(settings, Catalogue::builtin())
    }

    /// A store with another catalogue.
    pub fn with_catalogue(settings: Settings, catalogue: Catalogue) -> Store {
        let blobs = BlobStore::new(&settings.models, settings.file_system.clone());
        let layout = OllamaLayout::new(&settings.models, settings.file_system.clone());
        let mut store = Store { settings, catalogue, blobs, layout, warnings: Vec::new() };
        store.blobs.workplace().tidy();
        if let Err(error) = store.carry_over(&store.settings.root) {
            store.warnings.push(format!("models of an earlier version could not be carried over: {error}"));
        }
        store
    }

    /// What could not be done at the opening, for the user.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The models that have a short name.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How it works.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The bytes.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// The names, for reading.
    pub fn layout(&self) -> &OllamaLayout {
        &self.layout
    }

    pub(crate) fn file_system(&self) -> &dyn FileSystem {
        self.settings.file_system.as_ref()
    }

    /// The manifest of `name`, if it has one. Names that differ in case only are the same.
    ///
    /// # Errors
    /// [`StoreError::BadManifest`] when what is there is none.
    pub fn manifest(&self, name: &ModelName) -> Result<Option<StoredManifest>, StoreError> {
        self.layout.manifest(name)
    }

    /// Gives `name` to these bytes, which become its manifest as they are, and returns their digest, the ID. Replaces
    /// what had the name. A crash leaves the old or the new.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] unless every blob is here with its length: what is listed can be run.
    pub fn put_manifest(&self, name: &ModelName, bytes: &[u8]) -> Result<Digest, StoreError> {
        let path = self.layout.manifest_path(name);
        let manifest =
            Manifest::parse(bytes).map_err(|reason| StoreError::BadManifest { path: path.clone(), reason })?;
        let temporary = self.blobs.write_temporary(bytes)?;
        let placed = self.blobs.workplace().lock().and_then(|lock| {
            self.place_manifest(&temporary, &path, &manifest)?;
            self.blobs.release_under(&manifest.blobs().map(|blob| blob.digest).collect(), &lock)
        });
        if placed.is_err() {
            // If even this fails, the next start removes it.
            let _ = self.file_system().remove_file(&temporary);
        }
        placed?;
        Ok(Digest::of(bytes))
    }

    fn place_manifest(&self, temporary: &Path, path: &Path, manifest: &Manifest) -> Result<(), StoreError> {
        for blob in manifest.blobs() {
            if !self.blobs.is_present(&blob.digest, blob.size_bytes) {
                return Err(StoreError::MissingBlob { digest: blob.digest, path: self.blobs.path(&blob.digest) });
            }
        }
        let folder = path.parent().expect("four parts stand below `manifests`");
        create_durable(self.file_system(), folder)?;
        self.file_system().rename(temporary, path).map_err(StoreError::io("write", path))?;
        self.file_system().sync_folder(folder).map_err(StoreError::io("sync", folder))
    }

    /// Gives `name` to a GGUF blob that is here and claimed, with a configuration made from the file.
    pub fn name_gguf(&self, name: &ModelName, weights: &Digest, note: Note) -> Result<Digest, StoreError> {
        let path = self.blobs.path(weights);
        let missing = || StoreError::MissingBlob { digest: *weights, path: path.clone() };
        let size_bytes = self.blobs.size_bytes(weights).ok_or_else(missing)?;
        // The digest is what was asked for; what the file cannot say, it will say when it is opened to run.
        let config = ImageConfig::of_gguf(&path, &[*weights]).unwrap_or_else(|_| ImageConfig {
            model_format: "gguf".to_string(),
            rootfs: RootFs { kind: "layers".to_string(), diff_ids: vec![*weights] },
            ..ImageConfig::default()
        });
        let config = self.put_layer(media_type::CONFIG, &config.to_bytes())?;
        let model =
            Layer { media_type: media_type::MODEL.to_string(), digest: *weights, size_bytes, from: None, name: None };
        let id = self.put_manifest(name, &Manifest::new(config, vec![model]).to_bytes())?;
        self.put_note(name, &note)?;
        Ok(id)
    }

    /// Keeps `bytes` and returns what a manifest says of them.
    pub fn put_layer(&self, media_type: &str, bytes: &[u8]) -> Result<Layer, StoreError> {
        let digest = self.blobs.put(bytes)?;
        let (media_type, size_bytes) = (media_type.to_string(), bytes.len() as u64);
        Ok(Layer { media_type, digest, size_bytes, from: None, name: None })
    }

    /// Gives what `source` names a second name. Copies no blob.
    ///
    /// # Errors
    /// [`StoreError::UnknownModel`] when there is no `source`.
    pub fn copy(&self, source: &ModelName, target: &ModelName) -> Result<(), StoreError> {
        let stored = self.manifest(source)?.ok_or_else(|| self.unknown(&source.short()))?;
        self.put_manifest(target, &stored.bytes)?;
        match self.note(source)? {
            Some(note) => self.put_note(target, &note),
            None => self.remove_note(target),
        }
    }

    /// Takes `name` away, and every blob that nothing else needs. Works for damaged models too.
    ///
    /// # Errors
    /// [`StoreError::UnknownModel`] when there is no such name.
    pub fn remove(&self, name: &ModelName) -> Result<Removed, StoreError> {
        let lock = self.blobs.workplace().lock()?;
        let own: HashSet<Digest> = match self.manifest(name) {
            Ok(Some(stored)) => stored.manifest.blobs().map(|blob| blob.digest).collect(),
            Ok(None) => return Err(self.unknown(&name.short())),
            // Whatever it named, `gc` finds.
            Err(StoreError::BadManifest { .. }) => HashSet::new(),
            Err(error) => return Err(error),
        };
        self.remove_name(name, &lock)?;
        let needed = self.needed(&lock)?;
        self.remove_blobs(own, &needed, &lock)
    }

    /// Takes a name away, and what Lair remembers of it; no blob.
    pub(crate) fn remove_name(&self, name: &ModelName, _lock: &StoreLock) -> Result<(), StoreError> {
        let path = self.layout.manifest_path(name);
        let fs = self.file_system();
        fs.remove_file(&path).map_err(StoreError::io("remove", &path))?;
        let folder = path.parent().expect("four parts stand below `manifests`");
        fs.sync_folder(folder).map_err(StoreError::io("sync", folder))?;
        for empty in folder.ancestors().take(3) {
            // Fails where something else is in it, which is as good.
            let _ = fs.remove_folder(empty);
        }
        for kind in ["pins", "used"] {
            let _ = fs.remove_file(&self.mark_path(kind, name));
        }
        self.remove_note(name)
    }

    /// What must stay: every blob that a manifest names or a living process claims. `None` when a manifest cannot be
    /// read, so that nobody knows.
    pub(crate) fn needed(&self, lock: &StoreLock) -> Result<Option<HashSet<Digest>>, StoreError> {
        let mut needed = self.blobs.workplace().claims(lock)?;
        for (_, manifest) in self.layout.manifests()? {
            match manifest {
                Ok(stored) => needed.extend(stored.manifest.blobs().map(|blob| blob.digest)),
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(needed))
    }

    pub(crate) fn remove_blobs(
        &self,
        digests: HashSet<Digest>,
        needed: &Option<HashSet<Digest>>,
        _lock: &StoreLock,
    ) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for digest in digests {
            if needed.as_ref().is_none_or(|needed| needed.contains(&digest)) {
                removed.kept_count += 1;
                continue;
            }
            let path = self.blobs.path(&digest);
            let size_bytes = self.blobs.size_bytes(&digest);
            match self.file_system().remove_file(&path) {
                Ok(()) => {
                    // What a download noted of its pieces means nothing without it.
                    let checksums = self.blobs.workplace().root().join("checksums").join(digest.file_name());
                    let _ = self.file_system().remove_file(&checksums);
                    removed.freed_bytes += size_bytes.unwrap_or(0);
                    removed.digests.push(digest);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("remove", path)(error)),
            }
        }
        Ok(removed)
    }

    /// Every name of this store with its model, damaged ones with what is wrong with them; sorted by name.
    pub fn list(&self) -> Result<Vec<FoundModel>, StoreError> {
        let mut models = self.layout.list(Owner::Ollama)?;
        for model in &mut models {
            model.owner = model.model_name.as_ref().map_or(Owner::Ollama, |name| self.owner_of(name));
        }
        Ok(models)
    }

    /// Lair's note is what tells its models from those that Ollama put into the same folder.
    pub(crate) fn owner_of(&self, name: &ModelName) -> Owner {
        if self.file_system().exists(&self.note_path(name)) { Owner::Lair } else { Owner::Ollama }
    }

    /// Where the model came from, if Lair brought it.
    pub fn note(&self, name: &ModelName) -> Result<Option<Note>, StoreError> {
        let path = self.note_path(name);
        match self.file_system().read(&path, NOTE_BYTES_MAX) {
            // A note is a comfort: one that is damaged is none.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", path)(error)),
        }
    }

    /// Remembers where the model came from.
    pub fn put_note(&self, name: &ModelName, note: &Note) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec_pretty(note).expect("a note has only text and numbers");
        self.put_mark("notes", name, &bytes)
    }

    /// Remembers something of a name; a crash leaves the old or the new.
    pub(crate) fn put_mark(&self, kind: &str, name: &ModelName, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.mark_path(kind, name);
        let folder = path.parent().expect("four parts stand below the kind");
        create_durable(self.file_system(), folder)?;
        let temporary = self.blobs.write_temporary(bytes)?;
        let placed = self.file_system().rename(&temporary, &path).map_err(StoreError::io("write", &path));
        if placed.is_err() {
            // If even this fails, the next start removes it.
            let _ = self.file_system().remove_file(&temporary);
        }
        placed?;
        self.file_system().sync_folder(folder).map_err(StoreError::io("sync", folder))
    }

    fn remove_note(&self, name: &ModelName) -> Result<(), StoreError> {
        let path = self.note_path(name);
        match self.file_system().remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    fn note_path(&self, name: &ModelName) -> PathBuf {
        self.mark_path("notes", name)
    }

    /// Where Lair keeps what it remembers of a name.
    pub(crate) fn mark_path(&self, kind: &str, name: &ModelName) -> PathBuf {
        // Lower case, so that it is found in whatever case the name is written.
        let path = name.manifest_path().to_string_lossy().to_ascii_lowercase();
        self.blobs.workplace().root().join(kind).join(path)
    }
}
