//! Small encoders with a real vocabulary: BERT's words around weights that follow the rule of the tiny models. What they
//! give means nothing, but any runtime gives the same.

use std::path::Path;

use lair_gguf::{GgufFile, GgufWriter, TensorType};

use crate::shared_data;
use crate::tiny_models::write_tensor;

const HIDDEN_SIZE: u64 = 64;
const FFN_SIZE: u64 = 128;
const LAYER_COUNT: u64 = 2;
const CONTEXT_LENGTH: u64 = 512;

/// What stands behind the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The mean of the hidden states.
    Mean,
    /// A classifier of the first one.
    Classifier,
}

/// Writes one, or `None`, with a loud line, where the shared data is missing.
///
/// # Panics
/// If the vocabulary is not what it should be, or the file cannot be written.
pub fn write(path: &Path, ending: Ending) -> Option<()> {
    let vocabulary = GgufFile::open(shared_data("tokenizers/ggml-vocab-bert-bge.gguf")?).expect("a vocabulary");
    let mut metadata = vocabulary.metadata().clone();
    let word_count = metadata.strings("tokenizer.ggml.tokens").expect("words").len() as u64;
    metadata.set("general.name", "word encoder");
    for (key, value) in [
        ("block_count", LAYER_COUNT),
        ("context_length", CONTEXT_LENGTH),
        ("embedding_length", HIDDEN_SIZE),
        ("feed_forward_length", FFN_SIZE),
        ("attention.head_count", 4),
        ("pooling_type", if ending == Ending::Mean { 1 } else { 4 }),
    ] {
        metadata.set(&format!("bert.{key}"), value as u32);
    }
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    let mut add = |name: &str, shape: &[u64]| {
        writer.add_tensor(name, shape, TensorType::F32).expect("a valid tensor");
    };
    add("token_embd.weight", &[HIDDEN_SIZE, word_count]);
    add("position_embd.weight", &[HIDDEN_SIZE, CONTEXT_LENGTH]);
    add("token_types.weight", &[HIDDEN_SIZE, 2]);
    let mut pair = |stem: &str, columns: Option<u64>, rows: u64| {
        let shape: Vec<u64> = columns.into_iter().chain([rows]).collect();
        add(&format!("{stem}.weight"), &shape);
        add(&format!("{stem}.bias"), &[rows]);
    };
    pair("token_embd_norm", None, HIDDEN_SIZE);
    for layer in 0..LAYER_COUNT {
        for stem in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            pair(&format!("blk.{layer}.{stem}"), Some(HIDDEN_SIZE), HIDDEN_SIZE);
        }
        pair(&format!("blk.{layer}.attn_output_norm"), None, HIDDEN_SIZE);
        pair(&format!("blk.{layer}.ffn_up"), Some(HIDDEN_SIZE), FFN_SIZE);
        pair(&format!("blk.{layer}.ffn_down"), Some(FFN_SIZE), HIDDEN_SIZE);
        pair(&format!("blk.{layer}.layer_output_norm"), None, HIDDEN_SIZE);
    }
    if ending == Ending::Classifier {
        pair("cls", Some(HIDDEN_SIZE), HIDDEN_SIZE);
        pair("cls.output", Some(HIDDEN_SIZE), 1);
    }
    writer.write_file(path, |tensor, mut out| write_tensor(tensor, &mut out)).expect("it can be written");
    Some(())
}
