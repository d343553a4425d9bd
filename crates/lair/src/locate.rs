//! From what the user calls a model to the path of its file, fetching it if it has to be.

use std::path::PathBuf;

use lair_store::{RecommendedSampling, Reference, Resolved, Settings, Store, StoreError};

use crate::download_bar::DownloadBar;
use crate::failure::Failure;

/// A model on this machine.
#[derive(Clone, Debug)]
pub struct Located {
    /// Its file, or the first file of a split model.
    pub path: PathBuf,
    /// What to call it.
    pub name: String,
    /// How the catalogue says to sample from it.
    pub recommended: RecommendedSampling,
}

/// Finds a model by whatever the user calls it; without a name, the default model. Fetches it where it is missing.
pub fn locate(model: Option<&str>, is_quiet: bool) -> Result<Located, Failure> {
    let store = store()?;
    let resolved = match model {
        Some(text) => Reference::parse(text).map_err(StoreError::from).and_then(|reference| store.resolve(&reference)),
        None => store.resolve_default(),
    };
    match resolved? {
        Resolved::File(path) => {
            let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            Ok(Located { path, name, recommended: RecommendedSampling::default() })
        }
        Resolved::Model(model) => {
            let path = store.weights_path(&model)?;
            if let Some(name) = model.model_name.as_ref().filter(|_| model.root == store.settings().models) {
                store.mark_used(name);
            }
            let entry = model.files.iter().find_map(|file| store.catalogue().with_digest(&file.digest?));
            let name = entry.map_or_else(|| model.name.clone(), |entry| entry.name.clone());
            let recommended = entry.map(|entry| entry.sampling).unwrap_or_default();
            Ok(Located { path, name, recommended })
        }
        Resolved::Missing(entry) => {
            let path = store.fetch(&entry, &mut DownloadBar::new(&entry.name, is_quiet))?;
            Ok(Located { path, name: entry.name, recommended: entry.sampling })
        }
    }
}

/// Where the lines typed in chats are kept.
pub fn history_file() -> Result<PathBuf, Failure> {
    let root = store()?.settings().root.clone();
    std::fs::create_dir_all(&root)?;
    Ok(root.join("history"))
}

/// Whether a word on the command line means a model: a path, or a name of the catalogue. Anything else with a space in
/// it is a prompt.
pub fn means_a_model(word: &str) -> Result<bool, Failure> {
    if word.contains(char::is_whitespace) && !std::path::Path::new(word).exists() {
        return Ok(false);
    }
    match Reference::parse(word) {
        Ok(_) => Ok(true),
        Err(_) => Ok(false),
    }
}

/// The store that the environment names.
pub fn store() -> Result<Store, Failure> {
    let store = Store::open(Settings::from_env()?);
    for warning in store.warnings() {
        eprintln!("warning: {warning}");
    }
    Ok(store)
}
