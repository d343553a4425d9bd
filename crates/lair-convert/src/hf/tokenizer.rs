//! The tokenizer of a checkpoint, as the keys of GGUF.
//!
//! It lies in `tokenizer.model` (SentencePiece), `tokenizer.json`, or `vocab.json` with `merges.txt`; which tokens have a
//! role and what frames a text is said in several files ([`super::special`]).

use std::collections::BTreeMap;

use lair_gguf::{Metadata, StringArray};
use lair_model::spec::{Architecture, Source};
use lair_text::tokenizer::{SentencePieceVocabulary, TOKEN_COUNT_MAX, TokenKind, TokenizerError, pre_tokenizer_names};
use serde_json::{Value as Json, json};

use super::config::HfConfig;
use super::{encoders, special, vocabularies};
use crate::checkpoint::Checkpoint;
use crate::error::{ConvertError, Fault, printable};

/// Score of a piece that was added to a vocabulary, as converters have it.
const ADDED_SCORE: f32 = -1000.0;
/// Score of a row without a piece.
const MISSING_SCORE: f32 = -10_000.0;
/// Of names that mean the same, the one that files of an architecture usually have.
const USUAL_NAMES: [(&str, &str); 9] = [
    ("llama", "llama-bpe"),
    ("llama", "smollm"),
    ("phi2", "phi-2"),
    ("granite", "refact"),
    ("granitemoe", "refact"),
    ("olmoe", "olmo"),
    ("command-r", "command-r"),
    ("starcoder2", "starcoder"),
    ("gptneox", "olmo"),
];
/// For architectures without a usual name.
const COMMON_NAMES: [&str; 5] = ["qwen2", "llama-bpe", "gpt-2", "gpt-4o", "deepseek-v3"];
/// Byte-pair vocabularies without a `tokenizer.json`, by the class that reads them, and the splitting it has built in.
const CLASSES: [(&str, &str); 4] = [
    ("GPT2Tokenizer", "gpt-2"),
    ("CodeGenTokenizer", "gpt-2"),
    ("Qwen2Tokenizer", "qwen2"),
    ("GPTNeoXTokenizer", "gpt-2"),
];

/// The files of a tokenizer.
pub(crate) struct Files {
    /// `tokenizer.json`.
    pub(crate) tokenizer: Option<Json>,
    /// `tokenizer_config.json`.
    pub(crate) config: Json,
}

/// Sets the keys of the tokenizer.
pub(crate) fn set_tokenizer(
    metadata: &mut Metadata,
    checkpoint: &Checkpoint,
    architecture: &Architecture,
    source: &Source,
    config: &HfConfig,
) -> Result<(), ConvertError> {
    let tokenizer = checkpoint.json("tokenizer.json")?;
    let files = Files { tokenizer, config: checkpoint.json("tokenizer_config.json")?.unwrap_or(Json::Null) };
    let class = files.config["tokenizer_class"].as_str().unwrap_or_default();
    let pieces = match class {
        // Phi 4 keeps the file of its predecessors beside its own.
        "GPT2Tokenizer" => None,
        _ => checkpoint.bytes("tokenizer.model")?,
    };
    let kind = files.tokenizer.as_ref().map(|tokenizer| kind_of(tokenizer, checkpoint)).transpose()?;
    let size = config.count(&["vocab_size"]).map(|size| size as usize);
    let mut roles = Vec::new();
    if let Some(bytes) = pieces {
        let vocabulary =
            SentencePieceVocabulary::read(&bytes).map_err(|error| wrong(checkpoint, "tokenizer.model", error))?;
        let vocabulary = sentence_pieces(vocabulary, &files, checkpoint, size)?;
        vocabulary.set(metadata, "llama", "default");
        space_prefix(metadata, &files, source);
    } else if let (Some(tokenizer), Some(kind)) = (&files.tokenizer, kind) {
        match kind {
            Kind::BytePairs => byte_pairs(metadata, tokenizer, checkpoint, architecture, size)?,
            Kind::EscapedPairs => {
                escaped_pairs(tokenizer, checkpoint, size)?.set(metadata, "llama", "default");
                let prefix = prepends_space(tokenizer);
                metadata.set("tokenizer.ggml.add_space_prefix", prefix);
            }
            Kind::WordPieces => encoders::word_pieces(metadata, tokenizer, checkpoint, size)?,
            Kind::Unigram => encoders::unigram(metadata, tokenizer, checkpoint, size)?,
        }
    } else if let Some(found) = vocabularies::set(metadata, checkpoint, &files, size)? {
        roles = found;
    } else if let (Some(vocabulary), Some(merges)) = (checkpoint.json("vocab.json")?, checkpoint.text("merges.txt")?) {
        let (tokenizer, name) = of_old_files(vocabulary, &merges, &files, class)?;
        byte_pairs_named(metadata, &tokenizer, checkpoint, name, size)?;
    } else {
        let expected = "`tokenizer.json`, `tokenizer.model`, `tokenizer.jsonl`, `rwkv_vocab_v20230424.txt`, `qwen.tiktoken`, or \
                        `vocab.json` and `merges.txt`";
        let found = if checkpoint.folder.join("tekken.json").is_file() { "`tekken.json`" } else { "no tokenizer" };
        let path = checkpoint.folder.clone();
        return Err(ConvertError::NotACheckpoint { path, found: found.to_owned(), expected });
    }
    special::set_special(metadata, checkpoint, &files)?;
    for (role, id) in roles {
        metadata.set(&format!("tokenizer.ggml.{role}_token_id"), id);
    }
    if metadata.optional_str("tokenizer.ggml.model")? == Some("gpt2")
        && !metadata.contains("tokenizer.ggml.add_bos_token")
    {
        // The name of a splitting may say that it is added; the checkpoint does not.
        metadata.set("tokenizer.ggml.add_bos_token", false);
    }
    Ok(())
}

