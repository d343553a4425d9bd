//! From tokens back to text: whole, or as a stream that never ends inside a character.

use std::ops::Deref;

use super::error::TokenizerError;
use super::vocabulary::{TokenId, TokenKind};
use super::{ShowSpecial, Tokenizer};

/// Where in a text the decoded tokens stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// They begin it: the space that encoding put in front is taken away again.
    Start,
    /// They continue it, as generated tokens continue a prompt.
    Middle,
}

/// What joins the tokens of a vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// Nothing: each token is its bytes.
    Plain,
    /// Nothing, but encoding put one space in front of the text, which its first token carries.
    AfterSpace,
    /// The same, and as long as there is no text yet the next token loses a space too.
    AfterSpaces,
}

/// Turns tokens into bytes one at a time.
#[derive(Debug, Clone)]
pub(crate) struct Joiner {
    joining: Joining,
    is_at_start: bool,
}

impl Joiner {
    pub(crate) fn new(joining: Joining, position: Position) -> Self {
        Self { joining, is_at_start: position == Position::Start }
    }

    /// Appends what `bytes`, the output of a token of kind `kind`, adds to the text.
    pub(crate) fn append(&mut self, mut bytes: &[u8], kind: TokenKind, text: &mut Vec<u8>) {
        if self.is_at_start && !bytes.is_empty() {
            // What stands for an unknown token is not text that encoding put a space in front of.
            if self.joining != Joining::Plain && kind != TokenKind::Unknown {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
            self.is_at_start = self.joining == Joining::AfterSpaces && bytes.is_empty();
        }
        text.extend_from_slice(bytes);
    }
}

/// Turns a stream of tokens into chunks of text.
///
/// No chunk ends inside a character: bytes of an unfinished one are held back, at most three. Bytes that can never
/// become a character are replaced by U+FFFD just as [`String::from_utf8_lossy`] would in the whole text, so the chunks
/// together equal the whole text decoded at once.
#[derive(Debug, Clone)]
pub struct StreamDecoder<T: Deref<Target = Tokenizer>> {
    tokenizer: T,
    joiner: Joiner,
    show: ShowSpecial,
    held_back: Vec<u8>,
}

impl<T: Deref<Target = Tokenizer>> StreamDecoder<T> {
    /// A decoder for one text. `tokenizer` is a reference or an `Arc`.
    pub fn new(tokenizer: T, position: Position, show: ShowSpecial) -> Self {
        let joiner = Joiner::new(tokenizer.joining, position);
        Self { tokenizer, joiner, show, held_back: Vec::new() }
    }

    /// The text that token `id` completes; often empty, when a character is not finished.
    ///
    /// # Errors
    /// If `id` is not in the vocabulary; the decoder can still be used.
    pub fn push(&mut self, id: TokenId) -> Result<String, TokenizerError> {
        let (bytes, kind) = self.tokenizer.shown_bytes(id, self.show)?;
        self.joiner.append(bytes, kind, &mut self.held_back);
        let complete = self.held_back.len() - unfinished_length(&self.held_back);
        let chunk = String::from_utf8_lossy(&self.held_back[..complete]).into_owned();
        self.held_back.drain(..complete);
        Ok(chunk)
    }

    /// Ends the text: what was held back is the start of a character that never came, one U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.held_back).into_owned();
        self.held_back.clear();
        rest
    }
}

/// How many bytes at the end of `bytes` begin a character that more bytes could complete: 0 to 3.
fn unfinished_length(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - length..];
        if matches!(tail[0], 0x80..=0xBF) {
            continue;
        }
        let is_unfinished = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
        return if is_unfinished { length } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_can_be_completed_is_held_back() {
        let cases: [(&[u8], usize); 10] = [
            (b"a", 0),
            (b"a\xF0\x9F", 2),
            (b"\xF0\x9F\xA6", 3),
            (b"\xF0\x9F\xA6\x99", 0),
            (b"\xE2", 1),
            (b"\xED\xA0", 0),
            (b"\xC0", 0),
            (b"\x80\x80\x80\x80", 0),
            (b"\xF4\x90", 0),
            (b"", 0),
        ];
        for (bytes, expected) in cases {
            assert_eq!(unfinished_length(bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_equal_the_whole(pieces in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![any::<u8>(), 0xE0u8..=0xF4, 0x80u8..=0xBF], 0..5), 0..20)) {
            let whole = pieces.concat();
            let mut held_back = Vec::new();
            let mut text = String::new();
            for piece in &pieces {
                held_back.extend_from_slice(piece);
                let complete = held_back.len() - unfinished_length(&held_back);
                text.push_str(&String::from_utf8_lossy(&held_back[..complete]));
                held_back.drain(..complete);
                prop_assert!(held_back.len() <= 3);
            }
            text.push_str(&String::from_utf8_lossy(&held_back));
            prop_assert_eq!(text, String::from_utf8_lossy(&whole).into_owned());
        }
    }
}
