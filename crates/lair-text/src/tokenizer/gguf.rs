//! Builds a tokenizer from the metadata of a model file (`tokenizer.ggml.*`).

use lair_gguf::{Array, Metadata, StringArray};

use super::byte_pair::{Alphabet, BytePair, WholeWords, split_merge};
use super::character_map::CharacterMap;
use super::decode::Joining;
use super::error::TokenizerError;
use super::longest_match::{LongestBytes, WordPiece};
use super::normalize::{Bert, Normalization, SentencePieceNormalizer};
use super::pre_tokenizers::{self, PreTokenizer};
use super::roles::find_roles;
use super::score_pair::ScorePair;
use super::special::{SpecialToken, SpecialTokens};
use super::spelling::{Spelling, check_limits, spell};
use super::split::{BERT_WORDS, Splitter};
use super::trie::Trie;
use super::unigram::{Plamo2, Precision, Unigram};
use super::vocabulary::{SpecialIds, TokenId, TokenKind, Vocabulary};
use super::{Frame, Model, Tokenizer};

const KEY_TOKENS: &str = "tokenizer.ggml.tokens";
const KEY_MERGES: &str = "tokenizer.ggml.merges";
const KEY_SCORES: &str = "tokenizer.ggml.scores";
const KEY_KINDS: &str = "tokenizer.ggml.token_type";

/// What the kind of a tokenizer says where the file is silent.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    adds_bos: bool,
    adds_eos: bool,
    adds_space_prefix: bool,
    ids: [Option<TokenId>; 6],
}

/// Where a role stands in the file, in the order of [`Defaults::ids`].
const ID_KEYS: [&str; 6] = [
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.mask_token_id",
];

impl Tokenizer {
    /// Builds the tokenizer that `metadata` describes.
    ///
    /// # Errors
    /// If a key is missing or malformed, if a limit is exceeded, or if the tokenizer or its pre-tokenizer is of a kind
    /// this version does not know: the error says which.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        match metadata.str("tokenizer.ggml.model")? {
            "gpt2" => byte_pair(metadata, metadata.optional_str("tokenizer.ggml.pre")?.unwrap_or("default")),
            "whitespace" => byte_pair(metadata, "whitespace"),
            "gemma4" => byte_pair(metadata, "gemma4"),
            "llama" => score_pair(metadata),
            "t5" => unigram(metadata),
            "bert" => word_piece(metadata),
            "rwkv" => longest_bytes(metadata),
            "plamo2" => plamo2(metadata),
            other => Err(TokenizerError::UnknownModel { name: other.to_owned() }),
        }
    }
}

/// `gpt2` and its relatives.
fn byte_pair(metadata: &Metadata, pre: &str) -> Result<Tokenizer, TokenizerError> {
    let row = pre_tokenizers::find(pre).ok_or_else(|| TokenizerError::UnknownPreTokenizer { name: pre.to_owned() })?;
    let alphabet = if row.escapes_spaces || pre == "whitespace" { Alphabet::Characters } else { Alphabet::Bytes };
    let spelling = match alphabet {
        Alphabet::Bytes => Spelling::Printable,
        Alphabet::Characters => Spelling::Escaped,
    };
    let is_gemma4 = metadata.optional_str("tokenizer.ggml.model")? == Some("gemma4");
    let default_id = (!is_gemma4).then_some(11);
    let defaults = Defaults {
        adds_bos: row.adds_bos || is_gemma4,
        adds_eos: false,
        adds_space_prefix: false,
        ids: [default_id, default_id, None, None, None, None],
    };
    let loaded = Loaded::read(metadata, spelling, defaults)?;
    let whole_words = match row {
        PreTokenizer { takes_whole_words: true, .. } => WholeWords::Take,
        PreTokenizer { escapes_spaces: true, .. } if pre == "gemma4" => WholeWords::TakeLineFeeds,
        _ => WholeWords::Merge,
    };
    let empty = StringArray::default();
    let merges = match metadata.optional_strings(KEY_MERGES)? {
        Some(merges) => merges,
        // Kimi K2 is converted from a rank file; some conversions leave the merges out.
        None if pre == "kimi-k2" => &empty,
        None => return Err(TokenizerError::MissingKey { key: KEY_MERGES.to_owned() }),
    };
    let mut pairs = Vec::with_capacity(merges.len());
    for (index, line) in merges.iter().enumerate() {
        let pair = split_merge(line.as_bytes());
        pairs.push(pair.ok_or_else(|| TokenizerError::MalformedMerge { index, text: line.to_owned() })?);
    }
    let model = BytePair::new(&loaded.vocabulary, pairs.into_iter(), alphabet, whole_words)?;
    let mut normalizations = Vec::new();
    if row.escapes_spaces {
        normalizations.push(Normalization::EscapeSpaces);
    }
    if metadata.optional_bool("tokenizer.ggml.normalizer.lowercase")? == Some(true) && pre == "whitespace" {
        normalizations.push(Normalization::Lowercase);
    }
    let frame = loaded.frame(metadata)?;
    loaded.finish(metadata, Model::BytePair(model), normalizations, Splitter::from_patterns(row.patterns)?, frame)
}

