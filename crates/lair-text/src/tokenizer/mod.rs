//! Tokenizers: text to token ids and back.
//!
//! A [`Tokenizer`] is built from a model file's metadata ([`Tokenizer::from_gguf`]). Encoding runs in four stages:
//! special tokens are cut out, each stretch of text between them is normalised, split into words, and turned into ids
//! by the vocabulary's algorithm. Every stage takes time linear in the text (byte-pair merging: n log n) and a small,
//! constant stack, whatever the text is.

mod byte_level;
mod byte_pair;
mod character_map;
mod decode;
mod error;
mod gguf;
mod json_stages;
#[cfg(test)]
mod linearity;
mod longest_match;
mod merge;
mod named_splitting;
mod normalize;
mod pieces;
mod pre_tokenizers;
mod roles;
mod score_pair;
mod sentence_piece;
mod special;
mod spelling;
mod split;
mod tokenizer_json;
mod trie;
mod uncovered;
mod unigram;
mod vocabulary;
mod written_splitting;

use std::ops::Range;

pub use byte_level::to_printable;
pub use decode::{Position, StreamDecoder};
pub use error::TokenizerError;
pub use named_splitting::pre_tokenizer_names;
pub use sentence_piece::SentencePieceVocabulary;
pub use vocabulary::{PIECE_LENGTH_MAX, SpecialIds, TOKEN_COUNT_MAX, TokenId, TokenKind, VOCABULARY_BYTES_MAX};
pub use written_splitting::pre_tokenizer_json;

use byte_pair::BytePair;
use decode::{Joiner, Joining};
use longest_match::{LongestBytes, WordPiece};
use merge::MergeBuffer;
use normalize::{Normalization, Place, normalize};
use score_pair::ScorePair;
use special::{Allowed, Fragment, SpecialTokens};
use split::Splitter;
use unigram::{Plamo2, Unigram};
use vocabulary::Vocabulary;

/// Text is tokenized in stretches of at most this many bytes, so that offsets of 32 bits reach.
const STRETCH_LENGTH_MAX: usize = 1 << 30;

/// Whether the spelling of a control token in a text becomes that token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// It does: the text comes from a template or an operator.
    Parse,
    /// It stays text: the text comes from a user.
    AsText,
}

/// Whether the tokens that begin and end a text are added, as the model file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddSpecial {
    /// Add them.
    Yes,
    /// Add none.
    No,
}

/// Whether control tokens show in decoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowSpecial {
    /// By their spelling.
    Show,
    /// Not at all.
    Hide,
}

/// A stretch of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'t> {
    /// The text.
    pub text: &'t str,
    /// Whether it comes from the template: then spellings of control tokens in it become those tokens.
    pub trusted: bool,
}

/// The vocabulary's algorithm.
#[derive(Debug, Clone)]
enum Model {
    BytePair(BytePair),
    ScorePair(ScorePair),
    Unigram(Unigram),
    Plamo2(Plamo2),
    WordPiece(WordPiece),
    LongestBytes(LongestBytes),
}

/// Which tokens [`AddSpecial::Yes`] adds.
#[derive(Debug, Clone, Default)]
struct Frame {
    before: Vec<TokenId>,
    after: Vec<TokenId>,
    /// Stands between two texts that are read together, behind `after`.
    between: Option<TokenId>,
}

/// A vocabulary and how to use it. Immutable; share it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    ids: SpecialIds,
    /// Sorted.
    ends_of_generation: Vec<TokenId>,
    special: SpecialTokens,
    /// Special tokens that are looked for in normalised text.
    special_normalized: SpecialTokens,
    normalizations: Vec<Normalization>,
    splitter: Splitter,
    model: Model,
    frame: Frame,
    /// Whether the unknown token hides with the control tokens.
    hides_unknown: bool,
    joining: Joining,
}

