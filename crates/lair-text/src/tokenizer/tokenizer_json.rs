//! Reads a `tokenizer.json` of Hugging Face's tokenizers.

use std::collections::HashMap;

use lair_gguf::StringArray;
use serde_json::Value;

use super::byte_pair::{Alphabet, BytePair, WholeWords, split_merge};
use super::decode::Joining;
use super::error::TokenizerError;
use super::json_stages::{Decoding, decoding, normalizations, pre_tokenizing, sequence, type_name, unsupported};
use super::longest_match::WordPiece;
use super::normalize::{ESCAPED_SPACE, Normalization, Place, normalize};
use super::roles::find_roles;
use super::special::{SpecialToken, SpecialTokens};
use super::spelling::{Spelling, check_limits, spell};
use super::split::Splitter;
use super::unigram::{Precision, Unigram};
use super::vocabulary::{SpecialIds, TOKEN_COUNT_MAX, TokenId, TokenKind, Vocabulary, parse_byte_token};
use super::{Frame, Model, Tokenizer};

/// The prefix of continuing pieces where the file is silent.
const CONTINUING_PREFIX: &str = "##";

impl Tokenizer {
    /// Builds the tokenizer that a `tokenizer.json` describes: BPE, Unigram or WordPiece.
    ///
    /// [`super::AddSpecial::Yes`] adds what the post-processor adds to a single text. Truncation and padding are left to
    /// the caller.
    ///
    /// # Errors
    /// If the file is malformed, exceeds a limit, or uses a part that is not supported or an expression that needs
    /// backtracking: the error names it.
    pub fn from_tokenizer_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let file: Value = serde_json::from_slice(bytes)
            .map_err(|error| TokenizerError::MalformedJson { reason: error.to_string() })?;
        Reader::new(&file)?.build()
    }
}

/// A token of the `added_tokens` list.
struct AddedToken<'v> {
    special: SpecialToken,
    text: &'v str,
    is_normalized: bool,
}

/// What is known of the tokens while the file is read.
struct Reader<'v> {
    file: &'v Value,
    model: &'v Value,
    /// By id; empty: no such token.
    texts: Vec<&'v str>,
    scores: Vec<f32>,
    kinds: Vec<TokenKind>,
    added: Vec<AddedToken<'v>>,
    unknown: Option<TokenId>,
}

impl<'v> Reader<'v> {
    fn new(file: &'v Value) -> Result<Self, TokenizerError> {
        let model = &file["model"];
        let (texts, scores, kinds) = (Vec::new(), Vec::new(), Vec::new());
        let mut reader = Self { file, model, texts, scores, kinds, added: Vec::new(), unknown: None };
        reader.read_vocabulary()?;
        reader.read_added()?;
        Ok(reader)
    }

    fn is_unigram(&self) -> bool {
        self.model["vocab"].is_array()
    }

    /// The model's vocabulary: an object from text to id, or for Unigram a list of texts and scores.
    fn read_vocabulary(&mut self) -> Result<(), TokenizerError> {
        let wrong = |expected| TokenizerError::WrongType { key: "model.vocab".to_owned(), expected };
        match &self.model["vocab"] {
            Value::Object(vocabulary) => {
                for (text, id) in vocabulary {
                    let id = id.as_u64().ok_or_else(|| wrong("an object of ids"))?;
                    self.set(id, text, TokenKind::Normal)?;
                }
                let unknown = self.model["unk_token"].as_str().and_then(|text| vocabulary.get(text));
                self.unknown = unknown.and_then(Value::as_u64).map(|id| id as TokenId);
            }
            Value::Array(vocabulary) => {
                for (id, entry) in vocabulary.iter().enumerate() {
                    let text = entry[0].as_str().ok_or_else(|| wrong("a list of texts and scores"))?;
                    let score = entry[1].as_f64().ok_or_else(|| wrong("a list of texts and scores"))? as f32;
                    if !score.is_finite() {
                        return Err(TokenizerError::ScoreNotFinite { token: id as u32 });
                    }
                    self.set(id as u64, text, TokenKind::Normal)?;
                    self.scores.push(score);
                }
                let unknown = self.model["unk_id"].as_u64().filter(|&id| (id as usize) < vocabulary.len());
                self.unknown = unknown.map(|id| id as TokenId);
            }
            _ => return Err(wrong("an object or a list")),
        }
        if self.model["byte_fallback"].as_bool() == Some(true) {
            for (text, kind) in self.texts.iter().zip(&mut self.kinds) {
                if parse_byte_token(text.as_bytes()).is_some() {
                    *kind = TokenKind::Byte;
                }
            }
        }
        Ok(())
    }