pub(super) fn wrong(checkpoint: &Checkpoint, name: &str, error: TokenizerError) -> ConvertError {
    Fault::malformed("the tokenizer", error, "one that is supported").in_file(&checkpoint.folder.join(name))
}

/// Kinds of `tokenizer.json` that GGUF has a word for.
enum Kind {
    /// Byte-pair encoding of bytes in a printable alphabet.
    BytePairs,
    /// Byte-pair encoding of text with U+2581 for spaces, and bytes for what has no piece.
    EscapedPairs,
    /// Pieces of words, the longest first (BERT).
    WordPieces,
    /// Pieces with logarithms of how likely they are (XLM-RoBERTa, T5).
    Unigram,
}

fn kind_of(tokenizer: &Json, checkpoint: &Checkpoint) -> Result<Kind, ConvertError> {
    let model = &tokenizer["model"];
    let kind = model["type"].as_str().unwrap_or(if model["merges"].is_array() { "BPE" } else { "(none)" });
    match (kind, model["byte_fallback"].as_bool().unwrap_or(false)) {
        ("BPE", false) => Ok(Kind::BytePairs),
        ("BPE", true) => Ok(Kind::EscapedPairs),
        ("WordPiece", _) => Ok(Kind::WordPieces),
        ("Unigram", _) => Ok(Kind::Unigram),
        // A vocabulary of another kind counts only if there is no other file.
        _ if checkpoint.folder.join("tokenizer.model").is_file() => Ok(Kind::EscapedPairs),
        (other, _) => Err(ConvertError::Unsupported { what: format!("a tokenizer of kind `{}`", printable(other)) }),
    }
}

/// A vocabulary with scores.
pub(super) struct Scored {
    pieces: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<TokenKind>,
}

impl Scored {
    /// Rows without pieces.
    pub(super) fn empty(count: usize) -> Scored {
        Scored {
            pieces: (0..count).map(|id| format!("[PAD{id}]")).collect(),
            scores: vec![MISSING_SCORE; count],
            kinds: vec![TokenKind::Unused; count],
        }
    }

    /// Sets a row; one that is not there is left out, as the model has no number for it.
    pub(super) fn put(&mut self, id: usize, piece: &str, score: f32, kind: TokenKind) {
        if id < self.pieces.len() {
            (self.pieces[id], self.scores[id], self.kinds[id]) = (piece.to_owned(), score, kind);
        }
    }

