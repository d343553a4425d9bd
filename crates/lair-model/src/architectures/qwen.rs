//! Qwen 1. A Llama layer with halves as pairs and fused, biased products; files give twice the width of the feed-forward
//! network.
//!
//! Reference: Bai et al., "Qwen Technical Report", section 2.3. GGUF name: `qwen`.

use super::qwen2;
use crate::ModelConfig;
use crate::spec::source::{GPT_NAMES, Parameter, QWEN_NAMES};
use crate::spec::{Architecture, DenseFfn, Ffn, Layer, Source};

/// Qwen 1.
pub const QWEN: Architecture = Architecture {
    gguf_name: "qwen",
    hf_names: &["QWenLMHeadModel"],
    layer,
    source: Some(Source {
        names: QWEN_NAMES,
        family: GPT_NAMES,
        roots: &["transformer."],
        // The norms are of the other kind than their key says.
        parameters: &[Parameter::NumberOr("attention.layer_norm_rms_epsilon", &["layer_norm_epsilon"], 1e-6)],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let ffn_size = Some(config.ffn_sizes[layer_index] / 2);
    Layer { ffn: Ffn::Dense(DenseFfn { ffn_size, ..DenseFfn::SWIGLU }), ..qwen2::layer(config, layer_index) }
}
