//! Phi 3.5 MoE. Norms, products and the head have biases; factors of the angles by context; two of sixteen experts.
//!
//! Reference: "Phi-3 Technical Report", section 2. Files are made for a runtime that takes its norms for RMS norms and
//! its router for a softmax; both are followed, so that a
//! checkpoint that was converted would not be the model that was trained. GGUF name: `phimoe`.

use crate::ModelConfig;
use crate::spec::{Architecture, Attention, ExpertsFfn, Ffn, Head, Layer, Mixer, Norm, Rope, RopeFactors};

/// Phi 3.5 MoE.
pub const PHIMOE: Architecture = Architecture {
    gguf_name: "phimoe",
    hf_names: &["PhiMoEForCausalLM", "PhimoeForCausalLM"],
    layer,
    head: |_| Head { norm: Norm::RmsBiased("output_norm"), ..Head::LOGITS },
    ..Architecture::DECODER
};

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope { factors: RopeFactors::BY_CONTEXT, ..Rope::half_split(config) };
    Layer {
        mixer_norm: Norm::RmsBiased("attn_norm"),
        mixer: Mixer::Attention(Attention { rope: Some(rope), ..Attention::STANDARD }),
        ffn_norm: Norm::RmsBiased("ffn_norm"),
        ffn: Ffn::Experts(ExpertsFfn {
            ffn_size: Some(config.ffn_sizes[layer_index]),
            scale: config.experts.as_ref().map_or(1.0, |experts| experts.weights_scale),
            ..ExpertsFfn::SOFTMAX
        }),
        ..Layer::PRE_NORM
    }
}
