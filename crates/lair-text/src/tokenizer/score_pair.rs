//! SentencePiece's byte-pair encoding: no list of merges, but a score for each piece.
//!
//! Neighbours merge when their text together is a piece; the piece with the highest score goes first. Characters
//! without a piece become byte tokens.

use super::error::TokenizerError;
use super::merge::{MergeBuffer, Merges, Symbol};
use super::pieces::NONE;
use super::uncovered::Uncovered;
use super::vocabulary::{TokenId, Vocabulary, words};

/// The order of the pieces, and what becomes of the rest.
#[derive(Debug, Clone)]
pub(crate) struct ScorePair {
    /// For each token its place when all are sorted by falling score; equal scores share one place.
    priorities: Vec<u32>,
    uncovered: Uncovered,
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
        // One unknown token stands for a whole run.
        let uncovered = Uncovered::new(Some(vocabulary.byte_tokens()), unknown, true);
        let piece_length_max = vocabulary.pieces.iter().map(<[u8]>::len).max().unwrap_or(0);
        let keeps_words_apart = vocabulary.keeps_words_apart();
        Ok(Self { priorities, uncovered, piece_length_max, keeps_words_apart })
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
        buffer.begin_with_characters(vocabulary, word);
        let run = Run { model: self, vocabulary, text: word.as_bytes() };
        buffer.encode(&run, &self.uncovered, word, first_id, ids);
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
