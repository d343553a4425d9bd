//! What is wrong with a file of tasks.

/// A file of tasks that cannot be read as what it is said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A line is not what the task's format has there.
    #[error("line {line}: {cause}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// There is nothing in the file.
    #[error("the file has no tasks")]
    Empty,
    /// The bytes are those of a compressed file.
    #[error("the file is compressed ({kind}), text expected")]
    Compressed {
        /// How.
        kind: &'static str,
    },
    /// The bytes are no text.
    #[error("the file is not UTF-8: the byte at offset {offset} begins no character")]
    NotText {
        /// Where.
        offset: usize,
    },
}

impl EvalError {
    pub(crate) fn line(index: usize, cause: impl Into<String>) -> EvalError {
        EvalError::Line { line: index + 1, cause: cause.into() }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            EvalError::Compressed { kind } => {
                let tool = if *kind == "bzip2" { "bzcat" } else { "zcat" };
                Some(format!("give it decompressed: `{tool} FILE | lair eval TASK -`"))
            }
            _ => None,
        }
    }
}