    pub(super) fn set(self, metadata: &mut Metadata, model: &str, pre: &str) {
        metadata.set("tokenizer.ggml.model", model);
        metadata.set("tokenizer.ggml.pre", pre);
        metadata.set("tokenizer.ggml.tokens", self.pieces.iter().collect::<StringArray>());
        metadata.set("tokenizer.ggml.scores", self.scores);
        set_kinds(metadata, &self.kinds);
    }
}

pub(super) fn set_kinds(metadata: &mut Metadata, kinds: &[TokenKind]) {
    let numbers: Vec<i32> = kinds.iter().map(|kind| kind.to_gguf()).collect();
    metadata.set("tokenizer.ggml.token_type", numbers);
}

/// How many rows a vocabulary gets: as many as the model has, else as many as there are.
pub(super) fn row_count(size: Option<usize>, found: usize, checkpoint: &Checkpoint) -> Result<usize, ConvertError> {
    let count = size.unwrap_or(found);
    match count <= TOKEN_COUNT_MAX {
        true => Ok(count),
        false => {
            let path = checkpoint.folder.join("config.json");
            Err(Fault::malformed("`vocab_size`", count, format!("at most {TOKEN_COUNT_MAX}")).in_file(&path))
        }
    }
}

/// `tokenizer.model`, with what other files add to it.
fn sentence_pieces(
    vocabulary: SentencePieceVocabulary,
    files: &Files,
    checkpoint: &Checkpoint,
    size: Option<usize>,
) -> Result<Scored, ConvertError> {
    let mut rows = Scored::empty(row_count(size, vocabulary.pieces.len(), checkpoint)?);
    for (id, piece) in vocabulary.pieces.iter().enumerate() {
        rows.put(id, piece, vocabulary.scores[id], vocabulary.kinds[id]);
    }
    if let Some(Json::Object(added)) = checkpoint.json("added_tokens.json")? {
        for (piece, id) in &added {
            let id = id.as_u64().and_then(|id| usize::try_from(id).ok()).unwrap_or(usize::MAX);
            rows.put(id, piece, ADDED_SCORE, TokenKind::UserDefined);
        }
    }
    for (id, token) in added_tokens(files) {
        let (piece, kind) = token.row();
        rows.put(id, &piece, ADDED_SCORE, kind);
    }
    Ok(rows)
}

/// A token beside the vocabulary's own.
pub(super) struct Added<'j> {
    text: &'j str,
    is_special: bool,
}

impl Added<'_> {
    /// Its piece and what it is. Those that look like control tokens are, whatever is said of them.
    pub(super) fn row(&self) -> (String, TokenKind) {
        match self.is_special || looks_special(self.text) {
            true => (self.text.to_owned(), TokenKind::Control),
            false => (self.text.replace('\u{2581}', " "), TokenKind::UserDefined),
        }
    }
}

/// Tokens that some models forget to mark as control tokens.
fn looks_special(text: &str) -> bool {
    let is_framed = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || is_framed("<|", "|>")
        || is_framed("<\u{ff5c}", "\u{ff5c}>")
        || is_framed("<unused", ">")
}

/// By id: of `tokenizer_config.json`, else of `tokenizer.json`.
pub(super) fn added_tokens(files: &Files) -> BTreeMap<usize, Added<'_>> {
    let flag = |token: &Json| token["special"].as_bool().unwrap_or(false);
    if let Some(tokens) = files.config["added_tokens_decoder"].as_object() {
        let rows = tokens.iter().filter_map(|(id, token)| {
            Some((id.parse().ok()?, Added { text: token["content"].as_str()?, is_special: flag(token) }))
        });
        return rows.collect();
    }
    let tokens = files.tokenizer.as_ref().and_then(|tokenizer| tokenizer["added_tokens"].as_array());
    let rows = tokens.into_iter().flatten().filter_map(|token| {
        let id = usize::try_from(token["id"].as_u64()?).ok()?;
        Some((id, Added { text: token["content"].as_str()?, is_special: flag(token) }))
    });
    rows.collect()
}

