//! Which models came from somewhere that can be asked whether they have changed, and asking.

use std::collections::HashMap;

use crate::error::StoreError;
use crate::found::{FoundModel, Owner};
use crate::pull::Available;
use crate::reference::{HubPart, HubReference, PackageReference, Reference};
use crate::sources::hub::{DEFAULT_REVISION, Hub};
use crate::store::Store;

/// A model whose source can be asked for it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    /// The model as it is here.
    pub model: FoundModel,
    /// What is asked for.
    pub reference: Reference,
    /// What is here: digest of a manifest or of a blob, a commit, a version.
    pub version: String,
}

/// Asks sources, each one once for what several models share.
pub struct Freshness<'s> {
    store: &'s Store,
    hub: Option<Hub>,
    commits: HashMap<(String, String), String>,
}

impl Store {
    /// Every model that can be asked for again: what Lair has pulled, and what lies in the hub's cache under a branch.
    /// Models that another program put into the same store are there as well, with their registries.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tracked(&self) -> Result<Vec<Tracked>, StoreError> {
        let mut tracked = Vec::new();
        for model in self.list()? {
            tracked.extend(self.tracked_in_store(model)?);
        }
        let elsewhere = self.list_all().models.into_iter().filter(|model| model.owner == Owner::HubCache);
        tracked.extend(elsewhere.filter_map(tracked_in_hub_cache));
        Ok(tracked)
    }

    fn tracked_in_store(&self, model: FoundModel) -> Result<Option<Tracked>, StoreError> {
        let Some(name) = &model.model_name else { return Ok(None) };
        let note = self.note(name)?;
        let entry = self.catalogue().find(&name.short());
        let text = match &note {
            // Made or imported here: nobody has it.
            Some(note) if note.reference.is_none() && entry.is_none() => return Ok(None),
            Some(note) => note.reference.clone().unwrap_or_else(|| name.short()),
            None => name.short(),
        };
        let Ok(reference) = Reference::parse(&text) else { return Ok(None) };
        let version = match &reference {
            // A link says nothing about what it will bring; asking again is pulling again.
            Reference::Link(_) => return Ok(None),
            // A version that was asked for by name stays what it is.
            Reference::Package(PackageReference { version: Some(_), .. }) => return Ok(None),
            Reference::Package(_) => self.package_version(name)?,
            Reference::Name(_) if entry.is_some() => {
                model.files.iter().find_map(|file| file.digest).map(|digest| digest.to_string())
            }
            _ => model.id.map(|id| id.to_string()),
        };
        Ok(Some(Tracked { reference, version: version.unwrap_or_default(), model }))
    }
}

/// A model of the hub's cache, if a branch stands for it: a commit does not change.
fn tracked_in_hub_cache(model: FoundModel) -> Option<Tracked> {
    let repository = model.repository.as_ref()?;
    let commit = repository.commit.clone()?;
    let is_main = repository.branches.iter().any(|branch| branch == DEFAULT_REVISION);
    let revision = if is_main { None } else { Some(repository.branches.first()?.clone()) };
    let file = model.weights().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let part = match (&repository.quant, file) {
        (Some(quant), _) => HubPart::Quant(quant.clone()),
        (None, Some(file)) => HubPart::File(file),
        (None, None) => HubPart::Any,
    };
    let (owner, name) = (repository.owner.clone(), repository.name.clone());
    let reference = Reference::Hub(HubReference { owner, repository: name, revision, part });
    Some(Tracked { reference, version: commit, model })
}

impl<'s> Freshness<'s> {
    /// Asks for `store`.
    pub fn new(store: &'s Store) -> Freshness<'s> {
        Freshness { store, hub: None, commits: HashMap::new() }
    }

    /// What the source has now, in place of what is here; `None` if that is the same.
    ///
    /// A commit of the hub that changed none of the model's files is the same.
    ///
    /// # Errors
    /// The source cannot be asked, or no longer has it.
    pub fn changed(&mut self, tracked: &Tracked) -> Result<Option<Available>, StoreError> {
        if let Reference::Hub(hub) = &tracked.reference
            && self.commit(hub)? == tracked.version
        {
            return Ok(None);
        }
        let available = self.store.available(&tracked.reference)?;
        let is_same = match &tracked.reference {
            Reference::Hub(_) => available.missing_bytes == Some(0),
            _ => available.version == tracked.version,
        };
        Ok(if is_same { None } else { Some(available) })
    }

    /// The commit of a branch; a repository with several models is asked once.
    fn commit(&mut self, reference: &HubReference) -> Result<String, StoreError> {
        let branch = reference.revision.as_deref().unwrap_or(DEFAULT_REVISION);
        let key = (reference.repository_id(), branch.to_string());
        if let Some(commit) = self.commits.get(&key) {
            return Ok(commit.clone());
        }
        let hub = match &self.hub {
            Some(hub) => hub,
            None => self.hub.insert(Hub::new(self.store.settings())?),
        };
        let (commit, _) = hub.commit(&key.0, branch)?;
        self.commits.insert(key, commit.clone());
        Ok(commit)
    }
}
