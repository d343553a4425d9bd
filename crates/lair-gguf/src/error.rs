//! Why a model file was refused: what, where, what was found and what was expected.

use std::path::PathBuf;

use crate::foreign::OtherFormat;
use crate::foreign_types::TypeMaker;

/// A model file that cannot be used, or a key of it that is not what the caller needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: "open", "map", "write" ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file: it is {format} (at byte 0, field `magic`)")]
    NotGguf {
        /// What it looks like.
        format: OtherFormat,
    },
    /// The numbers in the file are big-endian.
    #[error("the file is big-endian GGUF version {version} (at byte 4, field `version`), expected little-endian")]
    BigEndian {
        /// The version, read in the order of the file.
        version: u32,
    },
    /// A version this reader does not know.
    #[error("GGUF version {version} is unknown (at byte 4, field `version`), expected 1, 2 or 3")]
    UnsupportedVersion {
        /// The version in the file.
        version: u32,
    },
    /// The bytes end inside a field.
    #[error("the file ends too early: at byte {offset}, {field} needs {needed} bytes, {available} remain")]
    Truncated {
        /// Where the field begins.
        offset: u64,
        /// The field.
        field: String,
        /// How many bytes the field takes, at least.
        needed: u64,
        /// How many are left.
        available: u64,
    },
    /// A field holds a value that no valid file has.
    #[error("at byte {offset}, {field}: found {found}, expected {expected}")]
    Malformed {
        /// Where the field begins.
        offset: u64,
        /// The field.
        field: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// A tensor is stored in a type this program does not have.
    #[error("at byte {offset}, tensor `{tensor}` has type id {id}, {maker}")]
    UnknownTensorType {
        /// Where the id stands.
        offset: u64,
        /// The tensor's name.
        tensor: String,
        /// The id.
        id: u32,
        /// Whose type that is, as far as known.
        maker: TypeMaker,
    },
    /// Two tensors share bytes of the file.
    #[error(
        "tensors `{first}` and `{second}` overlap: one ends at byte {first_end}, the other begins at {second_start}"
    )]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The other.
        second: String,
        /// End of the first, from the start of the file.
        first_end: u64,
        /// Start of the second, from the start of the file.
        second_start: u64,
    },
    /// A tensor lies outside of the file.
    #[error("tensor `{tensor}` ends at byte {end}, the file ends at byte {file_length}")]
    TensorPastEnd {
        /// The tensor's name.
        tensor: String,
        /// Where its data would end, from the start of the file.
        end: u64,
        /// The length of the file.
        file_length: u64,
    },
    /// A metadata key that must be there is not.
    #[error("the key `{key}` is missing, expected {expected}")]
    MissingKey {
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// A metadata key has a value of another type, or one that does not fit.
    #[error("the key `{key}` holds {found}, expected {expected}")]
    WrongValue {
        /// The key.
        key: String,
        /// The type found, and the value where that matters.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// No tensor has this name.
    #[error("the tensor `{name}` is missing")]
    MissingTensor {
        /// The name asked for.
        name: String,
    },
    /// A shard of a split model is not there.
    #[error("shard {number} of {count} is missing: `{}`", path.display())]
    MissingShard {
        /// The shard, counted from 1.
        number: u32,
        /// How many there should be.
        count: u32,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The shards do not make one model.
    #[error("`{}` does not fit the split model: {what} is {found}, expected {expected}", path.display())]
    ShardMismatch {
        /// The shard.
        path: PathBuf,
        /// The key or property that disagrees.
        what: String,
        /// What this shard says.
        found: String,
        /// What the other shards, or its name, say.
        expected: String,
    },
    /// The vocabulary breaks a rule.
    #[error("the vocabulary is not usable: `{key}`{} holds {found}, expected {expected}", index.map(|index| format!(" entry {index}")).unwrap_or_default())]
    Vocabulary {
        /// The key.
        key: String,
        /// Which entry of it.
        index: Option<usize>,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
    /// The file shrank or grew after it was opened.
    #[error("`{}` changed while in use: it had {expected} bytes, now {found}", path.display())]
    ChangedInUse {
        /// The file.
        path: PathBuf,
        /// Bytes when it was opened.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// A file this crate refuses, with its path.
    #[error("`{}`: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<GgufError>,
    },
    /// What was to be written is not a valid model file.
    #[error("cannot write {what}: found {found}, expected {expected}")]
    Unwritable {
        /// The key or tensor.
        what: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
}

impl GgufError {
    /// What the reader of the message can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            GgufError::NotGguf { format } => format.hint().map(str::to_owned),
            GgufError::BigEndian { .. } => Some("turn it once: `lair gguf endian FILE little OUT`".into()),
            GgufError::UnsupportedVersion { version } if *version > 3 => {
                Some("the file is newer than this program: update the program".into())
            }
            GgufError::Truncated { .. } | GgufError::TensorPastEnd { .. } => {
                Some("the download may be incomplete: compare the size with the source and fetch it again".into())
            }
            GgufError::UnknownTensorType { maker, .. } => maker.hint().map(str::to_owned),
            GgufError::MissingShard { .. } => Some("all shards must lie in one folder under their own names".into()),
            GgufError::ChangedInUse { .. } => Some("load the model again".into()),
            GgufError::InFile { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// The same error with the file it is about.
    pub(crate) fn in_file(self, path: &std::path::Path) -> GgufError {
        GgufError::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}
