//! Files of the hub, written into the cache of its own clients exactly as they do, so that both use one copy.
//!
//! ```text
//! <cache>/models--OWNER--NAME/blobs/<etag>                  sha256 of a large file, git hash of a small one
//! <cache>/models--OWNER--NAME/snapshots/<commit>/<path>     link to ../../blobs/<etag>
//! <cache>/models--OWNER--NAME/refs/<branch>                 the commit
//! <cache>/models--OWNER--NAME/trees/<commit>.json           the list of files
//! <cache>/.locks/models--OWNER--NAME/<etag>.lock            held by the one who brings a blob
//! <cache>/CACHEDIR.TAG                                      tells programs for backups that this can be fetched again
//! ```
//!
//! Source: the layout that `huggingface_hub` documents and writes. Links are made when all blobs are whole, and the
//! branch after them: a reader of the cache never sees half a model.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Attempt, StoreError};
use crate::file_system::{FileSystem, OpenHow, StoreFile};
use crate::progress::Progress;
use crate::reference::HubReference;
use crate::settings::Settings;
use crate::sources::hub::{DEFAULT_REVISION, Hub, HubFile, HubRevision};
use crate::sources::{Source, SourceError, hub_choice};
use crate::transfer::{Failed, Places, obtain, with_suffix};

const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag created by \
                         huggingface_hub.\n# For information about cache directory tags, see:\n#\t\
                         https://bford.info/cachedir/\n";

/// What a pull from the hub brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubPulled {
    /// `owner/name`.
    pub repository: String,
    /// 40 hexadecimal digits.
    pub commit: String,
    /// Paths in the cache, weights first.
    pub files: Vec<PathBuf>,
    /// Bytes of all of them.
    pub size_bytes: u64,
}

/// The part of the cache that is one repository's.
struct Repository<'r> {
    file_system: &'r dyn FileSystem,
    cache: &'r Path,
    folder_name: String,
}

