//! What can be wrong with a vocabulary, and what to do about it.

use thiserror::Error;

/// Why a tokenizer could not be built or an id could not be decoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A metadata key is missing or holds a value of another type.
    #[error(transparent)]
    Metadata(#[from] lair_gguf::GgufError),
    /// A key that the tokenizer kind needs is not in the file.
    #[error("the model file has no `{key}`")]
    MissingKey {
        /// The metadata key or JSON path.
        key: String,
    },
    /// A key holds a value of another type.
    #[error("`{key}` is not {expected}")]
    WrongType {
        /// The metadata key or JSON path.
        key: String,
        /// What the value should be.
        expected: &'static str,
    },
    /// `tokenizer.ggml.model` names a kind of tokenizer that is not supported.
    #[error("tokenizer kind `{name}` is not supported")]
    UnknownModel {
        /// The name in the file.
        name: String,
    },
    /// `tokenizer.ggml.pre` names no known pre-tokenizer.
    #[error("pre-tokenizer `{name}` is not known")]
    UnknownPreTokenizer {
        /// The name in the file.
        name: String,
    },
    /// A count or length lies outside of its limits.
    #[error("{what} is {found}, the limit is {limit}")]
    LimitExceeded {
        /// What was counted.
        what: &'static str,
        /// What the file holds.
        found: u64,
        /// The largest value accepted.
        limit: u64,
    },
    /// Two lists that run in parallel differ in length.
    #[error("`{key}` has {found} entries for {expected} tokens")]
    LengthMismatch {
        /// The shorter list.
        key: String,
        /// Its length.
        found: usize,
        /// The number of tokens.
        expected: usize,
    },
    /// A special token lies outside of the vocabulary.
    #[error("`{key}` is {id}, the vocabulary has {count} tokens")]
    SpecialTokenOutOfRange {
        /// The metadata key.
        key: String,
        /// The id it gives.
        id: u64,
        /// The size of the vocabulary.
        count: usize,
    },
    /// Two ordinary tokens spell the same piece.
    #[error("tokens {first} and {second} are the same piece {piece:?}")]
    DuplicatePiece {
        /// The token that came first.
        first: u32,
        /// The token that repeats it.
        second: u32,
        /// Their text.
        piece: String,
    },
    /// A score is infinite or not a number.
    #[error("the score of token {token} is not finite")]
    ScoreNotFinite {
        /// The token.
        token: u32,
    },
    /// A token of type byte does not read `<0xHH>`.
    #[error("byte token {token} reads {text:?}, not `<0xHH>`")]
    MalformedByteToken {
        /// The token.
        token: u32,
        /// Its text.
        text: String,
    },
    /// The tokenizer falls back to bytes and a byte has no token.
    #[error("the vocabulary has no token for byte 0x{byte:02X}")]
    MissingByteToken {
        /// The byte without a token.
        byte: u8,
    },
    /// A line of the merge list is not two pieces with a space between them.
    #[error("merge {index} is not two pieces: {text:?}")]
    MalformedMerge {
        /// Its 0-based place in the list.
        index: usize,
        /// The line.
        text: String,
    },
    /// A merge speaks of a piece that is no token.
    #[error("merge {index} refers to {piece:?}, which is not in the vocabulary")]
    MergeOfUnknownPiece {
        /// Its 0-based place in the list.
        index: usize,
        /// The missing piece.
        piece: String,
    },
    /// The precompiled character map is damaged.
    #[error("the precompiled character map is damaged: {reason}")]
    MalformedCharacterMap {
        /// What is wrong.
        reason: &'static str,
    },
    /// A SentencePiece model file is damaged.
    #[error("the sentencepiece model is damaged at byte {offset}: {reason}")]
    MalformedSentencePiece {
        /// Where reading stopped.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// `tokenizer.json` is not JSON or not of the expected shape.
    #[error("tokenizer.json cannot be read: {reason}")]
    MalformedJson {
        /// What the JSON reader said.
        reason: String,
    },
    /// `tokenizer.json` uses a part that is not supported.
    #[error("tokenizer.json: {part} `{name}` is not supported")]
    UnsupportedPart {
        /// Normalizer, pre-tokenizer, model, decoder, post-processor.
        part: &'static str,
        /// Its name, or the option that is not supported.
        name: String,
    },
    /// A regular expression needs backtracking or is malformed.
    #[error("the regular expression {pattern:?} cannot run in linear time: {reason}")]
    UnsupportedRegex {
        /// The expression.
        pattern: String,
        /// What the compiler said.
        reason: String,
    },
    /// An id to decode is not in the vocabulary.
    #[error("token id {id} is not in the vocabulary of {count} tokens")]
    TokenIdOutOfRange {
        /// The id.
        id: u32,
        /// The size of the vocabulary.
        count: usize,
    },
}

impl TokenizerError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownModel { .. } | Self::UnknownPreTokenizer { .. } => Some(
                "a newer version may support this model; another conversion of the same model will not help".into(),
            ),
            Self::MissingKey { .. } | Self::LengthMismatch { .. } => {
                Some("the file was cut short or converted without its vocabulary: fetch or convert it again".into())
            }
            Self::UnsupportedPart { .. } | Self::UnsupportedRegex { .. } => {
                Some("use a GGUF conversion of this model: its tokenizer is named there, not spelled out".into())
            }
            Self::TokenIdOutOfRange { count, .. } => Some(format!("ids run from 0 to {}", count.saturating_sub(1))),
            _ => None,
        }
    }
}
