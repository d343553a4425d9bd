//! From the spelling of tokens in a file to the bytes they stand for.

use lair_gguf::StringArray;

use super::byte_level;
use super::error::TokenizerError;
use super::longest_match::unescape;
use super::normalize::ESCAPED_SPACE;
use super::pieces::PieceList;
use super::vocabulary::{
    PIECE_LENGTH_MAX, TOKEN_COUNT_MAX, TokenId, TokenKind, VOCABULARY_BYTES_MAX, Vocabulary, parse_byte_token,
};

/// How the file spells the bytes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// In the printable alphabet of byte-level vocabularies.
    Printable,
    /// As text in which U+2581 is a space.
    Escaped,
    /// As text in which U+2581 begins a word, and what does not begin with it continues one.
    Words {
        /// Words that are written without a space before them have none.
        cleans_up: bool,
    },
    /// As text in which a backslash gives the next characters a meaning.
    Backslashes,
    /// As text.
    Plain,
}

/// Refuses vocabularies beyond the limits.
pub(crate) fn check_limits(tokens: &StringArray) -> Result<(), TokenizerError> {
    let within = |what, found: usize, limit: usize| {
        let (found, limit) = (found as u64, limit as u64);
        if found <= limit { Ok(()) } else { Err(TokenizerError::LimitExceeded { what, found, limit }) }
    };
    within("number of tokens", tokens.len(), TOKEN_COUNT_MAX)?;
    within("length of the longest piece", tokens.iter().map(str::len).max().unwrap_or(0), PIECE_LENGTH_MAX)?;
    within("length of all pieces", tokens.iter().map(str::len).sum(), VOCABULARY_BYTES_MAX)
}

/// Fills in the pieces, and the outputs where they differ. `unknown_output` is what the unknown token adds to a text, if
/// that is not its spelling.
pub(crate) fn spell(
    vocabulary: &mut Vocabulary,
    tokens: &StringArray,
    spelling: Spelling,
    unknown_output: Option<(TokenId, &str)>,
) -> Result<(), TokenizerError> {
    let size_bytes = tokens.iter().map(str::len).sum();
    let mut pieces = PieceList::with_capacity(tokens.len(), size_bytes);
    let mut outputs = PieceList::with_capacity(tokens.len(), size_bytes);
    for (index, (text, &kind)) in tokens.iter().zip(&vocabulary.kinds).enumerate() {
        if kind == TokenKind::Byte && parse_byte_token(text.as_bytes()).is_none() {
            return Err(TokenizerError::MalformedByteToken { token: index as u32, text: text.to_owned() });
        }
        match spelling {
            Spelling::Printable => pieces.push_with(|bytes| {
                let is_text = matches!(kind, TokenKind::Normal | TokenKind::Unused);
                if !(is_text && byte_level::append_bytes(text.as_bytes(), bytes)) {
                    bytes.extend_from_slice(text.as_bytes());
                    if is_text {
                        vocabulary.unreachable.push(index as TokenId);
                    }
                }
            }),
            Spelling::Escaped | Spelling::Plain | Spelling::Words { .. } => {
                pieces.push(text.as_bytes());
                match unknown_output {
                    Some((unknown, output)) if unknown as usize == index => outputs.push(output.as_bytes()),
                    _ => outputs.push_with(|bytes| append_output(text, kind, spelling, bytes)),
                }
            }
            Spelling::Backslashes => pieces.push_with(|bytes| unescape(text, bytes)),
        }
    }
    vocabulary.pieces = pieces;
    vocabulary.outputs = (outputs.len() == tokens.len()).then_some(outputs);
    Ok(())
}

/// The bytes that a token adds to a text.
fn append_output(text: &str, kind: TokenKind, spelling: Spelling, bytes: &mut Vec<u8>) {
    match (kind, parse_byte_token(text.as_bytes())) {
        (TokenKind::Byte, Some(byte)) => bytes.push(byte),
        _ if matches!(spelling, Spelling::Words { .. }) => {
            let word = text.strip_prefix(ESCAPED_SPACE);
            let is_initial = word.is_some() || matches!(kind, TokenKind::Control | TokenKind::Unknown);
            let cleans_up = spelling == Spelling::Words { cleans_up: true };
            append_word(word.unwrap_or(text), is_initial, cleans_up, bytes);
        }
        (TokenKind::Normal | TokenKind::Unused, _) if spelling == Spelling::Escaped => {
            for (index, part) in text.split(ESCAPED_SPACE).enumerate() {
                if index > 0 {
                    bytes.push(b' ');
                }
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        _ => bytes.extend_from_slice(text.as_bytes()),
    }
}

/// A word of WordPiece adds itself and the space before it, except before what is written without one (the clean-up of
/// tokenization spaces).
fn append_word(word: &str, is_initial: bool, cleans_up: bool, bytes: &mut Vec<u8>) {
    let is_attached = ['.', '?', '!', ','].iter().any(|&mark| word.starts_with(mark))
        || ["n't", "'m", "'s", "'ve", "'re"].iter().any(|ending| word.starts_with(ending));
    if is_initial && !(cleans_up && is_attached) {
        bytes.push(b' ');
    }
    bytes.extend_from_slice(word.as_bytes());
}
