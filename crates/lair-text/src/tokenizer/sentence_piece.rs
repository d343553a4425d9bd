//! Reads a SentencePiece model file (`tokenizer.model`).
//!
//! The file is a protocol buffer, `ModelProto` of google/sentencepiece `src/sentencepiece_model.proto`; the few fields
//! that matter are read here, the rest is skipped.

use lair_gguf::StringArray;

use super::character_map::CharacterMap;
use super::decode::Joining;
use super::error::TokenizerError;
use super::normalize::{Normalization, SentencePieceNormalizer};
use super::roles::find_roles;
use super::score_pair::ScorePair;
use super::special::{SpecialToken, SpecialTokens};
use super::spelling::{Spelling, check_limits, spell};
use super::split::Splitter;
use super::trie::Trie;
use super::unigram::{Precision, Unigram};
use super::vocabulary::{SpecialIds, TOKEN_COUNT_MAX, TokenId, TokenKind, Vocabulary};
use super::{Frame, Model, Tokenizer};

/// What decoding writes for the unknown token unless the model says otherwise.
const UNKNOWN_SURFACE: &str = " \u{2047} ";

impl Tokenizer {
    /// Builds the tokenizer of a SentencePiece model file: byte-pair or unigram.
    ///
    /// The file does not say what frames a text; [`super::AddSpecial::Yes`] adds the beginning-of-text token.
    ///
    /// # Errors
    /// If the file is damaged, exceeds a limit, or holds a model of words or characters.
    pub fn from_sentence_piece(bytes: &[u8]) -> Result<Self, TokenizerError> {
        ModelFile::read(bytes)?.build()
    }
}

/// The vocabulary of a SentencePiece model file, as it is written.
#[derive(Debug, Clone)]
pub struct SentencePieceVocabulary {
    /// The pieces, by id.
    pub pieces: Vec<String>,
    /// What they are worth.
    pub scores: Vec<f32>,
    /// What they are.
    pub kinds: Vec<TokenKind>,
    /// Whether pieces are merged by pairs; else the likeliest division is taken (unigram).
    pub merges_pairs: bool,
}

impl SentencePieceVocabulary {
    /// Reads the vocabulary of a model file.
    ///
    /// # Errors
    /// If the file is damaged, exceeds a limit, or holds a model of words or characters.
    pub fn read(bytes: &[u8]) -> Result<SentencePieceVocabulary, TokenizerError> {
        let file = ModelFile::read(bytes)?;
        if !matches!(file.model_type, 1 | 2) {
            return Err(TokenizerError::UnknownModel { name: "sentencepiece WORD or CHAR".to_owned() });
        }
        let merges_pairs = file.model_type == 2;
        Ok(SentencePieceVocabulary { pieces: file.pieces, scores: file.scores, kinds: file.kinds, merges_pairs })
    }
}

/// The fields of a model file that matter, with their defaults.
struct ModelFile {
    pieces: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<TokenKind>,
    model_type: u64,
    unknown_surface: String,
    unknown: i64,
    bos: i64,
    eos: i64,
    padding: i64,
    treats_space_as_suffix: bool,
    character_map: Vec<u8>,
    adds_space_prefix: bool,
    removes_extra_spaces: bool,
    escapes_spaces: bool,
}

impl ModelFile {
    fn read(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let mut file = Self {
            pieces: Vec::new(),
            scores: Vec::new(),
            kinds: Vec::new(),
            model_type: 1,
            unknown_surface: UNKNOWN_SURFACE.to_owned(),
            unknown: 0,
            bos: 1,
            eos: 2,
            padding: -1,
            treats_space_as_suffix: false,
            character_map: Vec::new(),
            adds_space_prefix: true,
            removes_extra_spaces: true,
            escapes_spaces: true,
        };
        for field in Fields::new(bytes, 0) {
            let field = field?;
            match field.number {
                1 => file.read_piece(&field)?,
                2 => file.read_trainer(&field)?,
                3 => file.read_normalizer(&field)?,
                _ => {}
            }
        }
        Ok(file)
    }

