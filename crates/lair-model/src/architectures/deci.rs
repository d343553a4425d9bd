//! DeciLM and the Nemotron models made from Llama by search: layers differ in heads and widths, some have a product instead
//! of attention, some have one half only.
//!
//! Reference: Bercovich et al., "Puzzle: Distillation-Based NAS for Inference-Optimized LLMs", section 2. GGUF name: `deci`.

use super::llama;
use crate::ModelConfig;
use crate::spec::source::{DECI_NAMES, Derived, Parameter};
use crate::spec::{Architecture, Ffn, Layer, Mixer, Norm, Source};

/// DeciLM.
pub const DECI: Architecture = Architecture {
    gguf_name: "deci",
    hf_names: &["DeciLMForCausalLM"],
    layer,
    source: Some(Source {
        names: DECI_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Derived(Derived::SearchedLayers),
        ],
        ..Source::LLAMA
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let (heads, kv_heads) = (config.head_counts[layer_index], config.kv_head_counts[layer_index]);
    let none = Layer { mixer_norm: Norm::None, mixer: Mixer::None, ..llama::layer(config, layer_index) };
    match (heads, kv_heads) {
        // A layer without a feed-forward network does nothing in the converter's own runtime.
        _ if config.ffn_sizes[layer_index] == 0 => Layer { ffn_norm: Norm::None, ffn: Ffn::None, ..none },
        (0, _) => none,
        (_, 0) => Layer { mixer: Mixer::Linear("attn_output"), ..llama::layer(config, layer_index) },
        _ => llama::layer(config, layer_index),
    }
}
