//! Edits that only one family needs.

use super::families::{PER_LAYER, rows};
use super::{rename, rename_architecture};
use crate::metadata::Metadata;
use crate::tensor_info::TensorInfo;
use crate::value::{Array, Value};

const TOKENS: &str = "token_embd.weight";
const PIECES: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";

/// Gemma 3 from 4B on was trained for 16k positions and stretched to 131,072.
pub(super) fn scale_long_context(metadata: &mut Metadata, _: &mut [TensorInfo]) {
    let context_length = metadata.get("gemma3.context_length").and_then(Value::as_integer).unwrap_or(0);
    if context_length < 131_072 || metadata.contains("gemma3.rope.scaling.type") {
        return;
    }
    metadata.set("gemma3.rope.scaling.type", "linear");
    metadata.set("gemma3.rope.scaling.factor", 8.0f32);
}

/// Pieces of the vocabulary without a row in the embedding go.
pub(super) fn cut_vocabulary(metadata: &mut Metadata, tensors: &mut [TensorInfo]) {
    let Some(rows) = rows(tensors, TOKENS).and_then(|rows| usize::try_from(rows).ok()) else { return };
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
        let cut = match metadata.get(key).and_then(Value::as_array) {
            Some(array) if array.len() <= rows => continue,
            Some(Array::String(strings)) => Array::String(strings.iter().take(rows).collect()),
            Some(Array::F32(scores)) => Array::F32(scores[..rows].into()),
            Some(Array::I32(types)) => Array::I32(types[..rows].into()),
            _ => continue,
        };
        metadata.set(key, cut);
    }
}

/// Gemma 3n: rows of the embedding beyond those that each layer has, which are of pictures and sound, are not seen.
pub(super) fn cut_embedding(_: &mut Metadata, tensors: &mut [TensorInfo]) {
    let Some(wanted) = rows(tensors, PER_LAYER) else { return };
    let Some(embedding) = tensors.iter_mut().find(|info| info.name == TOKENS) else { return };
    let [_, found] = embedding.shape[..] else { return };
    // Rows follow each other, so the first ones are the beginning of the bytes.
    if wanted < found && embedding.size_bytes.is_multiple_of(found) {
        embedding.size_bytes = embedding.size_bytes / found * wanted;
        embedding.shape[1] = wanted;
    }
}

/// Gemma 3n: pieces such as `<0x0A>` are bytes, `<unused7>` are ordinary.
pub(super) fn type_bytes_and_unused(metadata: &mut Metadata, _: &mut [TensorInfo]) {
    const NORMAL: i32 = 1;
    const BYTE: i32 = 6;
    let pieces = metadata.get(PIECES).and_then(Value::as_array).and_then(Array::as_strings);
    let (Some(pieces), Some(Array::I32(types))) = (pieces, metadata.get(TYPES).and_then(Value::as_array)) else {
        return;
    };
    let is_byte = |piece: &str| piece.len() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
    let typed: Vec<i32> = types
        .iter()
        .zip(pieces.iter())
        .map(|(own, piece)| match piece {
            piece if is_byte(piece) => BYTE,
            piece if piece.starts_with("<unused") => NORMAL,
            _ => *own,
        })
        .collect();
    metadata.set(TYPES, typed);
}

/// Gemma 4: the scales of the experts' outputs.
pub(super) fn name_expert_scales(_: &mut Metadata, tensors: &mut [TensorInfo]) {
    rename(tensors, |name| match name.strip_suffix(".ffn_gate_inp.per_expert_scale") {
        Some(layer) => format!("{layer}.ffn_down_exps.scale"),
        None => name.to_string(),
    });
}

/// DeepSeek OCR: shared experts are as wide as the others.
pub(super) fn count_shared_experts(metadata: &mut Metadata, tensors: &mut [TensorInfo]) {
    let shared = tensors.iter().find(|info| info.name == "blk.1.ffn_down_shexp.weight");
    let width = integer(metadata, "deepseek2-ocr.expert_feed_forward_length").filter(|width| *width > 0);
    let (Some(shared), Some(width)) = (shared.and_then(|info| info.shape.first().copied()), width) else { return };
    if let (Ok(count), false) =
        (u32::try_from(shared / u64::from(width)), metadata.contains("deepseek2-ocr.expert_shared_count"))
    {
        metadata.set("deepseek2-ocr.expert_shared_count", count);
    }
}

