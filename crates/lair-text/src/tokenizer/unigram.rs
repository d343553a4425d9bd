//! Unigram language models: of all ways to cut a text into pieces, the one with the highest sum of scores.
//!
//! Viterbi's algorithm over the places of the text: O(text length · longest piece).
//! Reference: Kudo, "Subword Regularization", 2018.

use super::error::TokenizerError;
use super::pieces::NONE;
use super::trie::Trie;
use super::vocabulary::{TokenId, TokenKind, Vocabulary};

/// How much worse than the worst piece a character without a piece is (SentencePiece, `kUnkPenalty`).
const UNKNOWN_PENALTY: f64 = 10.0;

/// How sums of scores are rounded. It decides between cuts that are equally good, so it is part of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// To 24 bits, as SentencePiece itself does.
    Single,
    /// To 53 bits, as Hugging Face's tokenizers and llama.cpp do.
    Double,
}

/// Pieces and their scores.
#[derive(Debug, Clone)]
pub(crate) struct Unigram {
    trie: Trie,
    precision: Precision,
    /// By token.
    scores: Vec<f64>,
    unknown: Option<TokenId>,
    unknown_score: f64,
    /// The token of each byte, or [`NONE`].
    byte_tokens: [u32; 256],
}

impl Precision {
    /// The sum of two numbers of 24 bits is exact enough in 53 bits that rounding it gives their sum in 24 bits.
    fn round(self, sum: f64) -> f64 {
        if self == Self::Single { f64::from(sum as f32) } else { sum }
    }
}

/// The best way to cut the text up to a place.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    /// Where its last piece starts.
    start: u32,
    /// The last piece; [`NONE`] for a character without one.
    token: TokenId,
}

impl Unigram {
    /// Builds the trie. User-defined pieces score 0, better than any learnt one, so they are taken where they appear.
    pub(crate) fn new(vocabulary: &Vocabulary, unknown: Option<TokenId>, precision: Precision) -> Self {
        let mut scores: Vec<f64> = vocabulary.scores.iter().map(|&score| f64::from(score)).collect();
        scores.resize(vocabulary.len(), 0.0);
        let mut lowest = f64::INFINITY;
        for (score, &kind) in scores.iter_mut().zip(&vocabulary.kinds) {
            match kind {
                TokenKind::Normal => lowest = lowest.min(*score),
                TokenKind::UserDefined => *score = 0.0,
                _ => {}
            }
        }
        let pieces = vocabulary.pieces.iter().enumerate().map(|(id, piece)| (piece, id as TokenId));
        let trie = Trie::new(pieces.filter(|&(_, id)| vocabulary.is_spelled(id)));
        let lowest = if lowest.is_finite() { lowest } else { 0.0 };
        let byte_tokens = vocabulary.byte_tokens();
        let unknown_score = precision.round(lowest - UNKNOWN_PENALTY);
        Self { trie, precision, scores, unknown, unknown_score, byte_tokens }
    }

    /// Appends the tokens of `text`, in which spaces are already U+2581.
    pub(crate) fn encode(&self, text: &str, step_count: &mut u64, ids: &mut Vec<TokenId>) {
        let bytes = text.as_bytes();
        let mut best = vec![Best { score: f64::NEG_INFINITY, start: 0, token: NONE }; bytes.len() + 1];
        best[0].score = 0.0;
        for (start, character) in text.char_indices() {
            let score = best[start].score;
            let mut offer = |end: usize, token: TokenId, score: f64| {
                let score = self.precision.round(score);
                if score > best[end].score {
                    best[end] = Best { score, start: start as u32, token };
                }
            };
            let mut is_covered = false;
            for (length, token) in self.trie.prefixes(&bytes[start..]) {
                is_covered |= length == character.len_utf8();
                offer(start + length, token, score + self.scores[token as usize]);
                *step_count += length as u64;
            }
            if !is_covered {
                offer(start + character.len_utf8(), NONE, score + self.unknown_score);
            }
            *step_count += 1;
        }
        let first_id = ids.len();
        let mut end = bytes.len();
        while end > 0 {
            let Best { start, token, .. } = best[end];
            if token == NONE {
                self.append_uncovered(&bytes[start as usize..end], first_id, ids);
            } else {
                ids.push(token);
            }
            end = start as usize;
        }
        ids[first_id..].reverse();
    }

    /// Appends a character without a piece, last byte first: its bytes, else one unknown token for a run of them.
    fn append_uncovered(&self, bytes: &[u8], first_id: usize, ids: &mut Vec<TokenId>) {
        let as_byte = |&byte: &u8| self.byte_tokens[usize::from(byte)];
        if bytes.iter().all(|byte| as_byte(byte) != NONE) {
            ids.extend(bytes.iter().rev().map(as_byte));
        } else if let Some(unknown) = self.unknown
            && ids[first_id..].last() != Some(&unknown)
        {
            ids.push(unknown);
        }
    }
}

