//! A model that some store on this machine holds: what all layouts make of their files, for listings and for running.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::model_name::ModelName;
use crate::reference::{HubPart, HubReference};

/// Whose a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// In the store that Lair writes to, brought by Lair.
    Lair,
    /// Brought by Ollama, be it into the same folder.
    Ollama,
    /// In the cache of the hub's own tools.
    HubCache,
    /// In LM Studio's folder.
    LmStudio,
    /// In a folder that the user named.
    Folder,
}

impl Owner {
    /// As listings and flags say it.
    pub fn name(self) -> &'static str {
        match self {
            Owner::Lair => "lair",
            Owner::Ollama => "ollama",
            Owner::HubCache => "hub",
            Owner::LmStudio => "lmstudio",
            Owner::Folder => "folder",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// What a file of a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileRole {
    /// Weights; of a split model the first file opens the others.
    Weights,
    /// A vision or audio tower.
    Projector,
    /// A LoRA adapter.
    Adapter,
    /// A draft model.
    Draft,
    /// Templates, licences, configuration.
    Other,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is for.
    pub role: FileRole,
    /// Its length, as the store says it should be.
    pub size_bytes: u64,
    /// Its digest, where the store knows one.
    pub digest: Option<Digest>,
    /// Which file it is, where the system tells: equal for hard links.
    pub identity: Option<(u64, u64)>,
}

/// What keeps a model from being whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A file is not there.
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file has another length.
    WrongLength {
        /// Which.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// The list of its parts cannot be read.
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Missing { path } => write!(formatter, "`{}` is missing", path.display()),
            Damage::WrongLength { path, found, expected } => {
                write!(formatter, "`{}` has {found} bytes, {expected} are expected", path.display())
            }
            Damage::Unreadable { path, problem } => write!(formatter, "`{}`: {problem}", path.display()),
        }
    }
}

/// A model in some store.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundModel {
    /// Whose it is.
    pub owner: Owner,
    /// Folder of the store it is in.
    pub root: PathBuf,
    /// What to type to mean it.
    pub name: String,
    /// The same as a name, where the store keeps it under one.
    pub model_name: Option<ModelName>,
    /// Digest of its manifest, where it has one.
    pub id: Option<Digest>,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// When it came.
    pub modified: Option<SystemTime>,
    /// Why it cannot be run; empty if it is whole.
    pub damage: Vec<Damage>,
    /// The repository of the hub it is from, where its place says.
    pub repository: Option<Repository>,
}

/// Which repository of the hub a model is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// User or organisation.
    pub owner: String,
    /// Name of the repository.
    pub name: String,
    /// The commit, where it is known.
    pub commit: Option<String>,
    /// Branches that are at this commit.
    pub branches: Vec<String>,
    /// The quantization that the file's name says.
    pub quant: Option<String>,
}

impl FoundModel {
    /// Whether every file is here with its length.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    /// The file to open: the weights, or the first of them.
    pub fn weights(&self) -> Option<&Path> {
        self.file(FileRole::Weights).map(|file| file.path.as_path())
    }

    /// The first file of this role.
    pub fn file(&self, role: FileRole) -> Option<&ModelFile> {
        self.files.iter().find(|file| file.role == role)
    }

    /// Whether a reference to the hub means this model: the same repository, and what part of it and which revision was
    /// asked for.
    pub fn is_meant_by(&self, hub: &HubReference) -> bool {
        let Some(repository) = &self.repository else { return false };
        let same = |left: &str, right: &str| left.eq_ignore_ascii_case(right);
        let is_revision = |revision: &String| {
            repository.branches.contains(revision)
                || repository.commit.as_ref().is_some_and(|commit| commit.starts_with(revision.as_str()))
        };
        let is_part = match &hub.part {
            HubPart::Any => true,
            HubPart::Quant(quant) => repository.quant.as_ref().is_some_and(|own| same(own, quant)),
            HubPart::File(file) => self.files.iter().any(|own| own.path.ends_with(file)),
        };
        same(&repository.owner, &hub.owner)
            && same(&repository.name, &hub.repository)
            && hub.revision.as_ref().is_none_or(is_revision)
            && is_part
    }

    /// Bytes of its files, the same bytes once.
    pub fn size_bytes(&self) -> u64 {
        size_bytes_once(std::slice::from_ref(self))
    }
}

/// Bytes of all files of these models: what has the same digest, or is the same file, counts once.
pub fn size_bytes_once(models: &[FoundModel]) -> u64 {
    let mut digests = HashSet::new();
    let mut identities = HashSet::new();
    let mut paths = HashSet::new();
    let mut sum = 0u64;
    for file in models.iter().flat_map(|model| &model.files) {
        let has_new_digest = file.digest.is_none_or(|digest| digests.insert(digest));
        let has_new_identity = file.identity.is_none_or(|identity| identities.insert(identity));
        if has_new_digest && has_new_identity && paths.insert(&file.path) {
            sum = sum.saturating_add(file.size_bytes);
        }
    }
    sum
}
