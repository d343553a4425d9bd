//! A model that says what it was made to say: for tests of programs that act on an answer, an edit of a file or a call of
//! a tool, which no tiny model would get right by itself.
//!
//! It is an ordinary model file. Of the layer nothing is added to a token's embedding, a vector of signs that is nearly
//! orthogonal to all others, and the row of the output for a token holds the embedding of the token before it in the
//! script. So each token of a script is followed by the next one, however an answer is sampled, and the last by the end.
//! Which script is said the model's template decides: its prompt ends in the script's cue.

use std::collections::BTreeSet;
use std::path::Path;

use lair_gguf::{GgufWriter, Metadata, TensorInfo, TensorType};

use crate::tiny_models::mix64;

const HIDDEN_SIZE: u64 = 128;
const FFN_SIZE: u64 = 32;
const HEAD_SIZE: u64 = 32;
const CONTEXT_LENGTH: u32 = 131_072;
/// How far the logit of the token that follows stands above zero. Among a few hundred tokens another one's similarity is
/// below a half, so even at a temperature of 2 nothing else is ever drawn.
const SHARPNESS: f32 = 100.0;
/// Characters of a token, unless another token is spelled so.
const PIECE_CHARACTERS: usize = 4;

/// How SentencePiece's files mark their tokens.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;
/// The token that ends an answer.
const END: usize = 2;

/// A text that the model says after its cue.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// A token of its own, such as `<|greet|>`.
    pub cue: &'a str,
    /// What is said.
    pub text: &'a str,
    /// What follows it.
    pub then: Then,
}

/// What follows a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The end of the answer.
    End,
    /// The script again, and so on until the context is full or nobody listens.
    Again,
}

/// The tokens of a model, and for each those that it follows.
struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    before: Vec<Vec<usize>>,
}

impl Vocabulary {
    fn new(scripts: &[Script<'_>]) -> Vocabulary {
        let mut vocabulary = Vocabulary { tokens: Vec::new(), kinds: Vec::new(), before: Vec::new() };
        vocabulary.add("<unk>", UNKNOWN);
        vocabulary.add("<s>", CONTROL);
        assert_eq!(vocabulary.add("</s>", CONTROL), END);
        for byte in 0..=255_u8 {
            vocabulary.add(&format!("<0x{byte:02X}>"), BYTE);
        }
        let mut spelled = BTreeSet::new();
        for script in scripts {
            let mut last = vocabulary.add(script.cue, CONTROL);
            let first = last + 1;
            for piece in pieces(script.text, &mut spelled) {
                // As SentencePiece spells a space.
                let token = vocabulary.add(&piece.replace(' ', "\u{2581}"), NORMAL);
                vocabulary.before[token].push(last);
                last = token;
            }
            let next = if script.then == Then::Again { first } else { END };
            vocabulary.before[next].push(last);
        }
        vocabulary
    }

    fn add(&mut self, token: &str, kind: i32) -> usize {
        self.tokens.push(token.to_owned());
        self.kinds.push(kind);
        self.before.push(Vec::new());
        self.tokens.len() - 1
    }
}

/// A text cut so that no piece comes twice, here or among those that are `spelled` already.
fn pieces(text: &str, spelled: &mut BTreeSet<String>) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut piece = String::new();
    for character in text.chars() {
        piece.push(character);
        if piece.chars().count() >= PIECE_CHARACTERS && !spelled.contains(&piece) {
            spelled.insert(piece.clone());
            pieces.push(std::mem::take(&mut piece));
        }
    }
    // What is left, taken together with what stands before it until that is new.
    while !piece.is_empty() && !spelled.insert(piece.clone()) {
        piece = pieces.pop().expect("a script is no piece of an earlier one") + &piece;
    }
    pieces.extend((!piece.is_empty()).then_some(piece));
    pieces
}

