//! Refact. A Llama layer with one head of keys and values, and linear biases by distance instead of angles.
//!
//! Reference: the published model code of Refact AI. GGUF name: `refact`. Models with experts under this name were never
//! published, and are refused.

use crate::spec::source::{Derived, GPT_NAMES, Parameter, REFACT_NAMES};
use crate::spec::{Architecture, Attention, Layer, Mixer, Source};

/// Refact.
pub const REFACT: Architecture = Architecture {
    gguf_name: "refact",
    hf_names: &["GPTRefactForCausalLM"],
    layer: |_, _| Layer {
        mixer: Mixer::Attention(Attention { alibi_bias_max: Some(8.0), ..Attention::STANDARD }),
        ..Layer::PRE_NORM
    },
    // Published models have none, and the converter's own runtime leaves these out.
    ignored_tensors: &[".attn_output.bias", ".ffn_gate.bias", ".ffn_up.bias", ".ffn_down.bias", "rope_freqs.weight"],
    source: Some(Source {
        names: REFACT_NAMES,
        family: GPT_NAMES,
        roots: &["transformer."],
        parameters: &[
            Parameter::Derived(Derived::WholeTwoThirds(256)),
            Parameter::CountOr("attention.head_count_kv", &[], 1),
            // The norms are of the other kind than their key says.
            Parameter::NumberOr("attention.layer_norm_rms_epsilon", &["layer_norm_epsilon"], 1e-5),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};