/// PLaMo 2's variant: whole-number costs, cut from the right, longest piece of equals, bytes for the rest.
#[derive(Debug, Clone)]
pub(crate) struct Plamo2 {
    trie: Trie,
    /// By token, ten thousandths; `None`: never used.
    costs: Vec<Option<i64>>,
    byte_tokens: [u32; 256],
}

/// The cost of a character without a piece.
const PLAMO2_UNKNOWN_COST: i64 = 10_000_000;
/// Pieces that cost this much or more are not used.
const PLAMO2_COST_LIMIT: i64 = 20_000_000;

impl Plamo2 {
    /// Builds the trie.
    ///
    /// # Errors
    /// If a byte has no token.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let byte_tokens = vocabulary.byte_tokens();
        if let Some(byte) = byte_tokens.iter().position(|&token| token == NONE) {
            return Err(TokenizerError::MissingByteToken { byte: byte as u8 });
        }
        let cost = |&score: &f32| Some((-score * 1e4).round() as i64).filter(|&cost| cost < PLAMO2_COST_LIMIT);
        let mut costs: Vec<_> = vocabulary.scores.iter().map(cost).collect();
        costs.resize(vocabulary.len(), Some(0));
        let pieces = vocabulary.pieces.iter().enumerate().map(|(id, piece)| (piece, id as TokenId));
        let trie = Trie::new(pieces.filter(|&(_, id)| vocabulary.is_spelled(id)));
        Ok(Self { trie, costs, byte_tokens })
    }

    /// Appends the tokens of `text`; a byte order mark in front is dropped.
    pub(crate) fn encode(&self, text: &str, step_count: &mut u64, ids: &mut Vec<TokenId>) {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let bytes = text.as_bytes();
        // From each place: the cost of the rest, the length and the token of the next piece.
        let mut best = vec![(i64::MAX, 0u32, NONE); bytes.len() + 1];
        best[bytes.len()].0 = 0;
        for (start, character) in text.char_indices().rev() {
            let length = character.len_utf8();
            best[start] = (best[start + length].0.saturating_add(PLAMO2_UNKNOWN_COST), length as u32, NONE);
            for (length, token) in self.trie.prefixes(&bytes[start..]) {
                *step_count += length as u64;
                let Some(cost) = self.costs[token as usize] else { continue };
                let total = best[start + length].0.saturating_add(cost);
                if total <= best[start].0 {
                    best[start] = (total, length as u32, token);
                }
            }
            *step_count += 1;
        }
        let mut start = 0;
        while start < bytes.len() {
            let (_, length, token) = best[start];
            let end = start + length as usize;
            if token == NONE {
                ids.extend(bytes[start..end].iter().map(|&byte| self.byte_tokens[usize::from(byte)]));
            } else {
                ids.push(token);
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::PieceList;
    use super::*;

    fn vocabulary(entries: &[(&str, f32, TokenKind)]) -> Vocabulary {
        let mut pieces = PieceList::default();
        for (piece, ..) in entries {
            pieces.push(piece.as_bytes());
        }
        Vocabulary {
            pieces,
            kinds: entries.iter().map(|entry| entry.2).collect(),
            scores: entries.iter().map(|entry| entry.1).collect(),
            ..Vocabulary::default()
        }
    }

    #[test]
    fn the_best_sum_wins_and_unknowns_are_one() {
        let vocabulary = vocabulary(&[
            ("<unk>", 0.0, TokenKind::Unknown),
            ("a", -1.0, TokenKind::Normal),
            ("b", -1.0, TokenKind::Normal),
            ("ab", -1.5, TokenKind::Normal),
            ("abb", -4.0, TokenKind::Normal),
            ("<s>", 0.0, TokenKind::Control),
        ]);
        let unigram = Unigram::new(&vocabulary, Some(0), Precision::Double);
        let encode = |text: &str| {
            let mut ids = Vec::new();
            unigram.encode(text, &mut 0, &mut ids);
            ids
        };
        assert_eq!(encode("abb"), [3, 2]);
        assert_eq!(encode("aab"), [1, 3]);
        assert_eq!(encode("a日本b"), [1, 0, 2]);
        assert_eq!(encode("<s>"), [0]);
        assert_eq!(encode(""), [0u32; 0]);
    }

    #[test]
    fn plamo2_prefers_long_pieces_and_falls_back_to_bytes() {
        let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
        let mut entries: Vec<_> = bytes.iter().map(|piece| (piece.as_str(), 0.0, TokenKind::Byte)).collect();
        entries.extend([
            ("a", -1.0, TokenKind::Normal),
            ("b", -1.0, TokenKind::Normal),
            ("ab", -2.0, TokenKind::Normal),
        ]);
        let plamo2 = Plamo2::new(&vocabulary(&entries)).expect("every byte has a token");
        let mut ids = Vec::new();
        plamo2.encode("\u{FEFF}abé", &mut 0, &mut ids);
        assert_eq!(ids, [258, 0xC3, 0xA9]);
        assert!(matches!(Plamo2::new(&vocabulary(&entries[1..])), Err(TokenizerError::MissingByteToken { byte: 0 })));
    }
}
