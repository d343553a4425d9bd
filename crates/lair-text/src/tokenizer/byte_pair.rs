//! Byte-pair encoding by a list of merges: GPT-2 and its many descendants, and the character form of Gemma 4.
//!
//! Reference: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016.

use super::byte_level;
use super::error::TokenizerError;
use super::merge::{MergeBuffer, Merges, Symbol};
use super::pieces::{NONE, PairMap};
use super::uncovered::Uncovered;
use super::vocabulary::{TokenId, Vocabulary, words};

/// What the symbols are before the first merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Every byte is a symbol; the vocabulary is written in the printable alphabet of [`byte_level`].
    Bytes,
    /// Every character is a symbol; one that is no token becomes byte tokens `<0xHH>`.
    Characters,
}

/// A word that is one token as it stands is not merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WholeWords {
    /// Always merge.
    Merge,
    /// Any word that is a token is taken whole (`ignore_merges`).
    Take,
    /// Only runs of line feeds are taken whole (Gemma 4, whose merges do not reach them).
    TakeLineFeeds,
}

/// The merges of a vocabulary.
#[derive(Debug, Clone)]
pub(crate) struct BytePair {
    alphabet: Alphabet,
    whole_words: WholeWords,
    /// From two neighbours to the rank of their merge.
    ranks: PairMap,
    /// The token each merge makes.
    merged: Vec<TokenId>,
    /// What the symbols of bytes are, or [`NONE`]; nothing where they are characters.
    byte_symbols: [u32; 256],
    uncovered: Uncovered,
    /// See [`Vocabulary::keeps_words_apart`]; only asked where spaces are escaped.
    keeps_words_apart: bool,
}

impl BytePair {
    /// Builds the tables. `merges` are lines of two pieces with one space between them, best first, as the vocabulary
    /// file spells them.
    pub(crate) fn new<'a>(
        vocabulary: &Vocabulary,
        merges: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
        alphabet: Alphabet,
        whole_words: WholeWords,
    ) -> Result<Self, TokenizerError> {
        let mut ranks = PairMap::with_capacity(merges.len());
        let mut merged = Vec::with_capacity(merges.len());
        let mut spelled = Vec::new();
        let mut previous_token = 0;
        for (rank, (left, right)) in merges.enumerate() {
            spelled.clear();
            let spell = |text: &[u8], spelled: &mut Vec<u8>| {
                if alphabet == Alphabet::Characters || !byte_level::append_bytes(text, spelled) {
                    spelled.extend_from_slice(text);
                }
            };
            spell(left, &mut spelled);
            let border = spelled.len();
            spell(right, &mut spelled);
            let find = |piece: &[u8]| {
                vocabulary.find(piece).ok_or_else(|| TokenizerError::MergeOfUnknownPiece {
                    index: rank,
                    piece: String::from_utf8_lossy(piece).into_owned(),
                })
            };
            // Most files number the merged tokens in the order of the merges: try the next one before searching.
            let next_token = previous_token + 1;
            let token = if vocabulary.pieces.get(next_token) == Some(&spelled) && vocabulary.is_spelled(next_token) {
                next_token
            } else {
                find(&spelled)?
            };
            previous_token = token;
            ranks.insert_first(find(&spelled[..border])?, find(&spelled[border..])?, rank as u32);
            merged.push(token);
        }
        let (byte_symbols, byte_tokens) = match alphabet {
            Alphabet::Bytes => (std::array::from_fn(|byte| vocabulary.find(&[byte as u8]).unwrap_or(NONE)), None),
            Alphabet::Characters => ([NONE; 256], Some(vocabulary.byte_tokens())),
        };
        let keeps_words_apart = alphabet == Alphabet::Characters && vocabulary.keeps_words_apart();
        let uncovered = Uncovered::new(byte_tokens, None, false);
        Ok(Self { alphabet, whole_words, ranks, merged, byte_symbols, uncovered, keeps_words_apart })
    }

    /// Names the token for text that no token covers.
    pub(crate) fn with_unknown(mut self, unknown: Option<TokenId>, fuses_unknown: bool) -> Self {
        self.uncovered = self.uncovered.with_unknown(unknown, fuses_unknown);
        self
    }

    /// Appends the tokens of one word of the pre-tokenizer.
    pub(crate) fn encode(&self, vocabulary: &Vocabulary, word: &str, buffer: &mut MergeBuffer, ids: &mut Vec<TokenId>) {
        let bytes = word.as_bytes();
        let takes_whole = match self.whole_words {
            WholeWords::Merge => false,
            WholeWords::Take => true,
            WholeWords::TakeLineFeeds => bytes.iter().all(|&byte| byte == b'\n'),
        };
        if takes_whole && let Some(token) = vocabulary.find(bytes) {
            ids.push(token);
            return;
        }
        let first_id = ids.len();
        if self.keeps_words_apart {
            words(word).for_each(|word| self.encode_merging(vocabulary, word, first_id, buffer, ids));
        } else {
            self.encode_merging(vocabulary, word, first_id, buffer, ids);
        }
    }

    fn encode_merging(
        &self,
        vocabulary: &Vocabulary,
        word: &str,
        first_id: usize,
        buffer: &mut MergeBuffer,
        ids: &mut Vec<TokenId>,
    ) {
        match self.alphabet {
            Alphabet::Bytes => {
                buffer.clear();
                for (start, &byte) in word.as_bytes().iter().enumerate() {
                    buffer.push(self.byte_symbols[usize::from(byte)], start as u32);
                }
            }
            Alphabet::Characters => buffer.begin_with_characters(vocabulary, word),
        }
        buffer.encode(self, &self.uncovered, word, first_id, ids);
    }
}

impl Merges for BytePair {
    #[inline]
    fn find(&self, left: &Symbol, right: &Symbol, _end: u32) -> u32 {
        if left.token == NONE { NONE } else { self.ranks.get(left.token, right.token) }
    }

    #[inline]
    fn priority(&self, merge: u32) -> u32 {
        merge
    }

    #[inline]
    fn token(&self, merge: u32) -> TokenId {
        self.merged[merge as usize]
    }
}

/// The two pieces of a line of the merge list: split at the first space that is not its first byte.
pub(crate) fn split_merge(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = line.iter().skip(1).position(|&byte| byte == b' ')? + 1;
    Some((&line[..space], &line[space + 1..]))
}
