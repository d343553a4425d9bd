//! From what the user calls a model to the model: the store first, then the catalogue, then the file system.

use std::path::{Path, PathBuf};

use crate::catalogue::{Catalogue, Entry};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::found::{FoundModel, Owner};
use crate::layouts::{OllamaLayout, list_place, models_in};
use crate::model_name::ModelName;
use crate::near::near;
use crate::reference::{HubReference, Reference};
use crate::store::Store;

/// What is on this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The models, those of one place together.
    pub models: Vec<FoundModel>,
    /// Places that could not be read, and why.
    pub problems: Vec<String>,
}

/// What a model reference stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// A file of the user's.
    File(PathBuf),
    /// A model that some store on this machine holds, whole.
    Model(Box<FoundModel>),
    /// A model of the catalogue that must be [fetched](Store::fetch) first.
    Missing(Entry),
}

impl Store {
    /// Finds what `reference` means, in Lair's store and in those of other programs. Fetches nothing, changes nothing.
    ///
    /// A name means the same in every folder; `./name` means the file.
    ///
    /// # Errors
    /// [`StoreError::UnknownModel`] when nothing here has this name: it may be pulled. [`StoreError::Damaged`] when
    /// something has it and cannot be run.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, StoreError> {
        let found = match reference {
            Reference::Path(path) => return self.resolve_path(path),
            Reference::Name(name) => match self.resolve_name(name)? {
                Some(Resolved::Model(model)) => Some(*model),
                Some(other) => return Ok(other),
                None => None,
            },
            Reference::Hub(hub) => self.of_hub(hub)?,
            Reference::Digest(digest) => self.with_id(&digest.to_string())?,
            Reference::IdPrefix(digits) => self.with_id(&format!("sha256:{digits}"))?,
            Reference::Package(package) => self.of_package(package)?,
            Reference::Link(_) => None,
        };
        let found = found.ok_or_else(|| self.unknown(&reference.to_string()))?;
        if found.is_whole() {
            return Ok(Resolved::Model(Box::new(found)));
        }
        Err(StoreError::Damaged { name: found.name, damage: found.damage })
    }

    /// The default model of the catalogue.
    pub fn resolve_default(&self) -> Result<Resolved, StoreError> {
        self.resolve_entry(self.catalogue().default_entry())
    }

    fn resolve_path(&self, path: &Path) -> Result<Resolved, StoreError> {
        if path.is_file() {
            return Ok(Resolved::File(path.to_path_buf()));
        }
        if path.is_dir() {
            let models = models_in(path, path, self.file_system());
            return match &models[..] {
                [model] if model.is_whole() => Ok(Resolved::Model(Box::new(model.clone()))),
                [model] => Err(StoreError::Damaged { name: model.name.clone(), damage: model.damage.clone() }),
                _ => Err(StoreError::NotOneModel {
                    path: path.to_path_buf(),
                    names: models.into_iter().map(|model| model.name).collect(),
                }),
            };
        }
        let name_problem = path.to_str().and_then(|text| text.parse::<ModelName>().err());
        Err(StoreError::FileNotFound {
            path: path.to_path_buf(),
            name_problem: name_problem.map(|error| error.problem),
        })
    }

    fn resolve_name(&self, name: &ModelName) -> Result<Option<Resolved>, StoreError> {
        let found = |model: FoundModel| Some(Resolved::Model(Box::new(model)));
        let entry = self.catalogue().find(&name.short());
        // A damaged model of the catalogue is fetched again.
        if let Some(model) = self.named(name)?.filter(|model| model.is_whole() || entry.is_none()) {
            return Ok(found(model));
        }
        if let Some(model) = self.named_elsewhere(name)? {
            return Ok(found(model));
        }
        if let Some(entry) = entry {
            return self.resolve_entry(entry).map(Some);
        }
        let reference = Reference::Name(name.clone());
        if let Some(hub) = reference.as_hub()
            && let Some(model) = self.of_hub(&hub)?
        {
            return Ok(found(model));
        }
        if let Some(digits) = reference.as_id_prefix()
            && let Some(model) = self.with_id(&format!("sha256:{digits}"))?
        {
            return Ok(found(model));
        }
        // As written: a name that is also a file or a folder here.
        let short = name.short();
        let written = PathBuf::from(short.strip_suffix(":latest").unwrap_or(&short));
        if written.exists() { self.resolve_path(&written).map(Some) } else { Ok(None) }
    }

    fn resolve_entry(&self, entry: &Entry) -> Result<Resolved, StoreError> {
        let is_entry = |model: &FoundModel| {
            let has_it = model.files.iter().any(|file| file.digest == Some(entry.digest));
            has_it && model.is_whole()
        };
        let own = self.named(&Catalogue::stored_name(&entry.name)?)?;
        let found = own.filter(is_entry).or_else(|| self.list_all().models.into_iter().find(is_entry));
        Ok(found.map_or_else(|| Resolved::Missing(entry.clone()), |model| Resolved::Model(Box::new(model))))
    }

    /// The model of a hub repository: pulled under its name, or in the cache of the hub's tools or LM Studio's folder.
    fn of_hub(&self, hub: &HubReference) -> Result<Option<FoundModel>, StoreError> {
        if hub.revision.is_none()
            && let Ok(name) = hub.model_name()
            && let Some(model) = self.named(&name)?
        {
            return Ok(Some(model));
        }
        let mut meant: Vec<FoundModel> =
            self.list_places().models.into_iter().filter(|model| model.is_meant_by(hub)).collect();
        // Of several: a whole one, of the branch that is the default, in the quantization that most people take.
        meant.sort_by_key(|model| {
            let repository = model.repository.as_ref();
            let is_main = repository.is_some_and(|found| found.branches.iter().any(|branch| branch == "main"));
            let quant = repository.and_then(|found| found.quant.as_deref()).unwrap_or_default().to_ascii_uppercase();
            (!model.is_whole(), !is_main, quant != "Q4_K_M", model.name.clone())
        });
        Ok(meant.into_iter().next())
    }

    /// The model of this name in a store of Ollama's that Lair does not write to.
    fn named_elsewhere(&self, name: &ModelName) -> Result<Option<FoundModel>, StoreError> {
        for place in self.settings().places.iter().filter(|place| place.owner == Owner::Ollama) {
            let layout = OllamaLayout::new(&place.root, self.settings().file_system.clone());
            // What another program's folder does not let us read is not here.
            if let Ok(Some(stored)) = layout.manifest(name) {
                return Ok(Some(layout.found(&stored, place.owner)));
            }
        }
        Ok(None)
    }

    /// Every model on this machine: Lair's store first, then the places of other programs.
    pub fn list_all(&self) -> Listing {
        let mut listing = Listing::default();
        match self.list() {
            Ok(models) => listing.models = models,
            Err(error) => listing.problems.push(error.to_string()),
        }
        let elsewhere = self.list_places();
        listing.models.extend(elsewhere.models);
        listing.problems.extend(elsewhere.problems);
        listing
    }

    fn list_places(&self) -> Listing {
        let mut listing = Listing::default();
        for place in &self.settings().places {
            match list_place(place, &self.settings().file_system) {
                Ok(models) => listing.models.extend(models),
                Err(error) => listing.problems.push(error.to_string()),
            }
        }
        listing
    }

    /// The model of this name in the store.
    fn named(&self, name: &ModelName) -> Result<Option<FoundModel>, StoreError> {
        let stored = self.manifest(name)?;
        Ok(stored.map(|stored| self.layout().found(&stored, self.owner_of(&stored.name))))
    }

    /// The model whose ID, or else one of whose blobs, begins with `start`.
    fn with_id(&self, start: &str) -> Result<Option<FoundModel>, StoreError> {
        let models = self.list_all().models;
        let begins = |digest: Option<Digest>| digest.is_some_and(|digest| digest.to_string().starts_with(start));
        let mut matching: Vec<&FoundModel> = models.iter().filter(|model| begins(model.id)).collect();
        if matching.is_empty() {
            matching = models.iter().filter(|model| model.files.iter().any(|file| begins(file.digest))).collect();
        }
        // Two names of one model are one.
        let is_one = matching.windows(2).all(|pair| pair[0].id == pair[1].id);
        match matching.first() {
            Some(first) if is_one => Ok(Some((*first).clone())),
            Some(_) => Err(StoreError::AmbiguousId {
                start: start.to_string(),
                names: matching.iter().map(|model| model.name.clone()).collect(),
            }),
            None => Ok(None),
        }
    }

    /// The error for a name that nothing here has, with those that look like it.
    pub fn unknown(&self, name: &str) -> StoreError {
        let here: Vec<String> = self.list_all().models.into_iter().map(|model| model.name).collect();
        // A tag that was not written is not what was mistyped.
        let written = name.strip_suffix(":latest").unwrap_or(name);
        let without_tag = here.iter().map(|name| name.strip_suffix(":latest").unwrap_or(name));
        let catalogue = self.catalogue().entries().iter().flat_map(Entry::names);
        let mut known: Vec<&str> = without_tag.chain(catalogue).collect();
        known.dedup();
        StoreError::UnknownModel {
            name: written.to_string(),
            near: near(written, known.into_iter()),
            known: self.catalogue().entries().iter().map(|entry| entry.name.clone()).collect(),
        }
    }
}
