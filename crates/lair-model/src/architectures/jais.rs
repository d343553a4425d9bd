//! Jais. Linear biases by distance, layer norms and biases, scores divided by the width of a head.
//!
//! Reference: Sengupta et al., "Jais and Jais-chat", section 3.1. GGUF name: `jais`.

use crate::ModelConfig;
use crate::spec::source::{GPT_NAMES, GPT2_NAMES, JAIS_NAMES, Parameter};
use crate::spec::{Architecture, Attention, Head, Layer, Mixer, Norm, Source};

/// Jais.
pub const JAIS: Architecture = Architecture {
    gguf_name: "jais",
    hf_names: &["JAISLMHeadModel"],
    layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    source: Some(Source {
        names: JAIS_NAMES,
        dense_names: GPT2_NAMES,
        family: GPT_NAMES,
        roots: &["transformer."],
        parameters: &[Parameter::NumberOr("attention.max_alibi_bias", &[], 8.0)],
        // They follow from the count of heads.
        left_out: &["relative_pe.", ".attn.bias", ".attn.masked_bias"],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention {
            alibi_bias_max: config.alibi_bias_max,
            scale: Some(1.0 / config.key_dim as f32),
            ..Attention::STANDARD
        }),
        ffn_norm: Norm::Layer("ffn_norm"),
        ..Layer::PRE_NORM
    }
}