    fn read_piece(&mut self, message: &Field<'_>) -> Result<(), TokenizerError> {
        if self.pieces.len() == TOKEN_COUNT_MAX {
            let limit = TOKEN_COUNT_MAX as u64;
            return Err(TokenizerError::LimitExceeded { what: "number of tokens", found: limit + 1, limit });
        }
        let (mut piece, mut score, mut kind) = (String::new(), 0.0, TokenKind::Normal);
        for field in message.fields()? {
            let field = field?;
            match field.number {
                1 => piece = field.text()?.to_owned(),
                2 => score = f32::from_bits(field.fixed_32()?),
                3 => kind = TokenKind::from_gguf(field.integer()? as i64),
                _ => {}
            }
        }
        if !score.is_finite() {
            return Err(TokenizerError::ScoreNotFinite { token: self.pieces.len() as u32 });
        }
        self.pieces.push(piece);
        self.scores.push(score);
        self.kinds.push(kind);
        Ok(())
    }

    fn read_trainer(&mut self, message: &Field<'_>) -> Result<(), TokenizerError> {
        for field in message.fields()? {
            let field = field?;
            match field.number {
                3 => self.model_type = field.integer()?,
                24 => self.treats_space_as_suffix = field.integer()? != 0,
                40 => self.unknown = field.integer()? as i64,
                41 => self.bos = field.integer()? as i64,
                42 => self.eos = field.integer()? as i64,
                43 => self.padding = field.integer()? as i64,
                44 => self.unknown_surface = field.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, message: &Field<'_>) -> Result<(), TokenizerError> {
        for field in message.fields()? {
            let field = field?;
            match field.number {
                2 => self.character_map = field.bytes()?.to_vec(),
                3 => self.adds_space_prefix = field.integer()? != 0,
                4 => self.removes_extra_spaces = field.integer()? != 0,
                5 => self.escapes_spaces = field.integer()? != 0,
                _ => {}
            }
        }
        Ok(())
    }

    /// The id of a role; a negative number in the file means that there is none.
    fn role(&self, key: &str, number: i64) -> Result<Option<TokenId>, TokenizerError> {
        let count = self.pieces.len();
        // Numbers of 32 bits are stored sign-extended or not, by writer.
        match number as i32 {
            id if id < 0 => Ok(None),
            id if (id as usize) < count => Ok(Some(id as TokenId)),
            id => Err(TokenizerError::SpecialTokenOutOfRange { key: key.to_owned(), id: id as u64, count }),
        }
    }

    fn build(mut self) -> Result<Tokenizer, TokenizerError> {
        if !matches!(self.model_type, 1 | 2) || self.treats_space_as_suffix {
            let name = if self.treats_space_as_suffix { "treat_whitespace_as_suffix" } else { "WORD or CHAR" };
            return Err(TokenizerError::UnknownModel { name: format!("sentencepiece {name}") });
        }
        let tokens: StringArray = self.pieces.iter().collect();
        check_limits(&tokens)?;
        let mut vocabulary = Vocabulary {
            kinds: std::mem::take(&mut self.kinds),
            scores: std::mem::take(&mut self.scores),
            ..Vocabulary::default()
        };
        let mut ids = SpecialIds {
            unknown: self.role("unk_id", self.unknown)?,
            bos: self.role("bos_id", self.bos)?,
            eos: self.role("eos_id", self.eos)?,
            padding: self.role("pad_id", self.padding)?,
            ..SpecialIds::default()
        };
        let ends_of_generation = find_roles(&mut vocabulary, &mut ids, &tokens, None);
        let unknown_surface = ids.unknown.map(|id| (id, self.unknown_surface.as_str()));
        spell(&mut vocabulary, &tokens, Spelling::Escaped, unknown_surface)?;
        vocabulary.index_pieces()?;
        let model = match self.model_type {
            1 => Model::Unigram(Unigram::new(&vocabulary, ids.unknown, Precision::Single)),
            _ => Model::ScorePair(ScorePair::new(&vocabulary, ids.unknown)?),
        };
        let (special, special_normalized, user_defined) = special_tokens(&vocabulary)?;
        let normalizer = SentencePieceNormalizer {
            characters: CharacterMap::parse(&self.character_map)?,
            user_defined,
            adds_space_prefix: self.adds_space_prefix,
            removes_extra_spaces: self.removes_extra_spaces,
            escapes_spaces: self.escapes_spaces,
        };
        let joining = match (self.removes_extra_spaces, self.adds_space_prefix) {
            (true, _) => Joining::AfterSpaces,
            (false, true) => Joining::AfterSpace,
            (false, false) => Joining::Plain,
        };
        Ok(Tokenizer {
            frame: Frame { before: ids.bos.into_iter().collect(), ..Frame::default() },
            vocabulary,
            ids,
            ends_of_generation,
            special,
            special_normalized,
            hides_unknown: false,
            normalizations: vec![Normalization::SentencePiece(Box::new(normalizer))],
            splitter: Splitter::default(),
            model,
            joining,
        })
    }
}

/// Control tokens are looked for in the text as it comes, user-defined ones in normalised text.
fn special_tokens(vocabulary: &Vocabulary) -> Result<(SpecialTokens, SpecialTokens, Trie), TokenizerError> {
    let of_kind = |kind: TokenKind| {
        let pieces = vocabulary.pieces.iter().zip(&vocabulary.kinds).enumerate();
        pieces.filter(move |(_, (_, found))| **found == kind).map(|(id, (piece, _))| (piece, id as TokenId))
    };
    let tokens = |kind, is_control| {
        SpecialTokens::new(of_kind(kind).map(|(piece, id)| SpecialToken::new(id, piece, is_control)).collect())
    };
    Ok((
        tokens(TokenKind::Control, true)?,
        tokens(TokenKind::UserDefined, false)?,
        Trie::new(of_kind(TokenKind::UserDefined)),
    ))
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    value: Value<'a>,
    /// Where it starts in the file.
    offset: usize,
}

enum Value<'a> {
    Integer(u64),
    Fixed32(u32),
    Fixed64,
    /// The bytes and where they start in the file.
    Bytes(&'a [u8], usize),
}

impl<'a> Field<'a> {
    fn wrong(&self, reason: &'static str) -> TokenizerError {
        TokenizerError::MalformedSentencePiece { offset: self.offset, reason }
    }

    fn integer(&self) -> Result<u64, TokenizerError> {
        if let Value::Integer(value) = self.value { Ok(value) } else { Err(self.wrong("a number was expected")) }
    }

    fn fixed_32(&self) -> Result<u32, TokenizerError> {
        if let Value::Fixed32(value) = self.value { Ok(value) } else { Err(self.wrong("a float was expected")) }
    }

    fn bytes(&self) -> Result<&'a [u8], TokenizerError> {
        if let Value::Bytes(value, _) = self.value { Ok(value) } else { Err(self.wrong("bytes were expected")) }
    }

    fn text(&self) -> Result<&'a str, TokenizerError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.wrong("a text is not UTF-8"))
    }

