//! Why a model could not be quantized.

use std::path::PathBuf;

use lair_gguf::{GgufError, TensorType};
use lair_quant::QuantError;

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The model's file, or the new one.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A conversion of values.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// The disk.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        source: std::io::Error,
    },
    /// A file that is no importance matrix.
    #[error("`{}` is no importance matrix: {found}, expected {expected}", path.display())]
    BadImportance {
        /// The file.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// Importances of another model.
    #[error("the importance matrix has {found} values for `{tensor}`, expected {expected}")]
    ImportanceShape {
        /// The tensor.
        tensor: String,
        /// Values there are.
        found: u64,
        /// Values the tensor needs.
        expected: u64,
    },
    /// Two importance matrices that do not count the same.
    #[error("one importance matrix counts rows, the other pieces of text")]
    ImportanceCounts,
    /// So few bits that only an importance matrix makes them useful.
    #[error("`{tensor}` would become {to}, which is worthless without an importance matrix")]
    NeedsImportance {
        /// The tensor.
        tensor: String,
        /// The type.
        to: TensorType,
    },
    /// The tensor is quantized already.
    #[error("`{tensor}` is {from} already; quantizing it again to {to} loses more than either")]
    Requantizes {
        /// The tensor.
        tensor: String,
        /// What it is.
        from: TensorType,
        /// What it would become.
        to: TensorType,
    },
    /// A size that no choice of types reaches.
    #[error("a file of {target} bytes is wanted, the smallest types make {least}")]
    TargetTooSmall {
        /// What is wanted.
        target: u64,
        /// What is possible.
        least: u64,
    },
    /// A weight that is infinite or no number.
    #[error("`{tensor}` has a value that is not finite in row {row}")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The row, of all its matrices together.
        row: u64,
    },
    /// The caller wants no more.
    #[error("stopped")]
    Stopped,
}

impl QuantizeError {
    /// What one can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            QuantizeError::Gguf(error) => error.hint(),
            QuantizeError::Quant(error) => error.hint(),
            QuantizeError::NeedsImportance { .. } => {
                Some("give one with `--imatrix FILE`, or choose a type of three bits or more".to_owned())
            }
            QuantizeError::Requantizes { .. } => {
                Some("start from a file in F32, F16 or BF16, or say `--allow-requantize`".to_owned())
            }
            QuantizeError::ImportanceShape { .. } => {
                Some("the matrix was computed for another model; `--exclude-weights` leaves tensors out".to_owned())
            }
            QuantizeError::TargetTooSmall { .. } => {
                Some("types of fewer bits need an importance matrix: `--imatrix FILE`".to_owned())
            }
            QuantizeError::NotFinite { .. } => Some("the model is damaged, or was damaged in training".to_owned()),
            _ => None,
        }
    }
}
