//! SentencePiece's byte-pair encoding: no list of merges, but a score for each piece.
//!
//! Neighbours merge when their text together is a piece; the piece with the highest score goes first. Characters
//! without a piece become byte tokens.

use super::error::TokenizerError;
use super::merge::{MergeBuffer, Merges, Symbol};
use super::pieces::NONE;
use super::vocabulary::{TokenId, Vocabulary, words};

/// The order of the pieces, and what becomes of the rest.
#[derive(Debug, Clone)]
pub(crate) struct ScorePair {
    /// For each token its place when all are sorted by falling score; equal scores share one place.
    priorities: Vec<u32>,
    /// The token of each byte, or [`NONE`].
    byte_tokens: [u32; 256],
    unknown: Option<TokenId>,
    /// The longest piece in bytes: a longer stretch of text need not be looked up.
    piece_length_max: usize,
    /// See [`Vocabulary::keeps_words_apart`].
    keeps_words_apart: bool,
}

/// One run over one text.
struct Run<'a> {
    model: &'a ScorePair,
    vocabulary: &'a Vocabulary,
    text: &'a [u8],
}

impl ScorePair {
    /// Sorts the scores and finds the byte tokens.
    pub(crate) fn new(vocabulary: &Vocabulary, unknown: Option<TokenId>) -> Result<Self, TokenizerError> {
        let score = |id: u32| vocabulary.scores.get(id as usize).copied().unwrap_or(0.0);
        let mut order: Vec<u32> = (0..vocabulary.len() as u32).collect();
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
        let mut priorities = vec![0; order.len()];
        let mut place = 0;
        for (index, &id) in order.iter().enumerate() {
            // Not `total_cmp`: 0.0 and -0.0 are one score.
            if index > 0 && score(order[index - 1]) != score(id) {
                place = index as u32;
            }
            priorities[id as usize] = place;
        }
        let byte_tokens = vocabulary.byte_tokens();
        let piece_length_max = vocabulary.pieces.iter().map(<[u8]>::len).max().unwrap_or(0);
        let keeps_words_apart = vocabulary.keeps_words_apart();
        Ok(Self { priorities, byte_tokens, unknown, piece_length_max, keeps_words_apart })
    }

    /// Appends the tokens of `text`, in which spaces are already U+2581.
    pub(crate) fn encode(&self, vocabulary: &Vocabulary, text: &str, buffer: &mut MergeBuffer, ids: &mut Vec<TokenId>) {
        let first_id = ids.len();
        if self.keeps_words_apart {
            words(text).for_each(|word| self.encode_word(vocabulary, word, first_id, buffer, ids));
        } else {
            self.encode_word(vocabulary, text, first_id, buffer, ids);
        }
    }

    fn encode_word(
        &self,
        vocabulary: &Vocabulary,
        word: &str,
        first_id: usize,
        buffer: &mut MergeBuffer,
        ids: &mut Vec<TokenId>,
    ) {
        let bytes = word.as_bytes();
        buffer.clear();
        for (start, character) in word.char_indices() {
            let piece = &bytes[start..start + character.len_utf8()];
            buffer.push(vocabulary.find(piece).unwrap_or(NONE), start as u32);
        }
        let run = Run { model: self, vocabulary, text: bytes };
        buffer.run(&run, bytes.len() as u32, |token, range| {
            if token == NONE {
                self.encode_uncovered(&bytes[range.start as usize..range.end as usize], first_id, ids);
            } else {
                ids.push(token);
            }
        });
    }

    /// A character without a piece: its bytes if all have a token, else the unknown token, one for a whole run.
    fn encode_uncovered(&self, bytes: &[u8], first_id: usize, ids: &mut Vec<TokenId>) {
        let as_byte = |&byte: &u8| self.byte_tokens[usize::from(byte)];
        if bytes.iter().all(|byte| as_byte(byte) != NONE) {
            ids.extend(bytes.iter().map(as_byte));
        } else if let Some(unknown) = self.unknown
            && !(ids.len() > first_id && ids.last() == Some(&unknown))
        {
            ids.push(unknown);
        }
    }
}

impl Merges for Run<'_> {
    #[inline]
    fn find(&self, left: &Symbol, _right: &Symbol, end: u32) -> u32 {
        let text = &self.text[left.start as usize..end as usize];
        if text.len() > self.model.piece_length_max {
            return NONE;
        }
        self.vocabulary.find(text).unwrap_or(NONE)
    }

    #[inline]
    fn priority(&self, merge: u32) -> u32 {
        self.model.priorities[merge as usize]
    }

    #[inline]
    fn token(&self, merge: u32) -> TokenId {
        merge
    }
}