/// Writes one with this template, in Jinja's language.
///
/// # Panics
/// If the file cannot be written, or a script cannot be cut into tokens that no other has.
pub fn write(path: &Path, template: &str, scripts: &[Script<'_>]) {
    let vocabulary = Vocabulary::new(scripts);
    let count = vocabulary.tokens.len() as u64;
    let mut writer = GgufWriter::new(metadata(&vocabulary, template)).expect("valid keys");
    let mut add = |name: &str, shape: &[u64]| {
        writer.add_tensor(name, shape, TensorType::F32).expect("a valid tensor");
    };
    add("token_embd.weight", &[HIDDEN_SIZE, count]);
    for norm in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
        add(&format!("{norm}.weight"), &[HIDDEN_SIZE]);
    }
    for stem in ["attn_q", "attn_k", "attn_v"] {
        add(&format!("blk.0.{stem}.weight"), &[HIDDEN_SIZE, HEAD_SIZE]);
    }
    add("blk.0.attn_output.weight", &[HEAD_SIZE, HIDDEN_SIZE]);
    add("blk.0.ffn_gate.weight", &[HIDDEN_SIZE, FFN_SIZE]);
    add("blk.0.ffn_up.weight", &[HIDDEN_SIZE, FFN_SIZE]);
    add("blk.0.ffn_down.weight", &[FFN_SIZE, HIDDEN_SIZE]);
    add("output.weight", &[HIDDEN_SIZE, count]);
    let source = |tensor: &TensorInfo, out: &mut dyn std::io::Write| {
        values(tensor, &vocabulary).into_iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    };
    writer.write_file(path, source).expect("it can be written");
}

fn metadata(vocabulary: &Vocabulary, template: &str) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", "scripted");
    for (key, value) in [
        ("block_count", 1),
        ("context_length", CONTEXT_LENGTH),
        ("embedding_length", HIDDEN_SIZE as u32),
        ("feed_forward_length", FFN_SIZE as u32),
        ("attention.head_count", 1),
        ("attention.head_count_kv", 1),
        ("attention.key_length", HEAD_SIZE as u32),
        ("attention.value_length", HEAD_SIZE as u32),
        ("rope.dimension_count", HEAD_SIZE as u32),
    ] {
        metadata.set(&format!("llama.{key}"), value);
    }
    metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-6_f32);
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.tokens", vocabulary.tokens.clone());
    metadata.set("tokenizer.ggml.scores", vec![0.0_f32; vocabulary.tokens.len()]);
    metadata.set("tokenizer.ggml.token_type", vocabulary.kinds.clone());
    metadata.set("tokenizer.ggml.bos_token_id", 1_u32);
    metadata.set("tokenizer.ggml.eos_token_id", END as u32);
    metadata.set("tokenizer.ggml.unknown_token_id", 0_u32);
    metadata.set("tokenizer.ggml.add_bos_token", false);
    metadata.set("tokenizer.ggml.add_space_prefix", false);
    metadata.set("tokenizer.chat_template", template);
    metadata
}

/// A tensor's elements.
fn values(tensor: &TensorInfo, vocabulary: &Vocabulary) -> Vec<f32> {
    let width = HIDDEN_SIZE as usize;
    let tokens = 0..vocabulary.tokens.len();
    match tensor.name.as_str() {
        "token_embd.weight" => tokens.flat_map(signs).collect(),
        "output.weight" => {
            let row = |token: usize| {
                let mut row = vec![0.0; width];
                for before in &vocabulary.before[token] {
                    row.iter_mut().zip(signs(*before)).for_each(|(sum, sign)| *sum += sign * SHARPNESS / width as f32);
                }
                row
            };
            tokens.flat_map(row).collect()
        }
        name => vec![if name.ends_with("norm.weight") { 1.0 } else { 0.0 }; tensor.element_count() as usize],
    }
}

/// The embedding of a token, `[HIDDEN_SIZE]`.
fn signs(token: usize) -> impl Iterator<Item = f32> {
    (0..HIDDEN_SIZE).map(move |index| if mix64(token as u64 * HIDDEN_SIZE + index) & 1 == 0 { 1.0 } else { -1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_so_that_no_piece_comes_twice() {
        let mut spelled = BTreeSet::new();
        for text in ["aaaaaaaaaaaaaaaaaaaa", "one two one two one", "aaaa aaaa", "x"] {
            let before = spelled.len();
            let cut = pieces(text, &mut spelled);
            assert_eq!(cut.concat(), text);
            assert!(spelled.len() >= before + cut.len(), "{cut:?}");
        }
    }

    #[test]
    fn every_other_embedding_is_far_from_a_tokens_own() {
        for one in 0..600 {
            for other in 0..one {
                let product: f32 = signs(one).zip(signs(other)).map(|(a, b)| a * b).sum();
                assert!(product.abs() < HIDDEN_SIZE as f32 / 2.0, "{one} and {other}: {product}");
            }
        }
    }
}
