//! The vocabulary: what each token id stands for, how it is spelled, and which ids have a role.

use super::error::TokenizerError;
use super::normalize::ESCAPED_SPACE;
use super::pieces::{NONE, PieceList, PieceMap};

/// The number of a token: a row of the model's embedding table.
pub type TokenId = u32;

/// The most tokens a vocabulary may have. The largest in use have about 260,000.
pub const TOKEN_COUNT_MAX: usize = 4 << 20;
/// The longest piece in bytes. The longest in use have a few hundred.
pub const PIECE_LENGTH_MAX: usize = 64 << 10;
/// All pieces together, in bytes: far above any real vocabulary, far below the 4 GiB that offsets of 32 bits reach.
pub const VOCABULARY_BYTES_MAX: usize = 1 << 30;

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text that the model learned.
    Normal,
    /// Stands for text that has no token.
    Unknown,
    /// Steers the model; never written by the text of a user.
    Control,
    /// Text added after training; always matched as a whole.
    UserDefined,
    /// A row without meaning.
    Unused,
    /// One byte, spelled `<0xHH>`.
    Byte,
}

impl TokenKind {
    /// The kind with the GGUF number `number`; what is not defined there counts as unused.
    pub(crate) fn from_gguf(number: i64) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            6 => Self::Byte,
            _ => Self::Unused,
        }
    }

    /// The GGUF number of the kind.
    pub fn to_gguf(self) -> i32 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }

    /// Whether plain text may become this token by the tokenizer's own algorithm.
    ///
    /// Control and unknown tokens may not: text that spells `<s>` stays text. Byte tokens are reached by bytes, not by
    /// their spelling.
    pub(crate) fn is_spelled_by_text(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined | Self::Unused)
    }
}

/// The ids that have a role. `None`: the vocabulary has no such token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<TokenId>,
    /// Ends a text.
    pub eos: Option<TokenId>,
    /// Ends a turn of a conversation.
    pub eot: Option<TokenId>,
    /// Ends a message that another of the same turn follows.
    pub eom: Option<TokenId>,
    /// Stands for what has no token.
    pub unknown: Option<TokenId>,
    /// Separates two texts.
    pub separator: Option<TokenId>,
    /// Fills up a batch.
    pub padding: Option<TokenId>,
    /// Stands for a hidden word.
    pub mask: Option<TokenId>,
    /// Before the code that precedes a gap.
    pub fim_prefix: Option<TokenId>,
    /// Before the code that follows a gap.
    pub fim_suffix: Option<TokenId>,
    /// Where the gap's content begins.
    pub fim_middle: Option<TokenId>,
    /// Ends the gap's content.
    pub fim_padding: Option<TokenId>,
    /// Before the name of a repository.
    pub fim_repository: Option<TokenId>,
    /// Between two files.
    pub fim_separator: Option<TokenId>,
}

/// Every token: its piece, its kind, its score.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vocabulary {
    /// How the tokenizer's algorithm spells a token. Byte-level: the bytes themselves. SentencePiece: with U+2581.
    pub(crate) pieces: PieceList,
    /// The bytes a token adds to a text, where they differ from its piece.
    pub(crate) outputs: Option<PieceList>,
    pub(crate) kinds: Vec<TokenKind>,
    /// Empty, or one score for each token.
    pub(crate) scores: Vec<f32>,
    /// Tokens that no text reaches whatever their kind, sorted: those of a byte-level vocabulary that are not written in
    /// its alphabet.
    pub(crate) unreachable: Vec<TokenId>,
    /// From a piece to its token, of the tokens that text may spell.
    pub(crate) by_piece: Option<PieceMap>,
}

impl Vocabulary {
    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The bytes token `id` adds to a text.
    pub(crate) fn output(&self, id: TokenId) -> Option<&[u8]> {
        self.outputs.as_ref().unwrap_or(&self.pieces).get(id)
    }

    /// Whether token `id` is one that text may spell.
    pub(crate) fn is_spelled(&self, id: TokenId) -> bool {
        self.kinds.get(id as usize).is_some_and(|kind| kind.is_spelled_by_text())
            && self.unreachable.binary_search(&id).is_err()
    }

