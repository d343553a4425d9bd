//! The cache of the model hub's own tools:
//!
//! ```text
//! <root>/models--<owner>--<repository>/refs/<branch>                a commit, as text
//!                                      snapshots/<commit>/<path>    a link to ../../blobs/<name>, or a plain file
//!                                      blobs/<sha256 or other>      the bytes
//! ```
//!
//! Where links cannot be made the files lie in `snapshots` themselves; both are read alike. A blob's name is its sha256
//! if it has 64 digits; short files have the name that git gives them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gguf_files::{GgufGroup, file_at, group};
use crate::digest::Digest;
use crate::file_system::{FileKind, FileSystem};
use crate::found::{FileRole, FoundModel, ModelFile, Owner, Repository};

/// A commit has 40 digits.
const REF_BYTES_MAX: u64 = 256;
/// Folders below a snapshot are not deeper.
const DEPTH_MAX: usize = 4;
/// Nor does one repository have more files.
const FILES_MAX: usize = 10_000;
/// Digits of a commit that names show.
const COMMIT_SHOWN: usize = 12;

/// A hub cache, for reading.
#[derive(Clone, Debug)]
pub struct HubCache {
    root: PathBuf,
    file_system: Arc<dyn FileSystem>,
}

impl HubCache {
    /// The cache in `root`, which need not be there.
    pub fn new(root: impl Into<PathBuf>, file_system: Arc<dyn FileSystem>) -> HubCache {
        HubCache { root: root.into(), file_system }
    }

    /// Every model in it: one for each quantization of each snapshot. A snapshot without a branch is named by its
    /// commit.
    pub fn list(&self) -> Vec<FoundModel> {
        let mut models = Vec::new();
        for folder in self.folders(&self.root) {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // The last `--`: a user name has none, and what stands before it was one slash.
            if let Some((owner, repository)) = name.strip_prefix("models--").and_then(|name| name.split_once("--")) {
                let branches = self.branches(&folder.join("refs"));
                for snapshot in self.folders(&folder.join("snapshots")) {
                    let of = |commit: &str| Repository {
                        owner: owner.to_string(),
                        name: repository.to_string(),
                        commit: Some(commit.to_string()),
                        branches: branches.get(commit).cloned().unwrap_or_default(),
                        quant: None,
                    };
                    let commit = snapshot.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                    models.extend(self.models_of(&snapshot, &of(commit)));
                }
            }
        }
        models
    }

    fn folders(&self, folder: &Path) -> Vec<PathBuf> {
        let entries = self.file_system.read_folder(folder).unwrap_or_default();
        entries.into_iter().filter(|entry| entry.kind == FileKind::Folder).map(|entry| entry.path).collect()
    }

    /// By commit, the branches that say it.
    fn branches(&self, refs: &Path) -> BTreeMap<String, Vec<String>> {
        let mut branches: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in self.files_below(refs) {
            let name = path.strip_prefix(refs).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            if let Ok(bytes) = self.file_system.read(&path, REF_BYTES_MAX) {
                let commit = String::from_utf8_lossy(&bytes).trim().to_string();
                branches.entry(commit).or_default().push(name);
            }
        }
        branches
    }

    /// Files and links at most some folders below `folder`, sorted.
    fn files_below(&self, folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![(folder.to_path_buf(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in self.file_system.read_folder(&folder).unwrap_or_default() {
                match entry.kind {
                    FileKind::Folder if depth < DEPTH_MAX => folders.push((entry.path, depth + 1)),
                    FileKind::File | FileKind::Link if files.len() < FILES_MAX => files.push(entry.path),
                    _ => {}
                }
            }
        }
        files.sort();
        files
    }

    fn models_of(&self, snapshot: &Path, repository: &Repository) -> Vec<FoundModel> {
        let files = self.files_below(snapshot);
        let mut by_folder: BTreeMap<&Path, Vec<PathBuf>> = BTreeMap::new();
        for path in &files {
            by_folder.entry(path.parent().unwrap_or(snapshot)).or_default().push(path.clone());
        }
        let mut groups: Vec<GgufGroup> =
            by_folder.values().flat_map(|paths| group(paths, self.file_system.as_ref())).collect();
        if groups.is_empty() {
            groups.extend(self.safetensors(&files));
        }
        let is_alone = groups.len() == 1;
        groups.into_iter().map(|group| self.model(snapshot, repository, group, is_alone)).collect()
    }

    /// A repository of safetensors is one model with all of its files.
    fn safetensors(&self, files: &[PathBuf]) -> Option<GgufGroup> {
        let is_weights = |path: &Path| path.extension().is_some_and(|extension| extension == "safetensors");
        if !files.iter().any(|path| is_weights(path)) {
            return None;
        }
        let role = |path: &Path| if is_weights(path) { FileRole::Weights } else { FileRole::Other };
        let files = files.iter().filter_map(|path| file_at(path, role(path), self.file_system.as_ref())).collect();
        Some(GgufGroup { stem: String::new(), quant: None, files, damage: Vec::new() })
    }

    fn model(&self, snapshot: &Path, repository: &Repository, group: GgufGroup, is_alone: bool) -> FoundModel {
        let mut name = format!("hf.co/{}/{}", repository.owner, repository.name);
        let is_main = repository.branches.iter().any(|branch| branch == "main");
        match (is_main, repository.branches.first(), &repository.commit) {
            (false, Some(branch), _) => name.push_str(&format!("@{branch}")),
            (false, None, Some(commit)) => name.push_str(&format!("@{}", commit.get(..COMMIT_SHOWN).unwrap_or(commit))),
            _ => {}
        }
        if !is_alone {
            let first = group.files.first().map(|file| file.path.as_path()).unwrap_or(snapshot);
            let path = first.strip_prefix(snapshot).unwrap_or(first).to_string_lossy().replace('\\', "/");
            name.push_str(&format!(":{}", group.quant.as_deref().unwrap_or(&path)));
        }
        let files: Vec<ModelFile> = group.files.into_iter().map(|file| self.with_digest(file)).collect();
        let written = files.iter().filter_map(|file| self.file_system.facts(&file.path).ok()?.modified).max();
        FoundModel {
            owner: Owner::HubCache,
            root: self.root.clone(),
            name,
            model_name: None,
            id: None,
            files,
            modified: written,
            damage: group.damage,
            repository: Some(Repository { quant: group.quant, ..repository.clone() }),
        }
    }

    fn with_digest(&self, file: ModelFile) -> ModelFile {
        let target = self.file_system.read_link(&file.path).ok();
        let blob = target.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        let digest: Option<Digest> = blob.and_then(|name| format!("sha256:{name}").parse().ok());
        ModelFile { digest, ..file }
    }
}