/// `llama`: SentencePiece's byte-pair encoding.
fn score_pair(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let defaults = Defaults {
        adds_bos: true,
        adds_eos: false,
        adds_space_prefix: true,
        ids: [Some(1), Some(2), Some(0), None, None, None],
    };
    let loaded = Loaded::read(metadata, Spelling::Escaped, defaults)?;
    let model = ScorePair::new(&loaded.vocabulary, loaded.ids.unknown)?;
    let mut normalizations = Vec::new();
    if loaded.adds_space_prefix {
        normalizations.push(Normalization::Prefix { text: " ".to_owned(), only_first: false, once: false });
    }
    normalizations.push(Normalization::EscapeSpaces);
    let frame = loaded.frame(metadata)?;
    loaded.finish(metadata, Model::ScorePair(model), normalizations, Splitter::default(), frame)
}

/// `t5`: a unigram model.
fn unigram(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let defaults = Defaults {
        adds_bos: false,
        adds_eos: true,
        adds_space_prefix: false,
        ids: [None, Some(1), Some(2), None, Some(0), None],
    };
    let loaded = Loaded::read(metadata, Spelling::Escaped, defaults)?;
    let map = match metadata.get("tokenizer.ggml.precompiled_charsmap") {
        None => Vec::new(),
        Some(_) => byte_array(metadata, "tokenizer.ggml.precompiled_charsmap")?,
    };
    let user_defined = |id: TokenId| loaded.vocabulary.kinds[id as usize] == TokenKind::UserDefined;
    let pieces = loaded.vocabulary.pieces.iter().enumerate().map(|(id, piece)| (piece, id as TokenId));
    let normalizer = SentencePieceNormalizer {
        characters: CharacterMap::parse(&map)?,
        user_defined: Trie::new(pieces.filter(|&(_, id)| user_defined(id))),
        adds_space_prefix: loaded.adds_space_prefix,
        removes_extra_spaces: metadata.optional_bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
        escapes_spaces: true,
    };
    let model = Model::Unigram(Unigram::new(&loaded.vocabulary, loaded.ids.unknown, Precision::Double));
    let frame = loaded.frame(metadata)?;
    let normalizations = vec![Normalization::SentencePiece(Box::new(normalizer))];
    loaded.finish(metadata, model, normalizations, Splitter::default(), frame)
}

/// An array of bytes, which files hold as numbers with or without sign.
fn byte_array(metadata: &Metadata, key: &str) -> Result<Vec<u8>, TokenizerError> {
    match metadata.get(key).and_then(|value| value.as_array()) {
        Some(Array::U8(bytes)) => Ok(bytes.to_vec()),
        Some(Array::I8(bytes)) => Ok(bytes.iter().map(|&byte| byte as u8).collect()),
        _ => Err(TokenizerError::WrongType { key: key.to_owned(), expected: "an array of bytes" }),
    }
}