    fn read_added(&mut self) -> Result<(), TokenizerError> {
        let file = self.file;
        for (index, entry) in file["added_tokens"].as_array().into_iter().flatten().enumerate() {
            let wrong = || TokenizerError::WrongType {
                key: format!("added_tokens[{index}]"),
                expected: "a token with an id and a content",
            };
            let text = entry["content"].as_str().ok_or_else(wrong)?;
            let id = entry["id"].as_u64().ok_or_else(wrong)?;
            let flag = |key: &str| entry[key].as_bool().unwrap_or(false);
            let is_control = flag("special");
            self.set(id, text, if is_control { TokenKind::Control } else { TokenKind::UserDefined })?;
            self.added.push(AddedToken {
                special: SpecialToken {
                    strips_left: flag("lstrip"),
                    strips_right: flag("rstrip"),
                    is_single_word: flag("single_word"),
                    ..SpecialToken::new(id as TokenId, text.as_bytes(), is_control)
                },
                text,
                is_normalized: flag("normalized"),
            });
        }
        if let Some(unknown) = self.unknown {
            self.kinds[unknown as usize] = TokenKind::Unknown;
        }
        Ok(())
    }

    fn set(&mut self, id: u64, text: &'v str, kind: TokenKind) -> Result<(), TokenizerError> {
        if id >= TOKEN_COUNT_MAX as u64 {
            let limit = TOKEN_COUNT_MAX as u64 - 1;
            return Err(TokenizerError::LimitExceeded { what: "token id", found: id, limit });
        }
        let index = id as usize;
        if index >= self.texts.len() {
            self.texts.resize(index + 1, "");
            self.kinds.resize(index + 1, TokenKind::Unused);
        }
        self.texts[index] = text;
        self.kinds[index] = kind;
        Ok(())
    }

    fn build(mut self) -> Result<Tokenizer, TokenizerError> {
        let pre = pre_tokenizing(&self.file["pre_tokenizer"])?;
        let decoding = decoding(&self.file["decoder"])?;
        let mut normalizations = normalizations(&self.file["normalizer"])?;
        let (before, after) = self.special_tokens(&normalizations, &pre.normalizations)?;
        normalizations.extend(pre.normalizations);
        let model_type = match self.model["type"].as_str() {
            Some(name) => name,
            None if self.is_unigram() => "Unigram",
            None if self.model["merges"].is_array() => "BPE",
            None => "WordPiece",
        };
        let spelling = spelling(model_type, pre.is_byte_level, &decoding);
        let tokens = self.spelled_tokens(spelling, &decoding);
        check_limits(&tokens)?;
        let mut vocabulary = Vocabulary {
            kinds: std::mem::take(&mut self.kinds),
            scores: std::mem::take(&mut self.scores),
            ..Vocabulary::default()
        };
        vocabulary.scores.resize(if vocabulary.scores.is_empty() { 0 } else { tokens.len() }, 0.0);
        let frame = self.frame()?;
        let mut ids = SpecialIds {
            bos: frame.before.first().copied(),
            eos: frame.after.last().copied(),
            unknown: self.unknown,
            ..SpecialIds::default()
        };
        let merges = (model_type == "BPE").then(|| self.merges()).transpose()?;
        let ends_of_generation = find_roles(&mut vocabulary, &mut ids, &tokens, merges.as_ref());
        spell(&mut vocabulary, &tokens, spelling, None)?;
        vocabulary.index_pieces()?;
        let model = self.build_model(model_type, &vocabulary, merges.as_ref(), pre.is_byte_level)?;
        let joins_by_space = matches!(spelling, Spelling::Words { .. }) || decoding.strips_space;
        Ok(Tokenizer {
            vocabulary,
            ids,
            ends_of_generation,
            special: SpecialTokens::new(before)?,
            special_normalized: SpecialTokens::new(after)?,
            hides_unknown: true,
            normalizations,
            splitter: Splitter::from_steps(pre.steps)?,
            model,
            frame,
            joining: if joins_by_space { Joining::AfterSpace } else { Joining::Plain },
        })
    }

