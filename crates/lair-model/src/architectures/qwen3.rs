//! Qwen 3, dense. A Qwen 2 layer whose queries and keys are RMS-normalised per head before they are turned.
//!
//! Reference: "Qwen3 Technical Report", section 2. GGUF name: `qwen3`.

use crate::ModelConfig;
use crate::config::Pooling;
use crate::spec::{Architecture, Attention, Classifier, Layer, Mixer, Norm, Rope, Source};

/// Qwen 3.
pub const QWEN3: Architecture = Architecture {
    gguf_name: "qwen3",
    hf_names: &["Qwen3ForCausalLM"],
    layer,
    // Rerankers tell yes from no.
    classifier: Classifier { has_softmax: true, pooling: Pooling::Last, ..Classifier::TANH },
    source: Some(Source::USUAL),
    ..Architecture::DECODER
};

pub(super) fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    }
}