    fn fields(&self) -> Result<Fields<'a>, TokenizerError> {
        let Value::Bytes(bytes, start) = self.value else { return Err(self.wrong("a message was expected")) };
        Ok(Fields::new(bytes, start))
    }
}

/// The fields of a message, one after the other; ends after the first error.
struct Fields<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { rest: bytes, offset }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        self.offset += length;
        Some(taken)
    }

    /// A number in groups of seven bits, lowest first.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn value(&mut self, wire_type: u64) -> Option<Value<'a>> {
        Some(match wire_type {
            0 => Value::Integer(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let start = self.offset;
                Value::Bytes(self.take(length)?, start)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, TokenizerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        let tag = self.varint();
        let field = tag.and_then(|tag| {
            let value = self.value(tag & 7)?;
            Some(Field { number: tag >> 3, value, offset })
        });
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(TokenizerError::MalformedSentencePiece { offset, reason: "a field is cut short" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_refused() {
        for bytes in [&b"\x0A\x05\x0A\x01"[..], b"\xFF", b"\x0B", b"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"] {
            assert!(Tokenizer::from_sentence_piece(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_model_of_two_pieces_works() {
        // <unk>, of kind 2, and "a" with score -1; roles beyond the vocabulary are named.
        let pieces = b"\x0A\x09\x0A\x05<unk>\x18\x02\x0A\x08\x0A\x01a\x15\x00\x00\x80\xBF";
        let trainer = b"\x12\x06\x18\x02\xC8\x02\x01\xD0\x02\x01";
        let error = Tokenizer::from_sentence_piece(pieces).expect_err("</s> is 2 by default");
        assert!(matches!(error, TokenizerError::SpecialTokenOutOfRange { id: 2, count: 2, .. }), "{error}");
        let file = [&pieces[..], &trainer[..2], &trainer[2..4], b"\xD0\x02\x01", &[]].concat();
        let mut file = file;
        file[pieces.len() + 1] = 5;
        let tokenizer = Tokenizer::from_sentence_piece(&file).expect("a model");
        assert_eq!(tokenizer.vocabulary_size(), 2);
        assert_eq!(tokenizer.encode("aa", super::super::Special::AsText, super::super::AddSpecial::No), [0, 1, 1]);
    }
}