    fn build_model(
        &self,
        model_type: &str,
        vocabulary: &Vocabulary,
        merges: Option<&StringArray>,
        is_byte_level: bool,
    ) -> Result<Model, TokenizerError> {
        let flag = |key: &str| self.model[key].as_bool().unwrap_or(false);
        match model_type {
            "BPE" => {
                for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
                    if self.model[key].as_str().is_some_and(|text| !text.is_empty()) {
                        return Err(unsupported("model", format!("BPE with {key}")));
                    }
                }
                let alphabet = if is_byte_level { Alphabet::Bytes } else { Alphabet::Characters };
                let whole_words = if flag("ignore_merges") { WholeWords::Take } else { WholeWords::Merge };
                let empty = StringArray::default();
                let lines = merges.unwrap_or(&empty);
                let pairs = lines.iter().map(|line| split_merge(line.as_bytes()).unwrap_or_default());
                let model = BytePair::new(vocabulary, pairs, alphabet, whole_words)?;
                Ok(Model::BytePair(model.with_unknown(self.unknown, flag("fuse_unk"))))
            }
            "Unigram" => Ok(Model::Unigram(Unigram::new(vocabulary, self.unknown, Precision::Double))),
            "WordPiece" => {
                let prefix = self.model["continuing_subword_prefix"].as_str().unwrap_or(CONTINUING_PREFIX);
                let normal = self
                    .texts
                    .iter()
                    .enumerate()
                    .filter(|&(id, text)| vocabulary.is_spelled(id as TokenId) && !text.is_empty());
                let pieces = normal.map(|(id, text)| match text.strip_prefix(prefix) {
                    Some(rest) => (rest.as_bytes(), id as TokenId, true),
                    None => (text.as_bytes(), id as TokenId, false),
                });
                let length_max = self.model["max_input_chars_per_word"].as_u64().unwrap_or(100);
                Ok(Model::WordPiece(WordPiece::new(pieces, self.unknown, length_max as usize)))
            }
            other => Err(unsupported("model", other)),
        }
    }

    /// The merges as lines; a merge is a line or a list of two pieces.
    fn merges(&self) -> Result<StringArray, TokenizerError> {
        let list = self.model["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
        let line = |(index, merge): (usize, &Value)| {
            let line = match merge {
                Value::String(line) => Some(line.clone()),
                // A piece with a space in it cannot be told from two in a line; none is known to exist.
                pair => pair[0].as_str().zip(pair[1].as_str()).map(|(left, right)| format!("{left} {right}")),
            };
            line.filter(|line| split_merge(line.as_bytes()).is_some())
                .ok_or_else(|| TokenizerError::MalformedMerge { index, text: merge.to_string() })
        };
        list.iter().enumerate().map(line).collect()
    }

    /// The texts as `spelling` writes them.
    fn spelled_tokens(&self, spelling: Spelling, decoding: &Decoding) -> StringArray {
        let Spelling::Words { .. } = spelling else { return self.texts.iter().collect() };
        let prefix = decoding.continuing_prefix.as_deref().unwrap_or(CONTINUING_PREFIX);
        let spell = |(text, kind): (&&str, &TokenKind)| match text.strip_prefix(prefix) {
            _ if *kind != TokenKind::Normal => (*text).to_owned(),
            Some(rest) => rest.to_owned(),
            None => format!("{ESCAPED_SPACE}{text}"),
        };
        self.texts.iter().zip(&self.kinds).map(spell).collect()
    }

    /// The added tokens that are looked for before and after normalization.
    fn special_tokens(
        &mut self,
        normalizer: &[Normalization],
        pre_tokenizer: &[Normalization],
    ) -> Result<(Vec<SpecialToken>, Vec<SpecialToken>), TokenizerError> {
        let rewrites: Vec<Normalization> = normalizer
            .iter()
            .chain(pre_tokenizer)
            .filter(|step| !matches!(step, Normalization::Prefix { .. }))
            .cloned()
            .collect();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for added in self.added.drain(..) {
            if added.is_normalized && !normalizer.is_empty() {
                let text = normalize(&rewrites, added.text, Place::AfterSpecial).as_bytes().to_vec();
                after.push(SpecialToken { text, ..added.special });
            } else {
                before.push(added.special);
            }
        }
        Ok((before, after))
    }

    /// What the post-processor adds around one text.
    fn frame(&self) -> Result<Frame, TokenizerError> {
        const PART: &str = "post-processor";
        let mut frame = Frame::default();
        for stage in sequence(&self.file["post_processor"], PART, "processors")? {
            match type_name(stage) {
                "ByteLevel" => {}
                "BertProcessing" | "RobertaProcessing" => {
                    let id = |key: &str| stage[key][1].as_u64().map(|id| id as TokenId);
                    frame.before.extend(id("cls"));
                    frame.after.extend(id("sep"));
                }
                "TemplateProcessing" => {
                    let tokens: HashMap<&str, &Value> = stage["special_tokens"]
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(k, v)| (k.as_str(), v))
                        .collect();
                    let mut follows_text = false;
                    for item in stage["single"].as_array().into_iter().flatten() {
                        let Some(name) = item["SpecialToken"]["id"].as_str() else {
                            follows_text = true;
                            continue;
                        };
                        let ids = tokens.get(name).and_then(|token| token["ids"].as_array());
                        let ids = ids.ok_or_else(|| unsupported(PART, format!("TemplateProcessing with {name:?}")))?;
                        let side = if follows_text { &mut frame.after } else { &mut frame.before };
                        side.extend(ids.iter().filter_map(Value::as_u64).map(|id| id as TokenId));
                    }
                }
                other => return Err(unsupported(PART, other)),
            }
        }
        match frame.before.iter().chain(&frame.after).find(|&&id| id as usize >= self.texts.len()) {
            Some(&id) => {
                let (key, count) = ("post_processor".to_owned(), self.texts.len());
                Err(TokenizerError::SpecialTokenOutOfRange { key, id: id.into(), count })
            }
            None => Ok(frame),
        }
    }
}

/// How the tokens are written.
fn spelling(model_type: &str, is_byte_level: bool, decoding: &Decoding) -> Spelling {
    if model_type == "WordPiece" {
        Spelling::Words { cleans_up: decoding.cleans_up }
    } else if is_byte_level || decoding.is_byte_level {
        Spelling::Printable
    } else if decoding.unescapes_spaces {
        Spelling::Escaped
    } else {
        Spelling::Plain
    }
}
