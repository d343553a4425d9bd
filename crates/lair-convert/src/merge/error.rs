//! Why models were not merged.

use crate::error::ConvertError;

/// A merge that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The configuration says what is not understood, or does not say what is needed.
    #[error("the merge configuration: {what}: found {found}, expected {expected}")]
    Config {
        /// The key.
        what: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// A part of mergekit's language that is known and not built.
    #[error("the merge configuration: {what} is not built")]
    Unsupported {
        /// The part.
        what: String,
    },
    /// Two models do not fit together.
    #[error("`{first}` and `{second}` cannot be merged: {cause}")]
    Mismatch {
        /// A model, as the configuration names it.
        first: String,
        /// Another.
        second: String,
        /// What differs.
        cause: String,
    },
    /// A model cannot be opened, or the result not be written.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

impl MergeError {
    pub(super) fn config(what: impl ToString, found: impl ToString, expected: impl ToString) -> MergeError {
        let found = crate::error::printable(&found.to_string());
        MergeError::Config { what: what.to_string(), found, expected: expected.to_string() }
    }

    /// What the reader of the message can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            MergeError::Convert(error) => error.hint(),
            MergeError::Mismatch { .. } => {
                Some("models that are merged have one architecture, one width and one vocabulary".to_owned())
            }
            _ => None,
        }
    }
}

impl From<lair_gguf::GgufError> for MergeError {
    fn from(error: lair_gguf::GgufError) -> MergeError {
        MergeError::Convert(error.into())
    }
}
