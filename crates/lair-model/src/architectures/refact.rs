//! Refact. A Llama layer with one head of keys and values, and linear biases by distance instead of angles.
//!
//! Reference: the published model code of Refact AI. GGUF name: `refact`. Models with experts under this name were never
//! published, and are refused.

use crate::spec::{Architecture, Attention, Layer, Mixer};

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
    ..Architecture::DECODER
};