/// Brings the files that `reference` means. What is there already is not fetched again.
pub(crate) fn pull(
    reference: &HubReference,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<HubPulled, StoreError> {
    let cache = settings.transfer.hub_cache.clone().ok_or(StoreError::NoHome)?;
    let hub = Hub::new(settings)?;
    let id = reference.repository_id();
    let branch = reference.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    progress.status("pulling manifest");
    let revision = hub.revision(&id, branch)?;
    let chosen = hub_choice::choose(&id, &revision.files, &reference.part)?;
    let file_system = settings.file_system.as_ref();
    let repository =
        Repository { file_system, cache: &cache, folder_name: format!("models--{}", id.replace('/', "--")) };
    let size_bytes = chosen.iter().map(|file| file.size_bytes).sum();
    progress.planned(size_bytes);
    repository.check_space(&chosen, settings)?;
    for file in &chosen {
        repository.bring(&hub, &id, &revision.commit, file, settings, progress)?;
    }
    progress.status("verifying sha256 digest");
    progress.status("writing manifest");
    let files = repository.publish(branch, &revision, &chosen)?;
    progress.status("success");
    Ok(HubPulled { repository: id, commit: revision.commit, files, size_bytes })
}

/// Bytes that a pull would fetch, and the commit it would be of.
pub(crate) fn missing(reference: &HubReference, settings: &Settings) -> Result<(String, u64), StoreError> {
    let cache = settings.transfer.hub_cache.clone().ok_or(StoreError::NoHome)?;
    let id = reference.repository_id();
    let revision = Hub::new(settings)?.revision(&id, reference.revision.as_deref().unwrap_or(DEFAULT_REVISION))?;
    let chosen = hub_choice::choose(&id, &revision.files, &reference.part)?;
    let file_system = settings.file_system.as_ref();
    let repository =
        Repository { file_system, cache: &cache, folder_name: format!("models--{}", id.replace('/', "--")) };
    let missing = chosen.iter().filter(|file| !repository.has(file)).map(|file| file.size_bytes).sum();
    Ok((revision.commit, missing))
}

impl Repository<'_> {
    fn folder(&self) -> PathBuf {
        self.cache.join(&self.folder_name)
    }

    fn blob(&self, file: &HubFile) -> PathBuf {
        self.folder().join("blobs").join(file.etag())
    }

    fn has(&self, file: &HubFile) -> bool {
        self.file_system.facts(&self.blob(file)).is_ok_and(|facts| facts.size_bytes == file.size_bytes)
    }

    fn check_space(&self, files: &[&HubFile], settings: &Settings) -> Result<(), StoreError> {
        let missing = files.iter().filter(|file| !self.has(file)).map(|file| file.size_bytes).sum::<u64>();
        let folder = self.cache.ancestors().find(|folder| self.file_system.exists(folder)).unwrap_or(self.cache);
        match (settings.free_bytes)(folder) {
            Some(available_bytes) if available_bytes < missing => {
                Err(StoreError::NoSpace { path: self.cache.to_path_buf(), needed_bytes: missing, available_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Brings one file's blob, unless it is here.
    fn bring(
        &self,
        hub: &Hub,
        id: &str,
        commit: &str,
        file: &HubFile,
        settings: &Settings,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        progress.blob(&file.path);
        let source = hub.source(id, commit, &file.path)?;
        let already = |progress: &mut dyn Progress| {
            progress.started(file.size_bytes, "this machine");
            progress.advanced(file.size_bytes);
            progress.finished();
        };
        if self.has(file) {
            already(progress);
            return Ok(());
        }
        let _lock = self.lock(file, progress)?;
        // Whoever had the lock may have brought it.
        if self.has(file) {
            already(progress);
            return Ok(());
        }
        let blob = self.blob(file);
        let places = Places::new(&blob, &with_suffix(&blob, ".incomplete"));
        let sources: [&dyn Source; 1] = [&source];
        match obtain(self.file_system, &places, file.expected(), &sources, settings, progress) {
            Ok(_) => Ok(()),
            Err(Failed::Disk(error)) => Err(error.into()),
            Err(Failed::Sources(mut attempts)) => Err(one_error(hub, id, attempts.pop())),
        }
    }

    fn lock(&self, file: &HubFile, progress: &mut dyn Progress) -> Result<Box<dyn StoreFile>, StoreError> {
        let folder = self.cache.join(".locks").join(&self.folder_name);
        self.file_system.create_folder(&folder).map_err(StoreError::io("create", &folder))?;
        let path = folder.join(format!("{}.lock", file.etag()));
        let opened = self.file_system.open(&path, OpenHow::UpdateOrCreate).map_err(StoreError::io("open", &path))?;
        match opened.try_lock() {
            Ok(true) => {}
            Ok(false) => {
                progress.note(&format!("another process is fetching `{}`; waiting for it", file.path));
                opened.lock().map_err(StoreError::io("lock", &path))?;
            }
            // Two at once then waste work, but hashes and renames hold.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(StoreError::io("lock", &path)(error)),
        }
        Ok(opened)
    }

    /// Makes the files visible: links, the list, and last the branch.
    fn publish(&self, branch: &str, revision: &HubRevision, files: &[&HubFile]) -> Result<Vec<PathBuf>, StoreError> {
        let fs = self.file_system;
        let tag = self.cache.join("CACHEDIR.TAG");
        if !fs.exists(&tag) {
            fs.replace(&tag, CACHE_TAG.as_bytes()).map_err(StoreError::io("write", &tag))?;
        }
        let snapshot = self.folder().join("snapshots").join(&revision.commit);
        let mut paths = Vec::new();
        for file in files {
            let path = snapshot.join(&file.path);
            self.link(file, &path)?;
            paths.push(path);
        }
        let tree = self.folder().join("trees").join(format!("{}.json", revision.commit));
        fs.replace(&tree, &tree_json(&revision.files)).map_err(StoreError::io("write", &tree))?;
        if branch != revision.commit {
            // A branch may have slashes; the reference grammar lets no `..` through.
            let path = self.folder().join("refs").join(branch);
            fs.replace(&path, revision.commit.as_bytes()).map_err(StoreError::io("write", &path))?;
        }
        Ok(paths)
    }

    /// A link, or on systems without links the file itself.
    fn link(&self, file: &HubFile, path: &Path) -> Result<(), StoreError> {
        let fs = self.file_system;
        let folder = path.parent().expect("a file of a snapshot is in its folder");
        fs.create_folder(folder).map_err(StoreError::io("create", folder))?;
        // One step up for each folder of the file's path, then out of the commit and the snapshots.
        let up = "../".repeat(file.path.matches('/').count() + 2);
        let target = PathBuf::from(format!("{up}blobs/{}", file.etag()));
        if fs.read_link(path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        crate::partial::remove(fs, path).map_err(StoreError::io("replace", path))?;
        match fs.symbolic_link(&target, path) {
            Ok(()) => {}
            Err(error) if cfg!(windows) && error.kind() != io::ErrorKind::StorageFull => {
                fs.hard_link(&self.blob(file), path).map_err(StoreError::io("link", path))?;
            }
            Err(error) => return Err(StoreError::io("link", path)(error)),
        }
        fs.sync_folder(folder).map_err(StoreError::io("sync", folder))
    }
}

/// A refusal of a file for want of acceptance comes as a bare status from some mirrors.
fn one_error(hub: &Hub, id: &str, attempt: Option<Attempt>) -> StoreError {
    match attempt.map(|attempt| attempt.error) {
        Some(SourceError::Status { status: 403, said: Some(said), .. }) if said.contains("gated") => {
            hub.gated(id).into()
        }
        Some(error) => error.into(),
        None => unreachable!("one source was tried, so one has failed"),
    }
}

/// The list of files as `huggingface_hub` keeps it.
fn tree_json(files: &[HubFile]) -> Vec<u8> {
    let entry = |file: &HubFile| {
        let mut entry = serde_json::json!({ "size": file.size_bytes, "blob_id": file.git_sha1 });
        if let Some(digest) = &file.sha256 {
            entry["lfs_sha256"] = digest.hex().into();
            entry["lfs_size"] = file.size_bytes.into();
        }
        (file.path.clone(), entry)
    };
    let files: serde_json::Map<String, serde_json::Value> = files.iter().map(entry).collect();
    serde_json::json!({ "format_version": 1, "files": files }).to_string().into_bytes()
}
