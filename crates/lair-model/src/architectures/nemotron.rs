//! Nemotron 3 and 4, Minitron. Layer norms, part of each head turned, and a feed-forward network that squares what is
//! positive. The converter has folded the `1 +` of the norms into their weights.
//!
//! Reference: Parmar et al., "Nemotron-4 15B Technical Report", section 2. GGUF name: `nemotron`.

use lair_compute::Activation;

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, DenseFfn, Ffn, Gate, Head, Layer, Mixer, Norm, Rope};

/// Nemotron.
pub const NEMOTRON: Architecture = Architecture {
    gguf_name: "nemotron",
    hf_names: &["NemotronForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::Layer("output_norm"), ..Head::LOGITS },
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, _layer_index: usize) -> Layer {
    Layer {
        mixer_norm: Norm::Layer("attn_norm"),
        mixer: Mixer::Attention(Attention { rope: Some(Rope::half_split(config)), ..Attention::STANDARD }),
        ffn_norm: Norm::Layer("ffn_norm"),
        ffn: Ffn::Dense(DenseFfn { gate: Gate::None, activation: Activation::ReluSquared, ..DenseFfn::SWIGLU }),
        ..Layer::PRE_NORM
    }
}