/// `bert`: WordPiece, in whose vocabulary U+2581 begins a word.
fn word_piece(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let defaults = Defaults {
        adds_bos: true,
        adds_eos: false,
        adds_space_prefix: false,
        ids: [Some(101), None, Some(100), Some(102), Some(0), Some(103)],
    };
    let loaded = Loaded::read(metadata, Spelling::Words { cleans_up: true }, defaults)?;
    let vocabulary = &loaded.vocabulary;
    let pieces = vocabulary.pieces.iter().enumerate().filter(|&(id, _)| vocabulary.is_spelled(id as TokenId));
    let pieces = pieces.map(|(id, piece)| match piece.strip_prefix("\u{2581}".as_bytes()) {
        Some(initial) => (initial, id as TokenId, false),
        None => (piece, id as TokenId, true),
    });
    let model = WordPiece::new(pieces, loaded.ids.unknown, usize::MAX);
    let lowers = metadata.optional_bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
    let strips_accents = metadata.optional_bool("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowers);
    let steps = Bert { cleans: true, sets_ideographs_apart: true, strips_accents, lowers }.steps()?;
    // A text of this kind is always framed, whatever the flags say.
    let (before, after) = (loaded.ids.bos.into_iter().collect(), loaded.ids.separator.into_iter().collect());
    let frame = Frame { before, after, between: None };
    loaded.finish(metadata, Model::WordPiece(model), steps, Splitter::from_patterns(BERT_WORDS)?, frame)
}

/// `rwkv`: the longest bytes.
fn longest_bytes(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let defaults = Defaults { adds_bos: false, adds_eos: false, adds_space_prefix: false, ids: [None; 6] };
    let loaded = Loaded::read(metadata, Spelling::Backslashes, defaults)?;
    let vocabulary = &loaded.vocabulary;
    let pieces = vocabulary.pieces.iter().enumerate().map(|(id, piece)| (piece, id as TokenId));
    let model = LongestBytes::new(pieces.filter(|&(_, id)| vocabulary.is_spelled(id)), loaded.ids.unknown);
    loaded.finish(metadata, Model::LongestBytes(model), Vec::new(), Splitter::default(), Frame::default())
}

/// `plamo2`.
fn plamo2(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let defaults = Defaults {
        adds_bos: false,
        adds_eos: false,
        adds_space_prefix: false,
        ids: [Some(1), Some(2), Some(0), None, Some(3), None],
    };
    let loaded = Loaded::read(metadata, Spelling::Plain, defaults)?;
    let model = Plamo2::new(&loaded.vocabulary)?;
    let frame = loaded.frame(metadata)?;
    loaded.finish(metadata, Model::Plamo2(model), Vec::new(), Splitter::default(), frame)
}

/// What all kinds of tokenizers read from a file.
struct Loaded {
    vocabulary: Vocabulary,
    ids: SpecialIds,
    ends_of_generation: Vec<TokenId>,
    defaults: Defaults,
    adds_space_prefix: bool,
}

impl Loaded {
    fn read(metadata: &Metadata, spelling: Spelling, defaults: Defaults) -> Result<Self, TokenizerError> {
        let tokens = metadata.strings(KEY_TOKENS)?;
        check_limits(tokens)?;
        let mut vocabulary = Vocabulary {
            kinds: read_kinds(metadata, tokens.len())?,
            scores: read_scores(metadata, tokens.len())?,
            ..Vocabulary::default()
        };
        let mut ids = read_ids(metadata, tokens.len(), &defaults)?;
        let ends_of_generation = find_roles(&mut vocabulary, &mut ids, tokens, metadata.optional_strings(KEY_MERGES)?);
        spell(&mut vocabulary, tokens, spelling, None)?;
        vocabulary.index_pieces()?;
        let adds_space_prefix =
            metadata.optional_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(defaults.adds_space_prefix);
        Ok(Self { vocabulary, ids, ends_of_generation, defaults, adds_space_prefix })
    }

    /// The tokens around a text.
    fn frame(&self, metadata: &Metadata) -> Result<Frame, TokenizerError> {
        let flag = |key: &str, default: bool| -> Result<bool, TokenizerError> {
            Ok(metadata.optional_bool(key)?.unwrap_or(default))
        };
        let mut frame = Frame::default();
        if flag("tokenizer.ggml.add_bos_token", self.defaults.adds_bos)? {
            frame.before.extend(self.ids.bos);
        }
        if flag("tokenizer.ggml.add_eos_token", self.defaults.adds_eos)? {
            frame.after.extend(self.ids.eos);
        }
        if flag("tokenizer.ggml.add_sep_token", false)? {
            frame.between = self.ids.separator;
        }
        Ok(frame)
    }

    fn finish(
        self,
        metadata: &Metadata,
        model: Model,
        normalizations: Vec<Normalization>,
        splitter: Splitter,
        frame: Frame,
    ) -> Result<Tokenizer, TokenizerError> {
        let special = SpecialTokens::new(special_tokens(metadata, &self.vocabulary)?)?;
        Ok(Tokenizer {
            joining: match &model {
                Model::WordPiece(_) => Joining::AfterSpace,
                Model::Unigram(_) if self.adds_space_prefix => Joining::AfterSpaces,
                _ if self.adds_space_prefix => Joining::AfterSpace,
                _ => Joining::Plain,
            },
            special_normalized: SpecialTokens::default(),
            vocabulary: self.vocabulary,
            ids: self.ids,
            ends_of_generation: self.ends_of_generation,
            special,
            hides_unknown: true,
            normalizations,
            splitter,
            model,
            frame,
        })
    }
}

fn read_kinds(metadata: &Metadata, count: usize) -> Result<Vec<TokenKind>, TokenizerError> {
    let Some(numbers) = metadata.optional_i32_array(KEY_KINDS)? else { return Ok(vec![TokenKind::Normal; count]) };
    if numbers.len() < count {
        let (found, expected) = (numbers.len(), count);
        return Err(TokenizerError::LengthMismatch { key: KEY_KINDS.to_owned(), found, expected });
    }
    Ok(numbers[..count].iter().map(|&number| TokenKind::from_gguf(number.into())).collect())
}

fn read_scores(metadata: &Metadata, count: usize) -> Result<Vec<f32>, TokenizerError> {
    let scores = match metadata.optional_f32_array(KEY_SCORES) {
        Ok(None) => return Ok(Vec::new()),
        Ok(Some(scores)) => scores,
        // Some old conversions store whole numbers.
        Err(_) => metadata.i32_array(KEY_SCORES)?.into_iter().map(|score| score as f32).collect(),
    };
    if scores.len() < count {
        let (found, expected) = (scores.len(), count);
        return Err(TokenizerError::LengthMismatch { key: KEY_SCORES.to_owned(), found, expected });
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(token) => Err(TokenizerError::ScoreNotFinite { token: token as u32 }),
        None => Ok(scores),
    }
}

fn read_ids(metadata: &Metadata, count: usize, defaults: &Defaults) -> Result<SpecialIds, TokenizerError> {
    let read = |key: &str| -> Result<Option<TokenId>, TokenizerError> {
        match metadata.optional_u32(key)? {
            Some(id) if id as usize >= count => {
                Err(TokenizerError::SpecialTokenOutOfRange { key: key.to_owned(), id: id.into(), count })
            }
            id => Ok(id),
        }
    };
    let mut main = [None; 6];
    for (index, key) in ID_KEYS.iter().enumerate() {
        let default = defaults.ids[index].filter(|&id| (id as usize) < count);
        main[index] = read(key)?.or(default);
    }
    let [bos, eos, unknown, separator, padding, mask] = main;
    let fim = |key: &str, old_key: &str| -> Result<Option<TokenId>, TokenizerError> {
        Ok(read(&format!("tokenizer.ggml.{key}_token_id"))?.or(read(&format!("tokenizer.ggml.{old_key}_token_id"))?))
    };
    Ok(SpecialIds {
        bos: bos.or(read("tokenizer.ggml.cls_token_id")?),
        eos,
        eot: read("tokenizer.ggml.eot_token_id")?,
        eom: read("tokenizer.ggml.eom_token_id")?,
        unknown,
        separator,
        padding,
        mask,
        fim_prefix: fim("fim_pre", "prefix")?,
        fim_suffix: fim("fim_suf", "suffix")?,
        fim_middle: fim("fim_mid", "middle")?,
        fim_padding: read("tokenizer.ggml.fim_pad_token_id")?,
        fim_repository: read("tokenizer.ggml.fim_rep_token_id")?,
        fim_separator: read("tokenizer.ggml.fim_sep_token_id")?,
    })
}

/// The tokens matched as a whole, with the stripping that some models need and no key says.
fn special_tokens(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Vec<SpecialToken>, TokenizerError> {
    let mut tokens = Vec::new();
    for (index, &kind) in vocabulary.kinds.iter().enumerate() {
        let is_control = match kind {
            TokenKind::Control | TokenKind::Unknown => true,
            TokenKind::UserDefined => false,
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => continue,
        };
        let id = index as TokenId;
        tokens.push(SpecialToken::new(id, vocabulary.pieces.get(id).unwrap_or_default(), is_control));
    }
    let name = metadata.optional_str("general.name")?.unwrap_or_default().to_lowercase();
    let pre = metadata.optional_str("tokenizer.ggml.pre")?.unwrap_or_default();
    let architecture = metadata.optional_str("general.architecture")?.unwrap_or_default();
    let masks_left = ["jina-v2-de", "jina-v2-es", "jina-v2-code"].iter().any(|part| pre.contains(part))
        || ["nomic-bert-moe", "jina-bert-v3"].iter().any(|part| architecture.contains(part));
    let is_phi3 = name.contains("phi-3") || name.contains("phi3");
    for token in &mut tokens {
        let text = token.text.as_slice();
        if masks_left {
            token.strips_left = text == b"<mask>";
        } else if is_phi3 {
            token.strips_right = ![&b"<unk>"[..], b"<s>", b"<|endoftext|>"].contains(&text);
        } else if name.contains("modern-bert") {
            token.strips_left = text == b"[MASK]";
        }
    }
    Ok(tokens)
}
