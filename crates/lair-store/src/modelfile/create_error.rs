//! Why a model could not be made.

use std::path::PathBuf;

use thiserror::Error;

use super::error::ModelfileError;
use super::settings::LayerReadError;
use crate::catalogue::Entry;
use crate::digest::Digest;
use crate::error::StoreError;

/// Why a model could not be made of a Modelfile.
#[derive(Debug, Error)]
pub enum CreateError {
    /// The Modelfile is none.
    #[error(transparent)]
    Modelfile(#[from] ModelfileError),
    /// The store refused.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The model it is made from is damaged.
    #[error("`{name}` cannot be made from: {reason}")]
    Base {
        /// The model.
        name: String,
        /// What is wrong with its layers.
        reason: Box<LayerReadError<StoreError>>,
    },
    /// The model it is made from is known, and not here.
    #[error("`{}` is not here", .0.name)]
    NotHere(Box<Entry>),
    /// A file is not of the right kind.
    #[error("`{}` is {found}, {expected} is expected", path.display())]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A file cannot be read as a model.
    #[error("`{}`: {reason}", path.display())]
    BadModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: lair_gguf::GgufError,
    },
    /// A model that must be converted first.
    #[error(
        "`{}` holds safetensors{}, which `lair create` does not convert{}",
        path.display(),
        architecture.as_ref().map(|name| format!(" of {name}")).unwrap_or_default(),
        lacking(missing)
    )]
    NeedsConversion {
        /// The folder.
        path: PathBuf,
        /// What `config.json` says they are.
        architecture: Option<String>,
        /// What a conversion would need and is not there.
        missing: Vec<String>,
    },
    /// A folder without a model.
    #[error("no GGUF file in `{}`", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Some of the files of a split model.
    #[error("the model is split into {count} files, and only {} named after FROM: `{}`", are(*found), path.display())]
    Split {
        /// One of them.
        path: PathBuf,
        /// How many were found.
        found: usize,
        /// How many there must be.
        count: u32,
    },
    /// More than one model.
    #[error("two models are named after FROM: `{first}` and `{second}`")]
    TwoModels {
        /// Named first.
        first: String,
        /// Named later.
        second: String,
    },
    /// Projectors only.
    #[error("no model is named after FROM, only projectors")]
    NoModel,
    /// A digest that is no blob of the store.
    #[error("no blob {digest} in the store")]
    NoBlob {
        /// As given.
        digest: Digest,
    },
}

impl CreateError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            CreateError::Modelfile(error) => return error.hint(),
            CreateError::Store(error) => return error.hint(),
            CreateError::BadModel { reason, .. } => return reason.hint(),
            CreateError::Base { name, .. } => return Some(format!("`lair pull {name}` brings it again")),
            CreateError::NotHere(entry) => return Some(format!("`lair pull {}` brings it", entry.name)),
            CreateError::NeedsConversion { .. } => "`lair convert` makes a GGUF file of a checkpoint",
            CreateError::EmptyFolder { .. } => "FROM takes a GGUF file, a folder with one, a model or a digest",
            CreateError::Split { .. } => {
                "give all parts one folder and their names, which end in `-00001-of-00003.gguf`, and name the first"
            }
            CreateError::TwoModels { .. } => "FROM may occur again for a projector only",
            CreateError::NoModel => "add a FROM line with the model itself",
            CreateError::NoBlob { .. } => "FROM takes the digest of a blob, as `lair show --modelfile` prints it",
            CreateError::WrongFile { .. } => return None,
        };
        Some(hint.to_string())
    }
}

fn lacking(missing: &[String]) -> String {
    if missing.is_empty() { String::new() } else { format!("; it lacks {}", missing.join(", ")) }
}

fn are(count: usize) -> String {
    if count == 1 { "1 is".to_string() } else { format!("{count} are") }
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> CreateError {
        CreateError::Store(Box::new(error))
    }
}