/// GLM 4.7 Flash: latent attention has one key/value head as long as the latent vector; what is said of single heads
/// stands under other keys.
pub(super) fn absorb_heads(metadata: &mut Metadata, _: &mut [TensorInfo]) {
    let head_dim = integer(metadata, "deepseek2.attention.key_length");
    let rank = integer(metadata, "deepseek2.attention.kv_lora_rank");
    let rope = integer(metadata, "deepseek2.rope.dimension_count");
    metadata.set("deepseek2.attention.head_count_kv", 1u32);
    if let (Some(rank), Some(rope)) = (rank, rope) {
        metadata.set("deepseek2.attention.key_length", rank.saturating_add(rope));
        metadata.set("deepseek2.attention.value_length", rank);
    }
    if let Some(head_dim) = head_dim {
        metadata.set("deepseek2.attention.key_length_mla", head_dim);
        metadata.set("deepseek2.attention.value_length_mla", head_dim);
    }
}

/// GLM 4.7 Flash: the second and the third of the tokens that end a text end a turn and a message.
pub(super) fn ends_of_turn(metadata: &mut Metadata, _: &mut [TensorInfo]) {
    let ends = metadata.get("tokenizer.ggml.eos_token_ids").and_then(Value::as_array);
    let end = |index: usize| ends.and_then(|ends| u32::try_from(ends.integer(index)?).ok());
    let (turn, message) = (end(1), end(2));
    for (key, token) in [("tokenizer.ggml.eot_token_id", turn), ("tokenizer.ggml.eom_token_id", message)] {
        if let (Some(token), false) = (token, metadata.contains(key)) {
            metadata.set(key, token);
        }
    }
}

/// Nemotron 3 with its towers: what is left is the text model, with experts or without.
pub(super) fn text_of_nemotron(metadata: &mut Metadata, _: &mut [TensorInfo]) {
    const OMNI: &str = "nemotron_h_omni";
    let has_experts = ["expert_count", "expert_used_count"]
        .iter()
        .any(|key| integer(metadata, &format!("{OMNI}.{key}")).is_some_and(|count| count > 0));
    let towers = [format!("{OMNI}.vision."), format!("{OMNI}.audio.")];
    let is_towers = |key: &&str| towers.iter().any(|tower| key.starts_with(tower.as_str()));
    let keys: Vec<String> = metadata.iter().map(|(key, _)| key).filter(is_towers).map(str::to_string).collect();
    for key in keys {
        metadata.remove(&key);
    }
    rename_architecture(metadata, OMNI, if has_experts { "nemotron_h_moe" } else { "nemotron_h" });
}

/// What Llama 3 calls the end of a turn and the beginning of a header, by their places in the vocabulary.
const LLAMA_3_TURN: (usize, &str) = (128_009, "<|eot_id|>");
const LLAMA_3_HEADER: (usize, &str) = (128_006, "<|start_header_id|>");
/// `<|end_of_text|>`.
const LLAMA_3_TEXT: u32 = 128_001;

/// Whether the vocabulary is Llama 3's for chats, and the file does not say how it is cut or where a turn ends.
pub(super) fn lacks_llama_3(metadata: &Metadata) -> bool {
    let pieces = metadata.get(PIECES).and_then(Value::as_array).and_then(Array::as_strings);
    let Some(pieces) = pieces else { return false };
    let has = |(place, piece): (usize, &str)| pieces.get(place) == Some(piece);
    let pre = metadata.get("tokenizer.ggml.pre");
    let has_pre = pre.is_some_and(|pre| !pre.as_str().is_some_and(|pre| pre.is_empty() || pre == "default"));
    let ends_text = integer(metadata, "tokenizer.ggml.eos_token_id") == Some(LLAMA_3_TEXT);
    has(LLAMA_3_TURN) && has(LLAMA_3_HEADER) && (!has_pre || ends_text)
}

/// Answers of Llama 3 end with the turn, not with the text.
pub(super) fn end_turns_of_llama_3(metadata: &mut Metadata, _: &mut [TensorInfo]) {
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        if integer(metadata, key).is_none_or(|token| token == LLAMA_3_TEXT) {
            metadata.set(key, LLAMA_3_TURN.0 as u32);
        }
    }
}

/// Snowflake Arctic Embed 2: a table of bytes that was written as base64, a letter an element.
pub(super) fn decode_character_table(metadata: &mut Metadata, _: &mut [TensorInfo]) {
    const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
    let letters = metadata.get(KEY).and_then(Value::as_array).and_then(Array::as_strings);
    if let Some(bytes) = letters.and_then(|letters| decode_base64(letters.iter())) {
        metadata.set(KEY, bytes);
    }
}

/// Bytes of base64 (RFC 4648, section 4), one letter an item; nothing if an item is no letter of it.
fn decode_base64<'l>(letters: impl Iterator<Item = &'l str>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut bit_count) = (0u32, 0);
    for letter in letters {
        let &[letter] = letter.as_bytes() else { return None };
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count) as u8);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

fn integer(metadata: &Metadata, key: &str) -> Option<u32> {
    metadata.get(key).and_then(Value::as_integer).and_then(|value| u32::try_from(value).ok())
}
