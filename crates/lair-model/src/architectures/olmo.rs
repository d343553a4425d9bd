//! OLMo 1. A Llama layer with norms by mean and variance that have no weights; queries, keys and values may be held within
//! a magnitude.
//!
//! Reference: Groeneveld et al., "OLMo", section 2.1. GGUF name: `olmo`.

use crate::ModelConfig;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, Attention, Head, Layer, Mixer, Norm, Rope, Source};

/// OLMo 1.
pub const OLMO: Architecture = Architecture {
    gguf_name: "olmo",
    hf_names: &["OlmoForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::LayerUnweighted, ..Head::LOGITS },
    source: Some(Source {
        parameters: &[
            Parameter::NumberOr("attention.layer_norm_epsilon", &[], 1e-5),
            Parameter::Number("attention.clamp_kqv", &["clip_qkv"]),
        ],
        ..Source::LLAMA
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::LayerUnweighted,
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope::interleaved(config)),
            clamp: config.clamp_qkv,
            ..Attention::STANDARD
        }),
        ffn_norm: Norm::LayerUnweighted,
        ..Layer::PRE_NORM
    }
}