/// Whether texts begin with a space, where a file says so.
fn space_prefix(metadata: &mut Metadata, files: &Files, source: &Source) {
    let said = source.space_prefix.or_else(|| files.config["add_prefix_space"].as_bool());
    if let Some(adds) = said {
        metadata.set("tokenizer.ggml.add_space_prefix", adds);
    }
}

/// Whether a `tokenizer.json` puts a space before a text.
pub(super) fn prepends_space(tokenizer: &Json) -> bool {
    let in_normalizer = |stage: &Json| stage["type"] == "Prepend";
    let normalizer = &tokenizer["normalizer"];
    let nested = normalizer["normalizers"].as_array().is_some_and(|stages| stages.iter().any(in_normalizer));
    let pre = &tokenizer["pre_tokenizer"];
    let is_metaspace = pre["type"] == "Metaspace" && pre["prepend_scheme"] != "never";
    in_normalizer(normalizer) || nested || is_metaspace
}

/// The texts of a `tokenizer.json`'s own vocabulary by id.
pub(super) fn vocabulary_of(
    tokenizer: &Json,
    checkpoint: &Checkpoint,
) -> Result<BTreeMap<usize, String>, ConvertError> {
    let wrong = || {
        let path = checkpoint.folder.join("tokenizer.json");
        Fault::malformed("`model.vocab`", "another value", "an object from texts to ids").in_file(&path)
    };
    let vocabulary = tokenizer["model"]["vocab"].as_object().ok_or_else(wrong)?;
    let id = |id: &Json| id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < TOKEN_COUNT_MAX);
    let rows = vocabulary.iter().map(|(text, number)| Ok((id(number).ok_or_else(wrong)?, text.clone())));
    rows.collect()
}

/// The pairs of a `tokenizer.json`, each as two texts.
fn merges_of(tokenizer: &Json) -> Option<Vec<(&str, &str)>> {
    let merges = tokenizer["model"]["merges"].as_array()?;
    merges
        .iter()
        .map(|merge| match merge.as_str() {
            Some(text) => text.split_once(' '),
            None => Some((merge[0].as_str()?, merge[1].as_str()?)),
        })
        .collect()
}

/// Pieces with U+2581 for spaces. What a piece is worth follows from when its parts are merged.
fn escaped_pairs(tokenizer: &Json, checkpoint: &Checkpoint, size: Option<usize>) -> Result<Scored, ConvertError> {
    let vocabulary = vocabulary_of(tokenizer, checkpoint)?;
    let wrong = || {
        let path = checkpoint.folder.join("tokenizer.json");
        Fault::malformed("`model.merges`", "another value", "a list of pairs").in_file(&path)
    };
    let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
    for (rank, (left, right)) in merges_of(tokenizer).ok_or_else(wrong)?.into_iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let files = Files { tokenizer: Some(tokenizer.clone()), config: Json::Null };
    let added = added_tokens(&files);
    let last = vocabulary.keys().chain(added.keys()).max().map_or(0, |last| last + 1);
    let mut rows = Scored::empty(row_count(size, last, checkpoint)?);
    let unknown = tokenizer["model"]["unk_token"].as_str();
    for (id, piece) in &vocabulary {
        let is_byte = piece.len() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
        let kind = match () {
            () if is_byte => TokenKind::Byte,
            () if unknown == Some(piece) => TokenKind::Unknown,
            () => TokenKind::Normal,
        };
        let score = ranks.get(piece).map_or(ADDED_SCORE - ranks.len() as f32, |rank| -(*rank as f32));
        rows.put(*id, piece, if is_byte { 0.0 } else { score }, kind);
    }
    for (id, token) in added {
        if rows.kinds.get(id) != Some(&TokenKind::Unknown) {
            let (piece, kind) = token.row();
            rows.put(id, &piece, ADDED_SCORE, kind);
        }
    }
    Ok(rows)
}