impl Tokenizer {
    /// The ids of `text`.
    pub fn encode(&self, text: &str, special: Special, add: AddSpecial) -> Vec<TokenId> {
        let allowed = if special == Special::Parse { Allowed::All } else { Allowed::UserDefined };
        let whole = if text.is_empty() { Vec::new() } else { vec![Fragment::Text(0..text.len())] };
        let fragments = self.special.partition(text, whole, allowed);
        self.encode_fragments(text, &fragments, allowed, add, &mut MergeBuffer::default())
    }

    /// The ids of a prompt made of trusted and other segments.
    ///
    /// The segments are one text: a word may begin in one and end in the next. Only special tokens tell them apart. A
    /// control token is recognised if all of it lies in trusted segments. A user-defined token is recognised anywhere,
    /// unless it touches text that is not trusted and reads like a marker of a conversation (`<|user|>`).
    pub fn encode_segments(&self, segments: &[Segment<'_>], add: AddSpecial) -> Vec<TokenId> {
        let text: String = segments.iter().map(|segment| segment.text).collect();
        let mut trusted: Vec<(Range<usize>, bool)> = Vec::new();
        let mut start = 0;
        for segment in segments.iter().filter(|segment| !segment.text.is_empty()) {
            let range = start..start + segment.text.len();
            start = range.end;
            match trusted.last_mut() {
                Some((last, is_trusted)) if *is_trusted == segment.trusted => last.end = range.end,
                _ => trusted.push((range, segment.trusted)),
            }
        }
        // First what lies wholly in trusted text; what remains is joined again across the borders.
        let mut fragments: Vec<Fragment> = Vec::new();
        for (range, is_trusted) in trusted {
            let part = vec![Fragment::Text(range)];
            let parts = if is_trusted { self.special.partition(&text, part, Allowed::All) } else { part };
            for part in parts {
                match (fragments.last_mut(), part) {
                    (Some(Fragment::Text(last)), Fragment::Text(next)) if last.end == next.start => last.end = next.end,
                    (_, part) => fragments.push(part),
                }
            }
        }
        let fragments = self.special.partition(&text, fragments, Allowed::Harmless);
        self.encode_fragments(&text, &fragments, Allowed::Harmless, add, &mut MergeBuffer::default())
    }

    fn encode_fragments(
        &self,
        text: &str,
        fragments: &[Fragment],
        allowed: Allowed,
        add: AddSpecial,
        buffer: &mut MergeBuffer,
    ) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 4);
        if add == AddSpecial::Yes {
            ids.extend_from_slice(&self.frame.before);
        }
        for (index, fragment) in fragments.iter().enumerate() {
            match fragment {
                Fragment::Token(id) => ids.push(*id),
                Fragment::Text(range) => {
                    let place = if index == 0 { Place::First } else { Place::AfterSpecial };
                    self.encode_text(&text[range.clone()], place, allowed, buffer, &mut ids);
                }
            }
        }
        if add == AddSpecial::Yes {
            ids.extend_from_slice(&self.frame.after);
        }
        ids
    }

    /// Appends the ids of text between special tokens.
    fn encode_text(
        &self,
        text: &str,
        place: Place,
        allowed: Allowed,
        buffer: &mut MergeBuffer,
        ids: &mut Vec<TokenId>,
    ) {
        let normalized = normalize(&self.normalizations, text, place);
        let whole = vec![Fragment::Text(0..normalized.len())];
        for fragment in self.special_normalized.partition(&normalized, whole, allowed) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(range) => self.encode_normalized(&normalized[range], buffer, ids),
            }
        }
    }

    /// Appends the ids of normalised text without special tokens.
    fn encode_normalized(&self, mut text: &str, buffer: &mut MergeBuffer, ids: &mut Vec<TokenId>) {
        while !text.is_empty() {
            let (stretch, rest) = text.split_at(text.floor_char_boundary(STRETCH_LENGTH_MAX));
            text = rest;
            self.splitter.split(stretch, &mut |word| match &self.model {
                Model::BytePair(model) => model.encode(&self.vocabulary, word, buffer, ids),
                Model::ScorePair(model) => model.encode(&self.vocabulary, word, buffer, ids),
                Model::Unigram(model) => model.encode(word, &mut buffer.step_count, ids),
                Model::Plamo2(model) => model.encode(word, &mut buffer.step_count, ids),
                Model::WordPiece(model) => model.encode(word, &mut buffer.step_count, ids),
                Model::LongestBytes(model) => model.encode(word, &mut buffer.step_count, ids),
            });
        }
    }

    /// The text of `ids`; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode(&self, ids: &[TokenId], show: ShowSpecial) -> Result<String, TokenizerError> {
        let bytes = self.decode_bytes(ids, Position::Start, show)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The bytes of `ids`, which stand at `position` of a text; not always UTF-8.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode_bytes(
        &self,
        ids: &[TokenId],
        position: Position,
        show: ShowSpecial,
    ) -> Result<Vec<u8>, TokenizerError> {
        let mut joiner = Joiner::new(self.joining, position);
        let mut text = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            let (bytes, kind) = self.shown_bytes(id, show)?;
            joiner.append(bytes, kind, &mut text);
        }
        Ok(text)
    }

    /// What token `id` adds to a text in which control tokens show or hide, and its kind.
    fn shown_bytes(&self, id: TokenId, show: ShowSpecial) -> Result<(&[u8], TokenKind), TokenizerError> {
        let bytes = self.token_bytes(id)?;
        let kind = self.vocabulary.kinds[id as usize];
        let is_hidden = show == ShowSpecial::Hide
            && match kind {
                TokenKind::Control => true,
                TokenKind::Unknown => self.hides_unknown,
                _ => false,
            };
        Ok((if is_hidden { b"" } else { bytes }, kind))
    }

    /// The bytes token `id` adds in the middle of a text; of a control token its spelling.
    ///
    /// # Errors
    /// If the id is not in the vocabulary.
    pub fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        let count = self.vocabulary_size();
        self.vocabulary.output(id).ok_or(TokenizerError::TokenIdOutOfRange { id, count })
    }

    /// What token `id` is for; `None` if it is not in the vocabulary.
    pub fn token_kind(&self, id: TokenId) -> Option<TokenKind> {
        self.vocabulary.kinds.get(id as usize).copied()
    }

    /// Whether token `id` is in the vocabulary and steers the model rather than stands for text.
    pub fn is_control(&self, id: TokenId) -> bool {
        self.token_kind(id) == Some(TokenKind::Control)
    }

    /// Whether generation ends at token `id`.
    pub fn is_end_of_generation(&self, id: TokenId) -> bool {
        self.ends_of_generation.binary_search(&id).is_ok()
    }

    /// The tokens at which generation ends, sorted.
    pub fn ends_of_generation(&self) -> &[TokenId] {
        &self.ends_of_generation
    }

    /// The tokens that have a role.
    pub fn special_ids(&self) -> &SpecialIds {
        &self.ids
    }

    /// Whether the tokens of a stretch of text spell just that text wherever it stands: nothing is normalised away and no
    /// space is put in front.
    pub fn spells_text_as_it_is(&self) -> bool {
        matches!(self.model, Model::BytePair(_)) && self.normalizations.is_empty() && self.joining == Joining::Plain
    }

    /// The token that begins a text, if there is one.
    pub fn bos(&self) -> Option<TokenId> {
        self.ids.bos
    }

    /// The token that ends a text, if there is one.
    pub fn eos(&self) -> Option<TokenId> {
        self.ids.eos
    }

    /// Whether [`AddSpecial::Yes`] puts the beginning-of-text token in front.
    pub fn adds_bos(&self) -> bool {
        self.ids.bos.is_some() && self.frame.before.first() == self.ids.bos.as_ref()
    }

    /// The tokens that [`AddSpecial::Yes`] puts before and behind a text.
    pub fn frame(&self) -> (&[TokenId], &[TokenId]) {
        (&self.frame.before, &self.frame.after)
    }

    /// What stands between two texts that are read together, besides the end of the first.
    pub fn separator_between(&self) -> Option<TokenId> {
        self.frame.between
    }

    /// How many tokens there are: ids run from 0 to one below.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }
}
