//! Arcee's Trinity. Sandwich norms, gated attention with normalised queries and keys, windows in three layers of four
//! and no positions in every fourth; experts by sigmoid with scores for the choice, leading dense layers.
//!
//! Reference: the published model code of Arcee AI. GGUF name: `afmoe`.

use lair_compute::{Gating, Mask};

use super::deepseek::with_experts;
use crate::ModelConfig;
use crate::spec::source::{AFMOE_NAMES, Parameter};
use crate::spec::{Architecture, Attention, AttentionGate, Embedding, ExpertsFfn, Layer, Mixer, Norm, Rope, Source};

/// Trinity.
pub const AFMOE: Architecture = Architecture {
    gguf_name: "afmoe",
    hf_names: &["AfmoeForCausalLM"],
    embedding: |config| Embedding { scale: (config.hidden_size as f32).sqrt(), ..Embedding::TOKENS },
    layer,
    source: Some(Source {
        names: AFMOE_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::Count("expert_shared_count", &["num_shared_experts"]),
            Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
            Parameter::Count("leading_dense_block_count", &["num_dense_layers"]),
            Parameter::FlagOr("expert_weights_norm", &["route_norm"], true),
            Parameter::Number("expert_weights_scale", &["route_scale"]),
            Parameter::Count("attention.sliding_window", &["sliding_window"]),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// Every so-many-th layer leaves queries and keys as they are.
const ROPE_STEP: usize = 4;

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let rope = Rope::half_split(config);
    let (mask, rope) = match config.window {
        Some(window) if config.has_window(layer_index, 4) => (Mask::Window(window), rope.of_windows(config)),
        _ => (Mask::Causal, rope),
    };
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: Norm::Rms("attn_q_norm"),
            k_norm: Norm::Rms("attn_k_norm"),
            rope: Some(rope).filter(|_| !(layer_index + 1).is_multiple_of(ROPE_STEP)),
            mask,
            gate: AttentionGate::Tensor("attn_gate"),
            ..Attention::STANDARD
        }),
        mixer_output_norm: Norm::Rms("post_attention_norm"),
        ffn_output_norm: Norm::Rms("post_ffw_norm"),
        ..Layer::PRE_NORM
    };
    with_experts(layer, ExpertsFfn::from_file(config, Gating::Sigmoid), config, layer_index)
}