/// Byte pairs, split as `tokenizer.json` says.
fn byte_pairs(
    metadata: &mut Metadata,
    tokenizer: &Json,
    checkpoint: &Checkpoint,
    architecture: &Architecture,
    size: Option<usize>,
) -> Result<(), ConvertError> {
    let names = pre_tokenizer_names(tokenizer).map_err(|error| wrong(checkpoint, "tokenizer.json", error))?;
    let usual = USUAL_NAMES.iter().filter(|(of, _)| *of == architecture.gguf_name).map(|(_, name)| *name);
    let own = std::iter::once(architecture.gguf_name);
    let wanted = usual.chain(own).chain(COMMON_NAMES).find(|name| names.contains(name));
    match wanted.or_else(|| names.first().copied()) {
        Some(name) => byte_pairs_named(metadata, tokenizer, checkpoint, name, size),
        None => {
            let found = tokenizer["pre_tokenizer"].to_string();
            let expected = "a splitting that GGUF files have a name for";
            Err(Fault::malformed("`pre_tokenizer`", found, expected).in_file(&checkpoint.folder.join("tokenizer.json")))
        }
    }
}

fn byte_pairs_named(
    metadata: &mut Metadata,
    tokenizer: &Json,
    checkpoint: &Checkpoint,
    name: &str,
    size: Option<usize>,
) -> Result<(), ConvertError> {
    let vocabulary = vocabulary_of(tokenizer, checkpoint)?;
    let files = Files { tokenizer: Some(tokenizer.clone()), config: Json::Null };
    let added = added_tokens(&files);
    let last = vocabulary.keys().chain(added.keys()).max().map_or(0, |last| last + 1);
    let count = row_count(size, last, checkpoint)?;
    if last > count {
        let found = format!("{last} tokens");
        let path = checkpoint.folder.join("tokenizer.json");
        return Err(
            Fault::malformed("the vocabulary", found, format!("at most {count}, as `vocab_size` says")).in_file(&path)
        );
    }
    let row = |id: usize| match (added.get(&id), vocabulary.get(&id)) {
        (Some(token), _) => token.row(),
        (None, Some(piece)) => (piece.clone(), TokenKind::Normal),
        (None, None) => (format!("[PAD{id}]"), TokenKind::Unused),
    };
    let (pieces, kinds): (Vec<String>, Vec<TokenKind>) = (0..count).map(row).unzip();
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.pre", name);
    metadata.set("tokenizer.ggml.tokens", pieces.iter().collect::<StringArray>());
    set_kinds(metadata, &kinds);
    let merges = merges_of(tokenizer).ok_or_else(|| {
        let path = checkpoint.folder.join("tokenizer.json");
        Fault::malformed("`model.merges`", "another value", "a list of pairs").in_file(&path)
    })?;
    // A space within a part is written in the alphabet of bytes, as everywhere else.
    let written = |part: &str| part.replace(' ', "\u{120}");
    let merges = merges.into_iter().map(|(left, right)| format!("{} {}", written(left), written(right)));
    metadata.set("tokenizer.ggml.merges", merges.collect::<StringArray>());
    Ok(())
}

/// `vocab.json` and `merges.txt` in the form of a `tokenizer.json`, and the name of their splitting.
fn of_old_files(
    vocabulary: Json,
    merges: &str,
    files: &Files,
    class: &str,
) -> Result<(Json, &'static str), ConvertError> {
    let class = class.strip_suffix("Fast").unwrap_or(class);
    let class = if class.is_empty() { "GPT2Tokenizer" } else { class };
    let Some((_, name)) = CLASSES.iter().find(|(known, _)| *known == class) else {
        return Err(ConvertError::Unsupported { what: format!("`vocab.json` of `{}`", printable(class)) });
    };
    let lines =
        merges.lines().enumerate().filter(|(index, line)| !(line.is_empty() || *index == 0 && line.starts_with('#')));
    let merges: Vec<&str> = lines.map(|(_, line)| line.trim_end()).collect();
    let added = added_tokens(files).into_iter();
    let mut added: Vec<Json> =
        added.map(|(id, token)| json!({"id": id, "content": token.text, "special": token.is_special})).collect();
    // GPT-2's only control token stands in its vocabulary and nowhere else.
    if let Some(id) = vocabulary["<|endoftext|>"].as_u64()
        && added.is_empty()
    {
        added.push(json!({"id": id, "content": "<|endoftext|>", "special": true}));
    }
    Ok((json!({"model": {"type": "BPE", "vocab": vocabulary, "merges": merges}, "added_tokens": added}), name))
}
