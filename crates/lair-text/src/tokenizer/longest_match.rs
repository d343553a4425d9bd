//! Tokenizers that take the longest piece at each place: WordPiece (BERT) and the world tokenizer of RWKV.

use super::trie::Trie;
use super::vocabulary::TokenId;

/// WordPiece: a word is cut from the left; a word that cannot be cut is one unknown token.
#[derive(Debug, Clone)]
pub(crate) struct WordPiece {
    /// Pieces that begin a word.
    initial: Trie,
    /// Pieces that continue one.
    continuing: Trie,
    unknown: Option<TokenId>,
    /// Longer words, in characters, are unknown.
    word_length_max: usize,
}

impl WordPiece {
    /// `pieces` are texts without their mark, ids, and whether they continue a word.
    pub(crate) fn new<'a>(
        pieces: impl Iterator<Item = (&'a [u8], TokenId, bool)> + Clone,
        unknown: Option<TokenId>,
        word_length_max: usize,
    ) -> Self {
        let with = |continues: bool| {
            let pieces = pieces.clone().filter(move |piece| piece.2 == continues);
            Trie::new(pieces.map(|(piece, id, _)| (piece, id)))
        };
        Self { initial: with(false), continuing: with(true), unknown, word_length_max }
    }

    /// Appends the tokens of one word.
    pub(crate) fn encode(&self, word: &str, step_count: &mut u64, ids: &mut Vec<TokenId>) {
        let first_id = ids.len();
        let bytes = word.as_bytes();
        let mut start = 0;
        let mut is_covered = word.chars().nth(self.word_length_max).is_none();
        while is_covered && start < bytes.len() {
            let trie = if start == 0 { &self.initial } else { &self.continuing };
            match trie.longest_prefix(&bytes[start..]) {
                // A piece is text, so the match ends where a character ends.
                Some((length, token)) if word.is_char_boundary(start + length) => {
                    ids.push(token);
                    start += length;
                    *step_count += length as u64;
                }
                _ => is_covered = false,
            }
        }
        if !is_covered {
            ids.truncate(first_id);
            ids.extend(self.unknown);
        }
    }
}

/// RWKV: the longest piece at each byte.
#[derive(Debug, Clone)]
pub(crate) struct LongestBytes {
    trie: Trie,
    unknown: Option<TokenId>,
}

impl LongestBytes {
    /// `pieces` are bytes and ids.
    pub(crate) fn new<'a>(pieces: impl Iterator<Item = (&'a [u8], TokenId)>, unknown: Option<TokenId>) -> Self {
        Self { trie: Trie::new(pieces), unknown }
    }

    /// Appends the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, step_count: &mut u64, ids: &mut Vec<TokenId>) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let length = match self.trie.longest_prefix(rest) {
                Some((length, token)) => {
                    ids.push(token);
                    length
                }
                None => {
                    ids.extend(self.unknown);
                    1
                }
            };
            *step_count += length as u64;
            rest = &rest[length..];
        }
    }
}

/// The bytes of a token in RWKV's notation: `\t`, `\n`, `\r`, `\xHH`, and a backslash before any other character.
pub(crate) fn unescape(text: &str, output: &mut Vec<u8>) {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            output.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b't') => output.push(b'\t'),
            Some(b'n') => output.push(b'\n'),
            Some(b'r') => output.push(b'\r'),
            Some(b'x') => {
                let mut digit = || bytes.next().and_then(|digit| (digit as char).to_digit(16)).unwrap_or(0);
                output.push((digit() * 16 + digit()) as u8);
            }
            Some(other) => output.push(other),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_covered_whole_or_unknown() {
        let pieces: [(&[u8], u32, bool); 4] =
            [(b"un", 1, false), (b"aff", 2, true), (b"able", 3, true), (b"u", 4, false)];
        let model = WordPiece::new(pieces.into_iter(), Some(0), 10);
        let encode = |word| {
            let mut ids = Vec::new();
            model.encode(word, &mut 0, &mut ids);
            ids
        };
        assert_eq!(encode("unaffable"), [1, 2, 3]);
        assert_eq!(encode("unaffablex"), [0]);
        assert_eq!(encode("able"), [0]);
        assert_eq!(encode("unaffableaffable"), [0]);
    }

    #[test]
    fn rwkv_takes_the_longest_bytes() {
        let mut bytes = Vec::new();
        unescape(r"a\n\x00\xe6\\\'", &mut bytes);
        assert_eq!(bytes, b"a\n\x00\xE6\\'");
        let pieces: [(&[u8], u32); 3] = [(b"a", 1), (b"ab\xE6", 2), (b"ab", 3)];
        let model = LongestBytes::new(pieces.into_iter(), Some(9));
        let mut ids = Vec::new();
        model.encode("abaab日", &mut 0, &mut ids);
        assert_eq!(ids, [3, 1, 2, 9, 9]);
    }
}
