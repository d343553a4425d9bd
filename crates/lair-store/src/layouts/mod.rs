//! How other programs lay out their models, read in place. One file for each layout; [`list_place`] is the list.

mod folder;
mod gguf_files;
mod hub_cache;
mod lm_studio;
mod ollama;

use std::path::PathBuf;
use std::sync::Arc;

pub use folder::{models_below, models_in};
pub(crate) use gguf_files::quant_of;
pub use hub_cache::HubCache;
pub use lm_studio::LmStudio;
pub use ollama::{OllamaLayout, ReadManifest, StoredManifest};

use crate::error::StoreError;
use crate::file_system::FileSystem;
use crate::found::{FoundModel, Owner};

/// A folder with models that Lair reads and does not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is, which says how it is laid out.
    pub owner: Owner,
    /// The folder, which need not be there.
    pub root: PathBuf,
}

/// Every model in a place.
pub(crate) fn list_place(place: &Place, file_system: &Arc<dyn FileSystem>) -> Result<Vec<FoundModel>, StoreError> {
    let fs = Arc::clone(file_system);
    Ok(match place.owner {
        Owner::Lair | Owner::Ollama => OllamaLayout::new(&place.root, fs).list(place.owner)?,
        Owner::HubCache => HubCache::new(&place.root, fs).list(),
        Owner::LmStudio => LmStudio::new(&place.root, fs).list(),
        Owner::Folder => models_below(&place.root, fs.as_ref()),
    })
}
