//! From what the user calls a model to the model: the store first, then the catalogue, then the file system.

use std::path::{Path, PathBuf};

use crate::catalogue::{Catalogue, Entry};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::found::FoundModel;
use crate::model_name::ModelName;
use crate::near::near;
use crate::reference::Reference;
use crate::store::Store;

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
    /// Finds what `reference` means. Fetches nothing, changes nothing.
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
            Reference::Hub(hub) => match hub.model_name() {
                Ok(name) => self.named(&name)?,
                Err(_) => None,
            },
            Reference::Digest(digest) => self.with_id(&digest.to_string())?,
            Reference::IdPrefix(digits) => self.with_id(&format!("sha256:{digits}"))?,
            Reference::Link(_) | Reference::Package(_) => None,
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
        let name_problem = path.to_str().and_then(|text| text.parse::<ModelName>().err());
        Err(StoreError::FileNotFound {
            path: path.to_path_buf(),
            name_problem: name_problem.map(|error| error.problem),
        })
    }

    fn resolve_name(&self, name: &ModelName) -> Result<Option<Resolved>, StoreError> {
        let entry = self.catalogue().find(&name.short());
        // A damaged model of the catalogue is fetched again.
        if let Some(model) = self.named(name)?.filter(|model| model.is_whole() || entry.is_none()) {
            return Ok(Some(Resolved::Model(Box::new(model))));
        }
        if let Some(entry) = entry {
            return self.resolve_entry(entry).map(Some);
        }
        if let Some(digits) = Reference::Name(name.clone()).as_id_prefix()
            && let Some(model) = self.with_id(&format!("sha256:{digits}"))?
        {
            return Ok(Some(Resolved::Model(Box::new(model))));
        }
        // As written: a name that is also a file here.
        let short = name.short();
        let written = PathBuf::from(short.strip_suffix(":latest").unwrap_or(&short));
        Ok(written.is_file().then_some(Resolved::File(written)))
    }

    fn resolve_entry(&self, entry: &Entry) -> Result<Resolved, StoreError> {
        let found = self.named(&Catalogue::stored_name(&entry.name)?)?;
        let is_entry = |model: &FoundModel| model.files.iter().any(|file| file.digest == Some(entry.digest));
        match found.filter(|model| model.is_whole() && is_entry(model)) {
            Some(model) => Ok(Resolved::Model(Box::new(model))),
            None => Ok(Resolved::Missing(entry.clone())),
        }
    }

    /// The model of this name in the store.
    fn named(&self, name: &ModelName) -> Result<Option<FoundModel>, StoreError> {
        let stored = self.manifest(name)?;
        Ok(stored.map(|stored| self.layout().found(&stored, self.owner_of(&stored.name))))
    }

    /// The model whose ID, or else one of whose blobs, begins with `start`.
    fn with_id(&self, start: &str) -> Result<Option<FoundModel>, StoreError> {
        let models = self.list()?;
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
        let here: Vec<String> =
            self.layout().names().unwrap_or_default().into_iter().map(|(name, _)| name.short()).collect();
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
