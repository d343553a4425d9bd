//! A folder of the user's with GGUF files, at most some folders deep. Models are named by their path.

use std::path::{Path, PathBuf};

use super::gguf_files::group;
use crate::file_system::{FileKind, FileSystem};
use crate::found::{FoundModel, Owner};

/// Folders of models are not deeper.
const DEPTH_MAX: usize = 5;
/// More folders than this are a disk, not a folder of models.
const FOLDERS_MAX: usize = 10_000;

/// Every model in `root` and the folders below it.
pub fn models_below(root: &Path, file_system: &dyn FileSystem) -> Vec<FoundModel> {
    let mut models = Vec::new();
    let mut folders = vec![(root.to_path_buf(), 0)];
    let mut seen_count = 0;
    while let Some((folder, depth)) = folders.pop() {
        seen_count += 1;
        for entry in file_system.read_folder(&folder).unwrap_or_default() {
            if entry.kind == FileKind::Folder && depth < DEPTH_MAX && seen_count < FOLDERS_MAX {
                folders.push((entry.path, depth + 1));
            }
        }
        models.extend(models_in(&folder, root, file_system));
    }
    models.sort_by(|left, right| left.name.cmp(&right.name));
    models
}

/// The models in `folder` itself.
pub fn models_in(folder: &Path, root: &Path, file_system: &dyn FileSystem) -> Vec<FoundModel> {
    let entries = file_system.read_folder(folder).unwrap_or_default().into_iter();
    let paths: Vec<PathBuf> = entries.filter(|entry| entry.kind != FileKind::Folder).map(|entry| entry.path).collect();
    let found = group(&paths, file_system).into_iter().map(|group| {
        let first = group.files.first().map(|file| file.path.clone()).unwrap_or_default();
        FoundModel {
            owner: Owner::Folder,
            root: root.to_path_buf(),
            name: first.display().to_string(),
            model_name: None,
            id: None,
            modified: file_system.facts(&first).ok().and_then(|facts| facts.modified),
            files: group.files,
            damage: group.damage,
            repository: None,
        }
    });
    found.collect()
}
