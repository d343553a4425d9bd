//! Text that no piece covers, in both kinds of byte-pair encoding: byte tokens, else the unknown token.

use super::pieces::NONE;
use super::vocabulary::TokenId;

/// What becomes of a symbol without a token.
#[derive(Debug, Clone)]
pub(crate) struct Uncovered {
    /// The token `<0xHH>` of each byte, or [`NONE`]; `None` where bytes have no tokens of their own.
    byte_tokens: Option<Box<[u32; 256]>>,
    /// What replaces text that has no byte tokens either; without it such text is left out, as all implementations do.
    unknown: Option<TokenId>,
    /// Consecutive unknowns are one.
    fuses_unknown: bool,
}

impl Uncovered {
    /// Its bytes if all have a token, else the unknown token.
    pub(crate) fn new(byte_tokens: Option<[u32; 256]>, unknown: Option<TokenId>, fuses_unknown: bool) -> Self {
        Self { byte_tokens: byte_tokens.map(Box::new), unknown, fuses_unknown }
    }

    /// Names the token for text that no token covers.
    pub(crate) fn with_unknown(self, unknown: Option<TokenId>, fuses_unknown: bool) -> Self {
        Self { unknown, fuses_unknown, ..self }
    }

    /// Appends the tokens of a symbol's bytes to those of a text, which begin at `first_id`.
    pub(crate) fn encode(&self, bytes: &[u8], first_id: usize, ids: &mut Vec<TokenId>) {
        if let Some(tokens) = &self.byte_tokens
            && bytes.iter().all(|&byte| tokens[usize::from(byte)] != NONE)
        {
            ids.extend(bytes.iter().map(|&byte| tokens[usize::from(byte)]));
        } else if let Some(unknown) = self.unknown
            && !(self.fuses_unknown && ids.len() > first_id && ids.last() == Some(&unknown))
        {
            ids.push(unknown);
        }
    }
}
