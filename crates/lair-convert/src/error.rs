//! Why a checkpoint was refused: what, where, what was found and what was expected.

use std::path::{Path, PathBuf};

use lair_gguf::GgufError;
use lair_model::ModelError;

/// A checkpoint that cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file cannot be opened or mapped, or the model to be is not one.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The operating system refused an operation.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file's content breaks a rule.
    #[error("`{}`: {fault}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A folder or file that is no checkpoint.
    #[error("`{}` is no checkpoint: found {found}, expected {expected}", path.display())]
    NotACheckpoint {
        /// The folder.
        path: PathBuf,
        /// What it holds instead.
        found: String,
        /// What makes a checkpoint.
        expected: &'static str,
    },
    /// No declaration has this class, or the one that has it does not say how its checkpoints are stored.
    #[error("checkpoints of `{class}` are not converted")]
    UnknownClass {
        /// The class that `config.json` names.
        class: String,
        /// The classes that are converted.
        supported: Vec<&'static str>,
    },
    /// A part of the checkpoint that is known and not built.
    #[error("{what} is not converted")]
    Unsupported {
        /// The part, with its name.
        what: String,
    },
    /// A tensor of the checkpoint that no declaration names.
    #[error("the checkpoint has {count} tensors that `{architecture}` does not name, the first is `{first}`")]
    UnusedTensors {
        /// The architecture.
        architecture: &'static str,
        /// How many.
        count: usize,
        /// The first by name.
        first: String,
    },
    /// A tensor has a shape that a change needs otherwise.
    #[error("tensor `{name}` has the shape {found:?}, expected {expected}")]
    TensorShape {
        /// Its name in the checkpoint.
        name: String,
        /// Its shape, the slowest dimension first.
        found: Vec<usize>,
        /// What the change needs.
        expected: String,
    },
    /// The hyper-parameters or tensors do not make a model of the architecture.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl ConvertError {
    /// What the reader of the message can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConvertError::Gguf(error) => error.hint(),
            ConvertError::Model(error) => error.hint(),
            ConvertError::InFile { fault, .. } => fault.hint().map(str::to_owned),
            ConvertError::UnknownClass { supported, .. } => Some(format!("converted are: {}", supported.join(", "))),
            ConvertError::NotACheckpoint { .. } => {
                Some("name the folder that holds `config.json`, the weights and the tokenizer".to_owned())
            }
            ConvertError::UnusedTensors { .. } => {
                Some("the checkpoint may be of a newer version of the architecture, or not whole".to_owned())
            }
            _ => None,
        }
    }
}

/// What is wrong within a file; its path is added by whoever opened it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A field or tensor holds what no valid file has.
    #[error("{what}: found {found}, expected {expected}")]
    Malformed {
        /// The field or tensor.
        what: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// A pickle asks for code that is no part of a tensor. Nothing was run.
    #[error("the pickle asks for `{name}`, which is no part of a tensor; nothing of it was run")]
    Global {
        /// Module and name, as the file has them.
        name: String,
    },
    /// A pickle has an instruction that tensors do not need. Nothing was run.
    #[error("the pickle has the instruction {name} at byte {offset}, which tensors do not need; nothing of it was run")]
    Instruction {
        /// Its name or number.
        name: String,
        /// Where it stands.
        offset: usize,
    },
    /// A kind of file or element that is known and not read.
    #[error("{what} is not read")]
    Unsupported {
        /// What it is.
        what: String,
    },
}

impl Fault {
    pub(crate) fn malformed(what: impl ToString, found: impl ToString, expected: impl ToString) -> Fault {
        let (found, expected) = (printable(&found.to_string()), expected.to_string());
        Fault::Malformed { what: printable(&what.to_string()), found, expected }
    }

    pub(crate) fn unsupported(what: impl ToString) -> Fault {
        Fault::Unsupported { what: printable(&what.to_string()) }
    }

    pub(crate) fn in_file(self, path: &Path) -> ConvertError {
        ConvertError::InFile { path: path.to_owned(), fault: self }
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Fault::Global { .. } | Fault::Instruction { .. } => {
                Some("a file of weights needs neither; do not open it with a program that runs it")
            }
            _ => None,
        }
    }
}

/// Foreign words for a message: short, and without control characters.
pub(crate) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let mut shown: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(CHARS_MAX).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
