//! Gemma. A Llama layer with GELU gates, wide heads and embeddings scaled by the root of their width, tied to the head.
//!
//! Reference: "Gemma: Open Models Based on Gemini Research and Technology", section 2. GGUF name: `gemma`.

use crate::ModelConfig;
use crate::spec::source::{NormOffset, Parameter};
use crate::spec::{Architecture, Attention, DenseFfn, Embedding, Ffn, Layer, Mixer, Rope, Source};

/// Gemma.
pub const GEMMA: Architecture = Architecture {
    gguf_name: "gemma",
    hf_names: &["GemmaForCausalLM"],
    embedding: |config| Embedding { scale: (config.hidden_size as f32).sqrt(), ..Embedding::TOKENS },
    layer,
    source: Some(Source {
        norm_offset: NormOffset::One,
        parameters: &[Parameter::KvHeads],
        left_out: &["lm_head.weight"],
        space_prefix: Some(false),
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ffn: Ffn::Dense(DenseFfn::GEGLU),
        ..Layer::PRE_NORM
    }
}
