//! Qwen 2 and 2.5, dense. A Llama layer with halves as pairs; queries, keys and values have biases.
//!
//! Reference: "Qwen2 Technical Report", section 2.2. GGUF name: `qwen2`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, Layer, Mixer, Rope, Source};

/// Qwen 2.
pub const QWEN2: Architecture = Architecture {
    gguf_name: "qwen2",
    hf_names: &["Qwen2ForCausalLM"],
    layer,
    source: Some(Source::USUAL),
    ..Architecture::DECODER
};

pub(super) fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ..Layer::PRE_NORM
    }
}
