//! StarCoder 2. Layer norms and biases everywhere, GELU without a gate.
//!
//! Reference: Lozhkov et al., "StarCoder 2 and The Stack v2", section 5. GGUF name: `starcoder2`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Head, Layer, Mixer, Norm, Rope};

/// StarCoder 2.
pub const STARCODER2: Architecture = Architecture {
    gguf_name: "starcoder2",
    hf_names: &["Starcoder2ForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn::GELU),
        ..Layer::PRE_NORM
    }
}
