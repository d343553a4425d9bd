//! The tokenizer of a model in GGUF as the files of a checkpoint: `tokenizer.json` for byte-level pairs,
//! `tokenizer.model` for SentencePiece's.
//!
//! Source for the latter: `ModelProto` in `sentencepiece_model.proto` of google/sentencepiece.

use lair_gguf::{GgufFile, Metadata, StringArray};
use lair_text::tokenizer::pre_tokenizer_json;
use serde_json::{Map, Value as Json, json};

use crate::error::{ConvertError, Fault, printable};

/// Kinds of tokens, as GGUF and SentencePiece number them.
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;
/// SentencePiece's number for byte pairs.
const MODEL_OF_PAIRS: u64 = 2;

/// Roles, and what GGUF calls them.
const ROLES: [(&str, &str); 7] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("unk", "unknown"),
    ("sep", "seperator"),
    ("pad", "padding"),
    ("cls", "cls"),
    ("mask", "mask"),
];

/// Names and contents of the files.
pub(super) fn files(file: &GgufFile) -> Result<Vec<(&'static str, Vec<u8>)>, ConvertError> {
    let metadata = file.metadata();
    let Some(model) = metadata.optional_str("tokenizer.ggml.model")? else { return Ok(Vec::new()) };
    lair_gguf::check_vocabulary(metadata)?;
    let tokens = metadata.strings("tokenizer.ggml.tokens")?;
    let (own, class) = match model {
        "gpt2" => (("tokenizer.json", super::text_of(&byte_pairs(metadata, tokens)?)), "PreTrainedTokenizerFast"),
        "llama" => (("tokenizer.model", sentence_pieces(metadata, tokens)?), "LlamaTokenizer"),
        other => {
            return Err(ConvertError::Unsupported {
                what: format!("a tokenizer `{}` to a checkpoint", printable(other)),
            });
        }
    };
    let config = configuration(metadata, tokens, class)?;
    Ok(vec![own, ("tokenizer_config.json", super::text_of(&config))])
}

fn kinds(metadata: &Metadata, count: usize) -> Vec<i64> {
    let array = match metadata.get("tokenizer.ggml.token_type") {
        Some(lair_gguf::Value::Array(array)) => Some(array),
        _ => None,
    };
    let kind = |index: usize| array.and_then(|array| array.integer(index)).and_then(|kind| i64::try_from(kind).ok());
    (0..count).map(|index| kind(index).unwrap_or(NORMAL)).collect()
}

fn role(metadata: &Metadata, key: &str) -> Result<Option<usize>, ConvertError> {
    Ok(metadata.optional_u32(&format!("tokenizer.ggml.{key}_token_id"))?.map(|id| id as usize))
}

/// `tokenizer.json`.
fn byte_pairs(metadata: &Metadata, tokens: &StringArray) -> Result<Json, ConvertError> {
    let name = metadata.optional_str("tokenizer.ggml.pre")?.unwrap_or("gpt-2");
    let name = if name == "default" { "gpt-2" } else { name };
    let (pre_tokenizer, takes_whole_words) = pre_tokenizer_json(name).ok_or_else(|| ConvertError::Unsupported {
        what: format!("a tokenizer that splits as `{}` to a checkpoint", printable(name)),
    })?;
    let kinds = kinds(metadata, tokens.len());
    let (mut vocabulary, mut added) = (Map::new(), Vec::new());
    for (index, (token, kind)) in tokens.iter().zip(&kinds).enumerate() {
        match *kind {
            // A row without a piece.
            UNUSED => {}
            CONTROL | USER_DEFINED => added.push(json!({
                "id": index, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind == CONTROL,
            })),
            _ => drop(vocabulary.insert(token.to_owned(), json!(index))),
        }
    }
    let merges = metadata.strings("tokenizer.ggml.merges")?;
    let pair = |merge: &str| {
        let wrong = || ConvertError::Unsupported { what: format!("the merge `{}` to a checkpoint", printable(merge)) };
        // The first sign may be a space's own: pairs are parted by the first space behind it.
        let place = merge.char_indices().skip(1).find(|(_, sign)| *sign == ' ').map(|(place, _)| place);
        let (left, right) = merge.split_at(place.ok_or_else(wrong)?);
        Ok::<Json, ConvertError>(json!([left, &right[1..]]))
    };
    let merges = merges.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(metadata, tokens)?,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": takes_whole_words, "vocab": vocabulary, "merges": merges,
        },
    }))
}

