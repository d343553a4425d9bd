//! Why a model cannot be loaded: what, where, found, expected.

use std::path::PathBuf;

use lair_compute::ComputeError;
use lair_gguf::GgufError;

/// A model file that is well-formed but cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No declaration has this name.
    #[error("the architecture `{name}` is unknown; known are {}", supported.join(", "))]
    UnknownArchitecture {
        /// What the file says.
        name: String,
        /// The known name that is spelled most like it, if one is close.
        near: Option<&'static str>,
        /// Every known name.
        supported: Vec<&'static str>,
    },
    /// The architecture is declared, but the forward pass cannot run a part of it.
    #[error("models of architecture `{architecture}` cannot be run yet: {what}")]
    Unsupported {
        /// The architecture.
        architecture: String,
        /// The part.
        what: &'static str,
    },
    /// An adapter's file cannot change this model.
    #[error("the adapter `{}` does not fit: {cause}", path.display())]
    Adapter {
        /// The adapter's file.
        path: PathBuf,
        /// What does not fit.
        cause: String,
    },
    /// The file could not be read, or a key has a value of another type.
    #[error(transparent)]
    File(#[from] GgufError),
    /// A key that the architecture needs is not in the file.
    #[error("the key `{key}` is missing, expected {expected}")]
    MissingKey {
        /// The key.
        key: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A hyper-parameter is out of range or contradicts another one.
    #[error("the key `{key}` holds {found}, expected {expected}")]
    Parameter {
        /// The key.
        key: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("the tensor `{name}` of shape {shape:?} is missing")]
    MissingTensor {
        /// Its name.
        name: String,
        /// The shape it should have, the fastest dimension first.
        shape: Vec<usize>,
    },
    /// A tensor has another shape than the hyper-parameters imply.
    #[error("the tensor `{name}` has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// Its name.
        name: String,
        /// Its shape in the file, the fastest dimension first.
        found: Vec<u64>,
        /// The shape that the hyper-parameters imply.
        expected: Vec<usize>,
    },
    /// A tensor holds what it cannot mean.
    #[error("the tensor `{name}` holds {found}, expected {expected}")]
    TensorValues {
        /// Its name.
        name: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// The file has weights that the declaration of its architecture does not use: running it would ignore them.
    #[error("{count} tensors of the file belong to no declared part of `{architecture}`, the first is `{first}`")]
    UnusedTensors {
        /// The architecture.
        architecture: String,
        /// How many.
        count: usize,
        /// Name of the first.
        first: String,
    },
    /// A backend refused a weight or could not allocate.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// A step gave a logit that is not a number, or infinite.
    #[error("the model produces non-finite logits (row {row}, token {token})")]
    NonFiniteLogits {
        /// Row among those wanted.
        row: usize,
        /// Index in the vocabulary.
        token: usize,
    },
}

impl ModelError {
    /// What the reader of the message can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            ModelError::UnknownArchitecture { near: Some(near), .. } => {
                Some(format!("the nearest known name is `{near}`; a newer version may know this architecture"))
            }
            ModelError::UnknownArchitecture { .. } => Some("a newer version may know this architecture".into()),
            ModelError::File(error) => error.hint(),
            ModelError::MissingKey { .. } | ModelError::MissingTensor { .. } => {
                Some("the file is incomplete or was converted for another program: convert or fetch it again".into())
            }
            ModelError::Parameter { .. } | ModelError::TensorShape { .. } | ModelError::TensorValues { .. } => {
                Some("the file contradicts itself: convert or fetch it again".into())
            }
            ModelError::UnusedTensors { .. } => {
                Some("the file holds a variant of the architecture that this version does not run".into())
            }
            ModelError::NonFiniteLogits { .. } => Some(
                "weights are damaged or were quantized wrongly: fetch the file again, or another quantization".into(),
            ),
            _ => None,
        }
    }
}