    /// The token of a piece that text may spell.
    #[inline]
    pub(crate) fn find(&self, piece: &[u8]) -> Option<TokenId> {
        self.by_piece.as_ref()?.get(&self.pieces, piece)
    }

    /// Whether no piece that text may spell has an escaped space behind another character. Then nothing ever merges
    /// across the beginning of a word, and words can be merged one by one, close together in memory.
    pub(crate) fn keeps_words_apart(&self) -> bool {
        let space = ESCAPED_SPACE.to_string();
        let is_crossing = |piece: &[u8]| {
            let inner = std::str::from_utf8(piece).unwrap_or_default().trim_start_matches(ESCAPED_SPACE);
            inner.contains(&space)
        };
        !self.pieces.iter().enumerate().any(|(id, piece)| self.is_spelled(id as TokenId) && is_crossing(piece))
    }

    /// The token of kind [`TokenKind::Byte`] for each byte, or [`NONE`].
    pub(crate) fn byte_tokens(&self) -> [u32; 256] {
        let mut tokens = [NONE; 256];
        for (id, (piece, &kind)) in self.pieces.iter().zip(&self.kinds).enumerate() {
            if kind == TokenKind::Byte
                && let Some(byte) = parse_byte_token(piece)
            {
                tokens[usize::from(byte)] = id as TokenId;
            }
        }
        tokens
    }

    /// Fills the table from pieces to tokens. Normal tokens win over user-defined ones of the same spelling (those are
    /// matched as a whole before the algorithm runs); two normal ones are an error.
    pub(crate) fn index_pieces(&mut self) -> Result<(), TokenizerError> {
        let mut map = PieceMap::with_capacity(self.len());
        let normal_first = [true, false];
        for normal in normal_first {
            for (index, &kind) in self.kinds.iter().enumerate() {
                let id = index as u32;
                if (kind == TokenKind::Normal) != normal || !self.is_spelled(id) {
                    continue;
                }
                if self.pieces.get(id).is_none_or(<[u8]>::is_empty) {
                    continue;
                }
                let Some(first) = map.insert(&self.pieces, id) else { continue };
                if normal {
                    let piece = String::from_utf8_lossy(self.pieces.get(id).unwrap_or_default()).into_owned();
                    return Err(TokenizerError::DuplicatePiece { first, second: id, piece });
                }
            }
        }
        self.by_piece = Some(map);
        Ok(())
    }
}

/// Cuts `text` before every run of escaped spaces.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let spaces = rest.len() - rest.trim_start_matches(ESCAPED_SPACE).len();
        let length = rest[spaces..].find(ESCAPED_SPACE).map_or(rest.len(), |length| spaces + length);
        let (word, tail) = rest.split_at(length);
        rest = tail;
        (!word.is_empty()).then_some(word)
    })
}

/// The byte that `<0xHH>` names: exactly two hexadecimal digits, nothing else.
pub(crate) fn parse_byte_token(piece: &[u8]) -> Option<u8> {
    let &[b'<', b'0', b'x', high, low, b'>'] = piece else { return None };
    let digit = |character: u8| (character as char).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_with_their_spaces() {
        let cut = |text: &'static str| words(text).collect::<Vec<_>>().join("|");
        assert_eq!(cut("▁a▁▁bc▁"), "▁a|▁▁bc|▁");
        assert_eq!(cut("a▁b"), "a|▁b");
        assert_eq!(cut("▁▁▁"), "▁▁▁");
        assert_eq!(cut(""), "");
    }

    #[test]
    fn byte_tokens_are_exactly_two_hexadecimal_digits() {
        assert_eq!(parse_byte_token(b"<0x00>"), Some(0));
        assert_eq!(parse_byte_token(b"<0xfF>"), Some(255));
        for wrong in ["<0x-1>", "<0x1>", "<0x+1>", "<0x 1>", "<0x001>", "<0xG0>", "<0x0A", "0x0A>", "<0X0A>", ""] {
            assert_eq!(parse_byte_token(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
