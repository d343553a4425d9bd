//! OpenELM. A Qwen 3 layer; layers differ in their heads and widths.
//!
//! Reference: Mehta et al., "OpenELM: An Efficient Language Model Family with Open Training and Inference Framework",
//! section 2.1. GGUF name: `openelm`.

use super::qwen3;
use crate::spec::source::{Derived, OPENELM_NAMES, Parameter};
use crate::spec::{Architecture, Source};

/// OpenELM, whose layers differ in their heads and widths.
pub const OPENELM: Architecture = Architecture {
    gguf_name: "openelm",
    hf_names: &["OpenELMForCausalLM"],
    layer: qwen3::layer,
    source: Some(Source {
        family: OPENELM_NAMES,
        roots: &["transformer."],
        parameters: &[
            Parameter::Count("context_length", &["max_context_length"]),
            Parameter::Count("embedding_length", &["model_dim"]),
            Parameter::Number("rope.freq_base", &["rope_freq_constant"]),
            Parameter::NumberOr("attention.layer_norm_rms_epsilon", &[], 1e-6),
            Parameter::Count("rope.dimension_count", &["head_dim"]),
            Parameter::Derived(Derived::ListedWidths),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};
