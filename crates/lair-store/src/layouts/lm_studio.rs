//! LM Studio's folder: `<root>/<publisher>/<repository>/<file>.gguf`, plain files.

use std::path::PathBuf;
use std::sync::Arc;

use super::gguf_files::group;
use crate::file_system::{FileKind, FileSystem};
use crate::found::{FoundModel, Owner, Repository};

/// LM Studio's models, for reading.
#[derive(Clone, Debug)]
pub struct LmStudio {
    root: PathBuf,
    file_system: Arc<dyn FileSystem>,
}

impl LmStudio {
    /// The folder `root`, which need not be there.
    pub fn new(root: impl Into<PathBuf>, file_system: Arc<dyn FileSystem>) -> LmStudio {
        LmStudio { root: root.into(), file_system }
    }

    /// Every model in it, named `publisher/repository`, with the quantization where there are several.
    pub fn list(&self) -> Vec<FoundModel> {
        let below = |folder: &PathBuf| self.file_system.read_folder(folder).unwrap_or_default();
        let mut models = Vec::new();
        for publisher in below(&self.root) {
            for repository in below(&publisher.path) {
                let files = below(&repository.path).into_iter().filter(|entry| entry.kind != FileKind::Folder);
                let paths: Vec<PathBuf> = files.map(|entry| entry.path).collect();
                let part = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_string());
                let (Some(owner), Some(name)) = (part(&publisher.path), part(&repository.path)) else { continue };
                let groups = group(&paths, self.file_system.as_ref());
                let is_alone = groups.len() == 1;
                for group in groups {
                    let suffix = format!(":{}", group.quant.as_deref().unwrap_or(&group.stem));
                    let first = group.files.first().and_then(|file| self.file_system.facts(&file.path).ok());
                    models.push(FoundModel {
                        owner: Owner::LmStudio,
                        root: self.root.clone(),
                        name: format!("{owner}/{name}{}", if is_alone { "" } else { &suffix }),
                        model_name: None,
                        id: None,
                        modified: first.and_then(|facts| facts.modified),
                        files: group.files,
                        damage: group.damage,
                        repository: Some(Repository {
                            owner: owner.clone(),
                            name: name.clone(),
                            quant: group.quant,
                            ..Repository::default()
                        }),
                    });
                }
            }
        }
        models
    }
}
