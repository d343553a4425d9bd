//! Llama 1 to 3, with everything that files call `llama`: Mistral, Mixtral, TinyLlama, SmolLM 2, Yi and others.
//!
//! Reference: Touvron et al., "LLaMA", section 2; "The Llama 3 Herd of Models", section 3.2 (factors of the angles).
//! The converter has reordered queries and keys, so that elements `2i` and `2i + 1` form a pair. GGUF name: `llama`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Layer, Mixer, Rope, Source};

/// Llama.
pub const LLAMA: Architecture = Architecture {
    gguf_name: "llama",
    hf_names: &["LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"],
    layer,
    source: Some(Source::LLAMA),
    ..Architecture::DECODER
};

pub(super) fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope::interleaved(config).with_factors(config)),
            scale: config.attention_scale,
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    };
    let Some(experts) = &config.experts else { return layer };
    // Mixtral: experts as wide as the dense network would be.
    let ffn = ExpertsFfn {
        ffn_size: Some(config.ffn_sizes[layer_index]),
        scale: experts.weights_scale,
        ..ExpertsFfn::SOFTMAX
    };
    Layer { ffn: Ffn::Experts(ffn), ..layer }
}