/// What frames a text.
fn post_processor(metadata: &Metadata, tokens: &StringArray) -> Result<Json, ConvertError> {
    let (mut single, mut pair, mut special) = (Vec::new(), Vec::new(), Map::new());
    let mut frame = |role_name: &str, list: &mut Vec<Json>, others: &mut Vec<Json>| -> Result<(), ConvertError> {
        let adds = metadata.optional_bool(&format!("tokenizer.ggml.add_{role_name}_token"))?.unwrap_or(false);
        if let Some(id) = role(metadata, role_name)?.filter(|_| adds) {
            let text = tokens.iter().nth(id).unwrap_or_default();
            list.push(json!({"SpecialToken": {"id": text, "type_id": 0}}));
            others.push(json!({"SpecialToken": {"id": text, "type_id": 0}}));
            special.insert(text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
        }
        Ok(())
    };
    frame("bos", &mut single, &mut pair)?;
    single.push(json!({"Sequence": {"id": "A", "type_id": 0}}));
    pair.push(json!({"Sequence": {"id": "A", "type_id": 0}}));
    pair.push(json!({"Sequence": {"id": "B", "type_id": 0}}));
    frame("eos", &mut single, &mut pair)?;
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    if special.is_empty() {
        return Ok(bytes);
    }
    let template = json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special});
    Ok(json!({"type": "Sequence", "processors": [bytes, template]}))
}

/// `tokenizer_config.json`.
fn configuration(metadata: &Metadata, tokens: &StringArray, class: &str) -> Result<Json, ConvertError> {
    let mut keys = Map::new();
    keys.insert("tokenizer_class".to_owned(), json!(class));
    keys.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    for (name, key) in ROLES {
        let text = role(metadata, key)?.and_then(|id| tokens.iter().nth(id));
        if let Some(text) = text {
            keys.insert(format!("{name}_token"), json!(text));
        }
    }
    for name in ["bos", "eos"] {
        if let Some(adds) = metadata.optional_bool(&format!("tokenizer.ggml.add_{name}_token"))? {
            keys.insert(format!("add_{name}_token"), json!(adds));
        }
    }
    if class == "LlamaTokenizer" {
        keys.insert("legacy".to_owned(), json!(false));
        let kinds = kinds(metadata, tokens.len());
        let added =
            tokens.iter().zip(&kinds).enumerate().filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED));
        let entry = |(index, (text, kind)): (usize, (&str, &i64))| {
            let entry = json!({"content": text, "lstrip": false, "normalized": false, "rstrip": false,
                               "single_word": false, "special": *kind == CONTROL});
            (index.to_string(), entry)
        };
        keys.insert("added_tokens_decoder".to_owned(), Json::Object(added.map(entry).collect()));
        if let Some(prefix) = metadata.optional_bool("tokenizer.ggml.add_space_prefix")? {
            keys.insert("add_prefix_space".to_owned(), json!(prefix));
        }
    }
    if let Some(template) = metadata.optional_str("tokenizer.chat_template")? {
        keys.insert("chat_template".to_owned(), json!(template));
    }
    Ok(Json::Object(keys))
}

/// `tokenizer.model`.
fn sentence_pieces(metadata: &Metadata, tokens: &StringArray) -> Result<Vec<u8>, ConvertError> {
    let Some(lair_gguf::Value::Array(lair_gguf::Array::F32(scores))) = metadata.get("tokenizer.ggml.scores") else {
        let fault = Fault::malformed("`tokenizer.ggml.scores`", "nothing, or another type", "numbers");
        return Err(fault.in_file(std::path::Path::new("the model")));
    };
    let kinds = kinds(metadata, tokens.len());
    let mut model = Message::default();
    for ((token, score), kind) in tokens.iter().zip(scores.iter()).zip(&kinds) {
        let mut piece = Message::default();
        piece.bytes(1, token.as_bytes());
        piece.float(2, *score);
        if *kind != NORMAL {
            piece.number(3, *kind as u64);
        }
        model.bytes(1, &piece.0);
    }
    let mut trainer = Message::default();
    trainer.number(3, MODEL_OF_PAIRS);
    trainer.number(4, tokens.len() as u64);
    trainer.number(35, u64::from(kinds.contains(&BYTE)));
    for (field, key) in [(40, "unknown"), (41, "bos"), (42, "eos"), (43, "padding")] {
        // Minus one, sixty-four bits wide, stands for none.
        trainer.number(field, role(metadata, key)?.map_or(u64::MAX, |id| id as u64));
    }
    model.bytes(2, &trainer.0);
    let mut normalizer = Message::default();
    normalizer.bytes(1, b"identity");
    let prefix = metadata.optional_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    normalizer.number(3, u64::from(prefix));
    normalizer
        .number(4, u64::from(metadata.optional_bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false)));
    normalizer.number(5, 1);
    model.bytes(3, &normalizer.0);
    Ok(model.0)
}

/// A message of protocol buffers, as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, number: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(number.to_le_bytes());
    }
}
