//! StableLM. Layer norms, part of each head turned; the largest model has both halves side by side, by one norm, and
//! normalises queries and keys with a weight for each element of each head.
//!
//! Reference: Bellagente et al., "Stable LM 2 1.6B Technical Report", section 3. GGUF name: `stablelm`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, Head, Layer, Mixer, Norm, NormSpan, Residual, Rope};

/// StableLM.
pub const STABLELM: Architecture = Architecture {
    gguf_name: "stablelm",
    hf_names: &["StableLmForCausalLM", "StableLMEpochForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::LayerIfThere("attn_q_norm"),
            k_norm: Norm::LayerIfThere("attn_k_norm"),
            norm_span: NormSpan::HeadOfRow,
            rope: Some(Rope::half_split(config)),
            ..Attention::STANDARD
        }),
        ffn_norm: Norm::LayerIfThere("ffn_norm"),
        residual: Residual::SequentialIfNormed,
        ..Layer::PRE_NORM
    }
}
