//! The file to open of a model. A split model whose shards are blobs gets names that say which shard is which:
//! `<models>/.lair/views/<id>/model-00001-of-00003.gguf`, links to the blobs.

use std::path::PathBuf;

use lair_gguf::ShardName;

use crate::error::StoreError;
use crate::found::{FileRole, FoundModel};
use crate::store::Store;

impl Store {
    /// The file to open for the weights of `model`; a split model's first, with the others beside it.
    pub fn weights_path(&self, model: &FoundModel) -> Result<PathBuf, StoreError> {
        let weights: Vec<&PathBuf> =
            model.files.iter().filter(|file| file.role == FileRole::Weights).map(|file| &file.path).collect();
        let first = weights.first().ok_or_else(|| StoreError::NoWeights { name: model.name.clone() })?;
        let Some(id) = model.id.filter(|_| weights.len() > 1 && ShardName::parse(first).is_none()) else {
            return Ok((*first).clone());
        };
        let fs = self.file_system();
        let folder = self.blobs().workplace().root().join("views").join(id.file_name());
        fs.create_folder(&folder).map_err(StoreError::io("create", &folder))?;
        let shards = ShardName { prefix: folder.join("model"), number: 1, count: weights.len() as u32 };
        for (number, blob) in (1..).zip(weights) {
            let link = shards.path(number);
            if fs.exists(&link) {
                continue;
            }
            // One that points nowhere is in the way.
            let _ = fs.remove_file(&link);
            // A link costs no space when the blob is removed; Windows makes them for administrators only.
            let linked = if cfg!(unix) { fs.symbolic_link(blob, &link) } else { fs.hard_link(blob, &link) };
            if let Err(error) = linked
                && !fs.exists(&link)
            {
                return Err(StoreError::io("link", link)(error));
            }
        }
        Ok(shards.path(1))
    }
}
